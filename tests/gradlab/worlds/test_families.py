"""Random landscapes with known maxima: against grids, slow ascent, floods and small perturbations."""

import itertools

import numpy as np
import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.worlds.landscapes import (
    FAMILIES,
    Cones,
    CosineBowl,
    Facets,
    Found,
    GaussianMixture,
    Parabola,
    Ring,
    Roof,
    Score,
    SeparableSum,
    SineRamp,
    Trigonometric,
    false_share,
    random_landscape,
    recall,
    score,
)

#: Where plain ascent zigzags across kinks and a grid has peaks of its own.
KINKED_RIDGES = {"ridge around a sphere, 2", "ridge around a sphere, 4", "roof, 2", "roof, 6"}


def values_at(landscape, points):
    return landscape.q(torch.as_tensor(points, dtype=torch.float64)).numpy()


def grid(landscape, steps):
    axes = [np.linspace(low, high, steps) for low, high in zip(landscape.low, landscape.high, strict=True)]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return mesh, values_at(landscape, mesh)


def grid_maxima(height):
    """Which points of a grid are above all their neighbours."""
    padded = np.pad(height, 1, constant_values=-np.inf)
    top = np.ones(height.shape, dtype=bool)
    for shift in itertools.product((-1, 0, 1), repeat=height.ndim):
        if any(shift):
            moved = tuple(slice(1 + s, n - 1 + s or None) for s, n in zip(shift, padded.shape, strict=True))
            top &= height > padded[moved]
    return top


def flood(height):
    """Persistence of a grid's peaks, by index: points join from the highest down, and the lower of two peaks ends."""
    flat, shape = height.ravel(), height.shape
    root, died = np.full(flat.size, -1), {}

    def find(i):
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i in np.argsort(-flat):
        root[i] = i
        here = np.unravel_index(i, shape)
        for shift in itertools.product((-1, 0, 1), repeat=len(shape)):
            there = tuple(np.add(here, shift))
            if any(shift) and all(0 <= x < n for x, n in zip(there, shape, strict=True)):
                j = np.ravel_multi_index(there, shape)
                if root[j] >= 0 and find(i) != find(j):
                    a, b = find(i), find(j)
                    a, b = (a, b) if flat[a] >= flat[b] else (b, a)
                    root[b], died[b] = a, flat[b] - flat[i]
    died[int(flat.argmax())] = flat.max() - flat.min()
    return {np.unravel_index(i, shape): size for i, size in died.items() if size > 0}


@pytest.mark.parametrize("family", FAMILIES)
def test_listed_maxima_are_maxima(family):
    for seed in range(3):
        landscape = random_landscape(family, seed)
        optima = landscape.optima()
        size = len(landscape.low)
        assert optima.actions.shape == (len(optima.values), size)
        assert len(optima.values) >= 1
        assert values_at(landscape, optima.actions) == pytest.approx(optima.values, abs=1e-12)
        assert (np.diff(optima.values) <= 0).all()
        assert ((optima.actions >= -1) & (optima.actions <= 1)).all()
        near = np.random.default_rng(seed).normal(size=(500, 1, size))
        near *= 1e-4 / np.linalg.norm(near, axis=-1, keepdims=True)
        around = np.clip(optima.actions + near, -1, 1)
        moved = np.abs(around - optima.actions).max(-1) > 1e-6
        assert (values_at(landscape, around) - optima.values)[moved].max() < 0


