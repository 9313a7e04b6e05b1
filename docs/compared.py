"""Takes the picture of README.md's report: 18 checkpoints of three algorithms and two seeds, analysed by one command.

    python docs/compared.py --keep checkpoints             # trains them on Reacher-v5, analyses them, takes the picture
    python docs/compared.py --checkpoints checkpoints      # of checkpoints that are there; goes on where it was

Chromium has to be on the PATH, and the extra ``test`` installed. Some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SEEDS = (1, 2)
STEPS = (2000, 4000, 6000)
#: What is measured, at how many states: enough to compare by.
PROBES, STATES = "simulator,landscape,curvature,health,gradient", 16
#: Of the picture, in CSS pixels.
SIZE = (1180, 1000)
_FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking", "--disable-sync"]


def train(folder: Path) -> None:
    """DDPG, TD3 and SAC with small networks, a checkpoint at each of ``STEPS``."""
    import torch
    from stable_baselines3 import DDPG, SAC, TD3
    from stable_baselines3.common.callbacks import CheckpointCallback

    torch.set_num_threads(1)
    for seed in SEEDS:
        for kind in (DDPG, TD3, SAC):
            name = kind.__name__.lower()
            network = {"net_arch": [64, 64]}
            model = kind("MlpPolicy", "Reacher-v5", seed=seed, device="cpu", learning_starts=500, policy_kwargs=network)
            saving = CheckpointCallback(STEPS[0], str(folder / f"{name}_seed{seed}"), name_prefix=name)
            model.learn(STEPS[-1], callback=saving)
            print(f"{kind.__name__}, seed {seed}: trained", flush=True)


def analyze(folder: Path) -> Path:
    """The report of a folder of checkpoints, beside a store that goes on where it was."""
    report = folder / "report.html"
    command = f"analyze . --env Reacher-v5 --probes {PROBES} --state-count {STATES} --report report.html"
    subprocess.run([sys.executable, "-m", "gradlab", *command.split()], cwd=folder, check=True)
    return report


def picture(report: Path) -> bytes:
    """The top of a report, as a WebP."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=_FLAGS)
        tab = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
        tab.goto(report.resolve().as_uri())
        # Figures are drawn as they come into view.
        tab.locator(".main-svg").first.wait_for()
        tab.wait_for_timeout(1000)
        made = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
        browser.close()
    found = io.BytesIO()
    made.save(found, "WEBP", lossless=True, method=4)
    return found.getvalue()


def main() -> None:
    """Train, unless there are checkpoints, analyse them and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, help="a folder of them that is there; none is trained then")
    parser.add_argument("--keep", type=Path, help="where the trained checkpoints, the store and the report are kept")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("report.webp"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.checkpoints or chosen.keep or Path(temporary)
        if chosen.checkpoints is None:
            train(folder)
        chosen.out.write_bytes(picture(analyze(folder)))
    print(f"{chosen.out}: {chosen.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
