"""An analysis that is killed at any moment goes on by the same call: nothing is lost and nothing is twice."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from short_training import alive, children, soon, sound

import probes
from gradlab.store import open_store

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
STEPS = (1000, 2000, 3000, 5000)
ASKED = {"environment": "Pendulum-v1", "probes": ["gradient", "curvature", "landscape", "health"], "state_count": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("runs") / "run"
    found.mkdir()
    for step in STEPS:
        for kind in ("td3_pendulum", "td3_silu_pendulum"):
            shutil.copy(CHECKPOINTS / f"{kind}_{step}.zip", found)
    return found


@pytest.fixture(scope="module")
def undisturbed(folder):
    """A store that nothing happened to, and the seconds that took."""
    path = folder.parent / "undisturbed.db"
    started = time.monotonic()
    assert probes.analyze(folder, path, **ASKED).complete
    return path, time.monotonic() - started


def begun(folder, store):
    """The analysis in a child that is forked, and so has imported everything; its number."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if probes.analyze(folder, store, **ASKED).complete else 1
        finally:
            os._exit(code)
    return child


def survived(folder, undisturbed, home, records, kills):
    """Kill as often at random moments, in as many analyses as that takes; each store must equal the undisturbed one."""
    moments, count, number = random.Random(1), 0, 0
    wanted = records(undisturbed[0])
    partly = set()
    while count < kills:
        number += 1
        store = home / f"{number}.db"
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            child = begun(folder, store)
            if count < kills:
                time.sleep(moments.uniform(0.0, 0.5 * undisturbed[1]))
                os.kill(child, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            count += code == -signal.SIGKILL
            if code and store.exists():
                partly.add(len(sound(store, receipts=True)))
        assert code == 0
        assert records(store) == wanted
        with open_store(store, readonly=True) as opened:
            assert {run.status for run in opened.runs()} == {"finished"}
    return partly


def test_what_is_killed_three_times_goes_on(folder, undisturbed, tmp_path, records):
    survived(folder, undisturbed, tmp_path, records, 3)


@pytest.mark.slow
def test_what_is_killed_twenty_times_goes_on(folder, undisturbed, tmp_path, records):
    partly = survived(folder, undisturbed, tmp_path, records, 20)
    # It was in the middle of something, and not always in the same.
    assert len(partly) > 3


@pytest.mark.slow
def test_workers_end_with_a_command_that_is_killed_and_the_command_goes_on(folder, tmp_path, records):
    store, undisturbed = tmp_path / "killed.db", tmp_path / "undisturbed.db"
    options = ["--env", "Pendulum-v1", "--probes", "gradient,health", "--state-count", "4", "--workers", "2"]
    command = [sys.executable, "-m", "gradlab", "analyze", str(folder), *options, "--store", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def measured():
        assert process.poll() is None
        return store.exists() and any(one.probe != "checkpoint" for one in sound(store))

    soon(measured, 120.0)
    workers = children(process.pid)
    process.kill()
    process.wait()
    assert workers
    soon(lambda: not any(map(alive, workers)))
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "in the store already" in again.stdout
    probes.analyze(folder, undisturbed, **{**ASKED, "probes": ["gradient", "health"]})
    assert records(store) == records(undisturbed)
