"""A second search as judge of a first, on landscapes whose basins are known."""

import numpy as np
import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.landscape import local_optima, unseen_share
from gradlab.worlds.landscapes import SeparableSum, SineRamp


def searched(world, starts, seed):
    generator = torch.Generator().manual_seed(seed)
    return local_optima(world.q, world.low, world.high, starts=starts, generator=generator)


def test_the_share_is_unbiased_and_its_interval_holds():
    """What is missed is known from the closed form's basins; the second search's starts are as evenly spread."""
    world = SeparableSum([SineRamp(frequency=16.0, slope=0.5), SineRamp(frequency=16.0, slope=-0.5)])
    known = world.optima()
    held, apart = [], []
    for seed in range(40):
        first = searched(world, 24, seed)
        look = unseen_share(first, searched(world, 64, 1000 + seed), threshold=0.0)
        distance = np.abs(first.actions[0].numpy()[:, None] - known.actions).max(-1)
        gone = np.ones(len(known.values), dtype=bool)
        gone[distance.argmin(-1)] = False
        truth = known.shares[gone].sum()
        low, high = look.interval[0].tolist()
        held.append(low <= truth <= high)
        apart.append(float(look.share) - truth)
    assert np.mean(held) >= 0.935
    assert abs(np.mean(apart)) <= 4 * np.std(apart) / np.sqrt(len(apart))


def test_many_states_at_once_and_their_mean():
    peaks = torch.linspace(-0.9, 0.9, 12, dtype=torch.float64)

    def q(a):  # one peak in every state, and in the last a second one in a twentieth of the box
        x = a.squeeze(-1)
        second = torch.zeros(12, 1, dtype=torch.float64)
        second[-1] = 1.0
        return torch.maximum(-(x - peaks[:, None]).abs(), second * (0.5 - 20 * (x + 0.9).abs()) - 10 * (1 - second))

    box = -torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    first, second = (
        local_optima(q, *box, states=12, starts=starts, generator=torch.Generator().manual_seed(starts))
        for starts in (1, 256)
    )
    look = unseen_share(first, second)
    assert look.share[:-1].tolist() == [0.0] * 11
    assert float(look.share[-1]) > 0.0
    mean = look.mean()
    assert mean.value == pytest.approx(float(look.share.mean()))
    assert mean.interval()[0] <= mean.value <= mean.interval()[1]
    sure = unseen_share(second, second).mean()
    assert sure.value == 0.0
    assert sure.interval()[1] == pytest.approx(3.84 / (12 * 256), rel=0.01)


@pytest.mark.parametrize("width", [[1.0, 1.0], [0.01, 0.01], [1000.0, 1.0], [0.02, 300.0]])
def test_the_radius_is_a_share_of_the_width_of_the_box(width):
    """Two hills 2 % of the box apart along one coordinate, in boxes of many sizes: one within 3 %, two within 1 %."""
    width = torch.tensor(width, dtype=torch.float64)

    def searched_hill(at):
        return local_optima(lambda a: -(a / width - at).square().sum(-1), -width / 2, width / 2, starts=8)

    for axis in (0, 1):
        here = searched_hill(torch.zeros(2).double())
        there = searched_hill(0.02 * torch.eye(2).double()[axis])
        assert unseen_share(here, there).share.tolist() == [1.0]
        assert unseen_share(here, there, radius=0.03).share.tolist() == [0.0]
        assert unseen_share(here, searched_hill(0.005 * torch.eye(2).double()[axis])).share.tolist() == [0.0]


def test_wrong_input():
    one, two = (local_optima(lambda a: a.sum(-1), [-1.0], [1.0], states=states, starts=4) for states in (1, 2))
    with pytest.raises(GradlabError, match="same states"):
        unseen_share(one, two)
    with pytest.raises(GradlabError, match="radius"):
        unseen_share(one, one, radius=-1.0)
    wider = local_optima(lambda a: a.sum(-1), [-1.0], [2.0], starts=4)
    with pytest.raises(GradlabError, match="the same box"):
        unseen_share(one, wider)
