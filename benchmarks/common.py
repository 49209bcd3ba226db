"""What the benchmarks share: turns, tables in Markdown, and the facts that belong to them."""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from statistics import median


def take_turns(contestants, rounds):
    """Call each function of a dict in turn, `rounds` times; what each took, `{name: [seconds]}`.

    A slow moment of the machine meets all of them.
    """
    times = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def in_new_pythons(codes, rounds):
    """Run each code of a dict in turn in a Python of its own, `rounds` times.

    What each code prints in its last line is read as JSON: `{name: [value]}`.
    """

    def run(code):
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout.decode().splitlines()[-1])

    values = {name: [] for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            values[name].append(run(code))
    return values


def best_and_median(values, digits=2, scale=1):
    """Two cells of a table."""
    return f"{scale * min(values):.{digits}f}", f"{scale * median(values):.{digits}f}"


def print_table(head, *rows):
    """In Markdown: the first column to the left, the others, which hold numbers, to the right."""
    for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows):
        print("|", *row[:1], *(f"| {cell}" for cell in row[1:]), "|")


def print_facts(rounds, *more):
    """What a table's numbers depend on, in one line below it."""
    import torch  # not above: a parent of measured processes shall be small

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    facts = [
        f"{rounds} rounds", *more, f"{torch.get_num_threads()} threads",
        f"{os.cpu_count()} processors", device, f"torch {version('torch')}",
        f"Python {platform.python_version()}",
    ]  # fmt: skip
    print("", ", ".join(facts) + ".", sep="\n")
