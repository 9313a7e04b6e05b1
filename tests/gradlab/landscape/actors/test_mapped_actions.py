"""Mapped actions against loops over all items."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import mapping_gap, nearest_items
from gradlab.landscape.actors import mapped_actions


class Actor(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 3 * size, dtype=torch.float64).reshape(3, size))

    def forward(self, obs):
        return (obs @ self.weight).tanh()


def wavy(obs, act):
    return (7 * act + obs[:, :1]).sin().sum(-1) - (act - 0.3).square().sum(-1)


def agent_of(size, critic=wavy):
    return Agent(Actor(size), [critic], [-1.0] * size, [1.0] * size)


def random(*shape, seed=0):
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("nearest", [1, 5])
def test_every_state_agrees_with_a_loop(size, nearest):
    agent, obs, items = agent_of(size), random(20, 3), random(60, size, seed=1)
    found = mapping_gap(agent, obs, items, nearest=nearest)
    with torch.no_grad():
        protos = agent.action(obs)
    gaps = []
    for s, proto in enumerate(protos):
        far = [float((proto - item).norm()) for item in items]
        order = sorted(range(len(items)), key=lambda i: far[i])[:nearest]
        q = [float(wavy(obs[s : s + 1], item[None])) for item in items]
        chosen = max(order, key=lambda i: q[i])
        assert found.nearest[s].tolist() == order
        assert found.distance[s].tolist() == pytest.approx([far[i] for i in order])
        assert int(found.chosen[s]) == chosen
        assert int(found.best[s]) == int(np.argmax(q))
        at = float(wavy(obs[s : s + 1], proto[None]))
        gaps.append([at - q[order[0]], q[chosen] - q[order[0]], max(q) - q[chosen], order[0] == int(np.argmax(q))])
    means = np.mean(gaps, 0)
    assert [found.mapping.value, found.choice.value, found.left.value, found.nearest_best.value] == pytest.approx(means)


def test_a_lattice_costs_a_twelfth_of_its_square():
    # Q falls with the square of the distance from what the actor asks for; rounding errors are uniform.
    size, spacing, count = 2, 0.1, 4000
    ticks = torch.arange(-1, 1 + spacing / 2, spacing, dtype=torch.float64)
    items = torch.cartesian_prod(ticks, ticks)
    proto = random(count, size, seed=4)
    agent = Agent(Actor(size), [lambda obs, act: -(act - obs[:, :2]).square().sum(-1)], [-1.0] * 2, [1.0] * 2)
    found = mapping_gap(agent, torch.cat([proto, proto[:, :1]], -1), items, proto, whole=False)
    truth = size * spacing**2 / 12
    low, high = found.mapping.interval()
    assert low - 0.5 * (high - low) < truth < high + 0.5 * (high - low)
    assert found.left is found.best is found.nearest_best is None
    assert float(found.distance.max()) <= spacing * math.sqrt(0.5) + 1e-12


def test_hybrid_actions_keep_their_continuous_part():
    seen = []

    def critic(obs, act):
        seen.append(act.clone())
        return -(act[:, 1] - 0.5).abs() - act[:, 0].square()

    agent, obs = agent_of(3, critic), random(6, 3)
    items = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
    found = mapping_gap(agent, obs, items, nearest=2, coordinates=[1])
    proto = agent.action(obs).detach()
    assert found.best.eq(1).all()
    for act in seen:
        assert torch.equal(act[:, [0, 2]].reshape(-1, 6, 2), proto[:, [0, 2]].expand(len(act) // 6, -1, -1))


def test_blocks_change_nothing(monkeypatch):
    agent, obs, items = agent_of(2), random(9, 3), random(101, 2, seed=3)
    whole = mapping_gap(agent, obs, items, nearest=4)
    monkeypatch.setattr(mapped_actions, "_DISTANCES", 150)
    monkeypatch.setattr(mapped_actions, "_ROWS", 20)
    blocks = mapping_gap(agent, obs, items, nearest=4)
    for name in ("nearest", "distance", "chosen", "best", "best_value"):
        assert torch.equal(getattr(whole, name), getattr(blocks, name))


def test_a_hundred_thousand_items():
    agent, obs, items = agent_of(4), random(16, 3), random(100_000, 4, seed=2)
    found = mapping_gap(agent, obs, items, nearest=10)
    assert bool((found.best_value >= found.values.amax(1)).all())
    # The nearest of N uniform points is about (Γ(p/2 + 1)/N)^{1/p}/√π widths of the box away.
    expected = 2 * (math.gamma(3) / 100_000) ** 0.25 / math.sqrt(math.pi)
    assert 0.5 * expected < float(found.distance[:, 0].median()) < 2 * expected


def test_of_equals_the_first_is_taken():
    points = torch.tensor([[0.5]])
    index, distance = nearest_items(points, torch.tensor([[1.0], [0.0], [0.0], [1.0], [0.5]]), 3)
    assert index.tolist() == [[4, 0, 1]]
    assert distance.tolist() == [[0.0, 0.5, 0.5]]
    everything, _ = nearest_items(points, torch.tensor([[1.0], [0.0]]), 2)
    assert everything.tolist() == [[0, 1]]


def test_items_that_are_no_different_leave_nothing():
    agent, obs = agent_of(2, lambda obs, act: 0 * act.sum(-1) + 1.0), random(8, 3)
    found = mapping_gap(agent, obs, random(5, 2), nearest=2)
    assert found.mapping.value == found.choice.value == found.left.value == 0
    assert found.nearest_best.value == found.chosen_best.value == 1


def test_wrong_input_is_refused_in_one_line():
    agent, obs, items = agent_of(2), random(3, 3), random(5, 2)

    def wrong(match, call):
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)

    wrong("items", lambda: mapping_gap(agent, obs, items[:0]))
    wrong("items", lambda: mapping_gap(agent, obs, items[:, :1]))
    wrong("items", lambda: mapping_gap(agent, obs, items * math.nan))
    wrong("items", lambda: mapping_gap(agent, obs, "a"))
    wrong("nearest: 6 of 5", lambda: mapping_gap(agent, obs, items, nearest=6))
    wrong("nearest", lambda: mapping_gap(agent, obs, items, nearest=0))
    wrong("coordinates", lambda: mapping_gap(agent, obs, items, coordinates=[0, 0]))
    wrong("coordinates", lambda: mapping_gap(agent, obs, items, coordinates=[2]))
    wrong("proto", lambda: mapping_gap(agent, obs, items, torch.zeros(3, 1)))
    wrong("NaN", lambda: mapping_gap(agent_of(2, lambda obs, act: act.sum(-1) * math.nan), obs, items, whole=False))
    wrong("NaN", lambda: mapping_gap(agent_of(2, lambda obs, act: act.sum(-1) * math.nan), obs, items))
    wrong("nearest items", lambda: nearest_items(items, items[:, :1]))
