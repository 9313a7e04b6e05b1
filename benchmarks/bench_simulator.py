"""Closed-loop steps per second of the simulator, policy included, and the time of a reference.

Against a plain loop (``env.step`` and the same float64 policy, one state after another, on one core), and against the
bare physics: the very same steps by ``mujoco.batch`` with no policy, observation or reward, on as many threads as the
simulator has, the faster of its two ways. Ant and Humanoid need contact forces, which a batch does not compute.
``processor_ratio`` in the record compares processor time, of all threads, instead of the clock.

    python benchmarks/bench_simulator.py [--tasks Reacher-v5 Hopper-v5] [--horizon 25] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import harness
from simulated import Problem, rates, ratio

from gradlab.references import SimulatorReference

#: How many times the plain loop, and what part of the bare physics, is to be reached.
TARGETS: dict[str, tuple[float | None, float | None]] = {
    "Reacher-v5": (1.5, None),
    "HalfCheetah-v5": (2.3, None),
    "Hopper-v5": (2.3, None),
    "Ant-v5": (None, 0.85),
    "Humanoid-v5": (None, 0.85),
}


def closed_loop(task: str, options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, float]]:
    problem = Problem(task, options.states, options.rollouts, options.horizon, options.threads)
    physics = problem.physics(problem.simulator.threads)
    ways = {
        "simulator": problem.closed_loop,
        "plain loop": lambda: problem.plain_loop(options.plain_steps),
        "one batch": physics.one_batch,
        "a batch a thread": physics.batch_a_thread,
    }
    found = rates(ways, options.repeats)
    medians = {name: round(statistics.median(rounds.wall)) for name, rounds in found.items()}
    bare = max(("one batch", "a batch a thread"), key=lambda name: medians[name])
    loop_target, bare_target = TARGETS.get(task, (None, None))
    rows = [
        ratio(f"{task}: plain loop", found, "simulator", "plain loop", loop_target),
        ratio(f"{task}: bare physics ({bare})", found, "simulator", bare, bare_target),
    ]
    return rows, medians


def reference(task: str, states: int, horizon: int, threads: int | None, *, second_way: bool) -> dict[str, Any]:
    """The time of one reference, with the chain rule as its second way or without."""
    problem = Problem(task, states, states, horizon, threads)
    truth = SimulatorReference(problem.simulator, horizon=horizon, second_way=second_way)
    begun = time.perf_counter()
    found = truth.cotangent(problem.agent, problem.states)
    wall = time.perf_counter() - begun
    simulated = int(found.diagnostics["steps"])
    return {
        "task": task,
        "states": states,
        "horizon": horizon,
        "chain_rule": second_way,
        "seconds": round(wall, 2),
        "steps": simulated,
        "steps_per_second": round(simulated / wall),
        "states_with_open_gate": int(found.valid.sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TARGETS))
    parser.add_argument("--states", type=int, default=64)
    parser.add_argument("--rollouts", type=int, default=1024)
    parser.add_argument("--horizon", type=int, default=25)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plain-steps", type=int, default=4000)
    parser.add_argument("--reference-horizon", type=int, default=200)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    steps_per_second: dict[str, dict[str, float]] = {}
    for task in options.tasks:
        found, steps_per_second[task] = closed_loop(task, options)
        rows += found
    times = [
        reference("HalfCheetah-v5", options.states, options.reference_horizon, options.threads, second_way=second_way)
        for second_way in (False, True)
    ]
    settings = {key: value for key, value in vars(options).items() if key != "tasks"}
    harness.write("simulator", rows, steps_per_second=steps_per_second, references=times, settings=settings)


if __name__ == "__main__":
    main()
