"""Whatever happens to the processes, the store is whole, nobody hangs, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch
from short_training import STEPS, alive, balanced, children, idle, soon, sound, train, unchanged

import probes
from gradlab.store import open_store


class Stopped(probes.Probe):
    """Is stopped by the test in its first measurement, and carries more than a pipe holds."""

    name = "stopped"
    background = True

    def __init__(self, place, *, every=20):
        super().__init__(every=every, states=8)
        self.place = str(place)
        self._load = torch.zeros(1 << 20)

    def measure(self, agent, obs, generator):
        Path(self.place).write_text(str(os.getpid()))
        time.sleep(1000)


@pytest.mark.slow
def test_a_worker_that_stands_still_holds_up_neither_a_step_nor_the_end(tmp_path):
    place = tmp_path / "worker"
    before = {thread.name for thread in threading.enumerate()}

    def stop(monitor):
        soon(place.exists)
        os.kill(int(place.read_text()), signal.SIGSTOP)

    found, monitor = train(
        lambda agent: probes.attach(agent, tmp_path / "a.db", probes=[Stopped(place)], budget=None),
        {0: idle, 21: stop, 100: lambda monitor: setattr(monitor, "_wake_time", 0.0)},
    )
    monitor.close(wait=0.5)
    unchanged(found)
    done = balanced(monitor, tmp_path / "a.db")
    assert {one.status for one in done} == {"skipped"}
    assert "the run ended before it was measured" in {one.message for one in done}
    assert not alive(int(place.read_text()))
    assert {thread.name for thread in threading.enumerate()} <= before


def test_nothing_is_left_open(tmp_path):
    def run(name):
        found, monitor = train(
            lambda agent: probes.attach(agent, tmp_path / name, probes=[Stopped(tmp_path / "worker")], budget=None)
        )
        monitor.close(wait=0.0)
        unchanged(found)
        balanced(monitor, tmp_path / name)

    run("a.db")
    before = len(os.listdir("/proc/self/fd")), threading.active_count(), children(os.getpid())
    run("b.db")
    assert (len(os.listdir("/proc/self/fd")), threading.active_count(), children(os.getpid())) == before


SCRIPT = """
import os, sys, time, signal, multiprocessing, threading, logging
import probes, torch
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
import short_training
from short_training import train, idle, unchanged

class Here(probes.Probe):
    name = "here"
    def measure(self, agent, obs, generator):
        return Measurement({"q": Estimate(agent.q(obs, agent.action(obs)).mean().item(), 0.0, 4)})

class There(Here):
    name = "there"
    background = True

def begin(agent):
    chosen = [Here(every=5, states=8), There(every=5, states=8)]
    return probes.attach(agent, sys.argv[1], probes=chosen, budget=None)

def ready(monitor):
    idle(monitor)
    print("ready", flush=True)
