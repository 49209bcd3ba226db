"""Exercises of notebook 11."""

import math
import statistics
from itertools import accumulate

from vae_helpers.exercises.engine import Exercise


def grid_hours(epochs, batch_sizes, step_seconds, others, images):
    """Hours that a full grid takes.

    Every number of `epochs` is run with every one of the `batch_sizes` and every one of the
    `others` combinations of further settings. A step with `batch_sizes[i]` images takes
    `step_seconds[i]` seconds; the last batch of an epoch may be smaller and counts as a step.
    """
    steps = [math.ceil(images / size) for size in batch_sizes]
    one_epoch = sum(n * seconds for n, seconds in zip(steps, step_seconds, strict=True))
    return one_epoch * sum(epochs) * others / 3600


def _hours(e, b, s, o, n, steps=math.ceil):
    return sum(e) * o * sum(steps(n / x) * y for x, y in zip(b, s, strict=True)) / 3600


GRID_HOURS = Exercise(
    grid_hours,
    cases=lambda draw: [
        ([10], [100], [36.0], 1, 1000),
        ([1, 2, 3], [10, 30], [5.0, 7.0], 4, 95),
        ([10, 20, 30, 40, 50], [32, 64, 128], [20.0, 30.0, 45.0], 25, 1000),
        ([5, 7], [100, 64, 50, 33], [10.0, 8.0, 7.5, 6.0], 3, 1234),
    ],
    mistakes=(
        (lambda e, b, s, o, n: _hours(e, b, s, o, n, math.floor), "Rounded down: the last, smaller "
         "batch of an epoch is a step as well."),
        (lambda e, b, s, o, n: _hours(e, b, s, o, n, float), "Not rounded: the last, smaller batch "
         "of an epoch costs a whole step."),
        (lambda e, b, s, o, n: _hours(e, b, s, o, n) * 3600, "This is in seconds; expected hours."),
        (lambda e, b, s, o, n: _hours(e, b, s, o, n) * 60, "This is in minutes; expected hours."),
        (lambda e, b, s, o, n: _hours(e, b, s, o, n) / 24, "This is in days; expected hours."),
        (lambda e, b, s, o, n: _hours(e, b, s, 1, n), "The other settings are left out: each of "
         "their combinations costs the same again."),
        (lambda e, b, s, o, n: _hours([len(e)], b, s, o, n), "This counts runs, each as if it had "
         "one epoch; a run costs as many epochs as it has."),
        (lambda e, b, s, o, n: _hours([max(e)], b, s, o, n), "Only the longest runs are counted; "
         "the grid pays for the shorter ones as well."),
        (lambda e, b, s, o, n: _hours([sum(e) / len(e)], b, s, o, n), "The mean number of epochs "
         "is counted once: every number of epochs is a run of its own."),
        (lambda e, b, s, o, n: sum(e) * o * n * sum(s) / 3600, "A step is counted for each image; "
         "it takes a whole batch."),
        (lambda e, b, s, o, n: _hours(e, b, s, o, n) / len(b), "The batch sizes are averaged; "
         "every one of them is run, so their costs add up."),
        (lambda e, b, s, o, n: sum(e) * o * sum(s) / 3600, "An epoch is counted as one step; it "
         "has as many as there are batches."),
        (lambda e, b, s, o, n: (len(e) * len(b) * o) * _hours([1], b, s, 1, n), "All runs are "
         "counted at the cost of one epoch of every batch size together."),
    ),
)  # fmt: skip


def best_so_far(values):
    """The lowest loss among the first 1, 2, 3, ... trials: a list as long as `values`.

    A trial without a result is None in `values`. Before the first result: math.inf.
    """
    known = [math.inf if value is None else value for value in values]
    return list(accumulate(known, min))


def _running(values, start=math.inf):
    """The running minimum in which None counts as nothing."""
    low, out = start, []
    for v in values:
        low = low if v is None else min(low, v)
        out.append(low)
    return out


def _known(values):
    return [v for v in values if v is not None]


