"""One world for all tests, whoever runs them: the smoke profile, no network, no data, own folders.

It is set up while pytest imports this file, so that the kernels of nbval and papermill, pytest's
workers and all other commands that tests start inherit it.
"""

import os
import runpy
import shutil
import tempfile
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

WHOLE_RUN = "test_papermill_run_of"  # part of the name of these tests
# They share a fork server, which takes seconds to start: one worker for all of them.
WITH_PROCESSES = ("test_data.py", "test_faults.py", "test_notebook_faults.py", "test_training.py")
NO_NETWORK = Path(__file__).resolve().parent / "tests" / "no_network"
# Each of pytest's workers imports this file as well and makes a folder of its own.
FOLDER = Path(tempfile.mkdtemp(prefix="vae-tests-"))


def set_environment():
    for variable, name in (("VAE_DATA", "data"), ("VAE_RUNS", "runs")):
        (FOLDER / name).mkdir()
        os.environ[variable] = str(FOLDER / name)
    os.environ["VAE_PROFILE"] = "smoke"
    # Three workers on two cores: more threads would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A proxy on this machine would be a way out.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [folder for folder in path if folder and folder != str(NO_NETWORK)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(NO_NETWORK), *kept])


set_environment()
runpy.run_path(str(NO_NETWORK / "sitecustomize.py"), run_name="no_network")


def pytest_unconfigure():
    shutil.rmtree(FOLDER, ignore_errors=True)


def pytest_collection_modifyitems(items):
    items.sort(key=order)
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch  # takes seconds, so only where it is asked

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU; there is none here"))


def order(item):
    """Longest first: notebooks cell by cell, then runs of whole notebooks, then all the rest."""
    return 0 if item.path.suffix == ".ipynb" else 1 if WHOLE_RUN in item.name else 2


class Shares(LoadFileScheduling):
    """A file's tests stay in one worker; each run of a whole notebook goes where there is room."""

    def _split_scope(self, nodeid):
        if WHOLE_RUN in nodeid:
            return nodeid
        file = super()._split_scope(nodeid)
        return "with processes of their own" if file.endswith(WITH_PROCESSES) else file


@pytest.hookimpl(optionalhook=True)  # unknown where xdist is switched off
def pytest_xdist_make_scheduler(config, log):
    return Shares(config, log)
