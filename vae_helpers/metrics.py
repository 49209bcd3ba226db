"""How good is a model? Likelihood, active latents, and a classifier as judge of samples."""

import math

from vae_helpers.data import check_images, to_float
from vae_helpers.training import evaluation, fit

import torch
import torch.nn.functional as F
from torch import nn


def log_likelihood(model, x, samples=100, chunk=2000, seed=0, prior=None, labels=None):
    """Importance-weighted estimate of log p(x) with `samples` draws from q(z|x): `(n,)`, nats.

    log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x), a lower bound in expectation that tightens with K.
    At most `chunk` codes are decoded at once, so memory does not grow with `samples` or n.
    `prior`: p(z), a torch distribution over codes `(..., latent_dim)`, by default N(0, I).
    `labels`: `(n,)`, for a conditional model, whose log p(x|y) it then is.
    Source: Burda et al. 2016, equation 8.
    """
    check_images(x)
    for name, value in (("samples", samples), ("chunk", chunk)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; expected a whole number, at least 1")
    draws = min(samples, chunk)
    estimates = []
    with evaluation(model, seed) as device:
        if prior is None:
            zeros = torch.zeros(model.latent_dim, device=device)
            prior = torch.distributions.Independent(torch.distributions.Normal(zeros, 1.0), 1)
        tensors = (x,) if labels is None else (x, labels)
        parts = zip(*(tensor.split(max(1, chunk // draws)) for tensor in tensors), strict=True)
        for part in parts:
            batch, *given = (tensor.to(device) for tensor in part)
            q = torch.distributions.Normal(*_mean_and_std(*model.encode(batch, *given)))
            total = torch.full((len(batch),), -math.inf, device=device)
            for start in range(0, samples, draws):
                few = min(draws, samples - start)
                log_weights = _log_weights(model, batch, given, q, prior, few)
                total = torch.logaddexp(total, log_weights.logsumexp(dim=0))
            estimates.append((total - math.log(samples)).cpu())
    return torch.cat(estimates)


def _mean_and_std(mu, logvar):
    return mu, torch.exp(0.5 * logvar)


def _log_weights(model, x, given, q, prior, draws):
    """log p(x|z) + log p(z) - log q(z|x) for z ~ q(z|x): `(draws, n)`."""
    z = q.sample((draws,))
    given = [labels.repeat(draws) for labels in given]
    logits = model.decode_logits(z.flatten(0, 1), *given)
    copies = x.expand(draws, *x.shape).flatten(0, 1)
    log_decoder = -model.nll(logits, copies).view(draws, len(x))
    return log_decoder + prior.log_prob(z) - q.log_prob(z).sum(dim=-1)


def active_units(model, x, threshold=0.01):
    """Which latents does the encoder use? `(active, variance)`, both `(latent_dim,)`.

    `variance`: of the encoder's mean over the images; `active`: variance > threshold.
    Source: Burda et al. 2016, section 5.3.
    """
    check_images(x, or_bytes=True)
    if len(x) < 2:
        raise ValueError(f"x holds {len(x)} image(s); a variance needs at least two")
    variance = encode_means(model, x).var(dim=0)
    return variance > threshold, variance


def encode_means(model, x, batch_size=1000):
    """mu(x) of a VAE, z of an autoencoder: `(n, latent_dim)` on the CPU.

    `x`: floats in [0, 1], or bytes (uint8), which become floats batch by batch.
    """
    check_images(x, or_bytes=True)
    with evaluation(model) as device:
        codes = [model.encode(to_float(batch.to(device))) for batch in x.split(batch_size)]
    return torch.cat([(c[0] if isinstance(c, tuple) else c).cpu() for c in codes])


def train_classifier(images, labels, epochs=1, seed=0, device=None):
    """A small convolutional network that names the digit: images -> logits `(n, 10)`.

    It judges samples, so state its own accuracy (`accuracy`) beside every judgement.
    """
    check_images(images, (1, 28, 28), "images")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(),  # 28x28 -> 14x14
            nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.ReLU(),  # 14x14 -> 7x7
            nn.Flatten(), nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10),
        )  # fmt: skip

    def cross_entropy(model, x, y):
        return {"loss": F.cross_entropy(model(x), y, reduction="none")}

    fit(
        classifier, (images, labels), loss=cross_entropy, epochs=epochs, lr=3e-3, seed=seed,
        device=device, quiet=True,
    )  # fmt: skip
    return classifier.eval()


def classify(classifier, images, batch_size=1000):
    """Class probabilities `(n, 10)` on the CPU."""
    check_images(images, (1, 28, 28), "images")
    with evaluation(classifier) as device:
        logits = [classifier(batch.to(device)).cpu() for batch in images.split(batch_size)]
    return torch.cat(logits).softmax(dim=1)


def accuracy(classifier, images, labels):
    """The share of images whose most probable class is their label."""
    return (classify(classifier, images).argmax(dim=1) == labels.cpu()).float().mean().item()
