"""Errors of an expected update: against pairs of episodes counted one by one, and against populations."""

import math

import pytest
import torch

from gradlab.agent import Agent
from gradlab.bias import RelativeErrors
from gradlab.errors import GradlabError
from gradlab.tangent import tangent_kernel

EPISODES, STATES = 24, 2
WEIGHTS = torch.randn(3, 2, generator=torch.Generator().manual_seed(5)).double()


@pytest.fixture(scope="module")
def agent():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Agent(torch.nn.Linear(3, 2).double(), [], action_low=[-1, -1], action_high=[1, 1])


def visited(generator, episodes=EPISODES, states=STATES):
    """States that are alike within an episode, and whose they are."""
    centres = torch.randn(episodes, 1, 3, generator=generator, dtype=torch.float64)
    within = torch.randn(episodes, states, 3, generator=generator, dtype=torch.float64)
    return (centres + 0.7 * within).reshape(-1, 3), torch.arange(episodes).repeat_interleave(states)


def truth_at(obs):
    return obs @ WEIGHTS + 0.5


def parameter_samples(obs, cotangents):
    """J_sᵀ x_s of a linear actor, one by one: the outer product, and the bias's."""
    return torch.stack([torch.cat([torch.outer(x, s).flatten(), x]) for s, x in zip(obs, cotangents, strict=True)])


def paired(one, two, episode):
    """⟨x, y⟩ over pairs of states in different episodes, counted one by one."""
    total = pairs = 0.0
    for i in range(len(one)):
        for j in range(len(two)):
            if episode[i] != episode[j]:
                total += float(one[i] @ two[j])
                pairs += 1
    return total / pairs


def test_equals_inner_products_of_different_episodes_one_by_one(agent):
    generator = torch.Generator().manual_seed(1)
    obs, _ = visited(generator, 6, 3)
    episode = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 4, 4, 4, 5, 5, 5, 5])
    truth = truth_at(obs)
    v = 0.8 * truth + 0.3 + torch.randn(5, *truth.shape, generator=generator, dtype=torch.float64)
    found = RelativeErrors(agent, obs, truth, episode).of(v, batch=7)
    g, r = (parameter_samples(obs, x) for x in (v.mean(0), truth))
    gg, rr, gr = paired(g, g, episode), paired(r, r, episode), paired(g, r, episode)
    assert found.bias_squared.value == pytest.approx(paired(g - r, g - r, episode) / rr, rel=1e-10)
    assert found.cosine.value == pytest.approx(gr / math.sqrt(gg * rr), rel=1e-10)
    assert found.norm_ratio.value == pytest.approx(math.sqrt(gg / rr), rel=1e-10)
    # tr Var of one state's gradient with one draw: E‖J_sᵀ v‖² over states and draws, less ‖E g‖².
    single = torch.stack([parameter_samples(obs, draw) for draw in v]).square().sum(-1).mean()
    assert found.variance.value == pytest.approx((float(single) - gg) / 7 / rr, rel=1e-10)
    assert found.mse.value == pytest.approx(found.bias_squared.value + found.variance.value, rel=1e-12)


def estimators():
    return {
        "exact": lambda obs, r: r,
        "scaled": lambda obs, r: 0.5 * r,
        "biased": lambda obs, r: r + 0.3 * torch.sin(3 * obs[:, :2]) + 0.4,
        "opposite": lambda obs, r: 0.5 - 0.5 * r,
    }


@pytest.mark.parametrize("name", estimators())
def test_intervals_hold_the_population(agent, name):
    """Of 60 samples of 24 episodes; the population is 200,000 episodes."""
    estimator = estimators()[name]
    obs, _ = visited(torch.Generator().manual_seed(9), 200_000)
    means = {}
    for what, x in (("r", truth_at(obs)), ("g", estimator(obs, truth_at(obs)))):
        means[what] = torch.cat([(x.T @ obs / len(obs)).flatten(), x.mean(0)])
    g, r = means["g"], means["r"]
    truth = {
        "bias_squared": float((g - r).square().sum() / r.square().sum()),
        "cosine": float(g @ r / g.norm() / r.norm()),
        "norm_ratio": float(g.norm() / r.norm()),
    }
    hits = dict.fromkeys(truth, 0)
    for repetition in range(60):
        generator = torch.Generator().manual_seed(100 + repetition)
        obs, episode = visited(generator)
        r = truth_at(obs)
        v = estimator(obs, r) + torch.randn(8, *r.shape, generator=generator, dtype=torch.float64)
        found = RelativeErrors(agent, obs, r, episode, kernel=tangent_kernel(agent, obs)).of(v)
        for part, value in truth.items():
            low, high = getattr(found, part).interval()
            hits[part] += low - 1e-9 <= value <= high + 1e-9
    # A 95 % interval holds fewer than 52 of 60 in one of 150 cases.
    assert min(hits.values()) >= 52, hits


def test_noise_of_states_is_no_bias(agent):
    """Errors of mean zero over states: the plug-in sees a bias of their variance/B, pairs of episodes none."""
    plug_in, unbiased = [], []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        obs, episode = visited(generator)
        r = truth_at(obs)
        v = (r + torch.randn(r.shape, generator=generator, dtype=torch.float64)).expand(2, *r.shape)
        unbiased.append(RelativeErrors(agent, obs, r, episode).of(v).bias_squared.value)
        g, true = (parameter_samples(obs, x).mean(0) for x in (v[0], r))
        plug_in.append(float((g - true).square().sum() / true.square().sum()))
    unbiased, plug_in = torch.tensor(unbiased), torch.tensor(plug_in)
    assert abs(float(unbiased.mean())) < 3 * float(unbiased.std()) / 40**0.5
    assert float(plug_in.mean()) > 10 * abs(float(unbiased.mean()))


def test_nothing_is_relative_to_a_gradient_that_is_noise(agent):
    generator = torch.Generator().manual_seed(3)
    obs, episode = visited(generator)
    for _ in range(20):
        truth = torch.randn(len(obs), 2, generator=generator, dtype=torch.float64)
        errors = RelativeErrors(agent, obs, truth, episode)
        if errors.true_squared.value < 0:
            break
    else:
        pytest.fail("no sample of pure noise had a negative squared norm")
    assert not errors.true_squared.resolved
    assert math.isnan(errors.of(truth.expand(2, -1, -1)).bias_squared.value)


def test_refuses_what_has_no_interval(agent):
    obs, _ = visited(torch.Generator().manual_seed(0), 2)
    with pytest.raises(GradlabError, match="2 episodes"):
        RelativeErrors(agent, obs, truth_at(obs), torch.tensor([0, 0, 1, 1]))
    with pytest.raises(GradlabError, match="4 states of a truth and 3 episode numbers"):
        RelativeErrors(agent, obs, truth_at(obs), torch.tensor([0, 1, 2]))
    errors = RelativeErrors(agent, obs, truth_at(obs), torch.arange(4))
    with pytest.raises(GradlabError, match="at least two draws"):
        errors.of(truth_at(obs)[None])
