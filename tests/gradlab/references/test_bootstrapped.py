"""The bootstrapped reference equals closed forms between its two limits, and so does the bias that it states."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.objective import Objective
from gradlab.policies import Gaussian, Softmax, SquashedGaussian
from gradlab.references.bootstrapped import BootstrappedReference, _said
from gradlab.references.critic import CriticReference
from gradlab.references.simulator import SimulatorReference
from gradlab.simulation import Simulator
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic

# A regulator with a critic that is wrong ------------------------------------------------------------------------

SCALAR = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4, horizon=20)
MATRIX = LinearQuadratic(
    A=[[1.0, 0.1], [0.0, 0.9]],
    B=[[0.0, 0.05], [0.1, 0.0]],
    Q=[[1.0, 0.2], [0.2, 0.5]],
    R=[[0.1, 0.0], [0.0, 0.3]],
    gamma=0.9,
    K=[[0.5, 1.0], [0.2, -0.3]],
    horizon=20,
)


class Quadratic(nn.Module):
    """Q(s, a) = −xᵀMx with x = (s, a)."""

    def __init__(self, M) -> None:
        super().__init__()
        self.M = nn.Parameter(torch.as_tensor(M, dtype=torch.float64))

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        x = torch.cat([obs, act], -1)
        return -(x @ self.M * x).sum(-1)


class Problem:
    """A regulator, its linear policy and a critic that has nothing to do with either; everything in numpy."""

    def __init__(self, world: LinearQuadratic) -> None:
        self.world = world
        self.A, self.B, self.Q, self.R, self.K = (
            np.atleast_2d(part.detach().numpy()) for part in (world.A, world.B, world.Q, world.R, world.K)
        )
        self.discount = float(world.gamma)
        self.n, self.p = self.B.shape
        root = np.random.default_rng(0).standard_normal((self.n + self.p, self.n + self.p))
        self.M = root @ root.T
        actor = nn.Linear(self.n, self.p, bias=False, dtype=torch.float64)
        with torch.no_grad():
            actor.weight.copy_(-torch.from_numpy(self.K))
        bound = [10.0] * self.p
        self.agent = Agent(actor, [Quadratic(self.M)], [-b for b in bound], bound, self.discount)
        self.simulator = Simulator(lambda: LinearQuadraticEnvironment(world))

    def value_matrix(self, rewards: int) -> np.ndarray:
        """P of the cost −sᵀPs of following the policy for so many rewards, then the critic."""
        closed = self.A - self.B @ self.K
        both = np.concatenate([np.eye(self.n), -self.K])
        P = both.T @ self.M @ both
        for _ in range(rewards):
            P = self.Q + self.K.T @ self.R @ self.K + self.discount * closed.T @ P @ closed
        return P

    def gradient(self, obs: Tensor, rewards: int) -> np.ndarray:
        """∂/∂a at a = −Ks of the n-step value."""
        s = obs.numpy()
        a = -s @ self.K.T
        if rewards == 0:
            x = np.concatenate([s, a], -1)
            return -(x @ (self.M + self.M.T))[:, self.n :]
        after = s @ self.A.T + a @ self.B.T
        return -2 * (a @ self.R + self.discount * after @ self.value_matrix(rewards - 1) @ self.B)


@pytest.fixture(scope="module", params=[SCALAR, MATRIX], ids=["scalar", "matrix"])
def problem(request) -> Problem:
    return Problem(request.param)


@pytest.mark.parametrize("rewards", [0, 1, 2, 7])
def test_linear_quadratic_with_a_wrong_critic_equals_its_closed_form(problem, rewards):
    reference = BootstrappedReference(problem.simulator, rewards, bias_states=0)
    states = problem.simulator.visit(problem.agent, 6, seed=1, episodes=3, max_steps=4)
    found = reference.cotangent(problem.agent, states)
    assert found.valid.all()
    assert found.objective == Objective(discount=problem.discount)
    truth = problem.gradient(states.obs, rewards)
    np.testing.assert_allclose(found.mean.numpy(), truth, rtol=1e-6, atol=1e-8)
    assert (np.abs(found.mean.numpy() - truth) <= 3 * found.stderr.numpy()).all()
    value = -np.einsum("bi,ij,bj->b", states.obs, problem.value_matrix(rewards), states.obs)
    np.testing.assert_allclose(found.diagnostics["value"].numpy(), value, rtol=1e-9)
    np.testing.assert_allclose(reference.values(problem.agent, states).mean.numpy(), value, rtol=1e-9)


@pytest.mark.parametrize("rewards", [0, 1, 4])
def test_the_bias_that_is_stated_is_that_of_the_closed_form(problem, rewards):
    reference = BootstrappedReference(problem.simulator, rewards, bias_states=12, bias_horizon=60)
    states = problem.simulator.visit(problem.agent, 12, seed=1, episodes=6, max_steps=4)
    found = reference.cotangent(problem.agent, states)
    bias = found.diagnostics["bias"]
    exact, biased = (problem.gradient(states.obs, n) for n in (400, rewards))
    np.testing.assert_allclose(
        bias.relative_bias_squared.value, np.square(biased - exact).sum() / np.square(exact).sum(), rtol=2e-2
    )
    cosine = (biased * exact).sum() / np.sqrt(np.square(biased).sum() * np.square(exact).sum())
    assert bias.cosine.value == pytest.approx(cosine, abs=1e-3)
    assert bias.cosine.samples == 6
    assert "12 of 12 states" in found.diagnostics["note"]
    assert f"after {rewards} rewards" in found.diagnostics["note"]
    if problem.n == 1 and rewards:
        # The gradient's bias holds (γL²)^(n−1), L = A − BK: the critic is forgotten as the state is.
        later = BootstrappedReference(problem.simulator, rewards + 2, bias_states=12, bias_horizon=60)
        again = later.cotangent(problem.agent, states).diagnostics["bias"]
        share = again.relative_bias_squared.value / bias.relative_bias_squared.value
        assert share == pytest.approx((problem.discount * 0.7**2) ** 4, rel=0.02)


def test_many_rewards_are_the_simulator(problem):
    agent = problem.agent.snapshot()
    agent.discount = 0.5
    states = problem.simulator.visit(agent, 4, seed=1, episodes=2, max_steps=4)
    found = BootstrappedReference(problem.simulator, 60, bias_states=4).cotangent(agent, states)
    truth = SimulatorReference(problem.simulator, 60).cotangent(agent, states)
    torch.testing.assert_close(found.mean, truth.mean, rtol=1e-7, atol=1e-8)
    bias = found.diagnostics["bias"]
    assert abs(bias.relative_bias_squared.value) < 1e-10
    assert bias.cosine.value == pytest.approx(1.0, abs=1e-9)


# No rewards: the critic itself -------------------------------------------------------------------------------------


class Still(gymnasium.Env):
    """Observations stay; reward −(a − s)²; ends at once where s is above a limit."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)

    def __init__(self, limit: float = np.inf) -> None:
        self.limit = limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.s = self.np_random.uniform(-1, 1, 1)
        return self.s.copy(), {}

    def step(self, action):
        return self.s.copy(), -float((action[0] - self.s[0]) ** 2), bool(self.s[0] > self.limit), False, {}


