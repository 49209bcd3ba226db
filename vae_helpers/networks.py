"""Encoder and decoder builders. A decoder ends in logits; the sigmoid is the model's business."""

from math import prod

from torch import nn


def mlp_encoder(outputs, hidden=(400,), image_shape=(1, 28, 28), batch_norm=False):
    """Images `(n, *image_shape)` -> `(n, outputs)` through hidden ReLU layers of the given widths.

    A VAE with `latent_dim` latents needs `outputs = 2 * latent_dim`: mu and logvar side by side.
    """
    layers = _hidden_layers(prod(image_shape), hidden, batch_norm)
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(hidden[-1], outputs))


def mlp_decoder(latent_dim, hidden=(400,), image_shape=(1, 28, 28), batch_norm=False):
    """Codes `(n, latent_dim)` -> logits `(n, *image_shape)`: the encoder's mirror image."""
    layers = _hidden_layers(latent_dim, hidden, batch_norm)
    output = nn.Linear(hidden[-1], prod(image_shape))
    return nn.Sequential(*layers, output, nn.Unflatten(1, image_shape))


def _hidden_layers(inputs, hidden, batch_norm):
    for name, widths in (("inputs", (inputs,)), ("hidden", hidden)):
        if not widths or any(not isinstance(n, int) or n < 1 for n in widths):
            raise ValueError(f"{name} is {widths}; expected whole positive layer widths")
    layers = []
    for width in hidden:
        layers += [nn.Linear(inputs, width)]
        layers += [nn.BatchNorm1d(width)] if batch_norm else []
        layers += [nn.ReLU()]
        inputs = width
    return layers
