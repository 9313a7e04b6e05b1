"""Figures as PNG and SVG files, drawn by a browser that is installed: plotly itself draws only in one."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gradlab.errors import GradlabError

if TYPE_CHECKING:
    import plotly.graph_objects as go

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
#: Seconds a browser may take for one picture.
_PATIENCE = 120.0
_PAGE = """<!doctype html><html><head><meta charset="utf-8"><style>html,body{{margin:0;background:#fff}}</style></head>
<body>{figure}</body></html>"""
#: What plotly draws as SVG takes the place of the whole page, as text.
_TO_SVG = """Plotly.toImage("{{plot_id}}", {{format: "svg", width: {width}, height: {height}}}).then(url => {{
  document.body.textContent = url; }});"""


def require_browser(option: str = "--pictures") -> str:
    """Where the browser is that draws pictures.

    Args:
        option: what asked for it, for the error.

    Raises:
        GradlabError: none is on the PATH.
    """
    found = next((path for path in map(shutil.which, _BROWSERS) if path), None)
    if found is None:
        raise GradlabError(f"{option}: needs Chromium or Chrome on the PATH to draw them; install one, or leave it out")
    return found


def write_picture(figure: go.Figure, path: Path, *, width: int, height: int, option: str = "--pictures") -> None:
    """Write a figure as a PNG at twice the size, for sharp text; it works without a network.

    Args:
        figure: the figure.
        path: the file.
        width: in CSS pixels.
        height: likewise.
        option: what asked for it, for errors.

    Raises:
        GradlabError: there is no browser, or it does not draw.
    """
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "figure.png"
        said = _browse(
            _page(figure, width, height),
            Path(folder),
            path.name,
            option,
            "--force-device-scale-factor=2",
            f"--window-size={width},{height}",
            f"--screenshot={drawn}",
        )
        if not drawn.exists():
            raise GradlabError(f"{option}: the browser did not draw {path.name}: {_last(said.stderr)}")
        shutil.copyfile(drawn, path)


def write_vector(figure: go.Figure, path: Path, *, width: int, height: int, option: str = "--pictures") -> None:
    """Write a figure as SVG, which plotly draws in the browser; it works without a network.

    Args:
        figure: the figure.
        path: the file.
        width: in CSS pixels.
        height: likewise.
        option: what asked for it, for errors.

    Raises:
        GradlabError: there is no browser, or it does not draw.
    """
    page = _page(figure, width, height, _TO_SVG.format(width=width, height=height))
    with tempfile.TemporaryDirectory() as folder:
        said = _browse(page, Path(folder), path.name, option, "--dump-dom")
    found = re.search(r"data:image/svg\+xml,([^<\"]+)", said.stdout.decode(errors="replace"))
    if found is None:
        raise GradlabError(f"{option}: the browser did not draw {path.name}: {_last(said.stderr)}")
    path.write_text(unquote(html.unescape(found[1])), encoding="utf-8")


def _page(figure: go.Figure, width: int, height: int, script: str | None = None) -> str:
    figure.update_layout(width=width, height=height)
    config = {"displayModeBar": False, "showSendToCloud": False}
    content = figure.to_html(full_html=False, include_plotlyjs=True, config=config, post_script=script)
    return _PAGE.format(figure=content)


def _browse(page: str, folder: Path, name: str, option: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    browser = require_browser(option)
    file = folder / "figure.html"
    file.write_text(page, encoding="utf-8")
    command = [
        browser, "--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking", "--virtual-time-budget=4000", f"--user-data-dir={folder}/profile", *options,
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Chromium refuses its sandbox to root; the page is this program's own.
        command.append("--no-sandbox")
    try:
        return subprocess.run([*command, file.as_uri()], capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GradlabError(f"{option}: {browser} did not draw {name}: {type(error).__name__}") from error


def _last(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
