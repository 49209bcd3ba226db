"""Exercises of notebook 02."""

from vae_helpers.data import binarize
from vae_helpers.exercises.engine import Exercise, Wrong
from vae_helpers.losses import bernoulli_nll, kl_divergence

import torch
import torch.nn.functional as F


def judge_binarize(call):
    """4,000 draws of each grey value: six standard errors of a share are at most 0.047.

    So a right answer fails one of the six comparisons with a probability of about 1e-8.
    """
    grey = torch.tensor([0.0, 0.1, 0.4, 0.6, 0.9, 1.0]).view(1, 1, 2, 3)
    x = grey.expand(4000, 1, 2, 3).clone()
    drawn = call(x)
    call(torch.rand(1, 1, 1, 1, dtype=torch.float64))
    if torch.equal(drawn, x):
        raise Wrong("The grey values come back unchanged.")
    if not ((drawn == 0) | (drawn == 1)).all():
        raise Wrong("Every pixel of the result must be 0 or 1; others came.")
    share = drawn.mean(dim=0, keepdim=True)
    if torch.equal(share, (grey > 0.5).float()):
        raise Wrong("This is a threshold, not a draw: a pixel of 0.4 must be white in four of ten "
                    "images.")  # fmt: skip
    if (drawn == drawn[:1]).all() or (drawn[..., 0, 1:] == drawn[:1, :, 0, 1:]).all():
        raise Wrong("All images get the same draw: each needs random numbers of its own.")
    if torch.equal(drawn, call(x, seed=1)):
        raise Wrong("Two calls draw the same numbers: is there a fixed seed inside?")
    middle = drawn[..., 1, 0] - drawn[..., 0, 2]  # 0.6 and 0.4; one number for both: never -1
    if (middle >= 0).all() or (middle <= 0).all():
        raise Wrong("All pixels of an image share the same random number; each needs its own.")
    if (share - grey).abs().max() > 0.05:
        words = "The chances are turned round: bright pixels must be white more often."
        if (share - 1 + grey).abs().max() > 0.05:
            words = (
                f"A pixel of 0.1 is white in {share[0, 0, 0, 1]:.0%} of the draws; its grey value "
                "is its probability."
            )
        raise Wrong(words)


def bce(p, x):
    return F.binary_cross_entropy(p, x, reduction="none").flatten(1).sum(dim=1)


def logits_as_probabilities(logits, x):
    return -(x * logits.log() + (1 - x) * (1 - logits).log()).flatten(1).sum(dim=1)


def picture_pairs(draw):
    """Logits and black and white pixels."""
    shapes = (1, 1, 1, 2), (3, 1, 5, 4), (1, 3, 7, 7), (2, 2, 2, 2), (4, 1, 28, 28)
    return [(2 * draw(*shape), (draw(*shape) > 0).to(draw(1))) for shape in shapes]


