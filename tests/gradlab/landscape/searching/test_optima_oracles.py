"""Local optima against slow, obvious oracles: breakpoints of one-dimensional ReLU networks, grids in two dimensions."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from gradlab.adapters import load
from gradlab.landscape import local_optima

CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"


def peaks_of_a_line(height):
    """Persistence of every strict local maximum of values along a line, by index: pair each peak with its pass."""
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


def breakpoints(weights, low, high):
    """All points where a ReLU network of one input changes slope, ends included: layer by layer, exactly."""
    knots = np.array([low, high])
    for layer in range(len(weights) - 1):
        new = []
        for left, right in itertools.pairwise(knots):
            a, b = (pre_activation(weights, layer, x) for x in (left, right))
            crossing = a * b < 0
            new.extend(left + (right - left) * (a / (a - b))[crossing])
        knots = np.unique(np.concatenate([knots, new]))
    return knots


def pre_activation(weights, layer, x):
    out = np.array([x])
    for depth, (w, b) in enumerate(weights[: layer + 1]):
        out = w @ (np.maximum(out, 0) if depth else out) + b
    return out


def random_network(seed, width=24):
    rng = np.random.default_rng(seed)
    sizes = [1, width, width, 1]
    return [(rng.normal(0, 1.5 * (2 / a) ** 0.5, (b, a)), rng.normal(0, 0.5, b)) for a, b in itertools.pairwise(sizes)]


def batched(networks):
    """The networks as one function of actions [states, k, 1]."""
    layers = [
        (torch.tensor(np.stack([n[d][0] for n in networks])), torch.tensor(np.stack([n[d][1] for n in networks])))
        for d in range(3)
    ]

    def q(a):
        for depth, (w, b) in enumerate(layers):
            a = (a.relu() if depth else a) @ w.mT + b[:, None]
        return a.squeeze(-1)

    return q


def test_relu_networks_of_one_action_against_their_breakpoints():
    networks = [random_network(seed) for seed in range(60)]
    low, high = torch.tensor([-1.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    found = local_optima(batched(networks), low, high, states=len(networks), starts=128)
    wanted = hits = claimed = false = 0
    for s, network in enumerate(networks):
        knots = breakpoints(network, -1.0, 1.0)
        height = np.array([pre_activation(network, 2, x)[0] for x in knots])
        span = height.max() - height.min()
        assert float(found.value_range[s]) == pytest.approx(span, rel=1e-3)
        truth = {knots[i]: (height[i], size) for i, size in peaks_of_a_line(height).items() if size >= 0.01 * span}
        mine = found.persistence[s] >= 0.01 * found.value_range[s]
        where = found.actions[s][mine].flatten().numpy()
        wanted, claimed = wanted + len(truth), claimed + len(where)
        for at, value, size in zip(
            where, found.values[s][mine].tolist(), found.persistence[s][mine].tolist(), strict=True
        ):
            nearest = min(truth, key=lambda x: abs(x - at), default=np.inf)
            if abs(nearest - at) > 1e-5:
                false += 1
                continue
            hits += 1
            assert value == pytest.approx(truth[nearest][0], abs=1e-6 * span)
            assert size == pytest.approx(truth[nearest][1], abs=0.01 * span)
    assert wanted >= 100, "the networks are too tame to test anything"
    assert hits >= 0.99 * wanted
    assert false <= 0.01 * claimed


def grid_persistence(height):
    """Persistence of the peaks of a grid's superlevel sets, by flooding from the top with a union-find."""
    rows, columns = height.shape
    flat = height.ravel()
    root, died = np.full(flat.size, -1), {}

    def find(i):
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i in np.argsort(-flat):
        root[i] = i
        y, x = divmod(i, columns)
        for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
            if 0 <= y + dy < rows and 0 <= x + dx < columns and root[(y + dy) * columns + x + dx] >= 0:
                a, b = find(i), find((y + dy) * columns + x + dx)
                if a != b:
                    a, b = (a, b) if flat[a] >= flat[b] else (b, a)
                    root[b], died[b] = a, flat[b] - flat[i]
    died[flat.argmax()] = flat.max() - flat.min()
    return {divmod(i, columns): size for i, size in died.items() if size > 0}


