"""The models: an encoder and a decoder put together, with a likelihood."""

from vae_helpers.data import check_images
from vae_helpers.losses import bernoulli_nll, check_same_shape

import torch
from torch import nn


class Autoencoder(nn.Module):
    """A deterministic code z = encoder(x) and its reconstruction.

    `encoder`: images `(n, *image_shape)` -> codes `(n, latent_dim)`; `decoder`: codes -> logits;
    `nll(logits, x) -> (n,)`: the reconstruction loss per image.
    """

    def __init__(self, encoder, decoder, nll=bernoulli_nll, image_shape=(1, 28, 28)):
        super().__init__()
        check_decoder(decoder)
        self.encoder, self.decoder = encoder, decoder
        self.nll, self.image_shape = nll, image_shape
        self.latent_dim = decoder[0].in_features

    def encode(self, x):
        check_images(x, self.image_shape)
        return self.encoder(x)

    def decode_logits(self, z):
        check_codes(z, self.latent_dim)
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
        check_decoder(decoder)
        self.encoder, self.decoder = encoder, decoder
        self.nll, self.image_shape = nll, image_shape
        self.latent_dim = decoder[0].in_features

    def encode(self, x):
        check_images(x, self.image_shape)
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def reparameterize(self, mu, logvar):
        return reparameterize(mu, logvar)

    def decode_logits(self, z):
        check_codes(z, self.latent_dim)
        return self.decoder(z)

    def decode(self, z):
        return torch.sigmoid(self.decode_logits(z))

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return self.decode_logits(z), mu, logvar

    def sample(self, n):
        """Pixel means `(n, *image_shape)` of n draws from the prior."""
        if n < 1:
            raise ValueError(f"n is {n}; expected at least one sample")
        z = torch.randn(n, self.latent_dim, device=next(self.parameters()).device)
        return self.decode(z)


def check_decoder(decoder):
    """The width of a decoder's first layer tells the number of latents, so it must have one."""
    first = next(iter(decoder.children()), decoder)
    if not isinstance(decoder, nn.Sequential) or not isinstance(first, nn.Linear):
        raise ValueError(
            f"decoder is {type(decoder).__name__} with {type(first).__name__} first; "
            "expected an nn.Sequential that starts with nn.Linear"
        )


def check_codes(z, latent_dim):
    if not isinstance(z, torch.Tensor) or z.ndim != 2 or z.shape[1] != latent_dim:
        came = tuple(z.shape) if isinstance(z, torch.Tensor) else type(z).__name__
        raise ValueError(f"z is {came}; expected a tensor of shape (n, {latent_dim})")
