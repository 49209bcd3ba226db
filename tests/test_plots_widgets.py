"""Pictures with alternative text, and the sliders and planes that move them."""

import base64
import functools
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from vae_helpers import plots, widgets
from vae_helpers.metrics import encode_means
from vae_helpers.plots import DIGIT_COLOURS, STYLES, manifold, show, show_table, tile
from vae_helpers.widgets import decode_png, latent_plane, latent_sliders, sliders

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from IPython.utils.capture import capture_output
from PIL import Image
from small import plot, small_autoencoder, small_images, small_vae, solid, vivid
from torch import nn
from traitlets.config import Config

matplotlib.use("Agg")  # no window

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def ipython():
    """An IPython shell, as `display` needs one; the other tests run without, as a script does."""
    yield InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    InteractiveShell.clear_instance()


def open_png(content):
    assert content.startswith(b"\x89PNG")
    return Image.open(io.BytesIO(content))


def png_bytes(data):
    return base64.b64decode(data) if isinstance(data, str) else data


def from_uri(uri):
    """The pixels of a data URI, `(h, w, 3)`."""
    content = base64.b64decode(uri.partition(";base64,")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def displayed(draw):
    """What one call displays: its data and its metadata."""
    with capture_output() as captured:
        draw()
    (output,) = captured.outputs
    return output.data, output.metadata


# --- Figures ---


def test_show_displays_a_png_with_its_alternative_text_and_closes_the_figure(ipython):
    fig, _ = plt.subplots()
    data, metadata = displayed(lambda: show(fig, "a line\n   that rises"))
    open_png(png_bytes(data["image/png"])).verify()
    assert metadata["image/png"]["alt"] == "a line that rises"
    assert plt.get_fignums() == []


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_figure_without_alternative_text_is_refused(alt):
    fig, _ = plt.subplots()
    with pytest.raises(ValueError, match="alt is empty"):
        show(fig, alt)
    plt.close("all")


def test_the_same_figure_gives_the_same_bytes():
    def draw():
        fig, ax = plt.subplots()
        ax.plot([1, 2])
        return plots.figure_png(fig)

    assert draw() == draw()


@pytest.mark.parametrize("frame", [True, False])
def test_only_frames_of_a_slider_are_all_of_one_size(frame):
    def draw(title):
        fig, ax = plt.subplots(figsize=(3, 2))
        ax.plot([0, 10 ** len(title)])
        ax.set_title(title)
        return open_png(plots.figure_png(fig, frame=frame)).size

    sizes = {draw(title) for title in ("", "a title", "a title\nthat is\nlarger", "x" * 60)}
    assert sizes == {(270, 180)} if frame else len(sizes) > 1
    assert plt.get_fignums() == []


def figure_with(*texts):
    """A figure of 270 x 180 pixels with a black square in the middle, and texts at places in it."""
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.set(position=[0.4, 0.4, 0.2, 0.2], facecolor="black", xticks=[], yticks=[])
    for x, y in texts:
        fig.text(x, y, "X")
    return fig


def test_white_edges_are_cut_but_for_a_margin():
    pixels = np.asarray(open_png(plots.figure_png(figure_with())).convert("L"))
    rows, columns = np.nonzero((pixels < 255).any(axis=1))[0], np.nonzero((pixels < 255).any(0))[0]
    assert 9 <= rows[0] <= 11 and 9 <= columns[0] <= 11
    assert 9 <= pixels.shape[0] - 1 - rows[-1] <= 11 and pixels.shape[1] - 1 - columns[-1] <= 11


@pytest.mark.parametrize("place", [(1.2, 0.5), (-0.2, 0.5), (0.5, 1.2), (0.5, -0.2), (0.99, 0.5)])
def test_what_lies_outside_the_canvas_is_shown_all_the_same(place):
    pixels = np.asarray(open_png(plots.figure_png(figure_with(place))).convert("L"))
    buffer = io.BytesIO()
    fig = figure_with(place)
    fig.savefig(buffer, dpi=90, bbox_inches="tight")
    plt.close(fig)
    expected = np.asarray(open_png(buffer.getvalue()).convert("L"))
    assert np.abs(np.subtract(pixels.shape, expected.shape)).max() <= 2
    assert (pixels < 255).sum() == pytest.approx((expected < 255).sum(), rel=0.05)


@pytest.mark.parametrize("frame", [True, False])
def test_a_figure_is_drawn_once(frame, monkeypatch):
    fig, calls = figure_with(), []
    draw = fig.axes[0].draw
    monkeypatch.setattr(fig.axes[0], "draw", lambda renderer: calls.append(1) or draw(renderer))
    plots.figure_png(fig, frame=frame)
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["image_grid", "image_rows", "history"])
def test_without_alternative_text_no_figure_stays_open(name):
    arguments = {
        "image_grid": (small_images(2), 2, "two"),
        "image_rows": ({"x": small_images(2)}, "two"),
        "history": ({"train": {"loss": [1.0]}, "validation": {}},),
    }[name]
    with pytest.raises(ValueError, match="alt is empty"):
        getattr(plots, name)(*arguments, alt=" ")
    assert plt.get_fignums() == []


def test_the_history_of_a_training_without_a_whole_epoch_can_be_shown(ipython):
    data, _ = displayed(
        lambda: plots.history({"train": {"loss": []}, "validation": {}}, "none yet", terms=["kl"])
    )
    open_png(png_bytes(data["image/png"])).verify()


