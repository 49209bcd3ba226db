"""The drawn faces: the same bytes everywhere, factors that do what they say, a file that is right.

Where a part of a face is, the drawing says itself: the hair is what another hair colour changes.
"""

import hashlib
import itertools
import sys
import tracemalloc

from vae_helpers import faces as faces_module
from vae_helpers.faces import (
    ATTRIBUTES,
    DERIVED,
    DRAWN,
    FACTORS,
    LOW,
    VERSION,
    attributes_of,
    draw_faces,
    faces,
    sample_factors,
)

import numpy as np
import pytest

MIDDLE = np.array([[0, 0, 0.5, 0.5, 0.4, 0.3, 0.2, 0.5, 0]])
FACES = 48


def some_faces(n=FACES, seed=7):
    factors, attributes = sample_factors(n, seed)
    return factors, attributes[:, : len(DRAWN)]


def with_factor(factors, name, value):
    factors = factors.copy()
    factors[:, FACTORS.index(name)] = value
    return factors


def with_attribute(drawn, name, value):
    drawn = drawn.copy()
    drawn[:, list(DRAWN).index(name)] = value
    return drawn


def changed_by(name, factors, drawn=None):
    """The pixels `(n, 64, 64)` that differ between the two ends of a factor."""
    low, high = (with_factor(factors, name, end) for end in (LOW[FACTORS.index(name)], 1))
    return (draw_faces(low, drawn) != draw_faces(high, drawn)).any(axis=1)


def inside(mask):
    """The pixels `(n, 62, 62)` whose eight neighbours are in the mask as well."""
    shifts = itertools.product(range(3), range(3))
    return np.all([mask[:, i : i + 62, j : j + 62] for i, j in shifts], axis=0)


def middle_column(mask):
    """The mean column of each mask `(n,)`."""
    return (mask * np.arange(64)).sum(axis=(1, 2)) / mask.sum(axis=(1, 2))


# --- The same faces everywhere ---


def test_images_are_bytes_and_names_fit_their_columns():
    factors, attributes = sample_factors(5)
    images = draw_faces(factors, attributes[:, : len(DRAWN)])
    assert images.shape == (5, 3, 64, 64) and images.dtype == np.uint8
    assert images.flags.c_contiguous
    assert factors.shape == (5, len(FACTORS)) and factors.dtype == np.float64
    assert attributes.shape == (5, len(ATTRIBUTES)) and attributes.dtype == bool
    assert len(LOW) == len(FACTORS) and ATTRIBUTES[: len(DRAWN)] == tuple(DRAWN)
    assert images.min() < 40 and images.max() > 240  # of the whole range


def test_a_seed_gives_these_bytes():
    """If this fails because you changed the drawing: raise VERSION, then store the new value."""
    factors, drawn = some_faces(64, seed=0)
    digest = hashlib.sha256(factors.tobytes() + draw_faces(factors, drawn).tobytes())
    assert (VERSION, digest.hexdigest()[:16]) == (1, "c806aec561153236")


def test_another_seed_gives_other_faces():
    first, second = (draw_faces(*some_faces(seed=seed)) for seed in (0, 1))
    assert (first != second).any(axis=(1, 2, 3)).all()


def test_the_first_faces_do_not_depend_on_how_many_there_are(tmp_path):
    few, many = faces(10, seed=3, root=tmp_path), faces(150, seed=3, root=tmp_path)
    for a, b in zip(few, many, strict=True):
        assert np.array_equal(a, b[:10])


def test_a_face_does_not_depend_on_the_others_and_its_factors_stay():
    factors, drawn = some_faces(150)
    copies = factors.copy(), drawn.copy()
    images = draw_faces(factors, drawn)
    for i in (0, 63, 64, 149):
        assert np.array_equal(images[i], draw_faces(factors[i : i + 1], drawn[i : i + 1])[0])
    assert np.array_equal(factors, copies[0]) and np.array_equal(drawn, copies[1])


def test_without_attributes_a_face_has_none():
    factors, drawn = some_faces(5)
    assert np.array_equal(draw_faces(factors), draw_faces(factors, np.zeros_like(drawn)))


def test_memory_is_bounded():
    factors, drawn = some_faces(512)
    tracemalloc.start()
    try:
        images = draw_faces(factors, drawn)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - images.nbytes < 24e6


# --- Factors and attributes ---


