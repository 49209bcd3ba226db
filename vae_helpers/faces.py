"""Drawn faces: 64x64 RGB pictures from known factors, for where the real CelebA is missing.

A face is a stack of shapes with soft edges. A shape is a signed distance: by how many pixels each
pixel is outside (positive) or inside (negative). `_paint` makes colour of it. The larger of two
distances is the shapes' overlap, the smaller one their union.

Drawing takes only `+ - * /`, square roots and comparisons, which IEEE 754 fixes to the last bit:
the same factors give the same bytes on every machine.

While a chunk of faces is drawn, the faces are the last dimension, `(height, width, faces)`, so
that one number per face, `(faces,)`, broadcasts. x and y are in pixels from the middle, y down.
"""

import contextlib
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

from vae_helpers.checks import brief, check_path, check_whole

import numpy as np

VERSION = 1  # of the drawing; raise it when a pixel changes, so that no old file is read
SIZE = 64
MOST = 1_000_000  # faces in memory: 12 GB

# Uniform between LOW and 1, and independent. From -1: turned to the left or right of the
# picture, frown or smile, lit from its left or right. From 0: little to much, light to dark, or
# along the colours below.
FACTORS = (
    "pose", "smile", "eye_spacing", "face_width", "hair_length",
    "skin_tone", "hair_colour", "background", "light",
)  # fmt: skip
LOW = (-1, -1, 0, 0, 0, 0, 0, 0, -1)
# Attributes that are drawn, independently of all else, each with its probability.
DRAWN = {
    "Bangs": 0.25,
    "Eyeglasses": 0.25,
    "Mouth_Slightly_Open": 0.5,
    "Mustache": 0.15,
    "Wearing_Hat": 0.15,
}
# Attributes that say where a factor lies: (factor, above, at most). A hair colour is the nearest.
DERIVED = {
    "Smiling": ("smile", 0.2, 1),
    "Pale_Skin": ("skin_tone", -1, 0.15),
    "Black_Hair": ("hair_colour", -1, 0.125),
    "Brown_Hair": ("hair_colour", 0.125, 0.375),
    "Blond_Hair": ("hair_colour", 0.625, 0.875),
    "Gray_Hair": ("hair_colour", 0.875, 1),
}
# CelebA's names for what a drawing can show; it cannot show who is attractive, young or male.
ATTRIBUTES = (*DRAWN, *DERIVED)

SKIN = (
    (252, 226, 206), (240, 200, 168), (216, 166, 124),
    (174, 120, 82), (126, 82, 56), (98, 64, 47),
)  # fmt: skip
HAIR = ((38, 34, 38), (104, 66, 42), (168, 80, 44), (228, 190, 118), (176, 174, 174))
BACKGROUND = (  # rose to violet, not round the circle: its ends differ
    (240, 188, 180), (246, 222, 170), (192, 222, 170),
    (160, 216, 214), (176, 194, 236), (214, 186, 228),
)  # fmt: skip
INK, WHITE, IRIS, MOUTH = (44, 34, 36), (252, 250, 246), (92, 62, 44), (98, 38, 42)
SHIRT, HAT, BRIM = (74, 96, 132), (186, 84, 70), (150, 62, 56)

X = (np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2)[None, :, None]
Y = X.transpose(1, 0, 2)


def faces(n, seed=0, root=None):
    """The first `n` faces of a seed: images, factors, attributes.

    Images are `(n, 3, 64, 64)`, uint8. They are kept in a file in the folder `root`, else the
    environment variable VAE_DATA, else `data/` of the course, and read from there the next time. A
    file that is damaged, or not of these faces, is drawn anew, with one printed line. A folder
    that cannot be written is no error.

    Factors and attributes, and errors, are those of `sample_factors`.
    """
    factors, attributes = sample_factors(n, seed)
    drawn = attributes[:, : len(DRAWN)]
    file = _folder(root) / f"drawn-faces-v{VERSION}-n{n}-seed{seed}.npz"
    images = _read(file, factors, drawn)
    if images is None:
        images = draw_faces(factors, drawn)
        _write(file, images)
    return images, factors, attributes


