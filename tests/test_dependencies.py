"""What the course brings with it: licences, secrets, what it says to whom, and open ports."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tools import licences

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
NETWORK = {"aiohttp", "ftplib", "gdown", "http", "httpx", "requests", "smtplib", "socket",
           "socketserver", "ssl", "telnetlib", "tornado", "urllib", "urllib3", "xmlrpc",
           "zmq"}  # fmt: skip
# 11 shows how an address with a password looks; its password is "secret".
SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a token of a code host": r"\b(gh[pousr]_|github_pat_|glpat-)\w{20,}",
    "a token of another service": r"\b(sk-|hf_|xox[abp]-|pypi-|AKIA)[A-Za-z0-9_-]{16,}",
    "a password in an address": r"://[^\s/:@'\"{}<>]+:(?!secret@)[^\s/@'\"{}<>]+@",
    "a password": r"(?i)\b(password|passwd|api_?key|secret)\s*[=:]\s*['\"][^'\"]{6,}['\"]",
}


# --- licences ---


@pytest.fixture(scope="module")
def installed():
    return licences.installed(licences.direct(ROOT / "requirements.txt"))


def test_every_package_has_a_free_licence_but_those_that_the_page_names(installed):
    assert len(installed) > 100  # else nothing was walked
    others = {
        name: words
        for name, package in installed.items()
        if not re.search(licences.FREE, words := licences.licence(package))
    }
    assert all(name.startswith("nvidia-") or name == "cuda-toolkit" for name in others), others


def test_page_of_licences_lists_what_requirements_txt_names(installed):
    rows = re.findall(r"^\| \*\*(\S+)\*\* \| (.+) \|$", (ROOT / "LICENSES.md").read_text(), re.M)
    assert dict(rows) == {
        name: licences.licence(installed[name])
        for name in licences.direct(ROOT / "requirements.txt")
    }, "run python tools/licences.py"


def test_installed_packages_fit_together(installed):
    """What `pip check` says of them, without a process of its own."""
    for name, package in installed.items():
        for need in map(Requirement, package.requires or []):
            other = installed.get(canonicalize_name(need.name))
            if other and (need.marker is None or need.marker.evaluate({"extra": ""})):
                fits = need.specifier.contains(other.version, prereleases=True)
                assert fits, f"{name} needs {need}; installed is {other.version}"


# --- secrets ---


def tracked_texts():
    """Each file that git tracks, or would, with its text."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("not a git clone")
    for name in done.stdout.decode().split("\0"):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            yield name, content.decode(errors="replace")


def secrets(text):
    text = re.sub(r"[\w+/=]{200,}", "", text)  # pictures in base64 may look like anything
    return [what for what, pattern in SECRETS.items() if re.search(pattern, text)]


def test_no_file_holds_a_secret():
    found = {name: kinds for name, text in tracked_texts() if (kinds := secrets(text))}
    assert not found


@pytest.mark.parametrize("what, text", [
    ("a private key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    ("a token of a code host", "ghp_" + 36 * "a"),
    ("a token of another service", "hf_" + 30 * "a"),
    ("a password in an address", "postgresql://ada:" + "lovelace@example.org/db"),
    ("a password", "password" + " = 'correct horse'"),
])  # fmt: skip
def test_a_secret_is_found(what, text):
    assert secrets(f"x\n{text}\n") == [what]


# --- what is said to whom ---


def imported(path):
    """The top-level modules that a Python file or a notebook imports."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(source)["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        source = re.sub(r"^\s*[%!].*", "", source, flags=re.M)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def test_only_the_data_ladders_can_speak_to_a_network():
    files = [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("vae_helpers/**/*.py")]
    assert {path.name for path in files if NETWORK & set(imported(path))} == {
        "data.py", "celeba.py",
    }  # fmt: skip


def test_jupyterlab_asks_before_it_fetches_news_or_lists_of_extensions():
    schemas = Path(sys.prefix) / "share/jupyter/lab/schemas/@jupyterlab"

    def default(schema, key):
        return json.loads((schemas / schema).read_text())["properties"][key]["default"]

    assert default("apputils-extension/notification.json", "fetchNews") == "none"
    assert default("extensionmanager-extension/plugin.json", "disclaimed") is False


# --- open ports ---


def test_jupyterlab_listens_to_this_machine_only():
    from jupyterlab.labapp import LabApp  # slow to import

    assert LabApp.serverapp_class().ip == "localhost"
    assert "ServerApp.ip" not in (ROOT / "Makefile").read_text()


def listening(pid):
    """The addresses at which a process waits for connections, as /proc writes them."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(link))
        except OSError:  # closed meanwhile
            continue
    addresses = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in links:  # 0A: LISTEN
                addresses.append(words[1].partition(":")[0])
    return addresses


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="only Linux tells")
def test_a_kernel_listens_to_this_machine_only():
    cell = new_code_cell("import anywidget, ipywidgets")
    client = NotebookClient(new_notebook(cells=[cell]), kernel_name="python3")
    with client.setup_kernel():
        client.execute_cell(cell, 0)
        addresses = listening(client.km.provisioner.pid)
    assert set(addresses) == {"0100007F"}  # 127.0.0.1
