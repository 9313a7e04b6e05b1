"""Exact optima of ReLU critics on a line: against fine grids, a slow pairing of peaks, and critics trained or not."""

import copy
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.adapters import load
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import exact_optima, local_optima
from gradlab.landscape.lines.breakpoints import segment_breakpoints
from gradlab.landscape.lines.exact import peaks_between

CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"
TRAINED = {
    "sac_invertedpendulum_5000": (0,),
    "td3_reacher_1000": (0, 1),
    "td3_reacher_6000": (0, 1),
    "ddpg_reacher_3000": (0, 1),
    "sac_reacher_3000": (0, 1),
    "td3_halfcheetah_10000": (0, 3),
    "td3_halfcheetah_50000": (1, 5),
}


class Network(nn.Module):
    """A ReLU critic of weights large enough to bend a lot."""

    def __init__(self, seed, obs=3, act=1, width=24, slope=0.0, skip=False):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        sizes = [obs + act, width, width, 1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=1.5 * (2 / layer.in_features) ** 0.5, generator=generator)
            nn.init.normal_(layer.bias, std=0.5, generator=generator)
        self.slope, self.skip = slope, skip

    def forward(self, obs, act):
        x = torch.cat([obs, act], -1)
        first = nn.functional.leaky_relu(self.layers[0](x), self.slope)
        second = nn.functional.leaky_relu(self.layers[1](first), self.slope)
        return self.layers[2](second + first if self.skip else second).squeeze(-1)


def agent_of(critics, obs=3, act=1, **more):
    actor = nn.Linear(obs, act)
    nn.init.constant_(actor.weight, 0.0)
    nn.init.constant_(actor.bias, 0.1)
    return Agent(actor, critics, [-1.0] * act, [1.0] * act, **more)


