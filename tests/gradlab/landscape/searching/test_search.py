"""What the search does beside finding: replay actions, visits, curves over persistence, thousands of starts."""

import math

import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.landscape import local_optima
from gradlab.landscape.searching.ascent import begin
from gradlab.landscape.searching.linking import link, roots, targets
from gradlab.landscape.surface import Surface
from gradlab.worlds.landscapes import SineRamp

LOW, HIGH = torch.tensor([-1.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)


def test_the_replay_action_climbs_its_own_hill():
    replay = torch.tensor([[0.1], [0.8], [-0.95]], dtype=torch.float64)
    found = local_optima(SineRamp().q, LOW, HIGH, states=3, replay=replay)
    assert found.replay.tolist() == [1, 0, 3]
    assert found.actor is None
    assert local_optima(SineRamp().q, LOW, HIGH).replay is None


def test_replay_actions_do_not_count_as_visits():
    replay = torch.tensor([[0.1], [0.8]], dtype=torch.float64)
    found = local_optima(SineRamp().q, LOW, HIGH, states=2, starts=100, replay=replay)
    for visits, share in zip(found.visits, found.basin_share, strict=True):
        assert not visits.is_floating_point()
        assert int(visits.sum()) == 100
        torch.testing.assert_close(visits / 100, share, check_dtype=False)


def test_the_curve_counts_optima_over_persistence():
    found = local_optima(SineRamp().q, LOW, HIGH, states=3)
    ratio = found.persistence[0] / found.value_range[0]
    curve = found.curve()
    assert curve[0][0] == 0.0
    for share, count in curve:
        assert count.value == int((ratio >= share).sum())
        assert count.samples == 3
        assert count.stderr == pytest.approx(0.0, abs=1e-12)
    peaks = torch.tensor([1, 2, 3, 4])

    def waves(a):
        return -(math.pi * peaks[:, None] * (a.squeeze(-1) + 1)).cos()

    curve = local_optima(waves, LOW, HIGH, states=4).curve([0.5])
    assert curve[0][1].value == pytest.approx(2.5)
    assert curve[0][1].stderr == pytest.approx(float(peaks.double().std()) / 2)


@pytest.mark.parametrize("size", [2, 17])
def test_thousands_of_starts(size):
    def q(a):
        return -(a - 0.2).abs().sum(-1)

    found = local_optima(q, -torch.ones(size), torch.ones(size), starts=4096)
    assert found.count().tolist() == [1]
    assert int(found.visits[0].sum()) == 4096
    assert found.actions[0][0].tolist() == pytest.approx([0.2] * size, abs=1e-3)


def test_thousands_of_starts_that_stay_apart():
    found = local_optima(lambda a: (12 * math.pi * a).cos().sum(-1), [-1.0, -1.0], [1.0, 1.0], starts=4096)
    assert found.count().tolist() == [169]
    assert int(found.visits[0].sum()) == 4096


def rows(points, q):
    surface = Surface(lambda state, act: q(act), 1, LOW, HIGH)
    unit = surface.unit(torch.tensor(points, dtype=torch.float64)[:, None])
    state = torch.zeros(len(points), dtype=torch.long)
    return surface, begin(surface, state, unit, 0.1)


def test_links_stay_on_their_hill():
    # Two hills: tops at −0.5 and 0.5, a valley between them.
    points = [-0.75, -0.6, -0.25, 0.2, 0.45, 0.9]
    surface, climb = rows(points, lambda a: -(2 * math.pi * a.squeeze(-1)).cos())
    target = targets(climb, len(points), 1, 0.5)
    linked = link(surface, climb, climb.take(target), torch.full_like(climb.value, 1e-6))
    root = roots(torch.where(linked, target, torch.arange(len(points))))
    assert [points[i] for i in root.tolist()] == [-0.6, -0.6, -0.6, 0.45, 0.45, 0.45]


def test_a_link_is_refused_over_a_valley():
    surface, climb = rows([-0.4, 0.5], lambda a: -(2 * math.pi * a.squeeze(-1)).cos())
    over = link(surface, climb.take([0]), climb.take([1]), torch.zeros(1, dtype=torch.float64))
    assert over.tolist() == [False]


def test_a_link_is_refused_over_hills_at_even_distances():
    # A higher top in the middle of the way hides both valleys from a look there.
    surface, climb = rows([-0.5, 0.5], lambda a: 0.2 * a.squeeze(-1) + (4 * math.pi * a.squeeze(-1)).cos())
    assert link(surface, climb.take([0]), climb.take([1]), torch.zeros(1, dtype=torch.float64)).tolist() == [False]


def test_only_the_asked_rows_look_for_a_higher_one_and_find_it_among_all():
    _, climb = rows([-0.75, -0.7, -0.6, 0.45], lambda a: -(2 * math.pi * a.squeeze(-1)).cos())
    assert targets(climb, 2, 1, 0.5).tolist() == [1, 2]


def test_flat_neighbours_merge_up_to_the_stated_dip():
    # Two peaks of nearly the same height; the dip between them is 0.4 % of the range.
    def q(a):
        u = a.squeeze(-1)
        return -u.square().sub(0.04).square() / 0.4 + 0.001 * u

    span = float(local_optima(q, LOW, HIGH).value_range)
    dip = 0.04**2 / 0.4 / span
    assert local_optima(q, LOW, HIGH, tolerance=0.25 * dip).count(0.0).tolist() == [2]
    assert local_optima(q, LOW, HIGH, tolerance=4 * dip).count(0.0).tolist() == [1]


def test_wrong_input_is_refused_in_one_line():
    world = SineRamp()

    def wrong(match, call):
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)

    wrong("replay", lambda: local_optima(world.q, LOW, HIGH, replay=torch.zeros(2, 1)))
    wrong("replay", lambda: local_optima(world.q, LOW, HIGH, replay=torch.full((1, 1), math.nan)))
    wrong("replay", lambda: local_optima(world.q, LOW, HIGH, replay="action"))
    found = local_optima(world.q, LOW, HIGH)
    wrong("thresholds", lambda: found.curve([-0.1]))
    wrong("thresholds", lambda: found.curve([]))
    for name in ("tolerance", "radius"):
        for value in (-1.0, math.nan, "wide"):
            wrong(name, lambda name=name, value=value: local_optima(world.q, LOW, HIGH, **{name: value}))
    for name in ("starts", "steps", "states"):
        for value in (0, 1.5, "many"):
            wrong(name, lambda name=name, value=value: local_optima(world.q, LOW, HIGH, **{name: value}))
