"""Sliders: a pure function from numbers to a PNG, and a panel of sliders that calls it."""

import io

from vae_helpers.plots import tile
from vae_helpers.training import evaluation

import ipywidgets
import numpy as np
import torch
from PIL import Image


def sliders(render, ranges, alt, random=None):
    """A panel of sliders over the picture that `render` draws.

    `render(*values) -> PNG bytes`; `ranges`: a dict `{label: (low, high, start)}`, in the order
    of render's arguments; `alt`: what the picture shows; `random() -> values` adds a button.
    Where no kernel runs, a filmstrip stands in: one row of frames a slider.
    """
    for label, (low, high, start) in ranges.items():
        if not low <= start <= high or low == high:
            raise ValueError(
                f"ranges[{label!r}] is {(low, high, start)}; expected low <= start <= high"
            )
    return SliderPanel(render, ranges, alt, random)


def latent_sliders(model, order=None, center=None, spread=None, limit=3.0):
    """One slider for each latent of `model`, over the decoded image.

    `order`: which latent comes first (say `variance.argsort(descending=True)`: most active
    first); `center`, `spread`: `(latent_dim,)`, the middle and the unit of each slider, by
    default the prior's 0 and 1 (for an autoencoder give its codes' mean and standard deviation).
    Sliders reach `limit` spreads either way. Raises `ValueError` for a latent that does not exist.
    """
    d = model.latent_dim
    order = list(range(d)) if order is None else [int(i) for i in order]
    if not order or len(set(order)) < len(order) or not set(order) <= set(range(d)):
        raise ValueError(f"order is {order}; expected different latents from 0 to {d - 1}")
    center = torch.zeros(d) if center is None else center.cpu()
    spread = torch.ones(d) if spread is None else spread.cpu()
    for name, values in (("center", center), ("spread", spread)):
        if values.shape != (d,):
            raise ValueError(f"{name} has shape {tuple(values.shape)}; expected ({d},)")

    def render(*values):
        z = center.clone()
        z[order] = torch.tensor(values, dtype=z.dtype)
        return decode_png(model, z)

    ranges = {}
    for i in order:
        middle, reach = center[i].item(), limit * spread[i].item()
        ranges[f"z{i + 1}"] = (middle - reach, middle + reach, middle)
    return sliders(
        render, ranges, alt="the decoder's picture of the chosen latents",
        random=lambda: (center + spread * torch.randn(d))[order].tolist(),
    )  # fmt: skip


def decode_png(model, z, scale=7):
    """The decoded picture of one code `(latent_dim,)` as PNG bytes, each pixel `scale` wide."""
    with evaluation(model) as device:
        image = model.decode(z[None].to(device))[0]
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(pixels.squeeze())
    return _png(picture.resize((picture.width * scale, picture.height * scale), Image.NEAREST))


class SliderPanel(ipywidgets.VBox):
    """ipywidgets sliders -> `render` -> `widgets.Image`, with reset and random buttons."""

    def __init__(self, render, ranges, alt, random=None):
        self.render, self.ranges, self.alt, self.random = render, ranges, alt, random
        self.moving_all = False
        self.starts = [start for _, _, start in ranges.values()]
        self.sliders = [
            ipywidgets.FloatSlider(
                start, min=low, max=high, step=(high - low) / 60, description=label,
                readout_format=".2f", continuous_update=True,
            )
            for label, (low, high, start) in ranges.items()
        ]  # fmt: skip
        self.image = ipywidgets.Image(value=render(*self.starts), format="png")
        self.errors = ipywidgets.Output()  # an exception while drawing is shown here, not lost
        reset = ipywidgets.Button(description="Reset")
        reset.on_click(lambda _: self.set_values(self.starts))
        buttons = [reset]
        if random is not None:
            buttons.append(ipywidgets.Button(description="Random"))
            buttons[-1].on_click(lambda _: self.set_values(self.random()))
        for slider in self.sliders:
            slider.observe(lambda _: self.redraw(), names="value")
        columns = f"repeat({2 if len(self.sliders) > 5 else 1}, max-content)"
        controls = ipywidgets.GridBox(
            self.sliders, layout=ipywidgets.Layout(grid_template_columns=columns)
        )
        wrap = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        picture = ipywidgets.HBox([self.image, controls], layout=wrap)
        super().__init__([picture, ipywidgets.HBox(buttons), self.errors])

    def redraw(self):
        if self.moving_all:
            return
        with self.errors:
            self.errors.clear_output()
            self.image.value = self.render(*(slider.value for slider in self.sliders))

    def set_values(self, values):
        """Move all sliders, then draw once."""
        values = list(values)
        if len(values) != len(self.sliders):
            raise ValueError(f"{len(values)} values came; expected {len(self.sliders)}")
        self.moving_all = True
        for slider, value in zip(self.sliders, values, strict=True):
            slider.value = min(max(value, slider.min), slider.max)
        self.moving_all = False
        self.redraw()

    def filmstrip(self, most=6):
        """A PNG with one row of frames for each of the first sliders, the others at their start."""
        first = Image.open(io.BytesIO(self.render(*self.starts)))
        # Small pictures: seven frames at a third of their size. Plots: three, so that one can read.
        frames, shrink = (7, 3) if first.width < 300 else (3, 2)
        width, height = first.width // shrink, first.height // shrink
        rows = []
        for i, (low, high, _) in enumerate(list(self.ranges.values())[:most]):
            for step in range(frames):
                values = list(self.starts)
                values[i] = low + (high - low) * step / (frames - 1)
                rows.append(Image.open(io.BytesIO(self.render(*values))).convert("RGB"))
        small = np.stack([np.asarray(picture.resize((width, height))) for picture in rows])
        stack = torch.from_numpy(small).permute(0, 3, 1, 2) / 255
        return _png(Image.fromarray((tile(stack, frames) * 255).round().astype("uint8")))

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        labels = ", ".join(list(self.ranges)[:6])
        alt = f"Filmstrip of {self.alt}: one row for each of {labels}, from low to high."
        data = dict(bundle or {})
        data["image/png"] = self.filmstrip()
        return data, {"image/png": {"alt": alt}}


def _png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