def observations(count, size=3, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def peaks_of_a_line(height):
    """Persistence of every strict local maximum of values along a line, by index: walk to the nearest higher value."""
    found = {}
    for i, here in enumerate(height):
        left, right = height[:i][::-1], height[i + 1 :]
        if (len(left) and left[0] >= here) or (len(right) and right[0] >= here):
            continue
        passes = []
        for side in (left, right):
            higher = np.nonzero(side > here)[0]
            if len(higher):
                passes.append(side[: higher[0]].min(initial=here))
        found[i] = here - max(passes) if passes else height.max() - height.min()
    return found


def basins_of_a_line(height):
    """For every point of a line the index where stepping to the higher neighbour, over and over, ends."""
    padded = np.pad(height, 1, constant_values=-np.inf)
    near = np.stack([height, padded[:-2], padded[2:]])
    ends = np.arange(len(height)) + np.array([0, -1, 1])[near.argmax(0)]
    while not np.array_equal(ends, ends[ends]):
        ends = ends[ends]
    return ends


def line_values(agent, obs, act, coordinate, points, critic=None):
    """Q along a coordinate, [S, points], in float64."""
    double = agent.snapshot(double=True)
    low, high = double.action_low[coordinate], double.action_high[coordinate]
    at = torch.linspace(0, 1, points, dtype=torch.float64)
    grid = act.double()[None].repeat(points, 1, 1)
    grid[:, :, coordinate] = (low + at * (high - low))[:, None]
    with torch.no_grad():
        return (low + at * (high - low)).numpy(), double.q(obs.double(), grid, critic=critic).numpy().T


def check_against_a_grid(agent, obs, coordinate=0, critic=None, points=20_001):
    """Everything an exact answer says, against nothing but values on a fine grid; the number of optima compared."""
    with torch.no_grad():
        act = agent.action(obs)
    found = exact_optima(agent, obs, coordinate=coordinate, critic=critic)
    line, heights = line_values(agent, obs, act, coordinate, points, critic)
    spacing, compared = line[1] - line[0], 0
    for s, height in enumerate(heights):
        span = height.max() - height.min()
        steepest = np.abs(np.diff(height)).max()
        assert float(found.value_range[s]) == pytest.approx(span, rel=1e-3)
        on_grid = peaks_of_a_line(height)
        # What a grid can see: a peak that stands out by more than one step of it.
        clear = {line[i]: (height[i], size) for i, size in on_grid.items() if size > 4 * steepest}
        mine = found.persistence[s] > 4 * steepest
        where = found.actions[s][mine].numpy()
        assert len(where) == len(clear)
        for at, value, size in zip(where, found.values[s][mine], found.persistence[s][mine], strict=True):
            nearest = min(clear, key=lambda x: abs(x - at))
            assert abs(nearest - at) <= 1.01 * spacing
            assert 0 <= float(value) - clear[nearest][0] + 1e-12 * span <= 2 * steepest
            assert float(size) == pytest.approx(clear[nearest][1], abs=2 * steepest)
            compared += 1
    return compared


@pytest.mark.parametrize(("slope", "skip"), [(0.0, False), (0.2, False), (0.0, True)])
def test_random_networks_against_a_fine_grid(slope, skip):
    agent = agent_of([Network(3, slope=slope, skip=skip)])
    assert check_against_a_grid(agent, observations(12)) >= 12


def test_the_least_of_several_critics_bends_where_they_cross():
    agent = agent_of([Network(seed) for seed in (1, 2, 3)], reduction="min")
    obs = observations(12)
    assert check_against_a_grid(agent, obs) >= 12
    assert check_against_a_grid(agent, obs, critic=1) >= 12
    assert check_against_a_grid(agent_of(agent.critics, reduction="mean"), obs) >= 12


def test_basins_against_walking_uphill_on_a_grid():
    agent, obs = agent_of([Network(5)]), observations(8)
    found = exact_optima(agent, obs)
    line, heights = line_values(agent, obs, torch.zeros(8, 1), 0, 4_001)
    for s, height in enumerate(heights):
        ends = line[basins_of_a_line(height)]
        for at, share in zip(found.actions[s].tolist(), found.basin_share[s].tolist(), strict=True):
            assert (np.abs(ends - at) < 1e-3).mean() == pytest.approx(share, abs=2e-3)
        assert float(found.basin_share[s].sum()) <= 1 + 1e-12


def test_pairing_of_peaks_against_the_slow_way():
    """Heights drawn from few numbers, so that ties and level pieces occur."""
    rng = np.random.default_rng(0)
    heights = rng.integers(0, 12, size=(300, 15)).astype(float)
    share = torch.linspace(0, 1, 15, dtype=torch.float64).expand(300, 15)
    found = peaks_between(share, torch.from_numpy(heights), torch.tensor(0.0), torch.tensor(14.0))
    plateaus = 0
    for s, height in enumerate(heights):
        slow = peaks_of_a_line(height)
        # Of equal peaks the slow way calls each the highest; here the first is, and the others stand over the pass.
        place = [round(a) for a in found.actions[s].tolist()]
        assert sorted(place) == sorted(slow)
        for i, size in zip(place, found.persistence[s].tolist(), strict=True):
            twins = [j for j in range(15) if height[j] == height[i] and j < i]
            passes = [height[min(i, j) : max(i, j)].min() for j in twins]
            higher = [height[min(i, j) : max(i, j) + 1].min() for j in range(15) if height[j] > height[i]]
            assert size == height[i] - max(passes + higher, default=height.min())
        plateaus += int((np.diff(height) == 0).any())
    assert plateaus > 100


def test_a_level_critic_and_a_plateau_have_no_optimum():
    class Level(Network):
        def forward(self, obs, act):
            return 0.0 * super().forward(obs, act) + 7.0

    constant = exact_optima(agent_of([Level(0)]), observations(2))
    assert [len(actions) for actions in constant.actions] == [0, 0]
    assert constant.value_range.tolist() == [0.0, 0.0]

    share = torch.tensor([[0.0, 0.2, 0.5, 0.7, 1.0]], dtype=torch.float64)
    mesa = peaks_between(
        share, torch.tensor([[0.0, 1.0, 1.0, 0.5, 0.8]], dtype=torch.float64), share[0, 0], share[0, -1]
    )
    assert mesa.actions[0].tolist() == [1.0]
    assert mesa.persistence[0].tolist() == pytest.approx([0.3])
    assert mesa.basin_share[0].tolist() == pytest.approx([0.3])
    assert mesa.on_boundary[0].tolist() == [True]
    assert mesa.best_value.tolist() == [1.0]


def test_other_critics_are_refused():
    class Smooth(Network):
        def forward(self, obs, act):
            return super().forward(obs, act).tanh()

    class Kinked(Network):
        def forward(self, obs, act):
            return super().forward(obs, act) + (act.squeeze(-1) - 0.3).abs()

    obs = observations(2)
    for critic in (Smooth(0), Kinked(0), lambda o, a: (a - 0.3).abs().sum(-1)):
        with pytest.raises(GradlabError, match="bends elsewhere") as caught:
            exact_optima(agent_of([critic]), obs)
        assert "\n" not in str(caught.value)
    broken = Network(0)
    nn.init.constant_(broken.layers[1].bias, float("nan"))
    with pytest.raises(GradlabError, match="diverged"):
        exact_optima(agent_of([broken]), obs)
    agent = agent_of([Network(0)])
    with pytest.raises(GradlabError, match="coordinate: 1"):
        exact_optima(agent, obs, coordinate=1)
    with pytest.raises(GradlabError, match="critic: 2"):
        exact_optima(agent, obs, critic=2)
    with pytest.raises(GradlabError, match="act: shape"):
        exact_optima(agent, obs, act=torch.zeros(3, 1))


def test_the_agent_is_left_as_it_was():
    agent = agent_of([Network(0)])
    before = copy.deepcopy(agent.critics[0].state_dict())
    state = torch.random.get_rng_state()
    exact_optima(agent, observations(2))
    assert torch.equal(state, torch.random.get_rng_state())
    for name, value in agent.critics[0].state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])
    assert not any(layer._forward_hooks for layer in agent.critics[0].modules())


