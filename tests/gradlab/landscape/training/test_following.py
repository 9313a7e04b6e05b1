"""Optima followed from one landscape to another that was moved by hand, and against all pairings tried one by one."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.landscape import follow, local_optima

LOW, HIGH = [-1.0, -2.0], [1.0, 2.0]


def bumps(centres, heights, width=0.25):
    """Narrow Gaussian hills on a plane that tilts too little to make optima: centres [S, k, p], heights [S, k]."""
    centres = torch.as_tensor(centres, dtype=torch.float64)
    heights = torch.as_tensor(heights, dtype=torch.float64)

    def q(act):
        squared = (act[:, :, None] - centres[:, None]).square().sum(-1)
        return (heights[:, None] * torch.exp(-squared / (2 * width**2))).sum(-1)

    return q


def search(q, states, low=LOW, high=HIGH, **more):
    box = [torch.tensor(side, dtype=torch.float64) for side in (low, high)]
    return local_optima(q, *box, states=states, starts=64, **more)


def by_hand(actions, persistence=None, actor=None):
    """Optima as a search would return them: actions is a list of [k_s, p], all of one height unless told."""
    actions = [torch.as_tensor(a, dtype=torch.float64) for a in actions]
    heights = [torch.ones(len(a)) for a in actions] if persistence is None else persistence
    return replace(
        local_optima(lambda a: -a.square().sum(-1), [-1.0], [1.0], starts=1),
        actions=actions,
        values=[torch.zeros(len(a), dtype=torch.float64) for a in actions],
        persistence=[torch.as_tensor(h, dtype=torch.float64) for h in heights],
        value_range=torch.ones(len(actions), dtype=torch.float64),
        actor=None if actor is None else torch.tensor(actor),
    )


def test_a_landscape_moved_by_hand():
    """State 0: all hills shift; 1: one goes, one comes far away; 2: one rises above the threshold."""
    before = bumps(
        [
            [[-0.5, -1.0], [0.5, 0.0], [-0.5, 1.2]],
            [[-0.5, -1.0], [0.5, 0.0], [-0.5, 1.2]],
            [[-0.5, -1.0], [0.5, 0.0], [-0.5, 1.2]],
        ],
        [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 0.06]],
    )
    after = bumps(
        [
            [[-0.4, -1.0], [0.5, 0.2], [-0.5, 1.2]],
            [[-0.5, -1.0], [0.5, 0.0], [0.6, -1.5]],
            [[-0.5, -1.0], [0.5, 0.0], [-0.5, 1.2]],
        ],
        [[3.5, 2.5, 1.5], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0]],
    )
    found = follow(search(before, 3), search(after, 3), LOW, HIGH, threshold=0.05)
    assert found.born.tolist() == [0, 1, 0]
    assert found.died.tolist() == [0, 1, 0]
    assert found.risen.tolist() == [0, 0, 1]
    assert found.sunk.tolist() == [0, 0, 0]
    # 0.1 of 2 in the one, 0.2 of 4 in the other, none in the third; the diagonal of the unit square is √2.
    assert found.moved[0].item() == pytest.approx((0.05 + 0.05 + 0.0) / 3 / math.sqrt(2), rel=1e-3)
    assert found.rise[0].item() == pytest.approx(0.5, rel=1e-3)
    assert found.moved[1:].tolist() == pytest.approx([0.0, 0.0], abs=1e-5)
    assert found.rise[1:].tolist() == pytest.approx([0.0, 0.0], abs=1e-3)
    assert found.before.tolist() == [3, 3, 2]
    assert found.after.tolist() == [3, 3, 3]


def test_nothing_happens_between_two_equal_searches_of_one_critic():
    generator = torch.Generator().manual_seed(4)
    centres = torch.rand(40, 6, 2, dtype=torch.float64, generator=generator) * torch.tensor([2.0, 4.0]) - torch.tensor(
        [1.0, 2.0]
    )
    q = bumps(centres, 1 + torch.rand(40, 6, dtype=torch.float64, generator=generator))
    first, again = search(q, 40), search(q, 40)
    same = follow(first, again, LOW, HIGH)
    assert int(same.born.sum() + same.died.sum() + same.risen.sum() + same.sunk.sum()) == 0
    assert float(same.moved.max()) == 0.0


def test_counts_add_up_and_pairs_are_one_to_one_on_random_optima():
    generator = torch.Generator().manual_seed(1)

    def random(states=60):
        sizes = torch.randint(0, 7, (states,), generator=generator).tolist()
        return by_hand(
            [
                torch.rand(k, 2, generator=generator) * torch.tensor([2.0, 4.0]) - torch.tensor([1.0, 2.0])
                for k in sizes
            ],
            persistence=[torch.rand(k, generator=generator) for k in sizes],
        )

    before, after = random(), random()
    found = follow(before, after, LOW, HIGH, radius=0.2, threshold=0.4)
    change = after.count(0.4) - before.count(0.4)
    assert torch.equal(found.born + found.risen - found.died - found.sunk, change)
    assert torch.equal(found.after - found.before, change)
    scale = torch.tensor([2.0, 4.0], dtype=torch.float64) * math.sqrt(2)
    for state, pairs in enumerate(found.pairs):
        for side in pairs.T:
            assert len(side.unique()) == len(side)
        apart = (before.actions[state][pairs[:, 0]] - after.actions[state][pairs[:, 1]]) / scale
        assert (apart.norm(dim=-1) < 0.2).all()


def cheapest(a, b, radius):
    """The smallest total distance of any pairing, one left alone counting as the radius: all of them tried."""
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    totals = []
    for chosen in itertools.permutations(range(len(large)), len(small)):
        distances = [min(float((small[i] - large[j]).norm()), radius) for i, j in enumerate(chosen)]
        totals.append(sum(distances) + radius * (len(large) - len(small)))
    return min(totals)


def test_the_pairing_is_the_cheapest_of_all():
    generator = torch.Generator().manual_seed(2)
    radius = 0.3
    for _ in range(30):
        counts = torch.randint(1, 6, (2,), generator=generator).tolist()
        sets = [torch.rand(k, 2, generator=generator, dtype=torch.float64) for k in counts]
        found = follow(by_hand([sets[0]]), by_hand([sets[1]]), [0.0, 0.0], [1.0, 1.0], radius=radius)
        i, j = found.pairs[0].T
        a, b = (each / math.sqrt(2) for each in sets)
        alone = max(len(a), len(b)) - len(i)
        assert float((a[i] - b[j]).norm(dim=-1).sum()) + radius * alone == pytest.approx(cheapest(a, b, radius))


def test_one_that_counts_is_paired_with_one_that_counts_though_a_ripple_is_nearer():
    before = by_hand([[[0.0]]])
    after = by_hand([[[0.02], [0.06]]], persistence=[[0.001, 1.0]])
    found = follow(before, after, [-1.0], [1.0])
    assert found.pairs[0].tolist() == [[0, 1]]
    assert (found.born.item(), found.died.item(), found.risen.item()) == (0, 0, 0)


def test_the_actors_basin():
    here, there = [[-0.5], [0.5]], [[0.52], [-0.48]]
    before = by_hand([here] * 5, actor=[0, 0, 1, -1, 0])
    after = by_hand([there, there, there, there, [[0.5]]], actor=[1, 0, 0, 0, 0])
    found = follow(before, after, [-1.0], [1.0])
    assert found.actor_changed[:3].tolist() == [0, 1, 0]
    assert math.isnan(found.actor_changed[3])
    assert found.actor_lost[[0, 1, 2, 4]].tolist() == [0, 0, 0, 1]
    assert found.actor_changed[4] == 1
    shares = found.estimates()
    assert (shares["actor_changed"].value, shares["actor_changed"].samples) == (0.5, 4)
    assert follow(by_hand([here]), by_hand([here]), [-1.0], [1.0]).actor_changed is None
    assert "actor_changed" not in follow(by_hand([here]), by_hand([here]), [-1.0], [1.0]).estimates()


def test_without_any_optimum_nothing_is_known_of_moves():
    found = follow(by_hand([torch.zeros(0, 1)]), by_hand([torch.zeros(0, 1)]), [-1.0], [1.0])
    assert (found.born.item(), found.died.item()) == (0, 0)
    moves = found.estimates()["moves"]
    assert math.isnan(moves.value)
    assert moves.samples == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"after": by_hand([[[0.0]], [[0.0]]])}, "1 states before and 2 after"),
        ({"after": by_hand([[[0.0, 0.0]]])}, "of one box"),
        ({"low": [-1.0, -1.0], "high": [1.0, 1.0]}, "of one box"),
        ({"high": [-1.0]}, "low below high"),
        ({"high": [math.inf]}, "bounded"),
        ({"radius": 0.0}, "radius: 0.0; give a finite number above 0"),
        ({"threshold": -0.1}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
    ],
)
def test_wrong_input(change, words):
    given = {"before": by_hand([[[0.0]]]), "after": by_hand([[[0.0]]]), "low": [-1.0], "high": [1.0], **change}
    with pytest.raises(GradlabError, match=words):
        follow(**given)
