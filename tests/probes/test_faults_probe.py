"""Whatever goes wrong in a probe is recorded with its traceback, and training is what it is without."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from short_training import STEPS, balanced, idle, train, unchanged

import probes
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


class Mean(probes.Probe):
    """Says what Q is; before that it does a deed, every time or, with a marker, once."""

    name = "mean"

    def __init__(self, deed="", *, every=40, states=8, marker=""):
        super().__init__(every=every, states=states)
        self.deed = deed
        self.marker = str(marker)

    def measure(self, agent, obs, generator):
        if self.deed and not (self.marker and Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            found = DEEDS[self.deed]()
            if found is not None:
                return found
        q = agent.q(obs, agent.action(obs)).detach().double()
        return Measurement({"q": Estimate(q.mean().item(), q.std().item(), q.numel())})


class Far(Mean):
    name = "far"
    background = True
    time_limit = 120.0


class Hasty(Far):
    name = "hasty"
    time_limit = 6.0


def bottomless():
    return bottomless()


def hang():
    while True:
        time.sleep(0.1)


def hoard():
    kept = []
    while True:
        kept.append(torch.ones(1 << 46))


def crash():
    import ctypes

    ctypes.string_at(0)


def fail():
    raise RuntimeError("not today\nnor tomorrow")


class MuteError(Exception):
    def __str__(self):
        raise ValueError


def say_nothing():
    raise MuteError


DEEDS = {
    "raise": fail,
    "recursion": bottomless,
    "memory": lambda: np.ones(1 << 46),
    "allocator": hoard,
    "mute": say_nothing,
    "leave": lambda: sys.exit(3),
    "none": lambda: 7,
    "hang": hang,
    "exit": lambda: os._exit(9),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash": crash,
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "unstorable": lambda: Measurement({"q": 1.0}),
    "nan": lambda: Measurement({"q": Estimate(float("nan"), 0.1, 4), "r": Estimate(float("inf"), 0.1, 4)}),
}
#: What is said, and what the traceback holds.
RAISED = {
    "raise": ("RuntimeError: not today", "in fail"),
    "recursion": ("RecursionError: maximum recursion depth", "in bottomless"),
    "memory": ("MemoryError: Unable to allocate", "np.ones"),
    "allocator": ("RuntimeError: ", "torch.ones(1 << 46)"),
    "mute": ("MuteError: no message that can be printed", "in say_nothing"),
    "leave": ("SystemExit: 3", "sys.exit(3)"),
    "none": ("returned int; return a Measurement", "attempt.py"),
    "unstorable": ("scalar 'q': is a float; give an Estimate", "writer.py"),
}


@pytest.mark.parametrize("deed", RAISED)
def test_a_probe_that_fails_is_recorded_with_its_traceback(tmp_path, deed):
    chosen = [Mean(deed), Calm()]
    found, monitor = train(lambda agent: probes.attach(agent, tmp_path / "a.db", probes=chosen, budget=None))
    monitor.close()
    unchanged(found)
    done = balanced(monitor, tmp_path / "a.db")
    failed = [one for one in done if one.status == "failed"]
    # A record that the store refuses is known only afterwards.
    assert len(failed) == (3 if deed != "unstorable" else 6)
    assert sum(one.status == "ok" for one in done) == STEPS // 40
    with open_store(tmp_path / "a.db", readonly=True) as store:
        for one in failed:
            assert RAISED[deed][0] in one.message
            assert "\n" not in one.message
            assert RAISED[deed][1] in store.traceback(one.id)
        assert {store.traceback(one.id) for one in done if one.status == "ok"} == {""}


class Calm(Mean):
    name = "calm"


def test_numbers_that_are_none_are_noted(tmp_path):
    found, monitor = train(lambda agent: probes.attach(agent, tmp_path / "a.db", probes=[Mean("nan")], budget=None))
    monitor.close()
    unchanged(found)
    done = balanced(monitor, tmp_path / "a.db")
    assert {(one.status, one.notes) for one in done} == {("ok", ("no finite number: q is nan, r is inf",))}


def test_a_sampler_that_fails_is_the_failure_of_what_was_due(tmp_path):
    calls = []

    def sampler(count, random):
        calls.append(count)
        torch.rand(3)
        if len(calls) == 2:
            raise RuntimeError("the buffer is being resized")
        return torch.zeros(count, 3)

    class Looking:
        """Steps without observations, so that the sampler is asked."""

        def __init__(self, monitor):
            self.monitor = monitor

        def step(self, step, obs):
            self.monitor.step(step)

    found, looking = train(
        lambda agent: Looking(probes.attach(agent, tmp_path / "a.db", probes=[Mean()], budget=None, sampler=sampler))
    )
    looking.monitor.close()
    unchanged(found)
    done = balanced(looking.monitor, tmp_path / "a.db")
    assert [one.status for one in done] == ["ok", "failed"] + ["ok"] * (STEPS // 40 - 2)
    assert done[1].message == "RuntimeError: the buffer is being resized"
    with open_store(tmp_path / "a.db", readonly=True) as store:
        assert "in sampler" in store.traceback(done[1].id)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deed", "kind", "message", "trace"),
    [
        ("exit", Far, "the background process ended (exit code 9)", ""),
        ("kill", Far, "the background process ended (killed by SIGKILL)", ""),
        ("crash", Far, "the background process ended (killed by SIGSEGV)", "in crash"),
        ("hang", Hasty, "took longer than 6 s; the background process has been ended", "in hang"),
        ("stop", Hasty, "took longer than 6 s; the background process has been ended", ""),
    ],
    ids=["exit", "kill", "crash", "hang", "stop"],
)
def test_a_worker_that_is_lost_is_recorded_and_replaced(tmp_path, deed, kind, message, trace):
    chosen = [kind(deed, every=80, marker=tmp_path / "done")]
    found, monitor = train(
        lambda agent: probes.attach(agent, tmp_path / "a.db", probes=chosen, budget=None),
        {0: idle, 81: idle, 161: idle},
    )
    monitor.close()
    unchanged(found)
    done = balanced(monitor, tmp_path / "a.db")
    assert [one.status for one in done] == ["failed", "ok", "ok"]
    assert done[0].message == message
    with open_store(tmp_path / "a.db", readonly=True) as store:
        assert trace in store.traceback(done[0].id)
    assert monitor._background.restarts == 1


@pytest.mark.slow
def test_failures_in_the_worker_are_recorded_there(tmp_path):
    chosen = [type(f"Far{deed}", (Far,), {"name": deed})(deed, every=10**6) for deed in (*RAISED, "nan")]
    found, monitor = train(
        lambda agent: probes.attach(agent, tmp_path / "a.db", probes=chosen, budget=None),
        dict.fromkeys(range(0, 200, 10), idle),
    )
    monitor.close()
    unchanged(found)
    done = {one.probe: one for one in balanced(monitor, tmp_path / "a.db")}
    with open_store(tmp_path / "a.db", readonly=True) as store:
        for deed, (message, trace) in RAISED.items():
            assert message in done[deed].message
            assert trace in store.traceback(done[deed].id)
    assert done["nan"].notes == ("no finite number: q is nan, r is inf",)
    assert monitor._background.restarts == 0
