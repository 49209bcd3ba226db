"""The world that conftest.py makes: offline and in the smoke profile, also inside kernels."""

import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ELSEWHERE = "192.0.2.1"  # an address that belongs to nobody (RFC 5737)
OFFLINE = "the tests run without a network"


@pytest.mark.parametrize(
    "connect",
    [
        lambda: socket.create_connection((ELSEWHERE, 80), timeout=1),
        lambda: socket.socket().connect((ELSEWHERE, 80)),
        lambda: socket.socket().connect_ex((ELSEWHERE, 80)),
        lambda: socket.getaddrinfo("example.org", 80),
        lambda: socket.gethostbyname("example.org"),
        lambda: urllib.request.urlopen("http://example.org", timeout=1),
    ],
    ids=["create_connection", "connect", "connect_ex", "getaddrinfo", "gethostbyname", "urlopen"],
)
def test_other_machines_are_out_of_reach(connect):
    with pytest.raises(OSError, match=OFFLINE):
        connect()


def test_this_machine_is_in_reach():
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"), daemon=True).start()
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5) as client:
            assert client.recv(5) == b"hello"


def test_started_pythons_are_offline_and_keep_their_own_sitecustomize(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('the other one')")
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(tmp_path)])
    monkeypatch.setenv("PYTHONPATH", path)
    code = f"import socket; socket.create_connection(('{ELSEWHERE}', 80), 1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and OFFLINE in done.stderr
    assert done.stdout == "the other one\n"


def test_no_data_is_found():
    assert not list(Path(os.environ["VAE_DATA"]).rglob("*ubyte*"))


def test_nbval_runs_cells_in_this_world_and_sees_what_widgets_catch(tmp_path):
    sources = [
        "import os\nassert os.environ['VAE_PROFILE'] == 'smoke'",
        f"import socket\nsocket.create_connection(('{ELSEWHERE}', 80), 1)",
        "import ipywidgets\nout = ipywidgets.Output()\nslider = ipywidgets.IntSlider()\n"
        "@out.capture()\ndef moved(_):\n    raise ValueError('seen')\n"
        "slider.observe(moved, 'value')",
        "slider.value = 3",
        "assert slider.value == 3",
    ]
    notebook = tmp_path / "x.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources]), notebook)
    nbval = "-p no:cacheprovider --nbval-lax --nbval-current-env -q".split()
    command = [sys.executable, "-m", "pytest", *nbval, notebook.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    shown = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    assert re.findall(r"^FAILED .*Cell (\d)", shown, re.MULTILINE) == ["1", "3"], shown
    assert OFFLINE in shown and "ValueError: seen" in shown
    assert "2 failed, 3 passed" in shown
