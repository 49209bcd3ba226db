"""Notebooks in a classroom: cells out of order, a second run, the stop button, no right to write.

That each cell can be run twice in a row is checked in test_notebooks.py, in the run of the whole.
"""

import os
import re
import sys
from pathlib import Path

import pytest
from cells import code_cells, lasting, run_cells, up_to
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = {path.stem[:2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
WRITING = ("04", "05", "06", "11", "12")  # they leave more than exercises.json


def cells_of(number, until=""):
    """All code cells of a notebook, or those to the last that has `until` in it."""
    return up_to([cell for part in code_cells(NOTEBOOKS[number]) for cell in part], until)


def execute(sources, **options):
    """The cells after a run in a real kernel."""
    nb = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(nb, kernel_name="python3", **options).execute()
    return nb.cells


# --- a name that no cell has made ---

ADVICE = "`images` is used here, but no cell has made it yet.\nRun the cells above first"


def errors(cell):
    return [
        (output.ename, "\n".join(output.traceback))
        for output in cell.outputs
        if output.output_type == "error"
    ]


def test_a_missing_name_is_explained_and_stays_an_error():
    begin, top, comprehension, inside, bug, fine, after = execute(
        [
            "import vae_helpers",
            "print(images.shape)",
            "[n + images for n in range(2)]",
            "def look(n):\n    return n + images\n\nlook(2)",
            "def look():\n    print(own)\n    own = 1\n\nlook()",
            "images = 3\nlook = None",
            "print(images)",
        ],
        allow_errors=True,
    )
    assert begin.outputs == fine.outputs == []
    for cell in (top, comprehension):
        ((kind, text),) = errors(cell)
        assert kind == "NameError" and ADVICE in text and len(text.splitlines()) == 3
    ((kind, text),) = errors(inside)
    assert kind == "NameError" and ADVICE in text and "Traceback" in text
    ((kind, text),) = errors(bug)
    assert kind == "UnboundLocalError" and "no cell has made it" not in text
    assert after.outputs[0].text == "3\n"


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_cells_in_reverse_order_work_or_name_what_is_missing(number, tmp_path):
    first, later = code_cells(NOTEBOOKS[number])
    cells = [*first, *reversed(later)]
    seen = run_cells(cells, tmp_path, {"VAE_RUNS": str(tmp_path / "runs")}, seconds=0.3)
    assert len(seen) == len(cells)
    for source, error, text in seen:
        explained = error == "NameError" and "no cell has made it yet" in text
        assert explained or error in (None, "KeyboardInterrupt"), f"{source}\n{text}"


# --- run all, restart, run all ---


@pytest.mark.full
@pytest.mark.parametrize("number", WRITING)
def test_a_second_run_in_the_same_folder_shows_the_same(number, tmp_path):
    """The whole of it; in test_notebooks.py, the cells that go on from what the first run left."""
    cells = cells_of(number)
    runs = [run_cells(cells, tmp_path, {"VAE_RUNS": str(tmp_path / "runs")}) for _ in range(2)]
    assert [(source, text) for run in runs for source, error, text in run if error] == []
    for (source, _, first), (_, _, second) in zip(*runs, strict=True):
        assert lasting(source, second) == lasting(source, first), source


# --- a course that only its owner can write ---


# To the last cell that writes. Of the others test_notebooks.py shows that all they write goes into
# the folder of runs, too.
PARTLY = {"00": "load_images(", "04": "save_checkpoint(path", "06": "checkpoint="}
WHOLLY = [pytest.param(number, "", marks=pytest.mark.full) for number in WRITING]
READ_ONLY = "Checkpoints are not kept: ../runs cannot be written"


@pytest.fixture
def course(tmp_path):
    """A folder that nobody can write, with an empty folder for notebooks in it."""
    if sys.platform == "win32" or (os.getuid() == 0 and sys.platform != "linux"):
        pytest.skip("permissions do not bind here")
    folders = tmp_path / "course" / "notebooks", tmp_path / "course"
    folders[0].mkdir(parents=True)
    for folder in folders:
        folder.chmod(0o555)
    yield folders[1]
    for folder in folders:
        folder.chmod(0o755)


@pytest.mark.parametrize("number, until", [*PARTLY.items(), *WHOLLY])
def test_a_read_only_course_runs_to_its_end_and_says_that_nothing_is_kept(number, until, course):
    cells, variables = cells_of(number, until), {"VAE_DATA": str(course / "data")}
    seen = run_cells(cells, course / "notebooks", variables, no_root=True)
    assert [(source, text) for source, error, text in seen if error] == []
    lines = [line for *_, text in seen for line in text.splitlines() if line.startswith(READ_ONLY)]
    assert len(lines) == (number in WRITING)
    assert sorted(course.rglob("*")) == [course / "notebooks"]


def test_a_folder_for_checkpoints_that_exists_and_cannot_be_written(course, tmp_path):
    folder = course / "notebooks"
    code = "from vae_helpers.training import runs_folder\nprint(runs_folder() == runs_folder())"
    cells, variables = [new_code_cell(code)], {"VAE_RUNS": str(folder)}
    ((_, error, text),) = run_cells(cells, tmp_path, variables, no_root=True)
    assert error is None and text.endswith("True\n")
    assert f"{folder} cannot be written (it is read-only)" in text


# --- the stop button ---

STOP = """
import signal, threading, time
def stop():
    while len(snapshots) < 20:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
snapshots, settings["epochs"] = {}, 10**6
threading.Thread(target=stop, daemon=True).start()
"""


def test_stopped_training_keeps_model_and_history_and_the_next_cells_run():
    """Notebook 04's own loop in a real kernel; a stop within `fit`: test_training.py."""
    sources = [cell.source for cell in cells_of("04", "100 samples from the prior")]
    (training,) = (i for i, source in enumerate(sources) if "for epoch in bar" in source)
    sources[training] = STOP + sources[training]
    sources.append('print(len(history["train"]["loss"]), len(snapshots))')
    cells = execute(sources, timeout=300)
    said = "".join(output.get("text", "") for output in cells[training].outputs)
    epochs = int(re.search(r"stopped after (\d+) epochs; model and history are kept", said)[1])
    assert epochs >= 20
    assert cells[-1].outputs[0].text == f"{epochs} {epochs}\n"
