"""Sliders and planes: a pure function from numbers to a PNG, and a panel that shows it.

A panel has three lives: with a kernel it asks Python for each picture; in slides and stored
notebooks it shows frames drawn beforehand (both by panel.js); where no script runs it is a PNG.
"""

import base64
import html
import io
import json
import math
import traceback
from pathlib import Path

from vae_helpers.checks import (
    as_tensor,
    brief,
    check_finite,
    check_function,
    check_model,
    check_number,
    check_positive,
    check_text,
    check_whole,
)
from vae_helpers.data import check_images
from vae_helpers.metrics import encode_means
from vae_helpers.plots import (
    DIGIT_COLOURS,
    check_digits,
    figure_png,
    open_png,
    scatter_codes,
    small_png,
)
from vae_helpers.training import evaluation

import anywidget
import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from matplotlib.patches import Ellipse
from PIL import Image
from torch.nn import functional as F

LIVE_STEPS = 61  # places of a slider that has a kernel
# Pixels of a sheet of stored frames, each way. WebP holds twice as many, but a browser takes four
# bytes for each.
SHEET = 8191


def sliders(render, ranges, alt, random=None, steps=15, zoom=1, whole=()):
    """A panel of sliders over the picture that `render` draws.

    `render(*values) -> PNG bytes`, always of one size; `ranges`: a dict `{label: (low, high,
    start)}`, in the order of render's arguments; `alt`: what the picture shows; `random() ->
    values` adds a button; `zoom`: screen pixels for each pixel of the picture; `whole`: labels of
    the sliders that have whole numbers only (render gets an int for these, a float for the others).

    The panel draws `steps` frames a slider for its life without a kernel: for one or two sliders
    all combinations, for more one row a slider with the others at their start. Raises `ValueError`
    for more of them than a sheet of SHEET x SHEET pixels holds.
    """
    check_function(render=render)
    if random is not None:
        check_function(random=random)
    check_text(alt=alt)
    check_whole(2, steps=steps)
    check_positive(zoom=zoom)
    whole = [whole] if isinstance(whole, str) else whole
    if not isinstance(ranges, dict) or not ranges:
        raise ValueError(f"ranges is {brief(ranges)}; expected a dict, at least one label")
    listed = isinstance(whole, list | tuple | set)
    if not listed or not all(isinstance(label, str) and label in ranges for label in whole):
        raise ValueError(
            f"whole is {brief(whole)}; expected labels among {', '.join(map(str, ranges))}, "
            "those of ranges"
        )
    ranges = {label: _limits(label, limits, label in whole) for label, limits in ranges.items()}

    def exact(values):
        # A page sends 2 for 2.0: `torch.tensor([2])` would be of whole numbers.
        return [
            int(v) if label in whole else float(v) for label, v in zip(ranges, values, strict=True)
        ]

    starts = [start for _, _, start in ranges.values()]
    try:
        png = render(*starts)
    except TypeError as error:
        raise ValueError(
            f"render takes no {brief(starts)}, a number for each of ranges: {error}"
        ) from error
    width, height = open_png(png, "what render gives").size
    counts = [
        high - low + 1 if label in whole else int(steps) for label, (low, high, _) in ranges.items()
    ]
    row = max(counts) if len(ranges) > 2 else counts[0]
    count = row * len(ranges) if len(ranges) > 2 else math.prod(counts)
    columns = _columns(count, row, width, height)
    places = [
        list(range(low, high + 1)) if label in whole else np.linspace(low, high, steps).tolist()
        for label, (low, high, _) in ranges.items()
    ]
    if len(ranges) == 1:
        codes = [[value] for value in places[0]]
    elif len(ranges) == 2:
        codes = [[first, second] for second in places[1] for first in places[0]]
    else:
        codes = [
            [*starts[:i], value, *starts[i + 1 :]]
            for i, values in enumerate(places)
            for value in values + values[-1:] * (row - len(values))
        ]  # fmt: skip
    spec = {
        "ranges": [[label, *limits] for label, limits in ranges.items()],
        "whole": [label in whole for label in ranges],
        "alt": alt, "width": width, "height": height, "zoom": float(zoom),
        "steps": int(steps), "live_steps": LIVE_STEPS, "random": random is not None,
    }  # fmt: skip

    def draw(values):
        if len(values) != len(ranges):
            raise ValueError(f"{len(values)} values came; expected {len(ranges)}")
        return render(*exact(values))

    def stored():
        sheet = _sheet([render(*values) for values in codes], columns)
        return {"sprite": _webp(sheet)}

    return Panel(
        spec, draw, stored, lambda: _filmstrip(render, ranges, whole),
        alt=f"Filmstrip of {alt}: one row for each of {', '.join(list(ranges)[:6])}, low to high.",
        values=starts, png=png, random=random,
    )  # fmt: skip


