"""Probes that act in an environment of their own, against the library and against what must be so."""

import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.errors import GradlabError
from gradlab.references import SimulatorReference
from probes.smoothness import NUMBERS


class Critic(nn.Module):
    """Prefers small torques, whatever the state; and is wrong about values by far."""

    def forward(self, obs, act):
        return 100 - act.square().sum(-1)


@pytest.fixture(scope="module")
def agent():
    actor = nn.Sequential(nn.Linear(3, 1), nn.Tanh())
    nn.init.normal_(actor[0].weight, std=0.5, generator=torch.Generator().manual_seed(0))
    nn.init.constant_(actor[0].bias, 0.3)
    return gradlab.Agent(actor, [Critic()], action_low=[-2.0], action_high=[2.0], discount=0.9)


def generator():
    return torch.Generator().manual_seed(3)


@pytest.fixture(scope="module")
def returns(agent):
    return probes.Returns("Pendulum-v1", states=12, horizon=10).measure(agent, None, generator())


def test_values_are_those_of_long_returns_and_a_bias_is_seen(agent, returns):
    table = returns.arrays["value"]
    assert table.attrs["horizon"] == 38
    true = table.sel(part="true").values
    seed = int(torch.randint(2**31, (1,), generator=generator()))
    reference = SimulatorReference("Pendulum-v1", horizon=38)
    states = reference.simulator.visit(agent, 12, seed=seed, episodes=12)
    torch.testing.assert_close(torch.as_tensor(true), reference.values(agent, states).mean)
    # Rewards of a pendulum are never positive; this critic says about 100.
    bias = returns.scalars["value/bias"]
    assert bias.interval()[0] > 90
    assert "H=38" in bias.objective
    assert any("0.018 of a task's weight" in note for note in returns.notes)


def test_steps_promise_by_the_critic_and_gain_by_the_simulator(returns):
    table = returns.arrays["steps"]
    assert table.dims == ("length", "state", "part")
    assert table["length"].values.tolist() == [0.01, 0.03, 0.1, 0.3]
    assert returns.scalars["step/0.01/predicted"].value > 0
    for name, one in returns.scalars.items():
        low, high = one.interval()
        assert not low > one.value, name
        assert not high < one.value, name
    low, high = returns.scalars["step/0.3/worse"].interval()
    assert 0 <= low <= high <= 1


def test_flips_and_the_bound_are_those_of_the_report(agent):
    found = probes.Smoothness("Pendulum-v1", states=24, episodes=8, steps=24).measure(agent, None, generator())
    assert set(found.scalars) <= set(NUMBERS)
    # This critic does not depend on the state: M is zero, and whatever the actor does violates that bound.
    assert found.scalars["free_ratio"].value == pytest.approx(0, abs=1e-6)
    assert found.scalars["violated_share"].value == 1
    table = found.arrays["states"]
    assert table.sizes == {"state": 24, "part": 3}
    assert set(table["part"].values) == {"bound", "actor", "observed"}
    assert 0 <= found.scalars["flip_rate"].value <= 1


@pytest.mark.parametrize("probe", [probes.Returns, probes.Smoothness])
def test_what_they_cannot_measure_is_said_beforehand(agent, probe):
    assert probe("Pendulum-v1").refusal(agent) is None
    assert "gymnasium identifier" in probe("").refusal(agent)
    assert "no critic" in probe("Pendulum-v1").refusal(gradlab.Agent(agent.actor, [], [-2.0], [2.0]))


def test_settings_out_of_range_are_refused():
    with pytest.raises(GradlabError, match="horizon"):
        probes.Returns("Pendulum-v1", horizon=1)
    with pytest.raises(GradlabError, match="steps"):
        probes.Smoothness("Pendulum-v1", steps=3)
