"""`log_likelihood` of the VAE 784-400-20: draws a second, and memory that does not grow.

    python benchmarks/likelihood.py [rounds [draws]]

Each case is a Python of its own, so that its peak memory is its own too. 10,000 images with 5,000
draws each, as published tables have it, are extrapolated from the case nearest to it.
"""

import sys
from statistics import median

from common import best_and_median, in_new_pythons, print_facts, print_table

CODE = """
import json, resource, time
from vae_helpers.metrics import log_likelihood
from vae_helpers.models import VAE
from vae_helpers.networks import mlp_decoder, mlp_encoder
import torch

model, x = VAE(mlp_encoder(40), mlp_decoder(20)), torch.rand({images}, 1, 28, 28)
log_likelihood(model, x[:1], samples=2000)  # warms up: {images} images, {draws} draws
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
log_likelihood(model, x, samples={draws})
seconds = time.perf_counter() - start
print(json.dumps([seconds, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""
KILO = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss, in bytes


def main(rounds=3, draws=5000):
    cases = [(20, draws // 10), (20, draws), (100, draws), (2000, draws // 100)]
    codes = {case: CODE.format(images=case[0], draws=case[1]) for case in cases}
    head = ["images", "draws each", "best, s", "median, s", "draws a second", "peak memory, MB",
            "more than after one image, MB"]  # fmt: skip
    rows, rates = [], {}
    for (images, each), results in in_new_pythons(codes, rounds).items():
        seconds, before, after = zip(*results, strict=True)
        rates[images, each] = images * each / median(seconds)
        megabytes = [f"{KILO / 1e6 * median(values):.0f}" for values in (after, before)]
        grown = KILO / 1e6 * (median(after) - median(before))
        rows.append([f"{images:,}", f"{each:,}", *best_and_median(seconds),
                     f"{rates[images, each]:,.0f}", megabytes[0], f"{grown:.0f}"])  # fmt: skip
    print_table(head, *rows)
    minutes = 10_000 * 5000 / rates[100, draws] / 60
    print(f"\n10,000 images with 5,000 draws each, at the third row's rate: {minutes:.0f} minutes.")
    print_facts(rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
