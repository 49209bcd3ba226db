"""Pictures with alternative text, and sliders that move them."""

import base64
import io

from vae_helpers import plots
from vae_helpers.plots import DIGIT_COLOURS, STYLES, manifold, show, show_table, tile
from vae_helpers.widgets import decode_png, latent_sliders, sliders

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbclient import NotebookClient
from PIL import Image
from small import small_autoencoder, small_images, small_vae
from torch import nn
from traitlets.config import Config

matplotlib.use("Agg")  # no window

WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


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
    assert plt.get_fignums() == [] and list(recwarn) == []


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
@pytest.mark.parametrize("scale", [1, 7])
def test_a_decoded_png_holds_the_pixels_of_the_decoder(shape, scale):
    model, z = small_vae(image_shape=shape), torch.tensor([0.5, -1.0])
    picture = open_png(decode_png(model, z, scale=scale))
    assert picture.mode == ("L" if shape[0] == 1 else "RGB")
    expected = (model.decode(z[None])[0] * 255).round().detach().permute(1, 2, 0).numpy()
    expected = expected.repeat(scale, axis=0).repeat(scale, axis=1)
    np.testing.assert_array_equal(np.asarray(picture).reshape(expected.shape), expected)


def test_decoding_a_png_is_pure():
    model, before = small_vae(batch_norm=True), small_vae(batch_norm=True)
    state, z = torch.get_rng_state(), torch.tensor([0.5, -1.0])
    assert decode_png(model, z) == decode_png(model, z)
    assert torch.equal(torch.get_rng_state(), state) and z.tolist() == [0.5, -1.0]
    weights = before.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("training_mode", [True, False])
def test_drawing_restores_the_mode_that_was(training_mode, vae):
    vae.train(training_mode)
    latent_sliders(vae)._repr_mimebundle_()
    assert vae.training is training_mode
    with pytest.raises(ValueError, match="z is"):
        decode_png(vae, torch.zeros(3))
    assert vae.training is training_mode


# --- Sliders ---


def labels(panel):
    return [slider.description for slider in panel.sliders]


def code_shown(panel, order):
    z = torch.zeros(len(order))
    z[order] = torch.tensor([slider.value for slider in panel.sliders])
    return z


def press(panel, name):
    (button,) = [b for b in panel.children[1].children if b.description == name]
    button.click()


@pytest.mark.parametrize("model", [small_vae(latent=3), small_autoencoder(latent=3)])
def test_there_is_one_slider_for_each_latent_from_minus_3_to_3(model):
    panel = latent_sliders(model)
    assert labels(panel) == ["z1", "z2", "z3"]
    assert {(s.min, s.max, s.value) for s in panel.sliders} == {(-3.0, 3.0, 0.0)}
    assert panel.image.value == decode_png(model, torch.zeros(3))


@pytest.mark.parametrize("order", [[2, 0, 1], torch.tensor([2, 0, 1]), np.array([2, 0, 1])])
def test_each_slider_moves_its_own_latent_in_the_order_given(order):
    model = small_vae(latent=3)
    panel = latent_sliders(model, order=order)
    assert labels(panel) == ["z3", "z1", "z2"]
    for value, slider in zip((1.0, -2.0, 0.5), panel.sliders, strict=True):
        before = panel.image.value
        slider.value = value
        assert panel.image.value != before
    assert panel.image.value == decode_png(model, torch.tensor([-2.0, 0.5, 1.0]))


def test_latents_that_have_no_slider_stay_at_the_center():
    model = small_vae(latent=3)
    center = torch.tensor([0.1, 0.2, 0.3])
    panel = latent_sliders(model, order=[1], center=center)
    panel.sliders[0].value = 1.5
    assert panel.image.value == decode_png(model, torch.tensor([0.1, 1.5, 0.3]))
    assert center.tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_center_and_spread_set_the_ranges():
    center, spread = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])
    panel = latent_sliders(small_vae(), center=center, spread=spread, limit=2.0)
    assert [(s.min, s.value, s.max) for s in panel.sliders] == [(0, 1, 2), (-6, -2, 2)]


def test_reset_returns_to_the_start_and_random_goes_elsewhere(vae):
    panel = latent_sliders(vae, order=[1, 0])
    start = panel.image.value
    for _ in range(20):
        press(panel, "Random")
        assert all(s.min <= s.value <= s.max for s in panel.sliders)
        assert panel.image.value == decode_png(vae, code_shown(panel, [1, 0]))
    assert panel.image.value != start
    press(panel, "Reset")
    assert [s.value for s in panel.sliders] == [0, 0] and panel.image.value == start
    panel.sliders[0].value = 1.0  # and they still answer
    assert panel.image.value == decode_png(vae, torch.tensor([0.0, 1.0]))


def counted(calls):
    def render(*values):
        calls.append(values)
        return decode_png(small_vae(), torch.zeros(2))

    return render


def test_moving_all_sliders_draws_once():
    calls = []
    panel = sliders(
        counted(calls), {"a": (0, 1, 0), "b": (0, 9, 5)}, "alt", random=lambda: (0.5, 99)
    )
    calls.clear()
    press(panel, "Random")
    press(panel, "Reset")
    assert calls == [(0.5, 9), (0, 5)]  # 99 lies beyond the slider's end


