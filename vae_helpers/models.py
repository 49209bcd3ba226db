"""The models: an encoder and a decoder put together, with a likelihood."""

from vae_helpers.checks import (
    brief,
    check_finite,
    check_function,
    check_image_shape,
    check_model,
    check_whole,
)
from vae_helpers.data import check_images
from vae_helpers.losses import bernoulli_nll, check_same_shape

import torch
import torch.nn.functional as F
from torch import nn


class Autoencoder(nn.Module):
    """A deterministic code z = encoder(x) and its reconstruction.

    `encoder`: images `(n, *image_shape)` -> codes `(n, latent_dim)`; `decoder`: codes -> logits;
    `nll(logits, x) -> (n,)`: the reconstruction loss per image.
    """

    def __init__(self, encoder, decoder, nll=bernoulli_nll, image_shape=(1, 28, 28)):
        super().__init__()
        check_parts(encoder, decoder, nll, image_shape)
        self.encoder, self.decoder = encoder, decoder
        self.nll, self.image_shape = nll, image_shape
        self.latent_dim = decoder[0].in_features

    def encode(self, x):
        check_images(x, self.image_shape)
        check_dtype(x, self)
        return self.encoder(x)

    def decode_logits(self, z):
        check_codes(z, self.latent_dim)
        check_dtype(z, self, "z")
        return self.decoder(z)

    def decode(self, z):
        return torch.sigmoid(self.decode_logits(z))

    def forward(self, x):
        z = self.encode(x)
        return self.decode_logits(z), z


def reparameterize(mu, logvar):
    """A draw z ~ N(mu, diag exp(logvar)), shape of `mu`, through which gradients flow."""
    check_same_shape(mu=mu, logvar=logvar)
    eps = torch.randn_like(mu)
    return mu + torch.exp(0.5 * logvar) * eps


class VAE(nn.Module):
    """q(z|x) = N(mu(x), diag exp(logvar(x))), p(z) = N(0, I), p(x|z) with mean decode(z).

    `encoder`: images `(n, *image_shape)` -> `(n, 2 * latent_dim)`, mu and logvar side by side;
    `decoder`: `(n, latent_dim)` -> logits `(n, *image_shape)`, a Sequential that starts with
    nn.Linear; `nll(logits, x) -> (n,)`: -log p(x|z) in nats. Source: Kingma & Welling 2014.
    """

    def __init__(self, encoder, decoder, nll=bernoulli_nll, image_shape=(1, 28, 28)):
        super().__init__()
        check_parts(encoder, decoder, nll, image_shape)
        self.encoder, self.decoder = encoder, decoder
        self.nll, self.image_shape = nll, image_shape
        self.latent_dim = decoder[0].in_features

    def encode(self, x):
        check_images(x, self.image_shape)
        check_dtype(x, self)
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def reparameterize(self, mu, logvar):
        return reparameterize(mu, logvar)

    def decode_logits(self, z):
        check_codes(z, self.latent_dim)
        check_dtype(z, self, "z")
        return self.decoder(z)

    def decode(self, z):
        return torch.sigmoid(self.decode_logits(z))

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return self.decode_logits(z), mu, logvar

    def sample(self, n):
        """Pixel means `(n, *image_shape)` of n draws from the prior."""
        check_whole(1, n=n)
        z = torch.randn(n, self.latent_dim, device=next(self.parameters()).device)
        return self.decode(z)


