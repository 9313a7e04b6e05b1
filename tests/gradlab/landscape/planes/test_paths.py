"""Ascent paths: they begin where told, never fall, stay in the box and end where no direction goes up."""

import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.landscape import ascent_path


def test_an_ascent_path_climbs_inside_the_box_from_where_it_is_told(agent_of, obs):
    agent = agent_of(2)
    path = ascent_path(agent, obs, steps=40)
    assert path.shape == (40, 3, 2)
    torch.testing.assert_close(path[0], agent.action(obs).detach())
    heights = agent.q(obs, path).detach()
    assert bool((heights[1:] >= heights[:-1]).all())
    assert bool(((path >= agent.action_low) & (path <= agent.action_high)).all())
    slope = agent.action_gradient(obs, path[-1])
    inward = torch.where(path[-1] <= agent.action_low, slope.clamp_min(0), slope)
    inward = torch.where(path[-1] >= agent.action_high, inward.clamp_max(0), inward)
    assert float(inward.norm(dim=-1).max()) < 1e-2 * float(agent.action_gradient(obs, path[0]).norm(dim=-1).max())
    start = torch.full((3, 2), 0.5, dtype=torch.float64)
    torch.testing.assert_close(ascent_path(agent, obs, start, steps=1)[0], start)


@pytest.mark.parametrize(
    ("match", "wrong"), [("steps", {"steps": 0}), ("start", {"start": torch.zeros(2, 2)}), ("critic", {"critic": 5})]
)
def test_wrong_input_is_refused_in_one_line(agent_of, obs, match, wrong):
    with pytest.raises(GradlabError, match=match) as caught:
        ascent_path(agent_of(3), obs, **wrong)
    assert "\n" not in str(caught.value)