class Network(nn.Module):
    """A small network of observation and action."""

    def __init__(self, inputs: int, activation: type[nn.Module] = nn.Tanh) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.layers = nn.Sequential(nn.Linear(inputs, 16), activation(), nn.Linear(16, 1))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return self.layers(torch.cat([obs, act], -1))


def still_agent(policy=None, outputs: int = 1, critics=None, **options) -> Agent:
    generator = torch.Generator().manual_seed(1)
    actor = nn.Linear(1, outputs)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return Agent(actor, critics or [Network(2)], [-1], [1], policy=policy, **options)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("reduction", ["first", "min", "mean"])
def test_without_rewards_it_is_the_critic_as_the_actor_follows_it(activation, reduction):
    critics = [Network(2, activation), Network(2, activation)]
    with torch.no_grad():
        critics[1].layers[0].bias.add_(0.3)
    agent = still_agent(critics=critics, reduction=reduction)
    reference = BootstrappedReference(Still, 0, bias_states=0)
    states = reference.simulator.visit(agent, 16, seed=0, episodes=16, max_steps=1)
    found = reference.cotangent(agent, states)
    truth = CriticReference().cotangent(agent, states.obs)
    assert found.valid.all()
    torch.testing.assert_close(found.mean, truth.mean, rtol=1e-5, atol=1e-7)
    assert found.diagnostics["steps"] == 0


