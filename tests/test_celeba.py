"""Every rung of the faces' ladder, on small folders in torchvision's layout; never the real data.

Only torchvision's own download is a stand-in, because it needs Google Drive.
"""

import hashlib
import inspect
import io
import re
import shutil
import sys
import threading
import time
import warnings
import zipfile
from pathlib import Path
from urllib.error import HTTPError

from vae_helpers import celeba as celeba_module
from vae_helpers import data as data_module
from vae_helpers.celeba import FaceData, load_faces
from vae_helpers.faces import ATTRIBUTES, faces

import gdown
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import CelebA
from torchvision.transforms.functional import pil_to_tensor

N = 30
SPLITS = [0, 0, 1, 0, 2, 0] * 5  # not in order, so that a row's number matters
TRAIN, VALIDATION, TEST = (np.flatnonzero(np.array(SPLITS) == split) for split in range(3))
FILES = [f"{number:06}.jpg" for number in range(1, N + 1)]
NAMES = ("Bangs", "Eyeglasses", "Male", "Smiling", "Young")
VALUES = np.random.default_rng(0).random((N, len(NAMES))) < 0.5
LISTS = ("list_attr_celeba.txt", "list_eval_partition.txt")


def picture(number):
    """Coarse random colours, enlarged to a JPEG's 178x218: another picture for each number."""
    coarse = np.random.default_rng(number).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((178, 218), Image.Resampling.BICUBIC)


def write_celeba(folder):
    """CelebA in small: all six parts of torchvision's layout, with its spaces and line ends."""
    celeba = Path(folder) / "celeba"
    (celeba / "img_align_celeba").mkdir(parents=True)
    for number, file in enumerate(FILES):
        picture(number).save(celeba / "img_align_celeba" / file, quality=90)
    bbox, landmarks = "x_1 y_1 width height", "lefteye_x lefteye_y righteye_x righteye_y nose_x"
    signs = [" ".join(f"{1 if value else -1:2}" for value in row) for row in VALUES]
    for name, header, row in (
        ("list_eval_partition.txt", [], lambda i: f"{SPLITS[i]}"),
        ("identity_CelebA.txt", [], lambda i: f"{i % 7}"),
        ("list_attr_celeba.txt", [f"{N}", " ".join(NAMES) + " "], lambda i: f" {signs[i]}".strip()),
        ("list_bbox_celeba.txt", [f"{N}", f"image_id {bbox}"], lambda i: f"   {i}  71 226 313"),
        ("list_landmarks_align_celeba.txt", [f"{N}", landmarks], lambda i: f"{i}  109  106  113 7"),
    ):
        lines = [*header, *(f"{file} {row(i)}" for i, file in enumerate(FILES))]
        (celeba / name).write_text("\n".join(lines) + "\n")
    return celeba


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return write_celeba(tmp_path_factory.mktemp("template"))


@pytest.fixture
def celeba(template, tmp_path):
    """The folder `celeba/` in `tmp_path`, a test's own."""
    return Path(shutil.copytree(template, tmp_path / "celeba"))


