"""An analysis by two workers against the same probes one checkpoint after the other on one core.

The checkpoints are TD3's on Reacher-v5 of ``tests/checkpoints``, the probes all that a checkpoint can be measured with.
On a machine of two cores that do nothing else, the ratio is what the second worker is worth; the overhead of handing
out tasks, of the store and of states visited for each probe apart is in it.

    python benchmarks/bench_analyze.py [--repeats 3] [--workers 2] [--probes gradient,landscape]
"""

from __future__ import annotations

import os

# Before numpy and torch are loaded: one core is one thread.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from harness import compare, write

import probes
from gradlab.adapters.checkpoint import read_checkpoint
from gradlab.simulation import Simulator
from probes.offline import measure_all, offline_probes, visited_observations

TASK = "Reacher-v5"
FILES = sorted((Path(__file__).parents[1] / "tests" / "checkpoints").glob("td3_*reacher_*.zip"))
#: What two workers must be worth.
_TARGET = 1.8


def in_turn(names: Sequence[str] | None) -> None:
    """Every probe of every checkpoint, one after the other, into nowhere."""
    simulator = Simulator(TASK, threads=1)
    for path in FILES:
        saved = read_checkpoint(path)
        chosen = offline_probes(TASK, names)
        measure_all(saved.agent, chosen, visited_observations(saved.agent, chosen, simulator, 0), step=saved.step)


def analysed(names: Sequence[str] | None, workers: int) -> None:
    """The same by workers, into a store."""
    with tempfile.TemporaryDirectory() as folder:
        done = probes.analyze(FILES, f"{folder}/a.db", environment=TASK, probes=names, workers=workers)
        assert done.complete, done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--probes", default="")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in asked.probes.split(",") if name] or None
    row = compare(
        f"{len(FILES)} checkpoints, {asked.workers} workers",
        lambda: analysed(names, asked.workers),
        lambda: in_turn(names),
        repeats=asked.repeats,
        fast_per_slow=2,
        target=_TARGET if asked.workers == 2 else None,
    )
    write("analyze", [row])


if __name__ == "__main__":
    main()
