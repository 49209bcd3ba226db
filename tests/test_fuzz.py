"""Any argument to any public function: a right answer, or a `ValueError` that names it."""

import contextlib
import importlib
import io
import math
import pkgutil
from pathlib import Path

import vae_helpers

import fuzz_cases_core
import fuzz_cases_show
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

CASES = {**fuzz_cases_core.CASES, **fuzz_cases_show.CASES}
nan, inf = math.nan, math.inf
# What students pass by mistake, beside what hypothesis makes up.
MISTAKES = [
    None, True, "", "abc", "../x", b"abc", 0, -1, 3, 2.5, nan, inf, -inf, 1 + 2j,
    (), (1, 2), (-1,), (0,), [1, 2], {}, {"a": 1}, {1: 2}, object(), int, print,
    lambda *a, **k: None,
    torch.nn.Linear(2, 2), torch.nn.Identity(), torch.Generator(), Path("no/such/file"),
    np.float32(2), np.int64(3), np.zeros((4, 2)), np.zeros((4, 1, 28, 28)), np.array("a"),
    torch.tensor(1.0), torch.tensor(nan), torch.tensor(-1), torch.zeros(0), torch.zeros(0, 2),
    torch.arange(4), torch.arange(5), torch.tensor([-1, 0, 1, 2]), torch.arange(4.0),
    torch.full((4, 2), nan), torch.full((4, 2), inf), torch.ones(4, 2, dtype=torch.int64),
    torch.ones(4, 2, dtype=torch.bool), torch.ones(4, 2, dtype=torch.complex64),
    torch.rand(4, 2).half(), torch.rand(4, 2).double(), torch.rand(5, 3), torch.rand(1, 1, 1, 1),
    torch.rand(4, 1, 28, 28), torch.rand(5, 1, 28, 28), torch.rand(4, 3, 28, 28),
    torch.rand(4, 1, 28, 28) * 300, torch.full((4, 1, 28, 28), nan),
    torch.rand(4, 1, 28, 28).half(),
    torch.rand(4, 1, 28, 28).double(), torch.zeros(4, 1, 28, 28, dtype=torch.uint8),
]  # fmt: skip
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
FLOATS = st.floats(width=32)
ANYTHING = st.one_of(
    st.sampled_from(MISTAKES),
    st.integers(-5, 5),
    FLOATS,
    st.text(max_size=5),
    SHAPES,
    SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=FLOATS)).map(torch.from_numpy),
    SHAPES.flatmap(lambda shape: arrays(np.int64, shape)).map(torch.from_numpy),
)
THEIRS = ("classifier", "loss", "beta", "measure", "render", "random")


def has_nan(value):
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() and bool(value.isnan().any())
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and bool(np.isnan(value).any())
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, dict):
        return any(map(has_nan, value.values()))
    return isinstance(value, tuple | list) and any(map(has_nan, value))


def call(name, argument, value):
    """None, or what a student would have to complain of."""
    function, good = CASES[name]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            answer = function(**{**good(), argument: value})
    except ValueError as error:
        # Where two arguments do not fit each other, either may be named; `x` is the model's word
        # for images, PROFILE the notebooks' word for a profile's name.
        known = any(word in str(error) for word in (*good(), "x has", "PROFILE"))
        return None if known else f"a ValueError that names no argument: {error}"
    except OSError as error:  # a file that is not there, say
        return None if str(error) else "an OSError without a word"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        plt.close("all")
    return "NaN without a word" if has_nan(answer) else None


def complaint(name, argument, value):
    # What somebody's own function or module raises is theirs.
    if callable(value) and argument in THEIRS:
        return None
    said = call(name, argument, value)
    return said and f"{name}({argument}={value!r:.200}): {said}"


@pytest.mark.parametrize("name", CASES)
def test_any_argument_gives_a_right_answer_or_a_value_error_that_names_it(
    name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # some arguments are taken for the names of files
    good = CASES[name][1]()
    assert call(name, *next(iter(good.items()))) is None, "the good arguments"
    found = [complaint(name, argument, value) for argument in good for value in MISTAKES]
    assert list(filter(None, found)) == []

    @settings(max_examples=30, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(good)), ANYTHING)
    def made_up(argument, value):
        assert complaint(name, argument, value) is None

    made_up()


def test_no_public_function_is_left_out():
    """Checks raise errors and nothing else; the rest is internal to two modules."""
    left_out = {
        "advice.explain", "advice.register", "celeba.FaceData", "data.ImageData", "data.announce",
        "training.runs_folder", "widgets.Panel",
    }  # fmt: skip
    for module in pkgutil.iter_modules(vae_helpers.__path__):
        if module.name.startswith("_") or module.name in ("checks", "exercises"):
            continue
        for name, member in vars(importlib.import_module(f"vae_helpers.{module.name}")).items():
            public = callable(member) and member.__module__ == f"vae_helpers.{module.name}"
            if public and not name.startswith(("_", "check_")):
                full = f"{module.name}.{name}"
                assert full in CASES or full in left_out, f"{full} is not fuzzed"
