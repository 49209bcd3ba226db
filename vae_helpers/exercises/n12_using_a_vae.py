"""Exercises of notebook 12."""

import math

from vae_helpers.exercises.engine import Exercise

import torch


def auroc(normal, anomalous):
    """The share of pairs in which the anomalous image has the higher score; a tie counts half.

    `normal`: `(n,)`, `anomalous`: `(m,)`, scores. Returns a number from 0 to 1.
    """
    above = (anomalous[:, None] > normal).double()
    ties = (anomalous[:, None] == normal).double()
    return (above + ties / 2).mean().item()


def share_above(normal, anomalous, tie):
    """The share of pairs in order, a tie counting `tie`."""
    above = (anomalous[:, None] > normal).double()
    return (above + tie * (anomalous[:, None] == normal)).mean().item()


def halves(values):
    """Numbers rounded to multiples of a half, so that there are ties."""
    return (2 * values).round() / 2


AUROC = Exercise(
    auroc,
    cases=lambda draw: [
        (torch.tensor([1.0, 2.0, 3.0]).to(draw(1)), torch.tensor([2.0, 4.0]).to(draw(1))),
        *((halves(draw(n)), halves(draw(m) + shift))
          for n, m, shift in ((5, 8, 0.5), (20, 7, 1.0), (9, 4, -1.0), (30, 40, 0.3))),
        (draw(12), draw(6) + 0.7),
    ],
    mistakes=(
        (lambda n, a: share_above(n, a, 0), "A tie counts nothing here; expected one half."),
        (lambda n, a: share_above(n, a, 1), "A tie counts as a whole pair here; expected one "
         "half."),
        (lambda n, a: share_above(a, n, 0.5), "The sign is turned: this is the share of pairs in "
         "which the normal image has the higher score."),
        (lambda n, a: share_above(a, n, 0), "The sign is turned, and a tie counts nothing."),
        (lambda n, a: share_above(a, n, 1), "The sign is turned, and a tie counts as a whole "
         "pair."),
        (lambda n, a: share_above(n, a, 0.5) * len(n) * len(a), "This counts the pairs; expected "
         "their share."),
        (lambda n, a: (a > n.mean()).double().mean().item(), "This compares with the mean of the "
         "normal scores; expected every pair."),
        (lambda n, a: (a > n.median()).double().mean().item(), "This compares with the median of "
         "the normal scores; expected every pair."),
        (lambda n, a: (a > n.max()).double().mean().item(), "This asks who lies above all normal "
         "images; expected every pair."),
        (lambda n, a: (a.mean() - n.mean()).item(), "This is a difference of means, in nats; "
         "expected a share of pairs."),
        (lambda n, a: share_above(n, a, 0.5) * len(a), "A sum over the anomalous images; expected "
         "the mean over both."),
        (lambda n, a: share_above(n, a, 0.5) * len(n), "A sum over the normal images; expected the "
         "mean over both."),
        (lambda n, a: 2 * share_above(n, a, 0.5) - 1, "This runs from -1 to 1; expected a share, "
         "so that one half is a coin."),
    ),
)  # fmt: skip


def threshold(scores, share):
    """The smallest of the scores that at most the given share of all scores lies above.

    `scores`: `(n,)`, of normal images, no two alike; `share`: of false alarms, from 0 up to,
    but not, 1. Returns a scalar tensor.
    """
    return scores.sort(descending=True).values[math.floor(share * len(scores))]


def place(scores, share, more=0, descending=True):
    """The score some places away from the right one."""
    ordered = scores.sort(descending=descending).values
    at = math.floor(share * len(scores)) + more
    return ordered[min(max(at, 0), len(scores) - 1)]


THRESHOLD = Exercise(
    threshold,
    # Powers of two, or numbers whose product is no whole one, so that no rounding decides.
    cases=lambda draw: [
        (draw(4) * 2 + 3, 0.25), (draw(8), 0.0), (draw(16) * 5 + 100, 0.125), (draw(20), 0.33),
        (draw(64), 0.0625), (draw(10), 0.75), (draw(7), 0.3),
    ],
    mistakes=(
        (lambda s, f: place(s, f, descending=False), "The wrong end: this share of the scores lies "
         "below; expected above."),
        (lambda s, f: place(s, 1 - f, -1), "The wrong end: nearly all normal images are flagged."),
        (lambda s, f: torch.quantile(s, 1 - f), "Interpolated between two scores; expected one of "
         "them."),
        (lambda s, f: torch.quantile(s, f), "The wrong end, and interpolated between two "
         "scores."),
        (lambda s, f: place(s, f, -1), "One place too high: fewer than allowed are flagged, as "
         "long as flagged means above the threshold."),
        (lambda s, f: place(s, f, 1), "One place too low: more than the share lies above."),
        (lambda s, f: place(s, 0), "share plays no part: this is the largest score."),
        (lambda s, f: s[math.floor(f * len(s))], "The scores are not sorted."),
        (lambda s, f: s.sort().values[math.floor((1 - f) * len(s)) - 1], "Counted from below and "
         "rounded down: where the share is no whole number of images, one too many is flagged."),
        (lambda s, f: s.mean() + 2 * s.std(), "Mean and standard deviation assume a bell shape, "
         "and share plays no part; expected one of the scores."),
        (lambda s, f: s.max() * (1 - f), "A share of the largest score; expected the score that "
         "this share of the images exceeds."),
        (lambda s, f: s.min() + (1 - f) * (s.max() - s.min()), "A share of the way between the "
         "smallest and the largest score; expected a share of the images."),
    ),
)  # fmt: skip


