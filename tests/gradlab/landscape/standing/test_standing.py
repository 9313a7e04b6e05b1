"""The actor's standing: the gap, its two parts, its rank, and means over states."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import gap, gap_by_critic, local_optima
from gradlab.policies import Gaussian
from gradlab.worlds.landscapes import SineRamp


class Aim(nn.Module):
    """An actor whose head is a table row: the observation's first number is the index."""

    def __init__(self, heads):
        super().__init__()
        self.heads = nn.Parameter(torch.as_tensor(heads, dtype=torch.float64))

    def forward(self, obs):
        return self.heads[obs[:, 0].long()]


def table(count):
    return torch.arange(count, dtype=torch.float64)[:, None]


def ramp(act):
    return SineRamp().q(act)


OPTIMA = [(0.837838, 1.334234), (0.139706, 1.067567), (-0.558426, 0.800901), (-1.0, -0.4)]


@pytest.mark.parametrize("starts", [64, 256])
def test_the_gap_splits_into_own_fit_and_basin_choice(starts):
    heads = [[0.8], [0.1], [-0.5], [-0.95]]
    agent = Agent(Aim(heads), [lambda obs, act: ramp(act)], [-1.0], [1.0])
    obs = table(4)
    found = gap(agent, obs, local_optima(agent, obs, starts=starts))
    at = ramp(torch.tensor(heads, dtype=torch.float64))
    own = torch.tensor([value for _, value in OPTIMA], dtype=torch.float64)
    assert found.basin.tolist() == [0, 1, 2, 3]
    assert found.rank.tolist() == [1, 2, 3, 4]
    assert found.optima.tolist() == [4] * 4
    assert found.reaches_best.tolist() == [True, False, False, False]
    torch.testing.assert_close(found.own_fit, own - at, atol=2e-6, rtol=0)
    torch.testing.assert_close(found.basin_choice, own[0] - own, atol=2e-6, rtol=0)
    torch.testing.assert_close(found.gap, own[0] - at, atol=2e-6, rtol=0)
    torch.testing.assert_close(found.own_fit + found.basin_choice, found.gap, atol=0, rtol=1e-14)
    distance = torch.tensor([OPTIMA[0][0] - head for (head,) in heads], dtype=torch.float64)
    torch.testing.assert_close(found.distance, distance, atol=2e-5, rtol=0)
    torch.testing.assert_close(found.distance_share, distance / 2, atol=2e-5, rtol=0)
    assert torch.equal(found.expected, found.gap)
    assert found.expected_stderr.tolist() == [0.0] * 4


def test_optima_that_do_not_count_have_no_rank():
    # A ripple on a slope: some 25 optima, all but the highest far shallower than a twentieth of the range.
    def q(obs, act):
        return act[..., 0] + 0.03 * (80 * act[..., 0]).cos()

    # The actor is on top of one: from its slope, ascent in long steps might pass over so shallow an optimum.
    at = (math.asin(1 / 2.4) + 2 * math.pi * 5) / 80
    agent = Agent(Aim([[at]]), [q], [-1.0], [1.0])
    fine = gap(agent, table(1), threshold=0.0)
    coarse = gap(agent, table(1), threshold=0.05)
    # Seven on the slope above it, and the face at one.
    assert int(fine.rank[0]) == 9
    assert float(fine.own_fit[0]) == pytest.approx(0.0, abs=1e-9)
    assert int(fine.optima[0]) > 15
    # The best counts always.
    assert (int(coarse.optima[0]), int(coarse.rank[0])) == (1, 2)
    assert not bool(coarse.reaches_best[0])


def test_a_plateau_is_no_basin_and_holds_the_actor():
    def q(obs, act):
        x = act[..., 0]
        return torch.maximum((1 - 4 * (x + 0.5).abs()).clamp(0, 0.5), 0.9 - 8 * (x - 0.5).abs())

    agent = Agent(Aim([[-0.5], [-0.7], [0.45]]), [q], [-1.0], [1.0])
    found = gap(agent, table(3), local_optima(agent, table(3), starts=128))
    assert found.basin.tolist() == [-1, -1, 0]
    assert found.own_fit.tolist() == pytest.approx([0.0, 0.3, 0.4], abs=1e-6)
    assert found.basin_choice.tolist() == pytest.approx([0.4, 0.4, 0.0], abs=1e-6)
    means = found.over_states()
    assert means.on_plateau.value == pytest.approx(2 / 3)
    assert means.reaches_best.value == pytest.approx(1 / 3)
    assert means.own_fit.value + means.basin_choice.value == pytest.approx(means.gap.value)


