"""What the default probes cost a training run: TD3 on Reacher-v5, with them over without them.

Runs alternate (without, inline, inline, without), so that a machine that slows down slows both. ``inline`` has the
default probes that measure in the training process; ``all`` has every default probe, so that the background process
competes for the cores, and is reported apart. ``cost`` is the monitor's own account of what it took.

    python benchmarks/bench_probes.py [--steps 20000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

import gymnasium
import harness
import numpy as np
import torch
from stable_baselines3 import TD3
from stable_baselines3.common.noise import NormalActionNoise

import probes


def train(steps: int, way: str) -> dict[str, Any]:
    """One run from a fixed seed; seconds of the training process and of the wall, attaching included."""
    env = gymnasium.make("Reacher-v5")
    noise = NormalActionNoise(np.zeros(2), np.full(2, 0.1))
    network = {"net_arch": [256, 256]}
    model = TD3("MlpPolicy", env, seed=0, learning_starts=1000, action_noise=noise, policy_kwargs=network, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        processor, wall = time.process_time(), time.perf_counter()
        chosen = [p for p in probes.default_probes("Reacher-v5") if way == "all" or not p.background]
        monitor = None if way == "without" else probes.attach(model, f"{folder}/run.db", probes=chosen)
        model.learn(steps, callback=monitor)
        record: dict[str, Any] = {"processor": time.process_time() - processor, "wall": time.perf_counter() - wall}
    if monitor is not None:
        status = monitor.status
        record |= {"measured": status.measured, "skipped": status.skipped, "failed": status.failed, "cost": status.cost}
    return record


def mean(runs: list[dict[str, Any]], clock: str) -> float:
    """Mean seconds of some runs."""
    return statistics.mean(run[clock] for run in runs)


def main() -> None:
    """Train five times and keep the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    train(2_000, "all")
    runs: dict[str, list[dict[str, Any]]] = {"without": [], "inline": [], "all": []}
    for way in ("without", "inline", "inline", "without", "all"):
        runs[way].append(train(steps, way))
        print(way, runs[way][-1], flush=True)
    ratios = {
        f"{way} over without, {clock} time": mean(runs[way], clock) / mean(runs["without"], clock)
        for way in ("inline", "all")
        for clock in ("processor", "wall")
    }
    listed = [{"way": way, **run} for way, each in runs.items() for run in each]
    harness.write("probes", [], steps=steps, **ratios, target=1.05, runs=listed)


if __name__ == "__main__":
    main()
