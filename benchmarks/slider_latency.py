"""Key press to new picture, in milliseconds: our sliders against `interact` with `imshow`.

    python benchmarks/slider_latency.py [presses]

JupyterLab in headless Chromium, presses of the three kinds in turn, so that a busy machine slows
them alike.
"""

import sys
import tempfile
from pathlib import Path
from statistics import quantiles

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import nbformat
from browser import chromium
from common import best_and_median, print_facts, print_table
from lab import jupyterlab, open_notebook, run_all, scroll_to
from nbformat.v4 import new_code_cell, new_notebook

MODEL = """
%matplotlib inline
from vae_helpers import widgets
from vae_helpers.models import VAE
from vae_helpers.networks import mlp_decoder, mlp_encoder
import ipywidgets, matplotlib.pyplot as plt, torch
from IPython.display import HTML

torch.manual_seed(0)
torch.set_num_threads(1)
model = VAE(mlp_encoder(40), mlp_decoder(20))
z = torch.zeros(1, 20)
"""
PLAIN = """
def plain(z1):  # the usual way
    z[0, 0] = z1
    with torch.no_grad():
        plt.imshow(model.decode(z)[0, 0], cmap="gray")
    plt.show()
ipywidgets.interact(plain, z1=ipywidgets.FloatSlider(0, min=-3, max=3, step=0.1));
"""
LIVE = "panel = widgets.latent_sliders(model)\npanel"
STORED = "HTML(panel._repr_mimebundle_()[0]['text/html'])"
KINDS = {  # the cell, what has the focus, and what counts as a new picture
    "interact + imshow": ("interact(plain", ".noUi-handle"),
    "live": ("latent_sliders", "input[type=range]"),
    "without a kernel": ("HTML(panel", "input[type=range]"),
}
# Called before a press: gives the time from the key event to the next drawn picture.
WATCH = """
() => { window.latency = new Promise(resolve => {
    let pressed = null;
    addEventListener("keydown", () => { pressed = performance.now(); },
        { capture: true, once: true });
    const done = () => {
        if (pressed === null) return;
        observer.disconnect();
        CanvasRenderingContext2D.prototype.drawImage = original;
        resolve(performance.now() - pressed);
    };
    const observer = new MutationObserver(changes => {
        for (const { type, target, addedNodes } of changes) {
            const added = [...addedNodes].flatMap(
                node => [node, ...(node.querySelectorAll?.("img") ?? [])]);
            for (const node of type === "attributes" ? [target] : added) {
                if (node.tagName === "IMG") node.decode().then(done);
            }
        }
    });
    observer.observe(document.body, { childList: true, subtree: true, attributeFilter: ["src"] });
    const original = CanvasRenderingContext2D.prototype.drawImage;
    CanvasRenderingContext2D.prototype.drawImage = function (...given) {
        original.apply(this, given);
        done();
    };
}); }
"""


def measure(presses):
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        cells = [new_code_cell(source) for source in (MODEL, PLAIN, LIVE, STORED)]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        notebook = new_notebook(cells=cells, metadata=kernel)
        nbformat.write(notebook, Path(folder) / "latency.ipynb")
        with jupyterlab(Path(folder)) as address:
            page = browser.new_page(viewport={"width": 1280, "height": 1600})
            open_notebook(page, address, "latency.ipynb")
            run_all(page)
            scroll_to(page, "import ipywidgets")
            page.wait_for_timeout(2000)
            times = {kind: [] for kind in KINDS}
            for press in range(presses + 3):
                key = "ArrowLeft" if press % 2 else "ArrowRight"
                for kind, (cell, handle) in KINDS.items():
                    scroll_to(page, cell).locator(handle).first.focus()
                    page.evaluate(WATCH)
                    page.keyboard.press(key)
                    milliseconds = page.evaluate("window.latency")
                    page.wait_for_timeout(150)
                    if press >= 3:  # the first few warm up
                        times[kind].append(milliseconds)
    return times


def main(presses=60):
    times = measure(presses)
    rows = [
        [kind, *best_and_median(ms, 1), f"{quantiles(ms, n=10)[-1]:.1f}"]
        for kind, ms in times.items()
    ]
    print_table(["key press to new picture", "best, ms", "median, ms", "90 % below, ms"], *rows)
    print_facts(presses)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
