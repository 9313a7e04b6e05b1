"""How the simulator's closed-loop steps per second grow with the number of threads.

The same rollouts, policy included, with each number of threads in turns; their values must be equal to the last bit.
Beside it, where asked, as many processes of one thread each: what the machine gives where threads share nothing, its
clock and its memory as they are when so many cores are busy. What threads lack of that is Python's own lock.

    python benchmarks/scale_simulator.py --threads 1 2 4 8 16 [--processes] [--tasks HalfCheetah-v5 Ant-v5]

It needs numpy, torch, mujoco and gymnasium only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import harness
import torch
from simulated import Problem, rates

from gradlab.simulation.workers import cores


def threads_of(task: str, options: argparse.Namespace) -> dict[int, list[float]]:
    """Steps a second in each round, by number of threads."""
    problem = Problem(task, options.states, options.rollouts, options.horizon)
    values: dict[int, torch.Tensor] = {}

    def way(threads: int) -> int:
        problem.simulator.threads = threads
        found = problem.simulator.rollouts(problem.agent, problem.states, problem.first, horizon=options.horizon)
        values[threads] = found.value
        return int(found.length.sum())

    found = rates({str(count): lambda count=count: way(count) for count in options.threads}, options.repeats)
    first = values[options.threads[0]]
    if not all(torch.equal(first, value) for value in values.values()):
        raise SystemExit(f"{task}: the number of threads changes the values")
    return {int(count): rounds.wall for count, rounds in found.items()}


def processes_of(task: str, options: argparse.Namespace) -> dict[int, list[float]]:
    """Steps a second in each round, by number of processes, each with its share of the rollouts."""
    context = multiprocessing.get_context("spawn")
    found = {}
    for count in options.threads:
        together, results = context.Barrier(count), context.Queue()
        share = max(options.states, options.rollouts // count // options.states * options.states)
        arguments = (task, options.states, share, options.horizon, options.repeats, together, results)
        crew = [context.Process(target=one_process, args=arguments) for _ in range(count)]
        for process in crew:
            process.start()
        reports = [results.get() for _ in crew]
        for process in crew:
            process.join()
        rounds = zip(*reports, strict=True)
        found[count] = [
            sum(n for n, *_ in parts) / (max(e for *_, e in parts) - min(b for _, b, _ in parts)) for parts in rounds
        ]
    return found


def one_process(task: str, states: int, rollouts: int, horizon: int, repeats: int, together: Any, results: Any) -> None:
    problem = Problem(task, states, rollouts, horizon, threads=1)
    problem.closed_loop()
    report = []
    for _ in range(repeats):
        together.wait()
        begun = time.time()
        report.append((problem.closed_loop(), begun, time.time()))
    results.put(report)


def table(found: dict[int, list[float]]) -> list[dict[str, float]]:
    """Efficiency of so many: their rate by that of as many times one; and of each core added since the last."""
    one = statistics.median(found[min(found)]) / min(found)
    rows = []
    for count, rounds in found.items():
        rate = statistics.median(rounds)
        rows.append({"count": count, "steps_per_second": round(rate), "efficiency": round(rate / (count * one), 3)})
    for before, row in pairwise(rows):
        gained = row["steps_per_second"] - before["steps_per_second"]
        row["per_added_core"] = round(gained / ((row["count"] - before["count"]) * one), 3)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tasks", nargs="+", default=["HalfCheetah-v5", "Hopper-v5", "Reacher-v5", "Ant-v5", "Humanoid-v5"]
    )
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores()}))
    parser.add_argument("--states", type=int, default=64)
    parser.add_argument("--rollouts", type=int, default=4096)
    parser.add_argument("--horizon", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", action="store_true")
    options = parser.parse_args()
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for task in options.tasks:
        found[task] = {"threads": table(threads_of(task, options))}
        if options.processes:
            found[task]["processes"] = table(processes_of(task, options))
        for kind, rows in found[task].items():
            for row in rows:
                print(task, kind, *(f"{key} {value:g}" for key, value in row.items()), sep="  ", flush=True)
    settings = {key: value for key, value in vars(options).items() if key != "tasks"}
    harness.write("scale_simulator", [], scaling=found, settings=settings, usable_cores=cores())


if __name__ == "__main__":
    main()
