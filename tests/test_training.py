"""Training: what `fit` returns, what an interrupt or a kill costs, what a checkpoint holds."""

import functools
import io
import math
import os
import pathlib
import pickle
import random
import re
import signal
import sys
import warnings
import zipfile

from vae_helpers import training
from vae_helpers.losses import linear_warmup, negative_elbo, reconstruction_loss
from vae_helpers.metrics import log_likelihood
from vae_helpers.training import (
    choose_profile,
    evaluate,
    fit,
    load_checkpoint,
    per_image,
    pick_device,
    save_checkpoint,
)

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import (
    RUN,
    interrupted_job,
    killed_job,
    processes,
    small_autoencoder,
    small_images,
    small_learned_sigma,
    small_vae,
    start,
)
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

quick_fit = functools.partial(fit, quiet=True, batch_size=8)


class Mean(nn.Module):
    """The smallest model: one weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def interrupt_at(call, loss=negative_elbo):
    """The loss, but its call number `call` (from 0) is where the stop button was pressed."""
    calls = []

    @functools.wraps(loss)  # a checkpoint knows the name of its loss
    def interrupted(model, *batch):
        calls.append(1)
        if len(calls) == call + 1:
            raise KeyboardInterrupt
        return loss(model, *batch)

    return interrupted


def interrupted_fit(model, *data, call, **options):
    """What `fit` returns if it is interrupted; an interrupt that escapes would end pytest."""
    try:
        return fit(model, *data, loss=interrupt_at(call), **options)
    except KeyboardInterrupt:
        pytest.fail("the interrupt left fit")


def recording(seen):
    def loss(model, x, beta=1.0):
        seen.append((model.training, beta))
        return negative_elbo(model, x, beta)

    return loss


@functools.wraps(negative_elbo)
def never(model, *batch):
    raise AssertionError("the loss was called")


# --- What fit does ---


@pytest.mark.parametrize(
    "model, loss", [(small_vae, negative_elbo), (small_autoencoder, reconstruction_loss)]
)
def test_fit_reduces_the_loss(model, loss):
    model, x = model(), small_images()
    before = evaluate(model, x, loss=loss)["loss"]
    history = quick_fit(model, x, loss=loss, epochs=10, lr=1e-2)
    assert evaluate(model, x, loss=loss)["loss"] < before - 50
    assert history["train"]["loss"][-1] < history["train"]["loss"][0]


def test_history_has_a_number_for_each_term_and_epoch(vae):
    history = quick_fit(vae, small_images(), small_images(10), epochs=3)
    assert list(history) == ["train", "validation"]
    for terms in history.values():
        assert type(terms) is dict and set(terms) == {"loss", "nll", "kl"}
        assert all(len(values) == 3 for values in terms.values())
        assert all(type(value) is float for values in terms.values() for value in values)


def test_without_validation_images_its_history_is_empty(vae, images):
    assert quick_fit(vae, images, epochs=1)["validation"] == {}


@given(n=st.integers(1, 30), batch_size=st.integers(1, 40))
def test_means_are_over_images_though_the_last_batch_is_smaller(n, batch_size):
    y = torch.arange(n).float() ** 2

    def loss(model, x, y):
        return {"loss": y + 0 * model.weight, "twice": 2 * y}

    data = (torch.zeros(n, 1, 1, 1), y)
    history = fit(Mean(), data, data, loss=loss, epochs=2, batch_size=batch_size, quiet=True)
    expected = y.mean().item()
    for terms in history.values():
        assert terms["loss"] == pytest.approx([expected] * 2)
        assert terms["twice"] == pytest.approx([2 * expected] * 2)


def test_each_epoch_sees_each_image_once_with_its_label_in_a_new_order():
    seen = []

    def loss(model, x, y):
        assert torch.equal(x[:, 0, 0, 0] * 16, y.float())
        seen.append(y.tolist())
        return {"loss": 0 * y + model.weight}

    y = torch.arange(10)
    fit(Mean(), (y.view(10, 1, 1, 1) / 16, y), loss=loss, epochs=2, batch_size=4, quiet=True)
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    numbers = [number for batch in seen for number in batch]
    first, second = numbers[:10], numbers[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize("clip", [0.5, 5.0])
def test_clip_limits_the_norm_of_the_gradient(clip, vae, images):
    norms = []

    def record(optimizer, args, kwargs):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.linalg.vector_norm(torch.stack([g.norm() for g in grads])).item())

    handle = register_optimizer_step_pre_hook(record)
    try:
        quick_fit(small_vae(), images, epochs=2)
        free, norms[:] = list(norms), []
        quick_fit(vae, images, epochs=2, clip=clip)
    finally:
        handle.remove()
    assert min(free) > clip
    assert norms == pytest.approx([clip] * len(norms), rel=1e-3)


def test_the_learning_rate_is_that_of_adam(vae, images):
    before = [p.detach().clone() for p in vae.parameters()]
    quick_fit(vae, images, epochs=1, batch_size=len(images), lr=0.25)
    steps = [(p - q).abs().max().item() for p, q in zip(vae.parameters(), before, strict=True)]
    assert max(steps) == pytest.approx(0.25, rel=1e-3)  # Adam's first step is lr


def test_the_loss_reaches_the_notebook_as_it_falls(vae, images, capsys):
    fit(vae, images, images, epochs=2)
    said = capsys.readouterr().out
    parameters = sum(p.numel() for p in vae.parameters())
    assert re.search(rf"{parameters:,} parameters, 2 steps of \d+ images on \w+: about \d+ s", said)
    assert re.search(r"After 2 epochs, loss in nats per image: train [\d.]+, validation", said)


def test_quiet_prints_nothing_and_changes_nothing(images, capsys):
    loud, quiet = small_vae(), small_vae()
    history = fit(loud, images, epochs=2)
    capsys.readouterr()
    assert fit(quiet, images, epochs=2, quiet=True) == history
    assert capsys.readouterr() == ("", "")
    assert same_weights(loud, quiet)


def test_the_same_seed_gives_the_same_weights_whatever_the_callers_seed(images):
    models = []
    for callers_seed, seed in ((1, 5), (2, 5), (1, 6)):
        torch.manual_seed(callers_seed)
        models.append(small_vae())
        quick_fit(models[-1], images, epochs=2, seed=seed)
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


@pytest.mark.parametrize(
    "work",
    [
        lambda model, x: fit(model, x, x, epochs=1),
        lambda model, x: interrupted_fit(model, x, call=1, epochs=2, quiet=True),
        evaluate,
        per_image,
        log_likelihood,
    ],
    ids=["fit", "fit, interrupted", "evaluate", "per_image", "log_likelihood"],
)
def test_the_callers_random_numbers_are_left_alone(work, vae, images):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    work(vae, images)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002


# --- Byte images ---


@pytest.fixture
def byte_images():
    return (small_images() * 255).round().byte()


def test_bytes_train_and_are_measured_as_their_floats_bit_for_bit(byte_images):
    models, results = [small_vae(), small_vae()], []
    for model, x in zip(models, (byte_images, byte_images.float() / 255), strict=True):
        history = quick_fit(model, x, x, epochs=2)
        results.append((history, evaluate(model, x), per_image(model, x)["loss"].tolist()))
    assert same_weights(*models) and results[0] == results[1]


def test_only_images_become_floats_batch_by_batch(byte_images, monkeypatch):
    """Labels may be bytes, too. The steps that measure the printed duration count as well."""
    sizes, to_float = [], training.to_float
    monkeypatch.setattr(training, "to_float", lambda x: (sizes.append(len(x)), to_float(x))[1])

    def loss(model, x, y):
        assert x.dtype == torch.float32 and y.dtype == torch.uint8 and 0 <= x.min() <= x.max() <= 1
        return {"loss": x.mean(dim=(1, 2, 3)) + model.weight}

    data = (byte_images, torch.arange(len(byte_images)).byte())
    fit(Mean(), data, loss=loss, epochs=1, batch_size=8)
    assert sizes == [8] * (6 + 5)
    evaluate(Mean(), data, loss=loss, batch_size=8)
    assert sizes == [8] * (6 + 5 + 5)


@pytest.mark.parametrize("n", [3, 1000, 2345])
def test_a_checkpoint_knows_the_mean_pixel_of_bytes(n, tmp_path):
    x = torch.randint(0, 256, (n, 1, 2, 3), dtype=torch.uint8)

    def loss(model, x):
        return {"loss": 0 * x.flatten(1).sum(dim=1) + model.weight}

    quick_fit(Mean(), x, loss=loss, epochs=1, checkpoint=tmp_path / "model.pt")
    run = load_checkpoint(tmp_path / "model.pt", Mean())["run"]
    assert run["mean_pixel"] == round(x.double().mean().item() / 255, 6)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's count of memory")
def test_the_mean_pixel_of_many_bytes_needs_little_memory():
    import resource

    x = torch.full((1, 3, 64, 64), 51, dtype=torch.uint8).expand(20_000, 3, 64, 64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert training._mean_pixel(x) == pytest.approx(0.2)  # as float64: 2 GB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


# --- Evaluation ---


def test_evaluate_repeats_and_does_not_train(vae, images):
    before = small_vae()
    first = evaluate(vae, images)
    torch.manual_seed(77)
    assert evaluate(vae, images) == first
    assert evaluate(vae, images, seed=1)["nll"] != first["nll"]
    assert same_weights(vae, before)


@pytest.mark.parametrize("batch_size", [1, 5, 12, 1000])
def test_the_mean_of_per_image_is_evaluate(batch_size, vae, images):
    terms = per_image(vae, images, batch_size=batch_size)
    means = evaluate(vae, images, batch_size=batch_size)
    assert set(terms) == set(means) == {"loss", "nll", "kl"}
    for name, values in terms.items():
        assert values.shape == (12,) and not values.requires_grad
        assert values.mean().item() == pytest.approx(means[name])
    torch.testing.assert_close(terms["kl"], per_image(vae, images)["kl"])  # in the images' order


@pytest.mark.parametrize("training_mode", [True, False])
def test_evaluation_uses_eval_mode_and_restores_the_mode_that_was(training_mode, images):
    model = small_vae(batch_norm=True).train(training_mode)
    modes = []

    def loss(model, x):
        modes.append(model.training)
        return negative_elbo(model, x)

    evaluate(model, images, loss=loss)
    assert modes == [False] and model.training is training_mode
    assert same_weights(model, small_vae(batch_norm=True))  # running means included
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, images, loss=interrupt_at(0))
    assert model.training is training_mode


# --- Interrupt ---


@pytest.mark.parametrize("call, epochs_kept", [(0, 0), (1, 0), (2, 1), (5, 2)])
def test_an_interrupt_keeps_the_model_and_the_history(call, epochs_kept, vae, capsys):
    x = small_images(16)  # two steps an epoch
    history = interrupted_fit(vae, x, call=call, epochs=9, batch_size=8, quiet=True)
    assert {len(values) for values in history["train"].values()} <= {epochs_kept}
    assert f"Interrupted in epoch {epochs_kept + 1}" in capsys.readouterr().out
    assert same_weights(vae, small_vae()) is (call == 0)
    assert len(quick_fit(vae, x, epochs=1)["train"]["loss"]) == 1  # the next cell runs


def test_an_interrupt_while_the_duration_is_measured_is_an_interrupt_too(vae, images):
    history = interrupted_fit(vae, images, call=0, epochs=2)
    assert history["train"].get("loss", []) == []
    assert same_weights(vae, small_vae())


def test_an_interrupt_while_validating_leaves_histories_of_one_length(vae, capsys):
    x = small_images(16)  # two steps of training and one of validation an epoch
    history = interrupted_fit(vae, x, x, call=5, epochs=9, batch_size=8, quiet=True)
    assert len(history["train"]["loss"]) == len(history["validation"]["loss"]) == 1
    assert "Interrupted in epoch 2" in capsys.readouterr().out


def test_after_an_interrupt_a_checkpoint_goes_on_to_the_same_weights(tmp_path):
    x, whole, stopped = small_images(), small_vae(), small_vae()
    expected = quick_fit(whole, x, epochs=3)
    path = tmp_path / "model.pt"
    interrupted_fit(stopped, x, call=7, epochs=3, batch_size=8, checkpoint=path, quiet=True)
    assert not same_weights(stopped, whole)
    assert quick_fit(stopped, x, epochs=3, checkpoint=path) == expected
    assert same_weights(stopped, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to one process")
def test_ctrl_c_on_a_real_process_ends_fit_normally():
    answers = processes.Queue()
    job = start(interrupted_job, answers)
    assert answers.get(timeout=120) == "begun"
    os.kill(job.pid, signal.SIGINT)
    epochs, moved, finite = answers.get(timeout=120)
    job.join(timeout=60)
    assert job.exitcode == 0
    assert epochs >= 3 and moved and finite


# --- Resume ---

WAYS = {
    "vae": (small_vae, {}),
    "deep vae": (functools.partial(small_vae, hidden=(16, 8)), {"clip": 1.0, "lr": 1e-2}),
    "batch norm": (functools.partial(small_vae, batch_norm=True), {"batch_size": 7}),
    "autoencoder": (small_autoencoder, {"loss": reconstruction_loss}),
    "learned sigma": (small_learned_sigma, {"clip": 10.0}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stops", [(2, 5), (1, 4, 5)])
def test_training_in_parts_equals_training_in_one_go_bit_for_bit(way, stops, tmp_path):
    build, options = WAYS[way]
    x, validation = small_images(), small_images(5)
    whole = build()
    expected = quick_fit(whole, x, validation, epochs=5, **options)
    for part, epochs in enumerate(stops):
        in_parts = build(seed=part)  # only the first part begins with weights of its own
        history = quick_fit(
            in_parts, x, validation, epochs=epochs, checkpoint=tmp_path / "model.pt", **options
        )
    assert same_weights(in_parts, whole)
    assert history == expected


def test_cosine_training_goes_on_where_a_stop_left_it_bit_for_bit(tmp_path):
    x, path = small_images(), tmp_path / "model.pt"
    whole, stopped, resumed = small_vae(), small_vae(), small_vae(seed=1)
    expected = quick_fit(whole, x, epochs=4, cosine=True)
    steps = []

    @functools.wraps(negative_elbo)
    def stop_in_the_third_epoch(model, x):
        steps.append(len(x))
        if len(steps) == 13:
            raise KeyboardInterrupt
        return negative_elbo(model, x)

    quick_fit(stopped, x, epochs=4, cosine=True, checkpoint=path, loss=stop_in_the_third_epoch)
    history = quick_fit(resumed, x, epochs=4, cosine=True, checkpoint=path)
    assert same_weights(resumed, whole) and history == expected


def test_the_learning_rate_warms_up_and_falls_along_a_cosine(vae, images):
    rates = []
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, args, kwargs: rates.append(optimizer.param_groups[0]["lr"])
    )
    try:
        quick_fit(vae, images, epochs=200, batch_size=6, lr=0.5, cosine=True)
    finally:
        handle.remove()
    n = torch.arange(400)
    half_cosine = 0.25 * (1 + torch.cos(math.pi * n / 400))
    expected = half_cosine * ((n + 1) / 200).clamp(max=1)
    torch.testing.assert_close(torch.tensor(rates), expected)


@pytest.mark.parametrize(
    "moment",
    [
        "epoch",
        pytest.param(
            "checkpoint",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX's SIGXFSZ"),
        ),
    ],
)
def test_a_killed_process_costs_at_most_the_epoch_it_was_in(moment, tmp_path):
    job = start(killed_job, str(tmp_path), moment)
    job.join(timeout=120)
    assert job.exitcode < 0 or sys.platform == "win32"  # killed: neither finished nor failed

    whole, resumed = small_vae(), small_vae()
    expected = fit(whole, small_images(), **RUN)
    epochs_run = []

    @functools.wraps(negative_elbo)
    def loss(model, x):
        epochs_run.append(len(x) / 40)
        return negative_elbo(model, x)

    history = fit(
        resumed, small_images(), loss=loss, checkpoint=tmp_path / "model.pt", **RUN
    )  # fmt: skip
    assert sum(epochs_run) == pytest.approx(2)  # the third and the fourth
    assert history == expected
    assert same_weights(resumed, whole)


def test_a_finished_checkpoint_is_only_loaded(tmp_path, images, capsys):
    path = tmp_path / "model.pt"
    trained, loaded = small_vae(), small_vae(seed=1)
    history = quick_fit(trained, images, epochs=3, checkpoint=path)
    content = path.read_bytes()
    for epochs in (3, 2):
        assert (
            fit(loaded, images, loss=never, epochs=epochs, batch_size=8, checkpoint=path) == history
        )
        assert same_weights(loaded, trained)
        assert "3 epochs already trained" in capsys.readouterr().out
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "change, old, new",
    [
        ({"lr": 0.01}, "'lr': 0.001", "'lr': 0.01"),
        ({"seed": 4}, "'seed': 0", "'seed': 4"),
        ({"clip": 1.0}, "'clip': None", "'clip': 1.0"),
        ({"cosine": True}, "'cosine_epochs': None", "'cosine_epochs': 2"),
        ({"batch_size": 5}, "'batch_size': 8", "'batch_size': 5"),
        ({"config": {"width": 2}}, "{'width': 1}", "{'width': 2}"),
        ({"config": None}, "{'width': 1}", "None"),
        ({"train": small_images(13)}, "'images': 12", "'images': 13"),
        ({"beta": linear_warmup}, "'beta': None", "'beta': 'linear_warmup'"),
        ({"loss": recording([])}, "'loss': 'negative_elbo'", "'loss': 'recording.<locals>.loss'"),
        ({"model": small_vae(hidden=(8,))}, "out_features=16", "out_features=8"),
        ({"model": small_vae(latent=3)}, "in_features=2", "in_features=3"),
        ({"model": small_vae(batch_norm=True)}, "Linear", "BatchNorm1d"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_checkpoint_of_another_run_is_refused_and_the_difference_said(
    change, old, new, tmp_path, images
):
    path = tmp_path / "model.pt"
    options = {"epochs": 2, "checkpoint": path, "config": {"width": 1}}
    quick_fit(small_vae(), images, **options)
    content = path.read_bytes()
    arguments = {"model": small_vae(), "train": images, "loss": never, **options, **change}
    with pytest.raises(ValueError) as error:
        quick_fit(**arguments)
    for part in (str(path), old, new):
        assert part in str(error.value)
    assert path.read_bytes() == content


def test_a_refused_checkpoint_leaves_the_model_as_it_was(tmp_path, images):
    path, model = tmp_path / "model.pt", small_vae(seed=1)
    quick_fit(small_vae(), images, epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match="lr"):
        quick_fit(model, images, epochs=1, checkpoint=path, lr=1e-2)
    assert same_weights(model, small_vae(seed=1))


# --- Checkpoints ---


def test_a_checkpoint_holds_weights_configuration_and_both_histories(tmp_path, images):
    path = tmp_path / "new folder" / "model.pt"
    config = {"latent": 2, "name": "first", "hidden": [16], "note": None, "beta": 0.5, "on": True}
    trained, loaded = small_vae(), small_vae(seed=1)
    history = quick_fit(trained, images, images[:5], epochs=2, checkpoint=path, config=config)
    saved = load_checkpoint(path, loaded)
    assert same_weights(loaded, trained)
    assert saved["config"] == config
    assert saved["history"] == history
    assert saved["epoch"] == 2


def test_save_and_load_restore_model_optimizer_and_extras(tmp_path, vae, images):
    path = tmp_path / "model.pt"
    optimizer = torch.optim.Adam(vae.parameters())
    negative_elbo(vae, images)["loss"].mean().backward()
    optimizer.step()
    save_checkpoint(str(path), vae, optimizer, note="after one step")
    other = small_vae(seed=1)
    other_optimizer = torch.optim.Adam(other.parameters())
    assert load_checkpoint(str(path), other, other_optimizer)["note"] == "after one step"
    assert same_weights(other, vae)
    for key, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            assert torch.equal(other_optimizer.state_dict()["state"][key][name], value)


def test_a_missing_checkpoint_is_named(tmp_path, vae):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none.pt"))):
        load_checkpoint(tmp_path / "none.pt", vae)


def test_only_the_checkpoint_itself_is_left_in_its_folder(tmp_path, images):
    quick_fit(small_vae(), images, epochs=2, checkpoint=tmp_path / "model.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


class Evil:
    """Unpickled with trust, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("place", ["whole file", "model", "architecture", "config", "plain pickle"])
