"""The checks of the exercises, fed with the catalogue of wrong_answers.py."""

import ast
import inspect
import json
import math
import re
import signal
import sys
import textwrap
import threading
import time

from vae_helpers import exercises
from vae_helpers.exercises import EXERCISES, check, engine, report
from vae_helpers.exercises.engine import diagnose

import pytest
import torch
from wrong_answers import RIGHT, WRONG

SAMPLE = ("01.parameters", "02.binarize", "02.kl", "03.reparameterize", "04.split", "09.free_bits")
posix = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no alarm here")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(engine, "SECONDS", 0.2)


# --- The catalogue ---


def test_the_catalogue_is_as_large_as_promised():
    assert set(WRONG) == set(RIGHT) == set(EXERCISES)
    assert len(EXERCISES) >= 20 and {id[:2] for id in EXERCISES} == {
        f"{n:02}" for n in range(1, 13)
    }
    assert all(len(entries) >= 6 for entries in WRONG.values())
    assert sum(map(len, WRONG.values())) >= 120
    assert all(len(styles) >= 3 for styles in RIGHT.values())


@pytest.mark.parametrize("id", EXERCISES)
def test_right_answers_are_right(id):
    hints = {style: diagnose(EXERCISES[id], answer) for style, answer in RIGHT[id].items()}
    assert hints == dict.fromkeys(hints)


@pytest.mark.parametrize("id", EXERCISES)
def test_wrong_answers_are_rejected_with_the_hint_that_fits(id):
    hints = {what: (word, diagnose(EXERCISES[id], f)) for what, word, f in WRONG[id]}
    assert [what for what, (_, hint) in hints.items() if hint is None] == [], "accepted"
    unfit = {what: (w, hint) for what, (w, hint) in hints.items() if w.lower() not in hint.lower()}
    assert unfit == {}
    for _, hint in hints.values():
        assert len(hint.splitlines()) <= 2 and not holds_solution(id, hint)


@pytest.mark.parametrize("id", EXERCISES)
def test_every_mistake_of_a_table_gets_its_own_hint(id):
    """None is hidden by one above it, equal to a right answer, or unable to run."""
    hints = {hint: diagnose(EXERCISES[id], formula) for formula, hint in EXERCISES[id].mistakes}
    assert {hint: came for hint, came in hints.items() if hint not in str(came)} == {}
    assert not any(holds_solution(id, hint) for hint in hints)


def holds_solution(id, hint):
    """Does the hint hold a statement of the solution (or what it returns or assigns)?"""
    tree = ast.parse(textwrap.dedent(inspect.getsource(EXERCISES[id].reference)))
    lines = [ast.unparse(node) for node in tree.body[0].body if not isinstance(node, ast.Expr)]
    parts = [re.sub(r"^(return|\w+ =) ", "", line) for line in lines]
    return any(part.lower() in hint.lower() for part in parts)


def test_a_solution_in_a_hint_is_seen():
    assert holds_solution("09.warm_up", "Write min(1.0, epoch / epochs).")


def test_right_answers_are_right_where_double_precision_is_the_default():
    torch.set_default_dtype(torch.float64)  # as notebook 02 does
    try:
        for id, answers in RIGHT.items():
            assert [diagnose(EXERCISES[id], f) for f in answers.values()] == [None] * len(answers)
    finally:
        torch.set_default_dtype(torch.float32)


def noisy(answer, size=1e-7):
    """The answer with random noise on every float that it returns."""

    def shaken(value):
        if isinstance(value, tuple):
            return tuple(map(shaken, value))
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value + size * torch.randn_like(value)
        return value + size if isinstance(value, float) else value

    return lambda *args: shaken(answer(*args))


@pytest.mark.parametrize("id", sorted(set(EXERCISES) - {"02.binarize"}))
def test_noise_of_1e_7_keeps_a_right_answer_right(id):
    first, *_, last = RIGHT[id].values()
    assert diagnose(EXERCISES[id], noisy(first)) is diagnose(EXERCISES[id], noisy(last)) is None


