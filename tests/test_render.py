"""tools/render.py: what it stores, what it refuses, and which code outputs belong to."""

import json
import os
import re

from tools import measure, render

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def notebook(path, *sources):
    nb = new_notebook(cells=[new_code_cell(source) for source in sources])
    nbformat.write(nb, path)
    return path


def with_outputs(*outputs):
    return new_notebook(cells=[new_code_cell("x", outputs=list(outputs))])


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def normalised_outputs(*outputs):
    nb = with_outputs(*outputs)
    render.normalise(nb)
    nbformat.validate(nb)
    return nb.cells[0].outputs


# --- normalise ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, shown",
    [
        ("one\ntwo\n", "one\ntwo\n"),
        ("windows\r\n", "windows\n"),
        ("abcdef\rxy\n", "xycdef\n"),
        ("\r 10%\r 90%\r     \rdone\n", "done\n"),
        ("said\n\r 10%\r    \r\nlast\n", "said\nlast\n"),
        ("said\n\r 10%\r    \r", "said\n"),
    ],
)
def test_carriage_returns_leave_what_a_screen_shows(text, shown):
    assert render.on_screen(text) == shown


def test_streams_in_a_row_become_one_and_blank_ones_none():
    outputs = normalised_outputs(stream("\r 10%"), stream("\r    \r"), stream("done\n"))
    assert [output.text for output in outputs] == ["done\n"]
    assert normalised_outputs(stream("\r 10%"), stream("\r    \r")) == []


def test_widget_view_goes_and_its_picture_stays():
    data = {render.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "VBox()", "image/png": PIXEL}
    alt = {"image/png": {"alt": "a pixel"}}
    (output,) = normalised_outputs(new_output("display_data", data=data, metadata=alt))
    assert output.data == {"image/png": PIXEL} and output.metadata == alt


def test_widget_without_a_static_form_goes():
    data = {render.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "VBox()"}
    assert normalised_outputs(new_output("execute_result", data=data)) == []


def test_metadata_is_the_same_for_everyone_and_ids_stay():
    nb = with_outputs(new_output("execute_result", data={"text/plain": "1"}, execution_count=7))
    nb.cells.insert(0, new_code_cell("y", execution_count=3))
    nb.cells[1].metadata = {"tags": ["a"], "execution": {"iopub.status.busy": "2026-01-01"}}
    nb.metadata = {"widgets": {}, "papermill": {}, "language_info": {"version": "3.11.7"}}
    ids = [cell.id for cell in nb.cells]
    render.normalise(nb)
    assert [cell.id for cell in nb.cells] == ids
    assert [cell.execution_count for cell in nb.cells] == [1, 2]
    assert nb.cells[1].outputs[0].execution_count == 2
    assert nb.cells[1].metadata == {"tags": ["a"]}
    assert set(nb.metadata) == {"kernelspec", "language_info"}
    assert nb.metadata.language_info == {"name": "python"}


# --- refuse ---------------------------------------------------------------------------------------


def test_warning_is_refused_with_cell_and_text():
    with pytest.raises(render.Refused, match=r"cell 0 wrote to stderr.*\s+x.py.*UserWarning"):
        render.check_outputs(with_outputs(stream("x.py:1: UserWarning: careful", name="stderr")))


@pytest.mark.parametrize(
    "text", ["in /home/ada/x.pt", "file:///tmp/x", r"C:\Users\Ada\x.pt", "('/root/x',)"]
)
def test_absolute_path_is_refused(text):
    with pytest.raises(render.Refused, match="path of this machine"):
        render.check_outputs(with_outputs(stream(text)))


@pytest.mark.parametrize(
    "text",
    [
        "runs/tmp/x.pt",
        "https://example.org/home/x",
        r"$f:\mathbb{R}\to X$",
        "p(x)/p(z)",
        "../tmp/x",
    ],
)
def test_other_text_is_no_absolute_path(text):
    render.check_outputs(with_outputs(stream(text)))


def test_base64_is_no_absolute_path():
    html = '<img alt="" src="data:image/png;base64,iVB/+==/tmp/abc/home/x">'
    render.check_outputs(with_outputs(new_output("display_data", data={"text/html": html})))


# --- hash -----------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "vae_helpers"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "losses.py").write_text("from vae_helpers.data import check\n\ndef kl():\n    pass\n")
    (folder / "data.py").write_text("def check():\n    return 1\n")
    (folder / "plots.py").write_text("def show():\n    return 1\n")
    return folder


@pytest.fixture
def hash_of(tmp_path, package):
    def hash_of(*sources):
        return render.code_hash(notebook(tmp_path / "x.ipynb", *sources), package)

    return hash_of


