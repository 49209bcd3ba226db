"""The contract that every notebook keeps, whatever it teaches, and its runs with parameters.

nbval runs every cell with the defaults; here stands what it cannot see. Cells are numbered from 0,
as in the list `nbformat.read(...).cells`.
"""

import ast
import difflib
import os
import re
from collections import namedtuple
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from tools import handouts, render
from vae_helpers.exercises import EXERCISES

import nbformat
import papermill
import pytest
from cells import EachCellTwice, lasting, run_cells, shown, up_to
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DOCUMENTS = [ROOT / "README.md", *NOTEBOOKS]
# An idea is written out in the notebook that teaches it, and nowhere else but in the helpers.
TAUGHT = {
    "01": {"Autoencoder"},
    "02": {"kl_divergence"},
    "03": {"reparameterize"},
    "04": {"VAE", "negative_elbo"},
    "05": {
        "conv_size",
        "transposed_conv_size",
        "conv_encoder",
        "conv_decoder",
        "LearnedGaussian",
    },
    "07": {"to_bins", "mutual_information_gap", "dci_disentanglement"},
    "08": {"ConditionalVAE"},
    "09": {"linear_warmup", "cyclical"},
    "10": {"HierarchicalVAE"},
}
# Files in the folder of runs after a run in smoke with SEED=1, besides exercises.json.
LEAVES = {
    "04": {"04_mlp_vae_smoke.pt"},
    "05": {f"05_{model}_digits_smoke_seed1.pt" for model in ("elbo", "iwae", "mlp")},
    "06": {"06_drawn-faces_smoke_seed1.pt"},
    "11": {"11_study.db", "11_winner_digits_smoke_seed1.pt"},
    "12": {"12_onnx/" + name for name in (
        "encoder.onnx", "decoder.onnx", "whole.onnx", "encoder.ready.onnx", "decoder.ready.onnx",
        "encoder.dynamic.onnx", "decoder.dynamic.onnx", "encoder.static.onnx",
        "decoder.static.onnx",
    )},
}  # fmt: skip
# Notebooks that go on from what an earlier run left, and what stands in the last cell that does.
RESUMING = {"05": "05_iwae_", "06": "checkpoint=", "11": "11_study.db"}
# Each panel's sliders at whole numbers, which a page sends as ints.
MOVE_SLIDERS = """
import gc, math
from vae_helpers.widgets import Panel
panels = [o for o in gc.get_objects() if issubclass(type(o), Panel) and "ranges" in o.spec]
for panel in panels:
    ranges = panel.spec["ranges"]
    panel.values = [math.ceil(low) for _, low, _, _ in ranges]
    panel.values = [math.floor(high) for _, _, high, _ in ranges]
print(len(panels), "panels moved")
"""
WITH_SLIDERS = re.compile(r"widgets\.(latent_)?sliders\(")
LONGEST_CELL = 40  # lines: more than that is no longer one screen
SLIDE_TYPES = {"slide", "subslide", "fragment", "notes", "skip", "-"}
WEB = ("http://", "https://", "//")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def numbered(nb, kind):
    return [(number, cell) for number, cell in enumerate(nb.cells) if cell.cell_type == kind]


def tags(cell):
    return cell.metadata.get("tags", [])


def outputs(nb):
    """(number of the cell, output) for all stored outputs."""
    return [(number, out) for number, cell in numbered(nb, "code") for out in cell.outputs]


# --- what stands in a notebook --------------------------------------------------------------------


def test_numbers_have_no_gaps():
    numbers = [path.stem[:3] for path in NOTEBOOKS]
    assert numbers == [f"{i:02}_" for i in range(len(NOTEBOOKS))], "two digits from 00, no gap"


@each_notebook
@pytest.mark.parametrize(
    "what, pattern",
    [
        ("a title", r"\A# \S"),
        ("the question", r"question"),
        ("what the reader can do afterwards", r"by the end you can\b"),
        ("prerequisites", r"prerequisites|you need"),
        ("the measured time", r"\*\*Time on two cores:\*\* \d"),
    ],
    ids=["title", "question", "aims", "prerequisites", "time"],
)
def test_first_cell_opens_the_notebook(path, what, pattern):
    first = read(path).cells[0]
    assert first.cell_type == "markdown", "the first cell is not markdown"
    found = re.search(pattern, first.source, re.IGNORECASE)
    assert found, f"the first cell lacks {what} ({pattern})"


