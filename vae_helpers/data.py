"""Images as tensors in [0, 1], with a validation split, from the best source this machine has."""

import contextlib
import io
import os
import socket
import tempfile
import textwrap
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from vae_helpers.checks import brief, check_path

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from torchvision.datasets import MNIST

DATA_FOLDER = Path(__file__).resolve().parent.parent / "data"
MNIST_FILES = tuple(
    f"{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)
NAMES = ("mnist", "mnist-folder", "mnist-download", "digits")


class ImageData(NamedTuple):
    """Images `(n, 1, 28, 28)`, float32 in [0, 1]; labels `(n,)`, int64; the rung they come from."""

    train: torch.Tensor
    train_labels: torch.Tensor
    validation: torch.Tensor
    validation_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor
    rung: str


def load_images(name="mnist", root=None):
    """Load digit images, split into train, validation and test.

    `"mnist"` climbs down a ladder: MNIST in a folder (`root`, else the environment variable
    VAE_DATA, else `data/` of the course; torchvision's layout `MNIST/raw/`), then torchvision's
    download into that folder, then the digits that scikit-learn ships. A rung asked for by its
    name (`"mnist-folder"`, `"mnist-download"`, `"digits"`) is that rung or an error. One printed
    line says where the images come from and, on a lower rung, why.

    MNIST: 55,000 / 5,000 / 10,000 images, the last its official test set.
    Digits: 1,257 / 270 / 270. The splits never change.

    Raises `ValueError` for an unknown name or a damaged file (named), `OSError` where a rung
    asked for by name cannot be had.
    """
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"name is {brief(name)}; expected one of {', '.join(map(repr, NAMES))}")
    if name == "digits":
        return announce(_embedded_digits(), "scikit-learn's small digits, as asked")
    folder = data_folder(root)
    if name != "mnist-download" and _has_mnist(folder):
        return announce(_read_mnist(folder, "mnist-folder"), "MNIST from a folder")
    if name == "mnist-folder":
        raise FileNotFoundError(
            f"no MNIST in {folder}: expected {', '.join(MNIST_FILES)} "
            f"in {folder / 'MNIST' / 'raw'}. "
            "Put them there, name another folder with root= or VAE_DATA, or ask for 'mnist'."
        )
    try:
        _download_mnist(folder)
    except (OSError, RuntimeError, HTTPException) as error:
        cause = textwrap.shorten(str(error), 200)  # torchvision's message has many lines
        reason = f"no MNIST in {folder} and no download ({cause})"
        remedy = (
            "Go online once, or put the files there, or set VAE_DATA to a folder with MNIST/raw."
        )
        if name == "mnist-download":
            raise OSError(f"{reason}. {remedy}") from error
        return announce(
            _embedded_digits(), f"scikit-learn's small digits instead of MNIST: {reason}. {remedy}"
        )
    return announce(_read_mnist(folder, "mnist-download"), "MNIST by torchvision's download")


def binarize(x, generator=None):
    """Draw each pixel from a Bernoulli of its grey value: `(n, 1, h, w)` of zeros and ones.

    Drawn anew for each pass this is "dynamic binarisation" (Burda et al. 2016).
    """
    check_images(x)
    if not isinstance(generator, torch.Generator | None):
        raise ValueError(f"generator is {brief(generator)}; expected a torch.Generator, or None")
    return torch.bernoulli(x, generator=generator)


def to_float(x):
    """Byte images (uint8, 0 to 255) as float32 in [0, 1]; float images as they came."""
    if not isinstance(x, torch.Tensor):
        raise ValueError(f"x is a {type(x).__name__}; expected a torch.Tensor of images")
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def check_images(x, shape=None, name="x", or_bytes=False):
    """Raise a `ValueError` unless `x` is a float tensor `(n, channels, h, w)`, n > 0, in [0, 1].

    `shape` is the `(channels, h, w)` that the caller can take; with `or_bytes` it can take uint8,
    too. The values of a tensor on a GPU are not looked at, because that would make the GPU wait
    at each step.
    """
    if not isinstance(x, torch.Tensor):
        raise ValueError(f"{name} is a {type(x).__name__}; expected a torch.Tensor of images")
    if not (x.is_floating_point() or (or_bytes and x.dtype == torch.uint8)):
        raise ValueError(f"{name} has dtype {x.dtype}; expected floats in [0, 1] (divide by 255?)")
    if x.ndim != 4 or (shape is not None and tuple(x.shape[1:]) != tuple(shape)):
        expected = "channels, height, width" if shape is None else ", ".join(map(str, shape))
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected (n, {expected})")
    if len(x) == 0:
        raise ValueError(f"{name} is empty, shape {tuple(x.shape)}; expected at least one image")
    if x.device.type == "cpu" and x.is_floating_point():  # a byte is never out of range
        low, high = (value.item() for value in x.detach().aminmax())
        if not (low >= 0 and high <= 1):  # also true for NaN
            raise ValueError(f"{name} has values from {low:g} to {high:g}; expected [0, 1], no NaN")


