"""Small models, images and MNIST files, and the jobs that tests run in processes of their own.

A child process imports this module, so it imports neither pytest nor a test file.
"""

import copy
import functools
import gzip
import hashlib
import io
import multiprocessing
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from vae_helpers.data import load_images
from vae_helpers.losses import LearnedGaussian, negative_elbo
from vae_helpers.models import VAE, Autoencoder, ConditionalVAE
from vae_helpers.networks import mlp_decoder, mlp_encoder
from vae_helpers.plots import figure_png
from vae_helpers.training import fit

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.datasets import MNIST


def small_images(n=40, image_shape=(1, 28, 28)):
    return torch.rand(n, *image_shape, generator=torch.Generator().manual_seed(1)) ** 3


def small_vae(latent=2, hidden=(16,), image_shape=(1, 28, 28), batch_norm=False, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = mlp_encoder(2 * latent, hidden, image_shape, batch_norm)
        decoder = mlp_decoder(latent, hidden, image_shape, batch_norm)
        return VAE(encoder, decoder, image_shape=image_shape)


def small_conditional(latent=2, classes=10, image_shape=(1, 28, 28), seed=0):
    channels, *size = image_shape
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = mlp_encoder(2 * latent, (16,), (channels + 1, *size))
        decoder = mlp_decoder(latent + classes, (16,), image_shape)
        return ConditionalVAE(encoder, decoder, classes, image_shape=image_shape)


def small_learned_sigma(seed=0):
    model = small_vae(seed=seed)
    model.nll = LearnedGaussian(torch.tensor(0.3))
    return model


def small_autoencoder(latent=2, hidden=(16,), image_shape=(1, 28, 28), seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = mlp_encoder(latent, hidden, image_shape)
        return Autoencoder(
            encoder, mlp_decoder(latent, hidden, image_shape), image_shape=image_shape
        )


def vivid(model, factor=20.0):
    """A copy of an untrained model whose decoded pictures can be told apart."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for layer in model.decoder:
            if isinstance(layer, nn.Linear):
                layer.weight *= factor
    return model


# --- What a slider may draw ---


def solid(grey, size=(6, 6)):
    """A PNG of one grey."""
    buffer = io.BytesIO()
    Image.new("L", size, round(grey)).save(buffer, "PNG")
    return buffer.getvalue()


def plot(a):
    """A line in a matplotlib figure, as a PNG."""
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.plot([0, a])
    ax.set(ylim=(-1, 1), title=f"a = {a:.2f}")
    return figure_png(fig, frame=True)


# --- MNIST in small, in torchvision's layout ---


def idx(array, magic):
    """The bytes of an idx file: magic number, shape, values."""
    return np.array([magic, *array.shape], dtype=">u4").tobytes() + array.astype("u1").tobytes()


def numbered_images(n):
    """Images that carry their own number in their first two pixels."""
    array = np.zeros((n, 28, 28), dtype="u1")
    array[:, 0, 0], array[:, 0, 1] = np.arange(n) // 256, np.arange(n) % 256
    array[:, 14] = 255
    return array


def mnist_bytes(train=120, test=24):
    """The four files of MNIST as a dict `{name: bytes}`; labels are the number modulo 10."""
    files = {}
    for split, n in (("train", train), ("t10k", test)):
        files[f"{split}-images-idx3-ubyte"] = idx(numbered_images(n), 2051)
        files[f"{split}-labels-idx1-ubyte"] = idx(np.arange(n) % 10, 2049)
    return files


def write_mnist(folder, **sizes):
    raw = Path(folder) / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, content in mnist_bytes(**sizes).items():
        (raw / name).write_bytes(content)
    return raw


class MnistServer:
    """Serves the small MNIST as gz files. `answer(name)` may be replaced to misbehave."""

    def __init__(self):
        self.files = {f"{n}.gz": gzip.compress(b, mtime=0) for n, b in mnist_bytes().items()}
        self.resources = [(n, hashlib.md5(b).hexdigest()) for n, b in self.files.items()]
        self.requests = []
        self.answer = lambda name: (200, self.files[name], len(self.files[name]))

    def __enter__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/")
                server.requests.append(name)
                status, body, stated_length = server.answer(name)
                if status is None:  # not HTTP at all
                    self.wfile.write(body)
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(stated_length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_port}/"
        threading.Thread(target=self.httpd.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.httpd.shutdown()
        self.httpd.server_close()


# --- Jobs for processes of their own ---


# A fork server imports torch once for all children; Windows has none.
methods = multiprocessing.get_all_start_methods()
processes = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


def start(job, *args):
    """Start `job(*args)` in a process of its own: a real one, that can be killed."""
    if "forkserver" in methods:
        # What this module imports, and what an optimiser's first step or a notebook's cell does:
        # a stop in the midst of an import would leave it half done.
        preload = ["vae_helpers.training", "vae_helpers.plots", "torchvision.datasets",
                   "sklearn.datasets"]  # fmt: skip
        shell = ["nbformat", "IPython.core.interactiveshell", "papermill.clientwrap"]
        processes.set_forkserver_preload([*preload, *shell, "torch._dynamo"])
    process = processes.Process(target=job, args=args)
    process.start()
    return process


def download_job(folder, url, resources, together, answers):
    """Load MNIST at the same moment as the others; put what came, or the error, into the queue."""
    MNIST.mirrors, MNIST.resources = [url], resources
    try:
        together.wait(timeout=120)
        data = load_images(root=folder)
        answers.put((data.rung, data.train.sum().item()))
    except BaseException as error:
        answers.put(("error", repr(error)))
        raise


RUN = {"epochs": 4, "batch_size": 8, "quiet": True}


def killed_job(folder, moment):
    """Train, and be killed in the third epoch: in its middle, or halfway through its checkpoint."""
    calls, checkpoint = [], Path(folder) / "model.pt"

    @functools.wraps(negative_elbo)  # a checkpoint knows the name of its loss
    def loss(model, x):
        calls.append(1)
        if len(calls) == 13:  # 5 steps an epoch
            if moment == "epoch":
                os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
            else:
                die_when_a_file_reaches(checkpoint.stat().st_size // 2)
        return negative_elbo(model, x)

    fit(small_vae(), small_images(), loss=loss, checkpoint=checkpoint, **RUN)


def die_when_a_file_reaches(size):
    """From now on, the system kills this process in the middle of writing a larger file."""
    import resource  # POSIX only

    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def interrupted_job(answers):
    """Train for ever, say when it has begun, and tell what `fit` returned."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have ignored it
    model = small_vae()
    before = [p.detach().clone() for p in model.parameters()]
    said = []

    def loss(model, x):
        if len(said) < 20:
            said.append(1)
            if len(said) == 20:
                answers.put("begun")
        return negative_elbo(model, x)

    history = fit(model, small_images(), loss=loss, **{**RUN, "epochs": 10**6})
    moved = any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    finite = all(p.isfinite().all().item() for p in model.parameters())
    answers.put((len(history["train"]["loss"]), moved, finite))


def endless_job(checkpoint, moment, size):
    """Train until the system kills this process: after so many seconds of processor time, at
    whatever it is doing then, or when it has written so many bytes of a checkpoint.
    """
    model, images = small_vae(), small_images()
    if size:
        die_when_a_file_reaches(size)
    else:
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_VIRTUAL, moment)
    fit(model, images, checkpoint=checkpoint, **{**RUN, "epochs": 10**6})


def training_job(checkpoint, epochs, answers):
    """Train with a checkpoint after each epoch, and put the weights into the queue."""
    model = small_vae()
    fit(model, small_images(), checkpoint=checkpoint, **{**RUN, "epochs": epochs})
    answers.put(torch.cat([p.detach().flatten() for p in model.parameters()]).numpy())
