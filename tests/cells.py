"""Ways to run the cells of a notebook, and what they show.

A child process imports this module, as it does small.py.
"""

import copy
import ctypes
import os
import re
import signal
import time

from tools import render
from vae_helpers import advice

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from papermill.clientwrap import PapermillNotebookClient
from small import processes, start
from traitlets.config import Config

MARKDOWN = "text/markdown"
LONGEST = 300  # seconds for all cells of a notebook
# Lines that differ from run to run (12: a graph that draws and knows no seed), and cells that speak
# of little but time.
ASIDE = re.compile(r".*(\d (s|min)\b|already trained, loaded|Panel object|same seed, twice).*\n?")
TIMED = re.compile(r"\b(seconds|minutes|hours|speed)\b")


def code_cells(path):
    """A notebook's code cells: (those up to the one with the settings, those after it)."""
    cells = render.code_cells(nbformat.read(path, as_version=4))
    last = next(i for i, cell in enumerate(cells) if "choose_profile(" in cell.source)
    return cells[: last + 1], cells[last + 1 :]


def lasting(source, text):
    """What must be the same in each run of what a cell shows."""
    return "" if TIMED.search(source) else ASIDE.sub("", text).strip()


def up_to(cells, text):
    """The cells to the last that has `text` in it."""
    return cells[: max(i for i, cell in enumerate(cells) if text in cell.source) + 1]


def shown(cell):
    """The text that a cell shows, as a screen has it in the end."""
    outputs = render.merge_streams(copy.deepcopy(cell.outputs))
    streams = [
        "".join(output.text for output in outputs if output.get("name") == name)
        for name in ("stdout", "stderr")
    ]
    return together(*streams, [output.data for output in outputs if "data" in output])


def together(stdout, stderr, displays):
    """What a cell has printed, then the texts of all that it displays."""
    texts = [data[kind] for data in displays for kind in ("text/plain", MARKDOWN) if kind in data]
    return "\n".join([stdout + stderr, *texts])


class EachCellTwice(PapermillNotebookClient):
    """Runs every cell that took less than `limit` seconds a second time at once.

    The second run must raise nothing and show what the first one showed.
    """

    limit = 0.3

    def execute_cell(self, cell, index):
        begun = time.perf_counter()
        super().execute_cell(cell, index)
        if cell.cell_type == "code" and time.perf_counter() - begun < self.limit:
            before = copy.deepcopy(cell)
            super().execute_cell(cell, index)
            first, second = (lasting(cell.source, shown(c)) for c in (before, cell))
            assert first == second, f"cell {index}, run twice:\n{first}\nthen\n{second}"
        return cell


def run_cells(cells, folder, variables, no_root=False, seconds=None):
    """Run cells in an IPython of a forked process, which is quicker than a kernel.

    `no_root`: permissions hold for root, too; `seconds`: after so much processor time, the stop
    button ends a cell below the settings. For each cell: (source, name of the error or None, what
    it shows).
    """
    answers = processes.Queue()
    sources = [cell.source for cell in cells]
    job = start(cells_job, sources, str(folder), variables, no_root, seconds, answers)
    try:
        return answers.get(timeout=LONGEST)
    finally:
        job.kill()
        job.join()


def cells_job(sources, folder, variables, no_root, seconds, answers):
    os.environ.pop("VAE_RUNS", None)
    os.environ.update(variables, VAE_PROFILE="smoke", MPLBACKEND="agg")
    os.chdir(folder)
    if no_root and os.getuid() == 0:
        give_up_writing_anywhere()
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    advice.register()  # a kernel imports vae_helpers when IPython is there; here it was before

    def stop_the_cell(_, frame):
        """Only while its own code runs: not while IPython shows its error."""
        while frame and frame.f_globals is not shell.user_global_ns:
            frame = frame.f_back
        if frame:
            raise KeyboardInterrupt

    signal.signal(signal.SIGVTALRM, stop_the_cell)
    seen, limit = [], 0
    for source in sources:
        if limit:
            signal.setitimer(signal.ITIMER_VIRTUAL, limit)
        with capture_output() as said:
            result = shell.run_cell(source)
        if limit:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if seconds and "choose_profile(" in source:
            limit = seconds  # from now on: imports are over
        error = result.error_before_exec or result.error_in_exec
        displays = [output.data for output in said.outputs]
        text = together(render.on_screen(said.stdout), said.stderr, displays)
        seen.append((source, type(error).__name__ if error else None, text))
    answers.put(seen)


def give_up_writing_anywhere():
    """Take Linux's CAP_DAC_OVERRIDE away from this process: root then writes as others do."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the call; this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, each in two words
    if libc.capget(header, sets) == 0:
        sets[0] &= ~2
        sets[1] &= ~2
        if libc.capset(header, sets) == 0:
            return
    raise OSError(ctypes.get_errno(), "cannot give up a capability")
