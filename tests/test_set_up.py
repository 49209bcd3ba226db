"""The set-up: `tools/set_up.py`, and the files that say what a fresh machine needs.

Nothing is installed here: the set-up script's calls of Python and pip are recorded, not run.
"""

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tools" / "set_up.py"

# What people import beside the pinned packages. Each comes with JupyterLab, and pinning it here
# as well would only let the two disagree.
COMES_WITH_JUPYTERLAB = {"ipython", "packaging", "traitlets", "pyyaml"}


def requirement_lines():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def normalised(distribution):
    return re.sub(r"[-_.]+", "-", distribution).lower()


# ---- the files


def test_conda_supplies_only_python_and_pip():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    packages = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    assert environment["name"] == "vae-course"
    assert environment["channels"] == ["conda-forge"]
    assert [re.match(r"\w+", entry).group() for entry in packages] == ["python", "pip"]
    assert environment["dependencies"][2:] == [{"pip": ["-r requirements.txt"]}]


def test_conda_and_the_script_accept_the_same_pythons(set_up):
    oldest, newest = set_up.OLDEST_PYTHON, set_up.NEWEST_PYTHON
    python = f"python >={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
    assert python in (ROOT / "environment.yml").read_text(encoding="utf-8")
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={oldest[0]}.{oldest[1]}"' in pyproject


