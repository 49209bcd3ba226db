"""The slides in a real browser: every slide at 1280 x 720, with all its fragments shown.

While a notebook's slides are laid out: `pytest tests/test_browser_slides.py -k 04 -n 0`. The
messages name the slide, its first words and the element. Needs Chromium, and reveal.js and MathJax
from an earlier `make slides` (the tests themselves stay offline).
"""

import re
from pathlib import Path

from tools import slides

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCREEN = {"width": 1280, "height": 720}
LOCAL = ("file:", "data:", "blob:")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# Run on each slide; returns [kind, message] for everything that is wrong with it.
CHECK = r"""
() => {
  const slide = Reveal.getCurrentSlide(), found = [];
  const words = (node) => (node.alt || (node.innerText ?? node.textContent))
    .trim().replace(/\s+/g, " ").slice(0, 60);
  const name = (node) => `<${[node.localName, ...node.classList].join(".")}> "${words(node)}"`;
  const unread = "aside.notes, mjx-assistive-mml, script, style";
  const shown = [...slide.querySelectorAll("*")].filter((node) => {
    if (node.closest(unread)) return false;
    const { width, height } = node.getBoundingClientRect();
    // What is one pixel large is for screen readers.
    return width > 2 && height > 2 && node.checkVisibility({ visibilityProperty: true });
  });

  const strip = 22;  // at the bottom, for the number of the slide
  const beyond = (node) => {
    const box = node.getBoundingClientRect();
    return Math.round(Math.max(
      box.right - innerWidth, box.bottom - innerHeight + strip, -box.left, -box.top));
  };
  const blocks = new Map();
  for (const node of shown) {
    if (beyond(node) < 1 || shown.some((other) => node !== other && node.contains(other)
      && beyond(other) >= 1)) continue;  // the smallest one is named
    const block = node.closest("pre, table, p, li, h1, h2, h3, .vae-panel") || node;
    blocks.set(block, Math.max(blocks.get(block) || 0, beyond(node)));
  }
  for (const [block, pixels] of blocks) {
    found.push(["overflow", `${name(block)} is ${pixels} px beyond the slide`]);
  }
  for (const node of shown) {
    const style = getComputedStyle(node);
    const clips = (how) => how !== "visible" && style.display !== "inline";
    const wide = node.scrollWidth > node.clientWidth + 1;
    const high = node.scrollHeight > node.clientHeight + 1;
    if (node.matches("pre, table") && wide || clips(style.overflowX) && wide
      || clips(style.overflowY) && high) {
      found.push(["overflow", `${name(node)} is larger inside than its box`]);
    }
    const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    const size = parseFloat(style.fontSize) * (node.currentCSSZoom || 1);
    if (text && size < 14.9 && !node.closest("svg, sub, sup")) {
      found.push(["small", `${name(node)} is ${size.toFixed(1)} px large; at least 15`]);
    }
  }

  const texts = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { data, parentNode } = texts.currentNode;
    if (/\$|\\\(|\\\[|\\begin/.test(data) && !parentNode.closest("pre, code, script, style, svg")) {
      found.push(["maths", `a formula that was not typeset: "${data.trim().slice(0, 80)}"`]);
    }
  }
  // An error, or an unknown command, which is drawn in red.
  for (const node of slide.querySelectorAll("[data-mml-node=merror], mjx-container [fill=red]")) {
    const formula = node.closest("mjx-container").textContent;
    found.push(["maths", `MathJax does not understand ${formula}`]);
  }

  for (const node of slide.querySelectorAll("img")) {
    const alt = node.alt.trim();
    if (!alt || alt.startsWith("No description has been provided")) {
      found.push(["alt", `a picture without alternative text: ${node.src.slice(0, 60)}`]);
    }
    if (!node.naturalWidth) {
      found.push(["loads", `a picture that is not there: ${node.src.slice(0, 60)}`]);
    }
  }
  for (const node of slide.querySelectorAll("canvas")) {
    if (!node.role || !node.ariaLabel) found.push(["alt", "a canvas without role or aria-label"]);
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def assets():
    if slides.missing_assets():
        pytest.skip("needs reveal.js and MathJax: make slides fetches them (once)")
    return slides.read_assets()


@pytest.fixture(scope="module")
def deck(browser, assets, tmp_path_factory):
    """A function that makes slides of a notebook and opens them: the page and what it reports."""
    folder = tmp_path_factory.mktemp("slides")
    pages = []

    def open_deck(nb, name="slides", source=ROOT / "notebooks", query="", **options):
        for page in pages:
            page.context.close()
        pages.clear()
        file = folder / f"{name}.html"
        file.write_text(slides.export(nb, assets, name, source, **options), encoding="utf-8")
        context = browser.new_context(viewport=SCREEN, offline=True)
        page, said = context.new_page(), []
        page.on("request", lambda request: note_request(said, request.url))
        page.on("console", lambda message: note_console(said, message))
        page.on("pageerror", lambda error: said.append(f"an exception: {error}"))
        page.goto(file.as_uri() + query)
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        pages.append(page)
        return page, said

    return open_deck


def note_request(said, url):
    if not url.startswith(LOCAL):
        said.append(f"a request: {url}")


def note_console(said, message):
    if message.type in ("error", "warning"):
        said.append(f"on the console: {message.text}")


def show(page, number):
    """Show a slide, counted from 1 as on the screen, with all its fragments."""
    page.evaluate(
        """i => {
            const { h, v } = Reveal.getIndices(Reveal.getSlides()[i]);
            Reveal.slide(h, v, 999);
        }""",
        number - 1,
    )


def inspect(page):
    """(kind, message) for everything that is wrong on any slide."""
    found = []
    for number in range(1, page.evaluate("Reveal.getSlides().length") + 1):
        show(page, number)
        heading = page.evaluate(
            "(Reveal.getCurrentSlide().querySelector('h1, h2, h3') || Reveal.getCurrentSlide())"
            ".innerText.trim().slice(0, 50).split('\\n')[0]"
        )
        place = f"slide {number}, {heading!r}"
        found += [(kind, f"{place}: {message}") for kind, message in page.evaluate(CHECK)]
    return found


@pytest.fixture(scope="module")
def report(deck):
    """A function that inspects the slides of a notebook, once for all tests: {kind: messages}."""
    reports = {}

    def inspect_once(path):
        if path not in reports:
            nb = nbformat.read(path, as_version=4)
            # The unsolved deck, and behind it the solutions: one deck instead of two.
            nb.cells.sort(key=lambda cell: "solution" in cell.metadata.get("tags", []))
            page, said = deck(nb, path.stem, path.parent, solutions=True)
            found = inspect(page) + [("loads", message) for message in said]
            reports[path] = {kind: [m for k, m in found if k == kind] for kind, _ in found}
        return reports[path]

    return inspect_once


# --- every slide of every notebook ----------------------------------------------------------------


CLAIMS = {
    "overflow": "a slide shows all that is on it",
    "small": "text can be read from the back row",
    "maths": "formulas are typeset",
    "alt": "pictures have alternative text",
    "loads": "nothing is asked from elsewhere, and nothing fails",
}


@each_notebook
@pytest.mark.parametrize("kind", CLAIMS)
def test_slides(report, path, kind):
    messages = report(path).get(kind, [])
    assert not messages, "\n".join([f"{CLAIMS[kind]}, but:", *messages])


# --- a deck of our own: what the checks see, and the keys -----------------------------------------

SLIDER = """<div>
<input type="range" min="0" max="9" value="4" aria-label="z1">
<canvas width="60" height="60" role="img" aria-label="a bar" data-keys tabindex="0"></canvas>
<script>
const root = document.currentScript.parentElement;
const [slider, canvas] = [root.querySelector("input"), root.querySelector("canvas")];
const draw = () => {
  canvas.getContext("2d").clearRect(0, 0, 60, 60);
  canvas.getContext("2d").fillRect(0, 0, 6 * slider.value, 60);
};
slider.oninput = draw;
draw();
</script></div>"""


def markdown(text, kind="slide"):
    return new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}})


def with_output(data, kind="slide", **metadata):
    output = new_output("display_data", data, metadata=metadata)
    return new_code_cell("x = 1", outputs=[output], metadata={"slideshow": {"slide_type": kind}})


def number(page):
    return page.evaluate("Reveal.getSlidePastCount() + 1")


@pytest.mark.parametrize(
    "cell, kind, message",
    [
        (markdown("# Long\n\n" + "word\n\n" * 40), "overflow", r"slide 2, 'Long': <p> \"word\" is"),
        (markdown(f"```\n{'wide ' * 60}\n```"), "overflow", "<pre> \"wide"),
        (with_output({"text/html": "<div style='height:9px;overflow:auto'>a<br>b<br>c</div>"}),
         "overflow", "larger inside"),
        (with_output({"text/html": "<p style='font-size: 9px'>tiny</p>"}), "small", "tiny"),
        (markdown("costs $5"), "maths", "costs"),
        (markdown(r"$\frac{1}$"), "maths", "MathJax does not understand"),
        (markdown(r"$\unknown$"), "maths", r"MathJax does not understand .*unknown"),
        (with_output({"text/html": "<canvas></canvas>"}), "alt", "canvas"),
        (with_output({"text/html": "<script>throw Error('oh')</script>"}), "loads", "oh"),
        (with_output({"text/html": "<script src='https://example.org/x.js'></script>"}),
         "loads", "a request: https://example.org/x.js"),
    ],
)  # fmt: skip
def test_faults_are_seen(deck, cell, kind, message):
    page, said = deck(new_notebook(cells=[markdown("# First"), cell]))
    found = inspect(page) + [("loads", text) for text in said]
    texts = [text for found_kind, text in found if found_kind == kind]
    assert any(re.search(message, text) for text in texts), found


def test_sound_deck_has_no_faults_and_formulas_are_drawn(deck):
    cells = [
        markdown("# First\n\nis $x^2$ and $$\\int_0^1 x\\,dx$$"),
        with_output({"text/html": SLIDER}),
        markdown("a\n\n| $\\mu$ | b |\n| --- | ---: |\n| 1 | 2 |", "fragment"),
    ]
    page, said = deck(new_notebook(cells=cells))
    assert inspect(page) == [] and said == []
    assert page.locator("mjx-container svg").count() == 3


def test_keys_in_a_control_are_the_controls(deck):
    cells = [markdown("# First"), with_output({"text/html": SLIDER}), markdown("# Last")]
    page, _ = deck(new_notebook(cells=cells))
    show(page, 2)
    pixels = "document.querySelector('canvas').toDataURL()"
    before = page.evaluate(pixels)
    page.focus("input")
    page.keyboard.press("ArrowRight")
    assert page.input_value("input") == "5"
    assert page.evaluate(pixels) != before
    page.focus("canvas")
    for key in ("ArrowRight", "ArrowLeft", "PageDown", "s", "o"):
        page.keyboard.press(key)
    assert number(page) == 2 and len(page.context.pages) == 1
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    assert number(page) == 3 and not page.evaluate("Reveal.isOverview()")


def test_overview_shows_fragments(deck):
    page, _ = deck(new_notebook(cells=[markdown("# First"), markdown("later", "fragment")]))
    later = page.locator("p", has_text="later")
    assert not later.is_visible()
    page.keyboard.press("o")
    assert later.is_visible()


def test_speaker_notes_open_from_a_single_file_without_a_network(deck):
    cells = [
        markdown("# First"),
        markdown("seen at once", "fragment"),
        markdown("say $x^2$", "notes"),
    ]
    page, said = deck(new_notebook(cells=cells))
    with page.expect_popup() as popup:
        page.keyboard.press("s")
    notes = popup.value.locator(".speaker-controls-notes .value")
    notes.filter(has_text="say").wait_for()
    assert notes.locator("svg").count() == 1
    current = popup.value.frame_locator("#current-slide iframe")
    current.locator("h1", has_text="First").wait_for()
    assert said == []


def test_print_shows_every_slide_and_fragment(deck):
    cells = [markdown("# First"), markdown("later", "fragment"), markdown("# Second", "subslide")]
    page, said = deck(new_notebook(cells=cells), query="?print-pdf")
    page.wait_for_selector(".pdf-page")
    assert page.locator(".pdf-page").count() == 2
    assert page.locator("p", has_text="later").is_visible() and said == []


# --- the sliders of the course --------------------------------------------------------------------

PICTURES = """() =>
    [...Reveal.getCurrentSlide().querySelectorAll(".vae-panel canvas, .vae-panel img")]
    .map(node => node.tagName === "CANVAS" ? node.toDataURL() : node.src).join()"""


def test_slider_of_a_notebook_is_alive(deck):
    panels = [
        path for path in NOTEBOOKS if 'class=\\"vae-panel' in path.read_text(encoding="utf-8")
    ]
    if not panels:
        pytest.skip("no stored output holds a panel of sliders")
    path = panels[0]
    page, _ = deck(nbformat.read(path, as_version=4), path.stem, path.parent)
    at = page.evaluate(
        "Reveal.getSlides().findIndex(slide => slide.querySelector('.vae-panel input[type=range]'))"
    )
    show(page, at + 1)
    slider = page.locator("section.present .vae-panel input[type=range]").first
    for move in (
        lambda: slider.press("ArrowRight"),
        lambda: slider.click(position={"x": 3, "y": slider.bounding_box()["height"] / 2}),
    ):
        before = page.evaluate(PICTURES)
        move()
        page.wait_for_function(f"before => ({PICTURES})() !== before", arg=before)
        assert number(page) == at + 1, "the deck moved instead"
