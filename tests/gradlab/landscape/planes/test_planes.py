"""Planes of actions: what they pass through, that they are orthonormal, and the part of them inside the box."""

import math

import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from gradlab.agent import Agent
from gradlab.curvature import sensitivity
from gradlab.errors import GradlabError
from gradlab.landscape import coordinate_plane, curvature_plane, local_optima, optima_plane, random_plane
from gradlab.landscape.planes.optima_planes import two_best
from gradlab.landscape.planes.plane_geometry import extent, frame


class Still(nn.Module):
    """An actor that plays one action whatever it observes."""

    def __init__(self, action):
        super().__init__()
        self.action = nn.Parameter(torch.tensor(action, dtype=torch.float64))

    def forward(self, obs):
        return self.action.expand(len(obs), -1)


def still(action, q, bound=1.0):
    size = len(action)
    return Agent(Still(action), [q], [-bound] * size, [bound] * size)


def orthonormal(directions):
    gram = directions @ directions.mT
    return torch.allclose(gram, torch.eye(gram.shape[-1], dtype=gram.dtype).expand_as(gram), atol=1e-12)


ONE = torch.zeros(1, 2, dtype=torch.float64)


@pytest.mark.parametrize("size", [2, 3, 6, 17])
def test_the_extent_is_what_linear_programming_finds(size):
    generator = torch.Generator().manual_seed(size)
    drawn = torch.randn(6, size, 2, generator=generator, dtype=torch.float64)
    directions = torch.linalg.qr(drawn).Q.mT
    low = -torch.rand(size, generator=generator, dtype=torch.float64) - 0.2
    high = torch.rand(size, generator=generator, dtype=torch.float64) + 0.2
    origin = low + (high - low) * torch.rand(6, size, generator=generator, dtype=torch.float64)
    found = extent(origin, directions, low, high)
    for s in range(6):
        a = torch.cat([directions[s].mT, -directions[s].mT]).numpy()
        b = torch.cat([high - origin[s], origin[s] - low]).numpy()
        for axis in range(2):
            for end, sign in enumerate((1, -1)):
                cost = [0.0, 0.0]
                cost[axis] = sign
                best = linprog(cost, A_ub=a, b_ub=b, bounds=[(None, None)] * 2)
                assert found[s, axis, end].item() == pytest.approx(sign * best.fun, abs=1e-8)


def test_a_plane_that_misses_the_box_has_no_extent():
    directions = torch.eye(3, dtype=torch.float64)[None, :2]
    low, high = -torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    assert extent(torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64), directions, low, high).isnan().all()


def test_an_optima_plane_holds_the_actor_and_the_two_best_optima(agent_of, obs):
    agent = agent_of(4)
    optima = local_optima(agent, obs, starts=8)
    plane = optima_plane(agent, obs, optima)
    assert bool(plane.determined.all())
    assert orthonormal(plane.directions)
    torch.testing.assert_close(plane.origin, agent.action(obs).detach())
    for s in range(3):
        persistent = optima.persistence[s] >= 0.01 * optima.value_range[s]
        torch.testing.assert_close(plane.marks["best optimum"][s], optima.actions[s][0])
        second = [a for a, keep in zip(optima.actions[s], persistent, strict=True) if keep][1]
        torch.testing.assert_close(plane.marks["second best"][s], second)
        for point in (optima.actions[s][0], second):
            place = plane.directions[s] @ (point - plane.origin[s])
            torch.testing.assert_close(place @ plane.directions[s] + plane.origin[s], point)
            assert float(place[1]) > -1e-12
        assert float((plane.directions[s] @ (optima.actions[s][0] - plane.origin[s]))[0]) > 0


def hills(*centres):
    """The upper envelope of paraboloids; each centre is a maximum, of a value that falls from one to the next."""
    tops = torch.tensor(centres, dtype=torch.float64)
    heights = -0.1 * torch.arange(len(centres), dtype=torch.float64)
    return lambda obs, act: (heights - (act[:, None].to(tops) - tops).square().sum(-1)).amax(-1)