def test_every_requirement_is_pinned():
    loose = [line for line in requirement_lines() if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
    assert loose == ["-e ."]


def code_of(path):
    """Return the Python code of a script or notebook, without IPython's % and ! lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    lines = "\n".join(source for source in sources if not source.startswith("%%")).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("%", "!")))


def imported_names(code):
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_every_import_is_provided_by_the_requirements():
    scripts = [
        path for part in ("vae_helpers", "tools", "tests") for path in ROOT.glob(f"{part}/**/*.py")
    ]
    scripts += [*ROOT.glob("*.py"), *ROOT.glob("notebooks/*.ipynb")]
    assert SCRIPT in scripts
    provided = {normalised(line.partition("==")[0]) for line in requirement_lines()}
    ours = {"vae_helpers", "tools"} | {path.stem for path in scripts}
    distributions = importlib.metadata.packages_distributions()
    missing = []
    for path in scripts:
        for name in sorted(imported_names(code_of(path)) - sys.stdlib_module_names - ours):
            candidates = {normalised(found) for found in distributions.get(name, [])}
            if not candidates & (provided | COMES_WITH_JUPYTERLAB):
                missing.append(f"{path.relative_to(ROOT)} imports {name}")
    assert missing == []


def test_imports_of_a_notebook_are_found():
    code = "import numpy as np\nfrom torch.nn import Linear\nfrom . import sibling"
    assert imported_names(code) == {"numpy", "torch"}


def test_every_make_target_is_phony():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE))
    phony = set(re.search(r"^\.PHONY:(.*)$", text, flags=re.MULTILINE).group(1).split())
    assert targets >= {
        "lab",
        "test",
        "render",
        "slides",
        "handouts",
        "bench",
        "lint",
        "help",
        "clean",
    }
    assert targets == phony
    assert re.search(r"^([a-z-]+):", text, flags=re.MULTILINE).group(1) == "lab"


def test_continuous_integration_runs_the_documented_command():
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert commands[0] == "#!/usr/bin/env bash"
    assert "make lint" in commands
    # Fetches what the tests of the slides need, but cannot keep the tests from running.
    assert commands[-2].startswith("make slides || echo ")
    assert commands[-1] == "make test"


@pytest.mark.skipif(os.name == "nt", reason="Windows files have no executable bit")
def test_continuous_integration_is_executable():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_workflow_covers_three_systems_without_rights():
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    job = workflow["jobs"]["tests"]
    assert job["strategy"]["matrix"]["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert job["timeout-minutes"] > 0
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets" not in text


# ---- the set-up script


@pytest.fixture
def set_up():
    spec = importlib.util.spec_from_file_location("set_up_under_test", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path):
    """A repository to set up, with a space in its path."""
    folder = tmp_path / "my course"
    folder.mkdir()
    (folder / "requirements.txt").write_text("torch==2.0\ntorchvision==0.1\ntqdm==4.0\n-e .\n")
    (folder / "pyproject.toml").write_text("[project]\n")
    return folder


@pytest.fixture
def machine(set_up, root, monkeypatch):
    """A machine with a lot of disk, where nothing runs; `pip_status` can be set."""
    fake = FakeMachine(set_up, root)
    monkeypatch.setattr(set_up.subprocess, "run", fake.create_venv)
    monkeypatch.setattr(set_up.subprocess, "call", fake.call)
    monkeypatch.setattr(set_up, "free_gb", lambda folder: fake.free)
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    return fake


class FakeMachine:
    def __init__(self, set_up, root):
        self.python = set_up.venv_python(root)
        self.free = 500.0
        self.venv_error = ""
        self.pip_status = 0
        self.venvs = 0
        self.pip_calls = []
        self.environment = None

    def create_venv(self, command, **options):
        assert command[1:3] == ["-m", "venv"]
        self.venvs += 1
        if self.venv_error:
            return subprocess.CompletedProcess(command, 1, stderr=self.venv_error)
        self.python.parent.mkdir(parents=True, exist_ok=True)
        self.python.write_text("works")
        return subprocess.CompletedProcess(command, 0, stderr="")

    def call(self, command, env=None, **options):
        assert command[0] == str(self.python)
        if command[1] == "-I":  # the question whether this Python works
            return 0 if self.python.read_text() == "works" else 1
        assert command[1:4] == ["-m", "pip", "install"]
        assert Path(options["cwd"]) == self.python.parents[2]
        self.pip_calls.append(command[4:])
        self.environment = env
        if isinstance(self.pip_status, BaseException):
            raise self.pip_status
        return self.pip_status


EVERYTHING = ["-r", "requirements.txt"]


def test_script_is_readable_to_an_old_python():
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_script_imports_the_standard_library_only():
    assert imported_names(SCRIPT.read_text(encoding="utf-8")) <= sys.stdlib_module_names


@pytest.mark.parametrize("version", [(3, 6, 15), (3, 10, 13), (3, 15, 0)])
def test_python_that_does_not_fit_is_refused(set_up, version):
    with pytest.raises(set_up.SetUpError) as refusal:
        set_up.check_python(version)
    message = str(refusal.value)
    assert message.startswith(f"This is Python {version[0]}.{version[1]};")
    assert "3.11 to 3.14" in message
    assert "make lab PYTHON=python3.12" in message


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 9)])
def test_python_that_fits_is_accepted(set_up, version):
    set_up.check_python(version)


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_missing_venv_module_is_named_with_its_cure(set_up, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(set_up.SetUpError, match="sudo apt install python3-venv"):
        set_up.check_venv_module()


def test_too_little_disk_is_said_before_anything_is_installed(set_up, root, machine, capsys):
    machine.free = 0.5
    assert set_up.main(root) == 1
    message = capsys.readouterr().err
    assert "0.5 GB are free" in message
    assert f"needs {set_up.needed_gb(root, '')} GB" in message
    assert machine.pip_calls == []


def test_space_needed_depends_on_the_wheels(set_up, root, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    with_cuda = set_up.needed_gb(root, "")
    without_cuda = set_up.needed_gb(root, "https://wheels.example/cpu/")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert set_up.needed_gb(root, "") == without_cuda < with_cuda
    packages = root / ".venv" / "lib" / "python3.11" / "site-packages"
    (packages / "torch-2.0+cpu.dist-info").mkdir(parents=True)
    (packages / "torchvision-0.1+cpu.dist-info").mkdir()
    assert set_up.needed_gb(root, "") < without_cuda


def test_second_set_up_does_nothing_and_says_nothing(set_up, root, machine, capsys):
    assert set_up.main(root) == 0
    assert machine.venvs == 1
    assert machine.pip_calls == [EVERYTHING]
    assert "complete" in capsys.readouterr().out
    assert set_up.main(root) == 0
    assert machine.venvs == 1
    assert machine.pip_calls == [EVERYTHING]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_changed_file_installs_again(set_up, root, machine, name):
    set_up.main(root)
    (root / name).write_text("# changed\n")
    assert set_up.main(root) == 0
    assert machine.venvs == 1
    assert machine.pip_calls == [EVERYTHING, EVERYTHING]


def test_moved_folder_installs_again(set_up, root, machine):
    set_up.main(root)
    moved = root.rename(root.with_name("elsewhere"))
    machine.python = set_up.venv_python(moved)
    assert set_up.main(moved) == 0
    assert machine.pip_calls == [EVERYTHING, EVERYTHING]


@pytest.mark.parametrize("damage", ["no Python", "Python does not start"])
def test_broken_venv_is_said_and_built_again(set_up, root, machine, capsys, damage):
    set_up.main(root)
    capsys.readouterr()
    if damage == "no Python":
        machine.python.unlink()
    else:
        machine.python.write_text("broken")
    assert set_up.main(root) == 0
    assert machine.venvs == 2
    assert machine.pip_calls == [EVERYTHING, EVERYTHING]
    assert ".venv is broken" in capsys.readouterr().out


def test_venv_that_cannot_be_created_is_said_with_its_reason(set_up, root, machine, capsys):
    machine.venv_error = "Traceback (most recent call last):\nError: no space left on device"
    assert set_up.main(root) == 1
    message = capsys.readouterr().err
    assert "could not be created: Error: no space left on device" in message
    assert "Traceback" not in message
    assert machine.pip_calls == []


@pytest.mark.parametrize(
    ("failure", "status", "words"),
    [(1, 1, "full disk"), (KeyboardInterrupt(), 130, "run the same command again")],
)
def test_failed_installation_leaves_no_stamp(set_up, root, machine, capsys, failure, status, words):
    set_up.main(root)
    (root / "pyproject.toml").write_text("# changed\n")
    machine.pip_status = failure
    capsys.readouterr()
    assert set_up.main(root) == status
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert not set_up.stamp_file(root).exists()
    machine.pip_status = 0
    assert set_up.main(root) == 0
    assert set_up.stamp_file(root).exists()


def test_missing_requirements_are_said_without_a_traceback(set_up, root, machine, capsys):
    (root / "requirements.txt").unlink()
    assert set_up.main(root) == 1
    assert "requirements.txt" in capsys.readouterr().err


def test_torch_comes_from_its_index_first(set_up, root, machine, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX", "https://wheels.example/cpu")
    assert set_up.main(root) == 0
    first = ["--index-url", "https://wheels.example/cpu", "--no-deps"]
    assert machine.pip_calls == [[*first, "torch==2.0", "torchvision==0.1"], EVERYTHING]


def test_torch_is_pinned_where_the_script_looks_for_it(set_up):
    names = [pin.partition("==")[0] for pin in set_up.pinned_torch(ROOT)]
    assert names == ["torch", "torchvision"]


def test_pip_works_beside_the_packages_and_spares_a_small_disk(set_up, root, machine):
    set_up.main(root)
    scratch = Path(machine.environment["TMPDIR"])
    assert scratch.parent == root / ".venv"
    assert not scratch.exists()
    assert "PIP_NO_CACHE_DIR" not in set_up.pip_environment(free=20, needed=10, scratch="")
    assert set_up.pip_environment(free=11, needed=10, scratch="")["PIP_NO_CACHE_DIR"] == "1"
