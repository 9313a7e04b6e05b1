"""The negative control: what differentiating a sample mean finds, and what it does not."""

import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.error import gradient_error
from gradlab.estimators import Naive, Reparameterized, ScoreFunction
from gradlab.policies import Gaussian, Softmax, SquashedGaussian
from gradlab.references import CriticReference

P, B = 2, 3
POLICIES = {"gauss": Gaussian(), "squashed": SquashedGaussian(), "softmax": Softmax()}


class Critic(nn.Module):
    def forward(self, obs, act):
        return (act * torch.tensor([1.0, -2.0]).to(act)).sum(-1) - act.square().sum(-1) / 4


def make(policy=None, entropy=0.0):
    size = P if policy is None else policy.head_size(P)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        actor = nn.Linear(1, size).double()
    return Agent(actor, [Critic()], [-1] * P, [1] * P, policy=policy, entropy=entropy)


OBS = torch.tensor([[-1.0], [0.0], [1.0]]).double()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_against_a_loop_that_holds_the_actions_fixed(policy):
    agent = make(policy, entropy=0.3)
    noise = policy.noise((4, B, P), generator(1), OBS)
    got = Naive().at_noise(agent, OBS, noise)
    assert torch.equal(got, Naive().draw(agent, OBS, 4, generator(1)))
    for d in range(4):
        for i in range(B):
            head = agent.head(OBS[i : i + 1]).detach().requires_grad_()
            act = policy.sample(head, noise[d, i : i + 1])[0].detach()
            value = agent.q(OBS[i : i + 1], act) - 0.3 * policy.log_prob(head, act)
            (gradient,) = torch.autograd.grad(value.sum(), head)
            assert torch.allclose(got[d, i], gradient[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_its_mean_is_zero_and_not_the_gradient(policy):
    agent, n = make(policy, entropy=0.3), 20_000
    draws = Naive().draw(agent, OBS, n, generator(2))
    assert (draws.mean(0).abs() < 4.5 * draws.std(0) / math.sqrt(n)).all()
    truth = CriticReference().cotangent(agent, OBS).mean
    assert (truth.abs() > 4.5 * draws.std(0) / math.sqrt(n)).any()  # so that the line above could fail


def test_without_entropy_every_draw_is_zero():
    for policy in (*POLICIES.values(), None):
        assert not Naive().draw(make(policy), OBS, 5).any()
        assert not Naive(entropy=False).draw(make(policy, entropy=0.3), OBS, 5).any()
    assert not Naive().draw(make(entropy=0.3), OBS, 5).any()


def test_the_error_against_a_reference_finds_it_out():
    """As a negative control must be: its bias² is all of ‖r‖² and resolved, where the unbiased ones' is not."""
    agent = make(Gaussian(), entropy=0.3)
    reference = CriticReference().cotangent(agent, OBS)
    wrong = gradient_error(agent, OBS, Naive().draw(agent, OBS, 400, generator(3)), reference)
    low, high = wrong.bias_squared.interval()
    assert low <= wrong.reference_norm_squared.value <= high
    assert wrong.bias_squared.resolved
    for right in (Reparameterized(), ScoreFunction(baseline="value")):
        found = gradient_error(agent, OBS, right.draw(agent, OBS, 3000, generator(4)), reference)
        assert found.bias_squared.value <= 4 * found.bias_squared.stderr  # a 95 % interval misses too often for a test
        assert found.bias_squared.value < 0.3 * wrong.bias_squared.value


def test_objective_and_names():
    agent = make(Gaussian(), entropy=0.3)
    assert Naive().objective(agent).entropy == 0.3
    assert Naive(entropy=False).objective(agent).entropy == 0.0
    assert Naive().objective(make(entropy=0.3)).entropy == 0.0
    assert [Naive().name, Naive(entropy=False).name] == ["naive", "naive-without-entropy"]