@pytest.mark.parametrize("policy", [Gaussian(), SquashedGaussian()])
def test_without_rewards_a_stochastic_policy_has_the_critics_expectation(policy):
    agent = still_agent(policy, 2, entropy=0.2)
    reference = BootstrappedReference(Still, 0, bias_states=0, noise_seeds=200)
    states = reference.simulator.visit(agent, 12, seed=0, episodes=12, max_steps=1)
    found = reference.cotangent(agent, states)
    truth = CriticReference().cotangent(agent, states.obs)
    assert found.objective.entropy == 0.2
    z = (found.mean - truth.mean) / found.stderr
    assert z.abs().max() < 4.5
    assert 0.3 < float(z.square().mean()) < 2.2


def test_a_soft_value_goes_on_from_the_last_state():
    alpha, policy = 0.3, SquashedGaussian()
    agent = still_agent(policy, 2, entropy=alpha)
    reference = BootstrappedReference(Still, 2, bias_states=0, noise_seeds=400)
    states = reference.simulator.visit(agent, 8, seed=0, episodes=8, max_steps=1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    double = agent.snapshot(double=True)
    with torch.no_grad():
        act, log_prob = policy.sample(double.head(states.obs), torch.from_numpy(nodes)[:, None, None])
        bonus = -alpha * log_prob
        one = -(act[..., 0] - states.obs[:, 0]).square() + bonus
        last = double.q(states.obs, act) + bonus
    share = torch.from_numpy(weights / weights.sum())[:, None]
    truth = (share * ((1 + 0.99) * one + 0.99**2 * last)).sum(0)
    found = reference.values(agent, states)
    assert ((found.mean - truth).abs() < 4.5 * found.stderr).all()
    assert found.stderr.max() < 0.2


def test_a_softmax_policy_sums_over_actions():
    class Table(nn.Module):
        def forward(self, obs: Tensor, act: Tensor) -> Tensor:
            return act @ torch.tensor([1.0, -2.0]).to(act) * (1 + obs[..., 0])

    class Cart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([0.3, -0.4]))

        def forward(self, obs: Tensor) -> Tensor:
            return self.logits.expand(len(obs), -1)

    agent = Agent(Cart(), [Table()], [0, 0], [1, 1], policy=Softmax())
    reference = BootstrappedReference("CartPole-v1", 0, bias_states=0)
    states = reference.simulator.visit(agent, 4, seed=0, episodes=2, max_steps=10)
    found = reference.cotangent(agent, states)
    truth = CriticReference().cotangent(agent, states.obs.float())
    torch.testing.assert_close(found.mean, truth.mean, rtol=1e-5, atol=1e-6)


# Ends ---------------------------------------------------------------------------------------------------------------


class Big(nn.Module):
    """A critic that would be noticed."""

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return 1e3 * (act[..., 0] + 10.0)


