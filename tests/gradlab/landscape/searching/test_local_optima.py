"""Local optima on landscapes whose optima are known, against the listed numbers and closed forms."""

import itertools
import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import gap, local_optima
from gradlab.worlds.landscapes import SineRamp

LOW, HIGH = torch.tensor([-1.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)


def box(size, dtype=torch.float64):
    return -torch.ones(size, dtype=dtype), torch.ones(size, dtype=dtype)


class Listed:
    """The case's numbers as written down in the specification, not as the world computes them."""

    actions = (0.837838, 0.171171, -0.495495, -1.0)
    values = (1.334234, 1.067567, 0.800901, -0.4)
    best_share, mean_gap = 0.252252, 0.407280


def test_sine_ramp_has_its_four_maxima_values_and_basins():
    starts = 256
    found = local_optima(SineRamp().q, LOW, HIGH, starts=starts)
    assert found.actions[0].flatten().tolist() == pytest.approx(Listed.actions, abs=2e-6)
    assert found.values[0].tolist() == pytest.approx(Listed.values, abs=1e-6)
    assert found.on_boundary[0].tolist() == [False, False, False, True]
    assert found.count().tolist() == [4]
    binomial = math.sqrt(Listed.best_share * (1 - Listed.best_share) / starts)
    assert float(found.basin_share[0][0]) == pytest.approx(Listed.best_share, abs=3 * binomial)
    assert float(found.basin_share[0].sum()) == pytest.approx(1.0)
    # Sobol points fill the interval evenly, so that the mean over them is far closer than a random one.
    assert float(found.mean_gap()) == pytest.approx(Listed.mean_gap, abs=0.02)


def test_persistence_is_the_height_over_the_pass_to_a_higher_maximum():
    world = SineRamp()
    found = local_optima(world.q, LOW, HIGH)
    minima = world.values(world._stationary(-1.0))  # by increasing a: between −1 and −.4955, then onwards
    lowest = minima.min()
    expected = [1.334234 - lowest, 1.067567 - minima[2], 0.800901 - minima[1], -0.4 - minima[0]]
    assert found.persistence[0].tolist() == pytest.approx(expected, rel=2e-3)
    assert found.value_range.tolist() == pytest.approx([1.334234 - lowest], rel=1e-6)


@pytest.mark.parametrize(("peak", "left"), [(2, 2), (1, 1), (0, 0)])
def test_surrogates_lose_the_maxima_below_their_threshold(peak, left):
    world = SineRamp()
    threshold = float(sorted(world.values(world.maxima()), reverse=True)[peak])
    found = local_optima(lambda a: world.surrogate(a, threshold), LOW, HIGH)
    assert found.count().tolist() == [left]
    assert all(value > threshold for value in found.values[0].tolist())


@pytest.mark.parametrize(("threshold", "left"), [(0.8009, 2), (1.0676, 1), (1.3342, 0)])
def test_surrogates_at_rounded_thresholds_are_judged_by_the_range_of_the_critic_they_come_from(threshold, left):
    world = SineRamp()
    whole = local_optima(world.q, LOW, HIGH)
    found = local_optima(lambda a: world.surrogate(a, threshold), LOW, HIGH, value_range=whole.value_range)
    assert found.count().tolist() == [left]


def test_no_persistence_exceeds_the_range_where_optima_are_parted_by_a_deep_narrow_trench():
    """No start falls into it, and no descent leads there; what crosses it between two optima does."""

    def trench(act):
        return -0.1 * act.square().sum(-1) - torch.exp(-(((act[..., 0] - 0.113) / 0.01) ** 2) / 2)

    found = local_optima(trench, [-1.0, -1.0], [1.0, 1.0])
    assert len(found.values[0]) == 2
    assert found.persistence[0].max() <= found.value_range[0]
    assert found.persistence[0][0] == found.persistence[0].max()
    assert [count.value for _, count in found.curve([0.5, 1.0, 1.01])] == [2, 1, 0]


def test_starts_on_a_plateau_belong_to_no_maximum_unless_it_slopes_up_somewhere():
    # A mesa in the middle with a peak apart from it: one strict maximum, the mesa's starts go nowhere.
    def mesa_and_peak(a):
        x = a.squeeze(-1)
        return torch.maximum((1 - 4 * (x + 0.5).abs()).clamp(0, 0.5), 0.9 - 8 * (x - 0.5).abs())

    found = local_optima(mesa_and_peak, LOW, HIGH, starts=128)
    assert found.actions[0].flatten().tolist() == pytest.approx([0.5], abs=1e-6)
    assert 0.0 < float(found.basin_share[0].sum()) < 0.9


@pytest.mark.parametrize("constant", [0.0, -37.25])
def test_a_constant_critic_has_no_strict_optimum(constant):
    found = local_optima(lambda a: 0.0 * a.sum(-1) + constant, *box(3), states=2)
    assert [len(actions) for actions in found.actions] == [0, 0]
    assert found.count().tolist() == [0, 0]
    assert found.value_range.tolist() == [0.0, 0.0]
    without_graph = local_optima(lambda a: torch.full(a.shape[:-1], constant, dtype=a.dtype), *box(3))
    assert without_graph.count().tolist() == [0]


def mixture(size, modes, width, seed):
    """A sum of equal-width Gaussians: modes of different heights, at least six widths apart and from the faces."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.empty(0, size, dtype=torch.float64)
    while len(centres) < modes:
        trial = 1.6 * torch.rand(1, size, generator=generator, dtype=torch.float64) - 0.8
        if len(centres) == 0 or torch.cdist(trial, centres).min() > 6 * width:
            centres = torch.cat([centres, trial])
    heights = torch.linspace(1.0, 2.0, modes, dtype=torch.float64)

    def q(a):
        squared = (a[..., None, :] - centres).square().sum(-1)
        return (heights * (-squared / (2 * width**2)).exp()).sum(-1)

    return q, centres, heights


@pytest.mark.parametrize(
    ("size", "modes", "width", "starts", "recall"),
    [
        (1, 3, 0.08, 64, 1.0),
        (2, 4, 0.14, 64, 1.0),
        (3, 4, 0.18, 128, 1.0),
        (4, 4, 0.2, 256, 0.9),
        (6, 4, 0.25, 256, 0.9),
    ],
)
def test_mixtures_of_gaussians_give_their_modes(size, modes, width, starts, recall):
    hits = false = 0
    for seed in range(4):
        q, centres, heights = mixture(size, modes, width, seed)
        found = local_optima(q, *box(size), starts=starts)
        real = found.persistence[0] >= 0.01 * found.value_range[0]
        distance = torch.cdist(found.actions[0][real], centres)
        hits += int((distance.amin(0) < 1e-3).sum()) if len(distance) else 0
        # Far from every mode the mixture is flat to rounding; what the tails leave at faces is below the threshold.
        false += int((distance.amin(1) > 1e-2).sum()) if len(distance) else 0
        matched = distance.argmin(1)
        assert found.values[0][real].tolist() == pytest.approx(heights[matched].tolist(), abs=1e-5)
    assert hits >= recall * 4 * modes
    assert false == 0


def test_optima_in_corners_are_found_and_on_the_boundary():
    found = local_optima(lambda a: a.square().sum(-1) + 0.1 * a.sum(-1), *box(3), starts=128)
    assert found.count().tolist() == [8]
    assert bool(found.on_boundary[0].all())
    assert sorted(found.actions[0].flatten().unique().tolist()) == [-1.0, 1.0]
    assert found.values[0].tolist() == pytest.approx([3.3, 3.1, 3.1, 3.1, 2.9, 2.9, 2.9, 2.7])


def test_a_curved_ridge_is_one_optimum():
    # The straight line between two points of the arc crosses low ground; only a bent path stays up.
    def banana(a):
        x, y = a.unbind(-1)
        radius = (x.square() + (y + 0.9).square()).sqrt()
        return -8 * (radius - 1.2).abs() - 0.2 * x.abs()

    found = local_optima(banana, *box(2))
    assert found.count().tolist() == [1]
    assert found.actions[0][0].tolist() == pytest.approx([0.0, 0.3], abs=1e-3)


def test_rastrigin_in_two_dimensions():
    def rastrigin(a):
        return -(2.5 * a.square() + 1 - (4 * math.pi * a).cos()).sum(-1)

    line = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    heights = rastrigin(line[:, None])
    inner = ((heights[1:-1] > heights[:-2]) & (heights[1:-1] > heights[2:])).nonzero().flatten() + 1
    ends = [i for i, inward in ((0, 1), (len(line) - 1, -2)) if heights[i] > heights[inward]]
    per_axis = len(inner) + len(ends)
    found = local_optima(rastrigin, *box(2), starts=512)
    assert found.count().tolist() == [per_axis**2]


def test_states_do_not_mix():
    peaks = torch.tensor([-0.7, 0.1, 0.6], dtype=torch.float64)
    found = local_optima(lambda a: -(a.squeeze(-1) - peaks[:, None]).abs(), LOW, HIGH, states=3, starts=16)
    assert torch.cat(found.actions).flatten().tolist() == pytest.approx(peaks.tolist(), abs=1e-6)
    assert found.best_action.flatten().tolist() == pytest.approx(peaks.tolist(), abs=1e-6)


def test_actions_are_in_the_units_of_the_box():
    found = local_optima(lambda a: -((a - torch.tensor([30.0, -2.0])) / 5).square().sum(-1), [10.0, -3.0], [90.0, 4.0])
    assert found.actions[0][0].tolist() == pytest.approx([30.0, -2.0], abs=1e-2)


class Net(nn.Module):
    def __init__(self, obs, act, width=32):
        super().__init__()
        sizes = [obs + act, width, width, 1]
        self.layers = nn.ModuleList(nn.Linear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(sizes))
        generator = torch.Generator().manual_seed(obs + act)
        for layer in self.layers:
            spread = math.sqrt(2 / layer.in_features)
            nn.init.normal_(layer.weight, std=spread, generator=generator)
            nn.init.normal_(layer.bias, std=0.3, generator=generator)

    def forward(self, obs, act):
        x = torch.cat([obs, act], -1)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x).squeeze(-1)


class Aim(nn.Module):
    """An actor that gives one action in every state."""

    def __init__(self, action):
        super().__init__()
        self.action = nn.Parameter(torch.as_tensor(action, dtype=torch.float64))

    def forward(self, obs):
        return self.action.expand(len(obs), -1)


@pytest.mark.parametrize("size", [1, 17])
def test_one_and_seventeen_actions(size):
    agent = Agent(Aim([0.0] * size), [Net(4, size)], [-1.0] * size, [1.0] * size)
    obs = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = local_optima(agent, obs, starts=16)
    assert all(len(actions) >= 1 and actions.shape[1] == size for actions in found.actions)
    for s, (actions, values) in enumerate(zip(found.actions, found.values, strict=True)):
        assert torch.all(values[:-1] >= values[1:])
        torch.testing.assert_close(agent.q(obs[s].expand(len(actions), -1), actions).detach(), values)
        # No better action nearby: what makes each of them an optimum.
        near = torch.randn(400, *actions.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        around = (actions + 1e-3 * torch.nn.functional.normalize(near, dim=-1)).clamp(-1, 1)
        rise = agent.q(obs[s].expand(len(actions), -1), around).detach() - values
        assert float(rise.max()) <= 1e-4 * float(found.value_range[s])


def test_equal_calls_give_equal_answers_and_leave_the_global_generator_alone():
    agent = Agent(Aim([0.3, -0.2]), [Net(4, 2)], [-1.0, -1.0], [1.0, 1.0])
    obs = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = torch.random.get_rng_state()
    first, second = (local_optima(agent, obs, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.values, second.values, strict=True))
    assert agent.actor.action.grad is None


def test_the_actor_on_the_way_to_a_lower_optimum_is_told_so():
    world = SineRamp()

    class Critic(nn.Module):
        def forward(self, obs, act):
            return world.q(act)

    for start, rank, reached in [(0.1, 1, 1.067567), (0.8, 0, 1.334234), (-0.95, 3, -0.4)]:
        agent = Agent(Aim([start]), [Critic()], [-1.0], [1.0])
        obs = torch.zeros(2, 1, dtype=torch.float64)
        optima = local_optima(agent, obs)
        assert optima.actor.tolist() == [rank, rank]
        assert float(optima.values[0][rank]) == pytest.approx(reached, abs=1e-6)
        standing = gap(agent, obs, optima)
        at = float(world.q(torch.tensor([[start]], dtype=torch.float64)))
        assert standing.gap.tolist() == pytest.approx([1.334234 - at] * 2, abs=1e-6)
        assert standing.relative.tolist() == pytest.approx(
            [(1.334234 - at) / float(optima.value_range[0])] * 2, rel=1e-5
        )
        assert standing.distance.tolist() == pytest.approx([0.837838 - start] * 2, abs=1e-5)
        assert standing.reaches_best.tolist() == [rank == 0] * 2


def test_the_gap_is_never_negative_and_zero_at_the_top():
    agent = Agent(Aim([1.0, 1.0]), [Net(4, 2)], [-1.0, -1.0], [1.0, 1.0])
    obs = torch.randn(32, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert bool((gap(agent, obs).gap >= 0).all())
    assert bool((gap(agent, obs, local_optima(agent, obs, starts=1, steps=1)).gap >= 0).all())
    best = local_optima(agent, obs[:1]).best_action
    top = Agent(Aim(best[0].tolist()), [Net(4, 2)], [-1.0, -1.0], [1.0, 1.0])
    assert float(gap(top, obs[:1]).gap) == pytest.approx(0.0, abs=1e-12)


def test_one_critic_or_the_one_the_actor_follows():
    class Bowl(nn.Module):
        def __init__(self, at):
            super().__init__()
            self.at = at

        def forward(self, obs, act):
            return -(act - self.at).abs().sum(-1)

    agent = Agent(Aim([0.0]), [Bowl(-0.5), Bowl(0.3)], [-1.0], [1.0], reduction="min")
    obs = torch.zeros(1, 1, dtype=torch.float64)
    where = [float(local_optima(agent, obs, critic=c).actions[0][0]) for c in (0, 1, None)]
    assert where == pytest.approx([-0.5, 0.3, -0.1], abs=1e-6)


def test_float32_agents_work_in_float32():
    agent = Agent(Aim([0.0]).float(), [Net(4, 1).float()], [-1.0], [1.0])
    found = local_optima(agent, torch.zeros(2, 4))
    assert found.actions[0].dtype == found.values[0].dtype == torch.float32


def test_wrong_input_is_refused_in_one_line():
    agent = Agent(Aim([0.0]), [Net(4, 1)], [-1.0], [1.0])
    obs = torch.zeros(2, 4, dtype=torch.float64)

    def wrong(match, call):
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)

    wrong("unbounded|bounded box", lambda: local_optima(lambda a: a.sum(-1), [-math.inf], [1.0]))
    wrong("low must be below high", lambda: local_optima(lambda a: a.sum(-1), [1.0], [1.0]))
    wrong("NaN", lambda: local_optima(lambda a: a.sum(-1) * math.nan, [-1.0], [1.0]))
    wrong("high is missing", lambda: local_optima(lambda a: a.sum(-1), [-1.0]))
    wrong("own action box", lambda: local_optima(agent, obs, torch.ones(1)))
    wrong("expected values", lambda: local_optima(lambda a: a, [-1.0], [1.0]))
    wrong("differentiable", lambda: local_optima(lambda a: a.detach().sum(-1), [-1.0], [1.0]))
    wrong("starts", lambda: local_optima(agent, obs, starts=0))
    for span in (-1.0, math.nan, torch.ones(3)):
        wrong("value_range", lambda span=span: local_optima(agent, obs, value_range=span))
    wrong("threshold", lambda: local_optima(agent, obs).count(-1.0))
    wrong("critic: 3", lambda: local_optima(agent, obs, critic=3))
    wrong("no critic", lambda: local_optima(Agent(Aim([0.0]), [], [-1.0], [1.0]), obs))
    wrong("states", lambda: gap(agent, obs, local_optima(agent, obs[:1])))
    wrong("without the actor", lambda: gap(agent, obs, local_optima(lambda a: a.sum(-1), [-1.0], [1.0], states=2)))
