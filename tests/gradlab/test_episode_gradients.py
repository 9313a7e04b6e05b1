"""Gradients of whole episodes against one autograd call a step, and their inner products."""

import pytest
import torch
from torch import nn

from gradlab import trajectory_gradients
from gradlab.agent import Agent
from gradlab.episode_gradients import (
    directional_derivative,
    gradient_chunks,
    gram_by_gradients,
    gram_by_kernel,
)
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian
from gradlab.tangent import tangent_kernel
from gradlab.trajectories import Trajectories

LENGTHS = (4, 1, 6, 3, 2)
N = sum(LENGTHS)


class FreeLogStd(nn.Module):
    """A network for the mean, a free parameter for log std, and one parameter that nothing depends on."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        self.log_std = nn.Parameter(torch.tensor([0.1, -0.2]))
        self.idle = nn.Parameter(torch.ones(3))

    def forward(self, obs):
        mean = self.net(obs)
        return torch.cat([mean, self.log_std.expand_as(mean)], -1)


class WithLoop(FreeLogStd):
    """Control flow on values, which vmap cannot follow."""

    def forward(self, obs):
        return super().forward(obs) * (2.0 if float(obs.sum()) > -1e9 else 1.0)


def make(kind=FreeLogStd):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = kind().double()
    return Agent(actor, [], [-1, -1], [1, 1], policy=Gaussian())


@pytest.fixture
def runs():
    generator = torch.Generator().manual_seed(1)
    obs = torch.randn(N, 3, generator=generator, dtype=torch.float64)
    index = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    no = torch.zeros(N, dtype=torch.bool)
    return Trajectories(obs, obs[:, :2], obs[:, 0], obs, no, index, discount=0.9)


@pytest.fixture
def v():
    return torch.randn(N, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def oracle(agent, runs, v):
    """One backward pass for each step and head coordinate."""
    parameters = list(agent.named_parameters().values())
    out = torch.zeros(runs.count, sum(p.numel() for p in parameters), dtype=torch.float64)
    for row in range(len(v)):
        head = agent.head(runs.obs[row : row + 1])[0]
        for k in range(len(head)):
            grads = torch.autograd.grad(head[k], parameters, retain_graph=True, materialize_grads=True)
            out[int(runs.trajectory[row])] += v[row, k] * torch.cat([g.flatten() for g in grads])
    return out


@pytest.mark.parametrize("kind", [FreeLogStd, WithLoop])
def test_gradients_are_those_of_single_steps(kind, runs, v):
    agent = make(kind)
    state = torch.get_rng_state()
    with torch.no_grad():
        found = trajectory_gradients(agent, runs, v)
    torch.testing.assert_close(found, oracle(agent, runs, v), rtol=1e-12, atol=1e-12)
    assert not found.requires_grad
    assert all(p.grad is None for p in agent.actor.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("episodes", [1, 2, 3, 5, 7])
def test_chunks_and_inner_products_do_not_depend_on_the_size_of_a_chunk(episodes, runs, v):
    agent = make()
    truth = oracle(agent, runs, v)
    chunks = list(gradient_chunks(agent, runs, v, episodes))
    assert max(len(part) for _, part in chunks) <= episodes
    for where, part in chunks:
        torch.testing.assert_close(part, truth[where], rtol=1e-12, atol=1e-12)
    gram = gram_by_gradients(agent, runs, v, episodes)
    torch.testing.assert_close(gram, truth @ truth.T, rtol=1e-12, atol=1e-12)


def test_inner_products_by_the_tangent_kernel(runs, v):
    agent = make()
    truth = oracle(agent, runs, v)
    kernel = tangent_kernel(agent, runs.obs)
    torch.testing.assert_close(gram_by_kernel(kernel, runs, v), truth @ truth.T, rtol=1e-12, atol=1e-12)
    with pytest.raises(GradlabError, match="only its blocks"):
        gram_by_kernel(tangent_kernel(agent, runs.obs, full=False), runs, v)


def test_directional_derivative(runs, v):
    agent = make()
    r = torch.randn(8 * 3 + 8 + 16 + 2 + 2 + 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    along = directional_derivative(agent, runs.obs, r)
    torch.testing.assert_close(runs.total((along * v).sum(-1)), oracle(agent, runs, v) @ r, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(2)])
def test_actors_in_training_mode_are_refused_and_left_alone(layer, runs):
    actor = nn.Sequential(nn.Linear(3, 2), layer).double()
    agent = Agent(actor, [], [-1, -1], [1, 1])
    buffers = [b.clone() for b in actor.buffers()]
    with pytest.raises(GradlabError, match="in training mode"):
        trajectory_gradients(agent, runs, torch.ones(N, 2))
    assert all(torch.equal(a, b) for a, b in zip(buffers, actor.buffers(), strict=True))
    assert trajectory_gradients(Agent(actor.eval(), [], [-1, -1], [1, 1]), runs, torch.ones(N, 2)).shape[0] == 5


def test_cotangents_that_are_not_finite_are_counted_and_located(runs, v):
    v[[5, 7]] = torch.nan
    with pytest.raises(GradlabError, match=r"at 2 of 16 steps in 1 of 5 episodes, first in episode 2, row 5"):
        trajectory_gradients(make(), runs, v)
    with pytest.raises(GradlabError, match="expected one a step"):
        trajectory_gradients(make(), runs, v[:-1])
    with pytest.raises(GradlabError, match="cotangents: shape"):
        trajectory_gradients(make(), runs, torch.ones(N, 3).double())
