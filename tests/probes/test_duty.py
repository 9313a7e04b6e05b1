"""The share of the time that the background process may be busy."""

import time

import numpy as np
import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.measurement import Measurement
from gradlab.store import open_store
from probes.duty import CONTENTION, Duty, limit
from probes.probe import Probe


@pytest.mark.parametrize(("share", "seed"), [(0.2, 0), (0.33, 1), (0.6, 2)])
def test_whatever_they_cost_and_whenever_they_are_due_the_share_is_kept(share, seed):
    rng = np.random.default_rng(seed)
    prices = {"field": 0.5, "landscape": 2.0, "simulator": 60.0, "returns": 20.0}
    now = 0.0
    duty = Duty(share, len(prices), clock=lambda: now)
    busy, done = 0.0, dict.fromkeys(prices, 0)
    while now < 5_000.0:
        now += rng.exponential(0.5)
        name = str(rng.choice(list(prices)))
        if duty.allows(name):
            seconds = prices[name] * rng.uniform(0.5, 1.5)
            now, busy = now + seconds, busy + seconds
            duty.charge(name, seconds)
            done[name] += 1
        # One measurement of each has no price before.
        assert busy <= share * now + 1.5 * sum(prices.values())
    # Nobody is starved, and the share is used.
    assert busy > 0.8 * share * now
    assert all(done[name] * price > 0.05 * share * now for name, price in prices.items())


def test_without_a_limit_it_is_never_asked_to_rest():
    duty = Duty(limit(None, cores=2), 1, clock=lambda: 1.0)
    duty.charge("mine", 1e9)
    assert duty.allows("mine")


def test_the_limit_is_what_the_budget_and_the_cores_allow():
    assert limit(CONTENTION / 10, cores=2) == pytest.approx(0.1)
    assert limit(CONTENTION / 10, cores=5) == pytest.approx(0.4)
    # One core is shared whatever one does.
    assert limit(CONTENTION / 10, cores=1) == pytest.approx(0.1)


class Far(Probe):
    name = "far"
    background = True
    needs_observations = False

    def measure(self, agent, obs, generator):
        return Measurement()


class Bowl(nn.Module):
    def forward(self, obs, act):
        return -(act - obs[:, :2]).square().sum(-1)


@pytest.fixture
def agent():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return gradlab.Agent(nn.Linear(3, 2), [Bowl()], action_low=[-1, -1], action_high=[1, 1])


def test_a_monitor_lets_its_background_process_rest_and_says_so(agent, tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr("probes.monitor.Duty", lambda share, count: Duty(share, count, clock=lambda: now))
    monkeypatch.setattr("probes.monitor.cores", lambda: 2)
    monitor = probes.attach(agent, tmp_path / "run.db", probes=[Far(every=10, states=1)], budget=0.03)
    step = 0

    def go_on_until(done):
        nonlocal step
        while not done(monitor.status):
            step += 10
            monitor.step(step)
            time.sleep(0.01)

    go_on_until(lambda status: status.measured.get("far"))
    # It was busy for longer than a third of no time.
    skipped = monitor.status.skipped.get("far", 0)
    go_on_until(lambda status: status.skipped["far"] > skipped + 5)
    assert monitor.status.measured["far"] == 1
    assert monitor.status.in_flight == 0
    now = 1e6
    go_on_until(lambda status: status.measured["far"] > 1)
    monitor.close()
    with open_store(tmp_path / "run.db", readonly=True) as store:
        said = [one.message for one in store.measurements() if one.status == "skipped"]
    assert "the background process rests: the budget lets it be busy for 33% of the time" in said
