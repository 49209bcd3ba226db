"""Loading: MNIST from its folder, and 2,000 JPEGs in CelebA's layout.

    python benchmarks/loading.py [rounds [jpegs]]

"Cold" means that the files were dropped from the system's memory before, so that they come from the
disk. The JPEGs are drawn faces, 178x218 as CelebA's; the first load decodes them into a file of
tensors, later ones map that file into memory. Beside ours stands one pass over the same images with
torchvision's data set and the usual transforms, which one pays in each epoch. Each case runs in a
Python of its own; measured is what comes after the imports.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from common import best_and_median, in_new_pythons, print_facts, print_table

START = """
import contextlib, io, json, os, time
from pathlib import Path
from torchvision import datasets, transforms
from vae_helpers.celeba import load_faces
from vae_helpers.data import load_images
FOLDER = {folder!r}
if {fresh}:
    Path(FOLDER, "celeba", "faces-64x64.npy").unlink(missing_ok=True)
if {cold}:
    for path in Path(FOLDER).rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)  # what is not yet on the disk cannot be dropped
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)
start = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    {load}
print(json.dumps(time.perf_counter() - start))
"""
MNIST = "data = load_images('mnist-folder', FOLDER)"
MNIST_PEER = """for train in (True, False):
        for image in datasets.MNIST(FOLDER, train, transforms.ToTensor()): pass"""
FACES = """data = load_faces('celeba-folder', FOLDER, None)
    data.train.sum()  # touches every image"""
FACES_PEER = """usual = transforms.Compose([
        transforms.CenterCrop(148), transforms.Resize(64), transforms.ToTensor()])
    for image in datasets.ImageFolder(os.path.join(FOLDER, "celeba"), usual): pass"""
# What, where, what to load, without the file of tensors, without the files in memory.
CASES = {
    "MNIST, cold": ("mnist", MNIST, False, True),
    "MNIST, cached by the system": ("mnist", MNIST, False, False),
    "MNIST, one pass with torchvision": ("mnist", MNIST_PEER, False, False),
    "JPEGs, first load, cold": ("faces", FACES, True, True),
    "JPEGs, first load, cached by the system": ("faces", FACES, True, False),
    "JPEGs, file of tensors, cold": ("faces", FACES, False, True),
    "JPEGs, file of tensors, cached by the system": ("faces", FACES, False, False),
    "JPEGs, one pass with torchvision": ("faces", FACES_PEER, False, False),
}


def write_jpegs(folder, n):
    """`n` drawn faces as CelebA's files: pictures, attributes and the list of splits."""
    from vae_helpers.faces import ATTRIBUTES, draw_faces, sample_factors

    from PIL import Image

    celeba = Path(folder) / "celeba"
    (celeba / "img_align_celeba").mkdir(parents=True)
    factors, attributes = sample_factors(n)
    names = [f"{i:06}.jpg" for i in range(1, n + 1)]
    for name, image in zip(names, draw_faces(factors), strict=True):
        picture = Image.fromarray(image.transpose(1, 2, 0)).resize((178, 218))
        picture.save(celeba / "img_align_celeba" / name, quality=90)
    splits = [f"{name} {0 if i % 10 < 8 else i % 10 - 7}" for i, name in enumerate(names)]
    (celeba / "list_eval_partition.txt").write_text("\n".join(splits) + "\n")
    rows = [
        f"{name} {' '.join('1' if value else '-1' for value in row)}"
        for name, row in zip(names, attributes, strict=True)
    ]
    head = [str(n), " ".join(ATTRIBUTES)]
    (celeba / "list_attr_celeba.txt").write_text("\n".join([*head, *rows]) + "\n")


def main(rounds=5, jpegs=2000):
    from vae_helpers.data import data_folder

    here = Path(__file__).resolve().parents[1] / "build"  # a disk; /tmp may be memory
    here.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=here) as folder:
        folders = {"mnist": Path(folder) / "mnist", "faces": Path(folder) / "faces"}
        shutil.copytree(data_folder() / "MNIST", folders["mnist"] / "MNIST")
        write_jpegs(folders["faces"], jpegs)
        codes = {
            name: START.format(folder=str(folders[where]), load=load, fresh=fresh, cold=cold)
            for name, (where, load, fresh, cold) in CASES.items()
        }
        results = in_new_pythons(codes, rounds)
    head = [f"MNIST's 70,000 images; {jpegs:,} JPEGs", "best, s", "median, s"]
    print_table(head, *([name, *best_and_median(s)] for name, s in results.items()))
    print_facts(rounds)


if __name__ == "__main__":
    if not hasattr(os, "posix_fadvise"):
        sys.exit("this system has no posix_fadvise, which makes files cold")
    main(*map(int, sys.argv[1:]))
