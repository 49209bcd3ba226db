"""How good is a model? Likelihood, active latents, and a classifier as judge of samples."""

import math

from vae_helpers.checks import brief, check_model, check_number, check_whole
from vae_helpers.data import check_images, to_float
from vae_helpers.models import check_dtype, check_labels
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
    check_model(model, "encode", "decode_logits", "nll")
    check_whole(1, samples=samples, chunk=chunk)
    check_given(model, x, prior, labels)
    samples, chunk = int(samples), int(chunk)  # torch takes no whole numbers of numpy
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


def check_given(model, x, prior, labels):
    """Raise a `ValueError` unless `prior` and `labels` are what `log_likelihood` can take."""
    if prior is not None and not hasattr(prior, "log_prob"):
        raise ValueError(f"prior is {brief(prior)}; expected a torch distribution over codes")
    shape = tuple(getattr(prior, "event_shape", (model.latent_dim,)))
    if shape != (model.latent_dim,):
        raise ValueError(f"prior is over {shape}; expected codes ({model.latent_dim},)")
    if (labels is None) == hasattr(model, "classes"):
        raise ValueError(
            f"labels is {brief(labels)}; expected them for a conditional model, and only there"
        )
    if labels is not None:
        check_labels(labels, x, model.classes, "labels")


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
    check_number(threshold=threshold)
    if len(x) < 2:
        raise ValueError(f"x holds {len(x)} image(s); a variance needs at least two")
    variance = encode_means(model, x).var(dim=0)
    return variance > threshold, variance


def encode_means(model, x, batch_size=1000):
    """mu(x) of a VAE, z of an autoencoder: `(n, latent_dim)` on the CPU.

    `x`: floats in [0, 1], or bytes (uint8), which become floats batch by batch.
    """
    check_model(model, "encode")
    check_images(x, or_bytes=True)
    check_whole(1, batch_size=batch_size)
    with evaluation(model) as device:
        codes = [model.encode(to_float(batch.to(device))) for batch in x.split(int(batch_size))]
    return torch.cat([(c[0] if isinstance(c, tuple) else c).cpu() for c in codes])


def train_classifier(images, labels, epochs=1, seed=0, device=None):
    """A small convolutional network that names the digit: images -> logits `(n, 10)`.

    It judges samples, so state its own accuracy (`accuracy`) beside every judgement.
    """
    check_images(images, (1, 28, 28), "images")
    check_labels(labels, images, 10, "labels")
    check_whole(seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(),  # 28x28 -> 14x14
            nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.ReLU(),  # 14x14 -> 7x7
            nn.Flatten(), nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10),
        )  # fmt: skip

    def cross_entropy(model, x, y):
        return {"loss": F.cross_entropy(model(x), y, reduction="none")}

    check_dtype(images, classifier, "images")
    fit(
        classifier, (images, labels), loss=cross_entropy, epochs=epochs, lr=3e-3, seed=seed,
        device=device, quiet=True,
    )  # fmt: skip
    return classifier.eval()


def classify(classifier, images, batch_size=1000):
    """Class probabilities `(n, 10)` on the CPU."""
    check_model(classifier, name="classifier")
    check_images(images, (1, 28, 28), "images")
    check_dtype(images, classifier, "images")
    check_whole(1, batch_size=batch_size)
    with evaluation(classifier) as device:
        logits = [classifier(batch.to(device)).cpu() for batch in images.split(int(batch_size))]
    return torch.cat(logits).softmax(dim=1)


def accuracy(classifier, images, labels):
    """The share of images whose most probable class is their label."""
    probabilities = classify(classifier, images)
    if not isinstance(labels, torch.Tensor) or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"labels is {brief(labels)}; expected a tensor ({len(images)},)")
    return (probabilities.argmax(dim=1) == labels.cpu()).float().mean().item()
