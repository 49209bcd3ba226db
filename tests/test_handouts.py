"""tools/handouts.py: the unsolved edition has no solution and no output.

That it runs is tested in test_notebooks.py. Here stands, too, what an exercise has to look like in
a notebook. How its answers are judged is tested in test_exercises.py.
"""

import ast
import builtins
import inspect
import re
import textwrap
from pathlib import Path

from tools import handouts, render
from vae_helpers.exercises import EXERCISES

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXERCISE = re.compile(r"\*\*Exercise (\d+) \((★+), (\d+) minutes(?:, ([^)]+))?\)\.\*\* ")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)


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


@each_notebook
def test_no_answer_survives_in_a_handout(path):
    solved = nbformat.read(path, as_version=4)
    nb = handouts.unsolved(nbformat.read(path, as_version=4))
    text = "\n".join(cell.source for cell in nb.cells)
    for word in ("<details", "Rubric", "# Solution"):
        assert word not in text, f"{word} stands in a cell that is not tagged solution"
    for cell in solved.cells:
        if "solution" in tags(cell):
            for line in cell.source.splitlines():
                comment = line.startswith("# ") and len(line) > 60
                assert not comment or line not in text, f"a line of a solution: {line}"
    known = {bare(exercise.reference): id for id, exercise in EXERCISES.items()}
    for cell in render.code_cells(nb):
        for node in ast.walk(render.parse(cell.source)):
            if isinstance(node, ast.FunctionDef):
                assert bare(node) not in known, f"{known[bare(node)]} is written out: {node.name}"


def bare(function):
    """The body of a function, without docstring and argument checks, as text."""
    if callable(function):
        source = textwrap.dedent(inspect.getsource(function))
        (function,) = ast.parse(source).body
    lines = [ast.unparse(node) for node in render.without_docstring(function)]
    return "\n".join(line for line in lines if not line.startswith("check_"))


# --- exercises in notebooks -----------------------------------------------------------------------


def stubs(nb):
    """(id, stub's tree, tree of the solution that follows) for each exercise with a check."""
    code = render.code_cells(nb)
    for stub, solution in zip(code, [*code[1:], None], strict=True):
        found = re.search(r"exercises\.check\(\"([\w.]+)\"", stub.source)
        if found and "solution" not in tags(stub):
            assert solution is not None and "solution" in tags(solution), f"{found[1]}: no solution"
            yield found[1], render.parse(stub.source), render.parse(solution.source)


@each_lesson
def test_exercises_have_what_they_need(path):
    nb = nbformat.read(path, as_version=4)
    statements = [EXERCISE.search(cell.source) for cell in nb.cells]
    statements = [found.groups() for found in statements if found]
    numbers = [int(number) for number, *_ in statements]
    assert numbers == list(range(1, len(numbers) + 1)), "numbered from 1 in order"
    kinds = [kind for *_, kind in statements]
    assert kinds.count("find the bug") >= 2 and "predict, then run" in kinds and "open" in kinds
    solutions = "\n".join(cell.source for cell in nb.cells if "solution" in tags(cell))
    assert solutions.count("# Rubric") == kinds.count("open"), "a rubric for each open one"
    assert "For the instructor" in solutions, "no notes for the instructor"
    questions = sum(cell.source.startswith("**Question.**") for cell in nb.cells)
    answers = sum(cell.source.startswith("<details>") for cell in nb.cells)
    assert questions == answers >= len(list(stubs(nb)))


@each_lesson
def test_stub_and_solution_differ_only_in_the_body(path):
    found = []
    for id, stub, solution in stubs(nbformat.read(path, as_version=4)):
        found.append(id)
        function, check = stub.body  # nothing else stands in a stub's cell
        body = [ast.unparse(node) for node in render.without_docstring(function)]
        assert body == ["raise NotImplementedError"], id
        name = EXERCISES[id].reference.__name__
        assert ast.unparse(check) == f"{name} = exercises.check('{id}', {name})", id
        (solved,) = [n for n in solution.body if getattr(n, "name", None) == name]
        assert ast.unparse(solved.args) == ast.unparse(function.args), id
        assert ast.get_docstring(solved) == ast.get_docstring(function), id
        assert ast.unparse(check) in [ast.unparse(node) for node in solution.body], id
    assert sorted(found) == sorted(id for id in EXERCISES if id[:2] == path.stem[:2])
    assert len(found) >= 3


def test_name_that_only_a_solution_defines_is_seen():
    solution = new_code_cell("import os\ndef f(a): b = a", metadata={"tags": ["solution"]})
    nb = new_notebook(cells=[new_code_cell("b = 1"), solution, new_code_cell("f(b)\nlen(os.sep)")])
    assert needed_solutions(nb) == {"f", "os"}


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
