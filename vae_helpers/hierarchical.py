"""The hierarchical VAE: layers of latents, inferred and generated in one order, from the top."""

from itertools import pairwise
from math import prod

from vae_helpers.checks import brief, check_finite, check_function, check_image_shape, check_whole
from vae_helpers.data import check_images
from vae_helpers.losses import bernoulli_nll
from vae_helpers.models import check_dtype
from vae_helpers.networks import check_widths, mlp_decoder

import torch
from torch import nn
from torch.distributions import Normal


def as_normal(numbers):
    """The normal distribution of mu and logvar, which stand side by side: `(n, 2 * latents)`."""
    check_pairs(numbers)
    mu, logvar = numbers.chunk(2, dim=1)
    return Normal(mu, torch.exp(0.5 * logvar))


def perceptron(inputs, hidden, outputs):
    """`(n, inputs)` -> `(n, outputs)` through one hidden ReLU layer."""
    check_whole(1, inputs=inputs, hidden=hidden, outputs=outputs)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class HierarchicalVAE(nn.Module):
    """p(x|z_1) p(z_1|z_2) ... p(z_L), and q(z_L|x) ... q(z_1|x, z_2).

    `latents`: how many each layer has, from z_1, which the decoder reads, to z_L, whose prior is
    N(0, I). `hidden`: width of all hidden layers; `nll(logits, x) -> (n,)`: -log p(x|z_1), nats.
    Source: Sønderby et al. 2016, without their precision weighting.
    """

    def __init__(self, latents=(20, 10), hidden=400, nll=bernoulli_nll, image_shape=(1, 28, 28)):
        check_widths(latents=latents, hidden=(hidden,))
        check_function(nll=nll)
        check_image_shape(image_shape)
        super().__init__()
        self.latents, self.nll, self.image_shape = tuple(latents), nll, image_shape
        widths = (prod(image_shape), *[hidden] * (len(latents) - 1))
        self.up = nn.ModuleList(nn.Sequential(nn.Linear(n, hidden), nn.ReLU()) for n in widths)
        self.q = nn.ModuleList(nn.Linear(hidden + n, 2 * d) for d, n in pairwise((*latents, 0)))
        self.p = nn.ModuleList(perceptron(n, hidden, 2 * d) for d, n in pairwise(latents))
        self.decoder = mlp_decoder(latents[0], (hidden,), image_shape)

    def prior(self, layer, above):
        """p(z_l|z_{l+1}) for codes `above` `(n, d)`; of the top layer, with d = 0, N(0, I)."""
        check_layer(layer, above, self.latents)
        check_dtype(above, self, "above")
        if layer == len(self.latents):
            return Normal(above.new_zeros(len(above), self.latents[-1]), 1.0)
        return as_normal(self.p[layer - 1](above))

    def infer(self, x):
        """`[(z, q, p), ...]` from layer 1 up: a draw z, what it was drawn from, and its prior."""
        check_images(x, self.image_shape)
        check_dtype(x, self)
        h, layers, z = [x.flatten(1)], [], x.new_zeros(len(x), 0)
        for up in self.up:
            h.append(up(h[-1]))
        for layer in range(len(self.latents), 0, -1):
            q = as_normal(self.q[layer - 1](torch.cat([h[layer], z], dim=1)))
            p = self.prior(layer, z)
            z = q.rsample()
            layers.insert(0, (z, q, p))
        return layers

    def forward(self, x):
        """Logits of the images, and a list with the KL of each layer, `(n,)`, nats."""
        layers = self.infer(x)
        kls = [torch.distributions.kl_divergence(q, p).sum(dim=1) for _, q, p in layers]
        return self.decoder(layers[0][0]), kls

    def sample(self, n, fixed=None):
        """Pixel means `(n, *image_shape)` of n draws from the top down.

        `fixed`: codes `{layer: (1 or n, d)}` to take instead of drawing that layer.
        """
        check_whole(1, n=n)
        check_fixed(fixed, n, self.latents)
        z = next(self.parameters()).new_zeros(n, 0)
        for layer in range(len(self.latents), 0, -1):
            z = self.prior(layer, z).sample()
            z = (fixed or {}).get(layer, z).expand_as(z)
        return torch.sigmoid(self.decoder(z))


def check_pairs(numbers):
    """Raise a `ValueError` unless `numbers` are finite floats in an even number of columns."""
    pairs = isinstance(numbers, torch.Tensor) and numbers.ndim == 2 and numbers.shape[1] % 2 == 0
    if not pairs or not numbers.is_floating_point() or numbers.numel() == 0:
        raise ValueError(f"numbers is {brief(numbers)}; expected floats, shape (n, 2 * latents)")
    check_finite(numbers=numbers)


def check_layer(layer, above, latents):
    """Raise a `ValueError` unless `layer` is one and `above` holds codes of the layer above it."""
    if not isinstance(layer, int) or layer not in range(1, len(latents) + 1):
        raise ValueError(f"layer is {brief(layer)}; expected a whole number, 1 to {len(latents)}")
    expected = (*latents, 0)[layer]
    if not isinstance(above, torch.Tensor) or above.ndim != 2 or above.shape[1] != expected:
        came = tuple(above.shape) if isinstance(above, torch.Tensor) else type(above).__name__
        raise ValueError(f"above is {came}; expected a tensor of shape (n, {expected})")
    check_finite(above=above)


def check_fixed(fixed, n, latents):
    """Raise a `ValueError` unless `fixed` is None or has codes `(1 or n, d)` for some layers."""
    if not isinstance(fixed, dict | None):
        raise ValueError(f"fixed is {brief(fixed)}; expected codes as a dict {{layer: z}}, or None")
    unknown = set(fixed or {}) - set(range(1, len(latents) + 1))
    if unknown:
        raise ValueError(
            f"fixed has layers {sorted(unknown, key=str)}; expected some of 1 to {len(latents)}"
        )
    for layer, z in (fixed or {}).items():
        shapes = [(rows, latents[layer - 1]) for rows in (1, n)]
        came = tuple(z.shape) if isinstance(z, torch.Tensor) else type(z).__name__
        if came not in shapes:
            raise ValueError(f"fixed[{layer}] is {came}; expected a tensor of shape {shapes[1]}")
        check_finite(**{f"fixed[{layer}]": z})