def test_a_constant_critic_leaves_nothing_on_the_table():
    agent = Agent(Aim([[0.3, 0.1]]), [lambda obs, act: 0 * act.sum(-1) - 3.5], [-1.0, -1.0], [1.0, 1.0])
    found = gap(agent, table(1))
    assert found.gap.tolist() == found.relative.tolist() == found.own_fit.tolist() == [0.0]
    assert found.basin.tolist() == [-1]
    assert found.optima.tolist() == [0]
    assert found.reaches_best.tolist() == [True]
    assert found.over_states().gap.value == 0.0


def test_distances_in_a_box_of_unequal_sides():
    target = torch.tensor([80.0, 3.0], dtype=torch.float64)
    agent = Agent(
        Aim([[20.0, -1.0]]), [lambda obs, act: -((act - target) / 10).square().sum(-1)], [10.0, -3.0], [90.0, 5.0]
    )
    found = gap(agent, table(1))
    assert float(found.distance) == pytest.approx(math.hypot(60, 4), abs=1e-2)
    assert float(found.distance_share) == pytest.approx(math.hypot(60 / 80, 4 / 8) / math.sqrt(2), abs=1e-3)
    assert found.diagonal == pytest.approx(math.hypot(80, 8))


def test_a_stochastic_policy_has_the_gap_of_its_mode_and_the_expected_one():
    """Q = −(a − c)²: the expected gap is (μ − c)² + σ²."""
    means = torch.tensor([-0.3, 0.0, 0.5], dtype=torch.float64)
    sigma = 0.1
    heads = torch.stack([means, torch.full_like(means, math.log(sigma))], -1)
    critic = lambda obs, act: -(act[..., 0] - 0.2).square()  # noqa: E731
    agent = Agent(Aim(heads), [critic], [-1.0], [1.0], policy=Gaussian(), entropy=0.2)
    found = gap(agent, table(3), draws=256, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(found.gap, (means - 0.2).square(), atol=1e-6, rtol=0)
    z = (found.expected - found.gap - sigma**2) / found.expected_stderr
    assert float(z.abs().max()) < 4.5
    assert bool((found.expected_stderr < 0.2 * sigma**2).all())
    estimates = found.over_states()
    assert "entropy" in estimates.gap.caveat
    assert "entropy" in estimates.gap.objective
    again = gap(agent, table(3), draws=256, generator=torch.Generator().manual_seed(3))
    assert torch.equal(found.expected, again.expected)


def test_critics_by_themselves_and_together():
    bowls = [lambda obs, act, at=at: -(act[..., 0] - at).abs() for at in (-0.5, 0.3)]
    agent = Agent(Aim([[-0.1]]), bowls, [-1.0], [1.0], reduction="min")
    found = gap_by_critic(agent, table(1))
    assert [round(float(one.gap), 6) for one in found.values()] == [0.0, 0.4, 0.4]
    assert list(found) == ["followed", "critic 0", "critic 1"]
    first = gap_by_critic(Agent(Aim([[-0.1]]), bowls, [-1.0], [1.0]), table(1))
    assert first["followed"] is first["critic 0"]


def test_means_over_states_hold_the_expected_gap():
    """Peaks of random height at random places: the gap's mean over all states is known, and mostly in the interval."""
    generator = torch.Generator().manual_seed(0)
    repetitions, states = 200, 12
    count = repetitions * states
    # In three states of four the actor is at the peak; else it is off by u: the gap is u, of mean 1/2.
    off = (torch.rand(count, generator=generator) < 0.25) * torch.rand(count, generator=generator)
    agent = Agent(Aim(off.double()[:, None]), [lambda obs, act: -act[..., 0].abs()], [-1.0], [1.0])
    whole = gap(agent, table(count), local_optima(agent, table(count), starts=2))
    torch.testing.assert_close(whole.gap, off.double(), atol=1e-6, rtol=0)
    held = 0
    for some in torch.arange(count).split(states):
        part = {name: value[some] for name, value in vars(whole).items() if isinstance(value, torch.Tensor)}
        low, high = replace(whole, **part).over_states().gap.interval()
        held += low <= 0.125 <= high
    assert held / repetitions >= 0.95 - 3.5 * math.sqrt(0.95 * 0.05 / repetitions)


def test_episodes_widen_the_intervals():
    heads = torch.linspace(-1, 1, 24)[:, None]
    agent = Agent(Aim(heads), [lambda obs, act: ramp(act)], [-1.0], [1.0])
    found = gap(agent, table(24))
    alone, grouped = found.over_states().gap, found.over_states(torch.arange(24) // 6).gap
    assert found.over_states((torch.arange(24) // 6).tolist()).gap == grouped
    assert alone.value == pytest.approx(grouped.value)
    assert (alone.samples, grouped.samples) == (24, 4)
    assert grouped.interval()[1] - grouped.interval()[0] > alone.interval()[1] - alone.interval()[0]


def test_float32_agents_and_rounding():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            generator = torch.Generator().manual_seed(5)
            self.first, self.second = nn.Linear(3, 64), nn.Linear(64, 1)
            for layer in (self.first, self.second):
                nn.init.normal_(layer.weight, std=1.0, generator=generator)
                nn.init.normal_(layer.bias, std=1.0, generator=generator)

        def forward(self, obs, act):
            return self.second(self.first(torch.cat([obs, act], -1)).relu()).squeeze(-1)

    actor = nn.Linear(1, 2)
    nn.init.constant_(actor.weight, 0.3)
    nn.init.constant_(actor.bias, -0.2)
    agent = Agent(actor, [Net()], [-1.0, -1.0], [1.0, 1.0])
    found = gap(agent, torch.randn(40, 1, generator=torch.Generator().manual_seed(0)))
    for part in (found.gap, found.own_fit, found.basin_choice):
        assert part.dtype == torch.float32
        assert bool((part >= 0).all())
    torch.testing.assert_close(found.own_fit + found.basin_choice, found.gap)
    assert bool((found.reaches_best == (found.rank == 1)).all())
    assert bool((found.relative <= 1).all())


def test_wrong_input_is_refused_in_one_line():
    agent = Agent(Aim([[0.0], [0.1]]), [lambda obs, act: ramp(act)], [-1.0], [1.0])
    found = gap(agent, table(2))
    for match, call in [
        ("draws", lambda: gap(agent, table(2), draws=1)),
        ("threshold", lambda: gap(agent, table(2), threshold=-1.0)),
        ("critic: 2", lambda: gap(agent, table(2), critic=2)),
        ("2 states|1 states", lambda: gap(agent, table(2), local_optima(agent, table(1)))),
        ("episode: 3 numbers for 2 states", lambda: found.over_states(torch.arange(3))),
        ("episode: 3 numbers for 2 states", lambda: found.over_states([0, 1, 2])),
        ("episode: ", lambda: found.over_states(["a", "b"])),
        ("NaN", lambda: gap(Agent(Aim([[0.0]]), [lambda o, a: a[..., 0] * math.nan], [-1.0], [1.0]), table(1))),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_level_critic_is_said_to_be_one():
    """Two states of four level, one of them but for a last digit of float32: there is no best action to reach."""
    slopes = torch.tensor([0.0, 1e-9, 1.0, 1.0])

    def q(obs, act):
        return 5.0 + slopes[obs[..., 0].round().long()] * act[..., 0].float()

    actor = nn.Linear(1, 1)
    nn.init.zeros_(actor.weight)
    nn.init.constant_(actor.bias, 0.5)
    found = gap(Agent(actor, [q], [-1.0], [1.0]), torch.arange(4.0)[:, None])
    assert found.level.tolist() == [True, True, False, False]
    assert found.gap.tolist() == pytest.approx([0.0, 0.0, 0.5, 0.5])
    assert found.relative.tolist() == pytest.approx([0.0, 0.0, 0.25, 0.25])
    assert found.optima.tolist() == [0, 0, 1, 1]
    means = found.over_states()
    assert means.level.value == 0.5
    assert means.level.scale == "share"
    assert (means.reaches_best.value, means.reaches_best.samples) == (1.0, 2)


def test_of_a_critic_that_is_level_everywhere_no_best_is_reached():
    agent = Agent(Aim([[0.3, 0.1]]), [lambda obs, act: 0 * act.sum(-1) - 3.5], [-1.0, -1.0], [1.0, 1.0])
    means = gap(agent, table(1)).over_states()
    assert means.level.value == 1.0
    assert math.isnan(means.reaches_best.value)
    assert means.reaches_best.samples == 0
    # A gap that is small beside the values is a gap: the range is what counts.
    small = Agent(Aim([[0.3, 0.1]]), [lambda obs, act: 1e-6 * act.sum(-1) - 3.5], [-1.0, -1.0], [1.0, 1.0])
    assert gap(small, table(1)).level.tolist() == [False]


def test_two_roundings_are_no_relative_gap():
    """In float32 the range of a critic on 1000 with steps of a last digit is a rounding, and so is the gap."""
    agent = Agent(nn.Linear(1, 1), [lambda obs, act: 1000 + 3e-5 * (9 * act[..., 0]).sin()], [-1.0], [1.0])
    found = gap(agent, torch.zeros(3, 1))
    assert found.level.tolist() == [True] * 3
    assert found.gap.tolist() == found.relative.tolist() == found.basin_choice.tolist() == [0.0] * 3