BEST_SO_FAR = Exercise(
    best_so_far,
    cases=lambda draw: [
        ([3.0, 5.0, 2.0],),
        ([None, 120.5, 118.0, None, 119.25, 130.0, 117.5],),
        ([7.0],),
        ([None, None, 4.0, None],),
        ([105.5, None, 106.0, 99.0, 99.0, 101.0, None, 98.5, 103.0],),
    ],
    mistakes=(
        (lambda v: _running(_known(v)), "The list is shorter than values: a trial without a result "
         "has a place as well, with what was known by then."),
        (lambda v: _running(v, 0.0), "Everything is 0: before the first result the least loss is "
         "not 0, but infinite."),
        (lambda v: list(accumulate((0.0 if x is None else x for x in v), min)), "None counts as a "
         "loss of 0 here; expected as no result."),
        (lambda v: [-low for low in _running([None if x is None else -x for x in v])], "This is "
         "the highest loss so far; expected the lowest."),
        (lambda v: list(accumulate((-math.inf if x is None else x for x in v), max)), "This is the "
         "highest loss so far; expected the lowest."),
        (lambda v: [min(_known(v))] * len(v), "The lowest of all trials stands everywhere; at each "
         "place only the trials up to there are known."),
        (lambda v: [math.inf, *_running(v)[:-1]], "One trial behind: the trial itself counts as "
         "well."),
        (lambda v: [math.inf if x is None else x for x in v], "These are the losses themselves; "
         "expected the lowest so far."),
        (lambda v: [None if x is None else low for x, low in zip(v, _running(v), strict=True)],
         "Trials without a result are left as None; expected what was known by then."),
        (lambda v: [math.inf if x is None else low for x, low in zip(v, _running(v), strict=True)],
         "A trial without a result makes the search forget; expected what was known by then."),
        (lambda v: [min(math.inf if x is None else x for x in v[max(0, i - 1) : i + 1])
                    for i in range(len(v))], "Only the last two trials are compared."),
        (lambda v: _running(v)[-1], "One number; expected a list, one number for each trial."),
        (lambda v: sorted(math.inf if x is None else x for x in v)[::-1], "Sorted: the order of "
         "the trials must stay."),
    ),
)  # fmt: skip


def median_prune(loss, epoch, finished, warm_up, least):
    """Whether to stop a trial whose loss after epoch number `epoch` (from 0) is `loss`.

    `finished`: for each finished trial the list of its losses after epochs 0, 1, ..., not all of
    one length. True if `loss` is above the median of those after this epoch; never before epoch
    number `warm_up`, nor if fewer than `least` finished trials have got this far.
    """
    others = [losses[epoch] for losses in finished if len(losses) > epoch]
    return epoch >= warm_up and len(others) >= least and loss > statistics.median(others)


def _prune(loss, epoch, finished, warm_up, least, middle=statistics.median):
    there = [c[epoch] for c in finished if epoch < len(c)]
    return bool(epoch >= warm_up and len(there) >= least and loss > middle(there))


_CURVES = [
    [180.0, 150.0, 140.0, 135.0],
    [200.0, 190.0, 188.0],
    [170.0, 145.0],
    [210.0, 160.0, 130.0, 120.0],
    [175.0, 151.0, 149.0, 148.0],
]

MEDIAN_PRUNE = Exercise(
    median_prune,
    cases=lambda draw: [
        (152.0, 1, [[160.0, 140.0], [170.0, 145.0], [165.0, 149.0]], 1, 3),
        (139.0, 1, [[160.0, 140.0], [170.0, 145.0], [165.0, 149.0]], 1, 3),
        (147.0, 1, [[160.0, 140.0], [170.0, 145.0], [165.0, 190.0]], 0, 1),
        (150.0, 1, [[160.0, 140.0], [170.0, 145.0], [165.0, 190.0]], 0, 1),
        (145.0, 1, [[160.0, 140.0], [170.0, 145.0], [165.0, 149.0]], 1, 3),
        *[(loss, epoch, _CURVES, warm_up, least)
          for loss in (119.0, 133.0, 143.0, 147.0, 149.5, 152.0, 179.0, 185.0, 220.0)
          for epoch in (0, 1, 2, 3)
          for warm_up, least in ((0, 1), (1, 3), (2, 4), (3, 3), (0, 5), (0, 6))],
    ],
    mistakes=(
        (lambda v, e, f, w, m: not _prune(v, e, f, w, m), "The answer is turned round: True means "
         "to stop the trial."),
        (lambda v, e, f, w, m: _prune(-v, e, [[-x for x in c] for c in f], w, m), "The good half "
         "is stopped: these are losses, lower is better."),
        (lambda v, e, f, w, m: _prune(v, e, f, 0, m), "The warm-up plays no part."),
        (lambda v, e, f, w, m: _prune(v, e, f, w + 1, m), "The warm-up is an epoch too long: in "
         "epoch number warm_up a trial may be stopped."),
        (lambda v, e, f, w, m: _prune(v, e, f, w, 1), "The least number of trials plays no part."),
        (lambda v, e, f, w, m: _prune(v, e, f, w, m + 1), "One trial too many is asked for: as "
         "many as `least` are enough."),
        (lambda v, e, f, w, m: len(f) >= m and _prune(v, e, f, w, 1), "All finished trials are "
         "counted; only those that have got this far can be compared with."),
        (lambda v, e, f, w, m: _prune(v, e, f, w, m, statistics.mean), "This compares with the "
         "mean; expected the median."),
        (lambda v, e, f, w, m: _prune(v, e, f, w, m, min), "This compares with the best of the "
         "others; expected their median."),
        (lambda v, e, f, w, m: _prune(v, e, f, w, m, max), "This compares with the worst of the "
         "others; expected their median."),
        (lambda v, e, f, w, m: e >= w and len(f) >= m and v > statistics.median(c[-1] for c in f),
         "This compares with how the others ended; expected their losses after the same epoch."),
        (lambda v, e, f, w, m: e >= w and len(f) >= m
         and v > statistics.median(c[min(e, len(c) - 1)] for c in f), "A trial that ended earlier "
         "is compared with by its last loss; expected those that have got this far, only."),
        (lambda v, e, f, w, m: _prune(v, e, f, w, m, lambda t: statistics.median(t) - 1e-9),
         "A loss equal to the median is not above it."),
        (lambda v, e, f, w, m: _prune(v, e, f, w, m, statistics.median_low), "With an even number "
         "of trials the median is the mean of the middle two; this takes the lower one."),
        (lambda v, e, f, w, m: _prune(v, e, f, w, m, statistics.median_high), "With an even number "
         "of trials the median is the mean of the middle two; this takes the upper one."),
        (lambda v, e, f, w, m: _prune(v, e - 1, [c[:-1] for c in f], w - 1, m) if e else False,
         "The losses are those of the epoch before: epochs count from 0."),
    ),
)  # fmt: skip