def test_breakpoints_are_where_the_slope_changes():
    """Between them the slope is the same at every point, and at nearly all of them it is another on either side."""
    agent, obs = agent_of([Network(7)]).snapshot(double=True), observations(4).double()
    low, high = -torch.ones(4, 1, dtype=torch.float64), torch.ones(4, 1, dtype=torch.float64)
    share, _ = segment_breakpoints(agent, obs, low, high)
    generator = torch.Generator().manual_seed(0)
    for s in range(4):
        knots = share[s].unique()
        slopes = []
        for left, right in itertools.pairwise(knots.tolist()):
            at = left + (right - left) * (0.02 + 0.96 * torch.rand(20, 1, generator=generator, dtype=torch.float64))
            slope = agent.action_gradient(obs[s : s + 1], (2 * at - 1)[:, None]).flatten()
            assert float(slope.max() - slope.min()) <= 1e-9 * float(slope.abs().max())
            slopes.append(float(slope[0]))
        assert len(slopes) > 10
        # The last layer's zero is noted too, and does not bend.
        assert sum(abs(a - b) < 1e-9 for a, b in itertools.pairwise(slopes)) <= 1 + len(slopes) // 10


def on_a_line(agent, obs, act, coordinate):
    """Q as a function of one coordinate, the others fixed: actions [S, k, 1] → values [S, k], float64."""
    double = agent.snapshot(double=True)
    fixed = act.double()

    def q(moving):
        rest = fixed[:, None].expand(-1, moving.shape[1], -1)
        mask = torch.zeros(fixed.shape[1], dtype=torch.bool)
        mask[coordinate] = True
        return double.q(obs.double(), torch.where(mask, moving, rest).transpose(0, 1)).T

    return q