def test_more_images_than_a_figure_can_show_are_an_error():
    images = torch.zeros(1, 1, 28, 28).expand(55_000, -1, -1, -1)  # as a whole training set
    with pytest.raises(ValueError, match=r"images has shape \(55000, .*expected 1 to 1000 images"):
        plots.image_grid(images, 10, "all", "all")
    with pytest.raises(ValueError, match=r"rows\['x'\] has shape \(55000, "):
        plots.image_rows({"x": images}, "all", "all")


def test_bytes_are_tiled_as_the_floats_that_they_stand_for():
    images = (small_images(3) * 255).byte()
    np.testing.assert_array_equal(tile(images, 2), tile(images.float() / 255, 2))


def test_codes_may_still_have_gradients_or_come_from_numpy():
    _, ax = plt.subplots()
    plots.scatter_codes(ax, torch.rand(4, 2, requires_grad=True), torch.arange(4), "codes")
    plots.scatter_codes(ax, np.zeros((4, 2)), np.arange(4), "codes")
    plt.close("all")


@pytest.mark.parametrize("colours", [2, 50, 256, 5000])
def test_a_png_without_a_limit_of_colours_loses_nothing(colours):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (colours, 3), dtype="u1")[random.integers(0, colours, 9000)]
    buffer = io.BytesIO()
    Image.fromarray(pixels.reshape(90, 100, 3)).save(buffer, "PNG", compress_level=1)
    small = plots.small_png(buffer.getvalue())
    assert len(small) < 1.02 * len(buffer.getvalue())
    np.testing.assert_array_equal(open_png(small).convert("RGB"), pixels.reshape(90, 100, 3))


FIGURES = {
    "image_grid": lambda: plots.image_grid(small_images(7), 4, "seven images", "a grid"),
    "image_rows": lambda: plots.image_rows(
        {"input": small_images(3), "output": small_images(3)}, "two rows", "two rows"
    ),
    "history": lambda: plots.history(
        {"train": {"loss": [3.0, 2.0]}, "validation": {"loss": [4.0, 3.0]}}, "a falling curve"
    ),
    "history without validation": lambda: plots.history(
        {"train": {"loss": [3.0], "kl": [1.0]}, "validation": {}}, "points", terms=["kl"]
    ),
}


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_goes_out_as_a_png_with_alternative_text(figure, ipython, recwarn):
    data, metadata = displayed(FIGURES[figure])
    open_png(png_bytes(data["image/png"])).verify()
    assert metadata["image/png"]["alt"]
    assert plt.get_fignums() == []
    assert [str(w.message) for w in recwarn] == []


def test_history_draws_each_split_against_epochs_from_1_in_nats(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "show", lambda fig, alt: figures.append(fig))
    terms = {"loss": [3.0, 2.0], "kl": [0.0, 1.0]}
    plots.history({"train": terms, "validation": terms}, "curves")
    assert [ax.get_title() for ax in figures[0].axes] == ["loss", "kl"]
    for ax in figures[0].axes:
        assert ax.get_xlabel() == "epoch" and ax.get_ylabel() == "nats per image"
        assert [line.get_label() for line in ax.lines] == ["train", "validation"]
        assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]
        assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 2]] * 2
    plt.close("all")


def test_colours_are_never_the_only_cue():
    assert len(set(DIGIT_COLOURS)) == 10
    for cue in ("color", "linestyle", "marker"):
        assert len({style[cue] for style in STYLES}) == len(STYLES)


def test_codes_are_drawn_as_their_digits_with_equal_axes():
    _, ax = plt.subplots()
    codes = torch.arange(24.0).view(12, 2)
    plots.scatter_codes(ax, codes, torch.arange(12) % 10, "codes")
    assert [len(points.get_offsets()) for points in ax.collections] == [2, 2] + [1] * 8
    assert ax.get_aspect() == 1 and ax.get_xlabel() == "$z_1$" and ax.get_ylabel() == "$z_2$"
    plt.close("all")


def test_tables_show_floats_with_two_decimals_and_align_numbers(ipython):
    data, _ = displayed(lambda: show_table(["model", "nats"], [["VAE", 105.126], ["AE", 3]], "Two"))
    assert data["text/markdown"] == (
        "Two\n\n| model | nats |\n| --- | ---: |\n| VAE | 105.13 |\n| AE | 3 |"
    )


# --- Tiles and the manifold ---


