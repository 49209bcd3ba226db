"""A real JupyterLab server, and what a browser does in it: open a notebook, run it, wait."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from random import SystemRandom

TOKEN = "a-test"
SESSION = "window.jupyterapp.shell.currentWidget.sessionContext?.session"
# Else JupyterLab asks in a corner of the page whether it may fetch news.
NOTIFICATIONS = {"fetchNews": "false", "checkForUpdates": False}


def environment(home):
    """The server's and its kernels' environment: nothing of the user's own Jupyter."""
    kinds = ("DATA", "CONFIG", "RUNTIME")
    return os.environ | {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in kinds}


def trust(notebook, home):
    """Sign a notebook, so that the server that lives in `home` runs its stored scripts."""
    command = [sys.executable, "-m", "jupyter", "trust", str(notebook)]
    subprocess.run(command, env=environment(home), check=True, capture_output=True)


@contextlib.contextmanager
def jupyterlab(folder, home=None):
    """A JupyterLab server on `folder`; yields its address. It ends with the block.

    `home` holds what JupyterLab writes for itself, by default a hidden folder in `folder`.
    """
    home = Path(home or folder / ".jupyter")
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(NOTIFICATIONS))
    port = free_port()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}",
        "--ServerApp.allow_root=True", f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly",
        f"--LabApp.user_settings_dir={home}/settings", f"--LabApp.workspaces_dir={home}/workspaces",
    ]  # fmt: skip
    log = home / "jupyterlab.log"
    with log.open("wb") as said:
        server = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, env=environment(home)
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(server, address, log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def free_port():
    """A port below those that the system hands out: kernels of other tests would take one of these.

    Between our asking and JupyterLab's start, that happened.
    """
    while True:
        port = SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port


def wait_for(server, address, log, seconds=60):
    for _ in range(seconds * 5):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{address}/api/status?token={TOKEN}").close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')}")


def open_notebook(page, address, name, kernel=True):
    """Open a notebook, alone; if asked, wait until its kernel is there."""
    page.goto(f"{address}/lab/tree/{name}?reset&token={TOKEN}")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    if kernel:
        page.wait_for_function(f"{SESSION}?.kernel?.status === 'idle'", timeout=60_000)


def run_all(page, timeout=120):
    """Run every cell, and wait until the last one has run, or one has failed.

    The command ends when all replies have come. The kernel's status is no sign of that: it was
    idle before, and says so a moment after or before. So it is asked for one more reply.
    """
    page.evaluate(
        """seconds => {
            const { commands, shell } = window.jupyterapp;
            const { kernel } = shell.currentWidget.sessionContext.session;
            const late = (_, reject) => setTimeout(
                () => reject(Error(`the cells did not end in ${seconds} s`)), 1000 * seconds);
            return Promise.race([
                commands.execute("notebook:run-all-cells").then(() => kernel.requestKernelInfo()),
                new Promise(late),
            ]).then(() => true);
        }""",
        timeout,
    )
    page.wait_for_function(f"{SESSION}.kernel.status === 'idle'")


def outputs(page):
    """The outputs of each code cell as the notebook would store them."""
    return page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets
            .filter(cell => cell.model.type === "code")
            .map(cell => cell.model.outputs.toJSON())"""
    )


def cell(page, text):
    """The first cell whose source holds `text`, as a locator; cells come one after the other."""
    index = page.wait_for_function(
        """text => {
            const cells = window.jupyterapp.shell.currentWidget.content.widgets ?? [];
            const index = cells.findIndex(cell => cell.model.sharedModel.source.includes(text));
            return index >= 0 && [index];
        }""",
        arg=text,
    )
    return page.locator(f".jp-Cell[data-windowed-list-index='{index.json_value()[0]}']")


def scroll_to(page, text):
    """Make that cell the active one, bring it into view, and give its locator."""
    found = cell(page, text)
    page.evaluate(
        """index => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = index;
            notebook.scrollToItem(index, 'start');
        }""",
        int(found.get_attribute("data-windowed-list-index")),
    )
    return found