def data_folder(root=None):
    """`root`, else the environment variable VAE_DATA, else `data/` of the course."""
    if root is not None:
        check_path(root=root)
    return Path(root or os.environ.get("VAE_DATA") or DATA_FOLDER).expanduser()


def announce(data, source):
    """Print where data come from and how many images each split has; return them."""
    sizes = (
        f"{len(data.train):,} train, {len(data.validation):,} validation, {len(data.test):,} test"
    )
    print(f"{source}: {sizes} images.")
    return data


def _has_mnist(folder):
    return all((folder / "MNIST" / "raw" / file).is_file() for file in MNIST_FILES)


def _read_mnist(folder, rung):
    train, train_labels = _read_mnist_split(folder, train=True)
    test, test_labels = _read_mnist_split(folder, train=False)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    # One twelfth: 5,000 of the 60,000.
    validation, kept = order[: len(train) // 12], order[len(train) // 12 :]
    return ImageData(
        to_float(train[kept]), train_labels[kept],
        to_float(train[validation]), train_labels[validation],
        to_float(test), test_labels, rung,
    )  # fmt: skip


def _read_mnist_split(folder, train):
    images_file, labels_file = MNIST_FILES[:2] if train else MNIST_FILES[2:]
    raw = folder / "MNIST" / "raw"
    for file, header in ((raw / images_file, 16), (raw / labels_file, 8)):
        _check_idx_file(file, header)
    split = MNIST(folder, train=train, download=False)
    images, labels = split.data, split.targets.long()
    if len(images) != len(labels):
        raise ValueError(
            f"{raw / images_file} holds {len(images)} images but {labels_file} {len(labels)} "
            "labels; delete both and load again"
        )
    if labels.max() > 9:
        raise ValueError(
            f"{raw / labels_file} holds label {labels.max()}; expected 0 to 9: damaged"
        )
    return images.unsqueeze(1), labels


def _check_idx_file(file, header):
    """An idx file's header states its size; torchvision's own message would not name the file."""
    start = np.fromfile(file, dtype=">u4", count=header // 4)
    magic, shape = {16: (2051, (28, 28)), 8: (2049, ())}[header]
    if len(start) < header // 4 or start[0] != magic or tuple(start[2:]) != shape:
        raise ValueError(f"{file} is damaged or not an MNIST file (wrong header); delete it")
    expected = header + int(np.prod(start[1:], dtype=np.int64))
    if file.stat().st_size != expected or start[1] < 12:
        raise ValueError(
            f"{file} is damaged: {file.stat().st_size:,} bytes, expected {expected:,}; delete it"
        )


def _download_mnist(folder):
    """Download beside the final place, then move whole files: nobody ever reads half a file."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".mnist.lock"):
        if _has_mnist(folder):  # another process was first
            return
        print(f"Downloading MNIST (12 MB) into {folder} ...")
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(20)
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
                with contextlib.redirect_stdout(io.StringIO()):
                    MNIST(temporary, download=True)
                for file in MNIST_FILES:
                    os.replace(Path(temporary) / "MNIST" / "raw" / file, raw / file)
        finally:
            socket.setdefaulttimeout(timeout)


def _embedded_digits():
    """scikit-learn's 1,797 handwritten digits, 8x8 with values 0 to 16, drawn as MNIST is.

    MNIST puts a digit into the middle 20x20 pixels of 28x28, so 8x8 becomes 20x20 plus a border.
    """
    from sklearn.datasets import load_digits  # slow to import, needed on this rung only

    small = load_digits()
    images = torch.from_numpy(small.images).float()[:, None] / 16
    images = F.interpolate(images, size=20, mode="bicubic", align_corners=False)
    # Smooth edges of an enlarged picture are greyer than MNIST's: more contrast, then a border.
    images = F.pad(((images - 0.5) * 1.6 + 0.5).clamp(0, 1), (4, 4, 4, 4))
    labels = torch.from_numpy(small.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    validation, test, train = order.split([270, 270, len(order) - 540])
    return ImageData(
        images[train], labels[train], images[validation], labels[validation],
        images[test], labels[test], "digits",
    )  # fmt: skip
