"""Figures as PNG files, drawn by a browser that is installed: plotly itself draws only in one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gradlab.errors import GradlabError

if TYPE_CHECKING:
    import plotly.graph_objects as go

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
#: Seconds a browser may take for one picture.
_PATIENCE = 120.0
_PAGE = """<!doctype html><html><head><meta charset="utf-8"><style>html,body{{margin:0;background:#fff}}</style></head>
<body>{figure}</body></html>"""


def require_browser() -> str:
    """Where the browser is that draws pictures.

    Raises:
        GradlabError: none is on the PATH.
    """
    found = next((path for path in map(shutil.which, _BROWSERS) if path), None)
    if found is None:
        raise GradlabError(
            "--pictures: needs Chromium or Chrome on the PATH to draw them; install one, or leave it out"
        )
    return found


def write_picture(figure: go.Figure, path: Path, *, width: int, height: int) -> None:
    """Write a figure as a PNG at twice the size, for sharp text; it works without a network.

    Args:
        figure: the figure.
        path: the file.
        width: in CSS pixels.
        height: likewise.

    Raises:
        GradlabError: there is no browser, or it does not draw.
    """
    browser = require_browser()
    figure.update_layout(width=width, height=height)
    content = figure.to_html(full_html=False, include_plotlyjs=True, config={"displayModeBar": False})
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "figure.html"
        drawn = Path(folder) / "figure.png"
        page.write_text(_PAGE.format(figure=content), encoding="utf-8")
        command = [
            browser, "--headless", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=2",
            "--no-first-run", "--disable-background-networking", "--virtual-time-budget=4000",
            f"--user-data-dir={folder}/profile", f"--window-size={width},{height}", f"--screenshot={drawn}",
        ]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # Chromium refuses its sandbox to root; the page is this program's own.
            command.append("--no-sandbox")
        try:
            ended = subprocess.run([*command, page.as_uri()], capture_output=True, timeout=_PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GradlabError(f"--pictures: {browser} did not draw {path.name}: {type(error).__name__}") from error
        if not drawn.exists():
            said = ended.stderr.decode(errors="replace").strip().splitlines()
            raise GradlabError(f"--pictures: {browser} did not draw {path.name}: {said[-1] if said else 'no message'}")
        shutil.copyfile(drawn, path)
