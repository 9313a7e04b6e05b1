"""Train Stable-Baselines3 on Reacher-v5 for a few thousand steps and save the checkpoints that the tests read.

    python examples/make_checkpoints.py [FOLDER]

TD3 is saved at three steps of one run, DDPG and SAC at the end of theirs. Takes about two minutes on one core.
"""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

ENVIRONMENT = "Reacher-v5"
SEED = 1
#: Algorithm → the steps at which it is saved.
RUNS: dict[type[OffPolicyAlgorithm], tuple[int, ...]] = {TD3: (1_000, 3_000, 6_000), DDPG: (3_000,), SAC: (3_000,)}

README = """# Checkpoints

Real, short Stable-Baselines3 runs on {environment}, made by `python examples/make_checkpoints.py tests/checkpoints`
with seed {seed}, networks of two layers of 64 and ReLU, and otherwise the library's defaults (exploration noise
N(0, 0.1²) for TD3 and DDPG). Written by
{versions}.
Replay buffers are not saved, and `system_info.txt`, which describes the machine, is left out.

| file | algorithm | environment steps |
|---|---|---|
{rows}
"""


class SaveAt(BaseCallback):
    """Saves the model at the given steps."""

    def __init__(self, folder: Path, steps: tuple[int, ...]) -> None:
        super().__init__()
        self.folder = folder
        self.steps = steps

    def _on_step(self) -> bool:
        if self.num_timesteps in self.steps:
            path = self.folder / name_of(type(self.model), self.num_timesteps)
            self.model.save(path)
            leave_out(path, "system_info.txt")
        return True


def leave_out(path: Path, member: str) -> None:
    """Rewrite a zip without one member: the description of the machine has no place in a repository."""
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if name != member}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)


def name_of(algorithm: type, step: int) -> str:
    """The file a checkpoint is saved in."""
    return f"{algorithm.__name__.lower()}_reacher_{step}.zip"


def main(folder: Path) -> None:
    """Train all runs and save their checkpoints and a README into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows = []
    for algorithm, steps in RUNS.items():
        noise = {} if algorithm is SAC else {"action_noise": NormalActionNoise(np.zeros(2), np.full(2, 0.1))}
        model = algorithm(
            "MlpPolicy", ENVIRONMENT, policy_kwargs={"net_arch": [64, 64]}, seed=SEED, device="cpu", **noise
        )
        model.learn(max(steps), callback=SaveAt(folder, steps))
        rows += [f"| `{name_of(algorithm, step)}` | {algorithm.__name__} | {step:,} |" for step in steps]
        print(f"{algorithm.__name__}: saved at {', '.join(map(str, steps))}")
    packages = ("stable-baselines3", "torch", "gymnasium", "mujoco", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    text = README.format(environment=ENVIRONMENT, seed=SEED, versions=versions, rows="\n".join(rows))
    (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("checkpoints"))