@given(
    n=st.integers(2, 12),
    columns=st.integers(1, 6),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5)),
)
def test_tiles_stand_row_by_row_with_white_gaps(n, columns, shape):
    images = small_images(n, shape)
    picture = tile(images, columns)
    _, h, w = shape
    columns = min(n, columns)
    rows = -(-n // columns)
    assert picture.shape == (rows * (h + 1) + 1, columns * (w + 1) + 1, 3)
    expected = np.ones_like(picture)
    for i, image in enumerate(images):
        top, left = i // columns * (h + 1) + 1, i % columns * (w + 1) + 1
        expected[top : top + h, left : left + w] = image.expand(3, h, w).permute(1, 2, 0)
    unused = np.zeros(picture.shape[:2], dtype=bool)
    for i in range(n, rows * columns):
        unused[i // columns * (h + 1) :, i % columns * (w + 1) :] = True
    np.testing.assert_array_equal(picture[~unused], expected[~unused])


def test_values_outside_0_1_are_clipped_in_tiles():
    picture = tile(torch.tensor([-1.0, 2.0]).view(2, 1, 1, 1), 2)
    assert picture.min() == 0 and picture.max() == 1


class ShowsItsCode(nn.Module):
    """A decoder whose two pixels are its two latents."""

    latent_dim = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def decode(self, z):
        return z.view(-1, 1, 1, 2)


def test_the_manifold_runs_from_top_left_z1_low_z2_high_row_by_row():
    codes = manifold(ShowsItsCode(), n=3, limit=2.0).view(9, 2).tolist()
    assert codes == [[z1, z2] for z2 in (2, 0, -2) for z1 in (-2, 0, 2)]


def test_the_manifold_is_decoded_without_gradient(vae):
    pictures = manifold(vae, n=4)
    assert pictures.shape == (16, 1, 28, 28) and not pictures.requires_grad


def test_a_manifold_needs_two_latents():
    with pytest.raises(ValueError, match="model has 3 latents; expected 2"):
        manifold(small_vae(latent=3))


# --- One decoded picture ---


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 6, 4)])
def test_a_decoded_png_holds_the_pixels_of_the_decoder_side_by_side(shape):
    model, z = small_vae(image_shape=shape), torch.tensor([[0.5, -1.0], [2.0, 0.0], [0.0, 0.0]])
    picture = open_png(decode_png(model, z))
    assert picture.mode == ("L" if shape[0] == 1 else "RGB")
    images = (model.decode(z) * 255).round().detach().permute(0, 2, 3, 1)
    expected = np.concatenate(images.numpy(), axis=1)
    np.testing.assert_array_equal(np.asarray(picture).reshape(expected.shape), expected)


def test_a_model_that_decodes_to_nan_is_an_error():
    model = small_vae()
    model.decoder[-1 if hasattr(model.decoder[-1], "bias") else -2].bias.data[3] = torch.nan
    for draw in (lambda: decode_png(model, torch.zeros(1, 2)), lambda: latent_sliders(model)):
        with pytest.raises(ValueError, match="decodes z to NaN"):
            draw()


def test_decoding_a_png_is_pure():
    model, before = small_vae(batch_norm=True), small_vae(batch_norm=True)
    state, z = torch.get_rng_state(), torch.tensor([[0.5, -1.0]])
    assert decode_png(model, z) == decode_png(model, z)
    assert torch.equal(torch.get_rng_state(), state) and z.tolist() == [[0.5, -1.0]]
    weights = before.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("training_mode", [True, False])
def test_drawing_restores_the_mode_that_was(training_mode, vae):
    vae.train(training_mode)
    latent_sliders(vae)._repr_mimebundle_()
    plane_of(vae).draw([[[0.0, 0.0]]])
    assert vae.training is training_mode
    with pytest.raises(ValueError, match="z is"):
        decode_png(vae, torch.zeros(1, 3))
    assert vae.training is training_mode


def test_panels_leave_weights_and_random_numbers_alone():
    model, before = small_vae(batch_norm=True), small_vae(batch_norm=True)
    state = torch.get_rng_state()
    for panel in (latent_sliders(model), plane_of(model)):
        panel._repr_mimebundle_()
    panel.encode([255] * 784)
    assert torch.equal(torch.get_rng_state(), state)
    weights = before.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


# --- Sliders ---


def labels(panel):
    return [label for label, *_ in panel.spec["ranges"]]


@pytest.mark.parametrize("model", [small_vae(latent=3), small_autoencoder(latent=3)])
def test_there_is_one_slider_for_each_latent_from_minus_3_to_3(model):
    panel = latent_sliders(model)
    assert panel.spec["ranges"] == [[label, -3, 3, 0] for label in ("z1", "z2", "z3")]
    assert panel.values == [0, 0, 0] and panel.png == decode_png(model, torch.zeros(1, 3))


@pytest.mark.parametrize("order", [[2, 0, 1], torch.tensor([2, 0, 1]), np.array([2, 0, 1])])
def test_each_slider_moves_its_own_latent_in_the_order_given(order):
    model = small_vae(latent=3)
    panel = latent_sliders(model, order=order)
    assert labels(panel) == ["z3", "z1", "z2"]
    panel.values = [1.0, -2.0, 0.5]
    assert panel.png == decode_png(model, torch.tensor([[-2.0, 0.5, 1.0]]))


def test_latents_that_have_no_slider_stay_at_the_center():
    model = small_vae(latent=3)
    center = torch.tensor([0.1, 0.2, 0.3])
    panel = latent_sliders(model, order=[1], center=center)
    panel.values = [1.5]
    assert panel.png == decode_png(model, torch.tensor([[0.1, 1.5, 0.3]]))
    assert center.tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_center_and_spread_set_the_ranges():
    center, spread = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])
    panel = latent_sliders(small_vae(), center=center, spread=spread, limit=2.0)
    assert panel.spec["ranges"] == [["z1", 0, 2, 1], ["z2", -6, 2, -2]]
    panel = latent_sliders(small_vae(), order=[1, 0], center=center, spread=spread, limit=2.0)
    assert panel.spec["ranges"] == [["z2", -6, 2, -2], ["z1", 0, 2, 1]]


