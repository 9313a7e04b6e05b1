"""Train for some thousand steps with Stable-Baselines3 and by our own scripts, and save what tests and docs read.

    python examples/make_checkpoints.py [FOLDER] [--only NAME …]

On Reacher-v5 TD3 is saved at three steps of one run, DDPG and SAC at the end of theirs; TD3 on HalfCheetah-v5 is
saved on its way, at some steps; SAC on InvertedPendulum-v5 at the end, TD3 at three steps; TD3 on Pendulum-v1 at six.
TD3 on Reacher, HalfCheetah and Pendulum is also trained with SiLU, whose critics have second derivatives. The scripts
of `examples/single_file` train on Pendulum-v1 and save as CleanRL's do. Every run starts from its own seed, so that one
can be made alone. Reacher takes about two minutes on one core, HalfCheetah about ten.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import nn

#: Episodes that a checkpoint's return, as the README gives it, is averaged over.
EVALUATED = 10


@dataclass(frozen=True)
class Run:
    """One training run: the algorithm, its task, and the environment steps at which it is saved."""

    algorithm: type[OffPolicyAlgorithm]
    environment: str
    steps: tuple[int, ...]
    seed: int = 1
    activation: type[nn.Module] = nn.ReLU
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The beginning of its files' names, such as `td3_reacher`."""
        kind = "" if self.activation is nn.ReLU else f"_{self.activation.__name__}"
        return f"{self.algorithm.__name__}{kind}_{self.environment.split('-')[0]}".lower()

    def file(self, step: int) -> str:
        """The file the checkpoint at a step is saved in."""
        return f"{self.name}_{step}.zip"

    def named_settings(self) -> str:
        """What differs from the library's defaults, for the README."""
        activation = [] if self.activation is nn.ReLU else [self.activation.__name__]
        return ", ".join([*activation, *(f"{name}={value:,}" for name, value in self.settings.items())])

    def learner(self) -> OffPolicyAlgorithm:
        """The library's learner with small networks and, where the policy is deterministic, exploration noise."""
        learner = self.algorithm(
            "MlpPolicy",
            self.environment,
            policy_kwargs={"net_arch": [64, 64], "activation_fn": self.activation},
            seed=self.seed,
            device="cpu",
            **self.settings,
        )
        if self.algorithm is not SAC:
            (actions,) = learner.action_space.shape or (1,)
            learner.action_noise = NormalActionNoise(np.zeros(actions), np.full(actions, 0.1))
        return learner


PENDULUM = (1_000, 2_000, 3_000, 5_000, 8_000, 12_000)

#: Random actions for longer than the library's 100 steps: with fewer, HalfCheetah learns to slide on its back.
RUNS = (
    Run(TD3, "Reacher-v5", (1_000, 3_000, 6_000)),
    Run(DDPG, "Reacher-v5", (3_000,)),
    Run(SAC, "Reacher-v5", (3_000,)),
    Run(TD3, "HalfCheetah-v5", (10_000, 50_000), settings={"learning_starts": 5_000}),
    Run(SAC, "InvertedPendulum-v5", (5_000,)),
    Run(TD3, "InvertedPendulum-v5", (1_000, 3_000, 10_000)),
    Run(TD3, "Pendulum-v1", PENDULUM),
    Run(TD3, "Pendulum-v1", PENDULUM, activation=nn.SiLU),
    Run(TD3, "Reacher-v5", (1_000, 3_000, 6_000), activation=nn.SiLU),
    Run(TD3, "HalfCheetah-v5", (10_000, 50_000), activation=nn.SiLU, settings={"learning_starts": 5_000}),
)

#: Scripts of `examples/single_file`, each with its steps.
SCRIPTS = {"ddpg": 4_000, "td3": 7_000, "sac": 4_000, "ppo": 32_000}