def test_nothing_is_bootstrapped_after_a_termination():
    agent = still_agent(critics=[Big()])
    reference = BootstrappedReference(lambda: Still(limit=0.0), 2, bias_states=0)
    states = reference.simulator.visit(agent, 12, seed=0, episodes=12, max_steps=1)
    ended = states.obs[:, 0] > 0
    assert ended.any()
    assert not ended.all()
    found = reference.cotangent(agent, states)
    act = agent.snapshot(double=True).action(states.obs).detach()
    reward = -(act - states.obs).square()[:, 0]
    truth = torch.where(ended, reward, 1.99 * reward + 0.99**2 * 1e3 * (act[:, 0] + 10))
    torch.testing.assert_close(found.diagnostics["value"], truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("respect", [True, False])
def test_a_time_limit_that_counts_ends_it_too(respect):
    agent = still_agent(critics=[Big()])
    make = lambda: gymnasium.wrappers.TimeLimit(Still(), 3)  # noqa: E731
    reference = BootstrappedReference(make, 2, bias_states=0, respect_time_limit=respect)
    states = reference.simulator.visit(agent, 9, seed=0, episodes=3)
    assert states.step.tolist() == [0, 1, 2] * 3
    found = reference.cotangent(agent, states)
    act = agent.snapshot(double=True).action(states.obs).detach()
    reward = -(act - states.obs).square()[:, 0]
    value = 0.99**2 * 1e3 * (act[:, 0] + 10)
    rewards = torch.tensor([1.99, 1.99, 1.0] * 3 if respect else [1.99] * 9, dtype=torch.float64)
    judged = torch.tensor([1.0, 0.0, 0.0] * 3) if respect else torch.ones(9)
    torch.testing.assert_close(found.diagnostics["value"], rewards * reward + judged * value, rtol=1e-9, atol=1e-9)


# What else it promises ----------------------------------------------------------------------------------------------


def test_a_bias_that_cannot_be_known_is_not_stated():
    agent = still_agent()
    reference = BootstrappedReference(lambda: Still(limit=0.0), 1, bias_states=4)
    stochastic = still_agent(Gaussian(), 2)
    states = reference.simulator.visit(agent, 8, seed=0, episodes=8, max_steps=1)
    kept = states[states.obs[:, 0] > 0]
    # With a stochastic policy an end closes the gate.
    found = reference.cotangent(stochastic, kept)
    assert not found.valid.any()
    assert found.diagnostics["bias"] is None
    assert found.diagnostics["note"] == "bias not measured: no state is open"
    plain = BootstrappedReference(Still, 1, bias_states=0)
    unasked = plain.cotangent(agent, plain.simulator.visit(agent, 2, seed=0, episodes=2, max_steps=1))
    assert unasked.diagnostics["note"] == "bias not measured: none was asked for"


def test_finished_rollouts_are_not_taken_for_another_critics(tmp_path):
    agent, other = still_agent(), still_agent(critics=[Network(2, nn.ReLU)])
    reference = BootstrappedReference(Still, 1, bias_states=3)
    states = reference.simulator.visit(agent, 6, seed=0, episodes=6, max_steps=1)
    found = reference.cotangent(agent, states, resume=tmp_path / "kept")
    again = reference.cotangent(agent, states, resume=tmp_path / "kept")
    assert torch.equal(found.mean, again.mean)
    assert found.diagnostics["note"] == again.diagnostics["note"]
    # Nothing was simulated again.
    assert again.diagnostics["seconds"] == pytest.approx(found.diagnostics["seconds"], rel=1e-6)
    with pytest.raises(GradlabError, match="settings"):
        reference.cotangent(other, states, resume=tmp_path / "kept")


def test_the_agent_and_the_global_state_stay_as_they_are():
    agent = still_agent(Gaussian(), 2)
    before = {name: part.clone() for name, part in agent.actor.state_dict().items()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    reference = BootstrappedReference(Still, 2, bias_states=2, noise_seeds=4, bias_horizon=5)
    states = reference.simulator.visit(agent, 3, seed=0, episodes=3, max_steps=1)
    found = reference.cotangent(agent, states)
    again = reference.cotangent(agent, states)
    assert torch.equal(again.mean.nan_to_num(), found.mean.nan_to_num())
    assert again.diagnostics["note"] == found.diagnostics["note"]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert all(torch.equal(part, before[name]) for name, part in agent.actor.state_dict().items())
    assert next(agent.critics[0].parameters()).dtype == torch.float32
    assert all(parameter.grad is None for parameter in agent.actor.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": -1}, "steps: -1"),
        ({"bias_states": -1}, "bias_states: -1"),
        ({"steps": 10, "bias_horizon": 10}, "bias_horizon: 10"),
        ({"second_way": True}, "knows no critic"),
        ({"noise_seeds": 1}, "noise_seeds: 1"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_line(options, said):
    with pytest.raises(GradlabError, match=said) as refusal:
        BootstrappedReference(Still, **options)
    assert "\n" not in str(refusal.value)


def test_an_agent_without_a_critic_is_refused():
    agent = Agent(nn.Linear(1, 1), [], [-1], [1])
    reference = BootstrappedReference(Still, 1)
    states = reference.simulator.visit(agent, 1, seed=0, episodes=1, max_steps=1)
    with pytest.raises(GradlabError, match="no critic"):
        reference.cotangent(agent, states)


def test_a_bias_of_few_episodes_or_none_says_so():
    few, many = (Estimate(0.5, 0.1, samples) for samples in (8, 64))
    assert "8 episodes; with skewed errors it takes about 32" in _said(few)
    assert _said(many).endswith("64 episodes)")
    assert _said(Estimate(math.nan, math.nan, 8)) == "unresolved (8 episodes)"
