"""What happens in a classroom: kernels killed at any moment, folders deleted, names taken twice."""

import random
import shutil
import signal
import sys

from vae_helpers.training import fit, load_checkpoint

import pytest
import torch
from small import RUN, endless_job, processes, small_images, small_vae, start, training_job

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@posix
def test_thirty_kills_at_any_moment_cost_no_bit_of_the_result(tmp_path):
    path, trained, moments = tmp_path / "model.pt", [0], random.Random(0)
    for kill in range(32):
        size = moments.randrange(1, path.stat().st_size) if path.exists() and kill % 3 == 0 else 0
        job = start(endless_job, str(path), moments.uniform(0.001, 0.1), size)
        job.join(timeout=120)
        assert job.exitcode == -(signal.SIGXFSZ if size else signal.SIGVTALRM)
        if path.exists():
            trained.append(load_checkpoint(path, small_vae())["epoch"])
    assert trained == sorted(trained) and trained[-1] > 0
    run = {**RUN, "epochs": trained[-1] + 3}
    resumed, whole = small_vae(), small_vae()
    history = fit(resumed, small_images(), checkpoint=path, **run)
    assert history == fit(whole, small_images(), **run)
    assert torch.equal(weights(resumed), weights(whole))


def test_two_trainings_under_one_name_spoil_nothing(tmp_path):
    epochs, path = 40, tmp_path / "model.pt"
    answers = [processes.Queue(), processes.Queue()]
    jobs = [start(training_job, str(path), epochs, queue) for queue in answers]
    expected = small_vae()
    fit(expected, small_images(), **{**RUN, "epochs": epochs})
    for queue, job in zip(answers, jobs, strict=True):
        assert (queue.get(timeout=120) == weights(expected).numpy()).all()
        job.join(timeout=60)
        assert job.exitcode == 0
    loaded = small_vae()
    assert load_checkpoint(path, loaded)["epoch"] == epochs
    assert torch.equal(weights(loaded), weights(expected))
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_of_runs_deleted_in_the_middle_is_made_again(tmp_path):
    path, seen = tmp_path / "runs" / "model.pt", []

    def measure(model):
        seen.append(path.exists())
        shutil.rmtree(path.parent, ignore_errors=True)
        return {}

    model, expected = small_vae(), small_vae()
    fit(model, small_images(), checkpoint=path, measure=measure, **RUN)
    fit(expected, small_images(), **RUN)
    assert seen == [False, True, True, True]
    assert torch.equal(weights(model), weights(expected))
    assert load_checkpoint(path, small_vae())["epoch"] == 4
