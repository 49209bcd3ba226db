"""Every rung of the data ladder, on small idx files; real MNIST and the internet are not needed."""

import re
import socket
import sys
import threading
import time
from collections import Counter

from vae_helpers import data as data_module
from vae_helpers.data import MNIST_FILES, binarize, check_images, load_images

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import (
    download_job,
    idx,
    mnist_bytes,
    numbered_images,
    processes,
    start,
    write_mnist,
)
from torchvision.datasets import MNIST


@pytest.fixture(autouse=True)
def no_folder_but_the_tests_own(monkeypatch, tmp_path):
    monkeypatch.delenv("VAE_DATA", raising=False)
    monkeypatch.setattr(data_module, "DATA_FOLDER", tmp_path / "course")


@pytest.fixture
def offline(monkeypatch):
    with socket.socket() as unused:  # a port where nobody listens
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{port}/"])


def numbers(images):
    """The numbers that `numbered_images` carry in their first two pixels."""
    pixels = (images[:, 0, 0, :2] * 255).round().long()
    return (pixels[:, 0] * 256 + pixels[:, 1]).tolist()


def files_in(folder):
    """All files but the lock, with their bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def announcement(capsys):
    """The line that says where the images come from (a download says when it starts, too)."""
    lines = capsys.readouterr().out.strip().splitlines()
    lines = [line for line in lines if not line.startswith("Downloading")]
    assert len(lines) == 1, lines
    return lines[0]


# --- MNIST in a folder ---


@pytest.mark.parametrize("name", ["mnist", "mnist-folder"])
def test_mnist_is_read_from_a_folder(name, tmp_path, capsys):
    write_mnist(tmp_path)
    data = load_images(name, root=tmp_path)
    assert data.rung == "mnist-folder"
    assert announcement(capsys) == (
        "MNIST from a folder: 110 train, 10 validation, 24 test images."
    )


def test_images_are_plain_float_tensors_in_0_1_with_their_labels(tmp_path):
    write_mnist(tmp_path)
    data = load_images(root=tmp_path)
    for images, labels, n in (
        (data.train, data.train_labels, 110),
        (data.validation, data.validation_labels, 10),
        (data.test, data.test_labels, 24),
    ):
        assert type(images) is torch.Tensor and images.is_contiguous()
        assert images.shape == (n, 1, 28, 28) and images.dtype == torch.float32
        assert images.min() == 0 and images.max() == 1
        assert labels.shape == (n,) and labels.dtype == torch.int64
        assert labels.tolist() == [number % 10 for number in numbers(images)]


def test_pixels_are_the_bytes_divided_by_255(tmp_path):
    raw = write_mnist(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (24, 28, 28))
    (raw / "t10k-images-idx3-ubyte").write_bytes(idx(images, 2051))
    expected = torch.from_numpy(images / 255).float().unsqueeze(1)
    torch.testing.assert_close(load_images(root=tmp_path).test, expected)


def test_the_split_is_disjoint_and_complete_and_the_test_set_the_official_one(tmp_path):
    write_mnist(tmp_path, train=600)
    data = load_images(root=tmp_path)
    train, validation = numbers(data.train), numbers(data.validation)
    assert sorted(train + validation) == list(range(600))
    assert len(validation) == 50
    assert numbers(data.test) == list(range(24))
    assert validation != sorted(validation)  # drawn, not the first ones


def test_the_split_never_changes_and_leaves_the_callers_random_numbers_alone(tmp_path):
    write_mnist(tmp_path)
    loads = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        loads.append(load_images(root=tmp_path))
        assert torch.equal(torch.get_rng_state(), state)
    for first, second in zip(*loads, strict=True):
        assert first == second if isinstance(first, str) else torch.equal(first, second)


def test_root_goes_before_vae_data_and_vae_data_before_the_courses_folder(tmp_path, monkeypatch):
    folders = {"root": 240, "variable": 360, "course": 480}
    for folder, train in folders.items():
        write_mnist(tmp_path / folder, train=train)
    assert len(load_images().train) == 440
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "variable"))
    assert len(load_images().train) == 330
    assert len(load_images(root=str(tmp_path / "root")).train) == 220


def test_a_read_only_folder_works_and_nothing_is_written_into_it(tmp_path):
    raw = write_mnist(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    locked = [*raw.iterdir(), raw, raw.parent, tmp_path]
    try:
        for path in locked:
            path.chmod(0o500 if path.is_dir() else 0o400)
        assert load_images(root=tmp_path).rung == "mnist-folder"
        assert sorted(tmp_path.rglob("*")) == before
    finally:
        for path in locked[::-1]:
            path.chmod(0o700)


# --- Damaged files ---


def damages():
    """Every way a file may be damaged: `(name of the file, the damage, its new bytes)`."""
    for name, content in mnist_bytes().items():
        magic = content[:4]
        yield name, "empty", b""
        yield name, "only a header", content[:8]
        yield name, "truncated", content[:-1]
        yield name, "too long", content + b"\0"
        yield name, "wrong magic number", b"\0\0\0\1" + content[4:]
        yield name, "still compressed", b"\x1f\x8b" + content
        yield name, "html", b"<html>log in first</html>" * 9
        yield name, "no items", magic + b"\0\0\0\0" + content[8:16]
        yield name, "huge count", magic + b"\xff\xff\xff\xff" + content[8:]
    for split, n in (("train", 120), ("t10k", 24)):
        labels = np.arange(n) % 10
        yield f"{split}-labels-idx1-ubyte", "label 10", idx(np.append(labels[:-1], 10), 2049)
        yield f"{split}-labels-idx1-ubyte", "counts differ", idx(labels[:-1], 2049)
        yield f"{split}-images-idx3-ubyte", "counts differ", idx(numbered_images(n - 1), 2051)
        other_size = idx(np.zeros((n, 32, 32)), 2051)
        yield f"{split}-images-idx3-ubyte", "other image size", other_size


@pytest.mark.parametrize(
    "file, content",
    [pytest.param(f, content, id=f"{f}, {damage}") for f, damage, content in damages()],
)
def test_a_damaged_file_is_named_and_no_other_rung_stands_in(file, content, tmp_path, capsys):
    (write_mnist(tmp_path) / file).write_bytes(content)
    for name in ("mnist", "mnist-folder", "mnist-download"):
        with pytest.raises(ValueError, match=re.escape(file)):
            load_images(name, root=tmp_path)
    assert capsys.readouterr().out == ""


# --- Download ---


@pytest.mark.parametrize("name", ["mnist", "mnist-download"])
def test_mnist_is_downloaded_where_the_folder_is_missing(name, tmp_path, mnist_server, capsys):
    folder = tmp_path / "new" / "folder"
    data = load_images(name, root=folder)
    assert data.rung == "mnist-download"
    assert announcement(capsys).startswith("MNIST by torchvision's download: 110 train")
    assert files_in(folder) == {f"MNIST/raw/{n}": b for n, b in mnist_bytes().items()}


def test_a_download_stays_for_the_next_time(tmp_path, mnist_server):
    downloaded = load_images(root=tmp_path)
    mnist_server.requests.clear()
    again = load_images(root=tmp_path)
    assert again.rung == "mnist-folder" and mnist_server.requests == []
    assert torch.equal(downloaded.train, again.train)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no POSIX mode bits")
def test_downloaded_files_can_be_read_by_the_group(tmp_path, mnist_server):
    load_images(root=tmp_path)
    plain = tmp_path / "plain"
    plain.write_text("")
    modes = {(tmp_path / "MNIST" / "raw" / file).stat().st_mode for file in MNIST_FILES}
    assert modes == {plain.stat().st_mode}


def fail_with(server, failure):
    def answer(name):
        body = server.files[name]
        if failure in ("403", "404"):
            return int(failure), b"not here", 8
        if failure == "500 at the third file" and name.startswith("t10k"):
            return 500, b"", 0
        if failure == "truncated":
            return 200, body[: len(body) // 2], len(body)
        if failure == "other bytes":
            return 200, body[:-9] + b"123456789", len(body)
        if failure == "html":
            return 200, b"<html>log in</html>", 19
        if failure == "not http":
            return None, b"220 welcome to some other service\r\n", 0
        if failure == "hangs up":
            return None, b"", 0
        return 200, body, len(body)

    server.answer = answer


FAILURES = (
    "403", "404", "500 at the third file", "truncated", "other bytes", "html", "not http",
    "hangs up",
)  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_download_falls_to_the_digits_in_one_line(failure, tmp_path, mnist_server, capsys):
    fail_with(mnist_server, failure)
    assert load_images(root=tmp_path).rung == "digits"
    line = announcement(capsys)
    for part in ("small digits instead of MNIST", str(tmp_path), "VAE_DATA", "1,257 train"):
        assert part in line
    assert files_in(tmp_path) == {}  # nothing half done is left


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_download_that_was_asked_for_is_an_error(failure, tmp_path, mnist_server, capsys):
    fail_with(mnist_server, failure)
    with pytest.raises(OSError, match=re.escape(str(tmp_path))) as error:
        load_images("mnist-download", root=tmp_path)
    assert "VAE_DATA" in str(error.value)
    assert files_in(tmp_path) == {}


def test_a_server_that_never_answers_is_given_up(tmp_path, mnist_server, monkeypatch, capsys):
    real, asked, over = socket.setdefaulttimeout, [], threading.Event()

    def shorter(seconds):
        asked.append(seconds)
        real(0.2 if seconds else None)

    mnist_server.answer = lambda name: (over.wait(timeout=60), (None, b"", 0))[1]
    monkeypatch.setattr(socket, "setdefaulttimeout", shorter)
    try:
        assert load_images(root=tmp_path).rung == "digits"
    finally:
        over.set()
    assert asked == [20, None]  # seconds that a student waits, then the caller's again
    assert "timed out" in announcement(capsys)
    assert files_in(tmp_path) == {}


def test_offline_falls_to_the_digits_and_says_why_in_one_line(tmp_path, offline, capsys):
    assert load_images(root=tmp_path).rung == "digits"
    line = announcement(capsys)
    assert "refused" in line or "10061" in line  # the reason, in the system's words
    assert "Go online once" in line


def test_offline_is_an_error_where_the_download_was_asked_for(tmp_path, offline):
    with pytest.raises(OSError, match="Go online once"):
        load_images("mnist-download", root=tmp_path)


def test_a_failed_download_leaves_the_files_that_were_there(tmp_path, offline):
    raw = write_mnist(tmp_path)
    (raw / MNIST_FILES[0]).unlink()
    before = files_in(tmp_path)
    assert load_images(root=tmp_path).rung == "digits"
    assert files_in(tmp_path) == before


def test_a_folder_that_cannot_be_made_falls_to_the_digits_and_says_so(
    tmp_path, mnist_server, capsys
):
    (tmp_path / "file").write_text("not a folder")
    assert load_images(root=tmp_path / "file" / "data").rung == "digits"
    assert str(tmp_path / "file") in announcement(capsys)
    assert mnist_server.requests == []


def test_the_default_timeout_of_sockets_is_given_back(tmp_path, mnist_server):
    before = socket.getdefaulttimeout()
    load_images(root=tmp_path)
    assert socket.getdefaulttimeout() == before


@pytest.mark.parametrize("count", [2, 40])  # a friend, and a class
def test_processes_that_load_at_once_all_succeed_with_one_download(count, tmp_path, mnist_server):
    load_images(root=tmp_path / "alone")
    requests_of_one = Counter(mnist_server.requests)
    mnist_server.requests.clear()

    def slow_answer(name):  # so that all of them come while the first one loads
        time.sleep(0.03)
        return 200, mnist_server.files[name], len(mnist_server.files[name])

    mnist_server.answer = slow_answer
    answers, together = processes.Queue(), processes.Barrier(count)
    where = (str(tmp_path / "shared"), mnist_server.url, mnist_server.resources)
    jobs = [start(download_job, *where, together, answers) for _ in range(count)]
    results = [answers.get(timeout=120) for _ in jobs]
    for job in jobs:
        job.join(timeout=60)

    rungs, contents = zip(*results, strict=True)
    assert set(rungs) <= {"mnist-download", "mnist-folder"}
    assert set(contents) == {load_images(root=tmp_path / "alone").train.sum().item()}
    assert files_in(tmp_path / "shared") == files_in(tmp_path / "alone")
    assert Counter(mnist_server.requests) == requests_of_one


# --- Rungs by name ---


def test_a_missing_folder_that_was_asked_for_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "MNIST"))) as error:
        load_images("mnist-folder", root=tmp_path)
    assert "VAE_DATA" in str(error.value) and MNIST_FILES[0] in str(error.value)


@pytest.mark.parametrize("missing", MNIST_FILES)
def test_three_files_of_four_are_not_mnist(missing, tmp_path):
    (write_mnist(tmp_path) / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        load_images("mnist-folder", root=tmp_path)


@pytest.mark.parametrize("name", ["MNIST", "cifar", "", None, 3])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=f"name is {name!r}; expected one of 'mnist', .*'digits'"):
        load_images(name)


# --- The embedded digits ---


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def test_the_digits_come_by_name_though_mnist_is_there(tmp_path, capsys):
    write_mnist(tmp_path)
    assert load_images("digits", root=tmp_path).rung == "digits"
    assert "as asked" in announcement(capsys)


def test_the_digits_have_the_shape_range_and_border_of_mnist(digits):
    for images, labels, n in (
        (digits.train, digits.train_labels, 1257),
        (digits.validation, digits.validation_labels, 270),
        (digits.test, digits.test_labels, 270),
    ):
        assert images.shape == (n, 1, 28, 28) and images.dtype == torch.float32
        assert images.min() == 0 and images.max() == 1
        border = images.clone()
        border[:, :, 4:24, 4:24] = 0
        assert border.max() == 0  # the digit stands in the middle 20x20 pixels
        assert labels.shape == (n,) and labels.dtype == torch.int64
        assert set(labels.tolist()) == set(range(10))


def test_the_digits_are_split_without_overlap_and_without_loss(digits):
    every = torch.cat([digits.train, digits.validation, digits.test])
    assert len({image.numpy().tobytes() for image in every}) == 1797


def test_the_digits_keep_their_labels(digits):
    from sklearn.datasets import load_digits

    originals = load_digits()
    inner = digits.test[:, :, 4:24, 4:24]
    small = torch.nn.functional.interpolate(inner, size=8, mode="area").flatten(1)
    nearest = torch.cdist(small, torch.from_numpy(originals.data / 16).float()).argmin(dim=1)
    assert torch.equal(digits.test_labels, torch.from_numpy(originals.target)[nearest])


def test_the_digits_are_the_same_for_any_seed(digits):
    torch.manual_seed(99)
    for first, second in zip(digits[:6], load_images("digits")[:6], strict=True):
        assert torch.equal(first, second)


# --- Images as an argument ---


@given(grey=st.floats(0, 1), seed=st.integers(0, 99))
def test_binarized_pixels_are_0_or_1_with_the_grey_value_as_their_mean(grey, seed):
    generator = torch.Generator().manual_seed(seed)
    x = binarize(torch.full((4, 1, 50, 50), grey), generator)
    assert x.shape == (4, 1, 50, 50) and set(x.unique().tolist()) <= {0.0, 1.0}
    error_bar = (grey * (1 - grey) / x.numel()) ** 0.5
    assert abs(x.mean().item() - grey) <= 4.5 * error_bar


def test_binarizing_repeats_with_a_generator_and_keeps_black_and_white(images):
    draws = [binarize(images, torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], binarize(images))
    assert torch.equal(binarize(draws[0]), draws[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floats_of_any_width_from_0_to_1_are_images(dtype):
    x = torch.tensor([0.0, 1.0], dtype=dtype, requires_grad=True).view(1, 2, 1, 1)
    check_images(x)
    check_images(x, (2, 1, 1))
