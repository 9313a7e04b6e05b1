"""The background process: its results, its death, and the user's own classes."""

import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


class Quadratic(nn.Module):
    def forward(self, obs, act):
        return -(act - obs[:, :2]).square().sum(-1)


class Remote(probes.Probe):
    """Reports which process measured, and can be told to fail or to die."""

    name = "remote"
    background = True

    def __init__(self, *, every=1, states=4, deed=""):
        super().__init__(every=every, states=states)
        self.deed = deed

    def measure(self, agent, obs, generator):
        import os

        if self.deed == "raise":
            raise RuntimeError("not today")
        if self.deed == "die":
            os._exit(9)
        value = float(agent.q(obs, agent.action(obs)).detach().double().mean())
        return Measurement({"pid": Estimate(float(os.getpid()), 0.0, 1), "value": Estimate(value, 0.0, len(obs))})


@pytest.fixture
def agent():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return gradlab.Agent(nn.Linear(3, 2), [Quadratic()], action_low=[-1, -1], action_high=[1, 1])


def observations():
    return np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def until(monitor, done, seconds=60.0):
    deadline = time.monotonic() + seconds
    step = 0
    while not done(monitor.status):
        assert time.monotonic() < deadline, monitor.status
        monitor.step(step, obs=observations())
        time.sleep(0.05)
        step += 1


@pytest.mark.slow
def test_measures_elsewhere_and_writes_the_step_it_belongs_to(agent, tmp_path):
    import os

    monitor = probes.attach(agent, tmp_path / "a.db", probes=[Remote()], budget=None)
    until(monitor, lambda status: status.measured.get("remote", 0) >= 2)
    monitor.close()
    with open_store(tmp_path / "a.db", readonly=True) as store:
        done = [m for m in store.measurements() if m.status == "ok"]
        scalars = store.scalars()
        assert all(m.where == "background" for m in done)
        assert sorted({m.step for m in done}) == [m.step for m in done]
    pids = set(scalars.value[scalars.name == "pid"].tolist())
    assert len(pids) == 1
    assert pids != {float(os.getpid())}
    obs = torch.from_numpy(observations())
    expected = float(agent.q(obs, agent.action(obs)).mean().detach())
    assert scalars.value[scalars.name == "value"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_a_failure_elsewhere_is_recorded_here(agent, tmp_path):
    monitor = probes.attach(agent, tmp_path / "a.db", probes=[Remote(deed="raise")], budget=None)
    until(monitor, lambda status: "remote" in status.stopped)
    monitor.close()
    assert "not today" in monitor.status.stopped["remote"]


@pytest.mark.slow
def test_a_worker_that_dies_is_noticed_reported_and_not_restarted_for_ever(agent, tmp_path):
    monitor = probes.attach(agent, tmp_path / "a.db", probes=[Remote(deed="die")], budget=None)
    until(monitor, lambda status: "remote" in status.stopped)
    monitor.close()
    with open_store(tmp_path / "a.db", readonly=True) as store:
        failed = [m for m in store.measurements() if m.status == "failed"]
    assert len(failed) == 3
    assert "exit code 9" in failed[0].message


@pytest.mark.slow
def test_a_script_without_a_main_guard_runs_once_and_its_own_classes_travel(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time, torch, gradlab, probes
            from gradlab.estimate import Estimate
            from gradlab.measurement import Measurement
            from torch import nn

            print("started", flush=True)

            class Critic(nn.Module):
                def forward(self, obs, act):
                    return -(act - obs[:, :2]).square().sum(-1)

            class Far(probes.Probe):
                name = "far"
                background = True
                def measure(self, agent, obs, generator):
                    return Measurement({"q": Estimate(float(agent.q(obs, agent.action(obs)).mean()), 0.0, 4)})

            agent = gradlab.Agent(nn.Linear(3, 2), [Critic()], action_low=[-1, -1], action_high=[1, 1])
            monitor = probes.attach(agent, sys.argv[1], probes=[Far(every=1, states=4)], budget=None)
            deadline = time.monotonic() + 60
            step = 0
            while not monitor.status.measured and time.monotonic() < deadline:
                monitor.step(step, obs=torch.zeros(4, 3))
                step += 1
                time.sleep(0.05)
            monitor.close()
            print(monitor.status.measured)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "a.db")], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.count("started") == 1
    assert "{'far': " in done.stdout


@pytest.mark.slow
def test_a_worker_started_again_finds_the_store_after_a_change_of_directory(agent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monitor = probes.attach(agent, "a.db", probes=[Remote(every=1)], budget=None)
    until(monitor, lambda status: status.measured.get("remote", 0) >= 1)
    monkeypatch.chdir("/")
    monitor._background._process.kill()
    before = monitor.status.measured["remote"]
    until(monitor, lambda status: status.measured["remote"] > before + 1)
    monitor.close()
    assert monitor._background.restarts == 1


@pytest.mark.slow
def test_a_worker_makes_no_store_where_one_was_deleted(agent, tmp_path):
    monitor = probes.attach(agent, tmp_path / "a.db", probes=[Remote(every=1)], budget=None)
    for path in tmp_path.iterdir():
        path.unlink()
    until(monitor, lambda status: bool(monitor._background.gone) or status.measured)
    monitor.close()
    assert not (tmp_path / "a.db").exists()