def test_factors_are_uniform_and_independent_of_each_other_and_of_drawn_attributes():
    factors, drawn = some_faces(10_000, seed=0)
    both = np.column_stack([factors, drawn])
    correlation = np.corrcoef(both, rowvar=False)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.05  # five standard errors
    assert (factors >= LOW).all() and (factors <= 1).all()
    for column, low in zip(factors.T, LOW, strict=True):
        counts = np.histogram(column, bins=10, range=(low, 1))[0]
        assert np.abs(counts - 1000).max() < 150  # five standard errors
    assert drawn.mean(axis=0) == pytest.approx(list(DRAWN.values()), abs=0.025)


@pytest.mark.parametrize("name", DERIVED)
def test_a_derived_attribute_follows_its_factor(name):
    factors, attributes = sample_factors(2000)
    factor, above, most = DERIVED[name]
    value, has = factors[:, FACTORS.index(factor)], attributes[:, ATTRIBUTES.index(name)]
    assert 0.05 < has.mean() < 0.6
    assert np.array_equal(has, (value > above) & (value <= most))
    ends = with_factor(np.repeat(MIDDLE, 2, axis=0), factor, [max(above, 0) + 0.01, most])
    assert attributes_of(ends)[:, ATTRIBUTES.index(name)].all()


def test_a_face_has_one_hair_colour_at_most_and_no_drawn_attribute_is_derived():
    factors, drawn = some_faces(2000)
    attributes = attributes_of(factors, drawn)
    assert np.array_equal(attributes[:, : len(DRAWN)], drawn)
    colours = [i for i, name in enumerate(ATTRIBUTES) if name.endswith("_Hair")]
    assert attributes[:, colours].sum(axis=1).max() == 1


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_changes_every_face_in_small_steps(name):
    steps = np.linspace(LOW[FACTORS.index(name)], 1, 41)
    for hat in (False, True):
        factors = with_factor(np.repeat(MIDDLE, len(steps), axis=0), name, steps)
        drawn = with_attribute(np.zeros((len(steps), len(DRAWN)), bool), "Wearing_Hat", hat)
        images = draw_faces(factors, drawn).astype(float)
        step = np.abs(np.diff(images, axis=0)).mean(axis=(1, 2, 3))
        assert step.min() > 0 and step.max() < 5 * step.mean()
    assert changed_by(name, *some_faces()).sum(axis=(1, 2)).min() > 30


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_attribute_shows_in_every_face(name):
    factors, drawn = some_faces(300)
    without, having = (
        draw_faces(factors, with_attribute(drawn, name, value)).astype(int) for value in (0, 1)
    )
    assert (np.abs(having - without).max(axis=1) > 8).sum(axis=(1, 2)).min() >= 15


@pytest.mark.parametrize(
    "name, rows",
    [("smile", (37, 51)), ("eye_spacing", (23, 38))],
)
def test_smile_changes_the_mouth_and_eye_spacing_the_band_of_the_eyes(name, rows):
    mask = changed_by(name, *some_faces())
    assert not mask[:, : rows[0]].any() and not mask[:, rows[1] :].any()
    assert not mask[:, :, :14].any() and not mask[:, :, 50:].any()


def test_background_skin_and_hair_meet_only_at_edges():
    faces = some_faces()
    background, skin, hair = (
        changed_by(name, *faces) for name in ("background", "skin_tone", "hair_colour")
    )
    for one, other in itertools.combinations((background, skin, hair), 2):
        assert inside(one).any() and inside(other).any()
        assert not inside(one & other).any()
    assert not background[:, 28:48, 28:36].any()  # the middle of the face, in every pose
    assert background[:, :2].all() and not (skin | hair)[:, :2].any()


def test_light_brightens_one_side_of_the_person_and_leaves_the_background():
    factors, drawn = some_faces()
    left, right = (draw_faces(with_factor(factors, "light", x), drawn).astype(int) for x in (-1, 1))
    brighter = (right - left).sum(axis=1)
    assert (brighter[:, :, :32] <= 0).all() and (brighter[:, :, 32:] >= 0).all()
    assert not inside(changed_by("background", factors, drawn) & (brighter != 0)).any()


def test_pose_moves_near_parts_further():
    turned = np.repeat(MIDDLE, 2, axis=0)
    turned = with_factor(turned, "pose", [-1, 1])
    hair, skin, mouth = (
        np.diff(middle_column(changed_by(name, turned)))[0]
        for name in ("hair_colour", "skin_tone", "smile")
    )
    assert hair < skin and 0 < skin < mouth < 12


