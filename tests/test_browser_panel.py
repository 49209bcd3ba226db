"""Sliders and planes without a kernel: stored panels of all kinds on one page, in Chromium."""

import io
import re

from vae_helpers import widgets
from vae_helpers.widgets import decode_png, latent_plane, latent_sliders, sliders

import numpy as np
import pytest
import torch
from browser import drag, shown, wait_until
from PIL import Image
from small import plot, small_autoencoder, small_images, small_vae, vivid

STEPS = 7  # of the sliders made here; odd, so that the start is one of the places
TWO = vivid(small_vae())
TWENTY = vivid(small_vae(latent=20))
MODELS = {"autoencoder": vivid(small_autoencoder()), "VAE": vivid(small_vae())}
MODELS["VAE"].encoder[-1].bias.data[2:] -= 7  # posteriors that are small in the plane
EDGE = 30  # CSS pixels from the edge of a plane to its axes, as in panel.js
KINDS = ("plot", "two", "twenty", "whole", "plane")
THEMES = {
    "": "",
    "light": ":root { color-scheme: light } body { background: #fff; color: #222 }",
    "dark": ":root { color-scheme: dark } body { background: #111; color: #ddd }",
}
# The draws of a posterior are then the same in every run.
SEEDED = "let seed = 1; Math.random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;"