def _limits(label, limits, whole):
    """Low, high and start of a slider as Python's own numbers."""
    try:
        low, high, start = (n.item() if hasattr(n, "item") else n for n in limits)
        if not whole:
            low, high, start = float(low), float(high), float(start)
        right = low <= start <= high and low < high and math.isfinite(high - low)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # not three, or no numbers
        right = False
    if not right or not isinstance(label, str):
        raise ValueError(
            f"ranges[{label!r}] is {brief(limits)}; expected low <= start <= high and low < high"
        )
    if whole and any(not isinstance(n, int) for n in (low, high, start)):
        raise ValueError(f"ranges[{label!r}] is {limits}; expected three ints")
    return low, high, start


def _columns(count, row, width, height):
    """How many frames stand side by side on a sheet: a row of them, if that is not too large."""
    columns = row if max(row * width, count // row * height) <= SHEET else max(1, SHEET // width)
    if max(columns * width, -(-count // columns) * height) > SHEET:
        raise ValueError(
            f"{count} frames of {width} x {height} pixels do not fit on a sheet of {SHEET} x "
            f"{SHEET}; expected fewer steps, shorter ranges of whole numbers, or a render that "
            "draws smaller pictures"
        )
    return columns


def latent_sliders(model, order=None, center=None, spread=None, limit=3.0):
    """One slider for each latent of `model`, over the decoded image.

    `order`: which latent comes first (say `variance.argsort(descending=True)`: most active
    first); `center`, `spread`: `(latent_dim,)`, the middle and the unit of each slider, by
    default the prior's 0 and 1 (for an autoencoder give its codes' mean and standard deviation).
    Sliders reach `limit` spreads either way. Raises `ValueError` for a latent that does not exist.
    """
    check_model(model, "latent_dim", "decode")
    check_number("a number above 0, at most 1000", lambda value: 0 < value <= 1000, limit=limit)
    d = model.latent_dim
    order = range(d) if order is None else as_tensor(order)
    if isinstance(order, torch.Tensor) and not order.is_sparse:
        order = order.tolist()
    listed = isinstance(order, list | tuple | range) and len(order) > 0
    if not listed or any(i not in range(d) for i in order) or len(set(order)) < len(order):
        raise ValueError(f"order is {brief(order)}; expected different latents from 0 to {d - 1}")
    order = list(map(int, order))
    center = _vector(torch.zeros(d) if center is None else center, d, "center")
    spread = _vector(torch.ones(d) if spread is None else spread, d, "spread")
    if not (spread[order] > 0).all():
        raise ValueError(f"spread is {brief(spread.tolist())}; expected numbers above 0")

    def render(*values):
        z = center.clone()
        z[order] = torch.tensor(values, dtype=z.dtype)
        return decode_png(model, z[None])

    ranges = {}
    for i in order:
        middle, reach = center[i].item(), limit * spread[i].item()
        ranges[f"z{i + 1}"] = (middle - reach, middle + reach, middle)
    return sliders(
        render, ranges, alt="the decoder's picture of the chosen latents", zoom=7,
        random=lambda: (center + spread * torch.randn(d))[order].tolist(),
    )  # fmt: skip


def _vector(values, d, name):
    """The finite numbers `(d,)`, as float32 on the CPU."""
    values = as_tensor(values)
    if not isinstance(values, torch.Tensor) or values.is_complex():
        raise ValueError(f"{name} is {brief(values)}; expected a tensor ({d},)")
    if values.shape != (d,):
        raise ValueError(f"{name} has shape {tuple(values.shape)}; expected ({d},)")
    values = values.detach().cpu().float()
    check_finite(**{name: values})
    return values


def latent_plane(models, images, labels, steps=21, draws=5):
    """The plane of two latents: codes of `images`, a point to move, its decoded picture.

    `models`: a model with two latents, or a dict `{name: model}` of several, side by side;
    `images`: `(n, channels, h, w)`, a thousand are plenty; `labels`: `(n,)`, 0 to 9. For the
    first image of each label, or a digit drawn by hand, the posterior is an ellipse (one and two
    standard deviations; a point for an autoencoder), from which `draws` codes are drawn. Without
    a kernel, a place is decoded as the nearest of `steps` x `steps` stored frames.
    """
    models = models if isinstance(models, dict) else {"codes": models}
    if not models:
        raise ValueError("models is an empty dict; expected at least one model")
    check_images(images, name="images")
    images = images.float()
    for name, model in models.items():
        check_model(model, "latent_dim", "encode", "decode", name=f"models[{name!r}]")
        if model.latent_dim != 2:
            raise ValueError(f"model {name!r} has {model.latent_dim} latents; expected 2")
        check_images(images, getattr(model, "image_shape", None), name="images")
    labels = as_tensor(labels)
    if isinstance(labels, torch.Tensor) and labels.ndim and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels came with {len(images)} images")
    labels = check_digits(labels, len(images)).long()
    side = images.shape[-1]
    for name, value, least in (("steps", steps, 2), ("draws", draws, 1)):
        check_whole(least, **{name: value})
        if value * side > SHEET:
            raise ValueError(f"{name} is {value}; expected at most {SHEET // side}")
    labels = labels.tolist()
    chosen = sorted(set(labels))
    first = images[[labels.index(label) for label in chosen]]
    planes = []
    for name, model in models.items():
        codes = encode_means(model, images)
        check_finite(**{f"codes of models[{name!r}]": codes})
        edge = 0.05 * (codes.max(dim=0).values - codes.min(dim=0).values)
        edge = edge.clamp(min=1e-3)  # where there is one code only
        low, high = codes.min(dim=0).values - edge, codes.max(dim=0).values + edge
        planes.append(
            {
                "name": name,
                "x": [low[0].item(), high[0].item()], "y": [low[1].item(), high[1].item()],
                "codes": [[round(value, 3) for value in code] for code in codes.tolist()],
                "posteriors": _posteriors(model, first),
            }
        )  # fmt: skip

    def draw(points):
        """A PNG with one row a model: its decoded point, then its draws."""
        rows = [
            _decode(model, torch.tensor(z, dtype=torch.float32))
            for model, z in zip(models.values(), points, strict=True)
        ]
        return _png(_join(torch.cat(rows), columns=len(points[0])))

    def encode(pixels):
        """A drawing, one number from 0 to 255 a pixel: its posteriors, and what was encoded."""
        image = _centred(torch.tensor(pixels, dtype=torch.float32).view(1, 1, side, side) / 255)
        posteriors = [_posteriors(model, image)[0] for model in models.values()]
        return {"image": _data_uri(_png(_join(image, 1)), "png"), "posteriors": posteriors}

    def stored():
        filled = []
        for plane, model in zip(planes, models.values(), strict=True):
            z2, z1 = np.meshgrid(
                *(np.linspace(*plane[axis], steps, dtype=np.float32) for axis in "yx"),
                indexing="ij",
            )
            codes = torch.from_numpy(np.stack([z1.ravel(), z2.ravel()], axis=1))
            filled.append({**plane, "sprite": _webp(_join(_decode(model, codes), steps))})
        return {"planes": filled}

    spec = {
        "planes": planes, "labels": labels, "chosen": chosen, "colours": DIGIT_COLOURS,
        "side": side, "steps": int(steps), "draws": int(draws),
        "images": _data_uri(_png(_join(first, len(first))), "png"),
    }  # fmt: skip
    return Panel(
        spec, draw, stored, lambda: _planes_png(planes, labels), encode=encode,
        alt=f"Codes in the plane for {', '.join(models)}, each drawn as its digit; ellipses show "
        "two standard deviations of the posterior of one image of each digit.",
    )  # fmt: skip


class Panel(anywidget.AnyWidget):
    """A picture that answers to sliders or to a point; see the functions above.

    `draw(values) -> PNG bytes`; `stored() -> dict` of frames for the life without a kernel;
    `still() -> PNG bytes` for places without scripts; `encode(pixels) -> dict` for drawn digits.
    """

    _esm = Path(__file__).with_name("panel.js")
    spec = traitlets.Dict().tag(sync=True)
    values = traitlets.List().tag(sync=True, echo_update=False)
    png = traitlets.Bytes().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    drawing = traitlets.List().tag(sync=True, echo_update=False)
    drawn = traitlets.Dict().tag(sync=True)

    def __init__(self, spec, draw, stored, still, alt, random=None, encode=None, **state):
        self.draw, self.stored, self.still, self.alt = draw, stored, still, alt
        self.random, self.encode = random, encode
        super().__init__(spec=spec, **state)
        self.observe(lambda change: self._try(self._draw, change.new), "values")
        self.observe(lambda change: self._try(self._encode, change.new), "drawing")
        self.on_msg(lambda *_: self._try(self.draw_at_random))  # the page's Random button

    def draw_at_random(self):
        """Move every slider to what `random()` gives, as far as the slider reaches."""
        limits = [(low, high) for _, low, high, _ in self.spec["ranges"]]
        values = self.random()
        if len(values) != len(limits):
            raise ValueError(f"random gave {len(values)} values; expected {len(limits)}")
        self.values = [
            min(max(value, low), high) for value, (low, high) in zip(values, limits, strict=True)
        ]

    def _draw(self, values):
        self.png = self.draw(values)

    def _encode(self, pixels):
        self.drawn = self.encode(pixels)

    def _try(self, function, *arguments):
        """Call the function; the panel shows its exception, because nothing else would."""
        try:
            function(*arguments)
            self.error = ""
        except Exception:
            self.error = traceback.format_exc(limit=-3)
            raise

    def _repr_mimebundle_(self, **kwargs):
        still = small_png(self.still(), colours=64)  # stored twice
        spec = json.dumps({**self.spec, **self.stored()}, separators=(",", ":"))
        picture = f'<img src="{_data_uri(still, "png")}" alt="{html.escape(self.alt)}">'
        script = Path(__file__).with_name("panel.js").read_text(encoding="utf-8")
        data, metadata = super()._repr_mimebundle_(**kwargs)
        data["text/html"] = (
            f'<div class="vae-panel" data-vae-panel="{html.escape(spec)}">{picture}</div>\n'
            f'<script type="module">\n{script}</script>'
        )
        data["image/png"] = still
        return data, {**metadata, "image/png": {"alt": self.alt}}


def decode_png(model, z):
    """Decoded pictures of codes `(n, latent_dim)` side by side, as PNG bytes."""
    check_model(model, "decode")
    if not isinstance(z, torch.Tensor) or z.ndim != 2 or not z.numel():
        raise ValueError(f"z is {brief(z)}; expected a tensor of codes (n, latent_dim), n > 0")
    return _png(_join(_decode(model, z), columns=len(z)))


def _decode(model, z):
    with evaluation(model) as device:
        images = model.decode(z.to(device)).cpu()
    if not images.isfinite().all():
        raise ValueError(
            "the model decodes z to NaN or infinite values; expected [0, 1] (has training diverged,"
            " or are center, spread or limit too large?)"
        )
    return images.clamp(0, 1)


def _posteriors(model, images):
    """For each image its code, and the standard deviations if the model knows any."""
    with evaluation(model) as device:
        codes = model.encode(images.to(device))
    if not isinstance(codes, tuple):
        return [{"mu": mu, "sigma": None} for mu in codes.tolist()]
    mu, sigma = codes[0].tolist(), torch.exp(0.5 * codes[1]).tolist()
    return [{"mu": m, "sigma": s} for m, s in zip(mu, sigma, strict=True)]


def _centred(image):
    """A drawing as MNIST would hold it: its longer side 20 pixels, its mass in the middle."""
    rows, columns = (image[0, 0].amax(dim=d).nonzero().flatten() for d in (1, 0))
    if not len(rows):
        return image
    cut = image[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = 20 / max(cut.shape[-2:])
    size = [max(1, round(length * scale)) for length in cut.shape[-2:]]
    cut = F.interpolate(cut, size, mode="bilinear", antialias=True, align_corners=False)
    centre = []
    for axis, length in ((1, size[0]), (0, size[1])):
        mass = cut[0, 0].sum(dim=axis)
        centre.append((mass * torch.arange(length)).sum() / mass.sum())
    side = image.shape[-1]
    top, left = (
        int(((side - 1) / 2 - c).round().clamp(0, side - n))
        for c, n in zip(centre, size, strict=True)
    )
    result = torch.zeros_like(image)
    result[..., top : top + size[0], left : left + size[1]] = cut.clamp(0, 1)
    return result


def _join(images, columns):
    """Images `(n, channels, h, w)` in [0, 1] as one picture, row by row without gaps."""
    n, channels, h, w = images.shape
    sheet = images.view(n // columns, columns, channels, h, w).permute(0, 3, 1, 4, 2)
    pixels = (sheet.reshape(n // columns * h, columns * w, channels) * 255).round().byte()
    return Image.fromarray(pixels.squeeze(-1).numpy())


def _sheet(frames, columns):
    """PNGs of one size as one picture, row by row."""
    pictures = [open_png(png, "what render gives") for png in frames]
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
        raise ValueError(f"render gave pictures of sizes {sorted(sizes)}; expected one size")
    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet


def _png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)  # a student waits for it
    return buffer.getvalue()


def _webp(picture):
    """A data URI of the picture: lossless where that is smaller (plots), else with slight loss."""
    contents = []
    for options in ({"lossless": True, "quality": 50}, {"quality": 90}):
        buffer = io.BytesIO()
        picture.save(buffer, format="WEBP", **options)
        contents.append(buffer.getvalue())
    return _data_uri(min(contents, key=len), "webp")


def _data_uri(content, kind):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _filmstrip(render, ranges, whole=(), most=6):
    """A PNG: a row of labelled frames for each of the first sliders, the others at their start."""
    starts = [start for _, _, start in ranges.values()]
    rows = list(ranges.items())[:most]
    wide = Image.open(io.BytesIO(render(*starts))).width > 200  # a plot: fewer, or no one reads it
    frames = 3 if wide else 7
    fig, axes = plt.subplots(
        len(rows),
        frames,
        figsize=(9 if wide else 6.5, len(rows) * (1.25 if wide else 0.95)),
        squeeze=False,
    )
    for i, (label, (low, high, _)) in enumerate(rows):
        row = np.linspace(low, high, frames).tolist()
        if label in whole:
            row = sorted({round(value) for value in row})
        beside = len(label) > 6 and not wide  # a long name would run into the next frame's
        if beside:
            axes[i, 0].text(
                -0.1, 0.5, label, transform=axes[i, 0].transAxes, ha="right", va="center", size=8
            )
        for ax in axes[i]:
            ax.axis("off")
        for ax, value in zip(axes[i], row, strict=False):
            values = [*starts[:i], value, *starts[i + 1 :]]
            picture = Image.open(io.BytesIO(render(*values))).convert("RGB")
            ax.imshow(picture, interpolation="antialiased" if wide else "nearest")
            shown = value if isinstance(value, int) else f"{value:.2f}"
            ax.set_title(shown if beside else f"{label} = {shown}", fontsize=8, pad=2)
    fig.tight_layout(pad=0.2)
    return figure_png(fig)


def _planes_png(planes, labels):
    fig, axes = plt.subplots(1, len(planes), figsize=(4.6 * len(planes), 4.4), squeeze=False)
    for ax, plane in zip(axes[0], planes, strict=True):
        scatter_codes(ax, torch.tensor(plane["codes"]), torch.tensor(labels), plane["name"])
        ax.set(xlim=plane["x"], ylim=plane["y"], aspect="auto")
        for posterior in plane["posteriors"]:
            if posterior["sigma"]:
                width, height = (4 * s for s in posterior["sigma"])
                ax.add_patch(Ellipse(posterior["mu"], width, height, fill=False, lw=1.5))
    fig.tight_layout()
    return figure_png(fig)
