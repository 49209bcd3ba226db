"""The terms of the ELBO. Every function returns one number per image, in nats: shape `(batch,)`."""

import math

from vae_helpers.checks import brief, check_finite, check_model, check_number, check_whole
from vae_helpers.data import check_images

import torch
import torch.nn.functional as F
from torch import nn


def kl_divergence(mu, logvar):
    """KL(q || p) for q = N(mu, diag exp(logvar)) and p = N(0, I), summed over latents.

    `mu`, `logvar`: `(batch, latent_dim)`. Returns `(batch,)`, nats.
    Source: Kingma & Welling 2014, appendix B.
    """
    check_same_shape(mu=mu, logvar=logvar)
    if mu.ndim != 2:
        raise ValueError(f"mu has shape {tuple(mu.shape)}; expected (batch, latent_dim)")
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(dim=1)


def bernoulli_nll(logits, x):
    """-log p(x|z) for independent Bernoulli pixels with the given logits, summed over pixels.

    `logits`, `x`: `(batch, channels, h, w)`, x in [0, 1]. Returns `(batch,)`, nats.
    A likelihood only for x in {0, 1}; for grey values a cross-entropy.
    """
    check_images(x)
    check_same_shape(logits=logits, x=x)
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(dim=1)


def gaussian_nll(mean, x, sigma=1.0):
    """-log p(x|z) for independent Gaussian pixels N(mean, sigma^2), summed over pixels.

    `mean`, `x`: `(batch, ...)`; `sigma`: a positive number, or a tensor of one if it is learned.
    Returns `(batch,)`, nats (of a density, so it can be negative).
    """
    check_same_shape(mean=mean, x=x)
    check_sigma(sigma=sigma)
    log_sigma = torch.log(torch.as_tensor(sigma, dtype=x.dtype))
    log_density = -0.5 * ((x - mean) / sigma) ** 2 - log_sigma - 0.5 * math.log(2 * math.pi)
    return -log_density.flatten(1).sum(dim=1)


class LearnedGaussian(nn.Module):
    """A Gaussian likelihood `nll(logits, x) -> (batch,)` with mean sigmoid(logits).

    Its sigma, one positive number for all pixels, is a parameter of the model that holds it;
    `start` is its first value, a tensor: say, the standard deviation of the training pixels.
    Source: Rybkin et al. 2021.
    """

    def __init__(self, start):
        super().__init__()
        if not isinstance(start, torch.Tensor):
            raise ValueError(f"start is {brief(start)}; expected a tensor of one number")
        check_sigma(start=start)
        self.log_sigma = nn.Parameter(torch.log(start))

    def forward(self, logits, x):
        check_same_shape(logits=logits, x=x)
        return gaussian_nll(torch.sigmoid(logits), x, self.log_sigma.exp())


def negative_elbo(model, x, beta=1.0):
    """What a VAE minimises: -log p(x|z) + beta KL(q(z|x) || p(z)), with one sample of z.

    Returns a dict of `(batch,)` tensors in nats: `loss`, and its parts `nll` and `kl`
    (`nll + kl` is the negative ELBO whatever beta is).
    """
    check_beta(beta)
    check_model(model, "nll")
    logits, mu, logvar = model(x)
    nll = model.nll(logits, x)
    kl = kl_divergence(mu, logvar)
    return {"loss": nll + beta * kl, "nll": nll, "kl": kl}


def linear_warmup(progress, share=0.5):
    """beta that rises from 0 to 1 over the first `share` of training, then stays: min(1, t / T).

    `progress`: how much of training is done, from 0 to 1. Source: Bowman et al. 2016.
    """
    check_schedule(progress, share)
    return min(1.0, progress / share)


def cyclical(progress, cycles=4, share=0.5):
    """`linear_warmup` again and again: beta rises over the first `share` of each of the `cycles`.

    `progress`: how much of training is done, from 0 to 1, where beta is 1. Source: Fu et al. 2019.
    """
    check_schedule(progress, share)
    check_whole(1, cycles=cycles)
    return 1.0 if progress == 1 else linear_warmup(progress * cycles % 1, share)


def reconstruction_loss(model, x):
    """What a plain autoencoder minimises: `{"loss": -log p(x|z)}`, `(batch,)`, nats."""
    check_model(model, "nll")
    logits, _ = model(x)
    return {"loss": model.nll(logits, x)}


def check_same_shape(**tensors):
    """Raise a `ValueError` naming both unless they are finite float tensors of one shape."""
    (first, a), (second, b) = tensors.items()
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{name} is a {type(tensor).__name__}; expected a torch.Tensor")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} has dtype {tensor.dtype}; expected floats")
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(
            f"{first} has shape {tuple(a.shape)} and {second} {tuple(b.shape)}; "
            "expected the same shape, batch first"
        )
    check_finite(**tensors)


def check_schedule(progress, share):
    """Raise a `ValueError` unless `progress` is in [0, 1] and `share` in (0, 1]."""
    check_number("a number from 0 to 1", lambda value: 0 <= value <= 1, progress=progress)
    check_number("a number above 0, at most 1", lambda value: 0 < value <= 1, share=share)


def check_beta(beta):
    check_number("a number that is not negative", lambda value: value >= 0, beta=beta)


def check_sigma(**values):
    """Raise a `ValueError` unless each value is a positive number, or a tensor of one."""
    for name, value in values.items():
        if isinstance(value, torch.Tensor) and value.numel() == 1 and value.is_floating_point():
            value = value.item() if value.device.type == "cpu" else 1.0  # a GPU would have to wait
        check_number("a positive number", lambda number: number > 0, **{name: value})
