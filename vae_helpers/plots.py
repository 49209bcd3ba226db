"""Pictures of images, codes and histories. Every figure goes out with alternative text."""

import io

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import torch
from IPython.display import Image, Markdown, display
from torchvision.utils import make_grid

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
    if not alt.strip():
        raise ValueError("alt is empty; expected a sentence for readers who cannot see the figure")
    display(Image(figure_png(fig), alt=" ".join(alt.split())))


def figure_png(fig, frame=False):
    """The figure as PNG bytes; the figure is closed.

    White edges are cut away. A `frame` of a slider keeps them, so that all are of one size, and
    is not made as small as it could be, so that it is quick.
    """
    buffer = io.BytesIO()
    box = None if frame else "tight"
    fig.savefig(buffer, format="png", dpi=90, bbox_inches=box, metadata={"Software": None})
    plt.close(fig)
    return buffer.getvalue() if frame else small_png(buffer.getvalue())


def small_png(png, colours=None):
    """The PNG, smaller: with a palette if that loses nothing, or of so many `colours` at most."""
    picture = PIL.Image.open(io.BytesIO(png)).convert("RGB")
    if colours or picture.getcolors(256):
        picture = picture.quantize(colours or 256, PIL.Image.Quantize.MAXCOVERAGE)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def show_table(header, rows, caption=""):
    """Display rows of numbers and words as a table; floats with two decimals."""

    def cell(value):
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    lines = [list(header), ["---"] + ["---:"] * (len(header) - 1)]
    lines += [[cell(value) for value in row] for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    display(Markdown(f"{caption}\n\n{table}" if caption else table))


def tile(images, columns):
    """Images `(n, channels, h, w)` in [0, 1] as one `(H, W, 3)` array of tiles with white gaps."""
    grid = make_grid(images.detach().cpu().float(), nrow=columns, padding=1, pad_value=1.0)
    return grid.permute(1, 2, 0).clamp(0, 1).numpy()


def image_grid(images, columns, title, alt):
    """Show images `(n, channels, h, w)` in a grid."""
    rows = -(-len(images) // columns)
    fig, ax = plt.subplots(figsize=(0.55 * columns, 0.55 * rows + 0.3))
    ax.imshow(tile(images, columns))
    ax.set_title(title)
    ax.axis("off")
    show(fig, alt)


def image_rows(rows, title, alt):
    """Show a dict `{label: images (n, channels, h, w)}` as labelled rows of one width."""
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
    terms = terms or list(history["train"])
    fig, axes = plt.subplots(1, len(terms), figsize=(3.6 * len(terms), 2.8), squeeze=False)
    for ax, term in zip(axes[0], terms, strict=True):
        for (split, values), style in zip(history.items(), STYLES, strict=False):
            if values.get(term):
                ax.plot(range(1, len(values[term]) + 1), values[term], label=split, ms=4, **style)
        ax.set(title=term, xlabel="epoch", ylabel="nats per image")
        ax.legend()
    fig.tight_layout()
    show(fig, alt)


def scatter_codes(ax, codes, labels, title):
    """Draw two-dimensional codes `(n, 2)` on `ax`, each as its digit in the digit's colour."""
    for digit in range(10):
        points = codes[labels == digit]
        ax.scatter(
            points[:, 0], points[:, 1], s=26, marker=f"${digit}$",
            color=DIGIT_COLOURS[digit], linewidths=0.1, alpha=0.75,
        )  # fmt: skip
    ax.set(title=title, xlabel="$z_1$", ylabel="$z_2$", aspect="equal")


@torch.no_grad()
def manifold(model, n=20, limit=3.0):
    """A model with two latents, decoded on an n x n grid over [-limit, limit]^2: `(n*n, ...)`.

    Rows go from z2 = limit (top) to -limit, columns from z1 = -limit to limit.
    """
    if model.latent_dim != 2:
        raise ValueError(f"model has {model.latent_dim} latents; expected 2")
    axis = torch.from_numpy(np.linspace(-limit, limit, n, dtype=np.float32))
    z2, z1 = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    z = torch.stack([z1.flatten(), z2.flatten()], dim=1)
    return model.decode(z.to(next(model.parameters()).device)).cpu()
