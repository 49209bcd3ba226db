"""The study of notebook 11: what its own functions do with several workers, a kill, a database.

The functions are taken from the notebook's cells. The workers are processes of their own, which
need neither torch nor images: their objective is a toy.
"""

import ast
import json
import signal
import subprocess
import sys
from pathlib import Path

from tools import render

import nbformat
import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "11_choosing_a_vae.ipynb"
FUNCTIONS = {"open_study", "count", "work"}
HEAVY = ("torch", "vae_helpers", "matplotlib")

TOY = """
def toy(trial):
    x = trial.suggest_float("x", -1, 1)
    trial.set_user_attr("worker", {number})
    trial.report(x**2, step=1)
    time.sleep({seconds})
    return x**2

def state(study):
    return [[t.number, t.state.name, t.params.get("x"), t.value, t.user_attrs.get("worker"),
             str(t.datetime_complete), t.system_attrs.get("failed_trial")] for t in study.trials]

study = open_study({url!r}, {name!r}, beat=1)
"""


@pytest.fixture(scope="module")
def head():
    """The notebook's imports, without the slow ones, its settings of Optuna, and its functions."""
    nodes, found = [], set()
    for cell in render.code_cells(nbformat.read(NOTEBOOK, as_version=4)):
        if "solution" in cell.metadata.get("tags", []):
            continue
        for node in render.parse(cell.source).body:
            line = ast.unparse(node)
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                if not any(word in line for word in HEAVY):
                    nodes.append(line)
            elif isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS:
                found.add(node.name)
                nodes.append(line)
            elif line.startswith(("optuna.logging.", "warnings.filterwarnings(")):
                nodes.append(line)
    assert found == FUNCTIONS
    return "\n".join(nodes)


@pytest.fixture
def start(head, tmp_path):
    """Starts a process with the notebook's functions; whatever still runs at the end is killed."""
    started = []

    def start(code, number=0, seconds=0.05, name="toy"):
        url = f"sqlite:///{tmp_path / 'study.db'}"
        toy = TOY.format(number=number, seconds=seconds, url=url, name=name)
        script = tmp_path / f"worker{len(started)}.py"
        script.write_text(f"{head}\n{toy}\n{code}\n", encoding="utf-8")
        started.append(subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True))  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def answer(process):
    """What a worker prints last, as JSON."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == "", "nothing is written to stderr"
    return json.loads(out.splitlines()[-1])


SHOW = "\nimport json; print(); print(json.dumps(state(study)))"


def finished(trials):
    return [t for t in trials if t[1] in ("COMPLETE", "PRUNED")]


def test_two_workers_finish_exactly_the_budget(start):
    """Both open a database that is not there yet, at the same moment."""
    meet = """
study.set_user_attr("worker {n}", "is here")
while len(study.user_attrs) < 2:
    time.sleep(0.05)
work(study, toy, 14, seed=1000 * {n})"""
    workers = [start(meet.format(n=n) + SHOW, number=n) for n in (0, 1)]
    for trials in map(answer, workers):  # each ends only when all have finished
        assert [t[0] for t in trials] == list(range(len(trials)))
        done = finished(trials)
        assert len(done) == 14
        assert len({t[2] for t in done}) == 14, "no settings twice"
        assert all(t[3] == t[2] ** 2 for t in done)
        others = {t[1] for t in trials} - {"COMPLETE", "PRUNED"}
        assert others <= {"FAIL"}, "nothing left over"
    assert {t[4] for t in done} == {0, 1}, "both took part"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_a_killed_worker_loses_and_doubles_nothing(start):
    kill = """
import os, signal
def dying(trial):
    if trial.number == 3:
        trial.suggest_float("x", -1, 1)
        time.sleep(0.5)  # time for a sign of life
        os.kill(os.getpid(), signal.SIGKILL)
    return toy(trial)
"""
    first = start(f"{kill}work(study, dying, 7)")
    assert first.wait(timeout=60) == -signal.SIGKILL
    before = answer(start(SHOW, number=1))
    kept = [t for t in before if t[1] == "COMPLETE"]
    (lost,) = [t for t in before if t[1] == "RUNNING"]
    assert len(kept) == lost[0] == 3

    # Resumed at once, while the dead trial still counts as running.
    resume = start(f"work(study, toy, 7){SHOW}\nwork(study, toy, 7){SHOW}", number=1)
    trials = answer(resume)
    assert [t for t in trials if t[4] == 0 and t[1] == "COMPLETE"] == kept, "kept as they were"
    assert len(finished(trials)) == 7
    (failed,) = [t for t in trials if t[1] == "FAIL"]
    (again,) = [t for t in trials if t[6] is not None]
    assert failed[0] == lost[0] == again[6] and failed[2] == again[2], "the same settings again"
    assert len(trials) == 8, "a budget that is met adds nothing"


def test_interrupts_failures_and_other_studies_do_not_count(start):
    code = f"""
calls = []
def stopping(trial):
    calls.append(trial.number)
    if len(calls) == 2:
        raise KeyboardInterrupt
    if len(calls) == 4:
        return math.nan
    if len(calls) == 5:  # silent for so long that others have given it up
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return 0.0
    return toy(trial)
try:
    work(study, stopping, 4)
    raise SystemExit("the interrupt was swallowed")
except KeyboardInterrupt:
    pass
work(study, stopping, 4)
other = open_study(study._storage._backend.url, "other", beat=1)
assert other.trials == []
work(study, toy, 5)
{SHOW}"""
    trials = answer(start(code, seconds=0))
    states = [t[1] for t in trials]
    assert states.count("FAIL") == 3 and len(finished(trials)) == 5
    assert len({t[2] for t in finished(trials)}) == 5, "a resumed sampler does not repeat itself"


def test_a_pruned_trial_leaves_fit_as_if_it_had_ended(vae, images):
    from vae_helpers.training import fit

    import optuna
    import torch

    def measure(model):
        raise optuna.TrialPruned

    vae.eval()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with pytest.raises(optuna.TrialPruned):
        fit(vae, images, epochs=3, batch_size=4, measure=measure, quiet=True)
    assert torch.equal(torch.rand(2), expected), "the caller's random numbers are left alone"
    assert torch.is_grad_enabled() and all(p.isfinite().all() for p in vae.parameters())
