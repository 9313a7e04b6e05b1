"""Pictures are drawn by a browser that is there, or refused in a line."""

import pytest

from dashboards.figures.gap_parts import gap_parts
from gradlab.cli.pictures import require_browser, write_picture
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate


@pytest.fixture
def figure():
    parts = {"relative_own_fit": 0.2, "relative_basin_choice": 0.1, "relative_gap": 0.3}
    return gap_parts({("A-v0", "1"): {name: Estimate(value, 0.01, 30) for name, value in parts.items()}})


def browser(folder, script):
    path = folder / "chromium"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_no_browser(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GradlabError, match="needs Chromium or Chrome on the PATH"):
        require_browser()


def test_a_browser_that_does_not_draw(monkeypatch, tmp_path, figure):
    browser(tmp_path, "echo no display here >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GradlabError, match=r"did not draw it\.png: no display here"):
        write_picture(figure, tmp_path / "it.png", width=300, height=200)
    assert not (tmp_path / "it.png").exists()


def test_a_browser_that_does_not_start(monkeypatch, tmp_path, figure):
    (tmp_path / "chromium").write_text("")
    (tmp_path / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("gradlab.cli.pictures.require_browser", lambda _: str(tmp_path / "gone"))
    with pytest.raises(GradlabError, match="FileNotFoundError"):
        write_picture(figure, tmp_path / "it.png", width=300, height=200)


def test_the_page_needs_no_network(monkeypatch, tmp_path, figure):
    """The browser is handed one file with all that is in it; what it draws is what is kept."""
    # A stand-in that keeps the page it was to draw, and draws two words.
    browser(
        tmp_path,
        'for word; do case "$word" in --screenshot=*) out="${word#--screenshot=}";; file://*) page="${word#file://}";; '
        f'esac; done; /bin/cp "$page" {tmp_path}/page.html; echo drawn > "$out"',
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    write_picture(figure, tmp_path / "it.png", width=300, height=200)
    assert (tmp_path / "it.png").read_text() == "drawn\n"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "own fit" in page
    assert 'src="http' not in page
