"""A Gaussian clamped to a box, against torch's own distribution and numerical expectations."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import Reparameterized, ScoreFunction
from gradlab.policies import ClampedGaussian, Gaussian

LOW, HIGH = -0.7, 1.3
POLICY = ClampedGaussian(LOW, HIGH)
HEAD = torch.tensor([[0.3, -0.2], [-2.0, 0.5]], dtype=torch.float64)


def noise(draws, seed=0):
    return torch.randn(draws, 2, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_draws_and_densities_are_those_of_the_mixin():
    epsilon = noise(50)
    at = HEAD.clone().requires_grad_()
    mean, log_std = at.chunk(2, -1)
    law = Normal(mean, log_std.exp())
    theirs = (mean + log_std.exp() * epsilon).clamp(LOW, HIGH)
    assert 0 < int((theirs == LOW).sum()) < theirs.numel()
    act, log_prob = POLICY.sample(at, epsilon)
    assert torch.equal(act, theirs)
    assert torch.allclose(log_prob, law.log_prob(theirs).sum(-1))
    weights = noise(50, 1)[..., 0]
    for ours, own in ((act[..., 0], theirs[..., 0]), (log_prob, law.log_prob(theirs).sum(-1))):
        gradients = [torch.autograd.grad((weights * part).sum(), at, retain_graph=True)[0] for part in (ours, own)]
        assert torch.allclose(*gradients)


def test_the_mode_is_in_the_box():
    assert POLICY.mode(HEAD).flatten().tolist() == [0.3, LOW]
    assert POLICY.head_size(3) == 6


def test_the_score_estimates_the_gradient_of_the_expectation():
    """∇_h E[Q(a)] by scores and along the path agree; scores at clamped actions would not."""

    class Critic(torch.nn.Module):
        def forward(self, obs, act):
            return (act + 0.5).square().sum(-1)

    actor = torch.nn.Linear(1, 2).double()
    agent = Agent(actor, [Critic()], LOW, HIGH, policy=POLICY, head=lambda actor, obs: 0 * actor(obs) + HEAD)
    obs, epsilon = torch.zeros(2, 1, dtype=torch.float64), noise(200_000)
    by_path = Reparameterized().at_noise(agent, obs, epsilon)
    by_score = ScoreFunction(baseline="value").at_noise(agent, obs, epsilon)
    stderr = (by_path.var(0) + by_score.var(0)).sqrt() / len(epsilon) ** 0.5
    assert ((by_path.mean(0) - by_score.mean(0)).abs() < 4 * stderr).all()

    act = POLICY.sample(HEAD, epsilon)[0]
    beneath = Gaussian().score(HEAD, (act - HEAD[:, :1]) / HEAD[:, 1:].exp())
    value = (agent.q(obs, act) - agent.q(obs, POLICY.mode(HEAD)))[..., None]
    assert ((by_path.mean(0) - (beneath * value).mean(0)).abs() > 10 * stderr).any()


def test_an_unbounded_box_is_refused():
    with pytest.raises(GradlabError, match="policy's action box"):
        ClampedGaussian(-np.inf, 1.0)
