"""Landscapes with known maxima: against a grid, slow ascent from random starts, and gradlab's own search."""

import itertools
import math

import numpy as np
import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.landscape import local_optima
from gradlab.worlds.landscapes import (
    LANDSCAPES,
    GaussianBumps,
    Islands,
    Mesa,
    Parabola,
    SeparableProduct,
    SeparableSum,
    SineRamp,
)

IDS = [f"{i}-{landscape.name}-{len(landscape.low)}d" for i, landscape in enumerate(LANDSCAPES)]
EACH = pytest.mark.parametrize("landscape", LANDSCAPES, ids=IDS)


def values_at(landscape, points):
    return landscape.q(torch.as_tensor(points, dtype=torch.float64)).numpy()


def grid_maxima(landscape, steps):
    """Points of a grid that are above all their neighbours (plateaus have none)."""
    axes = [np.linspace(low, high, steps) for low, high in zip(landscape.low, landscape.high, strict=True)]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    padded = np.pad(values_at(landscape, mesh), 1, constant_values=-np.inf)
    inner = tuple(slice(1, -1) for _ in axes)
    top = np.ones(mesh.shape[:-1], dtype=bool)
    for shift in itertools.product((-1, 0, 1), repeat=len(axes)):
        if any(shift):
            moved = tuple(slice(1 + s, n - 1 + s or None) for s, n in zip(shift, padded.shape, strict=True))
            top &= padded[inner] > padded[moved]
    return mesh[top]


def climb(landscape, starts, rate, steps):
    """Projected gradient ascent in small steps, by nothing but autograd."""
    at, low, high = starts.clone(), torch.from_numpy(landscape.low), torch.from_numpy(landscape.high)
    for _ in range(steps):
        at.requires_grad_()
        (gradient,) = torch.autograd.grad(landscape.q(at).sum(), at)
        at = (at.detach() + rate * gradient).clamp(low, high)
    return at.detach()


@EACH
def test_values_are_those_of_q_and_sorted(landscape):
    optima = landscape.optima()
    assert optima.actions.shape == (len(optima.values), len(landscape.low))
    assert values_at(landscape, optima.actions) == pytest.approx(optima.values, abs=1e-12)
    assert (np.diff(optima.values) <= 0).all()
    assert ((optima.actions >= landscape.low) & (optima.actions <= landscape.high)).all()


@EACH
def test_maxima_are_all_there_are_on_a_grid(landscape):
    size = len(landscape.low)
    found = grid_maxima(landscape, {1: 4001, 2: 401, 3: 61}[size])
    known = landscape.optima().actions
    assert len(found) == len(known)
    spacing = 2 / ({1: 4000, 2: 400, 3: 60}[size])
    for action in known:
        assert np.abs(found - action).max(-1).min() <= 1.01 * spacing


@EACH
def test_shares_by_slow_ascent(landscape):
    """Uniform starts that climb in small steps end at each maximum as often as said, or stay on a plateau."""
    optima, n = landscape.optima(), 3000
    size = len(landscape.low)
    starts = torch.rand(n, size, generator=torch.Generator().manual_seed(12), dtype=torch.float64) * 2 - 1
    ends = climb(landscape, starts, 0.004, 2000).numpy()
    if not len(optima.values):
        assert values_at(landscape, ends).max() <= 0.5
        return
    distance = np.abs(ends[:, None] - optima.actions).max(-1)
    nearest, near = distance.argmin(-1), distance.min(-1) < 0.05
    shares = np.array([(near & (nearest == k)).mean() for k in range(len(optima.values))])
    stderr = np.sqrt(optima.shares * (1 - optima.shares) / n)
    # Starts within a step of a ridge may fall to the other side; they are fewer than one in a hundred.
    assert np.abs(shares - optima.shares).max() <= 4 * stderr.max() + 0.005
    assert near.mean() == pytest.approx(optima.shares.sum(), abs=0.03)
    best = optima.values[nearest[near]]
    assert landscape.mean_gap() == pytest.approx(
        (optima.values[0] - best).mean(), abs=0.05 * np.ptp(optima.values) + 1e-9
    )


@EACH
def test_the_search_finds_them(landscape):
    """gradlab's own search, which shares no code with the closed forms."""
    optima, starts = landscape.optima(), 512
    found = local_optima(landscape.q, landscape.low.tolist(), landscape.high.tolist(), starts=starts)
    assert len(found.values[0]) == len(optima.values)
    if not len(optima.values):
        assert float(found.basin_share[0].sum()) == 0.0
        return
    assert found.values[0].numpy() == pytest.approx(optima.values, abs=1e-5)
    distance = np.abs(found.actions[0].numpy()[:, None] - optima.actions).max(-1)
    match = distance.argmin(-1)
    # The search's numbers are float32: 5e-7 of height on a hill of curvature 1 is 1e-3 of width.
    assert distance.min(-1).max() < 3e-3
    assert sorted(match) == list(range(len(match)))
    assert (found.on_boundary[0].numpy() == landscape.on_boundary()[match]).all()
    shares = optima.shares[match]
    binomial = np.sqrt(shares * (1 - shares) / starts)
    apart = found.basin_share[0].numpy() - shares
    assert (apart >= -4 * binomial).all()
    if shares.sum() > 0.999:
        assert (apart <= 4 * binomial).all()
    else:
        # The search counts a plateau to the island whose shore it is, where ascent itself would not move.
        assert float(found.basin_share[0].sum()) == pytest.approx(1.0)


