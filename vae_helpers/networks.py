"""Encoder and decoder builders. A decoder ends in logits; the sigmoid is the model's business."""

from math import prod

from torch import nn


def mlp_encoder(outputs, hidden=(400,), image_shape=(1, 28, 28), batch_norm=False):
    """Images `(n, *image_shape)` -> `(n, outputs)` through hidden ReLU layers of the given widths.

    A VAE with `latent_dim` latents needs `outputs = 2 * latent_dim`: mu and logvar side by side.
    """
    check_widths(outputs=(outputs,), hidden=hidden)
    layers = _hidden_layers(prod(image_shape), hidden, batch_norm)
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(hidden[-1], outputs))


def mlp_decoder(latent_dim, hidden=(400,), image_shape=(1, 28, 28), batch_norm=False):
    """Codes `(n, latent_dim)` -> logits `(n, *image_shape)`: the encoder's mirror image."""
    check_widths(latent_dim=(latent_dim,), hidden=hidden)
    layers = _hidden_layers(latent_dim, hidden, batch_norm)
    output = nn.Linear(hidden[-1], prod(image_shape))
    return nn.Sequential(*layers, output, nn.Unflatten(1, image_shape))


def _hidden_layers(inputs, hidden, batch_norm):
    layers = []
    for width in hidden:
        layers += [nn.Linear(inputs, width)]
        layers += [nn.BatchNorm1d(width)] if batch_norm else []
        layers += [nn.ReLU()]
        inputs = width
    return layers


def check_widths(**widths):
    """Raise a `ValueError` unless each argument is a tuple or list of whole positive widths."""
    for name, values in widths.items():
        whole = isinstance(values, (tuple, list)) and values
        if not whole or any(not isinstance(n, int) or n < 1 for n in values):
            raise ValueError(f"{name} is {values}; expected whole positive layer widths")