def test_random_draws_stay_between_the_ends_of_the_sliders():
    center, spread = torch.tensor([5.0, -5.0]), torch.tensor([0.1, 2.0])
    model = small_vae()
    panel = latent_sliders(model, order=[1, 0], center=center, spread=spread, limit=1.0)
    drawn = []
    for _ in range(40):
        panel.draw_at_random()
        z2, z1 = panel.values
        assert -7 <= z2 <= -3 and 4.9 - 1e-5 <= z1 <= 5.1 + 1e-5
        assert panel.png == decode_png(model, torch.tensor([[z1, z2]]))
        drawn.append(z2)
    assert min(drawn) == -7 and max(drawn) == -3 and len(set(drawn)) > 10


def counted(calls):
    def render(*values):
        calls.append(values)
        return solid(0)

    return render


def test_moving_all_sliders_draws_once():
    calls = []
    panel = sliders(
        counted(calls), {"a": (0, 1, 0), "b": (0, 9, 5)}, "alt", random=lambda: (0.5, 99)
    )
    calls.clear()
    panel.draw_at_random()
    panel.values = [0, 5]
    assert calls == [(0.5, 9), (0, 5)]  # 99 lies beyond the slider's end


def test_the_page_offers_random_only_where_something_is_random(vae):
    assert latent_sliders(vae).spec["random"] is True
    assert sliders(counted([]), {"a": (0, 1, 0)}, "alt").spec["random"] is False


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0], []])
def test_a_wrong_number_of_random_values_is_an_error_and_the_sliders_live_on(values):
    panel = sliders(counted([]), {"a": (0, 9, 0), "b": (0, 9, 0)}, "alt", random=lambda: values)
    with pytest.raises(ValueError, match=f"random gave {len(values)} values; expected 2"):
        panel.draw_at_random()
    assert panel.values == [0, 0]


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0]])
def test_a_wrong_number_of_values_is_an_error_and_the_sliders_live_on(values, vae):
    panel = latent_sliders(vae)
    with pytest.raises((ValueError, RuntimeError)):
        panel.values = values
    panel.values = [0.0, 2.0]
    assert panel.png == decode_png(vae, torch.tensor([[0.0, 2.0]])) and panel.error == ""


def test_whole_numbers_are_values_too(vae):
    panel = latent_sliders(vae)
    panel.values = [1, -2]
    assert panel.png == decode_png(vae, torch.tensor([[1.0, -2.0]]))


@pytest.mark.parametrize("order", [[2], [-1], [0, 0], [], [0, 1, 2]])
def test_a_latent_that_does_not_exist_is_an_error(order, vae):
    with pytest.raises(ValueError, match=r"order is .*expected different latents from 0 to 1"):
        latent_sliders(vae, order=order)


@pytest.mark.parametrize("argument", ["center", "spread"])
def test_a_center_or_spread_of_the_wrong_size_is_an_error(argument, vae):
    with pytest.raises(ValueError, match=rf"{argument} has shape \(3,\); expected \(2,\)"):
        latent_sliders(vae, **{argument: torch.ones(3)})


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_slider_needs_a_spread(value, vae):
    with pytest.raises(ValueError, match=r"spread is .*; expected numbers above 0"):
        latent_sliders(vae, spread=torch.tensor([1.0, value]))
    latent_sliders(vae, order=[0], spread=torch.tensor([1.0, value]))


def test_a_render_that_takes_other_values_than_the_sliders_is_an_error():
    with pytest.raises(ValueError, match=r"a number for each of ranges: .* positional argument"):
        sliders(lambda a, b: solid(0), {"a": (0, 1, 0)}, "alt")
    with pytest.raises(ValueError, match="what render gives is None; expected the bytes of a PNG"):
        sliders(lambda a: None, {"a": (0, 1, 0)}, "alt")


def test_numbers_of_numpy_and_torch_set_a_slider():
    panel = sliders(
        lambda a, b: solid(a),
        {"a": (np.int64(0), np.int64(3), np.int64(1)), "b": torch.tensor([0.0, 1.0, 0.5])},
        "alt", steps=np.int64(2), zoom=np.float32(2), whole="a",
    )  # fmt: skip
    json.dumps(panel.spec)
    assert panel.values == [1, 0.5] and isinstance(panel.values[0], int)


def test_render_gets_ints_for_whole_sliders_and_floats_for_all_others():
    """A page sends 2 for 2.0, and ranges are often written without a point."""
    seen = []

    def render(*values):
        seen.append(values)
        return solid(0)

    panel = sliders(render, {"a": (0, 2, 1), "n": (0, 2, 1)}, "alt", whole="n")
    panel.values = [2, 2]
    panel.stored()
    panel.still()
    assert len(seen) > 40
    assert all(type(a) is float and type(n) is int for a, n in seen)


@pytest.mark.parametrize("limits", [(1, 0, 0.5), (0, 1, 2), (0, 0, 0), (0, 1, float("nan"))])
def test_an_impossible_range_is_an_error_that_names_its_label(limits):
    with pytest.raises(ValueError, match=r"ranges\['mu'\] is .*expected low <= start <= high"):
        sliders(counted([]), {"mu": limits}, "alt")


@pytest.mark.parametrize("steps", [1, 0, -3, 2.5, "3", None])
def test_steps_that_are_no_count_are_an_error(steps):
    message = re.escape(f"steps is {steps!r}; expected a whole number, at least 2")
    with pytest.raises(ValueError, match=message):
        sliders(counted([]), {"a": (0, 1, 0)}, "alt", steps=steps)