class ConditionalVAE(nn.Module):
    """q(z|x, y) and p(x|z, y) = p(x | z and the label y), p(z) = N(0, I).

    `encoder`: images with one more channel `(n, channels + 1, h, w)`, which holds a learned
    picture of the label, -> `(n, 2 * latent_dim)`; `decoder`: codes and the label as one-hot
    `(n, latent_dim + classes)` -> logits. Labels `(n,)` are whole numbers from 0 to classes - 1.
    Source: Kingma et al. 2014 (model M2), Sohn et al. 2015.
    """

    def __init__(self, encoder, decoder, classes=10, nll=bernoulli_nll, image_shape=(1, 28, 28)):
        super().__init__()
        check_parts(encoder, decoder, nll, image_shape)
        check_whole(1, classes=classes)
        self.encoder, self.decoder = encoder, decoder
        self.nll, self.image_shape, self.classes = nll, image_shape, classes
        self.latent_dim = decoder[0].in_features - classes
        self.label_picture = nn.Embedding(classes, image_shape[1] * image_shape[2])

    def encode(self, x, y):
        check_images(x, self.image_shape)
        check_dtype(x, self)
        check_labels(y, x, self.classes)
        picture = self.label_picture(y).view(-1, 1, *self.image_shape[1:])
        mu, logvar = self.encoder(torch.cat([x, picture], dim=1)).chunk(2, dim=1)
        return mu, logvar

    def decode_logits(self, z, y):
        check_codes(z, self.latent_dim)
        check_dtype(z, self, "z")
        check_labels(y, z, self.classes)
        return self.decoder(torch.cat([z, F.one_hot(y, self.classes).float()], dim=1))

    def decode(self, z, y):
        return torch.sigmoid(self.decode_logits(z, y))

    def forward(self, x, y):
        mu, logvar = self.encode(x, y)
        return self.decode_logits(reparameterize(mu, logvar), y), mu, logvar

    def sample(self, y):
        """Pixel means `(n, *image_shape)` for the labels `y`, one draw from the prior each."""
        if not isinstance(y, torch.Tensor) or y.ndim != 1:
            raise ValueError(f"y is {brief(y)}; expected torch.int64 labels of shape (n,)")
        z = torch.randn(len(y), self.latent_dim, device=y.device)
        return self.decode(z, y)


def check_parts(encoder, decoder, nll, image_shape):
    check_model(encoder, name="encoder")
    check_decoder(decoder)
    check_function(nll=nll)
    check_image_shape(image_shape)


def check_labels(y, beside, classes, name="y"):
    """Raise a `ValueError` unless `y` holds one whole number below `classes` for each row."""
    if not isinstance(y, torch.Tensor) or y.dtype != torch.int64 or y.shape != beside.shape[:1]:
        raise ValueError(f"{name} is {brief(y)}; expected torch.int64 ({len(beside)},)")
    if len(y) == 0:
        raise ValueError(f"{name} is empty; expected at least one label")
    if y.device.type == "cpu" and not 0 <= y.min() <= y.max() < classes:
        raise ValueError(
            f"{name} has labels from {y.min()} to {y.max()}; expected 0 to {classes - 1}"
        )


def check_decoder(decoder):
    """The width of a decoder's first layer tells the number of latents, so it must have one."""
    first = next(iter(decoder.children()), decoder) if isinstance(decoder, nn.Module) else decoder
    if not isinstance(decoder, nn.Sequential) or not isinstance(first, nn.Linear):
        raise ValueError(
            f"decoder is {type(decoder).__name__} with {type(first).__name__} first; "
            "expected an nn.Sequential that starts with nn.Linear"
        )


def check_codes(z, latent_dim):
    if not isinstance(z, torch.Tensor) or z.ndim != 2 or z.shape[1] != latent_dim:
        came = tuple(z.shape) if isinstance(z, torch.Tensor) else type(z).__name__
        raise ValueError(f"z is {came}; expected a tensor of shape (n, {latent_dim})")
    if not z.is_floating_point():
        raise ValueError(f"z has dtype {z.dtype}; expected floats")
    check_finite(z=z)


def check_dtype(x, model, name="x"):
    """Raise a `ValueError` unless `x` has the number format of the model's weights."""
    expected = next(model.parameters()).dtype
    if x.dtype != expected:
        raise ValueError(f"{name} has dtype {x.dtype}; expected {expected}, as the model's weights")
