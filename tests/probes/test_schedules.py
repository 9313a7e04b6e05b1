"""Explicit schedules: periods, chosen steps, and functions that are asked."""

import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


class Critic(nn.Module):
    def forward(self, obs, act):
        return -(act - obs[:, :2]).square().sum(-1)


@pytest.fixture
def agent():
    return gradlab.Agent(nn.Linear(3, 2), [Critic()], action_low=[-1, -1], action_high=[1, 1])


class Mean(probes.Probe):
    name = "mean"

    def measure(self, agent, obs, generator):
        return Measurement({"obs": Estimate(obs.mean().item(), 0.0, len(obs))})


def measured_at(agent, tmp_path, every, steps):
    store = tmp_path / "run.db"
    with probes.attach(agent, store, probes=[Mean(every=every, states=4)], budget=None) as monitor:
        for step in steps:
            monitor.step(step, obs=torch.ones(4, 3))
    with open_store(store) as opened:
        rows = opened.measurements(probe="mean")
        assert {row.status for row in rows} <= {"ok"}
        return [row.step for row in rows], opened.runs()[0].config["probes"]["mean"]["every"]


def test_chosen_steps(agent, tmp_path):
    steps, said = measured_at(agent, tmp_path, [30, 0, 100], range(7, 200, 3))
    assert steps == [7, 31, 100]
    assert said == [30, 0, 100]


def test_a_function_is_asked_at_every_step(agent, tmp_path):
    asked = []

    def powers_of_two(step):
        asked.append(step)
        return step & (step - 1) == 0

    steps, said = measured_at(agent, tmp_path, powers_of_two, range(1, 100))
    assert steps == [1, 2, 4, 8, 16, 32, 64]
    assert asked == list(range(1, 100))
    assert said == "when test_a_function_is_asked_at_every_step.<locals>.powers_of_two says so"


def test_what_a_function_asked_for_and_was_not_measured_is_missed(agent, tmp_path):
    with probes.attach(agent, tmp_path / "run.db", probes=[Mean(every=lambda step: step in (2, 5, 9), states=4)]) as m:
        for step in range(12):
            m.step(step)  # without observations nothing can be measured
    # Two were overtaken by the next; the third waited until the end.
    assert m.status.skipped == {"mean": 3}
    assert m.status.measured == {}


def test_a_schedule_that_raises_stops_its_probe_alone(agent, tmp_path):
    other = Mean(every=2, states=4)
    other.name = "other"
    broken = Mean(every=lambda step: 1 // (3 - step), states=4)
    with probes.attach(agent, tmp_path / "run.db", probes=[broken, other], budget=None) as monitor:
        for step in range(6):
            monitor.step(step, obs=torch.ones(4, 3))
    assert "schedule raised ZeroDivisionError" in monitor.status.stopped["mean"]
    assert monitor.status.measured == {"other": 3, "mean": 1}
    assert monitor.status.failed == {"mean": 1}


@pytest.mark.parametrize("every", [0, -1, 2.5, "often", [], [1.5], [-1], None], ids=str)
def test_what_is_no_schedule_is_refused(every):
    with pytest.raises(GradlabError, match="probe mean: every"):
        Mean(every=every, states=4)