@pytest.fixture(autouse=True)
def no_folder_but_the_tests_own(monkeypatch, tmp_path):
    monkeypatch.delenv("VAE_DATA", raising=False)
    monkeypatch.setattr(data_module, "DATA_FOLDER", tmp_path / "course")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded."""
    names, real = [], celeba_module._decode_one

    def noted(file):
        names.append(file.name)
        return real(file)

    monkeypatch.setattr(celeba_module, "_decode_one", noted)
    return names


def said(capsys):
    """The printed lines, without progress bars, which end in a carriage return."""
    lines = capsys.readouterr().out.split("\n")
    return [line.split("\r")[-1] for line in lines if line.split("\r")[-1].strip()]


def files_in(folder):
    """All files but locks, below `folder`."""
    paths = Path(folder).rglob("*")
    return sorted(
        p.relative_to(folder).as_posix() for p in paths if p.is_file() and p.suffix != ".lock"
    )


def same(a, b):
    return all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for x, y in zip(a, b, strict=True)
    )


def cache_of(celeba):
    return celeba / "faces-64x64.npy"


# --- CelebA in a folder ---


@pytest.mark.parametrize("name", ["celeba", "celeba-folder"])
def test_celeba_is_read_from_a_folder_and_one_line_says_how_many_images(
    name, celeba, tmp_path, capsys
):
    assert load_faces(name, root=tmp_path).rung == "celeba-folder"
    assert said(capsys) == [
        "CelebA from a folder (30 of CelebA's 202,599 images): "
        "20 train, 5 validation, 5 test images."
    ]


def test_a_complete_list_is_not_remarked_on(celeba, tmp_path, monkeypatch, capsys):
    assert celeba_module.COMPLETE == 202_599
    monkeypatch.setattr(celeba_module, "COMPLETE", N)
    load_faces(root=tmp_path)
    assert said(capsys) == ["CelebA from a folder: 20 train, 5 validation, 5 test images."]


def test_images_are_plain_bytes_and_attributes_plain_booleans(celeba, tmp_path):
    data = load_faces(root=tmp_path)
    assert type(data) is FaceData and data.attribute_names == NAMES
    for images, attributes, n in zip(data[:3], data[3:6], (20, 5, 5), strict=True):
        assert type(images) is torch.Tensor and images.is_contiguous()
        assert images.shape == (n, 3, 64, 64) and images.dtype == torch.uint8
        assert attributes.shape == (n, 5) and attributes.dtype == torch.bool
    assert (data.train_factors, data.validation_factors, data.test_factors) == (None,) * 3


def test_every_split_has_its_own_images_and_attributes(celeba, tmp_path):
    data = load_faces(root=tmp_path)
    crop = transforms.Compose([transforms.CenterCrop(148), transforms.Resize(64), pil_to_tensor])
    splits = (TRAIN, VALIDATION, TEST)
    for images, attributes, rows in zip(data[:3], data[3:6], splits, strict=True):
        for image, row in zip(images, rows, strict=True):
            with Image.open(celeba / "img_align_celeba" / FILES[row]) as large:
                assert torch.equal(image, crop(large))
        assert torch.equal(attributes, torch.from_numpy(VALUES[rows]))


def test_pixels_are_weighted_means_over_the_pixels_they_stand_for(celeba, tmp_path):
    """A triangle twice as wide as a small pixel, over the middle 148 rows and columns."""
    scale = 148 / 64
    distance = np.arange(148) + 0.5 - (np.arange(64)[:, None] + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(distance) / scale)
    weights /= weights.sum(axis=1, keepdims=True)
    with Image.open(celeba / "img_align_celeba" / FILES[0]) as image:
        large = np.asarray(image, dtype=float)
    expected = np.einsum("ay,yxc,bx->cab", weights, large[35:183, 15:163], weights)
    assert np.abs(load_faces(root=tmp_path).train[0].numpy() - expected).max() < 1.1


def test_a_grey_picture_has_three_equal_channels(celeba, tmp_path):
    picture(0).convert("L").save(celeba / "img_align_celeba" / FILES[0])
    red, green, blue = load_faces(root=tmp_path).train[0]
    assert torch.equal(red, green) and torch.equal(red, blue) and red.float().std() > 1


@pytest.mark.parametrize(
    "limit, sizes",
    [(None, (20, 5, 5)), (1, (1, 1, 1)), (9, (9, 1, 1)), (10, (10, 2, 2)), (10**6, (20, 5, 5))],
)
def test_a_limit_takes_the_first_images_and_a_fifth_as_many_of_the_others(
    limit, sizes, celeba, tmp_path
):
    everything = load_faces(root=tmp_path)
    cache_of(celeba).unlink()
    some = load_faces(root=tmp_path, limit=limit)
    for part, whole, n in zip(some[:6], everything[:6], sizes * 2, strict=True):
        assert torch.equal(part, whole[:n]) and len(part) == n


def test_layout_agrees_with_torchvision(celeba, tmp_path, monkeypatch):
    digests = [
        (key, hashlib.md5((celeba / name).read_bytes()).hexdigest(), name)
        for key, _, name in CelebA.file_list
        if name.endswith(".txt")
    ]
    assert len(digests) == 5
    monkeypatch.setattr(CelebA, "file_list", digests)
    data = load_faces(root=tmp_path)
    for split, rows, attributes in (
        ("train", TRAIN, data.train_attributes),
        ("valid", VALIDATION, data.validation_attributes),
        ("test", TEST, data.test_attributes),
    ):
        theirs = CelebA(tmp_path, split=split, target_type="attr", download=False)
        assert theirs.filename == [FILES[row] for row in rows]
        assert torch.equal(theirs.attr.bool(), attributes)
        assert tuple(filter(None, theirs.attr_names)) == data.attribute_names
    with theirs[0][0] as image:
        assert image.size == (178, 218)


def test_root_goes_before_vae_data_and_vae_data_before_the_courses_folder(
    template, tmp_path, monkeypatch
):
    for name, marked in (("root", 0), ("variable", 1), ("course", 2)):
        folder = shutil.copytree(template, tmp_path / name / "celeba")
        grey = Image.new("RGB", (178, 218), (marked,) * 3)
        grey.save(folder / "img_align_celeba" / FILES[0])
    assert load_faces().train[0].unique().tolist() == [2]
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "variable"))
    assert load_faces().train[0].unique().tolist() == [1]
    assert load_faces(root=str(tmp_path / "root")).train[0].unique().tolist() == [0]


# --- Bad arguments ---


@pytest.mark.parametrize("name", ["CelebA", "mnist", "", None, 3])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(name):
    message = f"name is {name!r}; expected one of 'celeba', .*'drawn-faces'"
    with pytest.raises(ValueError, match=message):
        load_faces(name)


@pytest.mark.parametrize("limit", [0, -1, 2.5, "10", True])
def test_a_limit_that_is_no_count_is_refused(limit):
    message = f"limit is {limit!r}; expected a whole number, at least 1"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_faces("drawn-faces", limit=limit)


def test_more_drawn_faces_than_fit_into_memory_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"limit is 10{12}; expected fewer drawn faces"):
        load_faces("drawn-faces", root=tmp_path, limit=10**12)


# --- The cache ---


def test_images_are_decoded_once(celeba, tmp_path, decoded, capsys):
    first = load_faces(root=tmp_path)
    assert sorted(decoded) == FILES
    for file in (celeba / "img_align_celeba").iterdir():
        file.write_bytes(b"")
    before = cache_of(celeba).stat()
    second = load_faces(root=tmp_path)
    after = cache_of(celeba).stat()
    assert same(first, second) and len(decoded) == N
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert len(set(said(capsys))) == 1
    assert after.st_size < N * 3 * 64 * 64 + 1000


def test_a_larger_cache_serves_a_smaller_limit(celeba, tmp_path, decoded, capsys):
    everything = load_faces(root=tmp_path)
    some = load_faces(root=tmp_path, limit=10)
    assert len(decoded) == N and len(said(capsys)) == 2
    for part, whole, n in zip(some[:6], everything[:6], (10, 2, 2) * 2, strict=True):
        assert torch.equal(part, whole[:n])


def test_a_smaller_cache_is_made_anew_and_the_reason_said(celeba, tmp_path, decoded, capsys):
    load_faces(root=tmp_path, limit=10)
    assert len(decoded) == 14
    capsys.readouterr()
    data = load_faces(root=tmp_path, limit=None)
    assert len(decoded) == 14 + N and len(data.train) == 20
    reason = "it holds 10 training images, asked for are 20"
    line = f"Decoding anew, because {cache_of(celeba)} cannot be used: {reason}."
    assert said(capsys)[0] == line


def test_validation_images_that_the_cache_lacks_are_decoded(celeba, tmp_path, decoded):
    """With limits of 20 and more, all training images are there, but not all others."""
    load_faces(root=tmp_path, limit=20)
    assert len(load_faces(root=tmp_path, limit=25).validation) == 5
    assert len(decoded) == 28 + 30


def other_partition(celeba):
    """The same names and counts, but two images have changed places."""
    lines = (celeba / LISTS[1]).read_text().splitlines()
    lines[1:3] = [f"{FILES[1]} 1", f"{FILES[2]} 0"]
    (celeba / LISTS[1]).write_text("\n".join(lines))


def stored(celeba):
    """The label and the images of a cache."""
    array = np.load(cache_of(celeba))
    return array.dtype.names[0], array[array.dtype.names[0]]


def npy(label, images, n=None):
    """The bytes of a cache, whose header may claim another number `n` of images."""
    file = io.BytesIO()
    descr = np.dtype([(label, images.dtype, images.shape[1:])]).descr if label else "|u1"
    shape = (n or len(images),) if label else images.shape
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + images.tobytes()


def rewritten(change):
    """Write the cache with `change(label, images)` in it."""
    return lambda celeba: cache_of(celeba).write_bytes(npy(*change(*stored(celeba))))


def cut(change):
    """Write `change` of the cache's bytes into it."""
    return lambda celeba: cache_of(celeba).write_bytes(change(cache_of(celeba).read_bytes()))