def test_listed_numbers():
    world = SineRamp(frequency=3 * math.pi, slope=0.4)
    optima = world.optima()
    assert optima.actions.flatten().tolist() == pytest.approx([0.837838, 0.171171, -0.495495, -1.0], abs=5e-7)
    assert optima.values.tolist() == pytest.approx([1.334234, 1.067567, 0.800901, -0.4], abs=5e-7)
    assert (world.best_share(), world.mean_gap()) == pytest.approx((0.252252, 0.407280), abs=5e-7)
    assert world.on_boundary().tolist() == [False, False, False, True]
    for peak, left in ((2, 2), (1, 1), (0, 0)):
        assert len(world.surrogate_optima(float(optima.values[peak])).values) == left


@EACH
def test_surrogates_keep_what_is_above_their_threshold(landscape):
    optima = landscape.optima()
    for tau in optima.values:
        left = landscape.surrogate_optima(float(tau))
        assert len(left.values) == (optima.values > tau).sum()
        assert values_at(landscape, left.actions) == pytest.approx(left.values)
        actions = torch.from_numpy(np.atleast_2d(optima.actions))
        assert landscape.surrogate(actions, float(tau)).min() >= tau
    if len(optima.values) and len(landscape.low) <= 2:
        tau = float(optima.values[-1])
        cut = type(
            "Cut", (), {"q": lambda self, a: landscape.surrogate(a, tau), "low": landscape.low, "high": landscape.high}
        )()
        assert len(grid_maxima(cut, {1: 4001, 2: 401}[len(landscape.low)])) == (optima.values > tau).sum()


def test_counts_multiply():
    line = SineRamp()
    cube = SeparableSum([line, line, Parabola(1.0)])
    assert len(cube.optima().values) == 4 * 4 * 2
    assert cube.optima().shares.sum() == pytest.approx(1.0)
    assert cube.best_share() == pytest.approx(line.best_share() ** 2 * 0.5)
    corners = SeparableSum([Parabola(1.0)] * 4)
    assert len(corners.optima().values) == 2**4
    assert corners.on_boundary().all()


def test_power_cells():
    """Two bumps of unlike height on a line: the wall lies where they are equally high."""
    world = GaussianBumps([[-0.5], [0.5]], [1.0, 0.6], width=0.4)
    wall = 0.4**2 * math.log(1.0 / 0.6) / 1.0
    left, right = world._values(torch.tensor([[wall]], dtype=torch.float64))[0].tolist()
    assert left == pytest.approx(right)
    assert world.optima().shares.tolist() == pytest.approx([(1 + wall) / 2, (1 - wall) / 2])
    three = GaussianBumps(np.eye(3) * 0.5, [1.0, 1.1, 1.2], width=0.3)
    assert three.optima().shares is None
    with pytest.raises(GradlabError, match="no closed form"):
        three.best_share()


def test_a_mesa_has_no_maximum():
    assert len(Mesa(3).optima().values) == 0
    with pytest.raises(GradlabError, match="no maximum"):
        Mesa(3).best_share()


def test_wrong_input():
    with pytest.raises(GradlabError, match="buried"):
        GaussianBumps([[-0.1], [0.1]], [1.0, 0.2], width=0.5)
    with pytest.raises(GradlabError, match="outside the box"):
        GaussianBumps([[1.5]], [1.0])
    with pytest.raises(GradlabError, match="must be"):
        GaussianBumps([[0.5]], [1.0, 2.0])
    with pytest.raises(GradlabError, match="apart"):
        Islands([[-0.1], [0.1]], [1.0, 1.0], 0.2)
    with pytest.raises(GradlabError, match="at least one line"):
        SeparableSum([])
    with pytest.raises(GradlabError, match="positive"):
        SeparableProduct([SineRamp()], offsets=[0.0])
    with pytest.raises(GradlabError, match="bend"):
        Parabola(0.0)
    with pytest.raises(GradlabError, match="top below"):
        Mesa(top=1.0)
    with pytest.raises(GradlabError, match="width"):
        GaussianBumps([[0.5]], [1.0], width=0.0)
    with pytest.raises(GradlabError, match="slope"):
        SineRamp(1.0, 2.0)