def test_frames_of_different_sizes_are_an_error():
    panel = sliders(lambda a: solid(0, (6 + round(a), 6)), {"a": (0, 1, 0)}, "alt", steps=2)
    message = r"render gave pictures of sizes \[\(6, 6\), \(7, 6\)\]; expected one size"
    with pytest.raises(ValueError, match=message):
        panel._repr_mimebundle_()


def broken(a):
    if a > 1:
        raise ZeroDivisionError("drawn from a broken decoder")
    return solid(round(100 + a))


# Set in a cell, or by the page.
SET = {
    "in a cell": lambda panel, values: setattr(panel, "values", values),
    "by the page": lambda panel, values: panel.set_state({"values": values}),
}


@pytest.mark.parametrize("way", SET)
def test_an_exception_while_drawing_is_raised_and_told_to_the_page(way):
    panel = sliders(broken, {"a": (-1, 9, 0)}, "alt")
    before = panel.png
    with pytest.raises(ZeroDivisionError):
        SET[way](panel, [2.0])
    assert panel.error.startswith("Traceback") and "in broken" in panel.error
    assert panel.error.rstrip().endswith("ZeroDivisionError: drawn from a broken decoder")
    assert panel.png == before
    SET[way](panel, [1.0])
    assert panel.error == "" and panel.png == solid(101)


def test_an_exception_after_the_random_button_is_told_to_the_page():
    panel = sliders(broken, {"a": (-1, 9, 0)}, "alt", random=lambda: [1.0, 2.0])
    panel._handle_custom_msg("random", [])  # what the button sends; ipywidgets catches all
    assert "ValueError: random gave 2 values; expected 1" in panel.error
    panel.random = lambda: [5.0]
    panel._handle_custom_msg("random", [])
    assert "drawn from a broken decoder" in panel.error
    panel.random = lambda: [1.0]
    panel._handle_custom_msg("random", [])
    assert panel.error == "" and panel.png == solid(101)


# --- The plane of two latents ---


def plane_of(models, **options):
    return latent_plane(models, small_images(30), torch.arange(30) % 7, **options)


TWO_MODELS = {"autoencoder": small_autoencoder(), "VAE": small_vae()}


def test_codes_in_the_plane_are_the_means_of_the_encoder():
    panel = plane_of(TWO_MODELS)
    assert [plane["name"] for plane in panel.spec["planes"]] == ["autoencoder", "VAE"]
    for plane, model in zip(panel.spec["planes"], TWO_MODELS.values(), strict=True):
        codes = encode_means(model, small_images(30))
        torch.testing.assert_close(torch.tensor(plane["codes"]), codes, rtol=0, atol=6e-4)
        for axis, column in (("x", codes[:, 0]), ("y", codes[:, 1])):
            low, high = plane[axis]
            assert low < column.min() and column.max() < high
            assert high - low == pytest.approx(1.1 * (column.max() - column.min()).item())
    assert panel.spec["labels"] == [i % 7 for i in range(30)]


def test_a_plane_of_one_code_has_a_size(vae):
    plane = latent_plane(vae, small_images(1), torch.tensor([3])).spec["planes"][0]
    assert plane["x"][0] < plane["codes"][0][0] < plane["x"][1]


@pytest.mark.parametrize(
    "labels", [torch.arange(6) + 5, torch.full((6,), 0.5), torch.arange(6) - 1]
)
def test_a_plane_wants_digits(labels, vae):
    with pytest.raises(ValueError, match=r"labels is .*; expected \(6,\): a digit, 0 to 9"):
        latent_plane(vae, small_images(6), labels)


def test_the_images_to_choose_from_are_the_first_of_each_label():
    images, digits = small_images(6), torch.tensor([4, 2, 2, 4, 9, 0])
    panel = latent_plane(small_vae(), images, digits)
    assert panel.spec["chosen"] == [0, 2, 4, 9]
    expected = (torch.cat(list(images[[5, 1, 0, 4], 0]), dim=1) * 255).round()
    np.testing.assert_array_equal(from_uri(panel.spec["images"])[..., 0], expected)


def test_posteriors_are_those_of_the_model():
    panel = plane_of(TWO_MODELS)
    autoencoder, vae = (plane["posteriors"] for plane in panel.spec["planes"])
    first = small_images(30)[:7]
    codes = TWO_MODELS["autoencoder"].encode(first)
    assert [p["mu"] for p in autoencoder] == codes.tolist()
    assert [p["sigma"] for p in autoencoder] == [None] * 7
    mu, logvar = TWO_MODELS["VAE"].encode(first)
    assert [p["mu"] for p in vae] == mu.tolist()
    assert [p["sigma"] for p in vae] == (logvar / 2).exp().tolist()


def test_a_single_model_needs_no_name(vae):
    panel = plane_of(vae)
    assert [plane["name"] for plane in panel.spec["planes"]] == ["codes"]
    assert panel.draw([[[0.5, 1.0]]]) == decode_png(vae, torch.tensor([[0.5, 1.0]]))


def test_points_are_decoded_in_one_row_a_model():
    panel = plane_of(TWO_MODELS)
    points = [[[0.5, -1.0], [2.0, 0.0], [0.0, 3.0]], [[1.0, 1.0], [-2.5, 0.25], [0.0, 0.0]]]
    panel.values = points
    rows = [
        np.asarray(open_png(decode_png(model, torch.tensor(row))))
        for model, row in zip(TWO_MODELS.values(), points, strict=True)
    ]
    np.testing.assert_array_equal(open_png(panel.png), np.concatenate(rows))


