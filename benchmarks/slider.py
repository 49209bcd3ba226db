"""What a slider costs in the kernel: from codes to the bytes of a PNG, in milliseconds.

    python benchmarks/slider.py [rounds]

`decode_png` is what our sliders call. Beside it stands the same picture as a figure of matplotlib.
"""

import io
import sys

from vae_helpers.models import VAE
from vae_helpers.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder
from vae_helpers.widgets import decode_png

import matplotlib.pyplot as plt
import torch
from common import best_and_median, print_facts, print_table, take_turns

FACES = (32, 64, 128, 256), (), (3, 64, 64), True


def figure_png(model, z):
    """The usual way: a figure with one picture."""
    with torch.no_grad():
        picture = model.decode(z)[0].permute(1, 2, 0).numpy()
    figure, axes = plt.subplots()
    axes.imshow(picture, cmap="gray")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    plt.close(figure)
    return content.getvalue()


def main(rounds=50):
    torch.manual_seed(0)
    plt.switch_backend("agg")
    models = {
        "04's MLP, 28x28": VAE(mlp_encoder(40), mlp_decoder(20)),
        "06's faces, 64x64": VAE(
            conv_encoder(512, *FACES), conv_decoder(256, FACES[0][::-1], *FACES[1:]),
            image_shape=(3, 64, 64),
        ),
    }  # fmt: skip
    contestants = {}
    for name, model in models.items():
        model.eval()
        z = torch.zeros(1, model.latent_dim)
        for way, draw in (("`decode_png`", decode_png), ("matplotlib", figure_png)):
            contestants[f"{name}, {way}"] = lambda draw=draw, model=model, z=z: draw(model, z)
    take_turns(contestants, 3)  # warms up
    times = take_turns(contestants, rounds)
    rows = [[name, *best_and_median(seconds, 1, 1000)] for name, seconds in times.items()]
    print_table(["one picture", "best, ms", "median, ms"], *rows)
    print_facts(rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
