"""Run notebooks and store their outputs: `python tools/render.py [notebook ...]`, default all.

The outputs come from the `laptop` profile on real MNIST, on two cores, and are stored in a form
that does not change by chance: no timing, no widget state, no paths of this machine. A notebook
that fails, warns or grows too large stays as it was. With the outputs goes a hash of the code that
made them, so that `python tools/render.py --check` can tell, without running anything, which
stored outputs are stale. The time and the peak memory of the run go into the notebook's first cell
and into README.md.
"""

import argparse
import ast
import base64
import hashlib
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PACKAGE = ROOT / "vae_helpers"
LARGEST = 1_500_000  # bytes of one notebook
LONGEST = 1800  # seconds for one cell
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Base64 may look like anything, so data URIs are taken out before the search.
DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[\w+/=]+")
ABSOLUTE_PATH = re.compile(
    r"(?:(?<![\w./:~-])|file://)(?:/(?:home|work|tmp|root|Users|private|var|opt|mnt)/|"
    r"[A-Z]:\\\w[\w .-]*\\)[^\s'\"<>)]*"
)
TIME_LINE = re.compile(r"(\*\*Time on two cores:\*\* ).*")


class Refused(Exception):
    """Outputs that are not to be stored; the message says which and why."""


# --- which code the outputs belong to -----------------------------------------------------------


def code_hash(notebook, package=PACKAGE):
    """A hash of a notebook's code and of all that it imports from `package`, directly or not.

    It is taken from syntax trees without docstrings, so that comments, formatting and prose can
    change without a new run, and from scripts as they are. `package` is the folder of the helpers.
    """
    cells = [parse(cell.source) for cell in code_cells(nbformat.read(notebook, as_version=4))]
    digest = hashlib.sha256(repr([skeleton(tree) for tree in cells]).encode())
    for module, tree in sorted(imported_modules(cells, package).items()):
        digest.update(repr((module, skeleton(tree))).encode())
    for script in sorted(package.glob("*.js")):  # stored in the outputs of sliders
        digest.update(script.read_bytes())
    return digest.hexdigest()[:16]


def parse(source):
    """The syntax tree of a cell. IPython turns magics into function calls, which are Python."""
    return ast.parse(TransformerManager().transform_cell(source))


