"""How long importing each module of `vae_helpers` takes, when torch is there already.

    python benchmarks/imports.py [rounds]

Each import is timed in a Python of its own; the largest parts are those of `-X importtime` (own
time of all modules of a package). Python's compiled files are made by a first round that does not
count.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median

from common import best_and_median, in_new_pythons, print_facts, print_table

PACKAGE = Path(__file__).resolve().parents[1] / "vae_helpers"
CODE = """
import json, sys, time
import vae_helpers
{before}
start = time.perf_counter()
{timed}
print(json.dumps(time.perf_counter() - start))
"""
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*(\w+)")  # own time in µs, package


def cases():
    """Name: what is there already, and what is timed."""
    modules = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
    return {
        "torch itself": ("", "import torch"),
        "the first `torch.optim.Adam(...)`": (
            "import torch\np = torch.nn.Parameter(torch.zeros(1))", "torch.optim.Adam([p])",
        ),
        **{f"`vae_helpers.{name}`": ("import torch", f"import vae_helpers.{name}")
           for name in [*modules, "exercises"]},
    }  # fmt: skip


def largest_parts(before, timed, most=3):
    """The packages that take the most of an import, as `name 1.23 s`."""
    mark = "print('-----', file=sys.stderr, flush=True)"
    code = f"import sys, vae_helpers\n{before}\n{mark}\n{timed}"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], stderr=subprocess.PIPE, check=True
    )
    microseconds = Counter()
    for own, package in LINE.findall(done.stderr.decode().partition("-----")[2]):
        microseconds[package] += int(own)
    parts = [f"{name} {us / 1e6:.2f} s" for name, us in microseconds.most_common(most) if us > 5000]
    return ", ".join(parts)


def main(rounds=5):
    chosen = cases()
    codes = {name: CODE.format(before=b, timed=t) for name, (b, t) in chosen.items()}
    in_new_pythons(codes, 1)
    results = in_new_pythons(codes, rounds)
    ordered = sorted(results, key=lambda name: -median(results[name]))
    print_table(
        ["import of", "best, s", "median, s", "largest parts"],
        *(
            [name, *best_and_median(results[name]), largest_parts(*chosen[name])]
            for name in ordered
        ),
    )
    print_facts(rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
