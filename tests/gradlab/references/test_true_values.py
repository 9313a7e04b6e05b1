"""Several actions in one state under the same noise, and fewer rewards of the same rollouts."""

import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.references import SimulatorReference
from gradlab.references.rollouts.noise import policy_noise
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic

HORIZON = 6


def regulator(std, noise):
    return LinearQuadratic(0.9, 0.5, 1.0, 0.1, 0.95, 0.4, noise=noise, policy_std=std, horizon=HORIZON)


def asked(world, seeds=5):
    reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world), HORIZON, noise_seeds=seeds, seed=3)
    agent = world.agent()
    return reference, agent, reference.simulator.visit(agent, 4, seed=0, episodes=2, max_steps=5)


def test_each_of_several_actions_has_its_closed_form():
    world = regulator(0.0, 0.0)
    reference, agent, states = asked(world)
    actions = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4, 1)
    found = reference.values(agent, states, actions)
    torch.testing.assert_close(found.mean, world.q(states.obs, actions))
    assert found.mean.shape == (3, 4)
    assert found.draws.shape == (1, 3, 4)
    assert found.samples == 0
    first = reference.values(agent, states, actions, horizon=1)
    torch.testing.assert_close(first.mean, -(states.obs.squeeze(-1).square() + 0.1 * actions.squeeze(-1).square()))
    assert str(first.objective) == "γ=0.95, H=1"


@pytest.mark.parametrize(("std", "noise"), [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_actions_in_one_state_share_the_noise_of_every_seed(std, noise):
    reference, agent, states = asked(regulator(std, noise))
    actions = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4, 1)
    together = reference.values(agent, states, actions)
    assert together.draws.shape == (5, 3, 4)
    for k, act in enumerate(actions):
        alone = reference.values(agent, states, act)
        assert torch.equal(together.draws[:, k], alone.draws)
        assert torch.equal(together.stderr[k], alone.stderr)
    # The noise is common, so a difference of neighbouring actions is known far better than either value.
    near = reference.values(agent, states, torch.stack([actions[0], actions[0] + 1e-3]))
    difference = near.draws[:, 1] - near.draws[:, 0]
    assert bool((difference.std(0) < 0.01 * near.draws[:, 0].std(0)).all())


def test_fewer_rewards_are_those_of_the_same_rollouts():
    reference, agent, states = asked(regulator(0.3, 0.0))
    act = torch.ones(4, 1, dtype=torch.float64)
    found = reference.values(agent, states, act, horizon=2)
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(4))
    pilot = reference.simulator.pilot(agent)
    noise = policy_noise(pilot, 3, HORIZON, pairs[:, 1], pairs[:, 0]).unflatten(1, (5, 4)).transpose(0, 1)
    expected = reference.simulator.returns(agent, states, act.expand(5, 4, 1), horizon=2, noise=noise)
    assert torch.equal(found.draws, expected)


def test_wrong_input_is_one_line():
    reference, agent, states = asked(regulator(0.0, 0.0))
    act = torch.zeros(4, 1)
    for match, call in [
        ("horizon: 7; the rollouts are of 6", lambda: reference.values(agent, states, act, horizon=7)),
        ("horizon: 0", lambda: reference.values(agent, states, act, horizon=0)),
        ("only with actions", lambda: reference.values(agent, states, horizon=2)),
        (r"actions: shape \(3, 1\)", lambda: reference.values(agent, states, act[:3])),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