def skeleton(node):
    """A syntax tree as nested lists, the same on every Python version.

    `ast.dump` and `ast.unparse` are not: newer versions add fields and leave out empty ones.
    """
    if isinstance(node, list):
        return [skeleton(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
        fields["body"] = without_docstring(node)
    return [type(node).__name__, *([name, skeleton(value)] for name, value in fields.items())]


def without_docstring(node):
    """The body of a function, class or module without its docstring."""
    return node.body if ast.get_docstring(node, clean=False) is None else node.body[1:]


def imported_modules(trees, package):
    """The modules of `package` that the syntax trees import, and those that these import: trees."""
    found, waiting = {}, list(trees)
    while waiting:
        for name in imported_names(waiting.pop(), package.name):
            path = package / f"{name}.py"
            if name not in found and path.is_file():
                found[name] = ast.parse(path.read_text(encoding="utf-8"))
                waiting.append(found[name])
    return found


def imported_names(tree, package):
    """What a syntax tree may import from `package`: names of modules, and of other things too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # from . import x, inside the package
                base = f"{package}.{base}".rstrip(".")
            dotted = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in dotted:
            first, *rest = name.split(".")
            if first == package:
                yield "__init__"
                yield from rest[:1]


def is_stale(notebook):
    """Whether the stored outputs come from other code, or from another profile than `laptop`."""
    stored = nbformat.read(notebook, as_version=4).metadata.get("vae_course", {})
    return stored.get("code") != code_hash(notebook) or stored.get("profile") != "laptop"


# --- outputs in a form that can be kept -----------------------------------------------------------


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def check_outputs(nb):
    """Refuse errors (also in a widget's callback), warnings, and paths of this machine."""
    for number, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            check_output(output, f"cell {number}")
            for text in output_texts(output):
                if path := find_absolute_path(text):
                    raise Refused(f"cell {number} shows a path of this machine: {path}")
    check_widgets(nb)


def check_widgets(nb):
    """Refuse exceptions and warnings that an Output widget has caught: no cell shows them."""
    widgets = nb.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for widget in widgets.values():
        for output in widget["state"].get("outputs", []):
            check_output(output, "a widget's callback")


def check_output(output, place):
    if output["output_type"] == "error":
        lines = ANSI.sub("", "\n".join(output["traceback"])).splitlines()
        raise Refused("\n    ".join([f"{place} raised an exception:", *lines[-15:]]))
    if output["output_type"] == "stream" and output["name"] == "stderr":
        raise Refused(f"{place} wrote to stderr (a warning?):\n    {output['text'].strip()}")


def output_texts(output):
    """What an output says in words: streams and textual data, no pictures."""
    data = {"text/plain": output.get("text", ""), **output.get("data", {})}
    return [str(value) for kind, value in data.items() if not kind.startswith("image/")]


def find_absolute_path(text):
    """The first path of somebody's machine in the text, or None."""
    match = ABSOLUTE_PATH.search(DATA_URI.sub("", text))
    return match and match.group()


def name_data_folder(nb, folder):
    """Where a rung of the data ladder says in which folder it looked, write `data` for it."""
    for cell in code_cells(nb):
        for output in cell.outputs:
            if output.output_type == "stream":
                output.text = output.text.replace(folder, "data")


def normalise(nb):
    """Leave in a notebook what is the same whoever runs it, and whenever; ids of cells stay."""
    for count, cell in enumerate(code_cells(nb), start=1):
        cell.execution_count = count
        for timing in ("execution", "papermill", "ExecuteTime"):
            cell.metadata.pop(timing, None)
        cell.outputs = merge_streams(filter(None, map(static_form, cell.outputs)))
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    for key in ("widgets", "papermill"):
        nb.metadata.pop(key, None)
    nb.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
    }
    nb.metadata["language_info"] = {"name": "python"}
    nb.nbformat, nb.nbformat_minor = 4, 5


def static_form(output):
    """An output without its live widget: the picture or HTML beside it stays, or nothing does."""
    if WIDGET_VIEW not in output.get("data", {}):
        return output
    for kind in (WIDGET_VIEW, "text/plain"):  # the text is only the widget's long name
        output.data.pop(kind, None)
    return output if output.data else None


def merge_streams(outputs):
    """One stream output instead of several in a row, with what remains of it on a screen."""
    merged = []
    for output in outputs:
        last = merged[-1] if merged else None
        both = last is not None and last.output_type == output.output_type == "stream"
        if both and last.name == output.name:
            last.text += output.text
        else:
            merged.append(output)
    for output in merged:
        if output.output_type == "stream":
            output.text = on_screen(output.text)
    return [output for output in merged if output.output_type != "stream" or output.text.strip()]


def on_screen(text):
    """The text as a terminal shows it in the end: a carriage return starts its line again."""
    *lines, last = (overwrite(line) for line in text.replace("\r\n", "\n").split("\n"))
    # A progress bar that removed itself leaves nothing, not an empty line.
    return "".join(f"{line}\n" for line in lines if line is not None) + (last or "")


def overwrite(line):
    """A line after its carriage returns; None if nothing is left of what stood there."""
    if "\r" not in line:
        return line
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    return shown.rstrip() or None


# --- one notebook ---------------------------------------------------------------------------------


def render(path):
    """Run one notebook, store its outputs, and return what it cost: seconds, peak megabytes."""
    nb = nbformat.read(path, as_version=4)
    code = code_hash(path)
    profile = os.environ.get("VAE_PROFILE", "laptop")
    seconds, megabytes = measured_run(nb, path.parent, profile)
    name_data_folder(nb, environment(profile).get("VAE_DATA", str(ROOT / "data")))
    check_outputs(nb)
    normalise(nb)
    minutes = round(seconds / 60, 2)
    cost = {"minutes": minutes, "megabytes": megabytes}
    nb.metadata["vae_course"] = {"code": code, "profile": profile, **cost}
    if profile == "laptop" and nb.cells:
        first = nb.cells[0]
        first.source = TIME_LINE.sub(rf"\g<1>{in_words(seconds, megabytes)}", first.source)
    nbformat.validate(nb)
    text = nbformat.writes(nb) + "\n"
    content = text.encode()
    if len(content) > LARGEST:
        raise Refused(f"{len(content):,} bytes; at most {LARGEST:,}: fewer or smaller figures?")
    write_whole(path, content)
    return seconds, megabytes


def measured_run(nb, folder, profile):
    """Run all cells; the seconds that it took, and the kernel's peak memory in megabytes."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="vae-runs-") as runs:
        # A checkpoint of an earlier run would be loaded, and the time would not be the real one.
        megabytes = execute(nb, folder, {**environment(profile), "VAE_RUNS": runs})
    return time.perf_counter() - start, megabytes


def environment(profile):
    """The kernel's environment: the time is for two cores, unless the profile is for a GPU."""
    variables = {**os.environ, "VAE_PROFILE": profile}
    if profile != "gpu":
        variables.setdefault("OMP_NUM_THREADS", "2")
        variables["CUDA_VISIBLE_DEVICES"] = ""
    if "VAE_DATA" in variables:  # the kernel works in another folder
        variables["VAE_DATA"] = os.path.abspath(variables["VAE_DATA"])
    return variables


def execute(nb, folder, variables):
    """Run all cells in `folder`; the outputs go into `nb`, the first error is a `Refused`.

    Returns the kernel's peak memory in megabytes, None where the system does not tell.
    """
    megabytes = None

    def note_memory(**_):
        nonlocal megabytes
        megabytes = peak_megabytes(client.km.provisioner.pid)

    client = NotebookClient(
        nb,
        kernel_name="python3",
        timeout=LONGEST,
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns of its own local transport
        resources={"metadata": {"path": str(folder)}},
        on_cell_executed=note_memory,  # after the last cell the kernel is gone
    )
    try:
        client.execute(env=variables)
    except CellExecutionError:
        check_outputs(nb)  # names the cell
        raise
    except (CellTimeoutError, DeadKernelError) as error:
        raise Refused(str(error).strip()) from error
    return megabytes


def peak_megabytes(pid):
    """The most memory that a process has held at once, without its children; None if unknown."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # not Linux
        return None
    return round(int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024 / 1e6)


def write_whole(path, content):
    """Write a file so that it is there in full or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


# --- README ---------------------------------------------------------------------------------------


def in_words(seconds, megabytes=None):
    time = f"{max(1, round(seconds))} s" if seconds < 59.5 else f"{seconds / 60:.1f} min"
    return time if megabytes is None else f"{time}, {megabytes / 1000:.1f} GB"


def update_readme(readme, notebook, profile, words):
    """Write `words` into the notebook's row of the table, in the column whose head names `profile`.

    Without such a row or column README stays as it is.
    """
    lines, column = readme.read_text(encoding="utf-8").splitlines(keepends=True), None
    for i, line in enumerate(lines):
        cells = line.split("|")
        if not line.startswith("|"):
            column = None
        elif line.startswith("| notebook"):
            column = next((n for n, cell in enumerate(cells) if f"`{profile}`" in cell), None)
        elif f"(notebooks/{notebook.name})" in line and column:
            cells[column] = f" {words} "
            lines[i] = "|".join(cells)
    write_whole(readme, "".join(lines).encode())


def extract_picture(notebook):
    """Store the first picture of the cell tagged `readme` beside the notebook, for README.md."""
    pictures = [
        output.data["image/png"]
        for cell in code_cells(nbformat.read(notebook, as_version=4))
        if "readme" in cell.metadata.get("tags", [])
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    if pictures:
        folder = notebook.parent / "images"
        folder.mkdir(exist_ok=True)
        write_whole(folder / f"{notebook.stem}.png", base64.b64decode(pictures[0]))


# --- the command ----------------------------------------------------------------------------------


def require_mnist():
    """Stored outputs show real MNIST, so that a reader sees what the text speaks of."""
    from vae_helpers.data import load_images  # torch: slow to import

    try:
        load_images("mnist-folder")
    except OSError as error:
        raise Refused(
            f"Outputs are stored from real MNIST only: {error}\n"
            "VAE_DATA is the folder that holds MNIST/raw."
        ) from error


def check(notebooks):
    stale = [path for path in notebooks if is_stale(path)]
    for path in stale:
        print(f"{path.name}: the stored outputs are not those of its code; run make render.")
    if not stale:
        print("All stored outputs belong to the code as it is.")
    return len(stale)


def render_all(notebooks):
    require_mnist()
    failed = 0
    for path in notebooks:
        try:
            words = in_words(*render(path))
        except Refused as refused:
            failed += 1
            print(f"{path.name}: not stored. {refused}", file=sys.stderr, flush=True)
            continue
        print(f"{path.name}: {words}, {path.stat().st_size / 1000:.0f} kB", flush=True)
        if os.environ.get("VAE_PROFILE", "laptop") == "laptop":
            extract_picture(path)
            if (ROOT / "README.md").exists():
                update_readme(ROOT / "README.md", path, "laptop", words)
    return failed


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of the course")
    parser.add_argument("--check", action="store_true", help="only say which outputs are stale")
    options = parser.parse_args(arguments)
    notebooks = options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in notebooks:
        if not path.is_file():
            parser.error(f"no such notebook: {path}")
    try:
        return 1 if (check if options.check else render_all)(notebooks) else 0
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
