"""Exercises of notebook 05."""

import math

from vae_helpers.exercises.engine import Exercise
from vae_helpers.losses import gaussian_nll
from vae_helpers.networks import conv_size, transposed_conv_size

import torch

LAYERS = ((28, 4, 2, 1), (7, 4, 2, 1), (5, 3, 1, 0), (9, 5, 3, 2), (2, 2, 2, 0), (11, 1, 4, 0))


CONV_SIZE = Exercise(
    conv_size,
    cases=lambda draw: list(LAYERS),
    mistakes=(
        (lambda n, k, s, p: (n + 2 * p - k) / s + 1, "There is no half pixel: the result must be "
         "a whole number, rounded down before 1 is added."),
        (lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1, "Rounded up; a kernel that does "
         "not fit any more is left out."),
        (lambda n, k, s, p: round((n + 2 * p - k) / s) + 1, "Rounded to the nearest; a kernel that "
         "does not fit any more is left out."),
        (lambda n, k, s, p: (n + 2 * p - k) // s, "The first place of the kernel is not counted: "
         "one step more than there are strides."),
        (lambda n, k, s, p: (n + p - k) // s + 1, "The padding is on both sides."),
        (lambda n, k, s, p: (n - k) // s + 1, "The padding plays no part."),
        (lambda n, k, s, p: (n - 2 * p - k) // s + 1, "Padding makes a picture wider, not "
         "narrower."),
        (lambda n, k, s, p: (n + 2 * p - k + 1) // s, "1 is added before the division; expected "
         "after it."),
        (lambda n, k, s, p: n // s, "The picture divided by the stride: kernel and padding play no "
         "part. (For 4, 2, 1 that happens to be right.)"),
        (lambda n, k, s, p: n + 2 * p - k + 1, "The stride plays no part."),
    ),
)  # fmt: skip


TRANSPOSED_SIZE = Exercise(
    transposed_conv_size,
    cases=lambda draw: [(7, 4, 2, 1, 0), (3, 4, 2, 1, 1), (5, 3, 1, 0, 0), (4, 5, 3, 2, 2),
                        (1, 2, 2, 0, 1), (6, 7, 4, 1, 3)],
    mistakes=(
        (lambda n, k, s, p, o: (n - 1) * s - 2 * p + k, "The output padding plays no part."),
        (lambda n, k, s, p, o: (n - 1) * s - 2 * p + k + 2 * o, "The output padding is on one side "
         "only."),
        (lambda n, k, s, p, o: (n - 1) * s - p + k + o, "The padding is on both sides."),
        (lambda n, k, s, p, o: (n - 1) * s + k + o, "The padding plays no part."),
        (lambda n, k, s, p, o: (n - 1) * s + 2 * p + k + o, "Here the padding makes the result "
         "narrower: it undoes that of a convolution."),
        (lambda n, k, s, p, o: n * s - 2 * p + k + o, "n pixels have n - 1 gaps between them."),
        (lambda n, k, s, p, o: n * s + o, "The picture times the stride: kernel and padding play "
         "no part. (For 4, 2, 1 that happens to be right.)"),
        (lambda n, k, s, p, o: n * s, "The picture times the stride: kernel, padding and output "
         "padding play no part."),
        (lambda n, k, s, p, o: (n + 2 * p - k) // s + 1 + o, "This is the size after an ordinary "
         "convolution: a transposed one makes pictures wider."),
        (lambda n, k, s, p, o: (n - 1) * s - 2 * p + k + o + 1, "One pixel too many."),
        (lambda n, k, s, p, o: (n - 1) * s - 2 * p + o, "The kernel plays no part."),
    ),
)  # fmt: skip


def output_padding(n, kernel, stride, padding):
    """The output padding, an int, with which a transposed convolution returns to n pixels.

    It undoes a convolution of a picture n pixels wide with the same kernel, stride and padding.
    """
    there = conv_size(n, kernel, stride, padding)
    return n - transposed_conv_size(there, kernel, stride, padding, 0)


OUTPUT_PADDING = Exercise(
    output_padding,
    cases=lambda draw: [(7, 4, 2, 1), (28, 4, 2, 1), (5, 3, 1, 0), (9, 5, 3, 2), (11, 3, 4, 0),
                        (10, 3, 4, 1), (8, 5, 3, 0), (10, 4, 3, 1)],
    mistakes=(
        (lambda n, k, s, p: 0, "Always 0? From 7 pixels to 3 and back, 4/2/1 gives 6."),
        (lambda n, k, s, p: 1, "Always 1? From 28 pixels to 14 and back, 4/2/1 gives 28 already."),
        (lambda n, k, s, p: s - 1, "This is the largest value there can be; what is lost depends "
         "on n."),
        (lambda n, k, s, p: n % s, "Whether n can be divided by the stride is not what counts: "
         "kernel and padding play a part. (For 4/2/1 it happens to be right.)"),
        (lambda n, k, s, p: -output_padding(n, k, s, p), "The sign is turned round: the output "
         "padding is what must be added."),
        (lambda n, k, s, p: n - s * conv_size(n, k, s, p), "The stride times the size is not what "
         "a transposed convolution gives: kernel and padding are missing."),
        (lambda n, k, s, p: (s - output_padding(n, k, s, p)) % s, "This is what would be missing "
         "to the next step; expected what the rounding has lost."),
        (lambda n, k, s, p: (n - k) % s, "The padding plays no part here."),
        (lambda n, k, s, p: (n + p - k) % s, "The padding is on both sides."),
        (lambda n, k, s, p: n - output_padding(n, k, s, p), "This is the width that comes back; "
         "expected what is missing to n."),
    ),
)  # fmt: skip


def standard(mean, x, sigma):
    return ((x - mean) / sigma) ** 2


def gaussian(squares, constants):
    """A wrong answer: the sum over pixels of what two functions make of (mean, x, sigma)."""
    return lambda mean, x, sigma: (
        squares(mean, x, sigma) + constants(sigma)
    ).flatten(1).sum(dim=1)  # fmt: skip


def half(mean, x, sigma):
    return 0.5 * standard(mean, x, sigma)


def log_width(sigma):
    return sigma.log() + HALF_LOG_2PI


HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


GAUSSIAN_NLL = Exercise(
    gaussian_nll,
    cases=lambda draw: [
        (draw(*shape), draw(*shape).sigmoid(), torch.tensor(sigma).to(draw(1)))
        for shape, sigma in (((1, 1, 1, 2), 0.5), ((3, 1, 5, 4), 0.1), ((1, 3, 7, 7), 3.0),
                             ((2, 2, 2, 2), 1.0), ((4, 1, 28, 28), 0.3))
    ],
    gradient=(0, 2),
    mistakes=(
        (gaussian(half, lambda s: HALF_LOG_2PI), "log sigma is missing: without it the best sigma "
         "would be infinite."),
        (gaussian(half, lambda s: s.log()), "The constant with 2 pi is missing: this is not the "
         "logarithm of a density yet."),
        (gaussian(half, lambda s: 0 * s), "Both log sigma and the constant with 2 pi are missing."),
        (gaussian(standard, log_width), "The half of the squares is missing."),
        (gaussian(lambda m, x, s: 0.5 * (x - m) ** 2 / s, log_width), "Divided by sigma; the "
         "squares belong above the variance, sigma^2."),
        (gaussian(half, lambda s: 0.5 * s.log() + HALF_LOG_2PI), "sigma is taken for the variance "
         "in its logarithm."),
        (gaussian(lambda m, x, s: 0.5 * (x - m) ** 2 / s, lambda s: 0.5 * s.log() + HALF_LOG_2PI),
         "sigma is taken for the variance; it is the standard deviation."),
        (gaussian(lambda m, x, s: (x - m) ** 2, lambda s: 0 * s), "This is a plain sum of squares: "
         "sigma plays no part."),
        (gaussian(lambda m, x, s: 0.5 * (x - m) ** 2, log_width), "The squares are not measured in "
         "units of sigma."),
        (gaussian(half, lambda s: HALF_LOG_2PI - s.log()), "log sigma has the wrong sign: a wide "
         "density is low."),
        (gaussian(half, lambda s: s.log() + 2 * HALF_LOG_2PI), "The half of log 2 pi is missing: "
         "there is a root in the density."),
        (gaussian(half, lambda s: 2 * s.log() + HALF_LOG_2PI), "log sigma^2 needs the factor one "
         "half."),
        (lambda m, x, s: half(m, x, s).flatten(1).sum(1) + log_width(s), "The constants are "
         "counted once for an image; every pixel has them."),
        (lambda m, x, s: half(m, x, s).flatten(1).sum(1) + s.log() + x[0].numel() * HALF_LOG_2PI,
         "log sigma is counted once for an image; every pixel has it."),
        (lambda m, x, s: gaussian_nll(m, x, s) / x[0].numel(), "This is a mean over the pixels; "
         "expected their sum: nats per image."),
        (lambda m, x, s: -gaussian_nll(m, x, s), "The sign: this is log p(x|z); expected the "
         "negative."),
    ),
)  # fmt: skip


def iwae_bound(log_weights):
    """The importance-weighted bound L_k of each image, `(batch,)`, nats.

    `log_weights`: `(batch, k)`, log p(x|z) + log p(z) - log q(z|x) of k draws for each image.
    """
    return log_weights.logsumexp(dim=1) - math.log(log_weights.shape[1])


IWAE = Exercise(
    iwae_bound,
    cases=lambda draw: [
        (2 * draw(n, k) - 3,) for n, k in ((1, 2), (3, 5), (1, 50), (5, 1), (4, 4))
    ],
    gradient=(0,),
    mistakes=(
        (lambda w: w.mean(1), "This is the mean of the logarithms, the ELBO; expected the "
         "logarithm of the mean."),
        (lambda w: w.logsumexp(1), "log k is missing: the bound is the logarithm of a mean, not of "
         "a sum."),
        (lambda w: w.logsumexp(1) + math.log(w.shape[1]), "log k has the wrong sign."),
        (lambda w: w.logsumexp(1) / w.shape[1], "Divided by k outside the logarithm; the mean is "
         "inside."),
        (lambda w: ((-w).softmax(1) * w).sum(1), "This is a softmax over the loss: the worst draws "
         "get the largest weight."),
        (lambda w: -iwae_bound(-w), "The logarithms of the weights have the wrong sign inside: the "
         "worst draws decide."),
        (lambda w: (w.softmax(1) * w).sum(1), "This is a weighted mean of the logarithms "
         "(softmax); expected the logarithm of a plain mean."),
        (lambda w: w.logsumexp(0) - math.log(w.shape[0]), "Wrong axis: the mean runs over the "
         "draws of one image."),
        (lambda w: w.logsumexp(0) - math.log(w.shape[1]), "Wrong axis: the mean runs over the "
         "draws of one image."),
        (lambda w: iwae_bound(w) - w.amax(1), "The maximum that was subtracted must be added again "
         "after the logarithm."),
        (lambda w: w.amax(1), "This is the best draw alone; expected the mean over all."),
        (lambda w: w.exp().mean(1), "The logarithm is missing: these are the mean weights."),
        (lambda w: -iwae_bound(w), "The sign: this is minus the bound."),
        (lambda w: w.flatten().logsumexp(0) - math.log(w.numel()), "The images are mixed: each has "
         "a bound of its own."),
    ),
    extreme=lambda draw: [(draw(2, 3) + level,) for level in (-2000, 1000)],
    extreme_hint="exp of such numbers is 0 or infinite: subtract the maximum of each row first, or "
    "use a function that does.",
)  # fmt: skip


EXERCISES = {
    "conv_size": CONV_SIZE,
    "transposed_size": TRANSPOSED_SIZE,
    "output_padding": OUTPUT_PADDING,
    "gaussian_nll": GAUSSIAN_NLL,
    "iwae": IWAE,
}