@pytest.mark.parametrize(
    "name, part, measure",
    [
        ("face_width", "skin_tone", lambda mask: mask[:, 40].sum(axis=1)),
        ("hair_length", "hair_colour", lambda mask: mask.any(axis=2) @ np.ones(64)),
        ("smile", "smile", None),
    ],
    ids=["face width", "hair length", "smile"],
)
def test_more_of_a_factor_is_more_of_it_in_the_picture(name, part, measure):
    factors = np.repeat(MIDDLE, 5, axis=0)
    factors = with_factor(factors, name, np.linspace(LOW[FACTORS.index(name)], 1, 5))
    if measure is None:  # how much lower the mouth's middle is than its ends, by its dark line
        images = draw_faces(factors)[:, 1].astype(float)
        middle, ends = (images[:, 38:51, columns].mean(axis=2) for columns in (slice(31, 33), [28]))
        value = middle.argmin(axis=1) - ends.argmin(axis=1)
    else:
        value = measure(changed_by(part, factors))
    assert (np.diff(value) >= 0).all() and value[-1] >= value[0] + 2


def test_in_all_corners_of_the_factor_space_eyes_and_mouth_are_inside_the_face():
    ends = [[0.5] if name in ("background", "light", "skin_tone") else [low, 1]
            for name, low in zip(FACTORS, LOW, strict=True)]  # fmt: skip
    corners = np.array(list(itertools.product(*ends)), dtype=float)
    outside = changed_by("background", corners)
    for name in ("smile", "eye_spacing"):
        part = changed_by(name, corners)
        assert part.sum(axis=(1, 2)).min() > 30
        assert not (part & outside).any(), name


# --- Bad arguments ---


@pytest.mark.parametrize("n", [0, -1, 2.0, "3", None, True])
def test_a_wrong_n_is_named(n, tmp_path):
    for call in (lambda: sample_factors(n), lambda: faces(n, root=tmp_path)):
        with pytest.raises(ValueError, match=rf"n is {n!r}; expected a whole number, at least 1"):
            call()


def test_more_faces_than_fit_into_memory_are_an_error(tmp_path):
    for call in (lambda: sample_factors(10**12), lambda: faces(10**12, root=tmp_path)):
        with pytest.raises(ValueError, match=r"n is 10{12}; expected at most 1,000,000"):
            call()


@pytest.mark.parametrize("root", [0, "", b"data", True])
def test_a_root_that_is_no_folder_is_named(root):
    with pytest.raises(ValueError, match=r"root is .*expected the name of a file or folder"):
        faces(1, root=root)


@pytest.mark.parametrize("seed", [-1, 0.5, None, "a", [1]])
def test_a_wrong_seed_is_named(seed):
    with pytest.raises(ValueError, match=r"seed is .*; expected a whole number, at least 0"):
        sample_factors(1, seed)


@pytest.mark.parametrize(
    "factors, message",
    [
        (np.zeros(9), r"factors has shape \(9,\); expected \(n, 9\)"),
        (np.zeros((2, 8)), r"factors has shape \(2, 8\); expected \(n, 9\)"),
        (with_factor(MIDDLE, "smile", 1.5), r"factors\[0\] has smile 1.5; expected \[-1, 1\]"),
        (with_factor(MIDDLE, "eye_spacing", -0.5), r"eye_spacing -0.5; expected \[0, 1\]"),
        ("abc", r"factors is .*; expected numbers \(n, 9\)"),
        ([[1.0], [1.0, 2.0]], r"factors is \[\[1.0\], \[1.0, 2.0\]\]; expected an array"),
        (with_factor(MIDDLE, "light", np.nan), r"factors\[0\] has light nan"),
    ],
)
def test_wrong_factors_are_named(factors, message):
    for call in (draw_faces, attributes_of):
        with pytest.raises(ValueError, match=message):
            call(factors)


@pytest.mark.parametrize(
    "drawn",
    [np.zeros((1, 5)), np.zeros((2, 5), bool), np.zeros((1, 11), bool), np.zeros(5, bool)],
    ids=["floats", "two faces", "all attributes", "no rows"],
)
def test_wrong_attributes_are_named(drawn):
    with pytest.raises(ValueError, match=r"drawn has shape .* expected \(1, 5\) and bool: Bangs"):
        draw_faces(MIDDLE, drawn)


# --- The file ---


