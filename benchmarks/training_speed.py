"""How long does a training step take? The models of notebooks 04, 05 and 06, in turn.

    make bench, or: python benchmarks/training_speed.py [rounds]

Each round times ten steps of every model, one model after the other, so that a slow moment of the
machine meets all of them. Printed: the median over rounds, and its multiple of the MLP's.
"""

import sys
import time
from statistics import median

from vae_helpers.losses import negative_elbo
from vae_helpers.models import VAE
from vae_helpers.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder

import torch

FACES = (32, 64, 128, 256), (), (3, 64, 64), True
CASES = {  # name: (encoder, decoder, shape of an image, batch)
    "04, MLP 784-400-20": (mlp_encoder(40), mlp_decoder(20), (1, 28, 28), 128),
    "05, conv 32-32-512": (
        conv_encoder(64, (32, 32), (512,)), conv_decoder(32, (32, 32), (512,)), (1, 28, 28), 100,
    ),
    "06, faces 32-64-128-256": (
        conv_encoder(512, *FACES), conv_decoder(256, FACES[0][::-1], *FACES[1:]), (3, 64, 64), 64,
    ),
}  # fmt: skip


def stepper(encoder, decoder, shape, batch):
    """A function that trains for ten steps."""
    model = VAE(encoder, decoder, image_shape=shape).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x = torch.rand(batch, *shape).bernoulli()

    def ten_steps():
        for _ in range(10):
            optimizer.zero_grad()
            negative_elbo(model, x)["loss"].mean().backward()
            optimizer.step()

    return ten_steps


def main(rounds=7):
    torch.manual_seed(0)
    steppers = {name: stepper(*case) for name, case in CASES.items()}
    times = {name: [] for name in CASES}
    for ten_steps in steppers.values():
        ten_steps()  # warms up
    for _ in range(rounds):
        for name, ten_steps in steppers.items():
            start = time.perf_counter()
            ten_steps()
            times[name].append((time.perf_counter() - start) / 10)
    print(f"{torch.get_num_threads()} threads, {rounds} rounds, medians")
    per_image = {name: median(t) / CASES[name][3] for name, t in times.items()}
    first = next(iter(per_image.values()))
    for name, seconds in per_image.items():
        print(
            f"{name:24} {1000 * seconds * CASES[name][3]:7.1f} ms a step of {CASES[name][3]:3}, "
            f"{1 / seconds:8,.0f} images a second, {seconds / first:5.1f} times the first's time"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