def compare(found, truth, threshold=0.01):
    """Wanted, hit, claimed and false optima of at least this relative persistence; values and heights are asserted.

    An optimum within 10 % of the threshold may be on either side of it, and counts as neither missed nor false.
    """
    wanted = hits = claimed = false = 0
    for s, span in enumerate(truth.value_range.tolist()):
        sizes = truth.persistence[s] / span
        near = torch.cdist(found.actions[s].double(), truth.actions[s][:, None])
        matched = near < 1e-5
        for size, there in zip(
            sizes.tolist(), matched.any(0).tolist() if len(near) else [False] * len(sizes), strict=True
        ):
            wanted += size >= 1.1 * threshold
            hits += size >= 1.1 * threshold and there
        mine = found.persistence[s] / found.value_range[s]
        for i, size in enumerate(mine.tolist()):
            if size < threshold:
                continue
            claimed += 1
            j = int(near[i].argmin())
            if not matched[i, j] or float(sizes[j]) < 0.9 * threshold:
                false += 1
                continue
            assert float(found.values[s][i]) == pytest.approx(float(truth.values[s][j]), abs=1e-6 * span)
            assert size == pytest.approx(float(sizes[j]), abs=0.01)
    return wanted, hits, claimed, false


def test_the_search_finds_the_exact_optima_of_a_hundred_random_networks():
    agents = [agent_of([Network(seed)]) for seed in range(120)]
    obs = [observations(2, seed=seed) for seed in range(120)]
    lines = [on_a_line(agent, o, torch.zeros(2, 1), 0) for agent, o in zip(agents, obs, strict=True)]

    def q(a):
        return torch.cat([line(part) for line, part in zip(lines, a.split(2), strict=True)])

    found = local_optima(q, *BOX, states=240, starts=128)
    totals = np.zeros(4, dtype=int)
    for i, (agent, o) in enumerate(zip(agents, obs, strict=True)):
        truth = exact_optima(agent, o)
        mine = SimpleNamespace(
            actions=found.actions[2 * i : 2 * i + 2],
            values=found.values[2 * i : 2 * i + 2],
            persistence=found.persistence[2 * i : 2 * i + 2],
            value_range=found.value_range[2 * i : 2 * i + 2],
        )
        torch.testing.assert_close(mine.value_range, truth.value_range, rtol=1e-3, atol=0)
        totals += compare(mine, truth)
    wanted, hits, claimed, false = totals
    assert wanted >= 300, "the networks are too tame to test anything"
    assert hits >= 0.99 * wanted
    assert false <= 0.01 * claimed


BOX = torch.tensor([-1.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)


@pytest.mark.parametrize("name", TRAINED)
def test_trained_critics_along_each_coordinate(name):
    """The enumeration against a grid, then the search against the enumeration, on the same lines."""
    agent = load(CHECKPOINTS / f"{name}.zip")
    obs = observations(16, agent.obs_size, seed=1)
    with torch.no_grad():
        act = agent.action(obs)
    for coordinate in TRAINED[name]:
        assert check_against_a_grid(agent, obs[:4], coordinate, points=4_001) >= 4
        truth = exact_optima(agent, obs, coordinate=coordinate)
        found = local_optima(on_a_line(agent, obs, act, coordinate), *BOX, states=16, starts=64)
        torch.testing.assert_close(
            found.best_value, truth.best_value, rtol=0, atol=1e-6 * float(truth.value_range.max())
        )
        wanted, hits, _, false = compare(found, truth)
        assert wanted >= 16
        assert hits == wanted
        assert false == 0


def test_shares_of_starts_agree_with_exact_basins():
    agent, obs, starts = agent_of([Network(9)]), observations(6), 512
    truth = exact_optima(agent, obs)
    found = local_optima(on_a_line(agent, obs, torch.zeros(6, 1), 0), *BOX, states=6, starts=starts)
    apart = []
    for s in range(6):
        near = torch.cdist(found.actions[s], truth.actions[s][:, None])
        for i, share in enumerate(found.basin_share[s].tolist()):
            if float(found.persistence[s][i]) < 0.05 * float(found.value_range[s]):
                continue  # what ends on lesser bumps is counted to the optimum that they are part of
            apart.append(share - float(truth.basin_share[s][int(near[i].argmin())]))
    assert len(apart) >= 6
    # Long first steps carry some starts over a low wall, so that this is near and not exact.
    assert float(np.abs(apart).mean()) < 0.1