def archive(celeba):
    np.savez(celeba / "archive.npz", images=np.zeros(3))
    (celeba / "archive.npz").replace(cache_of(celeba))


DAMAGES = {
    "empty": cut(lambda content: b""),
    "half": cut(lambda content: content[:180_000]),
    "a byte short": cut(lambda content: content[:-1]),
    "only a header": cut(lambda content: content[:256]),
    "half a header": cut(lambda content: content[:50]),
    "html": cut(lambda content: b"<html>log in first</html>" * 9),
    "an archive": archive,
    "objects": lambda celeba: np.save(cache_of(celeba), np.array([{}] * N), allow_pickle=True),
    "no label": rewritten(lambda label, images: (None, images)),
    "another label": rewritten(lambda label, images: ("images", images)),
    "another version": rewritten(lambda label, images: (label.replace("v1", "v0"), images)),
    "other counts": rewritten(lambda label, images: (label.replace("5 5", "5 6"), images)),
    "no counts": rewritten(lambda label, images: (label.replace("20 5 5", ""), images)),
    "two counts": rewritten(lambda label, images: (label.replace("20 5 5", "20 10"), images)),
    "words": rewritten(lambda label, images: (label.replace("20 5 5", "a b c"), images)),
    "other size": rewritten(lambda label, images: (label, images[..., :32])),
    "floats": rewritten(lambda label, images: (label, images.astype(np.float32))),
    "another list of splits": other_partition,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_cache_that_does_not_fit_is_made_anew_with_one_line(
    damage, celeba, tmp_path, decoded, capsys
):
    load_faces(root=tmp_path)
    DAMAGES[damage](celeba)
    capsys.readouterr()
    data = load_faces(root=tmp_path)
    line, announced = said(capsys)
    assert line.startswith(f"Decoding anew, because {cache_of(celeba)} cannot be used: ")
    assert "20 train" in announced and len(decoded) == 2 * N
    assert same(data, load_faces(root=tmp_path)) and len(decoded) == 2 * N
    cache_of(celeba).unlink()
    assert same(data, load_faces(root=tmp_path))


def stop(*args, **options):
    raise KeyboardInterrupt


def stop_at(call, monkeypatch):
    """The stop button is pressed while picture number `call` is decoded."""
    calls, real = [], celeba_module._decode_one

    def decode(file):
        calls.append(1)
        return stop() if len(calls) == call else real(file)

    monkeypatch.setattr(celeba_module, "_decode_one", decode)


def loaded_until_stopped(**options):
    """Whether the stop button, which must not end pytest, left `load_faces`."""
    try:
        load_faces(**options)
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("moment", ["in the first chunk", "in a later chunk", "while moving"])
def test_an_interrupt_leaves_no_half_cache(moment, celeba, template, tmp_path, monkeypatch):
    before = files_in(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(celeba_module, "CHUNK", 4)
        if moment == "while moving":
            patch.setattr("os.replace", stop)
        else:
            stop_at(2 if moment == "in the first chunk" else 18, patch)
        assert loaded_until_stopped(root=tmp_path)
    assert files_in(tmp_path) == before
    assert len(load_faces(root=tmp_path).train) == 20


def test_an_interrupt_keeps_the_smaller_cache_that_was_there(celeba, tmp_path, monkeypatch):
    load_faces(root=tmp_path, limit=10)
    content = cache_of(celeba).read_bytes()
    with monkeypatch.context() as patch:
        stop_at(18, patch)
        assert loaded_until_stopped(root=tmp_path)
    assert cache_of(celeba).read_bytes() == content


def test_images_do_not_depend_on_the_chunks_they_are_decoded_in(celeba, tmp_path, monkeypatch):
    whole = load_faces(root=tmp_path)
    cache_of(celeba).unlink()
    monkeypatch.setattr(celeba_module, "CHUNK", 7)
    assert same(load_faces(root=tmp_path), whole)


def test_what_a_killed_process_left_is_not_read_and_goes(celeba, tmp_path, decoded, capsys):
    load_faces(root=tmp_path)
    cache_of(celeba).rename(celeba / "faces-64x64.npy.partial")
    load_faces(root=tmp_path)
    assert len(decoded) == 2 * N and "anew" not in "".join(said(capsys))
    assert not (celeba / "faces-64x64.npy.partial").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs the file size limit of POSIX")
def test_a_full_disk_is_no_error_and_leaves_nothing_half(celeba, tmp_path, monkeypatch, capsys):
    import resource

    expected = decoded_without_trace(celeba)
    before = files_in(tmp_path)
    monkeypatch.setattr(celeba_module, "CHUNK", 4)
    capsys.readouterr()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        data = load_faces(root=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(data, expected) and files_in(tmp_path) == before
    assert said(capsys)[0].startswith(f"Decoding into memory, because {cache_of(celeba)} cannot")


def decoded_without_trace(celeba):
    """What `load_faces` returns; no cache and no lock is left."""
    data = load_faces(root=celeba.parent)
    cache_of(celeba).unlink()
    (celeba / ".faces.lock").unlink(missing_ok=True)
    return data


def no_map(*args, **options):
    raise OSError("No such device")  # as some network drives say


@pytest.mark.parametrize("hindrance", [".faces.lock", "faces-64x64.npy.partial", "no map"])
def test_a_folder_that_cannot_be_written_is_no_error(
    hindrance, celeba, tmp_path, monkeypatch, capsys
):
    """A folder in a file's place stops even root."""
    expected = decoded_without_trace(celeba)
    if hindrance == "no map":
        monkeypatch.setattr(np.lib.format, "open_memmap", no_map)
    else:
        (celeba / hindrance).mkdir()
    capsys.readouterr()
    assert same(load_faces(root=tmp_path), expected)
    line, _ = said(capsys)
    assert line.startswith(f"Decoding into memory, because {cache_of(celeba)} cannot be written or")


def test_a_read_only_folder_is_no_error(celeba, tmp_path):
    celeba.chmod(0o500)
    try:
        assert load_faces(root=tmp_path).rung == "celeba-folder"
    finally:
        celeba.chmod(0o700)


def test_a_folder_that_cannot_be_written_still_has_its_cache(celeba, tmp_path, decoded, capsys):
    first = load_faces(root=tmp_path)
    (celeba / ".faces.lock").unlink(missing_ok=True)
    (celeba / ".faces.lock").mkdir()
    assert same(load_faces(root=tmp_path), first)
    assert len(decoded) == N and len(said(capsys)) == 2


def test_writing_into_the_tensors_does_not_change_the_file(celeba, tmp_path):
    data = load_faces(root=tmp_path)
    original = data.train.clone()
    data.train.zero_()
    assert torch.equal(load_faces(root=tmp_path).train, original)


def test_loading_reads_only_what_is_touched(celeba, tmp_path, decoded):
    """A cache of 1.2 GB that is one big hole, as if all 100,000 training images were decoded."""
    load_faces(root=tmp_path)
    label, images = stored(celeba)
    content = npy(label.replace(" 20 5 5", " 100000 5 5"), images[:20], n=100_010)
    with cache_of(celeba).open("wb") as file:
        file.write(content)
        file.seek(len(content) + (100_000 - 20) * 3 * 64 * 64)
        file.write(images[20:].tobytes())
    started, before = time.perf_counter(), resident()
    data = load_faces(root=tmp_path)
    assert time.perf_counter() - started < 1 and resident() - before < 50e6
    assert len(decoded) == N
    assert np.array_equal(torch.cat(data[:3])[:20], images[:20])
    assert np.array_equal(torch.cat(data[1:3]), images[20:])


def resident():
    """This process's memory in bytes, or 0 where the system does not tell it in this way."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else 0


def test_loads_at_once_decode_once(celeba, tmp_path, monkeypatch, decoded):
    real = celeba_module._decode_one  # the one that notes names

    def slow(file):
        time.sleep(0.01)
        return real(file)

    monkeypatch.setattr(celeba_module, "_decode_one", slow)
    loads = at_once(3, lambda: load_faces(root=tmp_path))
    assert sorted(decoded) == FILES
    assert all(same(loads[0], load) for load in loads)


def at_once(count, work):
    """What `work` returns in each of `count` threads that start together."""
    results, together = [], threading.Barrier(count)

    def job():
        together.wait(timeout=60)
        results.append(work())

    threads = [threading.Thread(target=job) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(results) == count
    return results


# --- Damaged folders ---

FROM_A_FOLDER = ("celeba", "celeba-folder", "celeba-download")


def refused(folder, error, *parts, capsys):
    """By any name, the folder is refused: no other rung stands in, and nothing is cached."""
    before = files_in(folder)
    for name in FROM_A_FOLDER:
        with pytest.raises(error) as caught:
            load_faces(name, root=folder)
        for part in parts:
            assert part in str(caught.value), part
    assert said(capsys) == [] and files_in(folder) == before


@pytest.mark.parametrize("present", [0, 15, 29])
def test_a_half_extracted_folder_is_counted(present, celeba, tmp_path, capsys):
    for file in FILES[present:]:
        (celeba / "img_align_celeba" / file).unlink()
    refused(
        tmp_path, ValueError, f"{celeba / 'img_align_celeba'} holds {present} of the 30 images",
        f"first missing is {FILES[present]}.", "Unpack img_align_celeba.zip again", capsys=capsys,
    )  # fmt: skip


def test_an_image_missing_in_the_middle_is_noticed_though_the_limit_is_small(celeba, tmp_path):
    (celeba / "img_align_celeba" / FILES[20]).unlink()
    (celeba / "img_align_celeba" / "readme.jpg").write_text("not in the list")
    with pytest.raises(ValueError, match=f"29 of the 30 .*first missing is {FILES[20]}"):
        load_faces(root=tmp_path, limit=1)


def test_images_beside_the_listed_ones_do_no_harm(celeba, tmp_path):
    (celeba / "img_align_celeba" / "999999.jpg").write_text("")
    assert len(load_faces(root=tmp_path).train) == 20


def test_a_folder_in_the_folder_is_an_extraction_gone_wrong(celeba, tmp_path, capsys):
    (celeba / "img_align_celeba").rename(celeba / "inner")
    (celeba / "img_align_celeba").mkdir()
    (celeba / "inner").rename(celeba / "img_align_celeba" / "img_align_celeba")
    refused(tmp_path, ValueError, "holds 0 of the 30 images", capsys=capsys)


@pytest.mark.parametrize("missing", LISTS)
def test_a_missing_list_is_named(missing, celeba, tmp_path, capsys):
    (celeba / missing).unlink()
    parts = (f"no {missing} in {celeba}", "mmlab.ie.cuhk.edu.hk")
    refused(tmp_path, FileNotFoundError, *parts, capsys=capsys)


def test_images_without_any_list_are_refused(celeba, tmp_path, capsys):
    for file in celeba.glob("*.txt"):
        file.unlink()
    parts = (f"no {', '.join(LISTS)} in {celeba}", f"remove {celeba}")
    refused(tmp_path, FileNotFoundError, *parts, capsys=capsys)


def test_lists_without_images_are_refused(celeba, tmp_path, capsys):
    shutil.rmtree(celeba / "img_align_celeba")
    parts = (f"no img_align_celeba in {celeba}", f"remove {celeba}")
    refused(tmp_path, FileNotFoundError, *parts, capsys=capsys)


def test_the_lists_that_are_not_used_may_be_missing(celeba, tmp_path):
    for name in ("identity_CelebA.txt", "list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        (celeba / name).unlink()
    assert len(load_faces(root=tmp_path).train) == 20


def test_a_zip_that_is_not_unpacked_is_named_with_the_way_to_do_it(
    celeba, tmp_path, monkeypatch, capsys
):
    with zipfile.ZipFile(celeba / "img_align_celeba.zip", "w") as archive:
        for file in FILES:
            archive.write(celeba / "img_align_celeba" / file, f"img_align_celeba/{file}")
    shutil.rmtree(celeba / "img_align_celeba")
    command = "-m zipfile -e img_align_celeba.zip ."
    refused(
        tmp_path, FileNotFoundError, "img_align_celeba.zip is there, but not unpacked",
        f"python {command}", str(celeba), capsys=capsys,
    )  # fmt: skip
    monkeypatch.chdir(celeba)
    zipfile.main(command.split()[2:])  # what the message says
    assert len(load_faces(root=tmp_path).train) == 20


def line(number, text):
    """Replace line `number`, from 1; None removes it."""

    def change(lines):
        lines[number - 1 : number] = [] if text is None else [text]

    return change


def swap(lines):
    lines[4], lines[5] = lines[5], lines[4]


def all_in_split(split):
    def change(lines):
        lines[:] = [row.replace(f" {split}", f" {(split + 1) % 3}") for row in lines]

    return change


BAD_LISTS = {
    "splits, 3": (1, line(2, f"{FILES[1]} 3"), "line 2 is '000002.jpg 3'; expected a file name"),
    "splits, -1": (1, line(30, f"{FILES[29]} -1"), "line 30 is"),
    "splits, no number": (1, line(1, FILES[0]), "line 1 is '000001.jpg'; expected"),
    "splits, two numbers": (1, line(9, f"{FILES[8]} 0 1"), "times one of 0, 1, 2"),
    "splits, a word": (1, line(9, f"{FILES[8]} train"), "line 9 is"),
    "splits, blank line": (1, line(9, ""), "line 9 is ''"),
    "splits, commas": (1, line(1, "000001.jpg,0"), "line 1 is '000001.jpg,0'"),
    "splits, a name in bytes": (1, line(4, "\0\x01\x02"), "line 4 is"),
    "splits, empty": (1, list.clear, "has [0, 0, 0] images of splits 0, 1, 2"),
    "splits, no training": (1, all_in_split(0), "has [0, 25, 5] images of splits 0, 1, 2"),
    "splits, no validation": (1, all_in_split(1), "has [20, 0, 10] images of splits"),
    "splits, no test": (1, all_in_split(2), "has [25, 5, 0] images of splits 0, 1, 2"),
    "splits, one less": (1, line(30, None), "(30 images) and list_eval_partition.txt (29)"),
    "splits, one more": (1, lambda lines: lines.append("x.jpg 0"), "nothing against x.jpg"),
    "splits, other order": (1, swap, "disagree: 000005.jpg against 000006.jpg; expected the same"),
    "attributes, 0": (0, line(5, f"{FILES[2]} 0 1 1 1 1"), "line 5 is '000003.jpg 0 1 1 1 1'"),
    "attributes, one less": (0, line(3, f"{FILES[0]} 1 1 1 1"), "5 times one of -1, 1"),
    "attributes, one more": (0, line(3, f"{FILES[0]} 1 1 1 1 1 1"), "line 3 is"),
    "attributes, other name": (0, line(3, "1.jpg 1 1 1 1 1"), "1.jpg against 000001.jpg"),
    "attributes, other order": (0, swap, "disagree: 000004.jpg against 000003.jpg"),
    "attributes, last line missing": (0, line(32, None), "starts with '30' and has 29 rows"),
    "attributes, no count": (0, line(1, None), "expected the number of images, then attribute"),
    "attributes, no header": (0, line(2, None), "has 29 rows"),
    "attributes, no names": (0, line(2, ""), "expected the number of images, then attribute"),
    "attributes, wrong count": (0, line(1, "202599"), "starts with '202599' and has 30 rows"),
    "attributes, empty": (0, list.clear, "starts with '' and has 0 rows"),
    "attributes, only a count": (0, lambda lines: lines.__delitem__(slice(1, None)), "has 0 rows"),
}  # fmt: skip


@pytest.mark.parametrize("damage", BAD_LISTS)
def test_a_damaged_list_is_named_with_its_line_and_what_was_expected(
    damage, celeba, tmp_path, capsys
):
    which, change, message = BAD_LISTS[damage]
    file = celeba / LISTS[which]
    lines = file.read_text().splitlines()
    change(lines)
    file.write_text("\n".join(lines))
    refused(tmp_path, ValueError, LISTS[which], str(celeba), message, capsys=capsys)


def test_a_list_of_bytes_is_refused(celeba, tmp_path, capsys):
    (celeba / LISTS[1]).write_bytes(bytes(range(256)) * 9)
    refused(tmp_path, ValueError, LISTS[1], "line 1 is", capsys=capsys)


def test_lists_with_windows_line_ends_and_blank_lines_at_the_end_are_read(celeba, tmp_path):
    expected = load_faces(root=tmp_path)
    for name in LISTS:
        content = (celeba / name).read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n"
        (celeba / name).write_bytes(content)
    assert same(load_faces(root=tmp_path), expected)


def other_size(file):
    picture(0).rotate(90, expand=True).save(file)


BROKEN = {
    "no bytes": (lambda file: file.write_bytes(b""), "cannot identify"),
    "truncated": (lambda file: file.write_bytes(file.read_bytes()[:-900]), "truncated"),
    "not an image": (lambda file: file.write_bytes(b"<html>log in first</html>"), "identify"),
    "zeros": (lambda file: file.write_bytes(bytes(9000)), "cannot identify"),
    "other size": (other_size, "it is 218x178; expected 178x218"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), ""),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_broken_images_are_counted_and_nothing_is_cached(damage, celeba, tmp_path, capsys):
    for number in (7, 12, 29):
        BROKEN[damage][0](celeba / "img_align_celeba" / FILES[number])
    refused(
        tmp_path, ValueError, "3 of 30 images cannot be used; the first is",
        str(celeba / "img_align_celeba" / FILES[7]), BROKEN[damage][1], "again", capsys=capsys,
    )  # fmt: skip
    assert len(load_faces(root=tmp_path, limit=5).train) == 5  # the others are good


# --- Download ---


@pytest.fixture
def download(monkeypatch, template):
    """A stand-in for torchvision's class. `work(celeba)` writes the files, or fails."""

    class Download:
        def __init__(self):
            self.calls, self.work = [], self.fill

        def fill(self, celeba):
            shutil.copytree(template, celeba)
            (celeba / "img_align_celeba.zip").write_bytes(b"PK, large")

        def __call__(self, root, download):
            assert download is True
            self.calls.append(root)
            self.work(Path(root) / "celeba")

    stand_in = Download()
    monkeypatch.setattr(celeba_module, "CelebA", stand_in)
    monkeypatch.setattr(celeba_module, "_check_online", lambda: None)
    return stand_in


@pytest.mark.parametrize("name", ["celeba", "celeba-download"])
def test_celeba_is_downloaded_where_the_folder_is_missing(
    name, tmp_path, template, download, capsys
):
    folder = tmp_path / "new" / "folder"
    data = load_faces(name, root=folder)
    assert data.rung == "celeba-download" and len(data.train) == 20
    started, announced = said(capsys)
    for part in ("1.4 GB", "non-commercial research", "mmlab", "stop button", str(folder)):
        assert part in started
    assert announced.startswith("CelebA by torchvision's download (30 of CelebA's 202,599 images)")
    kept = [f"celeba/{file}" for file in [*files_in(template), "faces-64x64.npy"]]
    assert files_in(folder) == sorted(kept)  # no zip, nothing half


def test_what_is_downloaded_is_said_before(tmp_path, download, capsys):
    lines = []
    download.work = lambda celeba: (lines.extend(said(capsys)), download.fill(celeba))
    load_faces(root=tmp_path)
    assert len(lines) == 1 and lines[0].startswith("Downloading CelebA (1.4 GB")


def test_a_download_stays_for_the_next_time(tmp_path, download):
    downloaded = load_faces(root=tmp_path)
    again = load_faces(root=tmp_path)
    assert again.rung == "celeba-folder" and len(download.calls) == 1
    assert same(downloaded[:-1], again[:-1])
    assert load_faces("celeba-download", root=tmp_path).rung == "celeba-download"
    assert len(download.calls) == 1


def test_nobody_sees_the_download_before_it_is_whole(tmp_path, download):
    def look(celeba):
        download.fill(celeba)
        assert not (tmp_path / "celeba").exists()

    download.work = look
    assert load_faces(root=tmp_path).rung == "celeba-download"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no POSIX mode bits")
def test_downloaded_files_can_be_read_by_the_group(tmp_path, download):
    load_faces(root=tmp_path / "data")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "data" / "celeba").stat().st_mode == (tmp_path / "plain").stat().st_mode


class Quota(Exception):
    """As gdown's errors, which are no OSError."""


def half_the_images(celeba):
    write_celeba(celeba.parent)
    for file in FILES[15:]:
        (celeba / "img_align_celeba" / file).unlink()


def raising(error, files=0):
    def work(celeba):
        (celeba / "img_align_celeba").mkdir(parents=True)
        for file in FILES[:files]:
            picture(0).save(celeba / "img_align_celeba" / file)
        raise error

    return work


FAILURES = {
    "offline": (raising(OSError("Network is unreachable")), "Network is unreachable"),
    "quota": (raising(Quota("Too many users\nhave viewed")), "Too many users have viewed"),
    "wrong md5": (raising(RuntimeError("File not found or corrupted.")), "or corrupted."),
    "bad zip": (raising(zipfile.BadZipFile("Bad CRC-32"), files=9), "Bad CRC-32"),
    "without a word": (raising(Quota()), "Quota"),
    "half the images": (half_the_images, "holds 15 of the 30 images"),
    "no lists": (lambda celeba: (celeba / "img_align_celeba").mkdir(parents=True), "no list_attr"),
    "nothing": (lambda celeba: None, "no img_align_celeba"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_download_falls_to_drawn_faces_and_leaves_nothing(
    failure, tmp_path, download, capsys
):
    download.work, cause = FAILURES[failure]
    assert load_faces(root=tmp_path, limit=5).rung == "drawn-faces"
    started, line = said(capsys)
    assert started.startswith("Downloading")
    assert line.startswith(
        f"Drawn faces instead of CelebA: no CelebA in {tmp_path} and no download"
    )
    for part in (cause, "Go online once", "VAE_DATA", "5 train, 1 validation, 1 test images."):
        assert part in line
    assert files_in(tmp_path) == ["drawn-faces-v1-n7-seed0.npz"]
    download.work = download.fill  # and the next time it may succeed
    assert load_faces(root=tmp_path).rung == "celeba-download"


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_download_that_was_asked_for_is_an_error(failure, tmp_path, download):
    download.work, cause = FAILURES[failure]
    with pytest.raises(OSError, match=re.escape(cause)) as error:
        load_faces("celeba-download", root=tmp_path)
    assert str(tmp_path) in str(error.value) and "VAE_DATA" in str(error.value)
    assert files_in(tmp_path) == []


def test_stopping_the_download_goes_on_with_drawn_faces(tmp_path, download, capsys):
    download.work = raising(KeyboardInterrupt, files=9)
    try:
        data = load_faces(root=tmp_path, limit=5)
    except KeyboardInterrupt:
        pytest.fail("the interrupt left load_faces")
    assert data.rung == "drawn-faces"
    assert "the download was stopped" in said(capsys)[-1]
    assert files_in(tmp_path) == ["drawn-faces-v1-n7-seed0.npz"]


def test_stopping_a_download_that_was_asked_for_is_an_interrupt(tmp_path, download):
    download.work = raising(KeyboardInterrupt, files=9)
    assert loaded_until_stopped(name="celeba-download", root=tmp_path)
    assert files_in(tmp_path) == []


def test_what_a_killed_download_left_is_neither_read_nor_kept(tmp_path, template, download):
    shutil.copytree(template, tmp_path / ".celeba-download" / "celeba")
    download.work = lambda celeba: download.fill(celeba) if not celeba.exists() else None
    assert load_faces(root=tmp_path).rung == "celeba-download"
    assert not (tmp_path / ".celeba-download").exists()


def test_an_empty_folder_is_no_celeba_and_may_be_filled(tmp_path, download):
    (tmp_path / "celeba").mkdir()
    with pytest.raises(FileNotFoundError, match=f"no CelebA in {re.escape(str(tmp_path))}"):
        load_faces("celeba-folder", root=tmp_path)
    assert load_faces(root=tmp_path).rung == "celeba-download"


def test_a_folder_that_cannot_be_made_is_noticed_before_the_download(tmp_path, download, capsys):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "celeba").write_text("not a folder")
    for folder in (tmp_path / "file" / "data", tmp_path):
        assert load_faces(root=folder, limit=5).rung == "drawn-faces"
        assert str(folder) in said(capsys)[-1] and download.calls == []


def test_loads_at_once_download_once(tmp_path, download):
    download.work = lambda celeba: (time.sleep(0.3), download.fill(celeba))
    loads = at_once(3, lambda: load_faces(root=tmp_path))
    assert len(download.calls) == 1
    assert {load.rung for load in loads} <= {"celeba-download", "celeba-folder"}
    assert all(torch.equal(loads[0].train, load.train) for load in loads)


def test_offline_falls_to_drawn_faces_at_once(tmp_path, capsys):
    """The tests' own block on the network stands for a machine that has none."""
    started = time.perf_counter()
    assert load_faces(root=tmp_path, limit=5).rung == "drawn-faces"
    assert time.perf_counter() - started < 5
    (line,) = said(capsys)  # and no download is announced
    assert "no download" in line and "without a network" in line and "Go online once" in line
    with pytest.raises(OSError, match="Go online once"):
        load_faces("celeba-download", root=tmp_path)


def test_google_gets_seconds_to_answer_and_any_answer_will_do(monkeypatch):
    seen = []

    def answer(request, timeout):
        seen.append((request.full_url, request.method, timeout))
        raise HTTPError(request.full_url, 405, "not allowed", {}, io.BytesIO())

    monkeypatch.setattr("urllib.request.urlopen", answer)
    celeba_module._check_online()
    assert seen == [("https://drive.google.com", "HEAD", 20)]


def test_torchvisions_own_download_fails_in_a_way_that_is_understood(tmp_path, monkeypatch, capsys):
    """Through torchvision and gdown, up to the tests' block on the network."""
    monkeypatch.setattr(celeba_module, "_check_online", lambda: None)
    assert load_faces(root=tmp_path, limit=5).rung == "drawn-faces"
    line = said(capsys)[-1]
    assert "no download" in line and "drive.google.com" in line
    assert files_in(tmp_path) == ["drawn-faces-v1-n7-seed0.npz"]


def test_gdown_takes_what_torchvision_gives_it():
    inspect.signature(gdown.download).bind(id="", output="", quiet=False, user_agent="")


def test_a_missing_folder_that_was_asked_for_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))) as error:
        load_faces("celeba-folder", root=tmp_path)
    for part in ("VAE_DATA", "000001.jpg", "mmlab.ie.cuhk.edu.hk"):
        assert part in str(error.value)
    assert files_in(tmp_path) == []