def test_a_malicious_checkpoint_is_refused_and_its_code_not_run(place, tmp_path, vae, images):
    path, trap = tmp_path / "model.pt", tmp_path / "trap"
    quick_fit(vae, images, epochs=1, checkpoint=path)
    state = torch.load(path, weights_only=True)
    if place == "plain pickle":
        path.write_bytes(pickle.dumps(Evil(trap), protocol=2))
        pickle.loads(path.read_bytes())
    else:
        torch.save(Evil(trap) if place == "whole file" else {**state, place: Evil(trap)}, path)
        torch.load(path, weights_only=False)
    trap.rmdir()  # the code is real: it ran when it was trusted
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_checkpoint(path, vae)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        quick_fit(vae, images, epochs=2, checkpoint=path)
    assert not trap.exists()


def torch_bytes(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def zip_bytes():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("readme.txt", "not weights")
    return buffer.getvalue()


FOREIGN = {
    "empty": b"",
    "text": b"PROFILE = smoke\n" * 20,
    "unicode": "Gewichte für später\n".encode() * 20,
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "zip": zip_bytes(),
    "tensor": torch_bytes(torch.zeros(3)),
    "scalar": torch_bytes(3.0),
    "none": torch_bytes(None),
    "list": torch_bytes([1, 2]),
    "empty dict": torch_bytes({}),
    "bare weights": torch_bytes(small_vae(hidden=(2,)).state_dict()),
    "weights missing": torch_bytes({"architecture": str(small_vae(hidden=(2,))), "model": {}}),
    "weights of wrong kind": torch_bytes({"architecture": str(small_vae(hidden=(2,))), "model": 1}),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_by_name(kind, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_checkpoint(path, small_vae(hidden=(2,)))
    with pytest.raises(ValueError, match=re.escape(str(path))):
        quick_fit(small_vae(hidden=(2,)), small_images(4), checkpoint=path)
    assert path.read_bytes() == FOREIGN[kind]


def test_a_checkpoint_without_a_run_is_refused_by_fit(tmp_path, vae, images):
    path = tmp_path / "model.pt"
    save_checkpoint(path, vae)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        quick_fit(vae, images, checkpoint=path)


@given(part=st.floats(0, 0.999))
def test_a_truncated_checkpoint_is_refused_by_name(part, tmp_path_factory):
    path = tmp_path_factory.mktemp("truncated") / "model.pt"
    save_checkpoint(path, small_vae(hidden=(2,)))
    os.truncate(path, int(part * path.stat().st_size))
    with pytest.raises(ValueError, match=re.escape(path.name)):
        load_checkpoint(path, small_vae(hidden=(2,)))


@given(content=st.binary(max_size=60), start=st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04"]))
def test_random_bytes_are_refused_by_name(content, start, tmp_path_factory):
    path = tmp_path_factory.mktemp("random") / "model.pt"
    path.write_bytes(start + content)
    with pytest.raises(ValueError, match=re.escape(path.name)):
        load_checkpoint(path, small_vae(hidden=(2,)))


@pytest.mark.parametrize("lr", [np.float64(1e-2), np.float32(0.125)])
def test_a_learning_rate_from_numpy_resumes(lr, tmp_path, images):
    options = {"checkpoint": tmp_path / "model.pt", "lr": lr}
    quick_fit(small_vae(), images, epochs=1, **options)
    assert len(quick_fit(small_vae(), images, epochs=2, **options)["train"]["loss"]) == 2


@pytest.mark.parametrize("config", [{"file": pathlib.Path("x")}, {"beta": np.float64(1)}])
def test_a_config_either_comes_back_or_is_refused_before_training(config, tmp_path, images):
    path = tmp_path / "model.pt"
    try:
        quick_fit(small_vae(), images, epochs=1, checkpoint=path, config=config)
    except ValueError as error:
        assert "config" in str(error) and not path.exists()
    else:
        assert load_checkpoint(path, small_vae())["config"] == config


# --- A disk that does not do its part ---


def place_that_cannot_be_written(tmp_path, kind):
    (tmp_path / "file").write_text("a file")
    return {
        "folder": tmp_path,
        "parent is a file": tmp_path / "file" / "model.pt",
        "grandparent is a file": tmp_path / "file" / "runs" / "model.pt",
    }[kind]


@pytest.mark.parametrize("kind", ["folder", "parent is a file", "grandparent is a file"])
def test_an_unwritable_checkpoint_is_an_error_with_its_path_before_training(
    kind, tmp_path, vae, images
):
    path = place_that_cannot_be_written(tmp_path, kind)
    with pytest.raises(OSError, match=re.escape(str(path))):
        fit(vae, images, loss=never, checkpoint=path)
    with pytest.raises(OSError, match=re.escape(str(path))):
        save_checkpoint(path, vae)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize("broken", ["os.fsync", "os.replace"])
def test_a_failing_save_costs_neither_the_training_nor_the_last_checkpoint(
    broken, tmp_path, monkeypatch, capsys
):
    path, x, expected = tmp_path / "model.pt", small_images(), small_vae()
    history = quick_fit(expected, x, epochs=4)
    quick_fit(small_vae(), x, epochs=1, checkpoint=path)
    content = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    model = small_vae()
    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        assert quick_fit(model, x, epochs=4, checkpoint=path) == history
    assert same_weights(model, expected)
    assert "No space left on device" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"] and path.read_bytes() == content
    assert quick_fit(small_vae(), x, epochs=4, checkpoint=path) == history


def test_another_program_that_saves_under_the_same_name_meanwhile_spoils_nothing(
    tmp_path, monkeypatch
):
    path, ours, theirs, loaded = tmp_path / "model.pt", *(small_vae(seed=n) for n in range(3))
    fsync, pid = os.fsync, os.getpid()

    def another_program(descriptor):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            patch.setattr(os, "getpid", lambda: pid + 1)
            save_checkpoint(path, theirs)
        load_checkpoint(path, loaded)
        assert same_weights(loaded, theirs)

    monkeypatch.setattr(os, "fsync", another_program)
    save_checkpoint(path, ours)
    load_checkpoint(path, loaded)
    assert same_weights(loaded, ours) and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="needs the file size limit of POSIX")
def test_a_disk_that_is_really_full_costs_neither_training_nor_checkpoint(tmp_path, images, capsys):
    import resource

    path, expected, model = tmp_path / "model.pt", small_vae(), small_vae()
    history = quick_fit(expected, images, epochs=3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert quick_fit(model, images, epochs=3, checkpoint=path) == history
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same_weights(model, expected)
    assert "Checkpoint not written" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_saving_leaves_the_last_checkpoint_whole(tmp_path, images, monkeypatch):
    path, real = tmp_path / "model.pt", training.save_checkpoint

    def interrupt(*args):
        raise KeyboardInterrupt

    quick_fit(small_vae(), images, epochs=1, checkpoint=path)
    content = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", interrupt)
        history = quick_fit(small_vae(), images, epochs=3, checkpoint=path)
    assert len(history["train"]["loss"]) == 2
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]
    assert training.save_checkpoint is real


# --- Profile and device ---

PROFILES = {
    "smoke": {"epochs": 1, "images": 500},
    "laptop": {"epochs": 10, "images": 60_000},
    "gpu": {"epochs": 100, "images": 60_000},
}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_chosen_and_the_table_shows_all_of_them(name, capsys):
    assert choose_profile(name, **PROFILES) == PROFILES[name]
    header, epochs, images = capsys.readouterr().out.splitlines()
    assert all(profile in header for profile in PROFILES) and f"> {name} <" in header
    assert epochs.split() == ["epochs", "1", "10", "100"]
    assert images.split() == ["images", "500", "60,000", "60,000"]


def test_an_unknown_profile_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="PROFILE is 'fast'; expected one of smoke, laptop, gpu"):
        choose_profile("fast", **PROFILES)


@pytest.mark.parametrize("there_is_a_gpu, chosen", [(True, "cuda"), (False, "cpu")])
def test_the_device_is_the_gpu_where_there_is_one_unless_told(there_is_a_gpu, chosen, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there_is_a_gpu)
    assert pick_device().type == chosen
    assert pick_device("cpu").type == "cpu"
    assert pick_device(torch.device("cpu")).type == "cpu"


# --- On a GPU ---

on_cuda = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]


class TestOnCuda:
    pytestmark = on_cuda

    def test_fit_moves_the_model_and_reduces_the_loss(self, vae):
        history = quick_fit(vae, small_images(), small_images(10), epochs=5, lr=1e-2, device="cuda")
        assert next(vae.parameters()).device.type == "cuda"
        assert history["train"]["loss"][-1] < history["train"]["loss"][0] - 50

    def test_metrics_take_images_on_the_cpu_and_answer_there(self, vae, images):
        vae.to("cuda")
        bound = log_likelihood(vae, images, samples=20)
        assert bound.device.type == "cpu" and bound.isfinite().all()
        assert per_image(vae, images)["loss"].device.type == "cpu"

    def test_a_checkpoint_of_the_gpu_opens_on_the_cpu(self, vae, images, tmp_path):
        path, loaded = tmp_path / "model.pt", small_vae(seed=1)
        quick_fit(vae, images, epochs=1, device="cuda", checkpoint=path)
        load_checkpoint(path, loaded)
        assert same_weights(loaded, vae.cpu())

    def test_no_step_waits_for_a_number(self, vae):
        def reads_a_number(model, x):
            terms = negative_elbo(model, x)
            terms["loss"].mean().item()
            return terms

        x = small_images(400).to("cuda")

        def waits(loss):
            """How often the CPU waits for the GPU in an epoch of 200 steps."""
            mode = torch.cuda.get_sync_debug_mode()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                try:
                    quick_fit(vae, x, loss=loss, epochs=1, batch_size=2, device="cuda")
                finally:
                    torch.cuda.set_sync_debug_mode(mode)
            return sum("synchroniz" in str(warning.message) for warning in caught)

        assert waits(negative_elbo) < 50
        assert waits(reads_a_number) >= 200  # so that they are really counted


# --- A schedule of beta, and measurements ---


def test_a_schedule_reaches_the_loss_at_each_step_of_training_only(vae, images):
    seen, asked = [], []

    def schedule(progress):
        asked.append(progress)
        return progress / 2

    fit(
        vae, images, images, loss=recording(seen), epochs=3, batch_size=4, beta=schedule, quiet=True
    )
    assert asked == [step / 9 for step in range(9)]  # three steps an epoch
    assert [beta for training_mode, beta in seen if training_mode] == [p / 2 for p in asked]
    assert {beta for training_mode, beta in seen if not training_mode} == {1.0}


def test_a_schedule_of_ones_changes_nothing(images):
    models = small_vae(), small_vae()
    for model, schedule in zip(models, (None, lambda progress: 1.0), strict=True):
        fit(model, images, epochs=2, batch_size=4, beta=schedule, quiet=True)
    assert same_weights(*models)


def test_a_schedule_goes_on_where_a_stop_left_it(tmp_path, images):
    whole, parts, seen = small_vae(), small_vae(), []
    run = {"epochs": 4, "batch_size": 4, "beta": lambda progress: progress, "quiet": True}
    fit(whole, images, **run)

    @functools.wraps(negative_elbo)
    def stopping(model, x, beta=1.0):
        seen.append(beta)
        if len(seen) == 8:
            raise KeyboardInterrupt
        return negative_elbo(model, x, beta)

    fit(parts, images, loss=stopping, checkpoint=tmp_path / "a.pt", **run)
    again = small_vae()
    fit(again, images, checkpoint=tmp_path / "a.pt", **run)
    assert same_weights(whole, again)


def test_measurements_are_kept_for_each_epoch_and_survive_a_checkpoint(tmp_path, vae, images):
    def measure(model):
        assert not model.training and not torch.is_grad_enabled()
        torch.rand(3)  # the caller's random numbers go on as if nothing had been drawn
        return {"active": 1.5}

    run = {"measure": measure, "epochs": 3, "checkpoint": tmp_path / "a.pt", "quiet": True}
    state = torch.get_rng_state()
    history = fit(vae, images, **run)
    assert history["measured"] == {"active": [1.5] * 3}
    assert torch.equal(torch.get_rng_state(), state)
    assert fit(small_vae(), images, **run)["measured"] == {"active": [1.5] * 3}
    without = fit(small_vae(), images, epochs=3, checkpoint=tmp_path / "a.pt", quiet=True)
    assert without["measured"] == {"active": [1.5] * 3}, "what was measured is not lost"


def test_measuring_changes_no_weight(images):
    models = small_vae(), small_vae()
    for model, measure in zip(
        models, (None, lambda model: {"a": torch.rand(1).item()}), strict=True
    ):
        fit(model, images, epochs=2, batch_size=4, measure=measure, quiet=True)
    assert same_weights(*models)


# --- What a loss may give, and what training does when it diverges ---


@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda x: x.mean(), "loss gave Tensor (.*); expected a dict with 'loss' in it"),
        (lambda x: {"nll": x.flatten(1).sum(dim=1)}, "expected a dict with 'loss' in it"),
        (lambda x: {"loss": x.mean()}, r"loss gave 'loss': .*; expected .* for each image, \(8,\)"),
        (lambda x: {"loss": x.flatten(1)}, r"'loss': Tensor \(8, 784\)"),
        (lambda x: {"loss": x.sum((1, 2, 3)), "kl": 0.0}, "loss gave 'kl': 0.0; expected"),
    ],
)
@pytest.mark.parametrize("function", [quick_fit, functools.partial(per_image, batch_size=8)])
def test_a_loss_that_is_not_one_number_for_each_image_is_refused(function, answer, words, images):
    with pytest.raises(ValueError, match=words):
        function(small_vae(), images, loss=lambda model, x: answer(x))


