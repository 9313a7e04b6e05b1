"""Real jobs and real watches, ended in every way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradlab.store import open_store

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
STEPS = (1000, 3000, 8000, 12000)

#: A job that writes every checkpoint in small pieces, and one name again and again.
COPIER = """
import sys, time
from pathlib import Path

source, target, *steps = sys.argv[1:]
for step in steps:
    data = Path(source, f"td3_pendulum_{step}.zip").read_bytes()
    other = Path(source, f"td3_silu_pendulum_{step}.zip").read_bytes()
    for name, bytes_ in ((f"model_{step}.zip", data), ("last/last.zip", other)):
        with Path(target, name).open("wb") as file:
            for start in range(0, len(bytes_), 40_000):
                file.write(bytes_[start : start + 40_000])
                file.flush()
                time.sleep(0.02)
    time.sleep(2.0)
"""

#: A training run that knows nothing of gradlab.
TRAINING = """
import sys
import gymnasium
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.monitor import Monitor

folder = sys.argv[1]
env = Monitor(gymnasium.make("Pendulum-v1"), f"{folder}/monitor.csv")
model = TD3("MlpPolicy", env, learning_starts=50, policy_kwargs={"net_arch": [32, 32]}, seed=0, device="cpu")
model.learn(600, callback=CheckpointCallback(200, f"{folder}/checkpoints"))
model.save(f"{folder}/last")
"""


def start(script, *arguments):
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)])


def watching(folder, store, *options):
    settings = ("--probes", "gradient,landscape", "--states", "8", "--poll", "0.2", "--store", store)
    command = [sys.executable, "-m", "gradlab", "watch", folder, *settings, *options]
    with log_of(store).open("w") as log:
        return subprocess.Popen([*map(str, command)], stdout=log, stderr=subprocess.STDOUT)


def log_of(store):
    return store.with_suffix(".log")


def end_of(process, store):
    """The exit code and what was printed."""
    return process.wait(timeout=120), log_of(store).read_text()


def finished(store):
    """Checkpoints recorded so far."""
    if not store.exists():
        return 0
    with open_store(store, readonly=True) as opened:
        return len(opened.measurements(probe="checkpoint"))


def wait_for(condition, store, process, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, log_of(store).read_text()
        assert time.monotonic() < end, log_of(store).read_text()
        time.sleep(0.02)


@pytest.mark.slow
def test_a_watch_that_is_killed_again_and_again_loses_and_doubles_nothing(tmp_path, records):
    job, store = tmp_path / "job", tmp_path / "killed.db"
    (job / "last").mkdir(parents=True)
    writer = start(COPIER, CHECKPOINTS, job, *STEPS)
    env = ("--env", "Pendulum-v1")
    for count, number, left in (
        (1, signal.SIGKILL, "running"),
        (3, signal.SIGKILL, "running"),
        (4, signal.SIGTERM, "stopped"),
    ):
        process = watching(job, store, *env)
        # All may have been recorded before: what it says first tells that it listens and has taken its runs up.
        begun = "Live:" if count == 1 else "in the store already"
        wait_for(lambda c=count, b=begun: finished(store) >= c and b in log_of(store).read_text(), store, process)
        time.sleep(0.5)
        time.sleep(0.1 * count)
        process.send_signal(number)
        code, printed = end_of(process, store)
        assert code == (-9 if number == signal.SIGKILL else 130), printed
        with open_store(store, readonly=True) as opened:
            assert {run.status for run in opened.runs()} == {left}
    assert writer.wait() == 0
    code, printed = end_of(watching(job, store, *env, "--once"), store)
    assert code == 0, printed
    found = [record for record in records(store) if record[0].startswith("job TD3")]
    assert sorted(step for _, step, probe, *_ in found if probe == "checkpoint") == list(STEPS)
    undisturbed = tmp_path / "undisturbed.db"
    code, printed = end_of(watching(job, undisturbed, *env, "--once"), undisturbed)
    assert code == 0, printed
    assert [record for record in records(undisturbed) if record[0].startswith("job TD3")] == found
    # What was written over before it was its turn is gone; every version measured was measured once.
    last = [step for name, step, probe, *_ in records(store) if name.startswith("job/last") and probe == "checkpoint"]
    assert len(last) == len(set(last))
    assert STEPS[-1] in last


@pytest.mark.slow
def test_a_training_run_is_watched_until_the_watch_is_ended(tmp_path):
    job, store = tmp_path / "logs", tmp_path / "watched.db"
    process = watching(job, store)
    wait_for(lambda: "there is no directory" in log_of(store).read_text(), store, process)
    job.mkdir()
    assert start(TRAINING, job).wait() == 0
    wait_for(lambda: finished(store) == 4, store, process)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    with open_store(store, readonly=True) as opened:
        assert {run.status for run in opened.runs()} == {"running"}
    process.send_signal(signal.SIGINT)
    code, printed = end_of(process, store)
    assert code == 130, printed
    assert "Traceback" not in printed
    for words in ("checkpoints/rl_model_200_steps.zip: TD3 on Pendulum-v1, step 200: ", "last.zip: ", "goes on from"):
        assert words in printed, printed
    with open_store(store, readonly=True) as opened:
        runs = {run.name: run for run in opened.runs()}
        steps = {
            name: [m.step for m in opened.measurements(run=run.id, probe="gradient")] for name, run in runs.items()
        }
    assert {run.status for run in runs.values()} == {"stopped"}
    assert {run.environment for run in runs.values()} == {"Pendulum-v1"}
    assert steps == {"logs/checkpoints": [200, 400, 600], "logs": [600]}


def test_files_that_cannot_be_measured_are_a_line_each_and_the_exit_code_says_so(tmp_path):
    job, store = tmp_path / "job", tmp_path / "watched.db"
    job.mkdir()
    shutil.copy(CHECKPOINTS / "td3_pendulum_1000.zip", job)
    shutil.copy(CHECKPOINTS / "td3_reacher_1000.zip", job)
    (job / "cut.zip").write_bytes((CHECKPOINTS / "td3_pendulum_2000.zip").read_bytes()[:100_000])
    code, printed = end_of(watching(job, store, "--env", "Pendulum-v1", "--once"), store)
    assert code == 1, printed
    lines = printed.splitlines()
    assert sum(line.startswith("cut.zip: not a zip file, or cut short") for line in lines) == 1, printed
    assert sum(line.startswith("td3_reacher_1000.zip: environment Pendulum-v1: ") for line in lines) == 1, printed
    assert sum(line.startswith("td3_pendulum_1000.zip: TD3 on Pendulum-v1, step 1,000: ") for line in lines) == 1
    assert "1 measured" in lines[-1]
    assert "2 not measured" in lines[-1]
    assert finished(store) == 1