def sample_factors(n, seed=0):
    """Draw factors `(n, 9)`, float64, and attributes `(n, 11)`, bool, of `n` faces.

    Columns are in the order of FACTORS and ATTRIBUTES. The first faces of a seed are the same
    for every `n`. Raises `ValueError` unless `n` is 1 to MOST and `seed` at least 0.
    """
    check_whole(1, n=n)
    check_whole(seed=seed)
    if n > MOST:
        raise ValueError(f"n is {n}; expected at most {MOST:,}")
    uniform = np.random.default_rng(seed).random((n, len(FACTORS) + len(DRAWN)))
    low = np.array(LOW)
    factors = low + (1 - low) * uniform[:, : len(FACTORS)]
    drawn = uniform[:, len(FACTORS) :] < np.array(list(DRAWN.values()))
    return factors, attributes_of(factors, drawn)


def attributes_of(factors, drawn=None):
    """All attributes `(n, 11)`, bool, of faces: those drawn, then those derived from factors.

    Arguments and errors are those of `draw_faces`.
    """
    factors, drawn = _check(factors, drawn)
    value = dict(zip(FACTORS, factors.T, strict=True))
    derived = [(value[f] > above) & (value[f] <= most) for f, above, most in DERIVED.values()]
    return np.column_stack([drawn, *derived])


def draw_faces(factors, drawn=None):
    """Draw faces: uint8 images `(n, 3, 64, 64)` from factors `(n, 9)` in the order of FACTORS.

    `drawn` `(n, 5)`, bool, says which attributes of DRAWN each face has (default: none); these
    are the first columns of the attributes: `attributes[:, :len(DRAWN)]`.

    Raises `ValueError` for another shape, `drawn` that is not bool, or a factor out of its range.
    """
    factors, drawn = _check(factors, drawn)
    images = np.empty((len(factors), 3, SIZE, SIZE), np.uint8)
    for start in range(0, len(factors), 64):  # few enough for a processor's cache
        chunk = slice(start, start + 64)
        images[chunk] = _draw(factors[chunk], drawn[chunk])
    return images


def _check(factors, drawn):
    factors, drawn = _array(factors, "factors"), None if drawn is None else _array(drawn, "drawn")
    if factors.dtype.kind not in "biuf":
        raise ValueError(f"factors is {brief(factors)}; expected numbers (n, {len(FACTORS)})")
    factors = factors.astype(np.float64)
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise ValueError(f"factors has shape {factors.shape}; expected (n, {len(FACTORS)})")
    wrong = np.argwhere(~((factors >= LOW) & (factors <= 1)))  # also true for NaN
    if len(wrong):
        row, k = wrong[0]
        raise ValueError(
            f"factors[{row}] has {FACTORS[k]} {factors[row, k]:g}; expected [{LOW[k]}, 1]"
        )
    shape = (len(factors), len(DRAWN))
    drawn = np.zeros(shape, bool) if drawn is None else drawn
    if drawn.shape != shape or drawn.dtype != bool:
        raise ValueError(
            f"drawn has shape {drawn.shape} and dtype {drawn.dtype}; expected {shape} and bool: "
            f"{', '.join(DRAWN)}"
        )
    return factors, drawn


def _array(values, name):
    try:
        return np.asarray(values)
    except Exception as error:  # of numpy for uneven lists, of torch for a tensor with gradients
        raise ValueError(f"{name} is {brief(values)}; expected an array ({error})") from None


# --- The file ---


def _folder(root):
    if root is not None:
        check_path(root=root)
    folder = root or os.environ.get("VAE_DATA")
    if not folder:
        from vae_helpers.data import DATA_FOLDER as folder  # late, because data uses this module
    return Path(folder).expanduser()


