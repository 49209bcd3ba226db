"""Exercises of notebook 01."""

from itertools import pairwise
from math import prod

from vae_helpers.exercises.engine import Exercise

import torch


def count_parameters(widths):
    """The number of weights and biases of an MLP with these widths, input first: an int."""
    return sum(before * after + after for before, after in pairwise(widths))


PARAMETERS = Exercise(
    count_parameters,
    cases=lambda draw: [([2, 3],), ([784, 400, 20],), ([5, 5, 5],), ([1, 7, 1, 4],)],
    mistakes=(
        (lambda w: sum(a * b for a, b in pairwise(w)), "The biases are missing."),
        (lambda w: sum(a * b + a for a, b in pairwise(w)), "A layer has a bias for each of its "
         "outputs, not for each of its inputs."),
        (lambda w: sum(a * b for a, b in pairwise(w)) + sum(w), "The input has no bias: it is not "
         "a layer."),
        (lambda w: sum(a * b + 1 for a, b in pairwise(w)), "One bias for each layer? Each of its "
         "outputs has a bias."),
        (lambda w: count_parameters(w[:-1]), "The last layer is missing."),
        (lambda w: count_parameters(w[1:]), "The first layer is missing."),
        (lambda w: sum(w), "Units are counted here, not weights: each output is connected with "
         "each input."),
        (lambda w: prod(w), "Weights of different layers add up; they are not multiplied."),
    ),
)  # fmt: skip


def squared_error(logits, x):
    """Sum over all pixels of (x - sigmoid(logits))^2, `(batch,)`; both `(batch, c, h, w)`."""
    return ((torch.sigmoid(logits) - x) ** 2).flatten(1).sum(dim=1)


def difference(logits, x):
    return torch.sigmoid(logits) - x


SQUARED_ERROR = Exercise(
    squared_error,
    cases=lambda draw: [
        (draw(*shape), draw(*shape).sigmoid())
        for shape in ((1, 1, 1, 2), (3, 1, 5, 4), (1, 3, 7, 7), (2, 2, 2, 2), (4, 1, 28, 28))
    ],
    gradient=(0,),
    mistakes=(
        (lambda logits, x: ((logits - x) ** 2).flatten(1).sum(1), "The sigmoid is missing: logits "
         "are no pixels yet."),
        (lambda logits, x: ((logits.sigmoid().sigmoid() - x) ** 2).flatten(1).sum(1), "The sigmoid "
         "is applied twice."),
        (lambda logits, x: ((logits.sigmoid() - x.sigmoid()) ** 2).flatten(1).sum(1), "The sigmoid "
         "belongs to the logits only; x are pixels already."),
        (lambda logits, x: (difference(logits, x) ** 2).flatten(1).mean(1), "This is a mean over "
         "the pixels; expected their sum."),
        (lambda logits, x: difference(logits, x).abs().flatten(1).sum(1), "The differences are not "
         "squared: this adds up their absolute values."),
        (lambda logits, x: difference(logits, x).flatten(1).sum(1) ** 2, "Square first, then sum: "
         "here positive and negative differences cancel."),
        (lambda logits, x: difference(logits, x).flatten(1).norm(dim=1), "This is the square root "
         "of what is asked for: a length, not a squared error."),
        (lambda logits, x: (difference(logits, x) ** 2).sum(dim=(2, 3)), "The channels are left "
         "over: sum over all dimensions but the first."),
        (lambda logits, x: (difference(logits, x) ** 2).sum(dim=(0, 1, 2)), "Wrong axis: the "
         "first dimension is the batch and must stay."),
    ),
)  # fmt: skip


def interpolate(a, b, steps):
    """Codes `(steps, latent_dim)` in even steps on the straight line from a to b, both included."""
    return torch.lerp(a, b, torch.linspace(0, 1, steps, dtype=a.dtype)[:, None])


def on_line(a, b, t):
    return a + t.to(a)[:, None] * (b - a)


INTERPOLATE = Exercise(
    interpolate,
    cases=lambda draw: [(draw(d), draw(d), n) for d, n in ((1, 3), (2, 2), (5, 5), (3, 11))],
    mistakes=(
        (lambda a, b, n: interpolate(b, a, n), "The direction is reversed: the first code must be "
         "a, the last one b."),
        (lambda a, b, n: on_line(a, b, torch.arange(n) / n), "The walk never arrives: the last "
         "code must be b itself. How many gaps are between the codes?"),
        (lambda a, b, n: on_line(a, b, torch.arange(1, n + 1) / n), "The first code must be a "
         "itself: where does t start?"),
        (lambda a, b, n: on_line(a, b, torch.arange(1, n + 1) / (n + 1)), "Both ends are missing: "
         "t must run from 0 to 1 inclusive."),
        (lambda a, b, n: on_line(0 * a, b - a, torch.linspace(0, 1, n)), "The start is missing: "
         "these are the steps from a, not the codes."),
        (lambda a, b, n: on_line(a, a + b, torch.linspace(0, 1, n)), "This walks from a to a + b: "
         "what is added must be the difference."),
        (lambda a, b, n: interpolate(a, b, n + 1), "One code too many."),
    ),
)  # fmt: skip


EXERCISES = {
    "parameters": PARAMETERS,
    "squared_error": SQUARED_ERROR,
    "interpolate": INTERPOLATE,
}