BERNOULLI_NLL = Exercise(
    bernoulli_nll,
    cases=picture_pairs,
    gradient=(0,),
    mistakes=(
        (lambda l, x: bce(l.sigmoid().sigmoid(), x), "The sigmoid is applied twice: "
         "binary_cross_entropy_with_logits has it inside."),
        (logits_as_probabilities, "Logits are taken for probabilities here: they can be negative, "
         "and then the logarithm is not a number."),
        (bce, "Logits are taken for probabilities here, and they are not between 0 and 1."),
        (lambda l, x: bernoulli_nll(l, x) / l[0].numel(), "This is a mean over the pixels; "
         "expected their sum: nats per image."),
        (lambda l, x: bernoulli_nll(l, x).mean() / l[0].numel(), "This is a mean over all pixels "
         "and images; expected the sum over pixels, for each image."),
        (lambda l, x: -bernoulli_nll(l, x), "The sign: this is log p(x|z). The negative "
         "log-likelihood of black and white pixels is never below 0."),
        (lambda l, x: -(x * F.logsigmoid(l)).flatten(1).sum(1), "Only the white pixels are paid "
         "for: the term of the black ones is missing."),
        (lambda l, x: -((1 - x) * F.logsigmoid(-l)).flatten(1).sum(1), "Only the black pixels are "
         "paid for: the term of the white ones is missing."),
        (lambda l, x: bernoulli_nll(-l, x), "Black and white are swapped: x = 1 must be paid with "
         "the probability of 1."),
        (lambda l, x: F.binary_cross_entropy_with_logits(x, l, reduction="none").flatten(1).sum(1),
         "The two arguments of the cross-entropy are swapped: logits first, then the pixels."),
        (lambda l, x: ((l.sigmoid() - x) ** 2).flatten(1).sum(1), "This is the squared error; "
         "expected the cross-entropy, minus the logarithm of a probability."),
        (lambda l, x: F.binary_cross_entropy_with_logits(l, x, reduction="none").sum(dim=(2, 3)),
         "The channels are left over: sum over all dimensions but the first."),
    ),
    extreme=lambda draw: [
        (torch.tensor([[[[logit, 1.0]]]]).to(draw(1)), torch.tensor([[[[x, 1.0]]]]).to(draw(1)))
        for logit in (-200.0, 200.0) for x in (0.0, 1.0)
    ],
    extreme_hint="The sigmoid rounds to 0 or 1 there, and the logarithm of 0 follows: compute from "
    "the logits themselves.",
)  # fmt: skip


def per_latent(mu, logvar):
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar)


def gaussian_pairs(draw, n=1):
    """n times (mu, logvar)."""
    shapes = (1, 1), (5, 3), (1, 4), (3, 1), (4, 4), (2, 9)
    return [tuple(draw(*shape) for _ in range(2 * n)) for shape in shapes]


KL = Exercise(
    kl_divergence,
    cases=lambda draw: [*gaussian_pairs(draw), (0 * draw(2, 3), 0 * draw(2, 3))],
    gradient=(0, 1),
    mistakes=(
        (lambda m, l: -per_latent(m, l).sum(1), "The sign is turned round: no KL is ever "
         "negative."),
        (lambda m, l: 2 * per_latent(m, l).sum(1), "The factor one half is missing."),
        (lambda m, l: per_latent(m, l).mean(1), "This is a mean over the latents; expected their "
         "sum."),
        (lambda m, l: per_latent(m, l).sum(0), "Wrong axis: this sums over the batch. Expected one "
         "number for each image, summed over its latents."),
        (per_latent, "The sum over the latents is missing."),
        (lambda m, l: 0.5 * (m**2 + l**2 - 1 - (l**2).log()).sum(1), "logvar is taken for sigma: "
         "it is the logarithm of sigma^2."),
        (lambda m, l: 0.5 * (m**2 + l**2 - 1 - 2 * l.log()).sum(1), "logvar is taken for sigma: "
         "it is the logarithm of sigma^2, and can be negative."),
        (lambda m, l: 0.5 * (m**2 + l - 1 - l.log()).sum(1), "logvar is taken for the variance: it "
         "is its logarithm, and can be negative."),
        (lambda m, l: 0.5 * (m**2 + (0.5 * l).exp() - 1 - l).sum(1), "The variance is wrong: "
         "exp(0.5 logvar) is sigma, not sigma^2."),
        (lambda m, l: 0.5 * (m**2 + (2 * l).exp() - 1 - 2 * l).sum(1), "logvar is taken for log "
         "sigma: it is the logarithm of the variance already."),
        (lambda m, l: 0.5 * (m**2 + (2 * l).exp() - 1 - l).sum(1), "The variance is squared: "
         "exp(logvar) is sigma^2 already."),
        (lambda m, l: 0.5 * (m**2 + l.exp() - l).sum(1), "The constant is missing: at the prior, "
         "mu = 0 and logvar = 0, the KL must be 0."),
        (lambda m, l: 0.5 * (l.exp() - 1 - l).sum(1), "The mean plays no part: mu is missing."),
        (lambda m, l: 0.5 * (m + l.exp() - 1 - l).sum(1), "mu must be squared."),
        (lambda m, l: 0.5 * (m**2 + l.exp() - 1 + l).sum(1), "One term has the wrong sign: that of "
         "logvar."),
        (lambda m, l: (0.5 * (m**2 + l.exp() - 1) - l).sum(1), "The factor one half belongs to all "
         "terms: logvar is outside of it."),
        (lambda m, l: 0.5 * (m**2 + l.exp() + 1 - l).sum(1), "The constant has the wrong sign: at "
         "the prior, mu = 0 and logvar = 0, the KL must be 0."),
        (lambda m, l: 0.5 * (m**2 - 1 - l).sum(1), "The variance itself is missing."),
        (lambda m, l: 0.5 * (((1 + m**2) / l.exp()) - 1 + l).sum(1), "This is KL(p || q), the "
         "other direction."),
    ),
    extreme=lambda draw: [(0 * draw(1, 2) + mu, 0 * draw(1, 2) + l)
                          for mu in (0, 50) for l in (-20, 20)],
    extreme_hint="Such codes occur early in training: is something clamped or rounded away?",
)  # fmt: skip


