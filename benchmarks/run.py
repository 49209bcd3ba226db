"""Run benchmarks and write what they print into README.md beside this file: `make bench`.

`python benchmarks/run.py [name ...]`, default all. Each is a script that prints Markdown, which
takes the place of what stands in README.md between `<!-- name -->` and `<!-- end of name -->`. A
benchmark that fails (no MNIST, no Chromium) leaves what stands there.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("epoch", "likelihood", "loading", "imports", "slider", "slider_latency")


def store(readme, name, text):
    """Put `text` between the two marks of `name`."""
    before, start, rest = readme.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->\n")
    if not end:
        raise ValueError(f"{readme.name} has no place for {name!r}")
    readme.write_text(f"{before}{start}{text.strip()}\n{end}{after}", encoding="utf-8")


def main(names):
    if unknown := set(names) - set(NAMES):
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    failed = []
    for name in names or NAMES:
        print(f"--- {name}", flush=True)
        done = subprocess.run([sys.executable, HERE / f"{name}.py"], stdout=subprocess.PIPE)
        text = done.stdout.decode()
        print(text, flush=True)
        if done.returncode:
            failed.append(name)
        else:
            store(HERE / "README.md", name, text)
    if failed:
        sys.exit(f"failed, and left as they were: {', '.join(failed)}")


if __name__ == "__main__":
    main(sys.argv[1:])