def test_there_is_no_random_button_where_nothing_is_random():
    panel = sliders(counted([]), {"a": (0, 1, 0)}, "alt")
    assert [button.description for button in panel.children[1].children] == ["Reset"]


def test_a_wrong_number_of_values_is_an_error_and_the_sliders_live_on(vae):
    panel = latent_sliders(vae)
    with pytest.raises(ValueError):
        panel.set_values([1.0])
    panel.sliders[1].value = 2.0
    assert panel.image.value == decode_png(vae, code_shown(panel, [0, 1]))


def test_render_takes_whole_numbers_too(vae):
    assert latent_sliders(vae).render(1, -2) == decode_png(vae, torch.tensor([1.0, -2.0]))


@pytest.mark.parametrize("order", [[2], [-1], [0, 0], [], [0, 1, 2]])
def test_a_latent_that_does_not_exist_is_an_error(order, vae):
    with pytest.raises(ValueError, match=r"order is .*expected different latents from 0 to 1"):
        latent_sliders(vae, order=order)


@pytest.mark.parametrize("argument", ["center", "spread"])
def test_a_center_or_spread_of_the_wrong_size_is_an_error(argument, vae):
    with pytest.raises(ValueError, match=rf"{argument} has shape \(3,\); expected \(2,\)"):
        latent_sliders(vae, **{argument: torch.ones(3)})


@pytest.mark.parametrize("limits", [(1, 0, 0.5), (0, 1, 2), (0, 0, 0), (0, 1, float("nan"))])
def test_an_impossible_range_is_an_error_that_names_its_label(limits):
    with pytest.raises(ValueError, match=r"ranges\['mu'\] is .*expected low <= start <= high"):
        sliders(counted([]), {"mu": limits}, "alt")


def broken(*values):
    if any(values):
        raise ZeroDivisionError("drawn from a broken decoder")
    return decode_png(small_vae(), torch.zeros(2))


def test_outside_ipython_an_exception_while_drawing_reaches_the_caller():
    panel = sliders(broken, {"a": (-1, 1, 0)}, "alt")
    with pytest.raises(ZeroDivisionError):
        panel.sliders[0].value = 1


# --- What the notebook stores ---


def test_the_panel_shows_a_widget_and_a_filmstrip_with_alternative_text():
    panel = latent_sliders(small_vae(latent=8))
    data, metadata = panel._repr_mimebundle_()
    assert data[WIDGET]["model_id"] == panel.model_id
    alt = metadata["image/png"]["alt"]
    assert "the decoder's picture" in alt and "z1, z2, z3, z4, z5, z6," in alt and "z7" not in alt
    open_png(data["image/png"]).verify()


@pytest.mark.filterwarnings("error")
def test_the_filmstrip_has_a_row_for_each_slider_and_runs_from_low_to_high():
    def render(*values):
        buffer = io.BytesIO()
        Image.new("L", (30, 30), round(20 * values[0] + values[1])).save(buffer, "PNG")
        return buffer.getvalue()

    panel = sliders(render, {"a": (0, 6, 0), "b": (0, 60, 10)}, "alt")
    picture = np.asarray(open_png(panel.filmstrip()).convert("L"))
    height, width = picture.shape[0] // 2, picture.shape[1] // 7
    middles = picture[height // 2 :: height, width // 2 :: width]
    assert middles[:2, :7].tolist() == [
        [10, 30, 50, 70, 90, 110, 130],  # a moves, b stays at its start
        [0, 10, 20, 30, 40, 50, 60],
    ]
    assert [slider.value for slider in panel.sliders] == [0, 10]


NOTEBOOK = (
    """
    from small import small_vae
    from vae_helpers.widgets import latent_sliders
    model = small_vae()
    panel = latent_sliders(model)
    panel
    """,
    """
    panel.sliders[0].value = 1.0
    moved = panel.image.value != b""
    model.decoder = None  # the next drawing will fail
    panel.sliders[0].value = 2.0
    """,
    """
    print("the next cell still runs")
    """,
)


def test_in_a_notebook_an_exception_while_drawing_is_shown_below_the_sliders(request):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("\n".join(line.strip() for line in cell.splitlines()))
            for cell in NOTEBOOK
        ]
    )
    client = NotebookClient(notebook, timeout=120, store_widget_state=True)
    client.execute(cwd=str(request.path.parent))

    (view,) = notebook.cells[0].outputs
    assert WIDGET in view["data"]
    open_png(base64.b64decode(view["data"]["image/png"])).verify()
    assert view["metadata"]["image/png"]["alt"].startswith("Filmstrip of")

    states = notebook.metadata.widgets[WIDGET_STATE]["state"].values()
    (errors,) = [s["state"]["outputs"] for s in states if s["model_name"] == "OutputModel"]
    (error,) = errors
    assert error["output_type"] == "error" and error["ename"] == "TypeError"
    assert notebook.cells[2].outputs[0]["text"] == "the next cell still runs\n"
