"""Slices of a landscape against evaluation point by point and differences of Q in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradlab
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import (
    Plane,
    coordinate_plane,
    curvature_plane,
    local_optima,
    optima_plane,
    random_plane,
    slice_plane,
)

CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"


def chosen(kind, agent, obs):
    if kind == "coordinates":
        return coordinate_plane(agent, obs, (1, 0))
    if kind == "optima":
        return optima_plane(agent, obs, local_optima(agent, obs, starts=4))
    return random_plane(agent, obs) if kind == "random" else curvature_plane(agent, obs)


def obvious(agent, obs, picture, critic, reduction, step=1e-6):
    """Every point by itself: Q, and slopes along both directions by central differences of Q."""
    shape = picture.q.shape[1:]
    q, slopes, norm = np.full(shape, np.nan), np.full((*shape, 2), np.nan), np.full(shape, np.nan)
    low, high = agent.action_low.numpy(), agent.action_high.numpy()

    def value(state, act):
        at = torch.as_tensor(act)[None]
        return agent.q(obs[state : state + 1], at, critic=critic, reduction=reduction).item()

    for s, i, j in np.ndindex(shape):
        origin, (u, v) = picture.origin.values[s], picture.direction.values[s]
        act = origin + picture.x.values[j] * u + picture.y.values[i] * v
        if (act < low - 1e-7).any() or (act > high + 1e-7).any():
            continue
        q[s, i, j] = value(s, act)
        slopes[s, i, j] = [(value(s, act + step * d) - value(s, act - step * d)) / (2 * step) for d in (u, v)]
        eye = np.eye(len(act))
        norm[s, i, j] = np.linalg.norm(
            [(value(s, act + step * e) - value(s, act - step * e)) / (2 * step) for e in eye]
        )
    return q, slopes, norm


@pytest.mark.parametrize("kind", ["coordinates", "optima", "random", "curvature"])
def test_a_slice_is_q_and_its_slopes_point_by_point(agent_of, obs, kind):
    agent = agent_of(4, "mean", critics=3)
    plane = chosen(kind, agent, obs)
    picture = slice_plane(agent, obs, plane, resolution=5, critics=[2, "followed", "min"])
    assert picture.critic.values.tolist() == ["critic 3", "followed", "min"]
    assert picture.q.dims == ("critic", "state", "y", "x")
    assert picture.gradient.dims == ("critic", "state", "y", "x", "component")
    for c, (critic, reduction) in enumerate([(2, None), (None, None), (None, "min")]):
        q, slopes, norm = obvious(agent, obs, picture, critic, reduction)
        np.testing.assert_array_equal(picture.inside.values, np.isfinite(q))
        np.testing.assert_allclose(picture.q.values[c], q, atol=1e-12)
        np.testing.assert_allclose(picture.gradient.values[c], slopes, atol=2e-8)
        np.testing.assert_allclose(picture.gradient_norm.values[c], norm, atol=2e-8)
    assert 0.1 < float(picture.inside.mean()) <= 1.0
    assert bool(picture.inside.all()) == (kind == "coordinates")


@pytest.mark.parametrize("name", ["td3_halfcheetah_50000", "td3_reacher_6000", "sac_reacher_3000"])
def test_a_slice_of_a_trained_piecewise_linear_critic(name):
    agent = gradlab.load(CHECKPOINTS / f"{name}.zip").snapshot(double=True)
    seen = torch.randn(2, agent.obs_size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    optima = local_optima(agent, seen, starts=8)
    for plane in (optima_plane(agent, seen, optima), curvature_plane(agent, seen, 0.1)):
        picture = slice_plane(agent, seen, plane, resolution=5, critics=["followed", "min"])
        for c, reduction in enumerate([None, "min"]):
            q, slopes, norm = obvious(agent, seen, picture, None, reduction, step=1e-7)
            np.testing.assert_allclose(picture.q.values[c], q, rtol=1e-12)
            # No point of these grids is within a step of a kink, where differences would mix both sides.
            np.testing.assert_allclose(picture.gradient.values[c], slopes, atol=1e-5)
            np.testing.assert_allclose(picture.gradient_norm.values[c], norm, atol=1e-5)


def test_the_spread_is_the_standard_deviation_over_the_critics(agent_of, obs):
    agent = agent_of(3, "min", critics=4)
    picture = slice_plane(agent, obs, random_plane(agent, obs), resolution=5)
    assert picture.critic.values.tolist() == ["critic 1", "critic 2", "critic 3", "critic 4", "followed"]
    np.testing.assert_allclose(picture.spread.values, picture.q.values[:4].std(0, ddof=1), atol=1e-12)
    np.testing.assert_allclose(picture.q.sel(critic="followed").values, picture.q.values[:4].min(0), atol=0)
    assert "spread" not in slice_plane(agent, obs, resolution=3, critics=[1, "min"])
    first = slice_plane(agent_of(3), obs, resolution=3)
    assert first.critic.values.tolist() == ["critic 1", "critic 2", "min"]


def test_marks_lie_where_the_points_are(agent_of, obs):
    agent = agent_of(4)
    optima = local_optima(agent, obs, starts=16)
    plane = optima_plane(agent, obs, optima)
    picture = slice_plane(agent, obs, optima, resolution=41)
    assert picture.attrs["plane"] == "through actor, best and second best optimum"
    assert picture.x.attrs["long_name"] == "towards the best optimum"
    assert picture.mark_distance.values == pytest.approx(0.0, abs=1e-12)
    assert picture.mark_place.sel(mark="actor").values == pytest.approx(0.0, abs=1e-12)
    for s in range(3):
        x, y = picture.mark_place.sel(mark="best optimum").values[s]
        act = plane.origin[s] + x * plane.directions[s, 0] + y * plane.directions[s, 1]
        torch.testing.assert_close(act, optima.actions[s][0])
        # The best optimum is the highest the slice comes near.
        assert float(picture.q.sel(critic="critic 1").isel(state=s).max()) <= float(optima.best_value[s]) + 1e-6


def test_a_coordinate_plane_covers_the_box_in_the_actions_own_units(agent_of, obs):
    picture = slice_plane(agent_of(3), obs, (2, 0), resolution=4)
    assert picture.x.values.tolist() == pytest.approx([-2.0, -2 / 3, 2 / 3, 2.0])
    assert picture.y.values.tolist() == pytest.approx([-1.0, 0.0, 1.0, 2.0])
    actor = agent_of(3).action(obs).detach().numpy()
    np.testing.assert_allclose(picture.mark_place.sel(mark="actor").values, actor[:, [2, 0]], atol=1e-12)
    assert picture.x.attrs == {"units": "critic's action units", "long_name": "action 3"}


@pytest.mark.parametrize("kind", ["coordinates", "optima", "random", "curvature"])
def test_one_action_gives_a_line_over_the_box(agent_of, obs, kind):
    agent = agent_of(1)
    picture = slice_plane(agent, obs, (0, 1) if kind == "coordinates" else chosen(kind, agent, obs), resolution=7)
    assert picture.q.dims == ("critic", "state", "x")
    assert "y" not in picture.coords
    assert picture.x.values == pytest.approx(np.linspace(-1, 2, 7))
    x = torch.linspace(-1, 2, 7, dtype=torch.float64)[:, None, None].expand(-1, 3, -1)
    np.testing.assert_allclose(picture.q.values[1].T, agent.q(obs, x, critic=1).detach().numpy(), atol=1e-12)
    slopes = agent.action_gradient(obs, x, critic=1)[..., 0].numpy()
    np.testing.assert_allclose(picture.gradient.values[1, ..., 0].T, slopes, atol=1e-12)


def test_seventeen_actions_of_a_saturated_actor():
    class Corner(nn.Module):
        def forward(self, obs):
            return torch.ones(len(obs), 17)

    agent = Agent(Corner(), [lambda obs, act: -(act - 0.3).square().sum(-1)], [-1.0] * 17, [1.0] * 17)
    obs = torch.zeros(4, 2)
    for plane in (
        random_plane(agent, obs),
        curvature_plane(agent, obs),
        optima_plane(agent, obs, local_optima(agent, obs, starts=4)),
    ):
        picture = slice_plane(agent, obs, plane)
        assert picture.q.dtype == np.float32
        assert float(picture.inside.mean(("x", "y")).min()) > 0.01
        assert np.isfinite(picture.q.values[0][picture.inside.values]).all()


def test_a_window_replaces_the_box(agent_of, obs):
    picture = slice_plane(agent_of(2), obs, window=[(-0.5, 0.5), (1.0, 3.0)], resolution=5, gradient=False)
    assert picture.x.values.tolist() == [-0.5, -0.25, 0.0, 0.25, 0.5]
    assert picture.inside.values[0, :, 0].tolist() == [True, True, True, False, False]
    assert "gradient" not in picture


def test_critics_never_see_an_action_outside_the_box():
    seen = []

    class Watching(nn.Module):
        def forward(self, obs, act):
            seen.append(act.detach())
            return -act.square().sum(-1)

    agent = Agent(nn.Linear(2, 3), [Watching()], [-0.1] * 3, [0.7] * 3)
    obs = torch.zeros(5, 2)
    picture = slice_plane(agent, obs, random_plane(agent, obs), resolution=21)
    act = torch.cat(seen)
    assert bool(((act >= agent.action_low) & (act <= agent.action_high)).all())
    assert len(act) == int(picture.inside.sum())


def test_a_slice_leaves_the_agent_as_it_was(agent_of, obs):
    agent = agent_of(3)
    before = torch.random.get_rng_state()
    for kind in ("coordinates", "optima", "random", "curvature"):
        slice_plane(agent, obs, chosen(kind, agent, obs), resolution=3)
    assert torch.equal(before, torch.random.get_rng_state())
    modules = (agent.actor, *agent.critics)
    assert all(p.grad is None and p.requires_grad for module in modules for p in module.parameters())


def test_nan_somewhere_is_shown_and_nan_everywhere_refused():
    agent = Agent(nn.Linear(1, 2), [lambda obs, act: act.sum(-1).sqrt()], [-1.0] * 2, [1.0] * 2)
    picture = slice_plane(agent, torch.zeros(1, 1), resolution=3)
    assert int(picture.q.isnull().sum()) == 3
    broken = Agent(nn.Linear(1, 2), [lambda obs, act: act.sum(-1) * torch.nan], [-1.0] * 2, [1.0] * 2)
    with pytest.raises(GradlabError, match="NaN"):
        slice_plane(broken, torch.zeros(1, 1), resolution=3)


def test_wrong_input_is_refused_in_one_line(agent_of, obs):
    agent = agent_of(3)
    flat = torch.eye(3, dtype=torch.float64)[:2].expand(3, -1, -1)
    outside = torch.tensor([0.0, 0.0, 9.0], dtype=torch.float64).expand(3, -1)
    inside = torch.zeros(3, 3, dtype=torch.float64)
    for match, call in [
        ("plane", lambda: slice_plane(agent, obs, (0, 3))),
        ("plane", lambda: slice_plane(agent, obs, "optima")),
        ("resolution", lambda: slice_plane(agent, obs, resolution=1)),
        ("resolution", lambda: slice_plane(agent, obs, resolution=2.5)),
        ("gradient", lambda: slice_plane(agent, obs, gradient="no")),
        ("window", lambda: slice_plane(agent, obs, window=[(0, 1)])),
        ("window", lambda: slice_plane(agent, obs, window=[(0, 1), (1, 1)])),
        ("window", lambda: slice_plane(agent, obs, window="box")),
        ("no point", lambda: slice_plane(agent, obs, window=[(7, 8), (7, 8)])),
        ("orthonormal", lambda: slice_plane(agent, obs, Plane(inside, 2 * flat))),
        ("orthonormal", lambda: slice_plane(agent, obs, Plane(inside, flat * torch.nan))),
        ("misses", lambda: slice_plane(agent, obs, Plane(outside, flat))),
        ("origin", lambda: slice_plane(agent, obs, Plane(inside * torch.nan, flat))),
        ("expected", lambda: slice_plane(agent, obs, Plane(inside[:1], flat))),
        ("mark", lambda: slice_plane(agent, obs, Plane(inside, flat, marks={"here": inside[0]}))),
        ("critic: 9", lambda: slice_plane(agent, obs, critics=[9])),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