def test_what_points_do_not_determine_is_random_and_said_to_be():
    best, second = [0.5, 0.0, 0.0], [-0.5, 0.5, 0.0]
    cases = {
        (0.0, 0.0, 0.4): ([best, second], [True, True]),
        (0.5, 0.0, 0.0): ([best, second], [False, True]),  # the actor is at the best
        (0.0, 0.0, 0.3): ([best], [True, False]),  # there is no second
        (0.0, 0.25, 0.0): ([best, second], [True, False]),  # all three on one line
    }
    for action, (centres, determined) in cases.items():
        agent = still(list(action), hills(*centres))
        plane = optima_plane(agent, ONE, local_optima(agent, ONE))
        assert plane.determined.tolist() == [determined], action
        assert orthonormal(plane.directions)
        if determined == [False, True]:
            offset = torch.tensor(second, dtype=torch.float64) - torch.tensor(best, dtype=torch.float64)
            assert float(plane.directions[0, 1] @ offset) == pytest.approx(float(offset.norm()), rel=1e-4)


def test_low_persistence_makes_no_second_best_and_a_plateau_is_the_best_where_it_is_highest():
    agent = still([0.0, 0.0], hills([0.5, 0.0], [-0.5, 0.0]))
    optima = local_optima(agent, ONE)
    best, second = two_best(optima, 0.01)
    torch.testing.assert_close(second, torch.tensor([[-0.5, 0.0]], dtype=torch.float64), atol=1e-2, rtol=0)
    assert two_best(optima, 0.99)[1].isnan().all()
    flat = still([0.0, 0.0], lambda obs, act: hills([0.5, 0.0])(obs, act).clamp(max=-0.3))
    optima = local_optima(flat, ONE)
    assert len(optima.values[0]) == 0
    best, second = two_best(optima, 0.01)
    torch.testing.assert_close(best, optima.best_action.double())
    assert second.isnan().all()


def test_curvature_directions_are_the_hessians_and_leave_out_saturated_coordinates():
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    hessian = drawn + drawn.mT

    def quadratic(obs, act):
        return 0.5 * torch.einsum("np,pq,nq->n", act, hessian.to(act), act)

    for scale in (None, 0.05):
        plane = curvature_plane(still([0.1] * 5, quadratic), ONE, scale)
        values, vectors = torch.linalg.eigh(hessian)
        order = values.abs().argsort(descending=True)[:2]
        torch.testing.assert_close(plane.curvature[0], values[order], atol=1e-8, rtol=0)
        cosines = (plane.directions[0] * vectors[:, order].mT).sum(-1).abs()
        torch.testing.assert_close(cosines, torch.ones(2, dtype=torch.float64), atol=1e-8, rtol=0)
        # Two coordinates on faces: the eigenvectors of what is left.
        plane = curvature_plane(still([1.0, 0.1, 0.1, -1.0, 0.1], quadratic), ONE, scale)
        free = [1, 2, 4]
        values, vectors = torch.linalg.eigh(hessian[free][:, free])
        order = values.abs().argsort(descending=True)[:2]
        torch.testing.assert_close(plane.curvature[0], values[order], atol=1e-8, rtol=0)
        assert plane.directions[0][:, [0, 3]].abs().max() < 1e-12
        cosines = (plane.directions[0][:, free] * vectors[:, order].mT).sum(-1).abs()
        torch.testing.assert_close(cosines, torch.ones(2, dtype=torch.float64), atol=1e-8, rtol=0)
        # One free coordinate: the second direction is random, and its curvature is the Hessian's along it.
        plane = curvature_plane(still([1.0, 0.1, 1.0, -1.0, -1.0], quadratic), ONE, scale)
        assert plane.determined.tolist() == [[True, False]]
        random = plane.directions[0, 1]
        assert float(plane.curvature[0, 1]) == pytest.approx(float(random @ hessian @ random), abs=1e-8)
        assert orthonormal(plane.directions)


