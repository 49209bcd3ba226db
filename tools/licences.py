"""List the licences of everything that requirements.txt installs: `python tools/licences.py`.

Writes LICENSES.md from what the installed packages say of themselves, without a network. Run it
when requirements.txt changes. Versions are left out: they stand in requirements.txt.
"""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FREE = r"\b(MIT|BSD|Apache|MPL|Mozilla Public|ISC|PSFL?|Python Software Foundation)\b"
KNOWN = re.compile(FREE + "|NVIDIA")
HEAD = """# Licences

The course itself is under the MIT licence ([LICENSE](LICENSE)). This is what it installs, listed by
`tools/licences.py` from what the packages say of themselves, on Linux; other systems need a few
others. **Bold**: named in requirements.txt; the others come with these.

All are free software but NVIDIA's CUDA libraries (`nvidia-...`; `cuda-toolkit` is only a list of
them), which come with PyTorch's usual wheel for Linux and are under NVIDIA's terms. PyTorch's CPU
wheels come without them (README, *What it weighs*).

Slides contain reveal.js (MIT) and MathJax (Apache-2.0), which `make slides` fetches. Data have
terms of their own (README, *Data*).

| package | licence |
| --- | --- |
"""


def direct(requirements):
    """The names in requirements.txt, the course's own package aside."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines if re.match(r"\w", line)}


def installed(names):
    """`{name: distribution}` of packages and of all that they need on this machine."""
    found, waiting = {}, [(name, "") for name in names]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # an optional part, or of another system
            continue
        for line in found[name].requires or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                for wanted in need.extras or {""}:
                    item = canonicalize_name(need.name), wanted
                    if item not in seen:
                        seen.add(item)
                        waiting.append(item)
    return found


def licence(package):
    """What a distribution says of its licence, on one line."""
    text = (package.metadata["License"] or "").strip().partition("\n")[0]
    if not KNOWN.search(text):  # some write the whole licence there, and not its name
        classifiers = package.metadata.get_all("Classifier", [])
        named = [line.split(" :: ")[-1] for line in classifiers if line.startswith("License :: ")]
        text = ", ".join(named)
    return package.metadata["License-Expression"] or text or "not named"


def listing(requirements):
    """The whole of LICENSES.md."""
    chosen = direct(requirements)
    rows = [
        f"| {f'**{name}**' if name in chosen else name} | {licence(package)} |\n"
        for name, package in sorted(installed(chosen).items())
    ]
    return HEAD + "".join(rows)


if __name__ == "__main__":
    (ROOT / "LICENSES.md").write_text(listing(ROOT / "requirements.txt"), encoding="utf-8")
