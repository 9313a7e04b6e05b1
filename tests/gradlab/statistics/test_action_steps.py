"""Steps along the critic's gradient against the closed form of a linear-quadratic world."""

import pytest
import torch

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.references import SimulatorReference
from gradlab.statistics.action_steps import action_steps
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic

WORLD = LinearQuadratic(A=0.5, B=0.5, Q=1.0, R=1.0, gamma=0.9, K=-0.6)


@pytest.fixture(scope="module")
def reference():
    return SimulatorReference(lambda: LinearQuadraticEnvironment(WORLD, 2.0), horizon=200)


@pytest.fixture(scope="module")
def states(reference):
    return reference.simulator.visit(WORLD.agent(action_bound=2.0), 8, seed=0, episodes=4, max_steps=2)


def with_critic(change) -> Agent:
    agent = WORLD.agent(action_bound=2.0)
    critic = agent.critics[0]
    return Agent(agent.actor, [lambda obs, act: change(critic(obs, act), obs, act)], [-2.0], [2.0], discount=0.9)


def test_an_exact_critic_keeps_its_promise_at_every_length(reference, states):
    for step in action_steps(WORLD.agent(action_bound=2.0), states, reference):
        torch.testing.assert_close(step.per_state["predicted"], step.per_state["realised"], rtol=1e-6, atol=1e-9)
        # Far enough a step passes over the top, where nothing is promised any more.
        assert step.ratio.value == pytest.approx(1, abs=1e-6) or step.predicted.value <= 0
        assert step.predicted.samples == step.realised.samples == 4
    first = action_steps(WORLD.agent(action_bound=2.0), states, reference, [1e-4])[0]
    # To first order a step of length ℓ gains ℓ times the slope, in units of the box's diagonal.
    own = WORLD.agent(action_bound=2.0).action(states.obs).detach()
    slope = WORLD.action_gradient(states.obs, own).norm(dim=-1) * 4.0
    torch.testing.assert_close(first.per_state["realised"] / 1e-4, slope, rtol=0.01, atol=2e-3)


def test_a_critic_that_exaggerates_and_one_that_is_upside_down(reference, states):
    tripled = action_steps(with_critic(lambda q, obs, act: 3 * q), states, reference, [1e-4])[0]
    assert tripled.ratio.value == pytest.approx(1 / 3, abs=1e-6)
    assert tripled.worse.value == 0
    down = action_steps(with_critic(lambda q, obs, act: -q), states, reference, [1e-4])[0]
    assert down.predicted.value > 0 > down.realised.value
    assert down.worse.value == 1
    low, high = down.worse.interval()
    assert 0 < low < high <= 1


def test_a_constant_critic_advises_nothing_and_that_is_no_number(reference, states):
    step = action_steps(with_critic(lambda q, obs, act: 0 * q), states, reference, [0.1])[0]
    assert step.predicted.samples == step.worse.samples == 0
    assert bool(step.per_state["realised"].isnan().all())


@pytest.mark.parametrize("lengths", [[], [0.0], [0.1, 0.1], [0.2, 0.1], [float("inf")]])
def test_lengths_that_are_none_are_refused(lengths, reference, states):
    with pytest.raises(GradlabError, match="lengths"):
        action_steps(WORLD.agent(action_bound=2.0), states, reference, lengths)
