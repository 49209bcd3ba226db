"""The notebooks in a real JupyterLab: opened untrusted, trusted, and run, in Chromium."""

import io
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools import render
from vae_helpers.widgets import decode_png, latent_plane, latent_sliders

import nbformat
import numpy as np
import pytest
import torch
from browser import drag, shown, wait_until
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from small import small_autoencoder, small_images, small_vae, vivid

pytest.importorskip("jupyterlab", reason="needs JupyterLab: pip install jupyterlab")
import lab

TESTS = Path(__file__).resolve().parent
COURSE = TESTS.parent / "notebooks" / "00_start_here.ipynb"
MODELS = {"autoencoder": vivid(small_autoencoder()), "VAE": vivid(small_vae())}
VAE = MODELS["VAE"]
SETUP = """
import torch
from small import *
from vae_helpers.widgets import latent_plane, latent_sliders, sliders

end = 9

def breaking(a):
    if a > end:
        raise ZeroDivisionError("drawn from a broken decoder")
    return solid(100 + 10 * a)

models = {"autoencoder": vivid(small_autoencoder()), "VAE": vivid(small_vae())}
"""
PANELS = {
    "sliders": "latent_sliders(models['VAE'])",
    "broken": "sliders(breaking, {'a': (-4, 4, 0)}, 'a grey')",
    "plane": "latent_plane(models, small_images(30), torch.arange(30) % 7)",
}
LATER = "end = 2  # the panel is there already"


def store_outputs(path):
    """A notebook with panels and their stored outputs, as `make render` leaves it."""
    nb = new_notebook(cells=[new_code_cell(source) for source in (SETUP, *PANELS.values(), LATER)])
    NotebookClient(nb, kernel_name="python3", timeout=120).execute(cwd=str(path.parent))
    render.normalise(nb)
    nbformat.write(nb, path)


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    """The address of a JupyterLab with notebooks: untrusted, trusted (twice), of the course."""
    folder, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home")
    shutil.copy(TESTS / "small.py", folder)
    (folder / "course").mkdir()
    shutil.copy(COURSE, folder / "course" / "course.ipynb")
    # In a thread of its own, as playwright's event loop runs in this one.
    with ThreadPoolExecutor() as pool:
        stored = pool.submit(store_outputs, folder / "untrusted.ipynb")
        with lab.jupyterlab(folder, home) as address:
            stored.result()
            nb = nbformat.read(folder / "untrusted.ipynb", as_version=4)
            nb.cells.append(new_code_cell("'signed, so not the same as the untrusted one'"))
            for name in ("trusted", "live"):
                nbformat.write(nb, folder / f"{name}.ipynb")
            lab.trust(folder / "trusted.ipynb", home)  # notebooks of one content have one signature
            yield address


@pytest.fixture(scope="module")
def open_page(browser):
    """A function that gives an empty page; all are closed in the end."""
    contexts = []

    def open_it():
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 1400}))
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)
        return page

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def live(server, open_page):
    """The stored and trusted notebook, every cell of it run."""
    page = open_page()
    lab.open_notebook(page, server, "live.ipynb")
    lab.run_all(page)
    for name in PANELS:
        panel_on(page, name).locator("canvas").first.wait_for()
    return page


def panel_on(page, name):
    """The output of a cell."""
    return lab.cell(page, PANELS[name]).locator(".jp-OutputArea-output")


def picture_on(page):
    return panel_on(page, "sliders").locator("canvas")


def as_pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)


def close_to(canvas, png, tolerance):
    return np.abs(shown(canvas)[..., :3] - as_pixels(png)).mean() <= tolerance


def decoded(z1, z2, model=VAE):
    return decode_png(model, torch.tensor([[z1, z2]]))


def assert_no_widget_failed(page):
    text = page.locator(".jp-Notebook").inner_text().lower()
    for words in ("model not found", "error displaying widget", "error creating widget"):
        assert words not in text


# --- run ------------------------------------------------------------------------------------------


def test_all_cells_of_a_notebook_of_the_course_run(server, open_page):
    page = open_page()
    lab.open_notebook(page, server, "course/course.ipynb")
    lab.run_all(page)
    outputs = lab.outputs(page)
    errors = [output for cell in outputs for output in cell if output["output_type"] == "error"]
    assert errors == [] and len(outputs) > 10
    page.get_by_role("slider").first.wait_for()
    assert page.locator(".vae-panel").count() > 0 and page.get_by_role("alert").count() == 0
    assert_no_widget_failed(page)


def test_after_run_all_the_panels_are_live(live):
    assert_no_widget_failed(live)
    assert panel_on(live, "sliders").get_by_role("button", name="Random").count() == 1
    assert panel_on(live, "plane").get_by_role("button", name="Clear").count() == 1
    assert live.locator("[data-vae-panel]").count() == 0  # none of the stored form is left


def test_a_live_slider_moves_the_picture_by_key(live):
    panel = panel_on(live, "sliders")
    sliders = panel.get_by_role("slider")
    panel.get_by_role("button", name="Reset").click()
    wait_until(live, lambda: close_to(picture_on(live), decoded(0.0, 0.0), 0))
    for label, key, code in (
        ("z1", "ArrowRight", (0.1, 0.0)),
        ("z2", "Home", (0.1, -3.0)),
        ("z2", "ArrowUp", (0.1, -2.9)),
    ):
        panel.get_by_role("slider", name=label).press(key)
        wait_until(live, lambda code=code: close_to(picture_on(live), decoded(*code), 0.5))
        values = [slider.get_attribute("aria-valuetext") for slider in sliders.all()]
        assert values == [f"{value:.2f}" for value in code]
    # And not the notebook, which has its own use for arrow keys.
    active = "window.jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.source"
    assert live.evaluate(active) == PANELS["sliders"]


