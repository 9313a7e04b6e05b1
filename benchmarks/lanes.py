"""Several training runs side by side, of which one moves at a time: what one costs over another on a noisy machine.

Two whole runs one after the other differ by more than what is to be seen of an instrument's cost, since a shared
machine is faster in one minute than in the next. Here each run is a process that stops after every so many steps and
lets the next one go on: a slow second meets all of them alike, and each pair of turns is a comparison of its own. The
processes that a run has started are stopped with it, and the time it stood still is hidden from its clocks, so that
a budget of wall time is one of its own time.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_clock = time.perf_counter


class Gate:
    """The run's side: reports how long a turn took and waits for the next.

    Make it before anything is imported that keeps a clock: ``time.perf_counter`` and ``time.monotonic`` stand still
    while the run does.
    """

    def __init__(self) -> None:
        self._still = 0.0
        # What libraries print is not for the reader of the turns.
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        monotonic = time.monotonic
        time.perf_counter = lambda: _clock() - self._still
        time.monotonic = lambda: monotonic() - self._still
        self._begun = _clock()

    def turn(self, **more: Any) -> None:
        """The turn is over; returns when the next one begins."""
        ended = _clock()
        print(json.dumps({"seconds": ended - self._begun, **more}), file=self._out, flush=True)
        if not sys.stdin.readline():
            sys.exit("the benchmark has ended")
        self._begun = _clock()
        self._still += self._begun - ended

    def end(self, **more: Any) -> None:
        """The last turn is over."""
        print(json.dumps({"seconds": _clock() - self._begun, **more}), file=self._out, flush=True)


class _Lane:
    """The benchmark's side of one run."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def next(self, first: bool) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not first:
            self._signal(signal.SIGCONT)
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a run of the benchmark ended with exit code {self._process.wait()}")
        self._signal(signal.SIGSTOP)
        turn: dict[str, Any] = json.loads(line)
        return turn

    def end(self) -> None:
        self._signal(signal.SIGCONT)
        self._process.communicate()

    def _signal(self, number: signal.Signals) -> None:
        for one in _descendants(self._process.pid):
            try:
                os.kill(one, number)
            except ProcessLookupError:
                continue


def _descendants(root: int) -> list[int]:
    """The processes that this one has started, and theirs."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found: list[int] = []
    stack = list(children.get(root, ()))
    while stack:
        one = stack.pop()
        found.append(one)
        stack += children.get(one, ())
    return found


def run(commands: dict[str, Sequence[str]], turns: int, say: Callable[[str], object] = print) -> dict[str, list[Any]]:
    """Each command's turns, its start and its end among them: they must report ``turns`` + 2 times.

    The order within a round goes round, so that nobody is always first after somebody else.
    """
    lanes = {name: _Lane(command) for name, command in commands.items()}
    names = list(lanes)
    found: dict[str, list[Any]] = {name: [] for name in names}
    try:
        for number in range(turns + 2):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                found[name].append(lanes[name].next(first=number == 0))
            took = " ".join(f"{name} {turn[-1]['seconds']:.2f}" for name, turn in found.items())
            say(f"{number}/{turns + 1} {took}")
    finally:
        for lane in lanes.values():
            lane.end()
    return found


def ratio(over: Sequence[float], under: Sequence[float], block: int, draws: int = 2000) -> dict[str, Any]:
    """What one way takes over the other, all turns together; from blocks of turns its standard error and the median.

    Args:
        over: seconds of each turn of the one.
        under: seconds of the same turns of the other.
        block: turns that belong together, a whole period of what is measured.
        draws: resamples of blocks for the standard error.
    """
    above, below = (np.add.reduceat(np.asarray(side), range(0, len(side), block)) for side in (over, under))
    resampled = np.random.default_rng(0).integers(0, len(above), (draws, len(above)))
    return {
        "ratio": float(above.sum() / below.sum()),
        "stderr": float(np.std(above[resampled].sum(1) / below[resampled].sum(1), ddof=1)),
        "median of blocks": statistics.median((above / below).tolist()),
        "blocks": len(above),
    }
