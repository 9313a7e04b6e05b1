"""Q-gradient fields over states against differences of Q in float64, point by point, and against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import gradient_field_over_states, state_plane
from gradlab.landscape.planes.over_states import angles

STATE = [0.3, -0.2, 0.9]


def slopes(agent, obs, act, critic, reduction=None, step=1e-6):
    """∇_a Q of one row by central differences of Q."""

    def value(at):
        return agent.q(obs[None], at[None], critic=critic, reduction=reduction).item()

    eye = step * torch.eye(len(act), dtype=act.dtype)
    return np.array([(value(act + e) - value(act - e)) / (2 * step) for e in eye])


@pytest.mark.parametrize("fixed", [None, [0.5, -1.2]])
def test_a_trajectory_has_the_gradient_of_every_step_and_what_changes_to_the_next(agent_of, fixed):
    agent = agent_of(2, "min")
    walk = torch.randn(12, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).cumsum(0) / 3
    walk[5] = walk[4]
    episodes = [0] * 8 + [3] * 4
    found = gradient_field_over_states(agent, walk, fixed, episodes=episodes, steps=range(100, 112))
    assert found.critic.values.tolist() == ["critic 1", "critic 2", "followed"]
    assert found.step.values.tolist() == list(range(100, 112))
    assert found.episode.values.tolist() == episodes
    for c, critic in enumerate([0, 1, None]):
        g, one = [], found.isel(critic=c)
        for t in range(12):
            act = agent.action(walk[t : t + 1])[0].detach()
            if fixed is not None:
                act = torch.tensor(fixed, dtype=torch.float64)
            g.append(slopes(agent, walk[t], act, critic))
            assert float(one.q[t]) == pytest.approx(
                agent.q(walk[t : t + 1], act[None], critic=critic).item(), abs=1e-12
            )
            np.testing.assert_allclose(found.action.values[t], act.numpy(), atol=1e-12)
            np.testing.assert_allclose(one.gradient.values[t], g[t], atol=1e-8)
            assert float(one.norm[t]) == pytest.approx(np.linalg.norm(g[t]), abs=1e-8)
        for t in range(12):
            if t in (7, 11):  # the ends of the episodes
                for name in ("angle", "change", "volatility"):
                    assert math.isnan(float(one[name][t]))
                continue
            change = np.linalg.norm(g[t + 1] - g[t])
            distance = float((walk[t + 1] - walk[t]).norm())
            assert float(one.change[t]) == pytest.approx(change, abs=1e-8)
            assert float(found.distance[t]) == pytest.approx(distance, abs=1e-12)
            cosine = g[t] @ g[t + 1] / np.linalg.norm(g[t]) / np.linalg.norm(g[t + 1])
            assert float(one.angle[t]) == pytest.approx(math.acos(np.clip(cosine, -1, 1)), abs=1e-6)
            if t == 4:  # the state did not change
                assert math.isnan(float(one.volatility[t]))
            else:
                assert float(one.volatility[t]) == pytest.approx(change / distance, rel=1e-6)


@pytest.mark.parametrize("fixed", [None, [0.5, -1.2]])
@pytest.mark.parametrize("across", ["coordinates", "directions"])
def test_a_plane_has_the_gradient_of_every_point(agent_of, fixed, across):
    agent = agent_of(2, "mean")
    pair = (2, 0) if across == "coordinates" else torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    plane = state_plane(STATE, pair, x=(-1.0, 1.0), y=(0.0, 0.5), resolution=4)
    found = gradient_field_over_states(agent, plane, fixed, critics=["followed", "min", 1])
    assert found.q.dims == ("critic", "y", "x")
    state = torch.tensor(STATE, dtype=torch.float64)
    for i, y in enumerate(found.y.values):
        for j, x in enumerate(found.x.values):
            obs = state.clone()
            if across == "coordinates":
                obs[2], obs[0] = x, y
            else:
                u, v = found.direction.values
                assert u == pytest.approx(np.array([1, 1, 0]) / 2**0.5)
                assert v == pytest.approx(np.array([-1, 1, 2]) / 6**0.5)
                obs = obs + torch.as_tensor(x * u + y * v)
            act = agent.action(obs[None])[0].detach()
            if fixed is not None:
                act = torch.tensor(fixed, dtype=torch.float64)
            np.testing.assert_allclose(found.action.values[i, j], act.numpy(), atol=1e-12)
            for c, asked in enumerate([(None, None), (None, "min"), (1, None)]):
                np.testing.assert_allclose(found.gradient.values[c, i, j], slopes(agent, obs, act, *asked), atol=1e-8)
    np.testing.assert_allclose(found.norm.values, np.linalg.norm(found.gradient.values, axis=-1), atol=1e-12)
    place = [STATE[2], STATE[0]] if across == "coordinates" else [0.0, 0.0]
    np.testing.assert_allclose(found.place.values, place, atol=1e-12)


def test_the_volatility_of_a_quadratic_is_its_mixed_partial():
    # Q = aᵀMs − |a|², so that ∇_a Q = Ms − 2a; with the actor a = Ks, ∂g/∂s = M − 2K.
    generator = torch.Generator().manual_seed(4)
    mixed = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    actor = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    nn.init.normal_(actor.weight, std=0.1, generator=generator)
    gain = actor.weight.detach()
    agent = Agent(
        actor, [lambda obs, act: (act * (obs @ mixed.T)).sum(-1) - act.square().sum(-1)], [-9.0, -9.0], [9.0, 9.0]
    )
    plane = state_plane(STATE, (0, 2), x=(-1.0, 1.0), y=(-2.0, 2.0), resolution=5)
    for act, jacobian in (([0.1, 0.2], mixed), (None, mixed - 2 * gain)):
        expected = float(jacobian[:, [0, 2]].norm())
        found = gradient_field_over_states(agent, plane, act)
        np.testing.assert_allclose(found.volatility.values, expected, rtol=1e-10)
        walk = torch.randn(6, 3, generator=generator, dtype=torch.float64)
        along = gradient_field_over_states(agent, walk, act)
        quotient = (walk.diff(dim=0) @ jacobian.T).norm(dim=-1) / walk.diff(dim=0).norm(dim=-1)
        np.testing.assert_allclose(along.volatility.values[0, :-1], quotient.numpy(), rtol=1e-10)


def test_a_plane_spans_what_was_seen():
    seen = torch.randn(4000, 3, generator=torch.Generator().manual_seed(6)) * torch.tensor([1.0, 10.0, 0.1])
    plane = state_plane(STATE, (1, 2), data=seen, y=(-5.0, 5.0))
    ends = np.quantile(seen[:, 1].double().numpy(), [0.01, 0.99])
    assert plane.x[[0, -1]].tolist() == pytest.approx(ends.tolist())
    assert plane.y[[0, -1]].tolist() == [-5.0, 5.0]
    assert plane.observations().shape == (41 * 41, 3)


def test_angles_keep_their_digits_near_zero_and_pi():
    turn = torch.tensor([1e-12, 1e-6, 0.5, math.pi / 2, math.pi - 1e-9, math.pi], dtype=torch.float64)
    one = torch.tensor([2.0, 0.0], dtype=torch.float64).expand(6, -1)
    two = 3 * torch.stack([turn.cos(), turn.sin()], -1)
    torch.testing.assert_close(angles(one, two), turn, rtol=1e-7, atol=1e-15)
    assert angles(one, torch.zeros_like(two)).isnan().all()


def test_numbers_are_in_the_models_dtype_and_nothing_is_touched():
    actor = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    critic = nn.Bilinear(3, 2, 1)
    agent = Agent(actor, [critic], [-1.0, -1.0], [1.0, 1.0])
    before = torch.random.get_rng_state()
    for states in (torch.zeros(5, 3), state_plane(STATE, x=(0, 1), y=(0, 1), resolution=3)):
        found = gradient_field_over_states(agent, states)
        assert {str(found[name].dtype) for name in ("q", "gradient", "norm", "volatility", "action")} == {"float32"}
        assert found.gradient.attrs["units"] == "return per action unit"
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(p.grad is None for module in (actor, critic) for p in module.parameters())


def test_wrong_input_is_refused_in_one_line(agent_of, obs):
    agent = agent_of(2)
    plane = state_plane(STATE, x=(0, 1), y=(0, 1), resolution=3)
    broken = Agent(nn.Linear(3, 1), [lambda obs, act: act[:, 0] * torch.nan], [-1.0], [1.0])
    for match, call in [
        ("observations", lambda: gradient_field_over_states(agent, obs[0])),
        ("act: shape", lambda: gradient_field_over_states(agent, obs, [0.0])),
        ("act: outside", lambda: gradient_field_over_states(agent, obs, [0.0, 7.0])),
        ("act: outside", lambda: gradient_field_over_states(agent, obs, [0.0, math.nan])),
        ("episodes", lambda: gradient_field_over_states(agent, obs, episodes=[0])),
        ("steps", lambda: gradient_field_over_states(agent, obs, steps=[0])),
        ("only a trajectory", lambda: gradient_field_over_states(agent, plane, steps=[0] * 9)),
        ("critics", lambda: gradient_field_over_states(agent, obs, critics=[])),
        ("NaN", lambda: gradient_field_over_states(broken, obs.float())),
        ("state", lambda: state_plane([1.0])),
        ("state", lambda: state_plane([1.0, math.nan])),
        ("plane", lambda: state_plane(STATE, (0, 3), x=(0, 1), y=(0, 1))),
        ("plane", lambda: state_plane(STATE, (1, 1), x=(0, 1), y=(0, 1))),
        ("plane", lambda: state_plane(STATE, "xy", x=(0, 1), y=(0, 1))),
        ("plane", lambda: state_plane(STATE, torch.ones(2, 2), x=(0, 1), y=(0, 1))),
        ("parallel", lambda: state_plane(STATE, torch.ones(2, 3), x=(0, 1), y=(0, 1))),
        ("x: no range", lambda: state_plane(STATE, y=(0, 1))),
        ("x: ", lambda: state_plane(STATE, x=(1, 0), y=(0, 1))),
        ("do not vary", lambda: state_plane(STATE, data=torch.zeros(9, 3))),
        ("data", lambda: state_plane(STATE, data=torch.zeros(9, 2))),
        ("resolution", lambda: state_plane(STATE, x=(0, 1), y=(0, 1), resolution=1)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
