"""How an answer is judged: by what it does on cases, never by how it is spelled.

An answer is compared with a reference on small inputs in single and double precision. Where it
differs, a table of named mistakes is searched for one that gives the answer's values on *all*
inputs. Only if there is none, the difference itself is described.
"""

import contextlib
import copy
import inspect
import numbers
import os
import signal
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

SECONDS = 5.0  # for one check, all inputs together; right answers take some hundredths

# Single precision keeps 7 digits; a sum over 784 pixels in another order loses two or three of
# them. The mistakes change values by percents, so 1e-4 lies far from both. The absolute part is
# for results near 0 (a KL of the prior itself), where 1 + tiny - 1 leaves errors of about 1e-7.
RTOL, ATOL = 1e-4, 1e-6

MOST = 6  # numbers of a tensor that a message shows


class Wrong(Exception):
    """The answer is not right. The message is what its author is told."""


class TooSlow(BaseException):
    """No Exception, so that an `except Exception` in an answer does not swallow it."""


@dataclass(frozen=True)
class Exercise:
    """What `diagnose` needs to know about one exercise.

    `reference`: a right answer. `cases(draw)`: a list of argument tuples, some of them tiny (they
    appear in messages); `draw(*shape)` gives standard normal numbers. `mistakes`: pairs of a wrong
    answer and the hint for it, the likeliest first. `gradient`: places of the arguments through
    which gradients must flow. `extreme(draw)`: cases on which only a careful answer is right, with
    a hint. `judge(call)`: replaces all this where the answer draws random numbers; it raises
    `Wrong`.
    """

    reference: Callable
    cases: Callable | None = None
    mistakes: tuple = ()
    gradient: tuple = ()
    extreme: Callable | None = None
    extreme_hint: str = ""
    judge: Callable | None = None


def diagnose(exercise, answer):
    """None if the answer is right, else a hint in one or two lines. Raises only an interrupt."""
    if not callable(answer):
        return f"This is a {type(answer).__name__}; expected the function itself, without ()."
    try:
        with nothing_shown(), torch.random.fork_rng(devices=[]), torch.enable_grad():
            with time_limit(SECONDS):
                (judge_by_draws if exercise.judge else judge_by_cases)(exercise, answer)
    except Wrong as wrong:
        return str(wrong)
    except TooSlow:
        return f"Stopped after {SECONDS:g} s: too slow for small inputs."
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a result so strange that even comparing it fails
        return f"The result cannot be compared ({first_line(error)})."
    return None


@contextlib.contextmanager
def nothing_shown():
    """What an answer prints or warns of would bury the verdict: it is called dozens of times."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(action="ignore"),
    ):
        yield


@contextlib.contextmanager
def time_limit(seconds):
    """Raise `TooSlow` inside the block when the time is over.

    The alarm interrupts Python between two instructions and `time.sleep` at once. It needs the
    main thread (where notebooks run cells) of a POSIX system; elsewhere there is no limit but the
    stop button. One long call into C ends first. A thread would work everywhere, but nobody could
    end it.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return
    inside = True

    def stop(*_):
        if inside:
            raise TooSlow

    handler = signal.signal(signal.SIGALRM, stop)
    # Once more each half second, should the answer swallow the first with a bare `except`.
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    try:
        try:
            yield
        finally:
            inside = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


# --- Running an answer ---


