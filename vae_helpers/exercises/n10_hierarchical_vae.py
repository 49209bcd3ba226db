"""Exercises of notebook 10."""

import math

from vae_helpers.exercises.engine import Exercise

import torch


def prior_covariance(weight, logvar):
    """The covariance of z_1 under the prior, `(d_1, d_1)`, over all values of z_2.

    z_2 ~ N(0, I) and z_1 | z_2 ~ N(weight z_2, diag exp(logvar)); `weight`: `(d_1, d_2)`,
    `logvar`: `(d_1,)`.
    """
    return weight @ weight.T + torch.diag(logvar.exp())


PRIOR_COVARIANCE = Exercise(
    prior_covariance,
    cases=lambda draw: [(draw(*shape), draw(shape[0]))
                        for shape in ((1, 1), (2, 1), (3, 2), (2, 5), (4, 4), (6, 3))],
    gradient=(0, 1),
    mistakes=(
        (lambda w, l: w @ w.T, "The noise of z_1 given z_2 is missing: its variances stand on the "
         "diagonal."),
        (lambda w, l: torch.diag(l.exp()), "z_2 plays no part: this is the covariance for one "
         "fixed z_2."),
        (lambda w, l: w @ w.T + torch.diag(l), "logvar is added as it is; expected the variance, "
         "its exponential."),
        (lambda w, l: w @ w.T + torch.diag((0.5 * l).exp()), "Half of logvar gives sigma; a "
         "covariance wants the variance."),
        (lambda w, l: w @ w.T + torch.diag((2 * l).exp()), "The variance is squared: logvar is the "
         "logarithm of the variance already."),
        (lambda w, l: w @ w.T + l.exp(), "The variances are added to every row; expected on the "
         "diagonal alone, because the noise of two latents is independent."),
        (lambda w, l: w @ w.T + l.exp()[:, None], "The variances are added to every column; "
         "expected on the diagonal alone."),
        (lambda w, l: w.T @ w + torch.diag(l.exp()), "The transpose is on the wrong side: that "
         "product is as wide as z_2; expected as wide as z_1."),
        (lambda w, l: w.T @ w, "The transpose is on the wrong side: that product is as wide as "
         "z_2. The noise is missing, too."),
        (lambda w, l: w @ torch.diag(l.exp()) @ w.T, "The variances are between the weights: they "
         "belong to z_1, not to z_2, whose variances are 1."),
        (lambda w, l: torch.diag((w**2).sum(1) + l.exp()), "These are the variances alone: what "
         "the latents of z_1 have in common through z_2 is missing off the diagonal."),
        (lambda w, l: (w**2).sum(1) + l.exp(), "These are the variances as a vector; expected the "
         "whole covariance, a square."),
        (lambda w, l: w @ w.T / w.shape[1] + torch.diag(l.exp()), "The product is divided by the "
         "number of latents of z_2; each adds its own part, so no mean."),
        (lambda w, l: w @ w.T + torch.diag((-l).exp()), "This adds precisions, one over the "
         "variance; expected the variances."),
    ),
)  # fmt: skip


def log_weight(nll, log_p1, log_q1, log_p2, log_q2):
    """The log weight of one draw (z_1, z_2) of q for each image, `(batch,)`, nats.

    `nll`: `(batch,)`, -log p(x|z_1). The others are log densities of each latent of the draw:
    `log_p1` of p(z_1|z_2), `log_q1` of q(z_1|x, z_2), both `(batch, d_1)`; `log_p2` of p(z_2),
    `log_q2` of q(z_2|x), both `(batch, d_2)`.
    """
    return -nll + (log_p1 - log_q1).sum(dim=1) + (log_p2 - log_q2).sum(dim=1)


LOG_WEIGHT = Exercise(
    log_weight,
    cases=lambda draw: [
        (draw(n).abs() * 9, draw(n, d1), draw(n, d1), draw(n, d2), draw(n, d2))
        for n, d1, d2 in ((1, 1, 1), (2, 2, 1), (3, 1, 4), (4, 4, 4), (5, 20, 10))
    ],
    gradient=(0, 1, 2, 3, 4),
    mistakes=(
        (lambda n, a, b, c, d: n + (a - b).sum(1) + (c - d).sum(1), "The sign of nll: it is "
         "-log p(x|z_1), and the weight holds +log p(x|z_1)."),
        (lambda n, a, b, c, d: n - (a - b).sum(1) - (c - d).sum(1), "The sign is turned round: "
         "this is a draw of the loss."),
        (lambda n, a, b, c, d: -n - (a - b).sum(1) - (c - d).sum(1), "p and q are swapped: the "
         "weight is p over q, so log q is subtracted."),
        (lambda n, a, b, c, d: -n + (a - b).sum(1) - (c - d).sum(1), "p and q are swapped in layer "
         "2."),
        (lambda n, a, b, c, d: -n - (a - b).sum(1) + (c - d).sum(1), "p and q are swapped in layer "
         "1."),
        (lambda n, a, b, c, d: -n + (a - b).sum(1), "Layer 2 is missing: z_2 has been drawn, too."),
        (lambda n, a, b, c, d: -n + (c - d).sum(1), "Layer 1 is missing."),
        (lambda n, a, b, c, d: (a - b).sum(1) + (c - d).sum(1), "The image plays no part: nll is "
         "missing."),
        (lambda n, a, b, c, d: -n + a.sum(1) + c.sum(1), "The posteriors are missing: this is "
         "log p(x, z_1, z_2). A draw of q has to be divided by its own density."),
        (lambda n, a, b, c, d: -n - b.sum(1) - d.sum(1), "The priors are missing."),
        (lambda n, a, b, c, d: -n + a.sum(1) - b.sum(1) - d.sum(1), "The prior of layer 2 is "
         "missing: N(0, I) has a density, too."),
        (lambda n, a, b, c, d: -n + a.sum(1) + b.sum(1) + c.sum(1) + d.sum(1), "The densities of q "
         "must be subtracted: the weight is p over q."),
        (lambda n, a, b, c, d: -n + (a - b).mean(1) + (c - d).mean(1), "This is a mean over the "
         "latents; expected their sum."),
        (lambda n, a, b, c, d: (-n + (a - b).sum(1) + (c - d).sum(1)).exp(), "This is the weight "
         "itself: for real images it is 0 in the computer's numbers. Expected its logarithm."),
        (lambda n, a, b, c, d: -n + (a - b).sum() + (c - d).sum(), "This sums over the batch, too; "
         "expected one number for each image."),
    ),
)  # fmt: skip


