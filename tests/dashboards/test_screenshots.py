"""The script that takes the pictures of docs/dashboard.md, on one page."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def screenshots():
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "docs" / "screenshots.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.browser
def test_a_picture_is_of_a_page_in_its_scheme_with_what_it_shows_drawn(screenshots, browser, truth_store):
    image = pytest.importorskip("PIL.Image")
    from dashboards import Server

    found = {}
    with Server(str(truth_store), port=0) as server:
        for scheme in screenshots.SCHEMES:
            made = screenshots.shot(browser, server.url, "landscape", scheme, "run=1")
            assert len(made) < 250_000
            found[scheme] = np.asarray(image.open(io.BytesIO(made)).convert("RGB")).astype(int)
            assert found[scheme].shape == (*screenshots.SIZE[::-1], 3)
    assert found["light"].mean() > 200
    assert found["dark"].mean() < 70
    # Lines, bands and words: far more colours than an empty page has.
    assert len(np.unique(found["light"][300:700].reshape(-1, 3), axis=0)) > 40


def test_each_page_of_the_dashboard_has_its_pictures_in_the_docs(screenshots):
    from dashboards.pages import PAGES

    assert set(screenshots.PAGES) == {page.path for page in PAGES}
    text = (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8")
    for name in screenshots.PAGES.values():
        for scheme in screenshots.SCHEMES:
            picture = ROOT / "docs" / f"dashboard_{name}_{scheme}.webp"
            assert picture.stat().st_size < 250_000
            assert picture.name in text
    assert "docs/dashboard.md" in (ROOT / "README.md").read_text(encoding="utf-8")
