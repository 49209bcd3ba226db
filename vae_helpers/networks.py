"""Encoder and decoder builders. A decoder ends in logits; the sigmoid is the model's business."""

from itertools import pairwise
from math import prod

from vae_helpers.checks import brief, check_image_shape, check_whole

from torch import nn


def mlp_encoder(outputs, hidden=(400,), image_shape=(1, 28, 28), batch_norm=False):
    """Images `(n, *image_shape)` -> `(n, outputs)` through hidden ReLU layers of the given widths.

    A VAE with `latent_dim` latents needs `outputs = 2 * latent_dim`: mu and logvar side by side.
    """
    check_widths(outputs=(outputs,), hidden=hidden)
    check_image_shape(image_shape)
    layers = _hidden_layers(prod(image_shape), hidden, batch_norm)
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(hidden[-1], outputs))


def mlp_decoder(latent_dim, hidden=(400,), image_shape=(1, 28, 28), batch_norm=False):
    """Codes `(n, latent_dim)` -> logits `(n, *image_shape)`: the encoder's mirror image."""
    check_widths(latent_dim=(latent_dim,), hidden=hidden)
    check_image_shape(image_shape)
    layers = _hidden_layers(latent_dim, hidden, batch_norm)
    output = nn.Linear(hidden[-1], prod(image_shape))
    return nn.Sequential(*layers, output, nn.Unflatten(1, image_shape))


def conv_size(n, kernel=4, stride=2, padding=1):
    """The width of a Conv2d's output for inputs `n` pixels wide."""
    check_kernel(n, kernel, stride, padding)
    if n + 2 * padding < kernel:
        raise ValueError(f"kernel is {kernel}, wider than {n} pixels with padding {padding}")
    return (n + 2 * padding - kernel) // stride + 1


def transposed_conv_size(n, kernel=4, stride=2, padding=1, output_padding=0):
    """The width of a ConvTranspose2d's output for inputs `n` pixels wide."""
    check_kernel(n, kernel, stride, padding)
    check_whole(output_padding=output_padding)
    return (n - 1) * stride - 2 * padding + kernel + output_padding


def conv_encoder(
    outputs, channels=(32, 64), hidden=(256,), image_shape=(1, 28, 28), batch_norm=False
):
    """Square images `(n, *image_shape)` -> `(n, outputs)`.

    One convolution for each of `channels`, 4x4 with stride 2 and padding 1, which halves the
    picture, then hidden layers of the given widths (`()` for none), SiLU throughout.
    """
    check_widths(outputs=(outputs,), channels=channels)
    check_hidden(hidden)
    check_square(image_shape, channels)
    layers, size = [], image_shape[-1]
    for before, after in pairwise((image_shape[0], *channels)):
        layers += [nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1)]
        layers += [nn.BatchNorm2d(after)] if batch_norm else []
        layers += [nn.SiLU()]
        size = conv_size(size)
    layers, width = [*layers, nn.Flatten()], channels[-1] * size**2
    for after in hidden:
        layers += [nn.Linear(width, after), nn.SiLU()]
        width = after
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def conv_decoder(
    latent_dim, channels=(64, 32), hidden=(256,), image_shape=(1, 28, 28), batch_norm=False
):
    """Codes `(n, latent_dim)` -> logits `(n, *image_shape)`: the encoder's mirror image.

    Where halving rounded down (7 to 3), doubling back needs one more row and column
    (`output_padding`), or 3 would become 6.
    """
    check_widths(latent_dim=(latent_dim,), channels=channels)
    check_hidden(hidden)
    check_square(image_shape, channels)
    sizes = [image_shape[-1]]
    for _ in channels:
        sizes.insert(0, conv_size(sizes[0]))
    layers, width = [], latent_dim
    for after in hidden:
        layers += [nn.Linear(width, after), nn.SiLU()]
        width = after
    layers += [nn.Linear(width, channels[0] * sizes[0] ** 2)]
    layers += [nn.Unflatten(1, (channels[0], sizes[0], sizes[0]))]
    for i, after in enumerate((*channels[1:], image_shape[0])):
        extra = sizes[i + 1] - transposed_conv_size(sizes[i])
        layers += [nn.BatchNorm2d(channels[i])] if batch_norm else []
        layers += [
            nn.SiLU(),
            nn.ConvTranspose2d(
                channels[i], after, kernel_size=4, stride=2, padding=1, output_padding=extra
            ),
        ]
    return nn.Sequential(*layers)


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
        listed = isinstance(values, tuple | list) and values
        if not listed or not all(type(n) is int and n > 0 for n in values):
            raise ValueError(f"{name} is {brief(values)}; expected whole positive layer widths")


def check_hidden(hidden):
    """As `check_widths`, but there may be no hidden layer."""
    if not isinstance(hidden, tuple | list) or len(hidden) > 0:
        check_widths(hidden=hidden)


def check_kernel(n, kernel, stride, padding):
    """Raise a `ValueError` unless these are a convolution that fits on `n` pixels."""
    check_whole(1, n=n, kernel=kernel, stride=stride)
    check_whole(padding=padding)


def check_square(image_shape, channels):
    """Raise a `ValueError` unless pictures are square and can be halved once for each channel."""
    check_image_shape(image_shape)
    _, height, width = image_shape
    if height != width or width < 2 ** len(channels):
        raise ValueError(
            f"image_shape is {image_shape}; expected square images, at least "
            f"{2 ** len(channels)} pixels wide for {len(channels)} convolutions"
        )
