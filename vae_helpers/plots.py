"""Pictures of images, codes and histories. Every figure goes out with alternative text."""

import io
import math

from vae_helpers.checks import (
    as_tensor,
    brief,
    check_finite,
    check_model,
    check_number,
    check_whole,
)
from vae_helpers.data import to_float

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from IPython.display import Image, Markdown, display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torchvision.utils import make_grid

DPI = 90
MOST = 1000  # images in a figure: more would take a matplotlib canvas of gigabytes
# Ten colours told apart with colour-blind eyes (after Paul Tol's "muted" scheme, plus black);
# points are drawn as the digit itself, so colour is never the only cue.
DIGIT_COLOURS = (
    "#332288", "#117733", "#44AA99", "#88CCEE", "#B8860B",
    "#CC6677", "#AA4499", "#882255", "#000000", "#777777",
)  # fmt: skip
# For a few curves: colour, line style and marker change together.
STYLES = (
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#009E73", "linestyle": "-.", "marker": "^"},
    {"color": "#CC79A7", "linestyle": ":", "marker": "D"},
)


def show(fig, alt):
    """Display a matplotlib figure as a PNG with the alternative text `alt`, and close it."""
    check_alt(alt)
    display(Image(figure_png(fig), alt=" ".join(alt.split())))


def check_alt(alt):
    """Before a figure is drawn, so that none stays open."""
    if not isinstance(alt, str) or not alt.strip():
        came = "empty" if isinstance(alt, str) else brief(alt)
        raise ValueError(
            f"alt is {came}; expected a sentence for readers who cannot see the figure"
        )


def figure_png(fig, frame=False):
    """The figure as PNG bytes; the figure is closed.

    White edges are cut away. A `frame` of a slider keeps them, so that all are of one size, and
    is not made as small as it could be, so that it is quick.
    """
    if not isinstance(fig, Figure):
        raise ValueError(f"fig is {brief(fig)}; expected a matplotlib Figure")
    fig.set_dpi(DPI)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()  # once; savefig draws twice
    picture = PIL.Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    if not frame:
        picture = _cut(picture, fig, canvas.get_renderer())
    plt.close(fig)
    return _png(picture) if frame else _small(picture)


def _cut(picture, fig, renderer):
    """The picture of `fig` without its white edges, but for a tenth of an inch."""
    width, height = picture.size
    left, bottom, right, top = fig.get_tightbbox(renderer).extents * DPI
    if min(left, bottom, width - right, height - top) < -1:  # something is outside the canvas
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.1)
        return PIL.Image.open(buffer).convert("RGB")
    left, top = max(math.floor(left), 0), max(height - math.ceil(top), 0)
    right, bottom = min(math.ceil(right), width), min(height - math.floor(bottom), height)
    return PIL.ImageOps.expand(picture.crop((left, top, right, bottom)), DPI // 10, "white")


def small_png(png, colours=None):
    """The PNG, smaller: with a palette if that loses nothing, or of so many `colours` at most."""
    if colours is not None:
        check_whole(1, colours=colours)
        check_number("at most 256", lambda value: value <= 256, colours=colours)
    return _small(open_png(png, "png"), colours)


def open_png(png, name):
    """The picture of PNG bytes in RGB; `name`: what the error calls them."""
    try:
        return PIL.Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB")
    except (TypeError, OSError):
        raise ValueError(f"{name} is {brief(png)}; expected the bytes of a PNG") from None


def _small(picture, colours=None):
    if colours or picture.getcolors(256):
        picture = picture.quantize(colours or 256, PIL.Image.Quantize.MAXCOVERAGE)
    return _png(picture, compress_level=8)  # 9 takes thrice as long for one percent


def _png(picture, compress_level=1):
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=compress_level)
    return buffer.getvalue()


