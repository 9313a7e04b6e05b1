"""What attaching costs a training run, with over without: TD3 on HalfCheetah-v5 and SAC on Hopper-v5.

All ways run side by side from one seed, one at a time in turns of 250 steps (``lanes``). Given are the ratios of their
training's wall times with the standard error over blocks of 1,000 steps, apart from it the seconds that attaching and
closing take, and what the monitor itself says it has cost. ``tracker`` is what people attach today: Weights & Biases
watching the networks' gradients, offline, as its documentation says to.

Beside it, in milliseconds: what a background measurement takes in the training thread, and what ``step`` takes where
nothing is due.

    python benchmarks/bench_attach.py [--steps 10000] [--tasks HalfCheetah-v5 Hopper-v5] [--ways light standard]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import harness
import lanes

#: A run in a lane: its clocks stand still while the others move, and what keeps a clock is imported after.
_GATE = lanes.Gate() if "--way" in sys.argv else None

import gymnasium  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import wandb  # noqa: E402
from stable_baselines3 import SAC, TD3  # noqa: E402
from stable_baselines3.common.base_class import BaseAlgorithm  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback, CallbackList  # noqa: E402
from stable_baselines3.common.noise import NormalActionNoise  # noqa: E402

import gradlab  # noqa: E402
import probes  # noqa: E402
from probes.frozen import freeze  # noqa: E402
from probes.worker import Job  # noqa: E402

TARGETS = {"light": 1.01, "standard": 1.03, "full": 1.25}
WAYS = ("without", "light", "standard", "full", "tracker")
#: Steps of a turn, and of a block of turns: the period of ``full``.
TURN, BLOCK = 250, 1_000
#: Steps before there is training.
BEGINNING = 500


def made(task: str) -> BaseAlgorithm:
    """A model as people train it: two layers of 256, a gradient step an environment step."""
    env = gymnasium.make(task)
    options: dict[str, Any] = {"seed": 0, "learning_starts": BEGINNING, "device": "cpu"}
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


class Turns(BaseCallback):
    """Lets the other runs go on after every turn."""

    def __init__(self, gate: lanes.Gate) -> None:
        super().__init__()
        self._gate = gate

    def _on_step(self) -> bool:
        if self.num_timesteps % TURN == 0:
            self._gate.turn()
        return True


def train(gate: lanes.Gate, task: str, steps: int, way: str) -> None:
    """One run in its lane: a turn for attaching, the steps', and one for closing."""
    torch.set_num_threads(1)
    model = made(task)
    turns = Turns(gate)
    with tempfile.TemporaryDirectory() as folder:
        # Importing and making the model is not what is compared.
        gate.turn(part="start")
        if way == "tracker":
            with wandb.init(mode="offline", dir=folder, project="benchmark") as run:
                run.watch((model.actor, model.critic), log="gradients", log_freq=100)
                gate.turn(part="attach")
                model.learn(steps, callback=CallbackList([Tracker(run), turns]))
            gate.end(part="close")
            return
        monitor = None if way == "without" else probes.attach(model, f"{folder}/run.db", probes=way)
        gate.turn(part="attach")
        model.learn(steps, callback=CallbackList([*([monitor] if monitor else []), turns]))
        more: dict[str, Any] = {"part": "close"}
        if monitor is not None:
            monitor.close()
            status = monitor.status
            more |= {"measured": status.measured, "skipped": status.skipped, "failed": status.failed}
            more |= {"own account": status.cost}
        gate.end(**more)


def side_by_side(task: str, steps: int, ways: list[str]) -> dict[str, Any]:
    """These ways, and what each takes over the run without."""
    command = [sys.executable, __file__, "--steps", str(steps), "--tasks", task, "--way"]
    turns = lanes.run(
        {way: [*command, way] for way in ways}, steps // TURN + 1, lambda line: print(task, line, flush=True)
    )
    # The start, attaching and the end are not training, nor are the first steps.
    seconds = {way: [turn["seconds"] for turn in turns[way][2 + BEGINNING // TURN : -1]] for way in ways}
    found: dict[str, Any] = {"task": task, "seconds": seconds}
    for way in ways[1:]:
        last = turns[way][-1]
        found[way] = lanes.ratio(seconds[way], seconds["without"], BLOCK // TURN) | {
            "target": TARGETS.get(way),
            "attach, s": turns[way][1]["seconds"],
            "close, s": last["seconds"] - turns["without"][-1]["seconds"],
            **{name: value for name, value in last.items() if name not in ("seconds", "part")},
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
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--tasks", nargs="+", default=["HalfCheetah-v5", "Hopper-v5"])
    parser.add_argument("--ways", nargs="+", choices=WAYS[1:], default=WAYS[1:], help="only whole runs are kept")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if _GATE is not None:
        train(_GATE, given.tasks[0], given.steps, given.way)
        return
    torch.set_num_threads(1)
    ways = ["without", *given.ways]
    found = [side_by_side(task, given.steps, ways) | {"parts": parts(task)} for task in given.tasks]
    for one in found:
        for way in ways[1:]:
            print(one["task"], way, one[way])
        print(one["task"], one["parts"])
    if set(ways) == set(WAYS):
        harness.write("attach", [], steps=given.steps, tasks=found)


if __name__ == "__main__":
    main()
