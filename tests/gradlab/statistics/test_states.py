"""Intervals over the distribution of states, against explicit leave-one-out loops and by their coverage."""

import math

import pytest
import torch

from gradlab import Agent, GradlabError, gradient_error, parameter_gradient
from gradlab.objective import Objective
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.states import over_states


def linear_agent(features, size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = torch.nn.Linear(features, size).double()
    return Agent(actor, [], action_low=[-1] * size, action_high=[1] * size)


def reference(mean):
    return ReferenceCotangent(mean, torch.zeros_like(mean), "truth", Objective())


def flat(agent, obs, cotangent):
    return torch.cat([g.flatten() for g in parameter_gradient(agent, obs, cotangent).values()])


def test_equals_leaving_each_episode_out_by_hand():
    generator = torch.Generator().manual_seed(1)
    agent = linear_agent(3, 2)
    obs = torch.randn(12, 3, generator=generator).double()
    truth = torch.randn(12, 2, generator=generator).double()
    v = truth + 0.5 + 0.3 * torch.randn(6, 12, 2, generator=generator).double()
    episode = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 5, 5, 5])
    fixed = gradient_error(agent, obs, v, reference(truth))
    wider = over_states(fixed, agent, obs, v, reference(truth), episode)
    names = ("cosine", "norm_ratio", "bias_squared", "variance", "minibatch_cosine", "pairwise_cosine")
    values = {name: [] for name in names}
    for label in (0, 1, 2, 5):
        keep = episode != label
        g, r = flat(agent, obs[keep], v[:, keep].mean(0)), flat(agent, obs[keep], truth[keep])
        values["cosine"].append(torch.cosine_similarity(g, r, dim=0))
        values["norm_ratio"].append(g.norm() / r.norm())
        values["bias_squared"].append((g - r).square().sum())
        single = [flat(agent, obs[keep], draw[keep]) for draw in v]
        cosine = torch.nn.functional.cosine_similarity
        values["minibatch_cosine"].append(torch.stack([cosine(one, r, dim=0) for one in single]).mean())
        pairs = [cosine(a, b, dim=0) for k, a in enumerate(single) for b in single[:k]]
        values["pairwise_cosine"].append(torch.stack(pairs).mean())
        # Noise is independent over states, so a minibatch of all 12 has 1/12 of one state's mean variance.
        parts = [
            torch.stack([flat(agent, obs[i : i + 1], d[i : i + 1]) for d in v]).var(0).sum()
            for i in keep.nonzero().flatten().tolist()
        ]
        values["variance"].append(torch.stack(parts).mean() / 12)
    for name, left_out in values.items():
        left_out = torch.stack(left_out)
        jackknife = 3 / 4 * (left_out - left_out.mean()).square().sum()
        expected = (getattr(fixed, name).stderr ** 2 + jackknife.item()) ** 0.5
        assert getattr(wider, name).stderr == pytest.approx(expected, rel=1e-9), name
        assert getattr(wider, name).value == getattr(fixed, name).value
        assert getattr(wider, name).samples == 4


def test_states_whose_gate_is_closed_are_left_out():
    generator = torch.Generator().manual_seed(2)
    agent = linear_agent(3, 2)
    obs, truth = torch.randn(8, 3, generator=generator).double(), torch.randn(8, 2, generator=generator).double()
    v = (truth + 0.2).expand(4, 8, 2)
    keep = torch.arange(8) != 3
    gated = truth.clone()
    gated[3] = torch.nan
    ref = reference(gated)
    episode = torch.arange(8) // 2
    all_of_it = over_states(gradient_error(agent, obs, v, ref), agent, obs, v, ref, episode)
    few = reference(truth[keep])
    without = over_states(
        gradient_error(agent, obs[keep], v[:, keep], few), agent, obs[keep], v[:, keep], few, episode[keep]
    )
    assert all_of_it.cosine.stderr == pytest.approx(without.cosine.stderr, rel=1e-9)


@pytest.mark.parametrize("name", ["cosine", "norm_ratio"])
def test_intervals_hold_the_truth_over_states(name):
    """States come in episodes that share an offset; the truth is the same quantity over very many states."""
    agent = linear_agent(2, 2)
    turn = torch.tensor([[0.8, 0.5], [-0.4, 1.1]]).double()

    def sample(episodes, generator):
        offset = 0.6 * torch.randn(episodes, 1, 2, generator=generator).double()
        obs = (1.0 + offset + 0.5 * torch.randn(episodes, 2, 2, generator=generator).double()).flatten(0, 1)
        truth = torch.stack([1 + obs[:, 0].sin(), obs[:, 1]], 1)
        return obs, truth, (truth @ turn.T + 0.3 * obs.square()).expand(4, -1, -1)

    obs, truth, v = sample(400_000, torch.Generator().manual_seed(99))
    g, r = flat(agent, obs, v[0]), flat(agent, obs, truth)
    true = {"cosine": torch.cosine_similarity(g, r, dim=0).item(), "norm_ratio": (g.norm() / r.norm()).item()}[name]
    episode = torch.arange(16).repeat_interleave(2)
    held = 0
    for seed in range(200):
        obs, truth, v = sample(16, torch.Generator().manual_seed(seed))
        ref = reference(truth)
        error = over_states(gradient_error(agent, obs, v, ref), agent, obs, v, ref, episode)
        low, high = getattr(error, name).interval()
        held += low <= true <= high
    assert 180 <= held <= 196, held


def test_one_episode_says_nothing_of_others():
    agent = linear_agent(3, 2)
    obs = torch.randn(6, 3, generator=torch.Generator().manual_seed(3)).double()
    truth = torch.ones(6, 2).double()
    v = truth + 0.1 * torch.randn(8, 6, 2, generator=torch.Generator().manual_seed(4)).double()
    fixed = gradient_error(agent, obs, v, reference(truth))
    wider = over_states(fixed, agent, obs, v, reference(truth), torch.zeros(6).long())
    assert all(math.isfinite(end) for end in fixed.cosine.interval())
    assert all(math.isnan(end) for end in wider.cosine.interval())
    assert not wider.cosine.resolved


def test_a_reference_that_the_error_is_not_against_is_refused():
    agent = linear_agent(1, 1)
    obs, truth = torch.randn(8, 1, generator=torch.Generator().manual_seed(0)).double(), torch.ones(8, 1).double()
    mine, other = (ReferenceCotangent(truth, 0 * truth, name, Objective()) for name in ("mine", "other"))
    v = (1 + 0.5 * obs).expand(4, 8, 1)
    error = gradient_error(agent, obs, v, mine)
    with pytest.raises(GradlabError, match="against mine but the reference is other"):
        over_states(error, agent, obs, v, other, torch.arange(8))