def precision_weighted(mu_up, logvar_up, mu_down, logvar_down):
    """The product of two normal densities, made to integrate to 1: `(mu, logvar)`.

    What the image says, N(mu_up, diag exp(logvar_up)), and what the layer above says,
    N(mu_down, diag exp(logvar_down)). All `(batch, latents)`.
    """
    precision_up, precision_down = torch.exp(-logvar_up), torch.exp(-logvar_down)
    variance = 1 / (precision_up + precision_down)
    return variance * (precision_up * mu_up + precision_down * mu_down), variance.log()


def mixed(weigh, logvar):
    """A wrong answer: mu is a mean with the weights `weigh(logvar_up, logvar_down)`."""

    def answer(a, k, b, l):
        up, down = weigh(k, l)
        return (up * a + down * b) / (up + down), logvar(k, l)

    return answer


def right_logvar(k, l):
    return -torch.log(torch.exp(-k) + torch.exp(-l))


def precisions(k, l):
    return torch.exp(-k), torch.exp(-l)


PRECISION_WEIGHTED = Exercise(
    precision_weighted,
    cases=lambda draw: [tuple(draw(*shape) for _ in range(4))
                        for shape in ((1, 1), (2, 3), (3, 2), (4, 4), (2, 20))],
    gradient=(0, 1, 2, 3),
    mistakes=(
        (mixed(lambda k, l: (k.exp(), l.exp()), right_logvar), "The weights of the means are the "
         "variances (or each gets the precision of the other): the less certain one counts more. "
         "Expected one over its own variance."),
        (mixed(precisions, lambda k, l: torch.log(k.exp() + l.exp())), "The variances are added, "
         "as for a sum of two random numbers; in a product of densities the precisions are added."),
        (mixed(precisions, lambda k, l: torch.log(torch.exp(-k) + torch.exp(-l))), "The second "
         "result is the logarithm of the precision; expected of the variance: the sign."),
        (mixed(precisions, lambda k, l: torch.exp(right_logvar(k, l))), "The second result is the "
         "variance; expected its logarithm."),
        (mixed(precisions, lambda k, l: 0.5 * right_logvar(k, l)), "The second result is log "
         "sigma; expected log sigma^2."),
        (mixed(precisions, lambda k, l: 0.5 * (k + l)), "logvar is the mean of the two; two "
         "sources together are more certain than either."),
        (mixed(precisions, lambda k, l: right_logvar(k, l) + math.log(2)), "The variance is twice "
         "too large: the precisions are averaged; expected added."),
        (mixed(precisions, lambda k, l: k + l), "The log-variances are added: that multiplies "
         "variances; expected the precisions to be added."),
        (mixed(precisions, lambda k, l: -(k + l)), "The log-precisions are added; expected the "
         "precisions themselves."),
        (mixed(lambda k, l: (torch.ones_like(k), torch.ones_like(l)), right_logvar), "mu is the "
         "plain mean of the two; the more certain one must count more."),
        (mixed(lambda k, l: (torch.exp(-0.5 * k), torch.exp(-0.5 * l)), right_logvar), "The "
         "weights of the means are one over sigma; expected one over sigma^2."),
        (mixed(lambda k, l: (torch.exp(-2 * k), torch.exp(-2 * l)), right_logvar), "The weights of "
         "the means are squared: logvar is the logarithm of the variance already."),
        (lambda a, k, b, l: (torch.exp(-k) * a + torch.exp(-l) * b, right_logvar(k, l)), "mu is "
         "not divided by the sum of the precisions."),
        (lambda a, k, b, l: (a + b, right_logvar(k, l)), "The means are added; expected their mean "
         "weighted by precision."),
        (lambda a, k, b, l: (right_logvar(k, l), mixed(precisions, right_logvar)(a, k, b, l)[0]),
         "mu and logvar are swapped."),
    ),
)  # fmt: skip


EXERCISES = {
    "prior_covariance": PRIOR_COVARIANCE,
    "log_weight": LOG_WEIGHT,
    "precision_weighted": PRECISION_WEIGHTED,
}
