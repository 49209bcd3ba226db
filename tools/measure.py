"""Time and peak memory of notebooks: `python tools/measure.py [--profile smoke] [notebook ...]`.

Runs every notebook (or those named) from the first cell to the last in one profile, `smoke` if none
is named, on two cores, and writes what each cost into the table of README.md, in the column whose
head names the profile. The outputs are thrown away; for `laptop`, `make render` does the same and
keeps them. The time includes the kernel's start and all imports. The memory is the most that the
kernel has held at once, in GB of 10^9 bytes, without processes that a notebook starts beside it.
"""

import argparse
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a script, Python looks only beside this file

from tools import render  # noqa: E402


def measure(notebooks, profile, readme):
    """Run the notebooks one after the other, write down what each cost, print all and their sum."""
    total, most = 0, 0
    for path in notebooks:
        nb = nbformat.read(path, as_version=4)
        try:
            seconds, megabytes = render.measured_run(nb, path.parent, profile)
            folder = render.environment(profile).get("VAE_DATA", str(ROOT / "data"))
            render.name_data_folder(nb, folder)  # the ladder may say where it looked
            render.check_outputs(nb)
        except render.Refused as refused:
            sys.exit(f"{path.name}: {refused}")
        words = render.in_words(seconds, megabytes)
        print(f"{path.name}: {words}", flush=True)
        render.update_readme(readme, path, profile, words)
        total, most = total + seconds, max(most, megabytes or 0)
    print(f"all {len(notebooks)}: {render.in_words(total, most or None)} at most")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of the course")
    parser.add_argument("--profile", default="smoke", choices=("smoke", "laptop", "gpu"))
    options = parser.parse_args(arguments)
    notebooks = options.notebooks or sorted(render.NOTEBOOKS.glob("*.ipynb"))
    measure(notebooks, options.profile, ROOT / "README.md")


if __name__ == "__main__":
    main()