@pytest.mark.parametrize("family", [name for name in FAMILIES if int(name[-1]) <= 2 and name not in KINKED_RIDGES])
def test_there_are_no_others_on_a_grid(family):
    """On kinked ridges a grid has peaks of its own, so that these are left to ascent."""
    for seed in range(4):
        landscape = random_landscape(family, seed)
        known, size = landscape.optima().actions, len(landscape.low)
        steps = {1: 20_001, 2: 801}[size]
        mesh, height = grid(landscape, steps)
        found = mesh[grid_maxima(height)]
        spacing = 2 / (steps - 1)
        assert len(found) == len(known)
        assert np.abs(known[:, None] - found).max(-1).min(-1).max() <= 1.01 * spacing


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in KINKED_RIDGES and not f.startswith("corners")])
def test_slow_ascent_ends_nowhere_else(family):
    """Projected gradient ascent in ever smaller steps, by nothing but autograd, from uniform starts."""
    landscape = random_landscape(family, 5)
    optima, size = landscape.optima(), len(landscape.low)
    generator = torch.Generator().manual_seed(5)
    at = torch.rand(200, size, generator=generator, dtype=torch.float64) * 2 - 1
    for step in np.geomspace(0.02, 1e-4, 800):
        at.requires_grad_()
        (gradient,) = torch.autograd.grad(landscape.q(at).sum(), at)
        outward = ((at <= -1) & (gradient < 0)) | ((at >= 1) & (gradient > 0))
        gradient = gradient.masked_fill(outward, 0.0)
        at = (at.detach() + step * torch.nn.functional.normalize(gradient, dim=-1)).clamp(-1, 1)
    ends = at.detach().numpy()
    close = np.abs(ends[:, None] - optima.actions).max(-1).min(-1) < 0.02
    ground = np.zeros(len(ends), dtype=bool)
    if "plateau" in family or "sea" in family:
        ground = values_at(landscape, ends) <= (0.2 if "plateau" in family else 0.0) + 1e-12
        assert ground.mean() > 0.1
    assert (close | ground).mean() >= 0.99


@pytest.mark.parametrize("seed", range(5))
def test_a_ring_has_no_other_maximum_in_polar_coordinates(seed):
    """On rays the ridge is straight, so that a grid of them has no peaks of its own."""
    landscape = random_landscape("ridge around a sphere, 2", seed)
    angle = np.linspace(0, 2 * np.pi, 1_441)[:-1]
    radius = landscape.radius + np.linspace(-landscape.radius, np.sqrt(2) - landscape.radius, 901)
    radius = np.unique(np.append(radius, landscape.radius))
    points = radius[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    height = np.where((np.abs(points) <= 1).all(-1), values_at(landscape, points), -np.inf)
    tops = grid_maxima(np.concatenate([height, height[:, :1]], 1)[1:])[:, 1:-1]
    where = points[1:, 1:][:, : tops.shape[1]][tops]
    inside = (np.abs(where) < 0.99).all(-1)
    assert inside.sum() <= 1
    assert np.abs(where[inside] - landscape.optima().actions).max(initial=0.0) < 0.01
    # On the box's faces, which rays do not follow, every point has a higher one inwards.
    side = np.stack([np.ones(999), np.linspace(-0.999, 0.999, 999)], -1)
    faces = np.concatenate([side, -side, side[:, ::-1], -side[:, ::-1]])
    assert (values_at(landscape, 0.999 * faces) > values_at(landscape, faces)).mean() > 0.9


@pytest.mark.parametrize("family", ["corners, 3", "corners, 6"])
def test_a_corner_is_listed_if_every_edge_goes_down(family):
    for seed in range(5):
        landscape = random_landscape(family, seed)
        size = len(landscape.low)
        corners = np.array(list(itertools.product((-1.0, 1.0), repeat=size)))
        inwards = corners[:, None, :] - 1e-6 * corners[:, None, :] * np.eye(size)
        falls = (values_at(landscape, inwards) < values_at(landscape, corners)[:, None]).all(-1)
        assert sorted(map(tuple, corners[falls])) == sorted(map(tuple, landscape.optima().actions))
        rng = np.random.default_rng(seed)
        one, two = rng.uniform(-1, 1, (2, 5_000, size))
        middle = values_at(landscape, (one + two) / 2)
        assert (middle <= (values_at(landscape, one) + values_at(landscape, two)) / 2 + 1e-12).all()


@pytest.mark.parametrize("family", ["roof, 2", "roof, 6"])
def test_nothing_is_above_a_roof_and_it_is_concave(family):
    for seed in range(5):
        landscape = random_landscape(family, seed)
        top = landscape.optima()
        rng = np.random.default_rng(seed)
        one, two = rng.uniform(-1, 1, (2, 20_000, len(landscape.low)))
        assert values_at(landscape, one).max() < top.values[0]
        near = np.clip(top.actions + 0.01 * rng.normal(size=one.shape), -1, 1)
        assert values_at(landscape, near).max() < top.values[0]
        middle = values_at(landscape, (one + two) / 2)
        assert (middle >= (values_at(landscape, one) + values_at(landscape, two)) / 2 - 1e-12).all()


@pytest.mark.parametrize(
    "line",
    [
        SineRamp(),
        Parabola(2.0, 0.3),
        CosineBowl(),
        CosineBowl(centre=0.3, frequency=9.0),
        Trigonometric.shubert(shift=1.0),
        Trigonometric([0.3, 1.0, -0.7, 0.4], [0.1, 2.0, 4.0, 5.0], 2.0),
    ],
    ids=lambda line: line.name,
)
def test_persistence_of_lines_against_flooding(line):
    _, height = grid(line, 4_001)
    slow = sorted(flood(height).values())
    assert sorted(line.persistence()) == pytest.approx(slow, abs=2e-4 * np.ptp(height))
    assert line.basins().sum() == pytest.approx(1.0)


def test_persistence_of_sums_against_flooding():
    world = SeparableSum([SineRamp(frequency=7.0, slope=0.4), Trigonometric([0.5, 1.0], [1.0, 2.5], 2.0)])
    _, height = grid(world, 101)
    slow = sorted(flood(height).values())
    assert len(slow) == len(world.persistence())
    assert sorted(world.persistence()) == pytest.approx(slow, abs=0.02 * np.ptp(height))


def test_shubert_and_rastrigin_as_they_are_written():
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None]
    shubert = sum(j * ((j + 1) * (2.0 * x + 0.7) + j).cos() for j in range(1, 6)).squeeze(-1)
    torch.testing.assert_close(Trigonometric.shubert(2.0, shift=0.7).q(x), shubert)
    scaled = 5.12 * x.squeeze(-1)
    rastrigin = -(scaled.square() - 10 * (2 * np.pi * scaled).cos())
    bowl = CosineBowl(curvature=2 * 5.12**2, depth=10.0, frequency=2 * np.pi * 5.12)
    torch.testing.assert_close(bowl.q(x), rastrigin)
    # Between −5.12 and 5.12 it has a maximum near every whole number, and none at the ends, where it falls outwards.
    assert len(bowl.maxima()) == 11


