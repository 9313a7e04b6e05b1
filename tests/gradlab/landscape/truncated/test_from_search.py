"""Surrogates of one search against surrogates that are searched anew, and against what cutting cannot do."""

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import local_optima, surrogates, surrogates_of_search


def hills(obs, act):
    """Three hills of heights 1, 0.7 and 0.4 on a plane that falls from −0.1 outwards; the first two touch."""
    heights = ((1.0, 0.5), (0.7, -0.1), (0.4, -0.7))
    places = torch.tensor([place for _, place in heights]).to(act)
    tops = [h * torch.exp(-((act[:, 0] - x) ** 2) / 0.02) for (h, _), x in zip(heights, places, strict=True)]
    return torch.stack(tops).sum(0) - 0.1 * act.square().sum(-1) + 0 * obs[:, 0]


def acting(action, q=hills, size=1, states=6):
    actor = nn.Linear(2, size).double()
    nn.init.zeros_(actor.weight)
    nn.init.constant_(actor.bias, action)
    agent = Agent(actor, [q], [-1.0] * size, [1.0] * size)
    return agent, torch.randn(states, 2, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize(("action", "left"), [(-1.0, 3), (-0.7, 2), (-0.1, 1), (0.5, 0)])
def test_an_actor_on_a_hill_cuts_off_those_that_are_no_higher(action, left):
    agent, obs = acting(action)
    found = surrogates_of_search(agent, obs, local_optima(agent, obs), count=1)
    assert found.optima.tolist() == [[3] * 6, [left] * 6]
    with torch.no_grad():
        assert torch.equal(found.threshold[1], agent.q(obs, agent.action(obs)))


@pytest.mark.parametrize("size", [1, 2])
def test_counts_are_those_of_searching_each_surrogate_anew(size):
    torch.manual_seed(size)
    network = nn.Sequential(nn.Linear(2 + size, 32), nn.Tanh(), nn.Linear(32, 1)).double()
    nn.init.normal_(network[0].weight, std=2.5)
    agent, obs = acting(0.1, lambda obs, act: network(torch.cat([obs, act], -1)).squeeze(-1), size, 10)
    optima = local_optima(agent, obs, starts=64)
    found = surrogates_of_search(agent, obs, optima, count=2)
    again = surrogates(agent, obs, anchors=found.anchors, starts=64)
    torch.testing.assert_close(found.threshold, again.threshold, rtol=1e-12, atol=1e-12)
    # A pass is known to the search's tolerance only, so that a count may differ by one where it is at the threshold.
    difference = (found.optima - again.optima).abs()
    assert int(difference.max()) <= 1
    assert float(difference.double().mean()) < 0.1
    assert float(found.optima[0].double().mean()) > 1
    # Each has no more than the one before, whatever the cut.
    assert bool((found.optima[1:] <= found.optima[:-1]).all())


def test_what_is_flat_is_what_lies_below_the_cut():
    agent, obs = acting(0.5)
    found = surrogates_of_search(agent, obs, local_optima(agent, obs), count=1, starts=512)
    # The actor is on the highest hill, but for rounding: nothing is left above it.
    assert float(found.vanishing_share[1].min()) > 0.995
    assert bool(found.best_share[1].isnan().all())
    grid = torch.linspace(-1, 1, 20_001).double()[:, None]
    agent, obs = acting(-0.7)
    found = surrogates_of_search(agent, obs, local_optima(agent, obs), count=1, starts=512)
    below = float((hills(obs[:1], grid) <= found.threshold[1, 0]).double().mean())
    assert found.vanishing_share[1].mean().item() == pytest.approx(below, abs=0.01)


def test_later_cuts_are_no_lower_and_numbers_have_intervals():
    agent, obs = acting(-0.7)
    found = surrogates_of_search(agent, obs, local_optima(agent, obs), count=4)
    assert bool((found.threshold.diff(dim=0)[1:] >= 0).all())
    assert found.anchors.shape == (4, 6, 1)
    for means in found.over_states():
        low, high = means.vanishing_share.interval()
        assert 0 <= low <= means.vanishing_share.value <= high <= 1


def test_optima_of_other_states_are_refused():
    agent, obs = acting(0.0, lambda obs, act: obs[:, 0] - act.square().sum(-1))
    with pytest.raises(GradlabError, match="not of this critic"):
        surrogates_of_search(agent, obs + 1, local_optima(agent, obs))
    with pytest.raises(GradlabError, match="rounds"):
        surrogates_of_search(agent, obs, local_optima(agent, obs), rounds=0)