# --- Drawn faces ---


def test_drawn_faces_come_by_name_though_celeba_is_there(celeba, tmp_path, capsys):
    assert load_faces("drawn-faces", root=tmp_path, limit=5).rung == "drawn-faces"
    line = "Drawn faces, as asked: 5 train, 1 validation, 1 test images."
    assert said(capsys) == [line]


@pytest.mark.parametrize("limit, sizes", [(1, (1, 1, 1)), (4, (4, 1, 1)), (10, (10, 2, 2))])
def test_drawn_faces_are_the_first_of_one_seed_split_in_order(limit, sizes, tmp_path):
    data = load_faces("drawn-faces", root=tmp_path, limit=limit)
    images, factors, attributes = map(torch.from_numpy, faces(sum(sizes), root=tmp_path / "own"))
    for ours, theirs, dtype in (
        (data[:3], images, torch.uint8),
        (data[3:6], attributes, torch.bool),
        (data[7:10], factors.float(), torch.float32),
    ):
        assert tuple(len(part) for part in ours) == sizes
        assert torch.equal(torch.cat(ours), theirs)
        assert {part.dtype for part in ours} == {dtype}
    assert data.attribute_names == ATTRIBUTES and data.train.shape[1:] == (3, 64, 64)


def test_without_a_limit_ten_thousand_training_faces_are_drawn(tmp_path, monkeypatch):
    def few(n, root):
        assert (n, root) == (14_000, tmp_path)
        return [np.repeat(array, 2_000, axis=0) for array in faces(7, root=root)]

    monkeypatch.setattr(celeba_module.faces, "faces", few)
    data = load_faces("drawn-faces", root=tmp_path, limit=None)
    assert [len(part) for part in data[:3]] == [10_000, 2_000, 2_000]