def test_a_piecewise_linear_critic_needs_a_scale():
    agent = still([0.1, 0.2], lambda obs, act: -act.abs().sum(-1) - 2 * (act[:, 0] - 0.1).abs())
    with pytest.raises(GradlabError, match="scale"):
        curvature_plane(agent, ONE)
    plane = curvature_plane(agent, ONE, 0.5)
    expected = sensitivity(agent, ONE, 0.5).action_hessian[0]
    torch.testing.assert_close(plane.curvature[0], expected.diagonal())
    torch.testing.assert_close(plane.directions[0], torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("size", [2, 3, 6, 17])
def test_a_random_plane_through_a_corner_enters_the_box(size):
    corner = [1.0 if i % 2 else -1.0 for i in range(size)]
    agent = still(corner, lambda obs, act: act.sum(-1))
    states = torch.zeros(40, 2, dtype=torch.float64)
    plane = random_plane(agent, states, generator=torch.Generator().manual_seed(1))
    assert orthonormal(plane.directions)
    assert not torch.equal(plane.directions[0], plane.directions[1])
    again = random_plane(agent, states, generator=torch.Generator().manual_seed(1))
    assert torch.equal(plane.directions, again.directions)
    found = extent(plane.origin, plane.directions, agent.action_low, agent.action_high)
    assert float((found[..., 1] - found[..., 0]).min()) > 0.01


def test_the_chance_that_a_plane_through_a_corner_enters_the_box():
    # Stated in the docstring: a plane meets 2p of the 2^p orthants, in opposite pairs.
    size, count = 6, 20_000
    generator = torch.Generator().manual_seed(5)
    drawn = torch.randn(count, size, 2, generator=generator, dtype=torch.float64)
    # Some (x, y) makes all p coordinates positive just where the rows lie in one half-plane: a gap wider than π.
    angle = torch.atan2(drawn[..., 0], drawn[..., 1]).sort(-1).values
    gap = torch.cat([angle.diff(dim=-1), 2 * math.pi + angle[:, :1] - angle[:, -1:]], -1).amax(-1)
    chance = size * 2 ** (1 - size)
    entered = float((gap > math.pi).double().mean())
    assert entered == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / count))


def test_random_directions_are_uniform_away_from_faces():
    agent = still([0.0, 0.0, 0.0], lambda obs, act: act.sum(-1))
    plane = random_plane(agent, torch.zeros(20_000, 2, dtype=torch.float64))
    second = torch.einsum("skp,skq->kpq", plane.directions, plane.directions) / 20_000
    torch.testing.assert_close(second, torch.eye(3, dtype=torch.float64).expand(2, 3, 3) / 3, atol=0.01, rtol=0)


def test_a_frame_is_orthonormal_however_short_the_vectors():
    toward = torch.randn(50, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    toward[:10, 0] = 0.0
    toward[5:20, 1] = 0.0
    toward[20:30, 1] = 1e-9 * toward[20:30, 1] + 2 * toward[20:30, 0]
    drawn = torch.randn(50, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    directions, determined = frame(toward, drawn, 1e-6)
    assert orthonormal(directions)
    expected = [[False, True]] * 5 + [[False, False]] * 5 + [[True, False]] * 20 + [[True, True]] * 20
    assert determined.tolist() == expected


def test_wrong_input_is_refused_in_one_line(agent_of, obs):
    agent = agent_of(3)
    optima = local_optima(agent, obs[:2], starts=4)
    line = agent_of(1)
    assert coordinate_plane(line, obs).directions.shape == (3, 1, 1)
    assert random_plane(line, obs).axes == ("action 1",)
    for match, call in [
        ("plane", lambda: coordinate_plane(agent, obs, (0, 0))),
        ("optima: of 2 states", lambda: optima_plane(agent, obs, optima)),
        ("threshold", lambda: optima_plane(agent, obs[:2], optima, threshold=-1.0)),
        ("scale: 9", lambda: curvature_plane(agent, obs, 9.0)),
        ("scale", lambda: curvature_plane(agent, obs, -1.0)),
        ("critic: 7", lambda: curvature_plane(agent, obs, critic=7)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