README = """# Checkpoints

Real, short Stable-Baselines3 runs, made by `python examples/make_checkpoints.py tests/checkpoints`
with networks of two layers of 64 and ReLU (SiLU where named), and otherwise the library's defaults (exploration noise
N(0, 0.1²) for TD3 and DDPG) but for the settings named. Written by
{versions}.
Replay buffers are not saved, and `system_info.txt`, which describes the machine, is left out. The return is the mean
over {evaluated} episodes without exploration, ± its standard error.

| file | algorithm | task | environment steps | seed | settings | return |
|---|---|---|---|---|---|---|
{rows}

Runs of `examples/single_file`, in the files of CleanRL's scripts; the return is that of the last {evaluated} episodes
of training, with exploration.

| file | algorithm | task | environment steps | seed | return |
|---|---|---|---|---|---|
{scripts}
"""


class SaveAt(BaseCallback):
    """Saves the model at the run's steps."""

    def __init__(self, folder: Path, run: Run) -> None:
        super().__init__()
        self.folder = folder
        self.run = run

    def _on_step(self) -> bool:
        if self.num_timesteps in self.run.steps:
            path = self.folder / self.run.file(self.num_timesteps)
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


def returned(run: Run, path: Path) -> str:
    """The return of a checkpoint's policy without exploration: mean ± standard error over whole episodes."""
    model = run.algorithm.load(path, device="cpu")
    environment = Monitor(gymnasium.make(run.environment))
    environment.reset(seed=0)
    returns, _ = evaluate_policy(model, environment, EVALUATED, return_episode_rewards=True)
    return f"{np.mean(returns):.1f} ± {np.std(returns, ddof=1) / EVALUATED**0.5:.1f}"


def script_file(name: str) -> str:
    """The file that a script's run is saved in."""
    return f"cleanrl_{name}_pendulum_{SCRIPTS[name]}.cleanrl_model"


def train_script(name: str, folder: Path) -> str:
    """Run a script, and give its row of the README."""
    sys.path.insert(0, str(Path(__file__).parent / "single_file"))
    script = importlib.import_module(name)
    path = folder / script_file(name)
    args = script.Args(total_timesteps=SCRIPTS[name], gradlab=False, save=str(path))
    last = script.train(args).returns[-EVALUATED:]
    mean = f"{np.mean(last):.1f} ± {np.std(last, ddof=1) / len(last) ** 0.5:.1f}"
    return f"| `{path.name}` | {name.upper()} | {args.env_id} | {SCRIPTS[name]:,} | {args.seed} | {mean} |"


def kept_rows(folder: Path, made: Sequence[str]) -> list[str]:
    """The rows of the scripts' files: those made now, and of others that are there the rows of the present README."""
    readme = folder / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines() if readme.exists() else []
    rows = []
    for name in SCRIPTS:
        start = f"| `{script_file(name)}` |"
        rows += [line for line in [*made, *lines] if line.startswith(start)][:1]
    return rows


def main(folder: Path, only: Sequence[str] = ()) -> None:
    """Train the runs (those named in `only`, or all), save their checkpoints, and write the README of all there are."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for run in RUNS:
        if not only or run.name in only:
            run.learner().learn(max(run.steps), callback=SaveAt(folder, run))
            print(f"{run.name}: saved at {', '.join(map(str, run.steps))}")
    scripts = kept_rows(folder, [train_script(name, folder) for name in SCRIPTS if not only or name in only])
    rows = [
        f"| `{run.file(step)}` | {run.algorithm.__name__} | {run.environment} | {step:,} | {run.seed} "
        f"| {run.named_settings()} "
        f"| {returned(run, folder / run.file(step))} |"
        for run in RUNS
        for step in run.steps
        if (folder / run.file(step)).exists()
    ]
    packages = ("stable-baselines3", "torch", "gymnasium", "mujoco", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    text = README.format(versions=versions, evaluated=EVALUATED, rows="\n".join(rows), scripts="\n".join(scripts))
    (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("checkpoints"))
    parser.add_argument(
        "--only", nargs="+", default=(), choices=[*(run.name for run in RUNS), *SCRIPTS], metavar="NAME"
    )
    arguments = parser.parse_args()
    main(arguments.folder, arguments.only)