def on_a_sheet_of(size, make):
    """A panel whose frames do not fit in rows, because a sheet has so many pixels each way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(widgets, "SHEET", size)
        return make()


@pytest.fixture(scope="module")
def panels():
    digits = torch.arange(30) % 7
    return {
        "plot": on_a_sheet_of(
            3 * 270, lambda: sliders(plot, {"a": (-1, 1, 0)}, "a line", steps=STEPS)
        ),
        "two": latent_sliders(TWO),
        "twenty": on_a_sheet_of(18 * 28, lambda: latent_sliders(TWENTY)),
        "whole": sliders(
            lambda n, a: plot(a / n),
            {"n": (1, 4, 2), "a": (-1, 1, 0)},
            "a line",
            steps=STEPS,
            whole=("n",),
        ),
        "plane": latent_plane(MODELS, small_images(30), digits, steps=STEPS),
    }


@pytest.fixture(scope="module")
def stored(panels):
    return [panel._repr_mimebundle_()[0]["text/html"] for panel in panels.values()]


@pytest.fixture
def open_page(browser, stored, tmp_path):
    """A function that opens all panels on one page; nothing may fail or ask for anything."""
    contexts, said = [], []

    def open_it(theme="", **options):
        file = tmp_path / "page.html"
        file.write_text(
            f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Panels</title>"
            f"<style>{THEMES[theme]}</style><body>{'<p>and</p>'.join(stored)}</body></html>",
            encoding="utf-8",
        )
        context = browser.new_context(
            viewport={"width": 1200, "height": 900}, offline=True, **options
        )
        contexts.append(context)
        context.add_init_script(SEEDED)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda request: said.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    asked = [text for text in said if not text.startswith(("file:", "data:", "blob:"))]
    assert asked == [], "the page failed, or asked for something"


@pytest.fixture
def page(open_page):
    page = open_page()
    for kind in KINDS:
        wait_until(page, lambda kind=kind: pixels(page, kind).std() > 5)
    return page


def panel_on(page, kind):
    return page.locator(".vae-panel").nth(KINDS.index(kind))


def slider_on(page, kind, label):
    return panel_on(page, kind).get_by_role("slider", name=label, exact=True)


def picture_on(page, kind, number=0):
    """The canvas with a decoded or drawn picture; in the plane, of one of the models."""
    panel = panel_on(page, kind)
    if kind == "plane":
        return panel.locator(f"canvas[aria-label^='what {list(MODELS)[number]} decodes']")
    return panel.locator("canvas")


def pixels(page, kind, number=0):
    return shown(picture_on(page, kind, number))


def all_pixels(page):
    """Everything that any canvas shows: a list for each panel."""
    return {
        kind: panel_on(page, kind).evaluate(
            "panel => [...panel.querySelectorAll('canvas')].map(canvas => canvas.toDataURL())"
        )
        for kind in KINDS
    }


def changed(page, before):
    """The panels that show something else than before."""
    after = all_pixels(page)
    return [kind for kind in KINDS if after[kind] != before[kind]]


def text_of(slider):
    return slider.get_attribute("aria-valuetext")


def assert_shows(page, kind, png, number=0):
    """The canvas shows this picture, but for the slight loss of the stored frames."""
    expected = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)
    assert expected.std() > 20, "a picture in which nothing can be told apart"
    seen = pixels(page, kind, number)
    assert seen.shape == (*expected.shape[:2], 4) and (seen[..., 3] == 255).all()
    assert np.abs(seen[..., :3] - expected).mean() < 6


def decoded(model, **latents):
    """A PNG of a code: `z2=1.5` and so on, the others 0."""
    z = torch.zeros(1, model.latent_dim)
    for name, value in latents.items():
        z[0, int(name[1:]) - 1] = value
    return decode_png(model, z)


# --- sliders --------------------------------------------------------------------------------------


def test_each_panel_starts_once_at_its_start(page):
    assert page.locator(".vae-panel").count() == len(KINDS)
    assert page.locator("[data-ready=true]").count() == len(KINDS)
    assert page.locator(".vae-panel img").count() == 0
    counts = [panel_on(page, kind).locator("input").count() for kind in KINDS]
    assert counts == [1, 2, 20, 2, 1]
    assert_shows(page, "plot", plot(0))
    assert_shows(page, "two", decoded(TWO))
    assert_shows(page, "twenty", decoded(TWENTY))


def test_one_slider_moves_its_own_picture_by_key(page):
    before = all_pixels(page)
    slider = slider_on(page, "plot", "a")
    slider.press("ArrowRight")
    assert text_of(slider) == "0.33" and changed(page, before) == ["plot"]
    assert_shows(page, "plot", plot(1 / 3))
    slider.press("End")
    assert_shows(page, "plot", plot(1))
    slider.press("Home")
    assert_shows(page, "plot", plot(-1))


def test_one_slider_moves_its_own_picture_by_mouse(page):
    before = all_pixels(page)
    slider = slider_on(page, "plot", "a")
    drag(page, slider, (0.5, 0.5), (0.99, 0.5))
    assert text_of(slider) == "1.00" and changed(page, before) == ["plot"]
    assert_shows(page, "plot", plot(1))


def test_two_sliders_show_every_combination(page):
    before = all_pixels(page)
    first, second = (slider_on(page, "two", label) for label in ("z1", "z2"))
    first.press("Home")
    assert_shows(page, "two", decoded(TWO, z1=-3))
    second.press("End")
    assert_shows(page, "two", decoded(TWO, z1=-3, z2=3))
    first.press("End")
    assert_shows(page, "two", decoded(TWO, z1=3, z2=3))
    drag(page, second, (0.99, 0.5), (0.01, 0.5))
    assert (text_of(first), text_of(second)) == ("3.00", "-3.00")
    assert_shows(page, "two", decoded(TWO, z1=3, z2=-3))
    assert changed(page, before) == ["two"]


def test_a_slider_of_whole_numbers_stops_at_each_and_nowhere_else(page):
    n, a = slider_on(page, "whole", "n"), slider_on(page, "whole", "a")
    assert [n.get_attribute(limit) for limit in ("min", "max")] == ["0", "3"]
    assert text_of(n) == "2" and text_of(a) == "0.00"
    a.press("End")
    for key, expected in (("End", 4), ("ArrowLeft", 3), ("Home", 1), ("ArrowLeft", 1)):
        n.press(key)
        assert text_of(n) == str(expected)
        assert_shows(page, "whole", plot(1 / expected))


def test_of_many_sliders_the_last_one_moved_counts_and_the_others_go_back(page):
    before = all_pixels(page)
    first, last = (slider_on(page, "twenty", label) for label in ("z1", "z20"))
    first.press("End")
    assert_shows(page, "twenty", decoded(TWENTY, z1=3))
    last.press("Home")
    assert (text_of(first), text_of(last)) == ("0.00", "-3.00")
    assert first.input_value() == slider_on(page, "twenty", "z2").input_value()
    assert_shows(page, "twenty", decoded(TWENTY, z20=-3))
    drag(page, slider_on(page, "twenty", "z5"), (0.5, 0.5), (0.99, 0.5))
    assert_shows(page, "twenty", decoded(TWENTY, z5=3))
    moved = [
        f"z{i + 1}" for i in range(20) if text_of(slider_on(page, "twenty", f"z{i + 1}")) != "0.00"
    ]
    assert moved == ["z5"] and changed(page, before) == ["twenty"]


def test_a_panel_stays_as_it_is_when_another_one_comes_to_the_page(page, stored):
    slider = slider_on(page, "two", "z1")
    slider.press("End")
    before = all_pixels(page)
    page.evaluate(
        """text => {  // as JupyterLab shows the output of a cell
            const cell = document.body.appendChild(document.createElement("div"));
            cell.innerHTML = text;
            const script = document.createElement("script");
            Object.assign(script, { type: "module", text: cell.querySelector("script").text });
            cell.append(script);
        }""",
        stored[0],
    )
    page.locator("[data-ready=true]").nth(len(KINDS)).wait_for()
    assert text_of(slider) == "3.00" and changed(page, before) == []
    slider.press("Home")
    assert text_of(slider) == "-3.00" and changed(page, before) == ["two"]


@pytest.mark.parametrize("kind", ["plot", "two", "twenty"])
def test_reset_goes_back_to_the_start(kind, page):
    before = all_pixels(page)
    slider = panel_on(page, kind).get_by_role("slider").last
    slider.press("End")
    assert changed(page, before) == [kind]
    panel_on(page, kind).get_by_role("button", name="Reset").press("Enter")
    assert text_of(slider) == "0.00" and changed(page, before) == []


def test_without_a_kernel_nothing_is_offered_that_needs_one(page):
    assert page.get_by_role("button", name="Random").count() == 0
    assert page.get_by_role("button", name="Clear").count() == 0
    assert "Run the cell to move all" in panel_on(page, "twenty").inner_text()
    assert "Run the cell" not in panel_on(page, "two").inner_text()


# --- the plane ------------------------------------------------------------------------------------


def planes_on(page):
    return panel_on(page, "plane").get_by_role("application")


def point_of(page, number):
    """Where the point of a model is, as the page says it."""
    label = planes_on(page).nth(number).get_attribute("aria-label")
    z1, z2 = re.search(r"z1 = (-?\d+\.\d+), z2 = (-?\d+\.\d+)", label).groups()
    return float(z1), float(z2)


def nearest(spec, number, point):
    """The decoded picture of the stored place that is nearest to a point."""
    plane, z = spec["planes"][number], []
    for axis, value in zip("xy", point, strict=True):
        places = np.linspace(*plane[axis], STEPS)
        z.append(places[np.abs(places - value).argmin()])
    model = list(MODELS.values())[number]
    return decode_png(model, torch.tensor([z], dtype=torch.float32))


def move_to(page, number, u, v):
    """Click on a plane, u and v from 0 to 1 along its axes."""
    canvas = planes_on(page).nth(number)
    edge = EDGE / canvas.bounding_box()["width"]
    place = [edge + (1 - 2 * edge) * part for part in (u, 1 - v)]
    drag(page, canvas, place)


@pytest.mark.parametrize("number", [0, 1])
def test_the_mouse_moves_the_point_of_one_plane(number, page, panels):
    spec = panels["plane"].spec
    before, other = all_pixels(page), point_of(page, 1 - number)
    for u, v in ((0.02, 0.03), (0.97, 0.04), (0.5, 0.98)):
        move_to(page, number, u, v)
        point = point_of(page, number)
        for value, (low, high), part in zip(
            point, (spec["planes"][number][axis] for axis in "xy"), (u, v), strict=True
        ):
            assert (value - low) / (high - low) == pytest.approx(part, abs=0.02)
        assert_shows(page, "plane", nearest(spec, number, point), number)
    assert changed(page, before) == ["plane"] and point_of(page, 1 - number) == other


def test_a_dragged_point_follows_the_mouse_and_stays_in_the_plane(page, panels):
    plane = panels["plane"].spec["planes"][1]
    drag(page, planes_on(page).nth(1), (0.5, 0.5), (1.3, -0.2))
    assert point_of(page, 1) == pytest.approx((plane["x"][1], plane["y"][1]), abs=0.006)
    assert_shows(page, "plane", nearest(panels["plane"].spec, 1, point_of(page, 1)), 1)


KEYS = {"ArrowRight": (0, 1), "ArrowLeft": (0, -1), "ArrowUp": (1, 1), "ArrowDown": (1, -1)}


@pytest.mark.parametrize("key", KEYS)
def test_arrow_keys_move_the_point_and_its_picture(key, page, panels):
    spec, (axis, sign) = panels["plane"].spec, KEYS[key]
    move_to(page, 1, 0.5, 0.5)
    start = point_of(page, 1)
    for _ in range(12):
        planes_on(page).nth(1).press(key)
    end = point_of(page, 1)
    low, high = spec["planes"][1]["xy"[axis]]
    assert end[axis] - start[axis] == pytest.approx(sign * 12 / 40 * (high - low), abs=0.011)
    assert end[1 - axis] == start[1 - axis]
    assert_shows(page, "plane", nearest(spec, 1, end), 1)


def test_the_image_slider_moves_the_points_to_the_posterior_means(page, panels):
    spec = panels["plane"].spec
    choice = slider_on(page, "plane", "image")
    chosen = panel_on(page, "plane").locator("canvas[aria-label^='the chosen image']")
    for k in (0, 1, 6):
        choice.fill(str(k))
        assert text_of(choice) == f"a {k}"
        assert chosen.get_attribute("aria-label") == f"the chosen image, a {k}"
        expected = (small_images(30)[k, 0] * 255).round().numpy()
        np.testing.assert_array_equal(shown(chosen)[..., 0], expected)
        for number, plane in enumerate(spec["planes"]):
            mean = plane["posteriors"][k]["mu"]
            assert point_of(page, number) == pytest.approx(mean, abs=0.0051)
            assert_shows(page, "plane", nearest(spec, number, mean), number)


def test_draws_from_the_posterior_fill_the_strip(page):
    strips = panel_on(page, "plane").locator("canvas[aria-label*='decoded draws']")
    assert [shown(strip).max() for strip in strips.all()] == [0, 0]
    assert strips.nth(1).get_attribute("aria-label").startswith("VAE: 0 decoded draws")
    panel_on(page, "plane").get_by_role("button", name="Draw from the posterior").press("Enter")
    autoencoder, vae = (np.split(shown(strip)[..., :3], 5, axis=1) for strip in strips.all())
    assert strips.nth(1).get_attribute("aria-label").startswith("VAE: 5 decoded draws")
    point = pixels(page, "plane", 0)[..., :3]
    assert all((draw == point).all() for draw in autoencoder)  # its codes have no spread
    assert all(draw.std() > 20 for draw in vae)
    assert len({draw.tobytes() for draw in vae}) > 1
    slider_on(page, "plane", "image").press("ArrowRight")
    assert [shown(strip).max() for strip in strips.all()] == [0, 0]


def test_the_plane_shows_the_posterior_and_its_draws(page, panels):
    plane = panels["plane"].spec["planes"][1]
    before = [shown(canvas) for canvas in planes_on(page).all()]
    edge, span = 2 * EDGE, before[1].shape[1] - 4 * EDGE  # two pixels each
    mean, sigma = plane["posteriors"][0]["mu"], plane["posteriors"][0]["sigma"][0]
    axes = (plane["x"], plane["y"])
    u, v = ((z - low) / (high - low) for z, (low, high) in zip(mean, axes, strict=True))
    y = int(edge + (1 - v) * span)
    for k, is_black in ((1, True), (1.5, False), (2, True), (2.5, False)):
        x = int(edge + (u + k * sigma / (plane["x"][1] - plane["x"][0])) * span)
        assert (before[1][y, x, :3].max() < 100) == is_black, f"{k} standard deviations"
    panel_on(page, "plane").get_by_role("button", name="Draw from the posterior").click()
    for old, canvas in zip(before, planes_on(page).all(), strict=True):
        assert (shown(canvas) != old).any()


# --- for everyone ---------------------------------------------------------------------------------


def test_every_control_and_picture_has_a_name_and_a_value(page):
    session = page.context.new_cdp_session(page)
    names = {}  # as a screen reader is told them
    for node in session.send("Accessibility.getFullAXTree")["nodes"]:
        if not node["ignored"]:
            names.setdefault(node["role"]["value"], []).append(node["name"]["value"])
    twenty = [f"z{i + 1}" for i in range(20)]
    assert names["slider"] == ["a", "z1", "z2", *twenty, "n", "a", "image"]
    texts = [text_of(slider) for slider in page.get_by_role("slider").all()]
    assert texts == ["0.00"] * 23 + ["2", "0.00", "a 0"]
    # One for each of four panels, the chosen image, and what each plane decodes; no draws yet.
    assert len(names["image"]) == 4 + 1 + 2 and all(names["image"])
    assert [name.partition(":")[0] for name in names["application"]] == list(MODELS)
    assert all("Arrow keys move it" in name for name in names["application"])
    assert names["button"] == ["Reset"] * 4 + ["Draw from the posterior"]
    canvases = page.locator(".vae-panel canvas").evaluate_all(
        "all => all.map(canvas => [canvas.getAttribute('role'), canvas.getAttribute('aria-label')])"
    )
    assert len(canvases) == 11 and all(role and name for role, name in canvases)


def test_the_name_of_a_picture_tells_the_values_that_it_shows(page):
    slider_on(page, "two", "z2").press("Home")
    label = picture_on(page, "two").get_attribute("aria-label")
    assert label == "the decoder's picture of the chosen latents: z1 0.00, z2 -3.00"


def test_all_controls_are_reached_with_the_tab_key(page):
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText")
        )
        if reached[-1].startswith("VAE: codes"):
            break
    assert reached[:5] == ["Reset", "a", "Reset", "z1", "z2"]
    assert reached[5:26] == ["Reset", *(f"z{i + 1}" for i in range(20))]
    assert reached[26:29] == ["Reset", "n", "a"]
    assert reached[29:31] == ["image", "Draw from the posterior"] and len(reached) == 33


@pytest.mark.parametrize("theme", THEMES)
def test_words_have_the_colour_of_the_page(theme, open_page):
    page = open_page(theme)
    page.locator(".vae-note").wait_for()
    colours = page.evaluate(
        """() => [...document.querySelectorAll(
            ".vae-slider span, .vae-slider output, .vae-plane output, .vae-note")]
            .map(node => getComputedStyle(node).color)"""
    )
    body = page.evaluate("getComputedStyle(document.body).color")
    assert len(colours) == 26 * 2 + 2 + 1 and set(colours) == {body}
    assert page.evaluate("getComputedStyle(document.querySelector('canvas')).backgroundColor") == (
        "rgb(255, 255, 255)"
    )


def test_where_no_script_runs_each_panel_is_a_picture_with_its_text(open_page, panels):
    page = open_page(java_script_enabled=False)
    pictures = page.locator(".vae-panel img")
    assert pictures.count() == len(KINDS) and page.locator("input, canvas").count() == 0
    for picture, panel in zip(pictures.all(), panels.values(), strict=True):
        assert picture.is_visible() and picture.get_attribute("alt") == panel.alt
        assert picture.bounding_box()["width"] > 200
