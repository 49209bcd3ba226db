"""Exercises of notebook 09."""

from vae_helpers.exercises.engine import Exercise
from vae_helpers.losses import cyclical

import torch


def warm_up(epoch, epochs):
    """beta in an epoch: rises evenly from 0 in epoch 0 to 1 in epoch `epochs`, then stays 1."""
    return min(1.0, epoch / epochs)


WARM_UP = Exercise(
    warm_up,
    cases=lambda draw: [(e, n) for n in (1, 4, 10) for e in (0, 1, 2, 3, 5, 10, 30)],
    mistakes=(
        (lambda e, n: e / n, "beta rises above 1: it must stay there."),
        (lambda e, n: min(1, (e + 1) / n), "beta starts above 0: it must be 0 in epoch 0."),
        (lambda e, n: min(1, e // n), "A whole-number division: beta jumps from 0 to 1 instead of "
         "rising."),
        (lambda e, n: min(1, e / (n + 1)), "beta reaches 1 an epoch too late."),
        (lambda e, n: e / (n + 1), "beta reaches 1 an epoch too late, and then goes on rising."),
        (lambda e, n: min(1, e / max(1, n - 1)), "beta reaches 1 an epoch too early."),
        (lambda e, n: 1 - min(1, e / n), "The direction is reversed: beta must rise."),
        (lambda e, n: max(1, e / n), "max for min: beta never falls below 1 here."),
        (lambda e, n: e / n if e < n else 0, "After the warm-up beta falls back to 0; it must stay "
         "at 1."),
        (lambda e, n: e % n / n, "beta starts again and again; it must stay at 1."),
        (lambda e, n: min(1, n / e) if e else 1, "Upside down: epoch and epochs are swapped."),
        (lambda e, n: min(e, n), "Not divided: beta must end at 1, not at the number of epochs."),
        (lambda e, n: min(0.99, e / n), "beta never reaches 1."),
        (lambda e, n: min(1, (e / n) ** 2), "beta rises along a curve; expected evenly."),
    ),
)  # fmt: skip


# Powers of 2, so that no rounding decides in which cycle a point lies.
CYCLICAL = Exercise(
    cyclical,
    cases=lambda draw: [
        (t / 64, cycles, share) for t in (0, 3, 10, 16, 21, 37, 50, 63)
        for cycles in (1, 2, 4) for share in (0.5, 0.25, 1.0)
    ],
    mistakes=(
        (lambda t, c, s: t * c % 1 / s, "beta rises above 1 in each cycle; it must stay there."),
        (lambda t, c, s: t * c % 1, "share plays no part: beta must reach 1 before the cycle "
         "ends."),
        (lambda t, c, s: min(1, t / s), "This is one warm-up: cycles plays no part."),
        (lambda t, c, s: min(1, t * c / s), "This is one short warm-up: beta never falls back to 0 "
         "when a new cycle starts."),
        (lambda t, c, s: min(1, (t * c % 1) * s), "Multiplied by share: beta rises more slowly "
         "than it should, and never reaches 1."),
        (lambda t, c, s: 1 - min(1, t * c % 1 / s), "The direction is reversed: beta must rise in "
         "each cycle."),
        (lambda t, c, s: max(0, (t * c % 1 - 1 + s) / s), "The plateau is at the wrong end: beta "
         "waits at 0 and rises last; expected to rise first."),
        (lambda t, c, s: float(t * c % 1 >= s), "beta jumps from 0 to 1; expected to rise."),
        (lambda t, c, s: t * c % 1 / s if t * c % 1 < s else 0, "After its rise beta falls back to "
         "0; it must stay at 1 to the end of the cycle."),
        (lambda t, c, s: min(1, t % (1 / c) / s), "The place in the cycle is not stretched: a "
         "cycle is only a part of training, so multiply by their number."),
    ),
)  # fmt: skip


def kl_with_free_bits(kl, floor):
    """The KL with free bits, a scalar tensor, nats per image.

    `kl`: `(batch, latent_dim)`, the KL of each latent of each image. Each latent's mean over the
    batch counts at least `floor` nats; the results are summed over latents.
    """
    return kl.mean(dim=0).clamp(min=floor).sum()


FREE_BITS = Exercise(
    kl_with_free_bits,
    cases=lambda draw: [
        (draw(n, d) ** 2 * torch.linspace(0.01, 2, d).to(draw(1)), floor)
        for n, d, floor in ((1, 2, 0.1), (3, 5, 0.5), (4, 4, 0.2), (8, 20, 0.25), (2, 1, 0.0),
                            (3, 2, 9.0), (6, 2, 1.0))
    ],
    gradient=(0,),
    mistakes=(
        (lambda k, f: k.sum(1).mean().clamp(min=f), "The floor is put under the sum of all "
         "latents; expected under each of them, or one latent can earn it for all."),
        (lambda k, f: k.sum(1).mean().clamp(min=f * k.shape[1]), "The floor is put under the sum "
         "of all latents; expected under each of them."),
        (lambda k, f: k.clamp(min=f).sum(1).mean(), "The floor is put under each single image; "
         "expected under the mean over the batch."),
        (lambda k, f: k.mean(0).clamp(max=f).sum(), "min and max are swapped: this is a ceiling."),
        (lambda k, f: (k.mean(0) - f).clamp(min=0).sum(), "The floor is subtracted; expected as "
         "the least that a latent counts."),
        (lambda k, f: (k.mean(0) + f).sum(), "The floor is added; expected as the least that a "
         "latent counts."),
        (lambda k, f: k.mean(0).clamp(min=f).mean(), "This is a mean over the latents; expected "
         "their sum."),
        (lambda k, f: k.sum(0).clamp(min=f).sum(), "This is a sum over the images; expected their "
         "mean."),
        (lambda k, f: k.mean(1).clamp(min=f).sum(), "Wrong axis: the mean runs over the batch, the "
         "sum over the latents."),
        (lambda k, f: k.mean(0).clamp(min=f), "The sum over the latents is missing."),
        (lambda k, f: k.sum(1).mean(), "The floor plays no part."),
        (lambda k, f: k.sum(1).clamp(min=f).mean(), "The floor is put under the sum of all latents "
         "of each image; expected under each latent's mean over the batch."),
        (lambda k, f: torch.where(k.mean(0) > f, k.mean(0), 0).sum(), "A latent below the floor "
         "counts 0 here; expected as much as the floor."),
        (lambda k, f: k.clamp(min=f).mean(0).mean(), "The floor is put under each single image, "
         "and the latents are averaged."),
    ),
)  # fmt: skip


EXERCISES = {"warm_up": WARM_UP, "cyclical": CYCLICAL, "free_bits": FREE_BITS}
