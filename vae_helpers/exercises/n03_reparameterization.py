"""Exercises of notebook 03."""

from vae_helpers.exercises.engine import Exercise, Wrong, close
from vae_helpers.models import reparameterize

import torch

DRAWS = 2000
WIDTHS = {
    "exp(logvar) is the variance, not the width": lambda v: v.exp(),
    "logvar itself is used as the width": lambda v: v.abs(),
    "there is no width: logvar plays no part": lambda v: torch.ones_like(v),
    "the width shrinks as logvar grows: its sign is turned round": lambda v: (-0.5 * v).exp(),
    "exp(2 logvar) is the square of the variance": lambda v: (2 * v).exp(),
    "exp(0.25 logvar) is the root of the width": lambda v: (0.25 * v).exp(),
    "the root of logvar is used as the width": lambda v: v.abs().sqrt(),
    "exp(logvar) / 2 is half the variance; the half belongs inside exp": lambda v: 0.5 * v.exp(),
    "softplus(logvar) is not the width": torch.nn.functional.softplus,
}


def judge_reparameterize(call):
    """Is (z - mu) / sigma standard normal, and do the derivatives follow from it?

    Over 2,000 draws the standard error of a mean is 0.022, of a standard deviation 0.016, of a
    correlation 0.022, of the share in the middle (of all 8,000 numbers) 0.005. The limits below lie
    beyond seven of them: of 10^10 right answers one fails.
    """
    mu = torch.tensor([-3.0, 0.5, 0.0, 2.0]).double().expand(DRAWS, 4).clone().requires_grad_()
    logvar = torch.tensor([-4.0, -1.0, 0.5, 2.0]).double().expand(DRAWS, 4).clone()
    z = call(mu, logvar.requires_grad_())
    noise = (z - mu).detach()
    if torch.equal(noise, torch.zeros_like(noise)):
        raise Wrong("This returns mu itself: no noise is added.")
    check_spread(noise, logvar.detach())
    if torch.equal(z, call(mu, logvar, seed=1)):
        raise Wrong("Two calls draw the same noise: is there a fixed seed inside?")
    check_path(z, mu, logvar, noise / (0.5 * logvar.detach()).exp())
    call(torch.zeros(1, 1), torch.zeros(1, 1))
    call(torch.zeros(3, 5), torch.full((3, 5), -20.0))


def check_spread(noise, logvar):
    if (noise == noise[:1]).all():
        raise Wrong("All rows get the same noise: each image needs a draw of its own.")
    if (noise.mean(0).abs() > 0.17 * noise.std(0)).any():
        raise Wrong("The draws do not lie around mu: the noise must have mean 0.")
    eps = noise / (0.5 * logvar).exp()
    if ((eps.std(0) - 1).abs() > 0.12).any():
        for words, width in WIDTHS.items():
            if (((noise / width(logvar)).std(0) - 1).abs() < 0.12).all():
                raise Wrong(f"The draws have the wrong spread: {words}.")
        raise Wrong(
            f"For logvar = {logvar[0, 0]:g} the draws have a standard deviation of "
            f"{noise[:, 0].std():.3f}; which one should they have?"
        )
    if (torch.corrcoef(eps.T) - torch.eye(4)).abs().max() > 0.5:
        raise Wrong("All latents of an image share the same noise; each needs its own.")
    if abs((eps.abs() < 0.5).double().mean() - 0.383) > 0.05:
        raise Wrong("The noise has the right width but is not normal (uniform?).")


def check_path(z, mu, logvar, eps):
    if not z.requires_grad:
        raise Wrong("The draws are right, but detached: no gradient can pass (sample, no_grad?).")
    for_mu, for_logvar = torch.autograd.grad(z.sum(), (mu, logvar), allow_unused=True)
    if for_mu is None or (for_mu == 0).all():
        raise Wrong("The draws are right, but the gradient for mu is zero: z must be a function "
                    "of mu and of noise that has no parameters.")  # fmt: skip
    if for_logvar is None or (for_logvar == 0).all():
        raise Wrong("The draws are right, but no gradient reaches logvar: is it detached?")
    expected = 0.5 * (0.5 * logvar.detach()).exp() * eps
    if not close(for_mu, torch.ones_like(mu)) or not close(for_logvar, expected):
        raise Wrong("The draws are right, but the derivatives of z are not.")


def score_gradients(f, z, mu, logvar):
    """For each draw, the score-function estimate of the derivative of E[f(z)] for each mean.

    `f`: values `(n,)` at the draws `z` `(n, latent_dim)` from N(mu, diag exp(logvar)); `mu`,
    `logvar`: `(latent_dim,)`. Returns `(n, latent_dim)`.
    """
    return f[:, None] * (z - mu) / logvar.exp()


def draws(draw):
    sizes = (1, 1), (5, 3), (1, 4), (4, 4), (6, 2)
    return [(3 + draw(n), draw(n, d), draw(d), draw(d)) for n, d in sizes]


