"""What the benchmarks share: two ways timed in turns, peak memory of one way, and a record of both.

A benchmark is a script. It calls :func:`compare` for each pair of ways, :func:`peak_memory` where memory counts, and
:func:`write` once, which prints a table and keeps ``results/<name>.json``.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(
    name: str,
    fast: Callable[[], object],
    slow: Callable[[], object],
    *,
    repeats: int = 5,
    fast_per_slow: int = 5,
    target: float | None = None,
) -> dict[str, Any]:
    """Time two ways in turns, so that a machine that slows down slows both.

    Args:
        name: what is compared, for the table.
        fast: the way of gradlab.
        slow: the obvious way.
        repeats: rounds; in each, ``slow`` runs once.
        fast_per_slow: runs of ``fast`` in a round, half of them before and half after ``slow``.
        target: the ratio to reach, for the table.

    Returns:
        Medians in seconds, their ratio slow / fast, and the ratios of the single rounds at their extremes.
    """
    fast()
    rounds: list[tuple[float, float]] = []
    for _ in range(repeats):
        before = [seconds(fast) for _ in range(fast_per_slow // 2)]
        slow_time = seconds(slow)
        after = [seconds(fast) for _ in range(fast_per_slow - fast_per_slow // 2)]
        rounds.append((statistics.median(before + after), slow_time))
    fast_time, slow_time = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = [b / a for a, b in rounds]
    return {
        "name": name,
        "fast_seconds": fast_time,
        "slow_seconds": slow_time,
        "ratio": slow_time / fast_time,
        "ratio_range": [min(ratios), max(ratios)],
        "target": target,
    }


def peak_memory(script: str, way: str) -> dict[str, Any]:
    """Peak memory of one way in a process of its own: ``python script --memory way`` must call :func:`report_peak`."""
    command = [sys.executable, script, "--memory", way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def report_peak(call: Callable[[], object]) -> None:
    """Print, for :func:`peak_memory`, by how many bytes the resident memory peaks above its level before ``call``.

    The kernel's high-water mark is reset first (``/proc/self/clear_refs``), so that memory freed since the imports
    is not a hidden allowance; where that is not possible, the growth of the high-water mark since the start is
    given, and the record says so. Warm up with a tiny problem before.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
        how, before, peak = "VmHWM above VmRSS", _status("VmRSS"), lambda: _status("VmHWM")
    except OSError:
        how, before, peak = "growth of ru_maxrss", _max_rss(), _max_rss
    call()
    print(json.dumps({"bytes": peak() - before, "how": how}))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _max_rss() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def environment() -> dict[str, Any]:
    """Versions, processor and threads, for the record."""
    packages = {}
    for package in ("gradlab", "torch", "numpy", "gymnasium", "mujoco", "stable-baselines3"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    record = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count(), **packages}
    if "torch" in sys.modules:
        record["torch_threads"] = sys.modules["torch"].get_num_threads()
    return record


def write(name: str, comparisons: list[dict[str, Any]], **more: Any) -> Path:
    """Print the comparisons as a table and keep them, with ``more`` and the environment, in results/<name>.json."""
    width = max((len(row["name"]) for row in comparisons), default=0)
    print(f"{'':{width}}  {'gradlab':>10}  {'obvious':>10}  {'ratio':>8}  target")
    for row in comparisons:
        target = "" if row["target"] is None else f"{row['target']:g}×"
        ratio = f"{row['ratio']:.1f}" if row["ratio"] >= 10 else f"{row['ratio']:.2f}"
        print(
            f"{row['name']:{width}}  {row['fast_seconds'] * 1e3:7.1f} ms  {row['slow_seconds'] * 1e3:7.0f} ms"
            f"  {ratio:>7}×  {target:>6}"
        )
    for key, value in more.items():
        print(f"{key}: {value}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = {"environment": environment(), "comparisons": comparisons, **more}
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path
