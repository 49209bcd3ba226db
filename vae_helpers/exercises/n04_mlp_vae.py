"""Exercises of notebook 04."""

from vae_helpers.exercises.engine import Exercise, Wrong
from vae_helpers.exercises.n02_elbo import gaussian_pairs, per_latent
from vae_helpers.losses import bernoulli_nll, kl_divergence

import torch


def split_rows(n, share, seed):
    """Shuffle the numbers 0 to n - 1 and set a share of them apart: `(train, validation)` rows.

    The validation rows are `round(share * n)` many; one seed, one split. Both int64 tensors.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    held_out = round(share * n)
    return order[held_out:], order[:held_out]


def judge_split(call):
    """The chance that a right answer leaves 900 shuffled rows in order is 1 in 900 factorial."""
    for n, share in ((1000, 0.1), (100, 0.29), (10, 0.5), (1, 0.0)):
        check_parts(n, round(share * n), *call(n, share, 0, shapes=False))
    train, validation = call(1000, 0.1, 0, shapes=False)
    for rows in (train, validation):
        if torch.equal(rows, rows.sort().values) or torch.equal(rows, rows.sort().values.flip(0)):
            raise Wrong(
                "The rows are not shuffled: sorted data would put whole classes into one part."
            )
    if not torch.equal(validation, call(1000, 0.1, 0, seed=5, shapes=False)[1]):
        raise Wrong("One seed gives two different splits: draw from a generator with that seed.")
    if torch.equal(validation, call(1000, 0.1, 1, shapes=False)[1]):
        raise Wrong("Two seeds give one split: the argument seed plays no part.")


def check_parts(n, held_out, train, validation):
    both = torch.cat([train, validation])
    came = f"{n} rows became {len(train)} for training and {len(validation)} for validation"
    if len(both) and not 0 <= both.min() <= both.max() < n:
        raise Wrong(f"There are rows that do not exist; expected numbers from 0 to {n - 1}.")
    if any(len(part.unique()) < len(part) for part in (train, validation)):
        raise Wrong("A row occurs twice in one part: is it drawn with replacement?")
    if len(both.unique()) < len(both):
        raise Wrong("The two parts overlap: validation rows are trained on.")
    if len(train) == held_out != n - held_out:
        raise Wrong(f"The two parts are swapped: {came}. Training rows come first.")
    if len(both) < n:
        raise Wrong(f"Rows are lost: {came}.")
    if len(validation) != held_out:
        raise Wrong(f"The parts have the wrong size: {came}; expected {held_out} (rounded).")


def beta_loss(logits, x, mu, logvar, beta):
    """-log p(x|z) + beta KL(q(z|x) || N(0, I)), `(batch,)`, nats, for binary pixels.

    `logits`, `x`: `(batch, c, h, w)`; `mu`, `logvar`: `(batch, latent_dim)`; `beta`: a number.
    """
    return bernoulli_nll(logits, x) + beta * kl_divergence(mu, logvar)


def from_terms(formula):
    """A wrong answer that puts (nll, kl, beta) together in another way."""
    return lambda logits, x, mu, logvar, beta: formula(
        bernoulli_nll(logits, x), kl_divergence(mu, logvar), beta
    )


NEGATIVE_ELBO = Exercise(
    beta_loss,
    cases=lambda draw: [
        (draw(n, 1, h, w), (draw(n, 1, h, w) > 0).to(draw(1)), draw(n, d), draw(n, d), beta)
        for n, h, w, d, beta in ((1, 1, 2, 1, 2.0), (3, 4, 5, 2, 0.5), (2, 3, 3, 4, 1.0),
                                 (4, 2, 2, 4, 4.0), (2, 28, 28, 20, 0.0))
    ],
    gradient=(0, 2, 3),
    mistakes=(
        (from_terms(lambda nll, kl, b: b * nll + kl), "beta is on the reconstruction: it belongs "
         "to the KL, or a larger beta means the opposite."),
        (from_terms(lambda nll, kl, b: nll - b * kl), "The KL is subtracted: minimising this would "
         "push the codes away from the prior."),
        (from_terms(lambda nll, kl, b: b * (nll + kl)), "beta is on both terms: that scales the "
         "loss and changes nothing else."),
        (from_terms(lambda nll, kl, b: -nll - b * kl), "The sign: this is the ELBO, which is "
         "maximised; expected the negative one."),
        (from_terms(lambda nll, kl, b: nll + kl), "beta plays no part."),
        (from_terms(lambda nll, kl, b: nll), "The KL is missing."),
        (from_terms(lambda nll, kl, b: b * kl - nll), "The reconstruction has the wrong sign."),
        (from_terms(lambda nll, kl, b: nll + 2 * b * kl), "The factor one half of the KL is "
         "missing."),
        (from_terms(lambda nll, kl, b: nll.mean() + b * kl), "The reconstruction is averaged over "
         "the batch, the KL is not."),
        (from_terms(lambda nll, kl, b: nll + b * kl.mean()), "The KL is averaged over the batch, "
         "the reconstruction is not."),
        (lambda l, x, m, v, b: bernoulli_nll(l, x) / x[0].numel() + b * kl_divergence(m, v),
         "The reconstruction is a mean over the pixels, the KL a sum over the latents: that is "
         "another beta."),
        (lambda l, x, m, v, b: (bernoulli_nll(l, x) / x[0].numel() + b * kl_divergence(m, v))
         .mean(), "The reconstruction is a mean over the pixels, the KL a sum over the latents; "
         "and there is a mean over the batch."),
        (lambda l, x, m, v, b: bernoulli_nll(l, x) + b * kl_divergence(m, v) / m.shape[1],
         "The KL is a mean over the latents; expected their sum."),
        (lambda l, x, m, v, b: bernoulli_nll(l, x) / x[0].numel() + b * kl_divergence(m, v)
         / m.shape[1], "Both terms are means, over different numbers of things: expected sums over "
         "pixels and latents."),
        (lambda l, x, m, v, b: bernoulli_nll(l.sigmoid(), x) + b * kl_divergence(m, v),
         "The sigmoid is applied twice."),
    ),
)  # fmt: skip


def mean_loss_per_digit(loss, labels):
    """The mean loss of each digit 0 to 9, `(10,)`; nan for a digit that does not occur.

    `loss`: floats `(n,)`; `labels`: int64 `(n,)`.
    """
    return torch.stack([loss[labels == digit].mean() for digit in range(10)])


def totals(loss, labels):
    return torch.zeros(10, dtype=loss.dtype).index_add(0, labels, loss)


def counts(labels):
    return torch.bincount(labels, minlength=10)


LOSS_PER_DIGIT = Exercise(
    mean_loss_per_digit,
    cases=lambda draw: [
        (5 + draw(1), torch.tensor([3])),
        (5 + draw(60), torch.arange(60) ** 2 % 11 % 10),
        (5 + draw(30), torch.arange(30) % 10),
        (5 + draw(23), torch.arange(23) % 4 + 5),
    ],
    mistakes=(
        (totals, "These are sums; expected the mean loss of a digit's images."),
        (lambda loss, y: totals(loss, y) / len(loss), "Each sum is divided by the number of all "
         "images; expected the number of images of that digit."),
        (lambda loss, y: loss.mean().expand(10), "This is the mean over all images: the labels "
         "play no part."),
        (lambda loss, y: torch.stack([loss[y == d].mean() for d in y.unique()]), "Only the digits "
         "that occur have a place here; expected ten places, nan where there is no image."),
        (lambda loss, y: totals(loss, y) / counts(y).clamp(min=1), "A digit without images has no "
         "mean: expected nan, not 0 (a loss of 0 would be a claim)."),
        (lambda loss, y: mean_loss_per_digit(loss, y).nan_to_num(), "A digit without images has no "
         "mean: expected nan, not 0 (a loss of 0 would be a claim)."),
        (lambda loss, y: counts(y), "This counts the images of each digit; expected their mean "
         "loss."),
        (lambda loss, y: torch.stack([loss[y == d].median() if (y == d).any() else torch.nan
         * loss[0] for d in range(10)]), "This is the median; expected the mean."),
        (lambda loss, y: torch.stack([loss[y == d].mean() for d in range(1, 11)]), "The digits are "
         "shifted by one: place 0 belongs to the digit 0."),
        (lambda loss, y: torch.stack([loss[y == d].mean() for d in range(9)]), "The digit 9 is "
         "missing."),
        (lambda loss, y: torch.stack([loss[y != d].mean() for d in range(10)]), "This is the mean "
         "over all other digits."),
    ),
)  # fmt: skip


def kl_of_latents(mu, logvar):
    """The KL of each latent to N(0, 1), mean over images: `(latent_dim,)`, nats per image.

    `mu`, `logvar`: `(batch, latent_dim)`. Their sum is the mean KL of an image.
    """
    return per_latent(mu, logvar).mean(dim=0)


KL_PER_LATENT = Exercise(
    kl_of_latents,
    cases=gaussian_pairs,
    gradient=(0, 1),
    mistakes=(
        (lambda m, l: per_latent(m, l).sum(0), "This is a sum over the images; expected their "
         "mean."),
        (lambda m, l: per_latent(m, l).sum(1), "Wrong axis: this is the KL of each image; expected "
         "one number for each latent."),
        (lambda m, l: per_latent(m, l).mean(1), "Wrong axis: this is a mean over the latents; "
         "expected one number for each latent."),
        (lambda m, l: per_latent(m, l).sum(1).mean(), "This is the whole KL of an image; expected "
         "one number for each latent: leave out the sum over them."),
        (per_latent, "The mean over the images is missing."),
        (lambda m, l: 2 * kl_of_latents(m, l), "The factor one half is missing."),
        (lambda m, l: -kl_of_latents(m, l), "The sign is turned round: no KL is ever negative."),
        (lambda m, l: per_latent(m.mean(0), l.mean(0)), "This is the KL of a mean code; expected "
         "the mean of the KLs. The mean comes last."),
        (lambda m, l: kl_of_latents(m, l) / m.shape[1], "Divided by the number of latents: their "
         "sum must be the KL of an image."),
        (lambda m, l: kl_of_latents(m, 0.5 * l) - 0.25 * l.mean(0), "The variance is wrong: "
         "exp(0.5 logvar) is sigma, not sigma^2."),
    ),
)  # fmt: skip


def active_latents(mu, logvar, threshold):
    """Which latents does the encoder use? Bools `(latent_dim,)`.

    A latent is active if the variance of its mean over the images is above `threshold`.
    `mu`, `logvar`: `(n, latent_dim)`, what the encoder says of n images.
    """
    return mu.var(dim=0) > threshold


def codes_of_all_kinds(draw):
    """Mean codes whose standard deviations lie far from both thresholds, and so do the others."""
    scale = torch.tensor([0.05, 1.0, 0.001, 0.3, 0.0, 2.0]).to(draw(1))
    offset = torch.tensor([0.0, 0.0, 5.0, 0.0, 1.0, -3.0]).to(draw(1))
    wide = torch.tensor([-3.0, -5.0, -8.0, -6.0, 0.0, -7.0]).to(draw(1))
    waves = torch.linspace(0, 40, 60)[:, None].to(draw(1)) + torch.arange(6).to(draw(1))
    mu = offset + scale * 1.4 * torch.sin(waves)
    logvar = wide.expand(60, 6) + 0.1 * torch.cos(waves)
    return [(mu, logvar, threshold) for threshold in (0.01, 0.5, 0.0001)] + [
        (mu[::10], logvar[::10], 0.01), (mu[:, :1], logvar[:, :1], 0.01),
    ]  # fmt: skip


def mask(statistic):
    """A wrong answer that compares another statistic of (mu, logvar) with the threshold."""
    return lambda mu, logvar, threshold: statistic(mu, logvar) > threshold


ACTIVE_UNITS = Exercise(
    active_latents,
    cases=codes_of_all_kinds,
    mistakes=(
        (mask(lambda m, l: m.std(0)), "This compares the standard deviation with the threshold; "
         "expected the variance."),
        (mask(lambda m, l: m.var(0) + l.exp().mean(0)), "This is the variance of z, noise "
         "included: a dead latent has it too. Expected that of the mean mu."),
        (mask(lambda m, l: l.exp().mean(0)), "exp(logvar) is the width of q for one image; "
         "expected how much the mean mu differs between images."),
        (mask(lambda m, l: (m**2).mean(0)), "The mean is not subtracted: a latent that is always "
         "5 says nothing about the image."),
        (mask(lambda m, l: m.abs().mean(0)), "This is the mean size of mu: a latent that is always "
         "5 says nothing about the image. Expected a variance."),
        (lambda m, l, t: m.var(0) < t, "The side is wrong: these are the latents that are not "
         "used."),
        (mask(lambda m, l: m.var(1)), "Wrong axis: this is a variance over the latents of one "
         "image; expected one over the images."),
        (lambda m, l, t: (m.var(0) > t).sum(), "This is how many are active; expected which: one "
         "truth value for each latent."),
        (lambda m, l, t: m.var(0), "These are the variances; compare them with the threshold."),
        (mask(lambda m, l: kl_of_latents(m, l)), "This compares the KL with the threshold; "
         "expected the variance of mu."),
        (mask(lambda m, l: m.amax(0) - m.amin(0)), "This compares the range with the threshold; "
         "expected the variance."),
        (lambda m, l, t: m.var(0) > 0.01, "The threshold is fixed: the argument plays no part."),
    ),
)  # fmt: skip


EXERCISES = {
    "split": Exercise(split_rows, judge=judge_split),
    "negative_elbo": NEGATIVE_ELBO,
    "loss_per_digit": LOSS_PER_DIGIT,
    "kl_per_latent": KL_PER_LATENT,
    "active_units": ACTIVE_UNITS,
}
