"""Slices, fields and ascent paths against direct evaluation."""

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import ascent_path, field


class Critic(nn.Module):
    def __init__(self, seed, size):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(size, 3, generator=generator, dtype=torch.float64))

    def forward(self, obs, act):
        return (3 * act @ self.weight + obs).sin().sum(-1, keepdim=True)


def agent_of(size, reduction="first", critics=2):
    actor = nn.Sequential(nn.Linear(3, size, dtype=torch.float64), nn.Tanh())
    generator = torch.Generator().manual_seed(0)
    nn.init.normal_(actor[0].weight, generator=generator)
    nn.init.zeros_(actor[0].bias)
    low = [-1.0 - 0.5 * i for i in range(size)]
    return Agent(actor, [Critic(i, size) for i in range(critics)], low, [2.0] * size, reduction=reduction)


OBS = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("reduction", ["first", "min", "mean"])
def test_a_field_is_q_and_its_gradient_point_by_point(reduction):
    agent = agent_of(3, reduction)
    picture = field(agent, OBS, plane=(2, 0), resolution=4, arrows=3)
    labels = ["critic 1", "critic 2"] + ([] if reduction == "first" else ["followed"])
    assert picture.critic.values.tolist() == labels
    assert picture.q.dims == ("critic", "state", "y", "x")
    assert picture.gradient.dims == ("critic", "state", "arrow_y", "arrow_x", "component")
    assert picture.attrs["plane"] == [2, 0]
    assert (float(picture.x[0]), float(picture.y[0]), float(picture.arrow_x[-1])) == (-2.0, -1.0, 2.0)
    actor = agent.action(OBS).detach()
    np.testing.assert_allclose(picture.actor.values, actor.numpy())
    for c, label in enumerate(labels):
        critic = None if label == "followed" else c
        for s in range(3):
            for i, y in enumerate(picture.y.values):
                for j, x in enumerate(picture.x.values):
                    act = actor[s : s + 1].clone()
                    act[0, 2], act[0, 0] = x, y
                    expected = agent.q(OBS[s : s + 1], act, critic=critic).item()
                    assert float(picture.q[c, s, i, j]) == pytest.approx(expected, abs=1e-12)
            for i, y in enumerate(picture.arrow_y.values):
                for j, x in enumerate(picture.arrow_x.values):
                    act = actor[s : s + 1].clone()
                    act[0, 2], act[0, 0] = x, y
                    slope = agent.action_gradient(OBS[s : s + 1], act, critic=critic)[0]
                    assert picture.gradient[c, s, i, j].values == pytest.approx(slope[[2, 0]].tolist(), abs=1e-12)


def test_one_action_gives_a_line():
    picture = field(agent_of(1), OBS, resolution=7, arrows=5, critics=[1])
    assert picture.q.dims == ("critic", "state", "x")
    assert picture.gradient.dims == ("critic", "state", "arrow_x", "component")
    assert picture.gradient.shape == (1, 3, 5, 1)
    assert "y" not in picture.coords
    assert picture.critic.values.tolist() == ["critic 2"]


def test_fields_do_not_touch_gradients():
    agent = agent_of(2)
    field(agent, OBS)
    ascent_path(agent, OBS)
    assert all(p.grad is None for module in (agent.actor, *agent.critics) for p in module.parameters())


def test_an_ascent_path_climbs_inside_the_box_from_where_it_is_told():
    agent = agent_of(2)
    path = ascent_path(agent, OBS, steps=40)
    assert path.shape == (40, 3, 2)
    torch.testing.assert_close(path[0], agent.action(OBS).detach())
    heights = agent.q(OBS, path).detach()
    assert bool((heights[1:] >= heights[:-1]).all())
    assert bool(((path >= agent.action_low) & (path <= agent.action_high)).all())
    slope = agent.action_gradient(OBS, path[-1])
    inward = torch.where(path[-1] <= agent.action_low, slope.clamp_min(0), slope)
    inward = torch.where(path[-1] >= agent.action_high, inward.clamp_max(0), inward)
    assert float(inward.norm(dim=-1).max()) < 1e-2 * float(agent.action_gradient(OBS, path[0]).norm(dim=-1).max())
    start = torch.full((3, 2), 0.5, dtype=torch.float64)
    torch.testing.assert_close(ascent_path(agent, OBS, start, steps=1)[0], start)


def test_wrong_input_is_refused_in_one_line():
    agent = agent_of(3)
    for match, call in [
        ("plane", lambda: field(agent, OBS, plane=(0, 3))),
        ("plane", lambda: field(agent, OBS, plane=(1, 1))),
        ("resolution", lambda: field(agent, OBS, resolution=1)),
        ("critic: 5", lambda: field(agent, OBS, critics=[5])),
        ("critics", lambda: field(agent, OBS, critics=[])),
        ("steps", lambda: ascent_path(agent, OBS, steps=0)),
        ("start", lambda: ascent_path(agent, OBS, torch.zeros(2, 2))),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_what_the_actor_follows_is_the_agents_own_q_without_the_highest_quantiles():
    actor = nn.Linear(3, 1, dtype=torch.float64)
    levels = torch.tensor([-1.0, 0.0, 4.0], dtype=torch.float64)
    critics = [lambda obs, act, k=k: k * act.square() + act + levels * (1 + act.square()) for k in (-1.0, 2.0)]
    agent = Agent(actor, critics, [-1.0], [1.0], reduction="truncated", quantiles=3, drop_quantiles=1)
    picture = field(agent, OBS, resolution=5, arrows=3).sel(critic="followed")
    for state in range(len(OBS)):
        for x in (-1.0, 0.0, 1.0):
            at = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
            pooled = torch.cat([critic(OBS[state : state + 1], at) for critic in critics], dim=-1).flatten()
            kept = pooled.sort().values[:4].mean()
            (slope,) = torch.autograd.grad(kept, at)
            assert picture.q.isel(state=state).sel(x=x).item() == pytest.approx(kept.item(), rel=1e-12)
            found = picture.gradient.isel(state=state).sel(arrow_x=x).item()
            assert found == pytest.approx(slope.item(), rel=1e-12)
            assert abs(kept.item() - pooled.mean().item()) > 0.1
