"""Exercises of notebook 07."""

from vae_helpers.exercises.engine import Exercise

REDUCTIONS = ("image", "sum", "mean")


def effective_beta(pixels, latents, batch, nll, kl):
    """Which beta does a loss have whose two terms are reduced in these two ways? A number.

    `nll`, `kl`: `"image"` (summed over pixels or latents, mean over images), `"sum"` (over all,
    images too) or `"mean"` (over all). beta: the weight of a nat of the KL in units of the weight
    of a nat of the nll.
    """
    weight_of_nll = {"image": 1, "sum": batch, "mean": 1 / pixels}[nll]
    weight_of_kl = {"image": 1, "sum": batch, "mean": 1 / latents}[kl]
    return weight_of_kl / weight_of_nll


def weights(pixels, latents, batch):
    """A wrong answer with other numbers of things."""
    return lambda p, l, b, nll, kl: effective_beta(pixels(p, l), latents(p, l), batch(b), nll, kl)


def first(a, _):
    return a


def second(_, b):
    return b


EFFECTIVE_BETA = Exercise(
    effective_beta,
    cases=lambda draw: [
        (*sizes, nll, kl) for sizes in ((784, 20, 128), (12, 3, 4), (6, 1, 1))
        for nll in REDUCTIONS for kl in REDUCTIONS
    ],
    mistakes=(
        (lambda p, l, b, nll, kl: 1 / effective_beta(p, l, b, nll, kl), "Upside down: this is the "
         "weight of the nll in units of that of the KL."),
        (weights(first, second, lambda b: 1), "The batch plays no part: a sum over all images "
         "grows with it."),
        (weights(first, lambda p, l: 1, lambda b: b), "The latents play no part: a mean over all "
         "divides the KL by their number, too."),
        (weights(lambda p, l: 1, second, lambda b: b), "The pixels play no part: a mean over all "
         "divides the nll by their number, too."),
        (weights(first, first, lambda b: b), "The KL is divided by the number of pixels; it has as "
         "many entries as there are latents."),
        (weights(second, first, lambda b: b), "Pixels and latents are swapped."),
        (lambda p, l, b, nll, kl: effective_beta(p * b, l * b, 1, nll, kl) if nll != "sum" != kl
         else effective_beta(p, l, b, nll, kl), "A mean over all is divided by the batch as well "
         "as the pixels; but a mean over images is wanted anyway, so the batch does not count."),
        (lambda p, l, b, nll, kl: p, "Always the number of pixels? That is one of nine cases."),
        (lambda p, l, b, nll, kl: 1, "Always 1? The reductions decide."),
        (lambda p, l, b, nll, kl: effective_beta(p, l, b, kl, "image") * effective_beta(p, l, b,
         "image", nll), "The arguments nll and kl are swapped."),
        (lambda p, l, b, nll, kl: p / l if nll == kl == "mean" else effective_beta(1 / p, 1 / l, b,
         nll, kl), "A mean makes a term light, not heavy."),
        (lambda p, l, b, nll, kl: effective_beta(p, l, 1 / b, nll, kl), "A sum over the batch "
         "makes a term heavy, not light."),
    ),
)  # fmt: skip


def price(rate, distortion):
    """Nats of distortion saved for a nat of rate between neighbouring models: `(m - 1,)`.

    `rate`, `distortion`: `(m,)`, models in order of growing beta (the rate falls, the distortion
    rises).
    """
    return -distortion.diff() / rate.diff()


PRICE = Exercise(
    price,
    cases=lambda draw: [
        (draw(m).abs().add(0.3).cumsum(0).flip(0), 60 + draw(m).abs().add(0.3).cumsum(0))
        for m in (2, 3, 6)
    ],
    mistakes=(
        (lambda r, d: d.diff() / r.diff(), "The sign: a nat of rate saves distortion, so the price "
         "is positive."),
        (lambda r, d: -r.diff() / d.diff(), "Upside down: this is rate for a nat of distortion."),
        (lambda r, d: r.diff() / d.diff(), "Upside down, and with the wrong sign."),
        (lambda r, d: d / r, "This is a ratio of totals; a price compares two models: what changes "
         "with what?"),
        (lambda r, d: d[1:] / r[1:], "This is a ratio of totals; a price compares two models: what "
         "changes with what?"),
        (lambda r, d: -d.diff(), "This is what the distortion changes by; expected for each nat of "
         "rate."),
        (lambda r, d: d.diff(), "This is what the distortion changes by; expected for each nat of "
         "rate."),
        (lambda r, d: (d[1:] - d[0]) / (r[0] - r[1:]), "All are compared with the first model; "
         "expected with the neighbour."),
        (lambda r, d: (d[-1] - d[0]) / (r[0] - r[-1]), "This is one price for the whole way; "
         "expected one between each two neighbours."),
        (lambda r, d: (-d.diff() / r.diff()).flip(0), "The order is reversed."),
        (lambda r, d: -(d + r).diff() / r.diff(), "D + R is compared with R; expected the "
         "distortion D alone."),
    ),
)  # fmt: skip


def mig(information, entropy):
    """The mutual information gap of each factor, `(factors,)`.

    `information`: `(latents, factors)`, nats that a latent knows about a factor; `entropy`:
    `(factors,)`, nats. The gap between the best and the second best latent, as a share of the
    factor's entropy.
    """
    best = information.topk(2, dim=0).values
    return (best[0] - best[1]) / entropy


def ranked(information):
    """Largest first, in each column."""
    return information.sort(dim=0, descending=True).values


MIG = Exercise(
    mig,
    cases=lambda draw: [
        (draw(j, k).abs(), 3 + draw(k).abs()) for j, k in ((2, 1), (5, 2), (3, 4), (4, 4), (10, 5))
    ],
    mistakes=(
        (lambda i, h: ranked(i)[0] - ranked(i)[1], "The gap is not normalised: divide by the "
         "entropy of the factor."),
        (lambda i, h: mig(i.T, h), "Wrong axis: for each factor the two best latents are compared, "
         "not for each latent the two best factors."),
        (lambda i, h: (ranked(i)[0] - ranked(i)[1]) / ranked(i)[0], "Divided by the best "
         "information; expected by the entropy of the factor."),
        (lambda i, h: ranked(i)[0] / h, "There is no gap: this is the best latent alone."),
        (lambda i, h: mig(i, h).mean(), "This is averaged over the factors; expected one gap for "
         "each."),
        (lambda i, h: (ranked(i)[0] - ranked(i)[-1]) / h, "This is the gap to the worst latent; "
         "expected the second best."),
        (lambda i, h: (ranked(i)[0] - ranked(i)[1:].mean(0)) / h, "This is the gap to the mean of "
         "the others; expected the second best."),
        (lambda i, h: (ranked(i)[0] - i.mean(0)) / h, "This is the gap to the mean; expected to "
         "the second best."),
        (lambda i, h: (i[0] - i[1]) / h, "The first two latents are compared; expected the two "
         "that know most about the factor."),
        (lambda i, h: -mig(i, h), "The sign is turned round: best minus second best."),
        (lambda i, h: (ranked(i)[0] - ranked(i)[1]) / h.sum(), "Divided by the sum of all "
         "entropies; each factor has its own."),
        (lambda i, h: (ranked(i)[0] - ranked(i)[1]) / i.sum(0), "Divided by the sum of all "
         "information; expected by the entropy of the factor."),
    ),
)  # fmt: skip


EXERCISES = {"effective_beta": EFFECTIVE_BETA, "price": PRICE, "mig": MIG}
