"""Faces at 64x64 with attributes: CelebA from a folder or by download, else drawn ones."""

import hashlib
import os
import shutil
import sys
import textwrap
import urllib.request
from typing import NamedTuple
from urllib.error import HTTPError

from vae_helpers import faces
from vae_helpers.checks import brief, check_whole
from vae_helpers.data import announce, data_folder

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from torchvision.datasets import CelebA
from tqdm import tqdm

NAMES = ("celeba", "celeba-folder", "celeba-download", "drawn-faces")
IMAGES, ZIP, ATTRIBUTES, PARTITION = (
    "img_align_celeba", "img_align_celeba.zip", "list_attr_celeba.txt", "list_eval_partition.txt",
)  # fmt: skip
COMPLETE = 202_599
CACHE = "faces-64x64.npy"
VERSION = "v1"  # of the decoding; raise it when a pixel changes, so that no old cache is read
SIZE, CHUNK = 64, 256
CROP = (15, 35, 163, 183)  # the middle 148x148 of 178x218: left, top, right, bottom
PAGE = "mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


class FaceData(NamedTuple):
    """Images `(n, 3, 64, 64)`, uint8; attributes `(n, k)`, bool, k names; the rung they come from.

    Factors `(n, 9)`, float32, in the order of `faces.FACTORS`, for drawn faces; else None.
    """

    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    train_attributes: torch.Tensor
    validation_attributes: torch.Tensor
    test_attributes: torch.Tensor
    attribute_names: tuple
    train_factors: torch.Tensor | None
    validation_factors: torch.Tensor | None
    test_factors: torch.Tensor | None
    rung: str


def load_faces(name="celeba", root=None, limit=10_000):
    """Load faces with attributes, split into train, validation and test.

    `"celeba"` climbs down a ladder: CelebA in a folder (`root`, else the environment variable
    VAE_DATA, else `data/` of the course; torchvision's layout `celeba/img_align_celeba/`), then
    torchvision's download into that folder (1.4 GB; the stop button ends it), then drawn faces.
    A rung asked for by its name (`"celeba-folder"`, `"celeba-download"`, `"drawn-faces"`) is that
    rung or an error. One printed line says where the images come from and, on a lower rung, why.

    `limit`: at most so many training images, the first ones of the official split, and at most a
    fifth as many validation and test images; None for all. Drawn faces: `limit` of them (None:
    10,000) and two times a fifth, all of one seed, training first, then validation, then test.
    So another limit means other validation and test faces.

    CelebA's 178x218 pictures are cropped to the middle 148x148 and shrunk to 64x64. They are
    decoded once, 256 at a time, into the file `celeba/faces-64x64.npy` (2.5 GB for all). The
    tensors are views of that file: only what is touched is in memory, and writing into them does
    not change the file. (Delete it if you ever change a picture.)

    Raises `ValueError` for an unknown name, a limit below 1, or damaged data (file named), and
    `OSError` (`FileNotFoundError`) for missing files and where a rung asked for cannot be had.
    """
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"name is {brief(name)}; expected one of {', '.join(map(repr, NAMES))}")
    if limit is not None:
        check_whole(1, limit=limit)
    if name == "drawn-faces":
        return announce(_draw(root, limit), "Drawn faces, as asked")
    folder = data_folder(root)
    if name != "celeba-download" and _is_there(folder):
        return _read(folder, limit, "celeba-folder", "CelebA from a folder")
    remedy = (
        f"Go online once, or put CelebA ({PAGE}) there as torchvision does "
        f"({folder / 'celeba' / IMAGES / '000001.jpg'}, ...), or set VAE_DATA to its folder."
    )
    if name == "celeba-folder":
        raise FileNotFoundError(f"no CelebA in {folder}. {remedy}")
    try:
        _download(folder)
    except KeyboardInterrupt:
        if name == "celeba-download":
            raise
        reason = f"no CelebA in {folder} and the download was stopped"
    except Exception as error:  # gdown's own errors, a quota's among them, have no other base
        cause = textwrap.shorten(str(error) or type(error).__name__, 200)
        reason = f"no CelebA in {folder} and no download ({cause})"
        if name == "celeba-download":
            raise OSError(f"{reason}. {remedy}") from error
    else:
        return _read(folder, limit, "celeba-download", "CelebA by torchvision's download")
    return announce(_draw(root, limit), f"Drawn faces instead of CelebA: {reason}. {remedy}")


