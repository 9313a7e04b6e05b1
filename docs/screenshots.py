"""Takes the pictures of docs/dashboard.md: every page of the dashboard, light and dark, over a run that was trained.

    python docs/screenshots.py                     # trains TD3 and SAC on Reacher-v5, some minutes, and takes them
    python docs/screenshots.py --store gradlab.db  # of the newest run of a store that is there

Chromium has to be on the PATH, and the extra ``test`` installed.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

from dashboards import Server

#: Page → what its picture is called, and the place that is looked at.
PAGES = {
    "": "overview",
    "gradient": "gradient",
    "field": "field",
    "landscape": "landscape",
    "curvature": "curvature",
    "critic": "critic",
    "run": "run",
}
SCHEMES = ("light", "dark")
#: Of the window, in CSS pixels; pictures are as large.
SIZE = (1280, 1120)
#: How long a page goes on after its graphs are there, in ms: the field's state is rendered by a process of its own.
_AFTER = {"field": 8000}
_PATIENCE = 60_000  # ms
_FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking", "--disable-sync"]
#: Every graph that is in view has something drawn in it, and the answer is there.
_READY = """() => document.querySelector("#answer .answer") && document.querySelector("#slider-text").textContent &&
  Array.from(document.querySelectorAll(".dash-graph")).filter((one) => one.checkVisibility()).every((one) => {
    const plot = one.querySelector(".js-plotly-plot");
    return plot && plot._fullLayout && (plot.data.length || plot._fullLayout.annotations.length);
  })"""


def train(store: Path, steps: int, seed: int = 1) -> None:
    """Two runs with the standard probes, TD3's the newest."""
    import gymnasium
    import numpy as np
    import torch
    from stable_baselines3 import SAC, TD3
    from stable_baselines3.common.noise import NormalActionNoise

    import probes

    torch.set_num_threads(1)
    for kind in (SAC, TD3):
        env = gymnasium.make("Reacher-v5")
        size = env.action_space.shape[0]
        noise = {"action_noise": NormalActionNoise(np.zeros(size), np.full(size, 0.1))} if kind is TD3 else {}
        network = {"net_arch": [128, 128]}
        model = kind("MlpPolicy", env, seed=seed, device="cpu", learning_starts=500, policy_kwargs=network, **noise)
        chosen = probes.default_probes("Reacher-v5")
        for probe in chosen:
            probe.every = max(steps // 16, 1)
        # As many as there is to see: what these pictures are for is not the budget.
        monitor = probes.attach(model, str(store), probes=chosen, seed=seed, budget=0.5)
        model.learn(steps, callback=monitor)


def shot(browser: Any, url: str, page: str, scheme: str, query: str = "") -> bytes:
    """One page as a WebP without losses: no palette has both the colours of the field and those of its marks.

    Args:
        browser: Playwright's.
        url: of the dashboard.
        page: its path, one of ``PAGES``.
        scheme: ``light`` or ``dark``.
        query: more of the address, such as ``run=1``.
    """
    from PIL import Image

    width, height = SIZE
    tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce")
    try:
        tab.set_default_timeout(_PATIENCE)
        tab.goto(f"{url}/{page}?{query}")
        _wait(tab, _AFTER.get(page, 1500))
        picture = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    finally:
        tab.close()
    found = io.BytesIO()
    picture.save(found, "WEBP", lossless=True, method=4)
    return found.getvalue()


def _wait(tab: Any, after: int) -> None:
    """Until all is drawn: asked from here, as the page's policy forbids what Playwright would wait with."""
    for _ in range(_PATIENCE // 100):
        if tab.evaluate(_READY):
            # Graphs are resized once more when their cards have found their widths.
            tab.wait_for_timeout(after)
            return
        tab.wait_for_timeout(100)
    raise TimeoutError(f"{tab.url} was not drawn in {_PATIENCE / 1000:.0f} s")


def take(store: Path, folder: Path) -> list[Path]:
    """All pictures of the newest run of a store, as ``dashboard_<page>_<scheme>.png``."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    made, store, folder = [], store.resolve(), folder.resolve()
    # Its name is in the pictures: the path to it is nobody's business.
    with chdir(store.parent), Server(store.name, port=0) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=_FLAGS)
        for page, name in PAGES.items():
            for scheme in SCHEMES:
                place = folder / f"dashboard_{name}_{scheme}.webp"
                place.write_bytes(shot(browser, server.url, page, scheme))
                print(f"{place}: {place.stat().st_size / 1000:.0f} kB", flush=True)
                made.append(place)
        browser.close()
    return made


def main() -> None:
    """Train, unless there is a store, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, help="a store that is there; none is trained then")
    parser.add_argument("--keep", type=Path, help="where the trained runs are kept")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--steps", type=int, default=8000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = chosen.store or chosen.keep or Path(folder) / "gradlab.db"
        if chosen.store is None:
            train(store, chosen.steps)
        take(store, chosen.out)


if __name__ == "__main__":
    main()
