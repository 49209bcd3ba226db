"""Good arguments for every public function that shows, draws or judges; see test_fuzz.py.

Not here: what matplotlib turns into text (titles), truth values, and what is engine.py's own.
"""

import tempfile
from pathlib import Path

from vae_helpers import celeba, exercises, faces, plots, widgets

import torch
from matplotlib.figure import Figure
from small import small_images, small_vae, solid

FOLDER = Path(tempfile.mkdtemp(prefix="vae-fuzz-"))  # of drawn faces
VAE, AX = small_vae(), Figure().add_subplot()
IMAGES, TINY = small_images(4), small_images(4, (1, 4, 4))
FACTORS, ATTRIBUTES = faces.sample_factors(2)
HISTORY = {"train": {"loss": [2.0, 1.0]}, "validation": {"loss": [2.0, 1.5]}}
ID = "06.attribute_vector"


def sliders(**arguments):
    panel = widgets.sliders(**arguments)
    return panel.png, panel.stored()


def latent_sliders(**arguments):
    panel = widgets.latent_sliders(**arguments)
    return panel.png, panel.spec["ranges"]


def few_faces(limit, **arguments):
    return celeba.load_faces(limit=2 if limit is None else limit, **arguments)[:3]  # None: 14,000


# name: (function, good arguments, made anew for each call)
CASES = {
    "plots.check_alt": (plots.check_alt, lambda: {"alt": "a line"}),
    "plots.show": (plots.show, lambda: {"fig": Figure(figsize=(0.3, 0.3)), "alt": "a line"}),
    "plots.figure_png": (plots.figure_png, lambda: {"fig": Figure(figsize=(0.3, 0.3))}),
    "plots.small_png": (plots.small_png, lambda: {"png": solid(3), "colours": 2}),
    "plots.open_png": (plots.open_png, lambda: {"png": solid(3), "name": "the png"}),
    "plots.show_table": (
        plots.show_table, lambda: {"header": ["a", "b"], "rows": [["x", 1.0]], "caption": "t"},
    ),
    "plots.tile": (plots.tile, lambda: {"images": TINY, "columns": 2}),
    "plots.image_grid": (
        lambda **arguments: plots.image_grid(title="four", **arguments),
        lambda: {"images": TINY, "columns": 2, "alt": "four images"},
    ),
    "plots.image_rows": (
        lambda **arguments: plots.image_rows(title="two", **arguments),
        lambda: {"rows": {"x": TINY[:2]}, "alt": "two images"},
    ),
    "plots.history": (
        plots.history, lambda: {"history": HISTORY, "alt": "two curves", "terms": ["loss"]},
    ),
    "plots.scatter_codes": (
        lambda **arguments: plots.scatter_codes(title="codes", **arguments),
        lambda: {"ax": AX, "codes": torch.randn(4, 2), "labels": torch.arange(4)},
    ),
    "plots.check_digits": (
        lambda labels: plots.check_digits(labels, 4), lambda: {"labels": torch.arange(4)},
    ),
    "plots.manifold": (plots.manifold, lambda: {"model": VAE, "n": 3, "limit": 3.0}),
    "widgets.sliders": (
        sliders,
        lambda: {
            "render": lambda a, b: solid(a), "ranges": {"a": (0, 2, 1), "b": (0.0, 1.0, 0.5)},
            "alt": "a grey", "random": None, "steps": 3, "zoom": 2, "whole": ("a",),
        },
    ),
    "widgets.latent_sliders": (
        latent_sliders,
        lambda: {
            "model": VAE, "order": [1, 0], "center": torch.zeros(2), "spread": torch.ones(2),
            "limit": 3.0,
        },
    ),
    "widgets.latent_plane": (
        lambda **arguments: widgets.latent_plane(**arguments).spec,
        lambda: {
            "models": VAE, "images": IMAGES, "labels": torch.arange(4), "steps": 3, "draws": 2,
        },
    ),
    "widgets.decode_png": (widgets.decode_png, lambda: {"model": VAE, "z": torch.zeros(4, 2)}),
    "faces.faces": (faces.faces, lambda: {"n": 2, "seed": 0, "root": FOLDER}),
    "faces.sample_factors": (faces.sample_factors, lambda: {"n": 2, "seed": 0}),
    "faces.attributes_of": (
        faces.attributes_of, lambda: {"factors": FACTORS, "drawn": ATTRIBUTES[:, :5]},
    ),
    "faces.draw_faces": (
        faces.draw_faces, lambda: {"factors": FACTORS, "drawn": ATTRIBUTES[:, :5]},
    ),
    "celeba.load_faces": (
        few_faces,
        lambda: {"name": "drawn-faces", "root": FOLDER, "limit": 2},
    ),
    "exercises.check": (
        exercises.check, lambda: {"id": ID, "answer": exercises.EXERCISES[ID].reference},
    ),
}  # fmt: skip
