"""One epoch: `fit` against what one would otherwise run.

    python benchmarks/epoch.py [rounds [images]]

Two models: the VAE 784-400-20 on MNIST's 60,000 images, and 05's convolutional VAE on 20,000 of
them, which take it as long. Each round trains every contestant for one more epoch. `fit` shows its
progress bar, keeps its history and writes a checkpoint; each call also loads the last checkpoint
and runs the six steps that say what training will cost. The final -ELBO must be the same for all
that train on the data. MNIST is taken from the folder that VAE_DATA names, else from data/.
pythae takes part where it is installed. On a GPU it is also counted how often `fit` waits for it.
"""

import contextlib
import io
import sys
import tempfile
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

from vae_helpers.data import data_folder
from vae_helpers.losses import negative_elbo
from vae_helpers.models import VAE
from vae_helpers.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder
from vae_helpers.training import evaluate, fit, pick_device

import torch
from common import best_and_median, print_facts, print_table, take_turns
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

try:
    import pythae
except ImportError:
    pythae = None

BATCH, DEVICE = 128, pick_device()
FLOOR = "the bare step on one batch"


def mlp_vae():
    return VAE(mlp_encoder(40), mlp_decoder(20))


def conv_vae():
    return VAE(conv_encoder(64, (32, 32), (512,)), conv_decoder(32, (32, 32), (512,)))


MODELS = {"MLP 784-400-20": (mlp_vae, 60_000), "05's convolutional VAE": (conv_vae, 20_000)}
# How many times `fit`'s time a contestant's is to be, at least.
GOALS = {FLOOR: 1 / 1.10, "torchvision's loader, no workers": 1.8,
         "torchvision's loader, 2 workers": 2.4, "pythae's trainer": 1.8}  # fmt: skip
if DEVICE.type == "cuda":
    GOALS |= {name: 10 for name in GOALS if "loader" in name}


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)


def step(model, optimizer, x):
    optimizer.zero_grad()
    negative_elbo(model, x)["loss"].mean().backward()
    optimizer.step()


def wait_for_gpu():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


# --- contestants: each takes a model, a data set and a folder, and gives a function that trains for
# one more epoch ---


def ours(model, dataset, folder):
    """`fit` as in the notebooks: progress bar, history, and a checkpoint after each epoch."""
    train, epochs = pixels(dataset).to(DEVICE), 0

    def one_epoch():
        nonlocal epochs
        epochs += 1
        with contextlib.redirect_stdout(io.StringIO()):
            fit(model, train, epochs=epochs, checkpoint=Path(folder) / "model.pt")
        wait_for_gpu()

    return one_epoch


def pixels(dataset):
    """All images as the loaders give them, `(n, 1, 28, 28)` in [0, 1]."""
    return dataset.dataset.data[dataset.indices, None] / 255


def fixed_batch(model, dataset, folder):
    """As many steps on one batch: nothing is loaded, shuffled, noted or saved. The floor."""
    optimizer, x = adam(model), pixels(dataset)[:BATCH].to(DEVICE)

    def one_epoch():
        for _ in range(-(-len(dataset) // BATCH)):
            step(model, optimizer, x)
        wait_for_gpu()

    return one_epoch


def usual(model, dataset, folder, workers):
    """The usual loop over torchvision's images, one by one through a transform."""
    optimizer = adam(model)
    batches = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers)

    def one_epoch():
        for x, _ in batches:
            step(model, optimizer, x.to(DEVICE))
        wait_for_gpu()

    return one_epoch


def peer(model, dataset, folder):
    """pythae's own trainer, with our two networks inside its VAE."""
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.layers = model.encoder

        def forward(self, x):
            mu, logvar = self.layers(x).chunk(2, dim=1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.layers = model.decoder

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))

    config = VAEConfig(
        input_dim=(1, 28, 28), latent_dim=model.latent_dim, reconstruction_loss="bce"
    )
    settings = BaseTrainerConfig(
        output_dir=folder, learning_rate=1e-3, per_device_train_batch_size=BATCH
    )
    images = pixels(dataset)
    trainer = BaseTrainer(
        pythae.models.VAE(config, Encoder(), Decoder()),
        pythae.data.datasets.BaseDataset(images, torch.zeros(len(images))),
        training_config=settings,
    )
    trainer.prepare_training()
    epochs = 0

    def one_epoch():
        nonlocal epochs
        epochs += 1
        with contextlib.redirect_stderr(io.StringIO()):
            trainer.train_step(epochs)
        wait_for_gpu()

    return one_epoch


CONTESTANTS = {
    "`fit`": ours,
    FLOOR: fixed_batch,
    "torchvision's loader, no workers": partial(usual, workers=0),
    "torchvision's loader, 2 workers": partial(usual, workers=2),
    **({"pythae's trainer": peer} if pythae else {}),
}


def compare(new_model, dataset, test, rounds):
    """Times `{contestant: [seconds]}` and the final -ELBO on `test`, nats per image."""
    models, running = {}, {}
    with contextlib.ExitStack() as stack:
        for name, contestant in CONTESTANTS.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            torch.manual_seed(0)
            models[name] = new_model().to(DEVICE)
            running[name] = contestant(models[name], dataset, folder)
        times = take_turns(running, rounds)
    return times, {
        name: evaluate(model, test)["loss"] for name, model in models.items() if name != FLOOR
    }


def waits(steps, images):
    """How often the processor waits for the GPU while `fit` trains one epoch of so many steps."""
    model = mlp_vae().to(DEVICE)
    train = images[: steps * BATCH].to(DEVICE)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(model, train, epochs=1, quiet=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


def main(rounds=5, images=None):
    everything = MNIST(data_folder(), train=True, transform=ToTensor())
    test = MNIST(data_folder(), train=False).data[:, None] / 255
    for title, (new_model, most) in MODELS.items():
        n = images or most
        times, losses = compare(new_model, Subset(everything, range(n)), test, rounds)
        ours = times["`fit`"]
        print(f"**{title}**, {n:,} images, batches of {BATCH}:\n")
        head = ["", "best, s", "median, s", "best / `fit`", "median / `fit`", "goal", "-ELBO, nats"]
        rows = []
        for name, seconds in times.items():
            ratios = min(seconds) / min(ours), median(seconds) / median(ours)
            goal = f"≥ {GOALS[name]:.2f}" if name in GOALS else ""
            loss = f"{losses[name]:.2f}" if name in losses else ""
            rows.append(
                [name, *best_and_median(seconds), *map("{:.2f}".format, ratios), goal, loss]
            )
        print_table(head, *rows)
        print()
    if DEVICE.type == "cuda":
        few, many = (waits(steps, test) for steps in (20, 70))
        print(f"`fit` waits for the GPU {few} times in 20 steps, {many} times in 70.")
    print_facts(rounds, f"pythae {version('pythae')}" if pythae else "without pythae")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
