"""One epoch of MNIST with the 784-400-20 VAE: `fit` against what one would otherwise run.

    python benchmarks/epoch.py [rounds]

Each round trains every contestant for one more epoch, one after the other, so that a slow moment
of the machine meets all of them; printed are best and median over the rounds, as multiples of the
bare step's, and the final -ELBO, which must be the same for all that train on the data. MNIST is
taken from the folder that VAE_DATA names, else from data/. pythae takes part where it is installed.
"""

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from vae_helpers.data import data_folder
from vae_helpers.losses import negative_elbo
from vae_helpers.models import VAE
from vae_helpers.networks import mlp_decoder, mlp_encoder
from vae_helpers.training import evaluate, fit, pick_device

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

try:
    import pythae
except ImportError:
    pythae = None

BATCH, DEVICE = 128, pick_device()


def new_model():
    torch.manual_seed(0)
    return VAE(mlp_encoder(40), mlp_decoder(20)).to(DEVICE)


def step(model, optimizer, x):
    optimizer.zero_grad()
    negative_elbo(model, x)["loss"].mean().backward()
    optimizer.step()


def ours(dataset, folder):
    """`fit` as in the notebooks: progress bar, history, and a checkpoint after each epoch."""
    model, train, epochs = new_model(), (dataset.data[:, None] / 255).to(DEVICE), 0

    def one_epoch():
        nonlocal epochs
        epochs += 1
        with contextlib.redirect_stdout(io.StringIO()):
            fit(model, train, epochs=epochs, checkpoint=Path(folder) / "model.pt")

    return model, one_epoch


def fixed_batch(dataset, folder):
    """As many steps on one batch: nothing is loaded, shuffled, noted or saved. The floor."""
    model = new_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x = (dataset.data[:BATCH, None] / 255).to(DEVICE)

    def one_epoch():
        for _ in range(-(-len(dataset) // BATCH)):
            step(model, optimizer, x)

    return model, one_epoch


def loader(workers):
    def contestant(dataset, folder):
        """The usual loop over torchvision's images, one by one through a transform."""
        model = new_model()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        batches = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers)

        def one_epoch():
            for x, _ in batches:
                step(model, optimizer, x.to(DEVICE))

        return model, one_epoch

    return contestant


def peer(dataset, folder):
    """pythae's own trainer, with our two networks inside its VAE."""
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    inner = new_model()

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.layers = inner.encoder

        def forward(self, x):
            mu, logvar = self.layers(x).chunk(2, dim=1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.layers = inner.decoder

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=20, reconstruction_loss="bce")
    model = pythae.models.VAE(config, Encoder(), Decoder())
    settings = BaseTrainerConfig(
        output_dir=folder, learning_rate=1e-3, per_device_train_batch_size=BATCH
    )
    images = pythae.data.datasets.BaseDataset(dataset.data[:, None] / 255, dataset.targets)
    trainer = BaseTrainer(model, images, training_config=settings)
    trainer.prepare_training()
    epochs = 0

    def one_epoch():
        nonlocal epochs
        epochs += 1
        with contextlib.redirect_stderr(io.StringIO()):
            trainer.train_step(epochs)

    return inner, one_epoch


CONTESTANTS = {
    "the bare step on one batch": fixed_batch,
    "fit": ours,
    "torchvision's loader, no workers": loader(0),
    "torchvision's loader, 2 workers": loader(2),
    **({"pythae's trainer": peer} if pythae else {}),
}


def main(rounds=5):
    dataset = MNIST(data_folder(), train=True, transform=ToTensor())
    test = MNIST(data_folder(), train=False).data[:, None] / 255
    with contextlib.ExitStack() as stack:
        running, times = {}, {name: [] for name in CONTESTANTS}
        for name, contestant in CONTESTANTS.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            running[name] = contestant(dataset, folder)
        for _ in range(rounds):
            for name, (_, one_epoch) in running.items():
                start = time.perf_counter()
                one_epoch()
                if DEVICE.type == "cuda":
                    torch.cuda.synchronize()
                times[name].append(time.perf_counter() - start)
    floor = times["the bare step on one batch"]
    print(f"{DEVICE.type}, {torch.get_num_threads()} threads, {rounds} rounds, {BATCH} a batch")
    print(f"{'':34}{'best, s':>9}{'median, s':>11}{'best':>8}{'median':>8}{'-ELBO, nats':>13}")
    for name, (model, _) in running.items():
        seconds = times[name]
        loss = "" if model is running["the bare step on one batch"][0] else (
            f"{evaluate(model, test)['loss']:.2f}"
        )  # fmt: skip
        print(
            f"{name:34}{min(seconds):9.2f}{median(seconds):11.2f}"
            f"{min(seconds) / min(floor):8.2f}{median(seconds) / median(floor):8.2f}{loss:>13}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
