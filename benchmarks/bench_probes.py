"""What the default probes cost a training run: TD3 on Reacher-v5, with them over without them.

Runs alternate (without, with, with, without), so that a machine that slows down slows both. The first ratio is of
the training process's own processor time, which the background process is no part of; the second is of wall time,
background process and all.

    python benchmarks/bench_probes.py [--steps 20000]
"""

from __future__ import annotations

import argparse
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


def train(steps: int, attached: bool) -> dict[str, Any]:
    """One run from a fixed seed; seconds of the training process and of the wall, attaching included."""
    env = gymnasium.make("Reacher-v5")
    noise = NormalActionNoise(np.zeros(2), np.full(2, 0.1))
    network = {"net_arch": [256, 256]}
    model = TD3("MlpPolicy", env, seed=0, learning_starts=1000, action_noise=noise, policy_kwargs=network, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        processor, wall = time.process_time(), time.perf_counter()
        monitor = probes.attach(model, f"{folder}/run.db") if attached else None
        model.learn(steps, callback=monitor)
        record: dict[str, Any] = {"processor": time.process_time() - processor, "wall": time.perf_counter() - wall}
    if monitor is not None:
        status = monitor.status
        record |= {"measured": status.measured, "skipped": status.skipped, "failed": status.failed, "cost": status.cost}
    return record


def main() -> None:
    """Train four times and keep the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    train(2_000, attached=True)
    runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for attached in (False, True, True, False):
        runs[attached].append(train(steps, attached))
        print("with   " if attached else "without", runs[attached][-1], flush=True)
    totals = {
        kind: {name: sum(run[name] for run in each) for name in ("processor", "wall")} for kind, each in runs.items()
    }
    ratios = {name: totals[True][name] / totals[False][name] for name in ("processor", "wall")}
    harness.write(
        "probes",
        [],
        steps=steps,
        with_over_without_processor_time=ratios["processor"],
        with_over_without_wall_time_background_included=ratios["wall"],
        target=1.05,
        runs=[{"probes": kind, **run} for kind, each in runs.items() for run in each],
    )


if __name__ == "__main__":
    main()
