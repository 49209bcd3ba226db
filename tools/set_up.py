"""Create `.venv` and install requirements.txt into it: `python tools/set_up.py`.

`make lab`, `make test` and the other targets start here; it is silent when nothing is to do.
TORCH_INDEX, if set, is the address of a wheel index that a new .venv gets its torch from, such as
PyTorch's own index of smaller wheels for the CPU alone.

Standard library only, and nothing newer than Python 3.6: someone with an old Python shall read
which one is needed, not a traceback.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The newest is the last one for which the pinned torch and numpy have wheels.
OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 14)

# What the disk needs while pip works, in GB. On Linux torch comes with its CUDA libraries: 6.2 stay
# and 2.9 are downloads, deleted at the end. Without CUDA about 2 stay; beside torch, about 1.
NEEDED_WITH_CUDA = 10
NEEDED_WITHOUT_CUDA = 3
NEEDED_BESIDE_TORCH = 1
# pip also keeps a copy of its downloads in the user's cache, which makes a second try short.
NEEDED_FOR_CACHE = 3


class SetUpError(Exception):
    """Something that the user can put right; the message says how."""


def say(message, file=None):
    # Flushed, so that the lines stay in order between those of pip.
    print(message, file=file or sys.stdout, flush=True)


def dotted(version):
    return ".".join(str(part) for part in version[:2])


def check_python(version):
    if OLDEST_PYTHON <= tuple(version[:2]) <= NEWEST_PYTHON:
        return
    raise SetUpError(
        f"This is Python {dotted(version)}; the course needs Python {dotted(OLDEST_PYTHON)} to "
        f"{dotted(NEWEST_PYTHON)}.\n"
        "If you have such a Python, name it: make lab PYTHON=python3.12\n"
        "(without make: python3.12 tools/set_up.py)."
    )


def check_venv_module():
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetUpError(
            "This Python cannot create virtual environments: its venv module is not complete.\n"
            "On Debian and Ubuntu: sudo apt install python3-venv"
        ) from None


def venv_python(root):
    if os.name == "nt":
        return root / ".venv" / "Scripts" / "python.exe"
    return root / ".venv" / "bin" / "python"


def venv_works(root):
    """Whether the Python in `.venv` starts, is one that the course can use, and has pip."""
    usable = f"{OLDEST_PYTHON} <= sys.version_info[:2] <= {NEWEST_PYTHON}"
    command = [str(venv_python(root)), "-I", "-c", f"import pip, sys; sys.exit(not {usable})"]
    try:
        return subprocess.call(command, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def create_venv(root):
    folder = root / ".venv"
    if folder.exists() and venv_works(root):
        return
    if folder.exists():
        say("The folder .venv is broken (no working Python with pip in it): building it again.")
    else:
        say("Creating the virtual environment .venv.")
    # --clear empties what is left of a broken one. Errors are kept back, because on Ctrl-C venv
    # prints a traceback of its own.
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SetUpError(
            f"The virtual environment .venv could not be created: {reason}\n"
            "On Debian and Ubuntu it is often this: sudo apt install python3-venv"
        )


def pinned_torch(root):
    """Return the lines of requirements.txt that pin torch and torchvision."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.startswith(("torch==", "torchvision=="))]


def torch_in_place(root):
    """Whether `.venv` already holds torch and torchvision at their pinned versions."""
    venv, pins = root / ".venv", pinned_torch(root)
    folders = [*venv.glob("lib/python*/site-packages"), venv / "Lib" / "site-packages"]
    # The star stands for a local version such as +cpu.
    names = [pin.replace("==", "-") + "*.dist-info" for pin in pins]
    return bool(pins) and all(any(any(f.glob(name)) for f in folders) for name in names)


def needed_gb(root, torch_index):
    if torch_in_place(root):
        return NEEDED_BESIDE_TORCH
    if not sys.platform.startswith("linux") or torch_index.rstrip("/").endswith("cpu"):
        return NEEDED_WITHOUT_CUDA
    return NEEDED_WITH_CUDA


def free_gb(root):
    return shutil.disk_usage(str(root)).free / 1e9


def check_disk(free, needed):
    if free < needed:
        raise SetUpError(
            f"There is too little space on this disk: {free:.1f} GB are free and the installation "
            f"needs {needed} GB.\n"
            "Free some space, or move the course's folder to another disk."
        )


def pip_environment(free, needed, scratch):
    environment = dict(os.environ)
    # In a container one is root, and that is fine in a virtual environment.
    environment["PIP_ROOT_USER_ACTION"] = "ignore"
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    # On many systems /tmp lies in memory and is too small for torch.
    environment["TMPDIR"] = scratch
    if free < needed + NEEDED_FOR_CACHE:
        environment["PIP_NO_CACHE_DIR"] = "1"
    return environment


def pip_install(root, arguments, environment):
    command = [str(venv_python(root)), "-m", "pip", "install", *arguments]
    # From the repository's root, because requirements.txt says `-e .`.
    if subprocess.call(command, cwd=str(root), env=environment) != 0:
        raise SetUpError(
            "The packages could not be installed; pip's own message is above. The usual reasons "
            "are the network\n"
            f"(offline, a proxy) and a full disk ({free_gb(root):.1f} GB are free here). Then run "
            "the same command again."
        )


def install(root, torch_index):
    free, needed = free_gb(root), needed_gb(root, torch_index)
    check_disk(free, needed)
    say(f"Installing the packages into .venv (up to {needed} GB; the first time takes minutes).")
    # One fixed folder, so that what a killed set-up left in it is deleted by the next.
    scratch = root / ".venv" / "pip-scratch"
    shutil.rmtree(str(scratch), ignore_errors=True)
    scratch.mkdir()
    try:
        environment = pip_environment(free, needed, str(scratch))
        pins = pinned_torch(root)
        if torch_index and pins:
            # Their dependencies come with the rest, at the versions that are pinned there.
            from_index = ["--index-url", torch_index, "--no-deps", *pins]
            pip_install(root, from_index, environment)
        pip_install(root, ["-r", "requirements.txt"], environment)
    finally:
        shutil.rmtree(str(scratch), ignore_errors=True)


def stamp_file(root):
    return root / ".venv" / ".set-up"


def fingerprint(root):
    # The folder counts too: the course's own package is installed by its path, and people move it.
    digest = hashlib.sha256(os.fsencode(str(root)))
    for name in ("requirements.txt", "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_set_up(root):
    stamp = stamp_file(root)
    return stamp.is_file() and stamp.read_text() == fingerprint(root) and venv_works(root)


def set_up(root, torch_index=""):
    if is_set_up(root):
        return
    check_python(sys.version_info)
    check_venv_module()
    create_venv(root)
    # Without its stamp, a set-up that is cut short is taken up again the next time.
    if stamp_file(root).exists():
        stamp_file(root).unlink()
    install(root, torch_index)
    stamp_file(root).write_text(fingerprint(root))
    say("The set-up is complete.")


def main(root=ROOT):
    """Set up, say in plain words what went wrong, and return the exit status."""
    try:
        set_up(root, os.environ.get("TORCH_INDEX", ""))
    except (SetUpError, OSError) as error:
        say(f"Set-up stopped. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("\nSet-up interrupted. To finish it, run the same command again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