"""


def start(tmp_path, body):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + textwrap.dedent(body))
    path = os.pathsep.join([str(Path(__file__).parent), *(entry for entry in sys.path if entry)])
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "a.db")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
    )


def finished(process):
    try:
        return process.communicate(timeout=300)
    finally:
        process.kill()


@pytest.mark.slow
def test_a_training_run_that_is_made_to_end_leaves_a_whole_store_and_nobody(tmp_path):
    process = start(
        tmp_path,
        """
        import random
        from short_training import children

        signals = [*["SIGKILL"] * 5, "SIGINT", "SIGTERM"]
        for number, name in enumerate(signals):
            said, say = os.pipe()
            child = os.fork()
            if child == 0:
                sys.argv[1] += str(number)
                step = dict.fromkeys(range(1, 10**5), lambda _: time.sleep(0.002))
                train(begin, {0: lambda monitor: (idle(monitor), os.write(say, b"!"))} | step, steps=10**5)
            os.read(said, 1)
            time.sleep(random.Random(number).uniform(0.0, 1.0))
            family = children(child)
            os.kill(child, getattr(signal, name))
            os.waitpid(child, 0)
            print(name, *family, flush=True)
        """,
    )
    said, errors = finished(process)
    ended = [line.split() for line in said.splitlines()]
    assert len(ended) == 7, errors
    for number, (name, *family) in enumerate(ended):
        assert len(family) == 1
        soon(lambda family=family: not any(alive(int(one)) for one in family))
        path = tmp_path / f"a.db{number}"
        inline = [one.step for one in sound(path) if one.where == "inline"]
        # What the last moments brought may be missing, and nothing else.
        assert inline == list(range(0, 5 * len(inline), 5))
        with open_store(path) as store:
            assert store.runs()[0].status == ("stopped" if name == "SIGINT" else "running")
    assert {part.name for part in tmp_path.iterdir()} == {"script.py", *(f"a.db{number}" for number in range(7))}


@pytest.mark.slow
def test_training_runs_in_daemonic_children_are_measured_and_closed(tmp_path):
    process = start(
        tmp_path,
        """
        kept = []

        def child(path):
            sys.argv[1] = path
            found, monitor = train(begin, {0: ready, 100: idle, 200: idle})
            unchanged(found)
            if "fork" in path:
                kept.append(monitor)  # at the end the other is held by nobody
            print("unchanged", flush=True)

        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                context = multiprocessing.get_context(method)
                process = context.Process(target=child, args=(f"{sys.argv[1]}-{method}",), daemon=True)
                process.start()
                process.join()
                print("left", process.exitcode, flush=True)
        """,
    )
    said, errors = finished(process)
    assert said == "ready\nunchanged\nleft 0\n" * 2, (said, errors)
    for method in ("fork", "spawn"):
        done = sound(tmp_path / f"a.db-{method}")
        assert sum(one.where == "inline" for one in done) == STEPS // 5
        far = {(one.status, one.message) for one in done if one.where == "background"}
        assert ("ok", "") in far, far
        with open_store(tmp_path / f"a.db-{method}", readonly=True) as store:
            assert store.runs()[0].status == "stopped"


@pytest.mark.slow
def test_a_forked_child_leaves_its_parents_run_alone(tmp_path):
    process = start(
        tmp_path,
        """
        import gc

        def child(monitor):
            monitor.step(10**6, obs=torch.zeros(8, 3))
            monitor.alive(10**6)
            monitor.close()
            gc.collect()

        def fork(monitor):
            number = os.fork()
            if number == 0:
                child(monitor)
                sys.exit(0)  # with all that the interpreter does at its end
            assert os.waitpid(number, 0)[1] == 0
            process = multiprocessing.get_context("fork").Process(target=child, args=(monitor,))
            process.start()
            process.join()
            assert process.exitcode == 0
            items = torch.utils.data.DataLoader(
                range(8), num_workers=2, multiprocessing_context="fork", generator=torch.Generator()
            )
            assert len(list(items)) == 8
            idle(monitor)

        found, monitor = train(begin, {0: ready, 100: fork, 150: idle, 200: idle})
        pid = monitor._background._process.pid
        unchanged(found)
        assert monitor._background.restarts == 0
        monitor.close()
        status = monitor.status
        assert status.balanced and status.failed == {} and status.stored == status.due, status
        assert status.step == 239
        print("done", status.due, flush=True)
        """,
    )
    said, errors = finished(process)
    assert said.startswith("ready\ndone "), errors
    assert len(sound(tmp_path / "a.db")) == int(said.split()[-1])
    with open_store(tmp_path / "a.db", readonly=True) as store:
        assert (store.runs()[0].status, store.runs()[0].step) == ("finished", STEPS - 1)


@pytest.mark.slow
def test_a_run_without_memory_goes_on(tmp_path):
    """With a real limit of the operating system on what the process may have."""
    process = start(
        tmp_path,
        """
        import resource
        import numpy as np

        class Glutton(Here):
            name = "glutton"
            def measure(self, agent, obs, generator):
                kept = []
                # Attaching measures once, when there is no limit yet.
                while resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
                    kept.append(np.ones(1 << 23))

        def short(agent):
            chosen = [Here(every=5, states=8), Glutton(every=40, states=8)]
            return probes.attach(agent, sys.argv[1], probes=chosen, budget=None)

        def limit(monitor):
            pages = int(open("/proc/self/statm").read().split()[0])
            most = pages * resource.getpagesize() + (1 << 28)
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

        found, monitor = train(short, {0: limit})
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        unchanged(found)
        monitor.close()
        assert monitor.status.balanced
        print(monitor.status.measured, monitor.status.failed, flush=True)
        """,
    )
    said, errors = finished(process)
    assert said == "{'here': 48} {'glutton': 3}\n", errors
    failed = [one for one in sound(tmp_path / "a.db") if one.status == "failed"]
    assert all("MemoryError" in one.message for one in failed)