def kl_two(mu1, logvar1, mu2, logvar2):
    """KL(N(mu1, diag exp(logvar1)) || N(mu2, diag exp(logvar2))), `(batch,)`, summed over latents.

    All four `(batch, latent_dim)`. Returns nats.
    """
    squares = (logvar1.exp() + (mu1 - mu2) ** 2) / logvar2.exp()
    return 0.5 * (squares - 1 + logvar2 - logvar1).sum(dim=1)


KL_TWO = Exercise(
    kl_two,
    cases=lambda draw: gaussian_pairs(draw, 2),
    gradient=(0, 1, 2, 3),
    mistakes=(
        (lambda a, k, b, l: kl_two(b, l, a, k), "The other direction: the KL is not symmetric, and "
         "its mean runs over the first distribution."),
        (lambda a, k, b, l: -kl_two(a, k, b, l), "The sign is turned round: no KL is ever "
         "negative."),
        (lambda a, k, b, l: 2 * kl_two(a, k, b, l), "The factor one half is missing."),
        (lambda a, k, b, l: kl_two(a, k, b, l) / a.shape[1], "This is a mean over the latents; "
         "expected their sum."),
        (lambda a, k, b, l: kl_two(a.T, k.T, b.T, l.T), "Wrong axis: this sums over the batch."),
        (lambda a, k, b, l: kl_divergence(a, k), "The second distribution plays no part: this is "
         "the KL to N(0, I)."),
        (lambda a, k, b, l: kl_divergence(a - b, k - l) , "The distance of the means must be "
         "measured in widths of the second distribution."),
        (lambda a, k, b, l: kl_divergence(a, k) - kl_divergence(b, l), "A KL is not the difference "
         "of two KLs to the prior."),
        (lambda a, k, b, l: kl_two(a, k, b, l) + 0.5 * a.shape[1], "The constant is missing: the "
         "KL of two equal distributions must be 0."),
        (lambda a, k, b, l: kl_two(a, k, b, l) + (k - l).sum(1), "One term has the wrong sign: "
         "that of the log-variances."),
        (lambda a, k, b, l: kl_two(a, 2 * k, b, 2 * l), "logvar is taken for log sigma: it is the "
         "logarithm of the variance already."),
        (lambda a, k, b, l: 0.5 * ((k - l).exp() + (a - b) ** 2 / k.exp() - 1 + l - k).sum(1),
         "The distance of the means is divided by the variance of the first distribution; "
         "expected the second."),
        (lambda a, k, b, l: 0.5 * ((k - l).exp() + (a - b).abs() / l.exp() - 1 + l - k).sum(1),
         "The distance of the means must be squared."),
        (lambda a, k, b, l: 0.5 * ((k - l).exp() + (a - b) / l.exp() - 1 + l - k).sum(1),
         "The difference of the means must be squared: its sign may not matter."),
    ),
)  # fmt: skip


EXERCISES = {
    "binarize": Exercise(binarize, judge=judge_binarize),
    "bernoulli_nll": BERNOULLI_NLL,
    "kl": KL,
    "kl_two": KL_TWO,
}