def test_hash_ignores_prose(hash_of, tmp_path, package):
    code = hash_of("def f(x):\n    return x+1")
    assert code == hash_of(
        '# Why\ndef f(\n    x,\n):\n    """Add."""\n\n    return x + 1  # one more'
    )
    nb = nbformat.read(tmp_path / "x.ipynb", as_version=4)
    nb.cells.insert(0, new_markdown_cell("# Title"))
    nbformat.write(nb, tmp_path / "x.ipynb")
    assert code == render.code_hash(tmp_path / "x.ipynb", package)


def test_hash_notices_code(hash_of):
    hashes = [hash_of("x = 1"), hash_of("x = 2"), hash_of("x = '1'"), hash_of("x = 1", "x")]
    assert len(set(hashes)) == 4


def test_hash_takes_magics_and_notices_them(hash_of):
    assert hash_of("%matplotlib inline\nx = 1") != hash_of("x = 1")


@pytest.mark.parametrize(
    "source",
    ["from vae_helpers.losses import kl", "from vae_helpers import losses",
     "import vae_helpers.losses as l", "def f():\n    import vae_helpers.losses"],
)  # fmt: skip
def test_hash_notices_what_a_notebook_imports_even_indirectly(hash_of, package, source):
    before = hash_of(source)
    data = package / "data.py"
    data.write_text('"""Images."""\n\ndef check():\n    # the check\n    return 1\n')
    assert hash_of(source) == before
    data.write_text("def check():\n    return 2\n")
    assert hash_of(source) != before


def test_hash_ignores_what_a_notebook_does_not_import(hash_of, package):
    before = hash_of("from vae_helpers import losses")
    (package / "plots.py").write_text("def show():\n    return 2\n")
    assert hash_of("from vae_helpers import losses") == before


def test_hash_is_the_same_on_every_python(hash_of):
    # A number written down: Python versions differ in their syntax trees' empty fields.
    source = (
        "@d\nasync def f(a, *b, c: int = 1, **e):\n    return f'{a!r:>{c}}', None, ..., 1.5, b''"
    )
    assert hash_of(source, "class C(B):\n    x: int = 3") == "dc08eed32c369797"


# --- the whole ------------------------------------------------------------------------------------


def test_render_stores_outputs_time_and_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_PROFILE", "laptop")
    monkeypatch.setenv("VAE_DATA", ".")
    path = notebook(
        tmp_path / "x.ipynb",
        "import os\nprint(os.environ['VAE_PROFILE'], os.environ['VAE_RUNS'] != '')",
        "assert os.environ['VAE_DATA'] == " + repr(os.getcwd()),
        "import sys\nfor i in range(3):\n    print(f'\\r{i}', end='', flush=True)",
    )
    nb = nbformat.read(path, as_version=4)
    nb.cells.insert(0, new_markdown_cell("# X\n\n**Time on two cores:** ?\n\nMore."))
    nbformat.write(nb, path)
    assert render.is_stale(path)
    seconds, megabytes = render.render(path)
    nb = nbformat.read(path, as_version=4)
    words = render.in_words(seconds, megabytes)
    assert nb.cells[0].source == f"# X\n\n**Time on two cores:** {words}\n\nMore."
    assert [cell.outputs[0].text for cell in nb.cells[1::2]] == ["laptop True\n", "2"]
    assert nb.metadata.vae_course.profile == "laptop" and nb.metadata.vae_course.minutes < 1
    assert nb.metadata.vae_course.megabytes == megabytes
    assert not render.is_stale(path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.ipynb"]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux tells")
def test_peak_memory_counts_what_a_cell_held_and_gave_back(tmp_path):
    small = notebook(tmp_path / "small.ipynb", "x = 1")
    large = notebook(tmp_path / "large.ipynb", "x = b'x' * 300_000_000\ndel x", "1")
    megabytes = [
        render.measured_run(nbformat.read(path, as_version=4), tmp_path, "smoke")[1]
        for path in (small, large)
    ]
    assert 20 < megabytes[0] < 200 and 290 < megabytes[1] - megabytes[0] < 310


def test_peak_memory_is_unknown_for_a_process_that_is_gone():
    assert render.peak_megabytes(2**30) is None


