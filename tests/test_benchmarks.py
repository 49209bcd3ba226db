"""benchmarks/: tables in Markdown, where they go, and that each script still runs, in small."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
common, run = map(import_module, ("common", "run"))


def test_contestants_take_turns():
    called = []
    contestants = {name: lambda name=name: called.append(name) for name in "ab"}
    times = common.take_turns(contestants, 2)
    assert called == ["a", "b", "a", "b"] and [len(seconds) for seconds in times.values()] == [2, 2]


def test_each_code_runs_in_a_python_of_its_own_and_gives_its_last_line():
    code = "import json, os; print('loading ...'); print(json.dumps(os.getpid()))"
    first, second = common.in_new_pythons({"a": code}, 2)["a"]
    assert len({first, second, os.getpid()}) == 3


def test_a_code_that_fails_is_an_error():
    with pytest.raises(subprocess.CalledProcessError):
        common.in_new_pythons({"a": "raise SystemExit(3)"}, 1)


def test_best_and_median_are_scaled_and_rounded():
    assert common.best_and_median([0.0031, 0.001, 0.002], 1, 1000) == ("1.0", "2.0")


def test_table_is_markdown_with_numbers_to_the_right(capsys):
    common.print_table(["case", "s"], ["a", "1"], ["b", "2"])
    assert capsys.readouterr().out == "| case | s |\n| --- | ---: |\n| a | 1 |\n| b | 2 |\n"


def test_text_goes_between_its_marks_and_nowhere_else(tmp_path):
    readme = tmp_path / "README.md"
    page = "# B\n<!-- a -->\n{}\n<!-- end of a -->\nbetween\n<!-- b -->\nold\n<!-- end of b -->\n"
    readme.write_text(page.format("old\nlines"))
    run.store(readme, "a", "\nnew\n\n")
    assert readme.read_text() == page.format("new")
    with pytest.raises(ValueError, match="no place for 'c'"):
        run.store(readme, "c", "new")


def test_readme_has_a_place_for_each_benchmark_and_each_is_a_script():
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"<!-- end of (\w+) -->\n", text)) == run.NAMES
    assert all(f"<!-- {name} -->\n" in text for name in run.NAMES)
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert scripts == {*run.NAMES, "common", "run"}


def test_an_unknown_benchmark_is_named():
    with pytest.raises(SystemExit, match="no benchmark speed; there are epoch,"):
        run.main(["speed"])


def test_a_benchmark_that_fails_leaves_its_table(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("print('new')")
    (tmp_path / "b.py").write_text("print('half a table')\nraise SystemExit('no MNIST')")
    page = "<!-- a -->\n{}\n<!-- end of a -->\n<!-- b -->\nold\n<!-- end of b -->\n"
    (tmp_path / "README.md").write_text(page.format("old"))
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "NAMES", ("b", "a"))
    with pytest.raises(SystemExit, match="left as they were: b"):
        run.main([])
    assert (tmp_path / "README.md").read_text() == page.format("new")


@pytest.mark.parametrize("name, arguments", [("slider", ["1"]), ("likelihood", ["1", "100"])])
@pytest.mark.full
def test_benchmark_prints_a_table(name, arguments):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| ") and " rounds, " in done.stdout.splitlines()[-1]