def test_points_at_whole_numbers_are_decoded(vae):
    # JavaScript writes 1.0 as 1.
    assert plane_of(vae).draw([[[1, 0]]]) == decode_png(vae, torch.tensor([[1.0, 0.0]]))


def test_an_exception_while_decoding_a_point_is_told_to_the_page(vae):
    panel = plane_of(vae)
    with pytest.raises(ValueError):
        panel.set_state({"values": [[[0.5, 1.0, 2.0]]]})
    assert "expected a tensor of shape (n, 2)" in panel.error


def digit(top, left, size=(12, 6)):
    """A seven, its corner at a place, as the numbers from 0 to 255 that the page sends."""
    image = torch.zeros(28, 28)
    height, width = size
    image[top : top + 3, left : left + width] = 255
    image[top : top + height, left + width - 3 : left + width] = 200
    return image.flatten().int().tolist()


def test_a_drawn_digit_is_brought_to_the_size_and_the_place_of_mnist():
    answer = plane_of(TWO_MODELS).encode(digit(1, 2))
    image = torch.from_numpy(from_uri(answer["image"])[..., 0] / 255)
    assert image.shape == (28, 28)
    rows, columns = (image.amax(dim=axis).nonzero().flatten() for axis in (1, 0))
    assert (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) == (20, 10)
    for axis in (0, 1):
        mass = image.sum(dim=1 - axis)
        assert abs((mass * torch.arange(28)).sum() / mass.sum() - 13.5) <= 0.51


def test_a_drawing_has_the_posteriors_of_its_centred_image():
    answer = plane_of(TWO_MODELS).encode(digit(1, 2))
    image = torch.from_numpy(from_uri(answer["image"])[..., 0] / 255).float()[None, None]
    autoencoder, vae = answer["posteriors"]
    code = TWO_MODELS["autoencoder"].encode(image)[0].tolist()
    assert autoencoder["mu"] == pytest.approx(code, abs=5e-3) and autoencoder["sigma"] is None
    mu, logvar = TWO_MODELS["VAE"].encode(image)
    assert vae["mu"] == pytest.approx(mu[0].tolist(), abs=5e-3)
    assert vae["sigma"] == pytest.approx((logvar[0] / 2).exp().tolist(), abs=5e-3)


@pytest.mark.parametrize("place", [(0, 0), (16, 22), (3, 15)])
def test_it_does_not_matter_where_a_digit_is_drawn(place):
    panel = plane_of(TWO_MODELS)
    assert panel.encode(digit(*place)) == panel.encode(digit(8, 10))


@pytest.mark.parametrize("size", [(28, 28), (28, 4), (3, 28), (3, 3)])
def test_digits_of_any_size_can_be_drawn(size):
    answer = plane_of(TWO_MODELS).encode(digit(0, 0, size))
    assert from_uri(answer["image"]).max() > 150


def test_drawings_with_nothing_or_one_dot_in_them_do_not_fail():
    panel = plane_of(TWO_MODELS)
    nothing = panel.encode([0] * 784)
    assert nothing["posteriors"] != panel.encode([0] * 783 + [1])["posteriors"]
    blank = torch.zeros(1, 1, 28, 28)
    assert nothing["posteriors"][0]["mu"] == TWO_MODELS["autoencoder"].encode(blank)[0].tolist()
    assert from_uri(nothing["image"]).max() == 0


def test_a_drawing_from_the_page_is_answered():
    panel = plane_of(TWO_MODELS)
    panel.set_state({"drawing": digit(3, 3)})
    assert panel.drawn == panel.encode(digit(3, 3)) and panel.error == ""
    with pytest.raises(RuntimeError):
        panel.set_state({"drawing": [1, 2, 3]})
    assert panel.error and panel.drawn == panel.encode(digit(3, 3))


def test_a_plane_needs_two_latents_and_says_of_which_model():
    with pytest.raises(ValueError, match="model 'wide' has 3 latents; expected 2"):
        plane_of({"narrow": small_vae(), "wide": small_vae(latent=3)})


def test_a_plane_needs_a_label_for_each_image(vae):
    with pytest.raises(ValueError, match="11 labels came with 12 images"):
        latent_plane(vae, small_images(12), torch.zeros(11))


def test_a_plane_needs_images(vae):
    with pytest.raises(ValueError, match=r"images has shape \(12, 28, 28\); expected \(n, "):
        latent_plane(vae, small_images(12)[:, 0], torch.zeros(12))


# --- What the notebook stores ---


def frames(uri, columns, size=(28, 28)):
    """The frames of a sheet, `(rows, columns, h, w, 3)`, as panel.js cuts them."""
    sheet = from_uri(uri)
    h, w = size
    rows = sheet.shape[0] // h
    assert sheet.shape == (rows * h, columns * w, 3)
    return sheet.reshape(rows, h, columns, w, 3).swapaxes(1, 2)


def assert_same_picture(stored, png):
    """With slight loss, as photographs are stored."""
    expected = np.asarray(open_png(png).convert("RGB")).astype(float)
    assert expected.std() > 20, "a picture in which nothing can be told apart"
    assert np.abs(stored - expected).mean() < 6