def _sizes(limit):
    """How many images of each split at most; None for all."""
    return (None,) * 3 if limit is None else (limit, *(max(1, limit // 5),) * 2)


def _draw(root, limit):
    sizes = _sizes(limit or 10_000)
    if sum(sizes) > faces.MOST:
        raise ValueError(f"limit is {limit}; expected fewer drawn faces, {faces.MOST:,} in all")
    images, factors, attributes = (
        torch.from_numpy(array).split(sizes) for array in faces.faces(sum(sizes), root=root)
    )
    factors = [part.float() for part in factors]
    return FaceData(*images, *attributes, faces.ATTRIBUTES, *factors, "drawn-faces")


# --- The folder ---


def _is_there(folder):
    """Whether anything is there. What is wrong with it, `_read_lists` says."""
    celeba = folder / "celeba"
    return celeba.is_dir() and any(celeba.iterdir())


def _read(root, limit, rung, source):
    celeba = root / "celeba"
    names, splits, attribute_names, attributes, digest = _read_lists(celeba)
    if len(names) != COMPLETE:
        source += f" ({len(names):,} of CelebA's {COMPLETE:,} images)"
    rows = [np.flatnonzero(splits == split)[:size] for split, size in enumerate(_sizes(limit))]
    folder = celeba / IMAGES
    files = [folder / names[row] for row in np.concatenate(rows)]
    images = _images(celeba / CACHE, files, [len(part) for part in rows], digest)
    attributes = [attributes[part] for part in rows]
    tensors = map(torch.from_numpy, (*images, *attributes))
    return announce(FaceData(*tensors, attribute_names, None, None, None, rung), source)


def _read_lists(celeba):
    """Names of images, splits `(n,)` and attributes `(n, k)`, checked against each other.

    Also the attributes' names, and a digest of the list of splits.
    """
    missing = [part for part in (IMAGES, ATTRIBUTES, PARTITION) if not (celeba / part).exists()]
    if missing:
        remedy = f"get it from {PAGE}, or remove {celeba} to have all downloaded"
        if IMAGES in missing and (celeba / ZIP).exists():
            remedy = f"{ZIP} is there, but not unpacked: python -m zipfile -e {ZIP} . (in {celeba})"
        raise FileNotFoundError(f"no {', '.join(missing)} in {celeba}: {remedy}")
    content = (celeba / PARTITION).read_bytes()
    names, splits = _table(celeba / PARTITION, _lines(content), 1, ("0", "1", "2"))
    splits = splits.ravel()
    counts = np.bincount(splits, minlength=3).tolist()
    if 0 in counts:
        raise ValueError(
            f"{celeba / PARTITION} has {counts} images of splits 0, 1, 2; expected some of each"
        )
    attribute_names, attributes = _read_attributes(celeba / ATTRIBUTES, names)
    present = set(os.listdir(celeba / IMAGES))
    absent = [name for name in names if name not in present]
    if absent:
        raise ValueError(
            f"{celeba / IMAGES} holds {len(names) - len(absent):,} of the {len(names):,} images "
            f"that {PARTITION} names; the first missing is {absent[0]}. Unpack {ZIP} again "
            f"(in {celeba}: python -m zipfile -e {ZIP} .)."
        )
    return names, splits, attribute_names, attributes, hashlib.sha256(content).hexdigest()


def _read_attributes(file, names):
    """The attributes' names, and the attributes `(n, k)`, bool, of the images of these names."""
    lines = _lines(file.read_bytes())
    count, header = [*lines, "", ""][:2]
    lines, attribute_names = lines[2:], tuple(header.split())
    if not attribute_names or count.strip() != str(len(lines)):
        raise ValueError(
            f"{file} starts with {textwrap.shorten(count, 40)!r} and has {len(lines):,} rows after "
            "its second line; expected the number of images, then attribute names, then the rows"
        )
    rows, attributes = _table(file, lines, len(attribute_names), ("-1", "1"), first=3)
    if rows != names:
        pairs = zip([*rows, "nothing"], [*names, "nothing"], strict=False)
        row, name = next(pair for pair in pairs if pair[0] != pair[1])
        raise ValueError(
            f"{file} ({len(rows):,} images) and {PARTITION} ({len(names):,}) disagree: "
            f"{row} against {name}; expected the same images in the same order"
        )
    return attribute_names, attributes.astype(bool)


def _lines(content):
    return content.decode(errors="replace").rstrip().splitlines()


def _table(file, lines, columns, values, first=1):
    """Names, and which of `values` follow them, `(n, columns)`, of lines like `000001.jpg -1 1`."""
    names, table = [], bytearray()
    for number, line in enumerate(lines, first):
        name, *words = line.split() or [""]
        if len(words) != columns or not set(words) <= set(values):
            raise ValueError(
                f"{file}, line {number} is {textwrap.shorten(line, 60)!r}; expected a file name "
                f"and {columns} times one of {', '.join(values)}"
            )
        names.append(name)
        table.extend(map(values.index, words))
    return names, np.frombuffer(table, np.uint8).reshape(-1, columns)


# --- The cache ---


def _images(cache, files, counts, digest):
    """The images of the three splits, from the cache, which is made where there is none."""
    images, reason = _open_cache(cache, counts, digest)
    if images is None:
        try:
            with FileLock(cache.with_name(".faces.lock")):
                images, reason = _open_cache(cache, counts, digest)  # another process was first?
                if images is None:
                    if reason:
                        print(f"Decoding anew, because {cache} cannot be used: {reason}.")
                    _write_cache(cache, files, counts, digest)
                    images, reason = _open_cache(cache, counts, digest)
        except OSError as error:
            reason = error
    if images is None:
        print(f"Decoding into memory, because {cache} cannot be written or read: {reason}.")
        images = np.empty((len(files), 3, SIZE, SIZE), np.uint8)
        for rows, chunk in _decode(files):
            images[rows] = chunk
        images = np.split(images, np.cumsum(counts)[:2])
    return images


def _open_cache(cache, counts, digest):
    """The first images of each split, mapped into memory, or None and why there are none.

    The file is one array, whose only field is called after what it holds: version of the
    decoding, digest of the list of splits, and the number of images of each split.
    """
    try:
        stored = np.load(cache, mmap_mode="c")  # copy on write
        (label,) = stored.dtype.names or ("",)
        if not label.startswith(f"{VERSION} {digest} "):
            raise ValueError(f"it was not made from this {PARTITION}")
        held = [int(number) for number in label.split()[2:]]
        images = stored[label]
        if images.dtype != np.uint8 or images.shape != (sum(held), 3, SIZE, SIZE):
            raise ValueError(f"it holds {images.dtype} {images.shape}")
        if any(number < count for number, count in zip(held, counts, strict=True)):
            raise ValueError(f"it holds {held[0]:,} training images, asked for are {counts[0]:,}")
    except FileNotFoundError:
        return None, None
    except Exception as error:  # a damaged file may raise anything
        return None, " ".join(str(error).split()) or type(error).__name__
    starts = np.cumsum([0, *held])
    return [images[s : s + n] for s, n in zip(starts, counts, strict=False)], None


def _write_cache(cache, files, counts, digest):
    """Write beside the final place, then move the whole file: nobody ever reads half a file.

    Plainly and not through a memory map, in which a full disk kills the process.
    """
    label = " ".join([VERSION, digest, *map(str, counts)])
    dtype = np.dtype([(label, np.uint8, (3, SIZE, SIZE))])
    header = {"descr": dtype.descr, "fortran_order": False, "shape": (len(files),)}
    partial = cache.with_name(f"{cache.name}.partial")
    try:
        with open(partial, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _, chunk in _decode(files):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, cache)
    finally:
        partial.unlink(missing_ok=True)


def _decode(files):
    """Yield rows and their images `(chunk, 3, 64, 64)`; at the end an error if some are broken."""
    broken = []
    with tqdm(
        total=len(files), desc="Decoding", unit=" images", leave=False, file=sys.stdout, ncols=100,
        mininterval=0.5,
    ) as bar:  # fmt: skip
        for start in range(0, len(files), CHUNK):
            rows = slice(start, start + CHUNK)
            chunk = np.zeros((len(files[rows]), 3, SIZE, SIZE), np.uint8)
            for image, file in zip(chunk, files[rows], strict=True):
                try:
                    image[:] = _decode_one(file)
                except Exception as error:  # a broken picture may raise anything
                    broken.append((file, error))
            yield rows, chunk
            bar.update(len(chunk))
    if broken:
        file, error = broken[0]
        raise ValueError(
            f"{len(broken):,} of {len(files):,} images cannot be used; the first is {file}: "
            f"{error}. Unpack {ZIP} again."
        )


def _decode_one(file):
    with Image.open(file) as image:
        if image.size != (178, 218):
            raise ValueError(f"it is {image.size[0]}x{image.size[1]}; expected 178x218")
        image = image.convert("RGB").crop(CROP)
    # Pillow widens the filter to the pixels that a smaller one stands for: antialiasing.
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


# --- The download ---


def _download(folder):
    """Download beside the final place, then move the whole folder: nobody ever reads half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    celeba, temporary = folder / "celeba", folder / ".celeba-download"
    with FileLock(folder / ".celeba.lock"):
        if _is_there(folder):  # another process was first
            return
        if celeba.exists():
            celeba.rmdir()  # empty; Windows cannot move a folder onto it
        _check_online()
        print(
            f"Downloading CelebA (1.4 GB, for non-commercial research only: {PAGE}) into {folder}, "
            "then unpacking it, which takes minutes. The stop button (Ctrl-C) ends it ..."
        )
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        try:
            CelebA(temporary, download=True)
            _read_lists(temporary / "celeba")  # torchvision itself does not count the images
            (temporary / "celeba" / ZIP).unlink(missing_ok=True)
            os.replace(temporary / "celeba", celeba)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _check_online():
    """Raise `OSError` within seconds if Google Drive cannot be reached: gdown would wait on."""
    try:
        request = urllib.request.Request("https://drive.google.com", method="HEAD")
        urllib.request.urlopen(request, timeout=20).close()
    except HTTPError:  # an answer all the same
        pass
