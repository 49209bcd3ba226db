"""Checks for the exercises: `check("02.kl", kl)` says which mistake an answer makes.

`engine` judges; one module for each notebook holds its exercises.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

from vae_helpers.exercises import (
    n01_autoencoder,
    n02_elbo,
    n03_reparameterization,
    n04_mlp_vae,
    n05_conv_vae,
    n06_celeba,
    n07_beta_vae,
    n08_conditional_vae,
    n09_kl_annealing,
    n10_hierarchical_vae,
    n11_choosing_a_vae,
    n12_using_a_vae,
)
from vae_helpers.exercises.engine import diagnose

MODULES = (
    n01_autoencoder, n02_elbo, n03_reparameterization, n04_mlp_vae, n05_conv_vae, n06_celeba,
    n07_beta_vae, n08_conditional_vae, n09_kl_annealing, n10_hierarchical_vae,
    n11_choosing_a_vae, n12_using_a_vae,
)  # fmt: skip
EXERCISES = {
    f"{module.__name__.rpartition('.n')[2][:2]}.{name}": exercise
    for module in MODULES
    for name, exercise in module.EXERCISES.items()
}


def check(id, answer):
    """Judge an answer, print a verdict of one to three lines, return a function that works.

    `id`: such as `"02.kl"`; `answer`: the function that the exercise asks for. Returns the answer
    if it is right, else the course's own, so that the notebook goes on. What is solved is noted in
    `exercises.json` in the folder of runs. Raises `ValueError` for an unknown id, nothing else.
    """
    if not isinstance(id, str) or id not in EXERCISES:
        raise ValueError(f"id is {id!r}; expected one of {', '.join(EXERCISES)}")
    exercise = EXERCISES[id]
    if answer is exercise.reference:
        # The cell ran twice after a wrong answer: the name now stands for what came back.
        print(f"{id}: this is the course's own function. Run the cell with yours, then check it.")
        return answer
    hint = diagnose(exercise, answer)
    if hint is None:
        print(f"{id}: right.{_note(id)}")
        return answer
    print(f"{id}: not yet. {hint}\nUntil then the notebook goes on with the course's own function.")
    return exercise.reference


def report():
    """Print what is solved so far, a line for each notebook and a last one to hand in."""
    solved = _solved()
    marks = {}
    for id in EXERCISES:
        marks.setdefault(id[:2], []).append(id)
    line = []
    for notebook, ids in marks.items():
        done = [id for id in ids if id in solved]
        still = [id[3:] for id in ids if id not in solved]
        print(f"{notebook}  {len(done)} of {len(ids)}", f"  open: {', '.join(still)}" * bool(still))
        line.append(f"{notebook}:{len(done)}/{len(ids)}")
    print(f"exercises {len(solved)}/{len(EXERCISES)} |", *line)


def _file():
    return Path(os.environ.get("VAE_RUNS", "../runs")) / "exercises.json"


def _solved():
    """The ids that are solved, in the course's order. A missing or damaged file is a new start."""
    try:
        noted = json.loads(_file().read_text(encoding="utf-8"))["solved"]
        return [id for id in EXERCISES if id in noted]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _note(id):
    """Write down that `id` is solved; returns what to add to the verdict if that is impossible."""
    solved = _solved()
    if id in solved:
        return ""
    file = _file()
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({"solved": [*solved, id]}), encoding="utf-8")
        os.replace(partial, file)  # whole or not at all
    except OSError as error:
        return f" (Not noted for the report: {error.strerror}.)"
    finally:
        with suppress(OSError):
            partial.unlink()
    return ""