def pick(values, states):
    """The number (from 0) of the complete trial with the lowest value; of equals the first.

    `values`: a loss, or None, for each trial; `states`: "complete", "pruned", "fail" or
    "running" for each. At least one is complete.
    """
    complete = [n for n, state in enumerate(states) if state == "complete"]
    return min(complete, key=lambda n: values[n])


def _best(values, states, kept=("complete",), sign=1):
    """The place of the lowest value among the trials in the states `kept`."""
    pairs = [(sign * v, i) for i, (v, s) in enumerate(zip(values, states, strict=True))
             if s in kept and v is not None]  # fmt: skip
    return min(pairs)[1]


def _among_complete(values, states):
    return [v for v, s in zip(values, states, strict=True) if s == "complete"]


PICK = Exercise(
    pick,
    cases=lambda draw: [
        ([131.0, 118.2, None, 119.5], ["complete", "pruned", "fail", "complete"]),
        ([120.0, 118.0, 119.0, 118.0], ["complete"] * 4),
        ([99.0, 130.0, 96.5, 125.0, 97.0, 126.0],
         ["pruned", "complete", "running", "complete", "pruned", "complete"]),
        ([None, 140.0, 150.0, 145.0, 139.0, 138.0],
         ["fail", "pruned", "complete", "complete", "complete", "pruned"]),
        ([104.0, 105.0, 103.0, 110.0], ["pruned", "complete", "fail", "complete"]),
    ],
    mistakes=(
        (lambda v, s: _best(v, s, ("complete", "pruned")), "A pruned trial is chosen: its value "
         "belongs to an unfinished training."),
        (lambda v, s: _best(v, s, ("complete", "pruned", "fail", "running")), "The state plays no "
         "part: only complete trials count."),
        (lambda v, s: _best(v, s, ("complete", "running")), "A running trial is chosen: only "
         "complete ones count."),
        (lambda v, s: _best(v, s, ("complete", "fail")), "A failed trial is chosen: only complete "
         "ones count."),
        (lambda v, s: _best(v, s, ("complete", "pruned", "running")), "Pruned and running trials "
         "are chosen; only complete ones count."),
        (lambda v, s: _among_complete(v, s).index(min(_among_complete(v, s))), "This is the place "
         "among the complete trials; expected the trial's number among all."),
        (lambda v, s: _best(v, s, sign=-1), "The highest loss is chosen; expected the lowest."),
        (lambda v, s: min(_among_complete(v, s)), "This is the loss itself; expected the trial's "
         "number."),
        (lambda v, s: _best(v, s) + 1, "Counted from 1; expected from 0."),
        (lambda v, s: s.index("complete"), "This is the first complete trial, whatever its loss."),
        (lambda v, s: len(s) - 1 - s[::-1].index("complete"), "This is the last complete trial, "
         "whatever its loss."),
        (lambda v, s: len(v) - 1 - _best(v[::-1], s[::-1]), "Of equals the last is chosen; "
         "expected the first."),
    ),
)  # fmt: skip


EXERCISES = {
    "grid_hours": GRID_HOURS,
    "best_so_far": BEST_SO_FAR,
    "median_prune": MEDIAN_PRUNE,
    "pick": PICK,
}