def drawer(dtype, seed=0):
    """`draw(*shape)`: standard normal numbers, the same in every check."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return draw


def copied(args):
    """Arguments of its own for each call."""
    return tuple(a.clone() if isinstance(a, torch.Tensor) else copy.deepcopy(a) for a in args)


def attempt(exercise, answer, args):
    """What the answer returns, or the exception that it raises."""
    try:
        return answer(*args)
    except NotImplementedError:
        raise Wrong(
            "Not written yet: replace `raise NotImplementedError` by your code and run the cell."
        ) from None
    except TooSlow:
        where = describe(exercise, args)
        raise Wrong(
            f"Stopped after {SECONDS:g} s at {where}: is there a loop that does not end?"
        ) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an answer may also call `exit()`
        return error


def describe(exercise, args):
    """The arguments in words: small ones by value, others by shape."""
    words = []
    for name, value in zip(names_of(exercise, args), args, strict=True):
        if isinstance(value, torch.Tensor):
            equals = " =" if value.numel() <= MOST else ""
            double = " in double precision" if value.dtype == torch.float64 else ""
            words.append(f"{name}{equals} {show(value)}{double}")
        elif callable(value):
            words.append(f"a function {name}")
        else:
            words.append(f"{name} = {value!r}")
    return ", ".join(words)


def names_of(exercise, args):
    return list(inspect.signature(exercise.reference).parameters)[: len(args)]


def show(value):
    """A result or an argument in few words."""
    if not isinstance(value, torch.Tensor):
        return repr(value)[:80]
    if value.numel() > MOST:
        finite = value.double().isfinite().all()
        return f"of shape {tuple(value.shape)}{'' if finite else ' with nan or infinite values'}"
    entries = value.flatten().tolist()
    return str([round(v, 4) if isinstance(v, float) else v for v in entries])


def first_line(error):
    try:
        text = str(error).encode(errors="replace").decode()  # halves of letters cannot be printed
    except Exception:  # somebody's own exception may fail at this
        text = ""
    return f"{type(error).__name__}: {(text.splitlines() or [''])[0][:120]}"


# --- Comparing ---


def leaves(value):
    """The tensors of a result by name: one for a tensor or a number, several for a tuple or dict.

    What is neither tensor nor number is None.
    """
    if isinstance(value, dict):
        parts = value
    elif isinstance(value, (tuple, list)):
        parts = dict(enumerate(value))
    else:
        parts = {"": value}
    return {name: as_tensor(part) for name, part in parts.items()}


def as_tensor(value):
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    return torch.as_tensor(value) if isinstance(value, numbers.Number) else None


def same(a, b):
    """Are these two outcomes (results or exceptions) the same, within the tolerance?"""
    if isinstance(a, BaseException) or isinstance(b, BaseException):
        return type(a) is type(b)
    a, b = leaves(a), leaves(b)
    return a.keys() == b.keys() and all(close(a[name], b[name]) for name in a)


def close(a, b):
    if a is None or b is None:  # neither tensor nor number
        return a is b
    if a.shape != b.shape:
        return False
    return torch.allclose(a.double(), b.double(), RTOL, ATOL, equal_nan=True)


def judge_by_cases(exercise, answer):
    """Raise `Wrong` unless the answer does what the reference does."""
    cases = exercise.cases(drawer(torch.float32))
    if any(isinstance(value, torch.Tensor) for value in cases[0]):
        cases = cases + exercise.cases(drawer(torch.float64))
    tried = [copied(args) for args in cases]
    came = [attempt(exercise, answer, args) for args in tried]
    expected = [exercise.reference(*copied(args)) for args in cases]
    torch.manual_seed(12345)
    if not same(came[0], attempt(exercise, answer, copied(cases[0]))):
        raise Wrong(
            f"The same input twice, two results: {describe(exercise, cases[0])}. Nothing here may "
            "be random or depend on earlier calls."
        )
    if not all(map(same, came, expected)):
        raise Wrong(
            named_mistake(exercise, cases, came) or describe_difference(exercise, cases, came)
        )
    for args, got, want in zip(cases, came, expected, strict=True):
        check_kind(exercise, args, got, want)
    if exercise.extreme:
        check_extremes(exercise, answer)
    for args, after in zip(cases, tried, strict=True):
        check_unchanged(exercise, args, after)
    for args in cases if exercise.gradient else ():
        check_gradient(exercise, answer, args)


def named_mistake(exercise, cases, came):
    """The hint of the mistake that explains all that came, or None.

    Tried in this order: the exercise's own mistakes, a habit in an otherwise right answer, and
    both together.
    """
    for formula, hint in exercise.mistakes:
        if explains(formula, cases, came):
            return hint
    for habit, hint in HABITS:
        if explains(exercise.reference, cases, came, habit):
            return hint
    for formula, own in exercise.mistakes:
        for habit, hint in HABITS:
            if explains(formula, cases, came, habit):
                return f"{own} Also: {hint}"
    return None


def explains(formula, cases, came, habit=None):
    """Does a wrong formula give all that came? If all are exceptions, their texts must agree."""
    raised = all(isinstance(value, BaseException) for value in came)
    for args, got in zip(cases, came, strict=True):
        try:
            made = formula(*copied(args))
        except Exception as error:  # a wrong formula may not be able to handle every case
            made = error
        if habit is not None:
            floats = isinstance(made, torch.Tensor) and made.is_floating_point()
            made = habit(made) if floats else None
        if made is None or not same(made, got) or (raised and str(made) != str(got)):
            return False
    return True


HABITS = (
    (lambda v: -v, "The sign is turned round."),
    (lambda v: v.mean() if v.ndim else None, "This is averaged into one number (over the batch?); "
     "expected one for each row, and no mean yet."),
    (lambda v: v.sum() if v.ndim else None, "This is summed into one number (over the batch?); "
     "expected one for each row, and no sum yet."),
    (lambda v: v.unsqueeze(-1), "The result has one dimension too many (keepdim?)."),
    (lambda v: v.T if v.ndim == 2 else None, "Rows and columns of the result are swapped."),
)  # fmt: skip


def describe_difference(exercise, cases, came):
    """A next step for an answer that is wrong in no way that has a name here."""
    expected = [exercise.reference(*copied(args)) for args in cases]
    wrong = [i for i in range(len(cases)) if not same(came[i], expected[i])]
    raised = [i for i in wrong if isinstance(came[i], BaseException)]
    # The smallest input is the one to work out by hand.
    i = min(raised or wrong, key=lambda i: sum(getattr(a, "numel", int)() for a in cases[i]))
    where, got, want = describe(exercise, cases[i]), came[i], expected[i]
    check_form(exercise, cases[i], got, want)
    constant = factor(came, expected)
    if constant == 0:
        return "Every value is 0."
    if constant is not None:
        return f"Every value is {constant:.4g} times what it should be: a constant factor?"
    if all(map(is_mean, came, expected, cases)):
        return "This is a mean over each row where a sum is expected."
    both = zip(leaves(got).values(), leaves(want).values(), strict=True)
    given, expected = next((a, b) for a, b in both if not close(a, b))
    if not given.double().isfinite().all() and expected.double().isfinite().all():
        return f"For {where} the result {show(given)} is not finite; expected ordinary numbers."
    higher, lower = (given.double() > expected).any(), (given.double() < expected).any()
    side = "too large" if not lower else "too small" if not higher else "partly too large and small"
    some = f" ({len(cases) - len(wrong)} of {len(cases)} inputs are right.)"
    return (
        f"For {where} the result {show(given)} is {side}.{some if len(wrong) < len(cases) else ''}"
    )


def factor(came, expected):
    """The number c for which all that came is c times what was expected, or None."""
    got, want = ([as_tensor(value) for value in values] for values in (came, expected))
    if any(g is None or w is None or g.shape != w.shape for g, w in zip(got, want, strict=True)):
        return None
    got, want = (torch.cat([v.double().flatten() for v in values]) for values in (got, want))
    c = (got @ want) / (want @ want)
    return c.item() if torch.allclose(got, c * want, 1e-3) else None


def is_mean(got, want, args):
    """Is this what was expected, divided by the number of entries in a row of the first table?"""
    first = next((a for a in args if isinstance(a, torch.Tensor) and a.ndim > 1), None)
    constant = None if first is None else factor([got], [want])
    return constant is not None and abs(constant * first[0].numel() - 1) < 1e-3


# --- What else can be wrong ---


def check_form(exercise, args, got, want, shapes=True):
    """Raise `Wrong` unless `got` is of the type and the shape of `want`.

    `shapes=False`: only the number of dimensions must agree.
    """
    where = describe(exercise, args)
    if isinstance(got, BaseException):
        called = ", ".join(names_of(exercise, args))
        how = f" (It is called with {called}.)" if isinstance(got, TypeError) else ""
        raise Wrong(f"Raises {first_line(got)}\nfor {where}.{how}")
    if got is None:
        raise Wrong(f"Returns nothing for {where}: is there a `return`?")
    given, wanted = leaves(got), leaves(want)
    if given.keys() != wanted.keys() or None in given.values():
        raise Wrong(f"The result is {kind(got)} for {where}; expected {kind(want)}.")
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape and (shapes or tensor.ndim != wanted[name].ndim):
            part = f"{name!r} " if name != "" else ""
            single = "\nIs there a mean or a sum over everything?" if not tensor.ndim else ""
            raise Wrong(
                f"The result {part}has shape {tuple(tensor.shape)} for {where}; "
                f"expected {tuple(wanted[name].shape)}.{single}"
            )


def kind(value):
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, dict):
        return f"a dict with {', '.join(map(str, value))}"
    many = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"of type {type(value).__name__}{many}"


def check_kind(exercise, args, got, want):
    """Whole numbers, truth values and real numbers are three things; precision is free."""
    for (name, given), wanted in zip(leaves(got).items(), leaves(want).values(), strict=True):
        real = wanted.is_floating_point() and (given.is_floating_point() or not wanted.ndim)
        if real or given.dtype == wanted.dtype:
            continue
        part = f"{name!r} " if name != "" else ""
        raise Wrong(
            f"The result {part}has the right values but is of type {given.dtype} for "
            f"{describe(exercise, args)}; expected {wanted.dtype}.".replace("torch.", "")
        )


def check_extremes(exercise, answer):
    for dtype in (torch.float32, torch.float64):
        for args in exercise.extreme(drawer(dtype)):
            got = attempt(exercise, answer, copied(args))
            if not same(got, exercise.reference(*copied(args))):
                came = first_line(got) if isinstance(got, BaseException) else show(got)
                raise Wrong(
                    f"Right for ordinary values, but for {describe(exercise, args)} the result is "
                    f"{came}.\n{exercise.extreme_hint}"
                )


def check_unchanged(exercise, before, after):
    for name, a, b in zip(names_of(exercise, before), before, after, strict=True):
        equal = torch.equal(a, b) if isinstance(a, torch.Tensor) else callable(a) or a == b
        if not equal:
            raise Wrong(
                f"The result is right, but {name} itself has been changed in place: the caller "
                "still needs it."
            )


def check_gradient(exercise, answer, args):
    found = gradients(exercise, answer, args)
    wanted = gradients(exercise, exercise.reference, args)
    names = names_of(exercise, args)
    for place, got, want in zip(exercise.gradient, found, wanted, strict=True):
        if got is None and not want.any():
            continue  # constant here (say, a floor that holds): no gradient is one of zero
        if got is None:
            raise Wrong(
                f"The values are right, but no gradient reaches {names[place]}: it is detached "
                "somewhere (item, detach, no_grad, a new tensor made of numbers?)."
            )
        if not close(got, want):
            raise Wrong(
                f"The values are right, but the gradient for {names[place]} is not: does a part "
                f"leave the graph?\nFor {describe(exercise, args)}."
            )


def gradients(exercise, function, args):
    """Of the weighted sum of all that the function returns, for each place; None: none arrives."""
    args = copied(args)
    wanted = [args[place].requires_grad_() for place in exercise.gradient]
    value = attempt(exercise, function, args)
    if isinstance(value, BaseException):
        raise Wrong(f"Raises {first_line(value)}\nas soon as gradients are asked for.")
    parts = value.values() if isinstance(value, dict) else [value]
    parts = value if isinstance(value, (tuple, list)) else parts
    parts = [part for part in parts if isinstance(part, torch.Tensor) and part.requires_grad]
    if not parts:
        return [None] * len(wanted)
    total = sum((p * torch.linspace(1, 2, p.numel()).to(p).view(p.shape)).sum() for p in parts)
    return torch.autograd.grad(total, wanted, allow_unused=True)


def judge_by_draws(exercise, answer):
    """Let the exercise's own judge call the answer; it raises `Wrong`."""

    def call(*args, seed=0, shapes=True):
        torch.manual_seed(seed)
        tried = copied(args)
        got = attempt(exercise, answer, tried)
        want = exercise.reference(*copied(args))
        check_form(exercise, args, got, want, shapes)
        check_unchanged(exercise, args, tried)
        check_kind(exercise, args, got, want)
        return got

    exercise.judge(call)