def greys(stored):
    """The grey of each frame, none of which is further than 3 from a multiple of 10."""
    assert (stored.max(axis=(2, 3, 4)) - stored.min(axis=(2, 3, 4))).max() <= 6
    middles = stored.mean(axis=(2, 3, 4))
    assert np.abs(middles - middles.round(-1)).max() <= 3
    return middles.round(-1).tolist()


def test_one_slider_has_its_frames_in_a_row():
    panel = sliders(lambda a: solid(20 * a), {"a": (0, 4, 1)}, "alt", steps=5)
    assert greys(frames(panel.stored()["sprite"], 5, (6, 6))) == [[0, 20, 40, 60, 80]]


def test_a_row_that_is_too_wide_for_a_sheet_goes_on_below():
    panel = sliders(lambda a: solid(10 * a, (1000, 6)), {"a": (0, 19, 1)}, "alt", steps=20)
    stored = greys(frames(panel.stored()["sprite"], 8, (6, 1000)))
    assert np.ravel(stored).tolist() == [10 * i for i in range(20)] + [0] * 4


def test_rows_that_are_too_many_for_a_sheet_stand_side_by_side():
    panel = sliders(
        lambda a, b: solid(20 * a + b, (6, 1000)),
        {"a": (0, 1, 0), "b": (1, 20, 10)}, "alt", whole=("a", "b"),
    )  # fmt: skip
    sheet = from_uri(panel.stored()["sprite"])
    assert sheet.shape == (1000, 1365 * 6, 3)
    assert (
        np.abs(
            sheet[500, 3 : 40 * 6 : 6, 0] - [20 * a + b for b in range(1, 21) for a in (0, 1)]
        ).max()
        <= 3
    )


@pytest.mark.parametrize(
    "size, steps", [((900, 300), 244), ((28, 28), 10**9), ((9000, 1), 2), ((1, 9000), 2)]
)
def test_more_frames_than_a_sheet_holds_are_an_error_at_once(size, steps):
    message = rf"{steps} frames of {size[0]} x {size[1]} pixels do not fit .* fewer steps"
    with pytest.raises(ValueError, match=message):
        sliders(lambda a: solid(0, size), {"a": (0, 1, 0)}, "alt", steps=steps)


def test_two_sliders_have_all_combinations_the_first_along_the_columns():
    panel = sliders(
        lambda a, b: solid(30 * a + b), {"a": (0, 4, 1), "b": (50, 90, 50)}, "alt", steps=3
    )
    stored = greys(frames(panel.stored()["sprite"], 3, (6, 6)))
    assert stored == [[50, 110, 170], [70, 130, 190], [90, 150, 210]]


def test_more_sliders_have_a_row_each_in_which_the_others_stand_at_their_start():
    panel = sliders(
        lambda a, b, c: solid(100 * a + 30 * b + 10 * c),
        {"a": (0, 1, 0), "b": (0, 4, 2), "c": (0, 8, 4)}, "alt", steps=2,
    )  # fmt: skip
    stored = greys(frames(panel.stored()["sprite"], 2, (6, 6)))
    assert stored == [[100, 200], [40, 160], [60, 140]]


def test_whole_numbers_have_a_frame_each_and_reach_render_as_ints():
    came = []

    def render(a, b):
        came.append((a, b))
        return solid(20 * a + round(60 * b))

    panel = sliders(render, {"a": (1, 4, 2), "b": (0, 1, 0)}, "alt", steps=3, whole=("a",))
    assert panel.spec["whole"] == [True, False]
    stored = greys(frames(panel.stored()["sprite"], 4, (6, 6)))
    assert stored == [[20 * a + add for a in (1, 2, 3, 4)] for add in (0, 30, 60)]
    panel.values = [3.0, 0.5]  # what a page may send
    assert all(isinstance(a, int) for a, _ in came) and came[-1] == (3, 0.5)
    panel._repr_mimebundle_()
    assert all(isinstance(a, int) for a, _ in came)


def test_rows_of_many_sliders_are_of_one_length_whatever_their_places():
    panel = sliders(
        lambda a, b, c: solid(100 * a + 30 * b + 10 * c),
        {"a": (0, 1, 0), "b": (0, 2, 1), "c": (0, 4, 2)}, "alt", steps=4, whole=("a", "b", "c"),
    )  # fmt: skip
    stored = greys(frames(panel.stored()["sprite"], 5, (6, 6)))
    assert stored == [[50, 150, 150, 150, 150], [20, 50, 80, 80, 80], [30, 40, 50, 60, 70]]


def test_whole_sliders_want_known_labels_and_ints():
    with pytest.raises(ValueError, match=r"whole is .*expected labels among a"):
        sliders(counted([]), {"a": (0, 1, 0)}, "alt", whole=("b",))
    with pytest.raises(ValueError, match=r"ranges\['a'\] is .*expected three ints"):
        sliders(counted([]), {"a": (0.0, 1, 0)}, "alt", whole=("a",))


def test_plots_are_stored_without_loss():
    panel = sliders(plot, {"a": (0, 1, 0)}, "alt", steps=3)
    h, w = panel.spec["height"], panel.spec["width"]
    stored = frames(panel.stored()["sprite"], 3, (h, w))
    for frame, a in zip(stored[0], (0, 0.5, 1), strict=True):
        np.testing.assert_array_equal(frame, open_png(plot(a)).convert("RGB"))


