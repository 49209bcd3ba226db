"""Exercises of notebook 06."""

from vae_helpers.exercises.engine import Exercise

import torch


def direction_of(codes, has):
    """Mean code of the faces with an attribute minus the mean of those without: `(latent_dim,)`.

    `codes`: `(n, latent_dim)`; `has`: bools `(n,)`.
    """
    return codes[has].mean(dim=0) - codes[~has].mean(dim=0)


def some(draw, n):
    """n truth values, not all alike and not half and half."""
    return torch.arange(n) % 3 == 1


ATTRIBUTE_VECTOR = Exercise(
    direction_of,
    cases=lambda draw: [
        (draw(n, d) + 1, some(draw, n)) for n, d in ((2, 1), (5, 3), (8, 8), (50, 20))
    ],
    mistakes=(
        (lambda c, h: direction_of(c, ~h), "The sign is turned round: this removes the "
         "attribute."),
        (lambda c, h: c[h].mean(0), "This is the mean of the faces with the attribute: all that "
         "faces have in common is still in it."),
        (lambda c, h: c[h].mean(0) - c.mean(0), "The mean of all faces is subtracted; expected "
         "that of the faces without the attribute."),
        (lambda c, h: c[h].sum(0) - c[~h].sum(0), "These are sums, and there are more faces of one "
         "kind; expected means."),
        (lambda c, h: (c * h[:, None]).mean(0) - (c * ~h[:, None]).mean(0), "Both sums are divided "
         "by the number of all faces; expected the number of each kind."),
        (lambda c, h: torch.nn.functional.normalize(direction_of(c, h), dim=0), "The length is "
         "set to 1; it says how far to go."),
        (lambda c, h: direction_of(c, h) / 2, "Half of what is asked for."),
        (lambda c, h: c[h].median(0).values - c[~h].median(0).values, "These are medians; expected "
         "means."),
        (lambda c, h: c[h].mean() - c[~h].mean(), "This is a single number: the mean runs over the "
         "faces, not over the latents."),
        (lambda c, h: c[h].mean(0) + c[~h].mean(0), "The two means are added; expected their "
         "difference."),
    ),
)  # fmt: skip


def to_bytes(x):
    """Pixels that should lie in [0, 1] as bytes (uint8) 0 to 255: clamped, then rounded."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


TO_BYTES = Exercise(
    to_bytes,
    cases=lambda draw: [
        (torch.tensor([0.0, 1.0, 0.4988, -0.2, 1.3, 0.71]).to(draw(1)),),
        (draw(2, 3, 5, 4).sigmoid(),), (0.5 + 0.4 * draw(1, 3, 8, 8),),
    ],
    mistakes=(
        (lambda x: (x.clamp(0, 1) * 255).to(torch.uint8), "The fraction is cut off; expected the "
         "nearest byte, or pictures get darker."),
        (lambda x: (x * 255).round().to(torch.int64).to(torch.uint8), "Values outside [0, 1] wrap "
         "round: a pixel that is a little too bright comes out black. Clamp first."),
        (lambda x: (x * 255).to(torch.int64).to(torch.uint8), "Values outside [0, 1] wrap round "
         "(clamp first), and the fraction is cut off (round)."),
        (lambda x: (x * 255).clamp(0, 1).round().to(torch.uint8), "Clamped to [0, 1] after the "
         "multiplication: nearly all is lost. Clamp before it, or to 255."),
        (lambda x: (x.clamp(0, 1) * 256).round().to(torch.int64).to(torch.uint8), "The factor is "
         "256: white becomes 256, which a byte cannot hold."),
        (lambda x: (x.clamp(0, 1) * 256).clamp(max=255).round().to(torch.uint8), "The factor is "
         "256; the largest byte is 255."),
        (lambda x: (x.clamp(0, 1) * 256).clamp(max=255).to(torch.uint8), "The factor is 256; the "
         "largest byte is 255."),
        (lambda x: x.clamp(0, 1).round().to(torch.uint8), "The factor is missing: all becomes 0 "
         "or 1."),
        (lambda x: x.clamp(0, 1).to(torch.uint8), "The factor is missing: all becomes 0 or 1."),
        (lambda x: x.clamp(0, 1).round().to(torch.uint8) * 255, "Rounded before the "
         "multiplication: only black and white are left."),
        (lambda x: (x.clamp(0, 1) * 255).ceil().to(torch.uint8), "Rounded up; expected the nearest "
         "byte."),
        (lambda x: (x.sigmoid() * 255).round().to(torch.uint8), "A sigmoid is applied: these are "
         "pixels already, not logits."),
    ),
)  # fmt: skip


def codes_at(mean, root, eps, temperature):
    """Codes `(n, latent_dim)` from the Gaussian with this mean and covariance root @ root.T.

    `mean`: `(latent_dim,)`; `root`: `(latent_dim, latent_dim)`, lower triangular; `eps`:
    `(n, latent_dim)`, standard normal, a row a draw. The temperature multiplies the deviation.
    """
    return mean + temperature * eps @ root.T


CODES_AT = Exercise(
    codes_at,
    cases=lambda draw: [
        (draw(d), draw(d, d).tril(), draw(n, d), t)
        for n, d, t in ((1, 2, 0.5), (1, 1, 2.0), (5, 3, 0.7), (4, 4, 1.3), (3, 3, 0.0))
    ],
    mistakes=(
        (lambda m, r, e, t: m + t * e @ r, "The root is applied from the wrong side: a row of eps "
         "needs its transpose."),
        (lambda m, r, e, t: m + e @ r.T, "The temperature plays no part."),
        (lambda m, r, e, t: t * e @ r.T, "The mean is missing."),
        (lambda m, r, e, t: t * (m + e @ r.T), "The temperature multiplies the mean, too: only the "
         "deviation from it should shrink."),
        (lambda m, r, e, t: m + t**2 * e @ r.T, "The temperature is squared: it multiplies the "
         "deviation, not the variance."),
        (lambda m, r, e, t: m + t**0.5 * e @ r.T, "The root of the temperature: it multiplies the "
         "deviation, not the variance."),
        (lambda m, r, e, t: m + t * e @ (r @ r.T), "This multiplies by the covariance; expected "
         "its root."),
        (lambda m, r, e, t: m + t * e * r.diagonal(), "Only the diagonal of the root is used: the "
         "latents are correlated."),
        (lambda m, r, e, t: m + t * e, "The covariance plays no part."),
        (lambda m, r, e, t: m + e @ r.T / t if t else m + e @ r.T / torch.zeros_like(m),
         "Divided by the temperature; a low one should give small deviations."),
        (lambda m, r, e, t: m - t * e @ r.T, "The noise has the wrong sign. (The draws are right "
         "on average, but the same eps should give the same codes.)"),
    ),
)  # fmt: skip


EXERCISES = {
    "attribute_vector": ATTRIBUTE_VECTOR,
    "to_bytes": TO_BYTES,
    "codes_at": CODES_AT,
}