SCORE_FUNCTION = Exercise(
    score_gradients,
    cases=draws,
    mistakes=(
        (lambda f, z, m, v: f[:, None] * (z - m) / (0.5 * v).exp(), "Divided by the width; the "
         "derivative of log q has the variance below."),
        (lambda f, z, m, v: f[:, None] * (z - m), "The width of q is missing."),
        (lambda f, z, m, v: f[:, None] * (z - m) / v, "logvar is taken for the variance."),
        (lambda f, z, m, v: f[:, None] * (z - m) * v.exp(), "Multiplied by the variance; expected "
         "a division: a narrow q has a steep logarithm."),
        (lambda f, z, m, v: f[:, None] * (m - z) / v.exp(), "The sign is turned round: a draw "
         "above mu with a large f must push mu upwards."),
        (lambda f, z, m, v: (z - m) / v.exp(), "This is the score alone: f is missing."),
        (lambda f, z, m, v: f * (z - m) / v.exp(), "f has one value for each draw, a row: here "
         "its axis meets that of the latents (broadcasting)."),
        (lambda f, z, m, v: (f[:, None] * (z - m) / v.exp()).mean(0), "This is averaged over the "
         "draws; expected the estimate of each single draw."),
        (lambda f, z, m, v: (f[:, None] * (z - m) / v.exp()).sum(1), "This is summed over the "
         "latents; each mean has a derivative of its own."),
        (lambda f, z, m, v: f[:, None] * z / v.exp(), "The distance of z from mu is asked for; mu "
         "is missing."),
        (lambda f, z, m, v: -f[:, None] * ((z - m) ** 2 / v.exp() + v) / 2, "This is f times "
         "log q; expected f times its derivative."),
    ),
)  # fmt: skip


def pathwise_gradients(f, mu, logvar, eps):
    """For each draw z = mu + sigma eps, the derivatives of f(z) for mu and for logvar: a pair.

    `f(z)`: `(n, latent_dim)` -> `(n,)`, row by row; `mu`, `logvar`: `(latent_dim,)`; `eps`:
    `(n, latent_dim)`. Returns two tensors `(n, latent_dim)`.
    """
    sigma = (0.5 * logvar).exp()
    slope = slope_of(f, mu + sigma * eps)
    return slope, 0.5 * slope * sigma * eps


def slope_of(f, z):
    z = z.detach().requires_grad_()
    return torch.autograd.grad(f(z).sum(), z)[0]


def from_slope(formula):
    """A wrong answer that turns (slope at z, sigma, eps) into the pair."""

    def answer(f, mu, logvar, eps):
        sigma = (0.5 * logvar).exp()
        return formula(slope_of(f, mu + sigma * eps), sigma, eps)

    return answer


def squares(z):
    return ((z - 3) ** 2).sum(dim=1)


def waves(z):
    return torch.sin(z).sum(dim=1) * z[:, 0]


PATHWISE = Exercise(
    pathwise_gradients,
    cases=lambda draw: [
        (f, draw(d), draw(d), draw(n, d))
        for f in (squares, waves) for n, d in ((1, 1), (5, 3), (1, 4), (4, 4))
    ],
    mistakes=(
        (from_slope(lambda g, s, e: (g, g * s * e)), "The half is missing: sigma is "
         "exp(logvar / 2), and the chain rule brings the half down."),
        (from_slope(lambda g, s, e: (g, g * e)), "The second is the derivative for sigma; asked "
         "for is the one for logvar."),
        (from_slope(lambda g, s, e: (g, 0.5 * g * s)), "The noise is missing: logvar acts on z "
         "through sigma times eps."),
        (from_slope(lambda g, s, e: (g, 0.5 * g * s**2 * e)), "exp(logvar) is the variance: the "
         "width of z is its root."),
        (from_slope(lambda g, s, e: (g, 0.5 * g * e)), "The chain rule for sigma = exp(logvar / 2) "
         "brings sigma itself as a factor; it is missing."),
        (from_slope(lambda g, s, e: (g * s, 0.5 * g * s * e)), "z moves by as much as mu does: "
         "there is no width in the first derivative."),
        (from_slope(lambda g, s, e: (0.5 * g * s * e, g)), "The two are swapped: first the "
         "derivative for mu, then that for logvar."),
        (from_slope(lambda g, s, e: (g.mean(0), (0.5 * g * s * e).mean(0))), "This is averaged "
         "over the draws; expected the derivatives of each single draw."),
        (from_slope(lambda g, s, e: (g.sum(0), (0.5 * g * s * e).sum(0))), "This is summed over "
         "the draws; expected the derivatives of each single draw."),
        (lambda f, m, v, e: (slope_of(f, m + v.exp() * e), 0.5 * slope_of(f, m + v.exp() * e)
         * v.exp() * e), "z has the wrong width: exp(logvar) is the variance."),
        (lambda f, m, v, e: (score_gradients(f(m + (0.5 * v).exp() * e), m + (0.5 * v).exp() * e,
         m, v), pathwise_gradients(f, m, v, e)[1]), "The first is the score-function estimate; "
         "asked for is the derivative of f along its path."),
        (lambda f, m, v, e: (slope_of(f, m.expand_as(e)), 0.5 * slope_of(f, m.expand_as(e))
         * (0.5 * v).exp() * e), "f must be differentiated at z, not at mu."),
    ),
)  # fmt: skip


EXERCISES = {
    "reparameterize": Exercise(reparameterize, judge=judge_reparameterize),
    "score_function": SCORE_FUNCTION,
    "pathwise": PATHWISE,
}