def test_two_action_landscapes_against_flooding_a_grid():
    generator = torch.Generator().manual_seed(0)
    waves = 4 * torch.randn(8, 6, 2, generator=generator, dtype=torch.float64)
    phases = 6.3 * torch.rand(8, 6, generator=generator, dtype=torch.float64)

    def q(a):
        return ((a[:, :, None] * waves[:, None]).sum(-1) + phases[:, None]).sin().sum(-1)

    low, high = -torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    found = local_optima(q, low, high, states=8, starts=256)
    axis = torch.linspace(-1, 1, 101, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    heights = q(grid.expand(8, -1, -1)).reshape(8, 101, 101).numpy()
    errors = []
    for s in range(8):
        span = heights[s].max() - heights[s].min()
        truth = {place: size for place, size in grid_persistence(heights[s]).items() if size >= 0.02 * span}
        assert int(found.count(0.02)[s]) == len(truth)
        for (i, j), size in truth.items():
            at = torch.stack([axis[i], axis[j]])
            nearest = int((found.actions[s] - at).norm(dim=-1).argmin())
            assert float((found.actions[s][nearest] - at).norm()) < 0.03
            errors.append((float(found.persistence[s][nearest]) - size) / span)
    assert len(errors) >= 40
    # A known path bounds the pass from below, so persistence errs upwards; half of them are right to 0.3 %.
    assert min(errors) > -0.015
    assert max(errors) < 0.08
    assert np.median(np.abs(errors)) < 0.003


def test_random_networks_of_two_actions_against_flooding_a_grid():
    rng = np.random.default_rng(0)
    sizes = [2, 24, 24, 1]
    layers = [
        (torch.tensor(rng.normal(0, 1.5 * (2 / a) ** 0.5, (8, b, a))), torch.tensor(rng.normal(0, 0.5, (8, b))))
        for a, b in itertools.pairwise(sizes)
    ]

    def q(a):
        for depth, (w, b) in enumerate(layers):
            a = (a.relu() if depth else a) @ w.mT + b[:, None]
        return a.squeeze(-1)

    low, high = -torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    found = local_optima(q, low, high, states=8, starts=128)
    axis = torch.linspace(-1, 1, 121, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    heights = q(grid.expand(8, -1, -1)).reshape(8, 121, 121).numpy()
    wanted = hits = claimed = false = 0
    for s, height in enumerate(heights):
        span = height.max() - height.min()
        truth = grid_persistence(height)
        assert float(found.best_value[s]) >= height.max() - 1e-9 * span
        places = {place: torch.stack([axis[place[0]], axis[place[1]]]) for place in truth}
        for place, size in truth.items():
            if size >= 0.04 * span:  # twice the threshold: what the grid's steps may add to a pass
                wanted += 1
                hits += bool(((found.actions[s] - places[place]).norm(dim=-1) < 0.05).any())
        for at, size in zip(found.actions[s], found.persistence[s].tolist(), strict=True):
            if size >= 0.04 * span:
                claimed += 1
                near = [p for p in truth if truth[p] >= 0.02 * span and float((places[p] - at).norm()) < 0.05]
                false += not near
    assert wanted >= 16
    assert hits == wanted
    assert false == 0


@pytest.mark.parametrize("name", ["td3_reacher_3000", "ddpg_reacher_3000", "sac_reacher_3000"])
def test_trained_critics_against_flooding_a_grid(name):
    agent = load(CHECKPOINTS / f"{name}.zip")
    generator = torch.Generator().manual_seed(0)
    angles = 6.3 * torch.rand(12, 2, generator=generator)
    # Reacher's layout: cos and sin of both joints, target, velocities, fingertip less target, and a zero.
    rest = torch.randn(12, 6, generator=generator) * torch.tensor([0.1, 0.1, 2.0, 2.0, 0.1, 0.1])
    obs = torch.cat([angles.cos(), angles.sin(), rest, torch.zeros(12, 1)], -1)[:, : agent.obs_size]
    found = local_optima(agent, obs, starts=32)
    axis = torch.linspace(-1, 1, 61)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 1, 2).expand(-1, len(obs), -1)
    with torch.no_grad():
        heights = agent.q(obs, grid).double().numpy().T.reshape(len(obs), 61, 61)
    for s, height in enumerate(heights):
        span = height.max() - height.min()
        assert int(found.count(0.02)[s]) == sum(size >= 0.02 * span for size in grid_persistence(height).values())
        assert float(found.best_value[s]) >= height.max() - 1e-5 * span
        assert float(found.value_range[s]) == pytest.approx(span, rel=0.01)
