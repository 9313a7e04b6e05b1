"""What attach is given and cannot use: one line that says what was wrong, before a run is begun."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.errors import GradlabError


class Critic(nn.Module):
    def forward(self, obs, act):
        return -(act - obs[:, :2]).square().sum(-1)


def made():
    return gradlab.Agent(nn.Linear(3, 2), [Critic()], action_low=[-1, -1], action_high=[1, 1])


def draw(count, generator):
    return generator.normal(size=(count, 3))


def gradient():
    return probes.Gradient(every=1, states=8, draws=4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"probes": None}, "probes: None; give a list of probes"),
        ({"probes": 3}, "probes: 3; give a list of probes"),
        ({"probes": probes.Gradient()}, "give a list of probes, or one of light, standard, full"),
        ({"budget": "a"}, "budget is 'a'; give a share"),
        ({"budget": [0.1]}, "budget is [0.1]; give a share"),
        ({"budget": True}, "budget is True; give a share"),
        ({"budget": float("nan")}, "budget is nan; give a share"),
        ({"seed": -1}, "seed: -1; give a whole number from 0"),
        ({"seed": "a"}, "seed: 'a'; give a whole number"),
        ({"environment": None}, "environment: None; give its gymnasium identifier"),
        ({"environment": 3}, "environment: 3; give its gymnasium identifier"),
        ({"sampler": 3}, "sampler: 3; give a function, or None"),
        ({"clock": 3}, "clock: 3; give a function, or None"),
        ({"store": None}, "store: None; give a path"),
        ({"store": 3}, "store: 3; give a path"),
        ({"store": b"a.db"}, "store: b'a.db'; give a path"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else next(iter(value)),
)
def test_an_argument_of_another_kind_is_refused_in_one_line(tmp_path, given, message):
    arguments = {"store": tmp_path / "a.db", "probes": [gradient()]} | given
    with pytest.raises(GradlabError, match=re.escape(message)) as found:
        probes.attach(made(), **arguments)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize("every", [torch.tensor(5), np.array(5), np.int64(5)], ids=["torch", "numpy", "scalar"])
def test_a_period_of_another_library_is_a_number(every):
    assert probes.Gradient(every=every).config()["every"] == 5


def test_the_optimizer_of_another_network_is_named(tmp_path, caplog):
    agent = made()
    other = torch.optim.SGD(nn.Linear(1, 1).parameters())
    probes.attach(agent, tmp_path / "a.db", probes=[gradient()], optimizer=other, sampler=draw).close()
    assert "steps none of the actor's parameters" in caplog.text


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_the_actors_optimizer_is_not(tmp_path, caplog, compiled):
    actor = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(actor.parameters())
    given = torch.compile(actor, backend="eager") if compiled else actor
    agent = gradlab.Agent(given, [Critic()], action_low=[-1, -1], action_high=[1, 1])
    probes.attach(agent, tmp_path / "a.db", probes=[gradient()], optimizer=optimizer, sampler=draw).close()
    assert "steps none" not in caplog.text


def test_an_optimizer_without_a_sampler_leaves_out_what_needs_observations(tmp_path, caplog):
    agent = made()
    optimizer = torch.optim.SGD(agent.actor.parameters())
    with probes.attach(agent, tmp_path / "a.db", probes=[gradient()], optimizer=optimizer) as monitor:
        assert "pass sampler=" in monitor.left_out["gradient"]
    assert "nothing will be measured" in caplog.text


@pytest.mark.parametrize("path", [None, 3, b"a.zip", torch.zeros(2)], ids=["none", "number", "bytes", "tensor"])
def test_a_checkpoint_that_is_no_path_is_refused(path):
    with pytest.raises(GradlabError, match="give the path of a file"):
        gradlab.load(path)


@pytest.mark.parametrize("step", [None, "a", [1], float("nan"), float("inf"), -3, 2.5], ids=str)
def test_a_step_that_is_none_is_said_once_and_passed_over(tmp_path, caplog, step):
    obs = torch.randn(8, 3)
    with probes.attach(made(), tmp_path / "run.db", probes=[probes.Gradient(every=10, states=8, draws=4)]) as monitor:
        for _ in range(3):
            monitor.step(step, obs=obs)
            monitor.alive(step)
        assert monitor.status.measured == {}
        monitor.step(5, obs=obs)
        monitor.step(step, obs=obs)
    assert monitor.status.measured == {"gradient": 1}
    assert monitor.status.step == 5
    assert caplog.text.count("is no number of steps so far") == 1


def test_a_clock_that_goes_back_is_said_once(tmp_path, caplog):
    with probes.attach(made(), tmp_path / "run.db", probes=[probes.Gradient(every=10, states=8, draws=4)]) as monitor:
        for step in (100, 0, 1, 2, 0):
            monitor.step(step, obs=torch.randn(8, 3))
    assert caplog.text.count("training went back from step 100 to 0") == 1
    assert monitor.status.measured == {"gradient": 1}


def test_an_end_that_is_none_is_refused_and_can_be_said_again(tmp_path):
    monitor = probes.attach(made(), tmp_path / "run.db", probes=[probes.Gradient()])
    with pytest.raises(GradlabError, match="close: status 'bogus'; give 'finished', 'stopped' or 'failed'"):
        monitor.close("bogus")
    assert not monitor.closed
    monitor.close()


def test_a_function_that_cannot_give_the_agent_is_told_in_a_line(tmp_path):
    with pytest.raises(GradlabError, match="the function that gives the agent raised ZeroDivisionError"):
        probes.attach(lambda: 1 / 0, tmp_path / "run.db")