@pytest.fixture
def drawings(monkeypatch):
    """How many faces each call of `draw_faces` has drawn."""
    counts = []

    def counted(factors, drawn=None):
        counts.append(len(factors))
        return draw_faces(factors, drawn)

    monkeypatch.setattr(faces_module, "draw_faces", counted)
    return counts


def only_file(folder):
    (file,) = folder.iterdir()
    return file


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_second_time_the_faces_are_read(tmp_path, drawings, capsys):
    folder = tmp_path / "new" / "folder"
    first = faces(100, seed=1, root=folder)
    assert only_file(folder).name == f"drawn-faces-v{VERSION}-n100-seed1.npz"
    before = only_file(folder).stat()
    second = faces(100, seed=1, root=folder)
    assert same(first, second) and second[0].flags.writeable
    assert drawings[0] == 100 and sum(drawings[1:]) <= 16  # a few, to compare
    after = only_file(folder).stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert capsys.readouterr().out == ""


def test_faces_are_those_of_their_factors(tmp_path):
    images, factors, attributes = faces(20, seed=4, root=tmp_path)
    assert images.shape == (20, 3, 64, 64) and images.dtype == np.uint8
    assert same((factors, attributes), sample_factors(20, 4))
    assert np.array_equal(images, draw_faces(factors, attributes[:, : len(DRAWN)]))


def test_root_goes_before_vae_data_and_vae_data_before_the_courses_folder(tmp_path, monkeypatch):
    from vae_helpers import data as data_module

    monkeypatch.setattr(data_module, "DATA_FOLDER", tmp_path / "course")
    for name, root, variable in (("root", tmp_path / "root", "variable"), ("variable",) * 3):
        monkeypatch.setenv("VAE_DATA", str(tmp_path / variable))
        faces(2, root=root if name == "root" else None)
        assert only_file(tmp_path).name == name
        only_file(tmp_path / name).unlink()
        (tmp_path / name).rmdir()
    monkeypatch.delenv("VAE_DATA")
    faces(2)
    assert only_file(tmp_path).name == "course"


def archive(**arrays):
    def write(file):
        np.savez_compressed(file, **arrays)

    return write


def flip_a_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


DAMAGES = {
    "empty": lambda file: file.write_bytes(b""),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "a byte flipped": flip_a_byte,
    "html": lambda file: file.write_bytes(b"<html>log in first</html>" * 9),
    "one array": lambda file: np.save(file.open("wb"), np.zeros((20, 3, 64, 64), np.uint8)),
    "other name": archive(pictures=np.zeros(3)),
    "other count": archive(images=np.zeros((19, 3, 64, 64), np.uint8)),
    "other shape": archive(images=np.zeros((20, 64, 64, 3), np.uint8)),
    "other type": archive(images=np.zeros((20, 3, 64, 64))),
    "no shape": archive(images=np.uint8(3)),
    "objects": archive(images=np.array([{}] * 20)),
    "other faces": archive(images=draw_faces(*some_faces(20, seed=99))),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_file_is_drawn_anew_with_one_line(damage, tmp_path, capsys):
    right = faces(20, root=tmp_path)
    file = only_file(tmp_path)
    content = file.read_bytes()
    DAMAGES[damage](file)
    assert same(faces(20, root=tmp_path), right)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"Drawing the faces anew, because {file} cannot be used: ")
    assert only_file(tmp_path).read_bytes() == content


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_nothing_half(error, tmp_path, monkeypatch, capsys):
    def write_half(file, **arrays):
        with open(file, "wb") as half:
            half.write(b"PK half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", write_half)
        if error is OSError:  # as when the disk is full
            assert len(faces(3, root=tmp_path)[0]) == 3
        else:
            with pytest.raises(KeyboardInterrupt):
                faces(3, root=tmp_path)
    assert list(tmp_path.iterdir()) == []
    faces(3, root=tmp_path)
    assert only_file(tmp_path).suffix == ".npz" and capsys.readouterr().out == ""


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    try:
        for folder in (tmp_path / "file", tmp_path / "file" / "below", locked, "a\0b"):
            assert len(faces(3, root=folder)[0]) == 3
    finally:
        locked.chmod(0o700)
    assert (tmp_path / "file").read_text() == "not a folder"
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no POSIX mode bits")
def test_the_file_can_be_read_by_whom_other_files_can_be(tmp_path):
    faces(2, root=tmp_path / "data")
    plain = tmp_path / "plain"
    plain.write_text("")
    assert only_file(tmp_path / "data").stat().st_mode == plain.stat().st_mode