def test_the_data_folder_of_this_machine_becomes_data(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA", ".")
    source = "import os\nprint('no CelebA in', os.path.join(os.environ['VAE_DATA'], 'celeba'))"
    path = notebook(tmp_path / "x.ipynb", source)
    render.render(path)
    (output,) = nbformat.read(path, as_version=4).cells[0].outputs
    assert output.text == f"no CelebA in {os.path.join('data', 'celeba')}\n"


@pytest.mark.parametrize(
    "source, message",
    [
        ("print(1)\nraise OSError('no such thing')", "cell 0 raised.*OSError: no such thing"),
        ("import warnings\nwarnings.warn('careful')", "cell 0 wrote to stderr.*careful"),
        # Put there, not caught: nbclient answers an Output widget that catches something on the
        # socket on which it awaits the cell's reply, and may wait for ever (its issue 312).
        (
            "import ipywidgets\nipywidgets.Output(outputs=[{'output_type': 'error', 'ename': "
            "'ValueError', 'evalue': 'lost', 'traceback': ['ValueError: lost']}]);",
            "a widget's callback raised.*ValueError: lost",
        ),
        ("print('x' * 2_000_000)", "at most 1,500,000"),
    ],
)
def test_refused_notebook_stays_as_it_was(tmp_path, source, message):
    path = notebook(tmp_path / "x.ipynb", source)
    before = path.read_bytes()
    with pytest.raises(render.Refused, match=f"(?s){message}"):
        render.render(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_without_mnist_nothing_is_rendered(tmp_path, capsys):
    path = notebook(tmp_path / "x.ipynb", "1")
    before = path.read_bytes()
    assert render.main([str(path)]) == 1
    assert "from real MNIST only" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_check_names_stale_notebooks(tmp_path, capsys):
    path = notebook(tmp_path / "x.ipynb", "1")
    assert render.main(["--check", str(path)]) == 1
    assert "x.ipynb: the stored outputs" in capsys.readouterr().out
    nb = json.loads(path.read_text())
    nb["metadata"]["vae_course"] = {"code": render.code_hash(path), "profile": "laptop"}
    path.write_text(json.dumps(nb))
    assert render.main(["--check", str(path)]) == 0


def test_cost_goes_into_its_column_of_the_readme(tmp_path):
    readme = tmp_path / "README.md"
    head = "| notebook | question | `smoke` | two cores, `laptop` |\n| --- | --- | ---: | ---: |\n"
    others = "\n| [a](notebooks/a.ipynb) | no column |\n"
    readme.write_text(
        f"{head}| [a](notebooks/a.ipynb) | why | ? | ? |\n"
        f"| [b](notebooks/b.ipynb) | 2 | ? | 3 s |\n{others}"
    )
    render.update_readme(readme, tmp_path / "a.ipynb", "laptop", "1.6 min, 0.9 GB")
    render.update_readme(readme, tmp_path / "b.ipynb", "smoke", "1 s")
    render.update_readme(readme, tmp_path / "b.ipynb", "gpu", "9 s")
    render.update_readme(readme, tmp_path / "c.ipynb", "laptop", "9 s")
    assert readme.read_text() == (
        f"{head}| [a](notebooks/a.ipynb) | why | ? | 1.6 min, 0.9 GB |\n"
        f"| [b](notebooks/b.ipynb) | 2 | 1 s | 3 s |\n{others}"
    )


@pytest.mark.parametrize(
    "seconds, megabytes, words",
    [(0.2, None, "1 s"), (12.4, 96, "12 s, 0.1 GB"), (59.6, 1149, "1.0 min, 1.1 GB")],
)
def test_cost_in_words(seconds, megabytes, words):
    assert render.in_words(seconds, megabytes) == words


def test_measure_writes_the_cost_of_a_profile_and_leaves_the_notebook(tmp_path, capsys):
    path = notebook(tmp_path / "a.ipynb", "import os\nassert os.environ['VAE_PROFILE'] == 'smoke'")
    before, readme = path.read_bytes(), tmp_path / "README.md"
    readme.write_text("| notebook | `smoke` |\n| [a](notebooks/a.ipynb) | ? |\n")
    measure.measure([path], "smoke", readme)
    cost = re.search(r"a\.ipynb: (\d+ s.*)\nall 1: \1 at most\n", capsys.readouterr().out)[1]
    assert readme.read_text().endswith(f"| {cost} |\n") and path.read_bytes() == before


def test_measure_names_the_notebook_that_fails(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "1 / 0")
    with pytest.raises(SystemExit, match=r"(?s)a\.ipynb: cell 0 raised.*ZeroDivisionError"):
        measure.measure([path], "smoke", tmp_path / "README.md")


def test_picture_for_the_readme(tmp_path):
    nb = with_outputs(stream("x"), new_output("display_data", data={"image/png": PIXEL}))
    nb.cells[0].metadata["tags"] = ["readme"]
    nbformat.write(nb, tmp_path / "x.ipynb")
    render.extract_picture(tmp_path / "x.ipynb")
    assert (tmp_path / "images" / "x.png").read_bytes().startswith(b"\x89PNG")
