"""The plane that shares out the way to the best optimum: a rectangle of the box, whatever corner the actor is in."""

import itertools

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import local_optima, slice_plane
from gradlab.landscape.planes.halved_planes import halved_plane, moved_actions
from gradlab.landscape.planes.optima_planes import optima_plane


class Table(nn.Module):
    """An actor with one given action in every state."""

    def __init__(self, actions):
        super().__init__()
        self.actions = nn.Parameter(torch.as_tensor(actions, dtype=torch.float64))

    def forward(self, obs):
        return self.actions[obs[:, 0].round().long()]


def agent_of(actions, top, second=None):
    """A cone with its top at ``top``, and a lower one at ``second``."""
    top = torch.tensor(top, dtype=torch.float64)

    def q(obs, act):
        cone = -(act - top).norm(dim=-1)
        return cone if second is None else torch.maximum(cone, -0.3 - 2 * (act - torch.tensor(second)).norm(dim=-1))

    size = len(top)
    low = [-1.0 - index for index in range(size)]
    return Agent(Table(actions), [q], low, [1.0] * size)


def obs_of(agent):
    return torch.arange(float(len(agent.actor.actions)))[:, None].double()


def measured(agent):
    obs = obs_of(agent)
    optima = local_optima(agent, obs, starts=16)
    return obs, optima, halved_plane(agent, obs, optima)


def test_actor_and_best_optimum_are_corners_of_a_rectangle_that_fills_the_slice():
    """From every corner of a box of six unequal sides to the opposite one."""
    corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6))[::7]).double()
    high = torch.ones(6).double()
    low = -torch.arange(1.0, 7.0).double()
    for share in corners:
        start, end = low + share * (high - low), high - share * (high - low)
        agent = agent_of([start.tolist()], end.tolist())
        obs, _, plane = measured(agent)
        x, y = plane.directions[0]
        assert plane.determined.all()
        assert not bool(((x != 0) & (y != 0)).any())
        assert float(x @ x) == pytest.approx(1)
        assert float(y @ y) == pytest.approx(1)
        picture = slice_plane(agent, obs, plane, resolution=7)
        assert bool(picture.inside.all())
        places = picture.mark_place.sel(mark="best optimum").values[0]
        # The best lies in the plane, and the two in opposite corners of it.
        assert picture.mark_distance.sel(mark="best optimum").item() < 1e-2
        assert [float(picture[side].min()) for side in "xy"] == pytest.approx([0.0, 0.0], abs=1e-6)
        assert [float(picture[side].max()) for side in "xy"] == pytest.approx(places.tolist(), abs=1e-2)
        shorter, longer = sorted(places.tolist())
        assert longer < 2 * shorter


def test_the_plane_through_the_second_best_can_be_a_sliver_where_this_one_is_none():
    start, best, second = [-1.0, -2.0, -3.0, -4.0], [1.0, -2.0, 1.0, -4.0], [-1.0, 1.0, 1.0, -4.0]
    agent = agent_of([start], best, second)
    obs, optima, plane = measured(agent)
    inside = [
        float(slice_plane(agent, obs, one, resolution=41).inside.mean())
        for one in (optima_plane(agent, obs, optima), plane)
    ]
    assert inside[0] < 0.7
    assert inside[1] == 1.0


def test_where_the_actor_is_at_the_best_the_second_best_is_looked_at():
    best, second = [0.5, 0.5, 0.5], [-0.5, -1.0, 0.5]
    agent = agent_of([best, [0.0, 0.0, 0.0]], best, second)
    _, _, plane = measured(agent)
    way = torch.tensor(second) - torch.tensor(best)
    assert plane.determined.tolist() == [[True, True], [True, True]]
    along = plane.directions[0] @ way.double()
    assert float((way.double() - along @ plane.directions[0]).norm()) < 1e-6
    assert float(along.min()) > 0.9


def test_what_nothing_determines_is_a_coordinate_that_points_inwards():
    top = [0.5, 1.0, 0.5, 0.5]
    agent = agent_of([top, [-0.5, 1.0, 0.5, 0.5]], top)
    obs, _, plane = measured(agent)
    assert plane.determined.tolist() == [[False, False], [True, False]]
    assert plane.directions[0].abs().sum(-1).tolist() == [1.0, 1.0]
    assert plane.directions[1, 0].tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=0.02)
    picture = slice_plane(agent, obs, plane, resolution=9)
    assert bool(torch.isfinite(plane.directions).all())
    assert picture.inside.values[0].mean() > 0.2
    level = Agent(Table([top]), [lambda obs, act: 0 * act.sum(-1)], [-1.0] * 4, [1.0] * 4)
    _, _, nowhere = measured(level)
    gram = nowhere.directions[0] @ nowhere.directions[0].T
    torch.testing.assert_close(gram, torch.eye(2).double())


def test_one_and_two_actions():
    for size in (1, 2):
        agent = agent_of([[-0.5] * size], [0.5] * size)
        obs, _, plane = measured(agent)
        assert plane.directions.shape == (1, size, size)
        assert bool(slice_plane(agent, obs, plane, resolution=5).inside.all())


def test_words_and_wrong_input():
    assert moved_actions(torch.tensor([0.5, 0.5, 0.0, -0.7])) == "actions 1, 2 and 4"
    agent = agent_of([[0.0, 0.0, 0.0]] * 2, [0.5, 0.5, 0.5])
    obs, optima, _ = measured(agent)
    for match, call in [
        ("optima: of 2 states", lambda: halved_plane(agent, obs[:1], optima)),
        ("optima: None; give what local_optima found", lambda: halved_plane(agent, obs, None)),
        ("threshold", lambda: halved_plane(agent, obs, optima, threshold=-1.0)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