def test_training_that_diverges_says_so_and_keeps_the_last_whole_checkpoint(tmp_path, images):
    def loss(model, x):
        terms = negative_elbo(model, x)
        steps.append(1)
        return {"loss": terms["loss"] * (math.nan if len(steps) > 5 else 1)}

    steps, path = [], tmp_path / "model.pt"  # two steps an epoch
    with pytest.raises(ValueError, match=r"the loss of epoch 3 is NaN .*: training diverged.* lr"):
        quick_fit(small_vae(), images, loss=loss, epochs=9, checkpoint=path)
    assert load_checkpoint(path, small_vae())["epoch"] == 2
    with pytest.raises(ValueError, match=r"NaN or infinite values; .* a smaller lr helps"):
        quick_fit(small_vae(), images, lr=1e6, epochs=9)


def test_what_a_killed_program_left_goes_with_a_later_checkpoint(tmp_path):
    old, fresh = tmp_path / "model.pt.123.partial", tmp_path / "model.pt.124.partial"
    other = tmp_path / "model.pt2.123.partial"
    for file in (old, fresh, other):
        file.write_bytes(b"half")
    for file in (old, other):
        os.utime(file, (1e9, 1e9))
    save_checkpoint(tmp_path / "model.pt", small_vae())
    assert sorted(tmp_path.iterdir()) == [tmp_path / "model.pt", fresh, other]