def corrected_score(nll, code_bytes):
    """-log p(x) minus the length of a lossless code of x: `(n,)`, nats.

    `nll`: `(n,)`, -log p(x) in nats; `code_bytes`: `(n,)`, the length in bytes, 8 bits each.
    """
    return nll - code_bytes * 8 * math.log(2)


CORRECTED_SCORE = Exercise(
    corrected_score,
    cases=lambda draw: [
        (100 + 20 * draw(n), (30 + 9 * draw(n)).abs().round()) for n in (1, 2, 5, 9)
    ],
    mistakes=(
        (lambda nll, b: nll - b * 8, "Bits are taken from nats: one bit is log 2 nats."),
        (lambda nll, b: nll - b * math.log(2), "Bytes are taken for bits: a byte has 8 of them."),
        (lambda nll, b: nll - b, "Bytes are taken from nats: turn them into bits, then into nats."),
        (lambda nll, b: nll + b * 8 * math.log(2), "The length is added; expected subtracted."),
        (lambda nll, b: b * 8 * math.log(2) - nll, "The sign is turned round: simple images would "
         "look normal again."),
        (lambda nll, b: nll - b * 8 / math.log(2), "Divided by log 2: that turns nats into bits; "
         "expected bits into nats."),
        (lambda nll, b: nll / math.log(2) - b * 8, "This is in bits; expected nats."),
        (lambda nll, b: nll - b / 8 * math.log(2), "Divided by 8: a byte has 8 bits, so multiply."),
        (lambda nll, b: nll / (b * 8 * math.log(2)), "This is a ratio; expected the difference."),
        (lambda nll, b: nll - b * math.log(256) / math.log(10), "A logarithm to base 10; expected "
         "the natural one."),
        (lambda nll, b: nll - b * 8 * math.log10(2), "A logarithm to base 10; expected the "
         "natural one."),
        (lambda nll, b: nll - (b * 8 * math.log(2)).mean(), "The mean length is taken from all; "
         "expected each image's own."),
        (lambda nll, b: b * 8 * math.log(2), "-log p(x) plays no part."),
        (lambda nll, b: nll, "The length plays no part."),
    ),
)  # fmt: skip


def through_int8(x, scale, zero_point):
    """What is left of `x` after int8 and back: floats on the grid, the shape of `x`.

    `scale`: the distance of two places, positive; `zero_point`: the whole number that stands for 0.
    """
    q = (torch.round(x / scale) + zero_point).clamp(-128, 127)
    return (q - zero_point) * scale


def grid(x, scale, zero_point, low=-128, high=127, rounded=torch.round):
    return ((rounded(x / scale) + zero_point).clamp(low, high) - zero_point) * scale


def stored(x, scale, zero_point):
    return (torch.round(x / scale) + zero_point).clamp(-128, 127)


QUANTIZE = Exercise(
    through_int8,
    cases=lambda draw: [
        (draw(4), 0.25, 3), (draw(2, 5), 0.0625, 0), (3 * draw(3, 4, 2), 0.03125, -20),
        (draw(40) * 2, 0.0078125, 60), (draw(50).abs() * 3, 0.015625, -128), (draw(6), 2.0, -5),
    ],
    mistakes=(
        (stored, "These are the whole numbers that are stored; expected the way back as well: take "
         "off the zero point and multiply by the scale."),
        (lambda x, s, z: stored(x, s, z) * s, "The zero point is not taken off on the way back."),
        (lambda x, s, z: stored(x, s, z) - z, "The scale is missing on the way back."),
        (lambda x, s, z: torch.round(x / s) * s, "Nothing is clamped: int8 has 256 places."),
        (lambda x, s, z: grid(x, s, z, 0, 255), "Clamped to 0 ... 255: that is an unsigned byte; "
         "int8 goes from -128 to 127."),
        (lambda x, s, z: grid(x, s, z, -127, 127), "Clamped to -127 ... 127: one place is lost."),
        (lambda x, s, z: grid(x, s, z, -128, 128), "Clamped to 128: 257 places; the last one of "
         "int8 is 127."),
        (lambda x, s, z: grid(x, s, z, rounded=torch.floor), "Rounded down; expected to the "
         "nearest place."),
        (lambda x, s, z: grid(x, s, z, rounded=torch.trunc), "The decimals are cut off; expected "
         "rounding to the nearest place."),
        (lambda x, s, z: grid(x, s, z, rounded=torch.ceil), "Rounded up; expected to the nearest "
         "place."),
        (lambda x, s, z: grid(x, s, z, rounded=lambda v: v), "Nothing is rounded: int8 holds whole "
         "numbers."),
        (lambda x, s, z: torch.round(x / s).clamp(-128, 127) * s, "The zero point plays no part: "
         "it moves the range that fits."),
        (lambda x, s, z: grid(x, s, -z), "The zero point is subtracted on the way in and added on "
         "the way back: the other way round."),
        (lambda x, s, z: (torch.round(x * s) + z).clamp(-128, 127) - z, "Multiplied by the scale "
         "on the way in; expected divided, and the scale on the way back."),
        (lambda x, s, z: ((torch.round(x * s) + z).clamp(-128, 127) - z) / s, "Multiplied by the "
         "scale on the way in and divided on the way back: the other way round."),
        (lambda x, s, z: (stored(x, s, z) + z) * s, "The zero point is added on the way back; "
         "expected taken off."),
        (lambda x, s, z: stored(x, s, z).to(torch.int8) - z, "The scale is missing, and the zero "
         "point is taken off in int8, where the result may not fit."),
    ),
)  # fmt: skip


EXERCISES = {
    "auroc": AUROC,
    "threshold": THRESHOLD,
    "corrected_score": CORRECTED_SCORE,
    "quantize": QUANTIZE,
}