@pytest.mark.parametrize("id", ["01.squared_error", "02.kl", "05.iwae", "07.price", "09.warm_up"])
def test_a_difference_of_one_percent_is_wrong(id):
    answer = next(iter(RIGHT[id].values()))
    assert "1.01 times" in diagnose(EXERCISES[id], lambda *args: answer(*args) * 1.01)


@pytest.mark.parametrize("id", ["02.binarize", "03.reparameterize"])
def test_random_answers_are_not_rejected_by_chance(id):
    answer = next(f for style, f in RIGHT[id].items() if style.startswith("numpy"))
    assert [diagnose(EXERCISES[id], answer) for _ in range(20)] == [None] * 20


# --- What a student sees ---


def verdict(capsys, id, answer):
    """What check prints, and what it returns; the caller's random numbers must not notice."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    returned = check(id, answer)
    assert torch.equal(torch.rand(3), expected)
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert 1 <= len(lines) <= 3 and lines[0].startswith(f"{id}: ") and printed.err == ""
    return printed.out, returned


@pytest.mark.parametrize("id", SAMPLE)
def test_a_right_answer_comes_back_and_a_wrong_one_is_replaced(id, runs, capsys):
    right = next(iter(RIGHT[id].values()))
    said, returned = verdict(capsys, id, right)
    assert said == f"{id}: right.\n" and returned is right
    for _, word, wrong in WRONG[id][:3]:
        said, returned = verdict(capsys, id, wrong)
        assert "not yet" in said and word.lower() in said.lower()
        assert returned is EXERCISES[id].reference


@pytest.mark.parametrize("id", SAMPLE)
def test_a_stub_is_told_what_to_do(id, capsys):
    def stub(*args):
        """The docstring of an exercise."""
        raise NotImplementedError

    said, returned = verdict(capsys, id, stub)
    assert "Not written yet" in said and returned is EXERCISES[id].reference


def raising(error):
    def answer(*args):
        raise error

    return answer


def endless(*args):
    while True:
        pass


def stubborn(*args):
    while True:
        try:
            time.sleep(10)
        except Exception:
            pass


def very_stubborn(*args):
    try:
        time.sleep(10)
    except BaseException:
        time.sleep(10)


def endless_recursion(*args):
    return endless_recursion(*args)


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("nothing to say")


class Strange:
    """Whatever is done with it fails."""

    def __getattribute__(self, name):
        raise RuntimeError("strange")


@pytest.mark.parametrize("id", SAMPLE)
@pytest.mark.parametrize(
    "answer, words",
    [
        (raising(ValueError("my own\nerror")), "Raises ValueError: my own\n"),
        (raising(SystemExit()), "SystemExit"),
        (raising(GeneratorExit()), "Raises GeneratorExit"),
        (raising(Speechless()), "Raises Speechless"),
        (raising(ValueError("half a letter: \ud800")), "half a letter: ?"),
        (raising(KeyError("x" * 10_000)), "KeyError"),
        (endless_recursion, "RecursionError"),
        (lambda: 1, "(It is called with "),
        (lambda *args: None, "Returns nothing"),
        (lambda *args: [0.5, 0.7], "expected"),
        (lambda *args: "text", "is of type str"),
        (lambda *args: {"loss": torch.zeros(2)}, "a dict with loss"),
        (lambda *args: torch.zeros(2, 3, 4, 5, 6), "expected"),
        (lambda *args: torch.zeros(3, dtype=torch.complex64), "expected"),
        (lambda *args: Strange(), "cannot be compared"),
        (3.0, "is a float; expected the function itself"),
    ],
    ids=lambda value: "",
)
def test_whatever_an_answer_does_the_notebook_goes_on(answer, words, id, capsys):
    said, returned = verdict(capsys, id, answer)
    assert words in said and returned is EXERCISES[id].reference
    assert len(said) < 1000


@posix
@pytest.mark.parametrize("id", ["01.parameters", "02.kl", "03.reparameterize"])
@pytest.mark.parametrize("answer", [endless, stubborn, very_stubborn])
def test_an_answer_that_does_not_end_is_stopped(answer, id, short, capsys):
    before = signal.getsignal(signal.SIGALRM)
    start = time.monotonic()
    said, _ = verdict(capsys, id, answer)
    assert time.monotonic() - start < 2
    assert "Stopped after 0.2 s at " in said
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@posix
def test_the_limit_is_for_all_inputs_together(short):
    def slow(widths):
        time.sleep(0.08)
        return RIGHT["01.parameters"]["loop"](widths)

    assert "Stopped" in diagnose(EXERCISES["01.parameters"], slow)


@posix
def test_somebody_elses_alarm_goes_on():
    rings = []
    before = signal.signal(signal.SIGALRM, lambda *_: rings.append(1))
    signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        diagnose(EXERCISES["02.kl"], RIGHT["02.kl"]["vectorised"])
        assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100 and not rings
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_outside_the_main_thread_there_is_no_limit_but_a_verdict():
    hints = []
    job = threading.Thread(
        target=lambda: hints.append(diagnose(EXERCISES["02.kl"], RIGHT["02.kl"]["loop"]))
    )
    job.start()
    job.join()
    assert hints == [None]


def test_an_interrupt_goes_through():
    with pytest.raises(KeyboardInterrupt):
        check("02.kl", raising(KeyboardInterrupt()))


def test_what_an_answer_prints_does_not_bury_the_verdict(runs, capsys):
    def chatty(mu, logvar):
        print("debugging " * 1000)
        print("error", file=sys.stderr)
        return RIGHT["02.kl"]["vectorised"](mu, logvar)

    assert verdict(capsys, "02.kl", chatty)[0] == "02.kl: right.\n"


def test_an_answer_that_remembers_is_found_out():
    calls = []

    def counting(mu, logvar):
        calls.append(1)
        return RIGHT["02.kl"]["vectorised"](mu, logvar) + len(calls)

    assert "two results" in diagnose(EXERCISES["02.kl"], counting)


def test_the_input_that_fails_is_named():
    def only_batches(mu, logvar):
        if len(mu) == 1:
            raise RuntimeError("no batch of one")
        return RIGHT["02.kl"]["vectorised"](mu, logvar)

    hint = diagnose(EXERCISES["02.kl"], only_batches)
    assert re.search(r"no batch of one\nfor mu = \[[-\d.]+\], logvar = \[", hint)


def test_an_answer_that_is_right_sometimes_is_told_where_it_is_not():
    def clipped(mu, logvar):
        return RIGHT["02.kl"]["vectorised"](mu, logvar).clamp(max=2)

    hint = diagnose(EXERCISES["02.kl"], clipped)
    assert "is too small" in hint and re.search(r"\(\d+ of 14 inputs are right\.\)", hint)


def test_single_precision_only_is_not_enough():
    right = RIGHT["02.kl_two"]["vectorised"]
    hint = diagnose(EXERCISES["02.kl_two"], lambda *args: right(*args)[:, None] @ torch.ones(1))
    assert "in double precision" in hint


def test_not_a_number_is_named():
    hint = diagnose(EXERCISES["02.kl"], lambda mu, logvar: (mu * math.nan).sum(1))
    assert "not finite" in hint


def test_an_unnamed_mean_and_factor_are_seen():
    right = RIGHT["06.codes_at"]["vectorised"]
    exercise = EXERCISES["06.codes_at"]
    assert "-3 times" in diagnose(exercise, lambda *args: -3 * right(*args))
    exercise = engine.Exercise(lambda x: x.sum(1), lambda draw: [(draw(2, 3),), (draw(4, 5),)])
    assert "mean over each row" in diagnose(exercise, lambda x: x.mean(1))


def test_the_courses_own_function_does_not_count_as_an_answer(runs, capsys):
    """After a wrong answer the name stands for the reference; the check may run again."""
    returned = check("02.kl", lambda mu, logvar: mu)
    capsys.readouterr()
    said, again = verdict(capsys, "02.kl", returned)
    assert "the course's own function" in said and again is returned
    assert not runs.exists()


@pytest.mark.parametrize("id", ["02.kll", "kl", "", None, 2, ["02.kl"]])
def test_an_unknown_id_is_an_error_that_lists_the_known_ones(id):
    with pytest.raises(ValueError, match=r"expected one of 01\.parameters, .*12\.quantize"):
        check(id, abs)


# --- What is solved ---


def last_line(capsys):
    capsys.readouterr()
    report()
    *notebooks, line = capsys.readouterr().out.splitlines()
    assert len(notebooks) == 12
    return line


def solve(id):
    return check(id, next(iter(RIGHT[id].values())))


def test_the_report_counts_what_is_solved(runs, capsys):
    total = len(EXERCISES)
    assert last_line(capsys).startswith(f"exercises 0/{total} | 01:0/3 02:0/4 ")
    assert not runs.exists()  # nothing is written before something is solved
    for id in ("02.kl", "01.parameters", "02.kl"):
        solve(id)
    check("03.pathwise", lambda *args: None)
    assert last_line(capsys).startswith(f"exercises 2/{total} | 01:1/3 02:1/4 03:0/3 ")
    report()
    assert "02  1 of 4   open: binarize, bernoulli_nll, kl_two\n" in capsys.readouterr().out
    assert [path.name for path in runs.iterdir()] == ["exercises.json"]
    (runs / "exercises.json").unlink()
    assert last_line(capsys).startswith(f"exercises 0/{total}")


def test_the_file_holds_ids_and_nothing_else(runs):
    solve("02.kl")
    solve("02.kl")
    assert json.loads((runs / "exercises.json").read_text()) == {"solved": ["02.kl"]}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"solved": 3}', '{"solved": null}', "\xff", '{"solved": [1]}']
)
def test_a_damaged_file_is_a_new_start(content, runs, capsys):
    runs.mkdir()
    (runs / "exercises.json").write_bytes(content.encode("latin-1"))
    assert "exercises 0/" in last_line(capsys)
    solve("02.kl")
    assert "exercises 1/" in last_line(capsys)


@pytest.mark.parametrize("place", ["the folder is a file", "the file is a folder"])
def test_where_nothing_can_be_written_the_verdict_says_so(place, runs, capsys):
    if place == "the folder is a file":
        runs.write_text("")
    else:
        (runs / "exercises.json").mkdir(parents=True)
    right = RIGHT["02.kl"]["vectorised"]
    said, returned = verdict(capsys, "02.kl", right)
    assert "right. (Not noted for the report: " in said and returned is right
    assert "exercises 0/" in last_line(capsys)
    assert not list(runs.parent.rglob("*.partial"))


def test_a_read_only_folder_is_no_error(runs, capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(exercises.Path, "write_text", refuse)  # root may write everywhere
    assert "Permission denied" in verdict(capsys, "02.kl", RIGHT["02.kl"]["loop"])[0]


def test_a_file_is_whole_or_not_there(runs, monkeypatch):
    solve("02.kl")

    def interrupted(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exercises.os, "replace", interrupted)
    solve("01.parameters")
    assert json.loads((runs / "exercises.json").read_text()) == {"solved": ["02.kl"]}
    assert [path.name for path in runs.iterdir()] == ["exercises.json"]


def test_without_the_variable_the_file_lies_beside_the_notebooks(tmp_path, monkeypatch):
    monkeypatch.delenv("VAE_RUNS")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    solve("02.kl")
    assert (tmp_path / "runs" / "exercises.json").exists()