def test_random_moves_the_sliders_and_the_picture(live):
    panel = panel_on(live, "sliders")
    sliders = panel.get_by_role("slider")
    before = shown(picture_on(live))
    old = [slider.get_attribute("aria-valuetext") for slider in sliders.all()]
    panel.get_by_role("button", name="Random").click()
    wait_until(live, lambda: (shown(picture_on(live)) != before).any())
    values = [slider.get_attribute("aria-valuetext") for slider in sliders.all()]
    assert values != old
    # The words are rounded.
    wait_until(live, lambda: close_to(picture_on(live), decoded(*map(float, values)), 3))


def test_an_exception_while_drawing_is_on_the_page(live):
    panel = panel_on(live, "broken")
    alert, canvas = panel.locator("[role=alert]"), panel.locator("canvas")
    wait_until(live, lambda: (shown(canvas)[..., 0] == 100).all())
    assert alert.text_content() == "" and not alert.is_visible()
    panel.get_by_role("slider").press("End")
    panel.get_by_role("alert").wait_for()
    assert "in breaking" in alert.inner_text()
    assert alert.inner_text().rstrip().endswith("ZeroDivisionError: drawn from a broken decoder")
    assert (shown(canvas)[..., 0] == 100).all()
    panel.get_by_role("slider").press("Home")
    wait_until(live, lambda: (shown(canvas)[..., 0] == 60).all())
    alert.wait_for(state="hidden")


# --- the live plane -------------------------------------------------------------------------------


def plane_on(page, number=1):
    return panel_on(page, "plane").get_by_role("application").nth(number)


def point_of(page, number=1):
    label = plane_on(page, number).get_attribute("aria-label")
    return tuple(map(float, re.search(r"z1 = (-?\d+\.\d+), z2 = (-?\d+\.\d+)", label).groups()))


def decoded_on(page, name="VAE"):
    return panel_on(page, "plane").locator(f"canvas[aria-label^='what {name} decodes']")


def test_arrow_keys_move_the_live_point(live):
    before, start = shown(decoded_on(live)), point_of(live)
    plane_on(live).press("ArrowLeft")
    for _ in range(6):
        plane_on(live).press("ArrowDown")
    end = point_of(live)
    assert end[0] < start[0] and end[1] < start[1]
    wait_until(live, lambda: (shown(decoded_on(live)) != before).any())
    wait_until(live, lambda: close_to(decoded_on(live), decoded(*end), 3))
    assert point_of(live, 0) != end


def test_a_drawn_digit_moves_the_live_points(live):
    panel = panel_on(live, "plane")
    pad = panel.locator("canvas[aria-label*='draw a digit']")
    before = [point_of(live, number) for number in (0, 1)]
    drag(live, pad, (0.2, 0.2), (0.7, 0.2), (0.4, 0.8))
    panel.locator("canvas[aria-label='the digit drawn by hand, centred']").wait_for()
    wait_until(live, lambda: [point_of(live, number) for number in (0, 1)] != before)
    assert shown(pad)[..., 0].max() == 255
    chosen = panel.locator("canvas[aria-label='the digit drawn by hand, centred']")
    assert "z1" not in chosen.get_attribute("aria-label") and shown(chosen)[..., 0].max() > 150
    wait_until(live, lambda: close_to(decoded_on(live), decoded(*point_of(live)), 3))
    panel.get_by_role("button", name="Clear").click()
    assert shown(pad)[..., 0].max() == 0


def test_draws_from_the_posterior_are_decoded_live(live):
    panel = panel_on(live, "plane")
    strip = panel.locator("canvas[aria-label^='VAE:'][aria-label*='decoded draws']")
    panel.get_by_role("slider", name="image").press("End")
    wait_until(live, lambda: shown(strip).max() == 0)
    panel.get_by_role("button", name="Draw from the posterior").click()
    wait_until(live, lambda: all(part.std() > 20 for part in np.split(shown(strip), 5, axis=1)))
    assert strip.get_attribute("aria-label").startswith("VAE: 5 decoded draws")


# --- opened, and not run --------------------------------------------------------------------------


def test_an_untrusted_notebook_shows_the_pictures(server, open_page):
    page = open_page()
    lab.open_notebook(page, server, "untrusted.ipynb", kernel=False)
    panels = (latent_sliders(VAE), latent_plane(MODELS, small_images(30), torch.arange(30) % 7))
    for name, panel in zip(("sliders", "plane"), panels, strict=True):
        picture = panel_on(page, name).locator("img")
        picture.wait_for()
        assert picture.get_attribute("alt") == panel.alt
        assert picture.evaluate("picture => picture.naturalWidth") > 200
    assert page.locator(".jp-OutputArea-output input, .jp-OutputArea-output canvas").count() == 0
    assert_no_widget_failed(page)


def test_a_trusted_notebook_moves_without_being_run(server, open_page):
    page = open_page()
    lab.open_notebook(page, server, "trusted.ipynb", kernel=False)
    panel = panel_on(page, "sliders")
    wait_until(page, lambda: close_to(picture_on(page), decoded(0.0, 0.0), 6))
    assert panel.get_by_role("button", name="Random").count() == 0
    panel.get_by_role("slider", name="z1").press("Home")
    wait_until(page, lambda: close_to(picture_on(page), decoded(-3.0, 0.0), 6))
    before = point_of(page)
    plane_on(page).press("ArrowRight")
    assert point_of(page)[0] > before[0]
    assert_no_widget_failed(page)