@each_notebook
def test_parameters(path, monkeypatch):
    found = [cell for cell in read(path).cells if "parameters" in tags(cell)]
    assert len(found) == 1, f"{len(found)} cells are tagged parameters; papermill wants one"
    for variable, profile in ((None, "laptop"), ("gpu", "gpu")):
        monkeypatch.delenv("VAE_PROFILE", raising=False)
        if variable:
            monkeypatch.setenv("VAE_PROFILE", variable)
        values = {"os": os}
        exec(found[0].source, values)
        assert values.get("PROFILE") == profile, f"PROFILE with VAE_PROFILE={variable}"
        assert isinstance(values.get("SEED"), int), "SEED is missing or no whole number"


@each_notebook
def test_profiles(path):
    calls = [
        node
        for cell in render.code_cells(read(path))
        for node in ast.walk(render.parse(cell.source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("choose_profile")
    ]
    assert len(calls) == 1, "choose_profile is to be called once"
    names = [keyword.arg for keyword in calls[0].keywords]
    assert names == ["smoke", "laptop", "gpu"], f"profiles are {names}"


@each_notebook
def test_imports_stand_at_the_top(path):
    code = [(n, c) for n, c in numbered(read(path), "code") if "parameters" not in tags(c)]
    for number, cell in code[2:]:
        imports = [
            ast.unparse(node)
            for node in ast.walk(render.parse(cell.source))
            if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        allowed = not imports or "solution" in tags(cell)
        assert allowed, f"cell {number} imports, below the first two code cells: {imports}"


@each_notebook
def test_code_cells_fit_a_screen(path):
    for number, cell in numbered(read(path), "code"):
        lines = len(cell.source.splitlines())
        assert lines <= LONGEST_CELL, f"cell {number} has {lines} lines; at most {LONGEST_CELL}"


@each_notebook
def test_each_section_says_why_before_it_computes(path):
    """Between a heading and the code, or the next heading of its level, stands prose."""
    text = "\n".join(
        cell.source if cell.cell_type == "markdown" else "[code]"
        for cell in read(path).cells
        if cell.metadata.get("slideshow", {}).get("slide_type") != "notes"
    )
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        opening = re.sub(r"^#+ .*", "", body.partition("[code]")[0], flags=re.MULTILINE)
        assert opening.strip(), f"section {title!r} starts without a word"


@each_notebook
def test_end_of_the_notebook(path):
    text = "\n".join(cell.source for _, cell in numbered(read(path), "markdown"))
    for title in ("Summary", "References"):
        heading = re.search(rf"^#+ .*\b{title}\b", text, re.MULTILINE | re.IGNORECASE)
        assert heading, f"there is no section {title}"
    last_words = text[text.lower().rindex("summary") :]
    assert re.search(r"\bnext\b", last_words, re.IGNORECASE), "it does not say what comes next"
    later = NOTEBOOKS[NOTEBOOKS.index(path) + 1 :]
    if later:
        assert later[0].name in last_words, f"the summary does not link {later[0].name}"


@each_notebook
def test_cells_know_their_place_on_slides(path):
    found = set()
    for number, cell in enumerate(read(path).cells):
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        assert kind in SLIDE_TYPES, f"cell {number} has slide_type {kind!r}"
        found.add(kind)
    assert {"slide", "notes"} <= found, f"no slides or no speaker notes: {found}"


@each_notebook
def test_solutions_are_folded(path):
    for number, cell in numbered(read(path), "code"):
        hidden = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        if hidden or "solution" in tags(cell):
            assert hidden, f"cell {number}: a solution that is not folded (source_hidden)"
            assert "solution" in tags(cell), f"cell {number} is folded but no solution"
            comment = cell.source.startswith("#")
            assert comment, f"cell {number}: folded, it shows its first line, which is no comment"


# --- what is stored -------------------------------------------------------------------------------


@each_notebook
def test_file_format(path):
    nb = read(path)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
    ids = [cell.id for cell in nb.cells]
    assert len(set(ids)) == len(ids), "two cells share an id"
    assert "widgets" not in nb.metadata, "widget state is stored"
    size = path.stat().st_size
    assert size < render.LARGEST, f"{size:,} bytes; at most {render.LARGEST:,}"


@each_notebook
def test_stored_outputs_are_fresh(path):
    assert not render.is_stale(path), "the outputs are not those of this code: make render"


@each_notebook
def test_stored_outputs_come_from_one_run(path):
    nb = read(path)
    counts = [cell.execution_count for cell in render.code_cells(nb)]
    assert counts == list(range(1, len(counts) + 1)), "not run once from top to bottom"
    render.check_outputs(nb)  # errors, warnings, paths
    for number, output in outputs(nb):
        kinds = output.get("data", {})
        assert render.WIDGET_VIEW not in kinds, f"cell {number} stores a widget's view"


@each_notebook
def test_code_names_no_path_of_one_machine(path):
    """Nor the folder of runs itself: `runs_folder` knows where one can write."""
    for number, cell in numbered(read(path), "code"):
        found = render.find_absolute_path(cell.source)
        assert found is None, f"cell {number} names {found}"
        assert not re.search(r"\.\./runs|VAE_RUNS", cell.source), f"cell {number}"


@each_notebook
def test_stored_pictures_have_alternative_text(path):
    for number, output in outputs(read(path)):
        for kind in output.get("data", {}):
            if kind.startswith("image/"):
                alt = output.metadata.get(kind, {}).get("alt", "")
                assert alt.strip(), f"cell {number}: {kind} without alternative text"


# --- links and pictures in text -------------------------------------------------------------------

Reference = namedtuple("Reference", "place tag target alt")


class Tags(HTMLParser):
    """Collects the references of HTML: what it links to, shows or loads."""

    def __init__(self, place):
        super().__init__()
        self.place, self.found = place, []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        for name in ("href", "src"):
            if name in attributes:
                target, alt = attributes[name] or "", attributes.get("alt")
                self.found.append(Reference(self.place, tag, target, alt))


def references(path):
    """Every link and picture in a document's text and in the HTML and Markdown it displays."""
    if path.suffix == ".md":
        return in_markdown("the text", path.read_text(encoding="utf-8"))
    nb, found = read(path), []
    for number, cell in numbered(nb, "markdown"):
        found += in_markdown(f"cell {number}", cell.source)
    for number, output in outputs(nb):
        data = output.get("data", {})
        found += in_html(f"output of cell {number}", data.get("text/html", ""))
        found += in_markdown(f"output of cell {number}", data.get("text/markdown", ""))
    return found


def in_html(place, text):
    html = Tags(place)
    html.feed(text)
    return html.found


def in_markdown(place, text):
    # In code and formulas, [a](b) is no link and < opens no tag.
    text = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", "", text, flags=re.DOTALL)
    links = [Reference(place, "a", to, None) for to in re.findall(r"\]\(<?([^)\s>]+)", text)]
    images = re.findall(r"!\[([^\]]*)\]\(<?([^)\s>]+)", text)
    return [
        *in_html(place, text),
        *links,
        *(Reference(place, "img", to, alt) for alt, to in images),
    ]


@each_document
def test_pictures_in_text_have_alternative_text(path):
    for place, tag, target, alt in references(path):
        assert tag != "img" or (alt and alt.strip()), f"{place}: {target[:60]} has no alternative"


@each_document
def test_links_point_to_files_that_exist(path):
    for place, _, target, _ in references(path):
        if re.match(r"(\w+:|//|#)", target):  # elsewhere, or in the same document
            continue
        file = path.parent / unquote(target.partition("#")[0])
        assert file.exists(), f"{place} points to {target}, which does not exist"


def test_the_readme_names_sections_and_exercises_that_exist():
    """In its table of systems: `04, *Curves*, exercise 2` is notebook 04's section and exercise."""
    text = DOCUMENTS[0].read_text(encoding="utf-8")
    covered = text.partition("## What it covers")[2].partition("\n## ")[0]
    covered = covered.partition("| --- |")[2]
    checked = 0
    for number, section, exercise in re.findall(
        r"\b(0\d|1[0-2])\b|\*([^*]+)\*|exercise (\d+)", covered
    ):
        if number:
            cells = numbered(read(NOTEBOOKS[int(number)]), "markdown")
            prose = "\n".join(cell.source for _, cell in cells)
            headings = re.findall(r"^#+ (.*)", prose, re.MULTILINE)
        elif section:
            name = " ".join(section.split()).removesuffix(" …")
            assert any(h.startswith(name) for h in headings), f"no section {name!r} there"
        else:
            assert f"\n**Exercise {exercise} (" in prose, f"no exercise {exercise} there"
        checked += 1
    assert checked > 60


@each_notebook
def test_nothing_is_loaded_from_the_web(path):
    for place, tag, target, _ in references(path):
        assert tag == "a" or not target.startswith(WEB), f"{place} loads {target} (offline: blank)"


# --- the same code in notebook and helper -------------------------------------------------------


class WithoutChecks(ast.NodeTransformer):
    """Takes away what a helper has beyond the notebook's code: docstrings and argument checks."""

    def visit_body(self, node):
        node.body = [part for part in render.without_docstring(node) if not self.is_check(part)]
        return self.generic_visit(node)

    visit_FunctionDef = visit_ClassDef = visit_body

    @staticmethod
    def is_check(node):
        """`check_something(...)`, or an `if` that can do nothing but raise."""
        if isinstance(node, ast.If):
            return len(node.body) == 1 and isinstance(node.body[0], ast.Raise) and not node.orelse
        call = node.value if isinstance(node, ast.Expr) else None
        name = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
        return name.rpartition(".")[2].startswith("check_")


def definitions(source):
    """The functions and classes at the top level of some source: {name: node}."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name: node for node in render.parse(source).body if isinstance(node, kinds)}


def is_stub(node):
    """Whether it is left for the student: nothing but `raise NotImplementedError`."""
    body = render.without_docstring(node)
    return len(body) == 1 and ast.unparse(body[0]).startswith("raise NotImplementedError")


def core(node):
    return ast.unparse(WithoutChecks().visit(node))


@pytest.fixture(scope="module")
def helpers():
    modules = (
        "data", "networks", "models", "hierarchical", "losses", "training", "metrics",
        "disentanglement",
    )  # fmt: skip
    paths = [ROOT / "vae_helpers" / f"{name}.py" for name in modules]
    return {
        name: core(node)
        for path in paths
        for name, node in definitions(path.read_text(encoding="utf-8")).items()
        if not name.startswith("_")
    }


@each_notebook
def test_notebook_and_helpers_hold_the_same_code(path, helpers):
    written_out = set()
    for number, cell in numbered(read(path), "code"):
        for name, node in definitions(cell.source).items():
            if name not in helpers or is_stub(node):
                continue
            written_out.add(name)
            here, there = core(node).splitlines(), helpers[name].splitlines()
            diff = difflib.unified_diff(there, here, "vae_helpers", f"cell {number}", lineterm="")
            assert here == there, f"{name} is not the helpers' {name}:\n" + "\n".join(diff)
    missing = TAUGHT.get(path.stem[:2], set()) - written_out
    assert not missing, f"this notebook is to write out {missing}, which vae_helpers holds too"


def test_checks_do_not_count_as_code():
    written = "class A:\n    def f(self, x):\n        return x"
    helper = '''
class A:
    """An A."""

    def f(self, x):
        """The same."""
        data.check_images(x)
        if x is None:
            raise ValueError("x")
        return x
'''
    assert core(definitions(written)["A"]) == core(definitions(helper)["A"])
    other = definitions(written.replace("return x", "return -x"))["A"]
    assert core(other) != core(definitions(helper)["A"])


# --- runs with parameters -------------------------------------------------------------------------


def run(path, folder, monkeypatch, cell_seconds=300, **parameters):
    """Run a notebook as papermill's command would from another folder, quick cells twice."""
    monkeypatch.setattr("papermill.engines.PapermillNotebookClient", EachCellTwice)
    # Nothing but the parameter can choose the profile, and no earlier checkpoint can be found.
    monkeypatch.setenv("VAE_PROFILE", "laptop")
    monkeypatch.setenv("VAE_RUNS", str(folder / "runs"))
    return papermill.execute_notebook(
        path,
        folder / path.name,
        parameters=parameters,
        cwd=folder,
        kernel_name="python3",
        progress_bar=False,
        execution_timeout=cell_seconds,
    )


@each_notebook
def test_papermill_run_of_the_handout_and_its_solutions(path, tmp_path, monkeypatch):
    """No claim hangs on the seed or the folder, and the unsolved edition runs to its end.

    One run for both: the unsolved edition from top to bottom, and after it the solutions. A cell
    run twice in a row shows the same twice, the sliders move, and nothing but what `LEAVES` lists
    stays behind. A second run, in a new process and the same folder, goes on from it and shows the
    same.
    """
    given, folder = tmp_path / "given", tmp_path / "mon cours é 学"
    given.mkdir()
    folder.mkdir()
    handouts.hand_out(path, given)
    handout = read(given / path.name)
    solutions = [cell for cell in render.code_cells(read(path)) if "solution" in tags(cell)]
    handout.cells += [new_code_cell(MOVE_SLIDERS), *solutions]
    nbformat.write(handout, given / path.name)
    nb = run(given / path.name, folder, monkeypatch, PROFILE="smoke", SEED=1)
    errors = [f"cell {n}: {o.evalue}" for n, o in outputs(nb) if o.output_type == "error"]
    assert not errors, errors
    printed = "".join(o.get("text", "") for _, o in outputs(nb))
    assert "> smoke <" in printed, "choose_profile did not get PROFILE"
    ids = [id for id in EXERCISES if id[:2] == path.stem[:2]]
    assert printed.count(": not yet. Not written yet") == len(ids)
    assert [id for id in ids if f"{id}: right." not in printed] == []
    render.check_widgets(nb)
    panels = sum(bool(WITH_SLIDERS.search(cell.source)) for cell in render.code_cells(nb))
    assert int(re.search(r"(\d+) panels moved", printed)[1]) >= panels
    left = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    expected = {f"runs/{name}" for name in LEAVES.get(path.stem[:2], ())}
    assert left == {path.name, *expected, *(["runs/exercises.json"] if ids else [])}
    if path.stem[:2] in RESUMING:
        cells = [cell for cell in render.code_cells(nb) if "solution" not in tags(cell)]
        cells = up_to(cells, RESUMING[path.stem[:2]])
        again = run_cells(cells, folder, {"VAE_RUNS": str(folder / "runs")})
        loaded = any("already trained, loaded" in text for *_, text in again)
        assert loaded or path.stem[:2] == "11"  # its text counts the trials of its study
        for cell, (source, error, text) in zip(cells, again, strict=True):
            assert error is None, text
            assert lasting(source, text) == lasting(source, shown(cell)), source


@pytest.mark.full
@each_notebook
def test_every_cell_runs_twice_in_a_row(path, tmp_path, monkeypatch):
    """In the run above, only the quick ones do."""
    monkeypatch.setattr(EachCellTwice, "limit", 300)
    nb = run(path, tmp_path, monkeypatch, PROFILE="smoke")
    assert [o.evalue for _, o in outputs(nb) if o.output_type == "error"] == []


@pytest.mark.full
@each_notebook
def test_claims_hold_in_the_laptop_profile_with_another_seed(path, tmp_path, monkeypatch):
    """Some claims are true of whole runs on MNIST only; this takes most of an hour.

    The data are those of the folder in the environment variable VAE_FULL_DATA, else of `data/`.
    """
    monkeypatch.setenv("VAE_DATA", os.environ.get("VAE_FULL_DATA", str(ROOT / "data")))
    nb = run(path, tmp_path, monkeypatch, cell_seconds=3600, PROFILE="laptop", SEED=1)
    errors = [f"cell {n}: {o.evalue}" for n, o in outputs(nb) if o.output_type == "error"]
    assert not errors, errors


def test_unknown_profile_is_named(tmp_path, monkeypatch):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        run(NOTEBOOKS[0], tmp_path, monkeypatch, PROFILE="huge")
    assert caught.value.ename == "ValueError"
    assert caught.value.evalue == "PROFILE is 'huge'; expected one of smoke, laptop, gpu"