def test_scores_and_their_intervals():
    world = SineRamp()
    optima = world.optima()
    claims = Found(
        np.concatenate([optima.actions[:3] + 0.005, [[0.5]]]), np.r_[optima.values[:3], 0.0], np.ones(4), 2.5, 64
    )
    assert score(world, claims)[:4] == (4, 3, 4, 1)
    # A basin of 8 % holds less than three of 32 starts; the maximum in it need not be found.
    assert score(world, claims._replace(starts=32))[:4] == (3, 3, 4, 1)
    assert score(world, claims, radius=0.001)[:2] == (4, 0)

    rng = np.random.default_rng(0)
    held = []
    for _ in range(1_000):
        known = rng.integers(1, 8, size=60)
        # Some landscapes are harder than others, so that hits of one landscape go together.
        hits = rng.binomial(known, rng.choice([0.7, 0.95], size=60))
        low, high = recall([Score(int(k), int(h), 1, 0, 0.0) for k, h in zip(known, hits, strict=True)]).interval()
        held.append(low <= 0.825 <= high)
    assert 0.93 <= np.mean(held) <= 0.98


def test_wrong_input():
    def wrong(match, call):
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)

    wrong("family", lambda: random_landscape("hills", 0))
    wrong("apart", lambda: GaussianMixture([[0.0], [0.1]], [1.0, 1.0], 0.2))
    wrong("buried", lambda: Cones([[0.0], [0.1]], [1.0, 3.0], slope=2.0))
    wrong("slope must be positive", lambda: Cones([[0.0]], [1.0], slope=-1.0))
    wrong("buried", lambda: Cones([[0.0]], [1.0], floor=2.0))
    wrong("tilt", lambda: Ring([5.0, 0.0]))
    wrong("tilt", lambda: Ring([1.0]))
    wrong("slopes", lambda: Facets([1.0], [0.0]))
    wrong("not strict", lambda: Roof([[0.0]], [1.0]))
    wrong("amplitudes", lambda: Trigonometric([0.0], [0.0]))
    wrong("frequency", lambda: Trigonometric([1.0], [0.0], frequency=0.0))
    wrong("cosine bowl", lambda: CosineBowl(depth=-1.0))
    wrong("nothing to find", lambda: recall([]))
    wrong("nothing to find", lambda: false_share([Score(1, 0, 0, 0, 0.0)]))
