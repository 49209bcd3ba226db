"""Write the unsolved edition: `python tools/handouts.py [notebook ...]`, default all.

Each notebook goes to build/handouts/ without its solutions and outputs, with the pictures that its
text shows. A student needs the course's environment beside it, and nothing else.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python looks only beside this file

from tools import render  # noqa: E402

NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "build" / "handouts"
PICTURE = re.compile(r"!\[[^\]]*\]\(<?([^)\s>]+)|<img\b[^>]*\bsrc=[\"']([^\"']+)")


def unsolved(nb):
    """A notebook as a student gets it: no solutions, no outputs, no trace of a run."""
    nb, _ = TagRemovePreprocessor(remove_cell_tags={"solution"}).preprocess(nb, {})
    nb, _ = ClearOutputPreprocessor().preprocess(nb, {})
    for key in ("widgets", "vae_course", "papermill"):
        nb.metadata.pop(key, None)
    return nb


def pictures(nb):
    """The files that a notebook's text shows, as they are named there."""
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    found = {unquote(markdown or html) for markdown, html in PICTURE.findall(text)}
    return sorted(name for name in found if not re.match(r"\w+:|/", name))


def hand_out(path, folder):
    nb = unsolved(nbformat.read(path, as_version=4))
    for name in pictures(nb):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path.parent / name, folder / name)
    nbformat.validate(nb)
    render.write_whole(folder / path.name, (nbformat.writes(nb) + "\n").encode())


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of the course")
    options = parser.parse_args(arguments)
    notebooks = options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in notebooks:
        if not path.is_file():
            parser.error(f"no such notebook: {path}")
    BUILD.mkdir(parents=True, exist_ok=True)
    for path in notebooks:
        hand_out(path, BUILD)
    print(f"{len(notebooks)} notebooks without solutions: {BUILD.relative_to(ROOT)}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
