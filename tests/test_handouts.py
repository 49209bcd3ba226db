"""tools/handouts.py: the unsolved edition has no solution and no output, and runs."""

import ast
import builtins
from pathlib import Path

from tools import handouts, render

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# The others differ from their notebooks in the same way, and nbval runs those: a run of each would
# cost minutes and say little more than the check of names below.
RUN = ("00",)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def folder(tmp_path):
    """Somebody else's folder, with a space in its path."""
    folder = tmp_path / "my course"
    folder.mkdir()
    return folder


def tags(cell):
    return cell.metadata.get("tags", [])


def names(cells, context):
    """Names that the cells bind (ast.Store, and definitions and imports) or use (ast.Load)."""
    found = set()
    for cell in cells:
        for node in ast.walk(render.parse(cell.source)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, context):
                found.add(node.id)
            elif context is ast.Store and isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif context is ast.Store and isinstance(node, ast.alias):
                found.add((node.asname or node.name).partition(".")[0])
            elif context is ast.Store and isinstance(node, ast.arg):
                found.add(node.arg)
    return found


def needed_solutions(nb):
    """Names that only solutions bind and that other cells use."""
    code = render.code_cells(nb)
    solutions = [cell for cell in code if "solution" in tags(cell)]
    others = [cell for cell in code if "solution" not in tags(cell)]
    bound = names(others, ast.Store) | set(dir(builtins))
    return (names(solutions, ast.Store) - bound) & names(others, ast.Load)


@each_notebook
def test_handout_has_no_solutions_and_no_outputs(path, folder):
    handouts.hand_out(path, folder)
    nb = nbformat.read(folder / path.name, as_version=4)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    assert set(nb.metadata) <= {"kernelspec", "language_info"}
    solved = nbformat.read(path, as_version=4)
    kept = [(cell.id, cell.source) for cell in solved.cells if "solution" not in tags(cell)]
    assert [(cell.id, cell.source) for cell in nb.cells] == kept
    assert len(kept) < len(solved.cells), "this notebook has no solutions"
    for cell in render.code_cells(nb):
        assert cell.outputs == [] and cell.execution_count is None


@each_notebook
def test_handout_does_without_its_solutions(path):
    missing = needed_solutions(nbformat.read(path, as_version=4))
    assert not missing, f"cells use {missing}, which only a solution defines"


def test_name_that_only_a_solution_defines_is_seen():
    solution = new_code_cell("import os\ndef f(a): b = a", metadata={"tags": ["solution"]})
    nb = new_notebook(cells=[new_code_cell("b = 1"), solution, new_code_cell("f(b)\nlen(os.sep)")])
    assert needed_solutions(nb) == {"f", "os"}


@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem[:2] in RUN], ids=lambda path: path.stem
)
def test_handout_runs_in_another_folder(path, folder):
    handouts.hand_out(path, folder)
    nb = nbformat.read(folder / path.name, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(nb, kernel_name="python3", timeout=300, resources=resources).execute()
    render.check_widgets(nb)


def test_pictures_of_the_text_come_along(folder, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a b.png").write_bytes(b"a picture")
    (tmp_path / "images" / "c.png").write_bytes(b"another")
    text = '![a](images/a%20b.png) <img src="images/c.png" alt="c"> ![d](https://example.org/d.png)'
    output = new_output("display_data", {"text/plain": "1"})
    cells = [
        new_markdown_cell(text),
        new_code_cell("1", outputs=[output], execution_count=3),
        new_markdown_cell("the answer", metadata={"tags": ["solution"]}),
    ]
    nb = new_notebook(cells=cells, metadata={"widgets": {}, "vae_course": {}})
    nbformat.write(nb, tmp_path / "x.ipynb")
    handouts.hand_out(tmp_path / "x.ipynb", folder)
    assert (folder / "images" / "a b.png").read_bytes() == b"a picture"
    assert (folder / "images" / "c.png").read_bytes() == b"another"
    written = nbformat.read(folder / "x.ipynb", as_version=4)
    assert [cell.source for cell in written.cells] == [text, "1"]
    assert written.cells[1].outputs == [] and written.metadata == {}


def test_command_hands_out_every_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(handouts, "ROOT", tmp_path)
    monkeypatch.setattr(handouts, "BUILD", tmp_path / "build")
    assert handouts.main([]) == 0
    assert sorted(path.name for path in (tmp_path / "build").glob("*.ipynb")) == [
        path.name for path in NOTEBOOKS
    ]
    assert f"{len(NOTEBOOKS)} notebooks" in capsys.readouterr().out