def test_each_latent_has_its_frames_in_the_order_of_the_sliders():
    model = vivid(small_vae(latent=3))
    panel = latent_sliders(model, order=[2, 0], limit=2.0)
    stored = frames(panel.stored()["sprite"], 15)
    for row, z1 in ((0, -2), (14, 2), (7, 0)):
        for column, z3 in ((0, -2), (14, 2), (7, 0)):
            png = decode_png(model, torch.tensor([[z1, 0.0, z3]]))
            assert_same_picture(stored[row, column], png)
    panel = latent_sliders(model, order=[2, 0, 1], limit=2.0)
    stored = frames(panel.stored()["sprite"], 15)
    for row, latent in enumerate([2, 0, 1]):
        for column, value in ((0, -2), (14, 2)):
            z = torch.zeros(1, 3)
            z[0, latent] = value
            assert_same_picture(stored[row, column], decode_png(model, z))


def test_each_place_of_the_plane_has_its_frame_columns_along_z1_and_rows_along_z2():
    models = {name: vivid(model) for name, model in TWO_MODELS.items()}
    panel = plane_of(models, steps=4)
    planes = panel.stored()["planes"]
    for plane, model in zip(planes, models.values(), strict=True):
        stored = frames(plane["sprite"], 4)
        for j, z2 in enumerate(np.linspace(*plane["y"], 4)):
            for i, z1 in enumerate(np.linspace(*plane["x"], 4)):
                png = decode_png(model, torch.tensor([[z1, z2]], dtype=torch.float32))
                assert_same_picture(stored[j, i], png)
    assert [{**plane, "sprite": None} for plane in planes] == [
        {**plane, "sprite": None} for plane in panel.spec["planes"]
    ]


PANELS = {
    "one slider": lambda: sliders(plot, {"a <b> & 'c'": (0, 1, 0)}, 'a "line"', steps=3),
    "two sliders": lambda: latent_sliders(small_vae()),
    "many sliders": lambda: latent_sliders(small_vae(latent=3)),
    "plane": lambda: plane_of(small_vae()),
    "planes": lambda: plane_of(TWO_MODELS),
}


@functools.cache
def stored_html(name):
    return PANELS[name]()._repr_mimebundle_()[0]["text/html"]


class Parts(HTMLParser):
    """The attributes of each tag of a panel's HTML, and its script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.script = {}, ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        assert tag not in self.tags
        self.tags[tag] = dict(attributes)

    def handle_data(self, data):
        if self.lasttag == "script":
            self.script += data


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_three_forms(panel, ipython):
    panel = PANELS[panel]()
    data, metadata = displayed(lambda: display(panel))
    assert data[WIDGET]["model_id"] == panel.model_id
    still = png_bytes(data["image/png"])
    open_png(still).verify()
    assert metadata["image/png"]["alt"] == panel.alt

    parts = Parts(data["text/html"])
    assert set(parts.tags) == {"div", "img", "script"}
    source, alt = parts.tags["img"]["src"], parts.tags["img"]["alt"]
    assert source == f"data:image/png;base64,{base64.b64encode(still).decode()}"
    assert alt == panel.alt
    spec = json.loads(parts.tags["div"]["data-vae-panel"])
    assert spec == json.loads(json.dumps({**panel.spec, **panel.stored()}))
    script = Path(widgets.__file__).with_name("panel.js").read_text(encoding="utf-8")
    assert parts.tags["script"] == {"type": "module"} and parts.script.strip() == script.strip()


@pytest.mark.parametrize("panel", PANELS)
def test_nothing_in_a_panel_comes_from_elsewhere(panel):
    text = stored_html(panel)
    assert "//" not in re.sub(r"(^| )//.*|base64,[\w+/=]+", "", text, flags=re.M)
    assert text.count("</script") == 1 and text.endswith("</script>")


MOVED = {"one slider": [1.0], "two sliders": [1.0, 2.0], "many sliders": [1.0, 2.0, 3.0],
         "plane": [[[0.5, 0.5]]], "planes": [[[0.5, 0.5]], [[0.5, 0.5]]]}  # fmt: skip


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_is_stored_in_the_same_bytes_wherever_it_was_moved(panel):
    again = PANELS[panel]()
    again.values = MOVED[panel]
    assert again._repr_mimebundle_()[0]["text/html"] == stored_html(panel)
    assert again.values == MOVED[panel]


def test_the_alternative_text_names_at_most_six_sliders():
    alt = latent_sliders(small_vae(latent=8)).alt
    assert "the decoder's picture" in alt and "z1, z2, z3, z4, z5, z6," in alt and "z7" not in alt


@pytest.mark.filterwarnings("error")
def test_the_filmstrip_has_a_row_for_each_slider_and_runs_from_low_to_high():
    def render(a, b):
        return solid(20 * a + b, (30, 30))

    panel = sliders(render, {"a": (0, 6, 0), "b": (0, 60, 10)}, "alt")
    picture = np.asarray(open_png(panel.still()).convert("L"))
    height, width = picture.shape[0] // 2, picture.shape[1] // 7
    middles = picture[height // 2 :: height, width // 2 :: width]
    assert middles[:2, :7].tolist() == [
        [10, 30, 50, 70, 90, 110, 130],  # a moves, b stays at its start
        [0, 10, 20, 30, 40, 50, 60],
    ]
    assert panel.values == [0, 10]
