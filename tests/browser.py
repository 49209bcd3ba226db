"""A real browser for the tests: the Chromium of this machine, driven by playwright."""

import base64
import io
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def chromium():
    """A headless Chromium with a fresh profile; the test is skipped where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium (on Debian and Ubuntu: sudo apt install chromium)")
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def wait_until(page, condition, seconds=15):
    """Wait for something that the page alone cannot tell."""
    for _ in range(seconds * 50):
        if condition():
            return
        page.wait_for_timeout(20)
    pytest.fail("waited in vain")


def shown(canvas):
    """The pixels of a canvas, `(h, w, 4)`, as floats."""
    uri = canvas.evaluate("canvas => canvas.toDataURL()")
    content = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(float)


def drag(page, node, *places):
    """Drag the mouse through places, each given as fractions of an element's width and height."""
    node.scroll_into_view_if_needed()
    box = node.bounding_box()
    for i, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        if i == 0:
            page.mouse.down()
    page.mouse.up()
