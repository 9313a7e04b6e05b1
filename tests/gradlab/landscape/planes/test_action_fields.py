"""Fields over two action coordinates against evaluation point by point."""

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import ascent_path, field


@pytest.mark.parametrize(("resolution", "arrows"), [(4, 3), (5, 3), (3, 3)])  # other points, every second one, all
@pytest.mark.parametrize("reduction", ["first", "min", "mean"])
def test_a_field_is_q_and_its_gradient_point_by_point(agent_of, obs, reduction, resolution, arrows):
    agent = agent_of(3, reduction)
    picture = field(agent, obs, plane=(2, 0), resolution=resolution, arrows=arrows)
    labels = ["critic 1", "critic 2"] + ([] if reduction == "first" else ["followed"])
    assert picture.critic.values.tolist() == labels
    assert picture.q.dims == ("critic", "state", "y", "x")
    assert picture.gradient.dims == ("critic", "state", "arrow_y", "arrow_x", "component")
    assert picture.attrs["plane"] == [2, 0]
    assert (float(picture.x[0]), float(picture.y[0]), float(picture.arrow_x[-1])) == (-2.0, -1.0, 2.0)
    actor = agent.action(obs).detach()
    np.testing.assert_allclose(picture.actor.values, actor.numpy())
    for c, label in enumerate(labels):
        critic = None if label == "followed" else c
        for s in range(3):
            for i, y in enumerate(picture.y.values):
                for j, x in enumerate(picture.x.values):
                    act = actor[s : s + 1].clone()
                    act[0, 2], act[0, 0] = x, y
                    expected = agent.q(obs[s : s + 1], act, critic=critic).item()
                    assert float(picture.q[c, s, i, j]) == pytest.approx(expected, abs=1e-12)
            for i, y in enumerate(picture.arrow_y.values):
                for j, x in enumerate(picture.arrow_x.values):
                    act = actor[s : s + 1].clone()
                    act[0, 2], act[0, 0] = x, y
                    slope = agent.action_gradient(obs[s : s + 1], act, critic=critic)[0]
                    assert picture.gradient[c, s, i, j].values == pytest.approx(slope[[2, 0]].tolist(), abs=1e-12)


@pytest.mark.parametrize(("arrows", "rows"), [(21, 1681), (41, 1681), (20, 1681 + 400)])
def test_no_point_is_evaluated_twice_where_the_grids_coincide(arrows, rows):
    seen = []

    class Counting(nn.Module):
        def forward(self, obs, act):
            seen.append(len(act))
            return -act.square().sum(-1)

    agent = Agent(nn.Linear(3, 2), [Counting()], [-1.0, -1.0], [1.0, 1.0])
    field(agent, torch.zeros(1, 3), arrows=arrows)
    assert sum(seen) == rows


def test_one_action_gives_a_line(agent_of, obs):
    picture = field(agent_of(1), obs, resolution=7, arrows=5, critics=[1])
    assert picture.q.dims == ("critic", "state", "x")
    assert picture.gradient.dims == ("critic", "state", "arrow_x", "component")
    assert picture.gradient.shape == (1, 3, 5, 1)
    assert "y" not in picture.coords
    assert picture.critic.values.tolist() == ["critic 2"]


def test_fields_do_not_touch_gradients(agent_of, obs):
    agent = agent_of(2)
    field(agent, obs)
    ascent_path(agent, obs)
    assert all(p.grad is None for module in (agent.actor, *agent.critics) for p in module.parameters())


@pytest.mark.parametrize(
    ("match", "wrong"),
    [
        ("plane", {"plane": (0, 3)}),
        ("plane", {"plane": (1, 1)}),
        ("plane", {"plane": "xy"}),
        ("resolution", {"resolution": 1}),
        ("critic: 5", {"critics": [5]}),
        ("critics", {"critics": []}),
        ("critics", {"critics": "min"}),
        ("critics", {"critics": ["max"]}),
    ],
)
def test_wrong_input_is_refused_in_one_line(agent_of, obs, match, wrong):
    with pytest.raises(GradlabError, match=match) as caught:
        field(agent_of(3), obs, **wrong)
    assert "\n" not in str(caught.value)