def _read(file, factors, drawn):
    """The images in the file, or None where there is none or not the right one."""
    try:
        if not file.exists():
            return None
        with np.load(file) as stored:  # the format has checksums
            images = stored["images"]
        some = slice(None, None, -(-len(factors) // 16))
        if len(images) != len(factors) or images.dtype != np.uint8:
            raise ValueError(f"it holds {images.dtype} {images.shape}")
        if not np.array_equal(images[some], draw_faces(factors[some], drawn[some])):
            raise ValueError("it holds other pictures")
    except Exception as error:  # a damaged file may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"Drawing the faces anew, because {file} cannot be used: {reason}.")
        return None
    return images


def _write(file, images):
    """Write beside the final place, then move the whole file: nobody ever reads half a file."""
    with contextlib.suppress(OSError, ValueError):  # the second for a name no folder can have
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".faces-") as temporary:
            np.savez_compressed(Path(temporary) / file.name, images=images)
            os.replace(Path(temporary) / file.name, file)


# --- Shapes and colours ---


def _ellipse(x, y, a, b):
    """Signed distance to the ellipse with half-axes `a` and `b`, right near its edge."""
    u, v = x / a, y / b
    slope = 2 * np.sqrt((u / a) ** 2 + (v / b) ** 2)
    return (u * u + v * v - 1) / (slope + 1e-6)


def _box(x, y, a, b, r):
    """Signed distance to the box with half-sides `a` and `b` and corners rounded by `r`."""
    u, v = np.abs(x) - a + r, np.abs(y) - b + r
    outside = np.sqrt(np.maximum(u, 0) ** 2 + np.maximum(v, 0) ** 2)
    return outside + np.minimum(np.maximum(u, v), 0) - r


def _paint(canvas, distance, colour, opacity=1, soft=1):
    """Cover `canvas` `(4, h, w, n)` with `colour` where `distance` is negative.

    The edge is `soft` pixels wide. The fourth channel is how much is covered at all, 0 to 255.
    """
    cover = np.clip(0.5 - distance / soft, 0, 1) * opacity
    for channel, value in zip(canvas, (*colour, 255), strict=True):
        channel += cover * (value - channel)


def _fill(canvas, distance, outline, colour, opacity=1):
    """Paint a shape with an outline of about a pixel."""
    _paint(canvas, distance, outline, opacity)
    _paint(canvas, distance + 0.9, colour, opacity)


def _rows(canvas, top, bottom):
    """The canvas between two heights, and the y of its pixels: small shapes need no more."""
    rows = slice(top + SIZE // 2, bottom + SIZE // 2)
    return canvas[:, rows], Y[rows]


def _walk(colours, t):
    """The colour `(3, n)`, 0 to 255, at `t` `(n,)` in [0, 1] on the way along `colours`."""
    colours = np.array(colours, dtype=np.float32).T
    t = t * (colours.shape[1] - 1)
    step = np.minimum(np.floor(t), colours.shape[1] - 2)
    start, end = colours[:, step.astype(int)], colours[:, step.astype(int) + 1]
    return start + (t - step) * (end - start)


def _tint(colour, red, green, blue):
    """The colour `(3, n)`, darker by a factor per channel."""
    return colour * np.array([[red], [green], [blue]], dtype=np.float32)


# --- The face, from back to front ---


def _draw(factors, drawn):
    """Images `(n, 3, 64, 64)` of one chunk, uint8."""
    m = _measures(factors)
    on = dict(zip(DRAWN, drawn.T.astype(np.float32), strict=True))
    canvas = np.zeros((4, SIZE, SIZE, len(factors)), np.float32)
    _body(canvas, m)
    _head(canvas, m)
    _nose(canvas, m)
    _mouth(canvas, m, on["Mouth_Slightly_Open"], on["Mustache"])
    _eyes(canvas, m)
    _glasses(canvas, m, on["Eyeglasses"])
    _hair(canvas, m, on["Bangs"])
    _hat(canvas, m, on["Wearing_Hat"])
    lit = 1 + 0.2 * m.light * np.clip(X / 20, -1, 1)
    through = 1 - canvas[3] / 255
    out = canvas[:3] * lit + through * m.background[:, None, None]
    return np.clip(out + 0.5, 0, 255).astype(np.uint8).transpose(3, 0, 1, 2)


def _measures(factors):
    """Where the parts of each face are, and their colours, from factors `(n, k)`."""
    f = SimpleNamespace(**dict(zip(FACTORS, factors.astype(np.float32).T, strict=True)))
    sin = 0.4 * f.pose  # of the angle by which the head is turned
    cos = np.sqrt(1 - sin * sin)
    eye = 5.8 + 1.5 * f.eye_spacing  # from the middle of the face
    eye_z = np.sqrt(13 * 13 - eye * eye)  # in front of the axis on which the head turns
    skin, hair = _walk(SKIN, f.skin_tone), _walk(HAIR, f.hair_colour)
    return SimpleNamespace(
        pose=f.pose, smile=f.smile, length=f.hair_length, light=f.light,
        width=13 + 3.5 * f.face_width, face_x=1.8 * f.pose,
        cap=14.2 + 3.5 * f.face_width + 1.4 * f.hair_length, hair_x=f.pose,
        # The middle of each eye, and how much narrower it looks from the side.
        eyes=[
            (side * eye * cos + eye_z * sin, np.minimum(cos - side * sin * eye / eye_z, 1))
            for side in (-1, 1)
        ],
        cheeks=[10 * sin - 7.4 * cos, 10 * sin + 7.4 * cos], nose_x=16 * sin,
        mouth_x=10.5 * sin, mouth=(5.5 + 0.8 * f.smile) * (1.6 * cos - 0.6),
        skin=skin, shade=_tint(skin, 0.84, 0.74, 0.7), line=_tint(skin, 0.66, 0.52, 0.48),
        blush=_tint(skin, 1, 0.84, 0.82), lips=_tint(skin, 0.84, 0.46, 0.48) + 16,
        hair=hair, strand=_tint(hair, 0.72, 0.72, 0.72), back=_tint(hair, 0.58, 0.58, 0.58),
        brow=_tint(hair, 0.45, 0.45, 0.45),
        background=_walk(BACKGROUND, f.background),
    )  # fmt: skip


def _body(canvas, m):
    """Shoulders, the hair behind the neck, the neck in its collar."""
    part, y = _rows(canvas, 8, 32)
    chest = _ellipse(X, y - 41, 29, 17)
    _paint(part, chest, SHIRT)
    half, wide = 7 + 15.5 * m.length, m.width + 0.8 + 4 * m.length
    back = _box(X - m.hair_x, Y + 15 - half, wide, half, 0.6 * wide)
    _fill(canvas, back, m.back, m.strand)
    _paint(part, np.maximum(chest, _ellipse(X, y - 25, 12.5, 7)), SHIRT)  # hair ends at the collar
    collar = np.maximum(chest, _ellipse(X, y - 24, 9.5, 5.5))
    neck = np.minimum(_box(X, y - 14, 6.5, 12, 1), collar)
    _paint(part, neck, m.skin)
    chin = _ellipse(X - m.face_x, y - 2, 0.95 * m.width, 19)
    _paint(part, np.maximum(neck, chin), m.shade)


def _head(canvas, m):
    """Ears, and the face without its features."""
    part, y = _rows(canvas, -8, 10)
    for side in (-1, 1):  # the far ear hides behind the head, both under long hair
        away = 4 * m.length + 3 * np.maximum(side * m.pose, 0)
        x = X - m.face_x - side * (m.width + 0.8 - away)
        _fill(part, _ellipse(x, y - 1, 2.8, 4.5), m.shade, m.skin)
        _paint(part, _ellipse(x, y - 1, 1.2, 2.6), m.shade)
    part, y = _rows(canvas, -22, 20)
    face = _ellipse(X - m.face_x, y + 1, m.width * (1 - 0.011 * y), 19.5)
    _fill(part, face, m.shade, m.skin)
    for cheek_x in m.cheeks:
        cheek = _ellipse(X - cheek_x, y - 6.5, 3.2, 2.4)
        _paint(part, np.maximum(cheek, face + 1.5), m.blush, 0.6, soft=3)


def _eyes(canvas, m):
    part, y = _rows(canvas, -12, 4)
    for eye_x, seen in m.eyes:
        x, half = X - eye_x, 3.6 * seen
        white = _ellipse(x, y + 0.6, half, 2.5)
        _paint(part, _ellipse(x, y + 1.2, half + 0.4, 2.8), INK)  # what stays of it is the lid
        _paint(part, white, WHITE)
        brow = np.abs(y + 6.9 - 0.06 * x * x) - 0.8
        _paint(part, np.maximum(brow, np.abs(x) - half - 0.6), m.brow)
        x = x - 0.7 * m.pose  # they look where the head turns
        _paint(part, np.maximum(_ellipse(x, y + 0.8, 2.1, 2.2), white), IRIS)
        _paint(part, np.maximum(_ellipse(x, y + 0.8, 1.1, 1.1), white), INK)
        _paint(part, _ellipse(x + 0.8, y + 1.7, 0.7, 0.7), WHITE)


def _nose(canvas, m):
    part, y = _rows(canvas, -2, 9)
    x = X - m.nose_x
    _paint(part, _ellipse(x, y - 4.8, 2.8, 1.9), m.shade)
    _paint(part, _ellipse(x, y - 4.0, 2.4, 1.8), m.skin)
    _paint(part, _ellipse(np.abs(x) - 1.3, y - 5.6, 0.6, 0.45), m.line)


def _mouth(canvas, m, opened, mustache):
    part, y = _rows(canvas, 5, 18)
    x = X - m.mouth_x
    end = np.abs(x) - m.mouth
    bow = np.maximum(1 - (x / m.mouth) ** 2, 0)  # 1 in the middle, 0 in the corners
    below = y - 11 - m.smile * (2.3 + 0.7 * m.smile) * (bow - 0.5)  # the line of the upper lip
    gap = 3 * opened * bow
    lips = np.maximum(-below - 1.3 * bow, below - gap - 1.9 * bow)
    _paint(part, np.maximum(lips, end), m.lips)
    _paint(part, np.maximum(np.maximum(-below, below - gap) - 0.4, end), MOUTH)
    teeth = np.maximum(-below, below - 0.6 * gap)
    _paint(part, np.maximum(teeth, end + 0.2 * m.mouth), WHITE, opened)
    hair = np.abs(y - 8.2 - 0.04 * x * x) - 1.6 + 0.03 * x * x
    _fill(part, np.maximum(hair, np.abs(x) - 6), m.brow, m.strand, mustache)


def _hair(canvas, m, bangs):
    """A cap over the head, without the face: below the hairline, between the temples."""
    part, y = _rows(canvas, -28, 26)
    x = X - m.face_x
    cap = _box(X - m.hair_x, y + 3, m.cap, 20 + 1.6 * m.length, 0.93 * m.cap)
    # The hairline is swept from a parting to both sides, or bangs, whose ends are 5 pixels wide.
    across = x - 1.6 * m.pose + 4
    swept = y + 14.5 - 0.035 * across * across
    tooth = 5 * np.abs(across / 5 - np.floor(across / 5) - 0.5)
    line = swept + bangs * (y + 9.5 - 0.3 * tooth * tooth - swept)
    temple = m.width - 1.6 - 1.2 * m.length - np.abs(x - 2 * m.pose)
    tips = y + 1.5 - 26 * m.length + 0.6 * (m.width - np.abs(x))
    hair = np.maximum(np.maximum(cap, np.minimum(line, temple)), tips)
    _fill(part, hair, m.back, m.hair)
    for depth in (3, 6):  # strands follow the hairline; bangs' strands hang, both in one place
        strand = np.abs(swept + depth)
        strand = strand + bangs * (tooth + depth - 3 - strand)
        _paint(part, np.maximum(strand - 0.4, hair + 1.5), m.strand, 0.6)


def _glasses(canvas, m, worn):
    part, y = _rows(canvas, -7, 6)
    rims = [_ellipse(X - eye_x, y + 0.6, 5 * seen, 4.6) for eye_x, seen in m.eyes]
    bar = np.maximum(np.abs(y + 1.8) - 0.5, np.abs(X - m.face_x) - m.width)
    for rim in rims:
        _paint(part, rim, WHITE, 0.15 * worn)
        _paint(part, np.abs(rim) - 0.6, INK, worn)
        bar = np.maximum(bar, -rim)
    _paint(part, bar, INK, worn)


def _hat(canvas, m, worn):
    part, y = _rows(canvas, -32, -4)
    x = X - m.hair_x
    wide = m.cap + 1.2
    _paint(part, np.maximum(_box(x, y + 8, wide - 0.6, 21, 0.85 * wide), y + 11), HAT, worn)
    _fill(part, _box(x, y + 12, wide, 2.6, 1.8), HAT, BRIM, worn)
