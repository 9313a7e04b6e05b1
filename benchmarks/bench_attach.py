"""What attaching costs a training run, with over without: TD3 on HalfCheetah-v5 and SAC on Hopper-v5.

Each way is a whole run from one seed in this process; the ways follow one another in rounds, every second round
backwards, so that a machine that slows down slows all. The ratio of a round is a way's wall time over that of the run
without; given are the medians over rounds and their extremes. ``tracker`` is what people attach today: Weights & Biases
watching the networks' gradients, offline, as its documentation says to.

Beside it, in milliseconds: what a background measurement takes in the training thread, and what ``step`` takes where
nothing is due.

    python benchmarks/bench_attach.py [--steps 5000] [--rounds 5] [--tasks HalfCheetah-v5 Hopper-v5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import harness
import numpy as np
import torch
import wandb
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise

import gradlab
import probes
from probes.frozen import freeze
from probes.worker import Job

TARGETS = {"light": 1.01, "standard": 1.03, "full": 1.25}
WAYS = ("without", "light", "standard", "full", "tracker")


def made(task: str) -> BaseAlgorithm:
    """A model as people train it: two layers of 256, a gradient step an environment step."""
    env = gymnasium.make(task)
    options: dict[str, Any] = {"seed": 0, "learning_starts": 500, "device": "cpu"}
    options["policy_kwargs"] = {"net_arch": [256, 256]}
    if task == "Hopper-v5":
        return SAC("MlpPolicy", env, **options)
    size = env.action_space.shape[0]
    return TD3("MlpPolicy", env, action_noise=NormalActionNoise(np.zeros(size), np.full(size, 0.1)), **options)


class Tracker(BaseCallback):
    """What a run that is watched by an experiment tracker does: log something every so often."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self._run = run

    def _on_step(self) -> bool:
        if self.num_timesteps % 100 == 0:
            self._run.log({"step": self.num_timesteps})
        return True


def train(task: str, steps: int, way: str) -> dict[str, Any]:
    """One run; its wall time, attaching and closing included."""
    model = made(task)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        if way == "tracker":
            with wandb.init(mode="offline", dir=folder, project="benchmark") as run:
                run.watch((model.actor, model.critic), log="gradients", log_freq=100)
                model.learn(steps, callback=Tracker(run))
            return {"wall": time.perf_counter() - started}
        monitor = None if way == "without" else probes.attach(model, f"{folder}/run.db", probes=way)
        model.learn(steps, callback=monitor)
        record: dict[str, Any] = {"wall": time.perf_counter() - started}
    if monitor is not None:
        status = monitor.status
        record |= {"measured": status.measured, "skipped": status.skipped, "failed": status.failed, "cost": status.cost}
    return record


def rounds_of(task: str, steps: int, rounds: int) -> dict[str, Any]:
    """The ways in turns, and their ratios."""
    runs: list[dict[str, dict[str, Any]]] = []
    for number in range(rounds):
        ways = WAYS if number % 2 == 0 else WAYS[::-1]
        runs.append({way: train(task, steps, way) for way in ways})
        print(task, {way: round(run["wall"], 2) for way, run in runs[-1].items()}, flush=True)
    found: dict[str, Any] = {"task": task, "runs": runs}
    for way in WAYS[1:]:
        ratios = [run[way]["wall"] / run["without"]["wall"] for run in runs]
        found[way] = {
            "ratio": statistics.median(ratios),
            "range": [min(ratios), max(ratios)],
            "target": TARGETS.get(way),
        }
    return found


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of one call."""
    call()
    return 1e3 * statistics.median(harness.seconds(call) for _ in range(repeats))


def parts(task: str) -> dict[str, float]:
    """What single calls take in the training thread."""
    model = made(task)
    obs = np.zeros((256, *model.observation_space.shape), np.float32)
    probe = probes.Field()
    agent = gradlab.view(model)
    with tempfile.TemporaryDirectory() as folder:
        monitor = probes.attach(agent, f"{folder}/run.db", probes=[probes.Gradient(every=10**9)], environment=task)
        monitor.step(0, obs=obs)
        monitor.step(1)
        resting = 1e3 * statistics.median(
            harness.seconds(lambda: [monitor.step(2) for _ in range(1000)]) / 1000 for _ in range(50)
        )
        monitor.close()
    return {
        "background snapshot, ms": milliseconds(lambda: freeze(Job("", probe, gradlab.view(model), obs, 0)), 200),
        "resting, µs": 1e3 * resting,
        "deep copy, ms": milliseconds(lambda: agent.snapshot(), 50),
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", default=["HalfCheetah-v5", "Hopper-v5"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for task in given.tasks:
        train(task, 1_000, "standard")
        found.append(rounds_of(task, given.steps, given.rounds) | {"parts": parts(task)})
    for one in found:
        print(one["task"], {way: one[way] for way in WAYS[1:]}, one["parts"])
    harness.write("attach", [], steps=given.steps, rounds=given.rounds, tasks=found)


if __name__ == "__main__":
    main()