def show_table(header, rows, caption=""):
    """Display rows of numbers and words as a table; floats with two decimals."""

    def cell(value):
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    try:
        header, rows = list(map(str, header)), [list(row) for row in rows]
    except (TypeError, RuntimeError):  # torch has errors of its own
        raise ValueError(
            f"header is {brief(header)}, rows is {brief(rows)}; expected a list and a list of lists"
        ) from None
    if not header or any(len(row) != len(header) for row in rows):
        raise ValueError(
            f"header has {len(header)} columns, rows have {sorted({*map(len, rows)})}; expected as "
            "many, and at least one"
        )
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    lines += [[cell(value) for value in row] for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    display(Markdown(f"{caption}\n\n{table}".lstrip()))


def _check_pictures(images, name, most=math.inf):
    """Grey or coloured images, not too many for a figure; what is outside [0, 1] is clipped."""
    tensor = isinstance(images, torch.Tensor) and images.layout == torch.strided
    if not tensor or images.ndim != 4 or images.shape[1] not in (1, 3) or images.is_complex():
        raise ValueError(f"{name} is {brief(images)}; expected a tensor (n, 1 or 3, height, width)")
    if not images.numel() or len(images) > most:
        raise ValueError(f"{name} has shape {tuple(images.shape)}; expected 1 to {most} images")
    check_finite(**{name: images.detach().cpu()})


def tile(images, columns):
    """Images `(n, channels, h, w)` in [0, 1] as one `(H, W, 3)` array of tiles with white gaps."""
    _check_pictures(images, "images")
    check_whole(1, columns=columns)
    images = to_float(images.detach().cpu()).float()
    grid = make_grid(images, nrow=columns, padding=1, pad_value=1.0)
    return grid.permute(1, 2, 0).clamp(0, 1).numpy()


def image_grid(images, columns, title, alt):
    """Show images `(n, channels, h, w)` in a grid."""
    check_alt(alt)
    _check_pictures(images, "images", most=MOST)
    check_whole(1, columns=columns)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    fig, ax = plt.subplots(figsize=(0.55 * columns, 0.55 * rows + 0.3))
    ax.imshow(tile(images, columns))
    ax.set_title(title)
    ax.axis("off")
    show(fig, alt)


def image_rows(rows, title, alt):
    """Show a dict `{label: images (n, channels, h, w)}` as labelled rows of one width."""
    check_alt(alt)
    if not isinstance(rows, dict) or not rows:
        raise ValueError(f"rows is {brief(rows)}; expected a dict of images, at least one row")
    for label, images in rows.items():
        _check_pictures(images, f"rows[{label!r}]", most=MOST)
    columns = max(len(images) for images in rows.values())
    fig, axes = plt.subplots(
        len(rows), figsize=(0.6 * columns + 1.2, 0.64 * len(rows) + 0.3), squeeze=False
    )
    for ax, (label, images) in zip(axes[:, 0], rows.items(), strict=True):
        ax.imshow(tile(images, columns))
        ax.set_ylabel(label, rotation=0, ha="right", va="center")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    fig.suptitle(title, y=1.0)
    fig.subplots_adjust(top=1 - 0.35 / fig.get_figheight())  # room for the title, and no more
    show(fig, alt)


def history(history, alt, terms=None):
    """Show train and validation curves of each term of the loss, in nats per image."""
    check_alt(alt)
    train = history.get("train") if isinstance(history, dict) else None
    if not train or not all(isinstance(split, dict) for split in history.values()):
        raise ValueError(f"history is {brief(history)}; expected the dict that fit returns")
    terms = list(train) if terms is None else terms
    known = [term for split in history.values() for term in split]
    names = isinstance(terms, list | tuple) and all(isinstance(term, str) for term in terms)
    # An interrupted training may have none yet.
    if not names or not terms or (any(train.values()) and not set(terms) <= set(known)):
        raise ValueError(f"terms is {brief(terms)}; expected some of {', '.join(train)}")
    fig, axes = plt.subplots(1, len(terms), figsize=(3.6 * len(terms), 2.8), squeeze=False)
    for ax, term in zip(axes[0], terms, strict=True):
        for (split, values), style in zip(history.items(), STYLES, strict=False):
            if values.get(term):
                ax.plot(range(1, len(values[term]) + 1), values[term], label=split, ms=4, **style)
        ax.set(title=term, xlabel="epoch", ylabel="nats per image")
        if ax.lines:
            ax.legend()
    fig.tight_layout()
    show(fig, alt)


def scatter_codes(ax, codes, labels, title):
    """Draw two-dimensional codes `(n, 2)` on `ax`, each as its digit in the digit's colour."""
    if not isinstance(ax, Axes):
        raise ValueError(f"ax is {brief(ax)}; expected the Axes of a figure")
    codes = as_tensor(codes)
    if (
        not isinstance(codes, torch.Tensor)
        or codes.ndim != 2
        or codes.shape[1] != 2
        or codes.is_complex()
    ):
        raise ValueError(f"codes is {brief(codes)}; expected a tensor (n, 2)")
    codes = codes.detach().cpu()
    check_finite(codes=codes)
    labels = check_digits(labels, len(codes))
    for digit in range(10):
        points = codes[labels == digit]
        ax.scatter(
            points[:, 0], points[:, 1], s=26, marker=f"${digit}$",
            color=DIGIT_COLOURS[digit], linewidths=0.1, alpha=0.75,
        )  # fmt: skip
    ax.set(title=title, xlabel="$z_1$", ylabel="$z_2$", aspect="equal")


def check_digits(labels, n):
    """The `n` labels on the CPU, or a `ValueError` unless they are whole numbers from 0 to 9."""
    digits = as_tensor(labels)
    if isinstance(digits, torch.Tensor) and digits.shape == (n,) and not digits.is_complex():
        digits = digits.cpu()
        if torch.isin(digits.double(), torch.arange(10.0).double()).all():
            return digits
    raise ValueError(
        f"labels is {brief(labels)}; expected ({n},): a digit, 0 to 9, for each of codes or images"
    )


@torch.no_grad()
def manifold(model, n=20, limit=3.0):
    """A model with two latents, decoded on an n x n grid over [-limit, limit]^2: `(n*n, ...)`.

    Rows go from z2 = limit (top) to -limit, columns from z1 = -limit to limit.
    """
    check_model(model, "latent_dim", "decode")
    if model.latent_dim != 2:
        raise ValueError(f"model has {model.latent_dim} latents; expected 2")
    check_whole(1, n=n)
    check_number("a number above 0, at most 1000", lambda value: 0 < value <= 1000, limit=limit)
    if n * n > 100_000:
        raise ValueError(f"n is {n}; expected at most 316, or n * n pictures are too many")
    axis = torch.from_numpy(np.linspace(-limit, limit, n, dtype=np.float32))
    z2, z1 = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    z = torch.stack([z1.flatten(), z2.flatten()], dim=1)
    return model.decode(z.to(next(model.parameters()).device)).cpu()
