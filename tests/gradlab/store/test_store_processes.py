"""Several real processes on one store."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gradlab.store import open_store

SCALARS, ARRAYS = 12, 2

WRITER = f"""
import sys
import numpy as np, xarray as xr
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.stdin.readline()  # all start together
with open_store(path) as store:
    run = store.start_run(name)
    for step in range(count):
        scalars = {{f"s{{i}}": Estimate(step + i / 16, 0.1, 8) for i in range({SCALARS})}}
        fields = [np.full((20, 30), step + i, "f4") for i in range({ARRAYS})]
        arrays = {{f"a{{i}}": xr.DataArray(field, dims=("y", "x")) for i, field in enumerate(fields)}}
        run.record(step, "p", Measurement(scalars, arrays))
    run.finish()
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=environment)


def go(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def check_whole(path: Path) -> int:
    """Every measurement has all of its scalars and arrays; their number."""
    with open_store(path, readonly=True) as store:
        infos, table = store.measurements(), store.scalars()
        np.testing.assert_array_equal(table.id, np.repeat([info.id for info in infos], SCALARS))
        np.testing.assert_allclose(table.value, table.step + np.tile(np.arange(SCALARS) / 16, len(infos)))
        for info in infos:
            arrays = store.arrays(info.id)
            assert [float(array.mean()) for array in arrays.values()] == [info.step + i for i in range(ARRAYS)]
    return len(infos)


def test_two_processes_write_while_a_third_reads(tmp_path: Path) -> None:
    path, count = tmp_path / "g.db", 600
    writers = [writer(path, name, count) for name in ("one", "two")]
    go(*writers)  # they also race for creating the store
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    cursor, ids, rows, polls = 0, [], 0, 0
    with open_store(path, readonly=True) as reader:
        while True:
            ended = all(process.poll() is not None for process in writers)
            new = reader.measurements(after=cursor)
            table = reader.scalars(after=cursor)
            # What was seen whole stays, and what came between the two questions is whole too.
            assert len(table) % SCALARS == 0
            assert len(table) >= len(new) * SCALARS
            if new:
                newest = reader.arrays(new[-1].id)
                assert [float(array.mean()) for array in newest.values()] == [new[-1].step + i for i in range(ARRAYS)]
            ids += [info.id for info in new]
            rows += len(new) * SCALARS
            cursor, polls = (ids[-1] if ids else 0), polls + bool(new)
            if ended:
                break
            assert time.monotonic() < deadline
            time.sleep(0.002)
        assert [process.returncode for process in writers] == [0, 0]
        # Tailing missed nothing and saw nothing twice; the ids of two writers interleave without gaps.
        assert ids == list(range(1, 2 * count + 1))
        assert rows == len(reader.scalars())
        assert polls > 3
        runs = reader.runs()
        assert sorted(run.name for run in runs) == ["one", "two"]
        for run in runs:
            assert (run.status, run.step) == ("finished", count - 1)
            assert [info.step for info in reader.measurements(run=run.id)] == list(range(count))
    assert check_whole(path) == 2 * count
    # The file alone is the whole store, even if the reader kept the log from being removed.
    shutil.copy(path, tmp_path / "copy.db")
    assert check_whole(tmp_path / "copy.db") == 2 * count


@pytest.mark.parametrize("enough", [3, 120])
def test_a_writer_killed_at_work_leaves_whole_measurements(tmp_path: Path, enough: int) -> None:
    path = tmp_path / "g.db"
    process = writer(path, "doomed", 10**9)
    go(process)
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with open_store(path, readonly=True) as reader:
        while reader.last_id() < enough:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = check_whole(path)
        assert found >= enough
        assert reader.last_id() == found
        (run,) = reader.runs()
        assert run.status == "running"
        assert run.last_seen <= time.time()
        assert run.step == found - 1
    with open_store(path) as store:
        again = store.attach_run(1)
        assert again.record(found, "p", status="skipped") == found + 1
        again.finish("stopped")
        assert store.runs()[0].status == "stopped"
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    assert os.listdir(tmp_path) == ["g.db"]
