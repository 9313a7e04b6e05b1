"""The smoothed reference equals closed forms, quadrature over a grid, and the unsmoothed one where both exist."""

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
from gradlab.objective import Objective
from gradlab.policies import Gaussian, Softmax, SquashedGaussian
from gradlab.quadrature import gauss_hermite
from gradlab.references.simulator import SimulatorReference
from gradlab.references.smoothed import OUT_OF_TIME, UNCHANGED, SmoothedSimulatorReference
from gradlab.simulation import Simulator
from gradlab.simulation.gate import NOT_FINITE
from gradlab.simulation.rollouts import Rollouts
from gradlab.worlds import BallOverWall, Step


def decision(q, size: int, bound: float = 20.0):
    """An environment of one decision that pays q(a), a in a box; q: [B, p] → [B]."""

    class Decision(gymnasium.Env):
        observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        action_space = spaces.Box(-bound, bound, (size,), np.float64)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.state = self.np_random.standard_normal(1)
            return self.state.copy(), {}

        def step(self, action):
            reward = float(q(torch.from_numpy(np.asarray(action, dtype=np.float64))[None])[0])
            return self.state.copy(), reward, False, False, {}

    return Decision


class Decisions(Simulator):
    """The same in one go: every return of one decision at once, clipped as the environment's are."""

    def __init__(self, q, size: int, bound: float = 20.0) -> None:
        super().__init__(decision(q, size, bound))
        self.q = q

    def rollouts(self, agent, states, first_actions, *, horizon, noise=None, entropy=0.0, respect_time_limit=False):
        assert horizon == 1
        pilot = self.pilot(agent)
        act = pilot.to_env(first_actions).clamp(pilot.env_low, pilot.env_high)
        value = self.q(act.reshape(-1, self.action_size)).reshape(act.shape[:-1])
        last = states.obs.expand(*act.shape[:-1], 1)
        return Rollouts(
            value,
            torch.ones(value.shape, dtype=torch.int64),
            torch.zeros_like(value).bool(),
            last,
            torch.zeros_like(value).long(),
            torch.zeros_like(value).bool(),
        )


class Constant(nn.Module):
    """The same head in every state."""

    def __init__(self, head) -> None:
        super().__init__()
        self.head = nn.Parameter(torch.as_tensor(head, dtype=torch.float64))

    def forward(self, obs: Tensor) -> Tensor:
        return self.head.expand(len(obs), -1)


def repetitions(q, head, radius: float, times: int, *, bound: float = 20.0, policy=None, make=Decisions, **options):
    """So many independent references of one decision."""
    head = torch.as_tensor(head, dtype=torch.float64)
    size = len(head) if policy is None else len(head) // 2
    simulator = make(q, size, bound)
    agent = Agent(Constant(head), [], [-bound] * size, [bound] * size, 1.0, policy=policy, **options)
    one = simulator.visit(agent, 1, seed=0, episodes=1, max_steps=1)
    states = one[[0] * times]
    return SmoothedSimulatorReference(simulator, radius, horizon=1).cotangent(agent, states)


def assert_mean(means: Tensor, truth: Tensor, resolved: float) -> None:
    """Over all repetitions the error is smaller still: without bias."""
    spread = means.std(0) / len(means) ** 0.5
    assert ((means.mean(0) - truth).abs() <= 4 * spread + 1e-12).all()
    assert (spread < resolved * truth.norm()).all()


def test_all_returns_in_one_go_are_those_of_the_environment():
    def q(act: Tensor) -> Tensor:
        return act.prod(-1) + (act[:, 0] > 0.1)

    found = repetitions(q, [0.0, 1.0], 0.3, 2, bound=1.0)
    real = repetitions(q, [0.0, 1.0], 0.3, 2, bound=1.0, make=lambda *given: Simulator(decision(*given)))
    assert torch.equal(found.mean, real.mean)
    assert torch.equal(found.stderr, real.stderr)


# Closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "at", "radius", "accuracy"),
    [
        (Step(mean=0.1, std=0.3), [0.1], 0.3, 0.05),
        (Step(mean=0.5, std=0.3), [0.5], 0.3, 0.2),
        (BallOverWall(angle=0.5), [0.5], 0.1, 0.1),
        (BallOverWall(), [0.6], 0.1, 0.02),
        (BallOverWall(angle=0.2), [0.2], 0.1, 0.02),
        (Step(mean=[0.0, 0.3], std=0.3, normal=[1.0, -2.0]), [0.0, 0.3], 0.3, 0.15),
        (Step(mean=[0.05] * 4, std=0.3), [0.05] * 4, 0.3, 0.15),
    ],
)
def test_intervals_hold_the_gradient_of_a_smoothed_jump(world, at, radius, accuracy):
    times = 400
    found = repetitions(world.q, at, radius, times)
    truth = world.true_gradient()
    assert found.valid.all()
    assert found.objective == Objective(discount=1.0, smoothing=radius, horizon=1)
    assert found.samples == 32
    z = (found.mean - truth) / found.stderr
    held = (z.abs() < 2.04).double().mean(0)
    # Of 400 repetitions 95 % ± 3.5 %; wider than they must be are the intervals that allow for jumps never met.
    assert (held > 0.915).all()
    assert_mean(found.mean, truth, 0.01)
    assert float(found.stderr.norm(dim=-1).mean()) < accuracy * float(truth.norm())


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_smooth_return_in_any_dimension(size):
    generator = torch.Generator().manual_seed(size)
    slope, at = (torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(2))

    def q(act: Tensor) -> Tensor:
        return act @ slope + (act**3).sum(-1) + (2 * act).sin().prod(-1)

    found = repetitions(q, at, 0.3, 300)
    if size <= 2:
        points, weights = gauss_hermite(size, 40)
        a = (at + 0.3 * points).requires_grad_()
        (gradients,) = torch.autograd.grad(q(a).sum(), a)
        truth = weights @ gradients
    else:
        # E(a + σu)³ = a³ + 3aσ², and of independent sines E sin 2(a + σu) = exp(−2σ²) sin 2a.
        damped, sine, cosine = math.exp(-2 * 0.09), (2 * at).sin(), (2 * at).cos()
        others = torch.stack([sine[torch.arange(size) != i].prod() for i in range(size)])
        truth = slope + 3 * at**2 + 3 * 0.09 + damped**size * 2 * cosine * others
    z = (found.mean - truth) / found.stderr
    # The longest moves decide, and few are long: the standard error is right on average, but 90 % are held, not 95.
    assert ((z.abs() < 2.04).double().mean(0) > 0.84).all()
    ratio = (found.stderr.square().mean(0) / (found.mean - truth).square().mean(0)).sqrt()
    # Allowing for one bend more, as far from linear as the farthest, adds up to a third in several dimensions.
    assert ((ratio > 0.8) & (ratio < 1.4)).all()
    assert_mean(found.mean, truth, 0.01)


def test_a_gaussian_policy_is_smoothed_further_and_its_spread_has_a_gradient():
    mean, std, radius = 0.2, 0.4, 0.3
    found = repetitions(lambda act: Step().q(act), [mean, math.log(std)], radius, 400, policy=Gaussian())
    # N(θ, s²) with s² = std² + σ², and ∂s/∂log std = std²/s.
    total = math.hypot(std, radius)
    by_mean, by_total = Step(mean=mean, std=total, learn_std=True).true_gradient().tolist()
    truth = torch.tensor([by_mean, by_total * std**2 / total]).double()
    z = (found.mean - truth) / found.stderr
    assert z.abs().max() < 4.5
    assert 0.6 < float(z.square().mean()) < 1.3
    assert_mean(found.mean, truth, 0.01)


@pytest.mark.parametrize("entropy", [0.0, 0.5])
def test_a_squashed_gaussian_with_entropy_agrees_with_quadrature(entropy):
    radius, policy = 0.2, SquashedGaussian()
    head = torch.tensor([0.3, -0.5]).double()

    def q(act: Tensor) -> Tensor:
        return (act.squeeze(-1) > 0.25).double() + 0.5 * act.squeeze(-1)

    found = repetitions(q, head, radius, 400, bound=1.0, policy=policy, entropy=entropy)
    assert found.objective == Objective(discount=1.0, entropy=entropy, smoothing=radius, horizon=1)
    points, weights = gauss_hermite(1, 200)
    at = head.clone().requires_grad_()
    act, log_prob = policy.sample(at.expand(200, 2), points)
    # E_u of the clipped return at a + σu, by a fine sum that does not know of its jump.
    u = torch.linspace(-8, 8, 8001).double()
    density = torch.exp(-u.square() / 2) / torch.exp(-u.square() / 2).sum()
    centre = act.detach()
    moved = (centre + radius * u).clamp(-1, 1)
    slopes = (q(moved.unsqueeze(-1)) * u * density).sum(-1) / radius
    inner = (weights * (slopes * act.squeeze(-1) - entropy * log_prob)).sum()
    (truth,) = torch.autograd.grad(inner, at)
    z = (found.mean - truth) / found.stderr
    assert z.abs().max() < 4.5
    assert_mean(found.mean, truth, 0.01)


@pytest.mark.parametrize("radius", [0.3, 1e-3])
def test_at_the_edge_of_the_box_it_is_the_clipped_return_that_is_smoothed(radius):
    found = repetitions(lambda act: 3 * act[:, 0], [1.0], radius, 200, bound=1.0)
    # E[3 min(1, 1 + σu)]' = 3 P(u < 0), but for the far side of the box.
    far = 3 * torch.special.ndtr(torch.tensor(-2 / radius).double())
    z = (found.mean - 1.5 + far) / found.stderr
    assert (z.abs() < 2.04).double().mean() > 0.9
    torch.testing.assert_close(found.mean.mean(), 1.5 - far, rtol=0.0, atol=0.02)


# A task whose return jumps ----------------------------------------------------------------------------------------


def pendulum_agent() -> Agent:
    actor = nn.Linear(4, 1, dtype=torch.float64)
    with torch.no_grad():
        actor.weight.copy_(torch.tensor([[0.0, 0.6, 0.0, 0.1]]))
        actor.bias.zero_()
    return Agent(actor, [], [-1], [1], 0.99, env_low=[-3], env_high=[3])


@pytest.fixture(scope="module")
def pendulum() -> Simulator:
    return Simulator("InvertedPendulum-v5")


def test_inverted_pendulum_against_numerical_differentiation_of_its_smoothed_return(pendulum):
    agent, horizon, radius = pendulum_agent(), 30, 0.4
    visited = pendulum.visit(agent, 60, seed=3, episodes=6, max_steps=60)
    # Late in an episode, where a push decides how soon it falls.
    last = [int((visited.episode == e).nonzero()[-1]) for e in visited.episode.unique()][:4]
    states = visited[last]
    unsmoothed = SimulatorReference(pendulum, horizon=horizon).cotangent(agent, states)
    assert not unsmoothed.valid.any()
    found = SmoothedSimulatorReference(pendulum, radius, horizon=horizon).cotangent(agent, states)
    assert found.valid.all()
    assert (found.diagnostics["ended"] > 0).all()
    # The return on a grid of actions; the box ends it on both sides.
    grid = torch.linspace(-1, 1, 801).double()
    returns = pendulum.returns(agent, states, grid[:, None, None].expand(-1, len(states), 1), horizon=horizon)
    assert all(2 <= len(column.unique()) < 40 for column in returns.T)
    centre = agent.action(states.obs).detach()[:, 0]

    def smoothed(shift: float) -> Tensor:
        """F^σ at the heads + shift: each grid point stands for its cell, the outer ones for all beyond."""
        edges = torch.cat([torch.tensor([-math.inf]), (grid[1:] + grid[:-1]) / 2, torch.tensor([math.inf])])
        mass = torch.special.ndtr((edges[:, None] - centre - shift) / radius).diff(dim=0)
        return (mass * returns).sum(0)

    truth = (smoothed(1e-4) - smoothed(-1e-4)) / 2e-4
    z = (found.mean[:, 0] - truth) / found.stderr[:, 0]
    assert z.abs().max() < 4
    assert (truth.abs() > 3 * found.stderr[:, 0]).any()


def test_it_agrees_with_the_unsmoothed_reference_where_there_is_one():
    actor = nn.Sequential(nn.Linear(10, 2), nn.Tanh())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(0.03 * torch.randn(parameter.shape, generator=generator))
    agent = Agent(actor, [], [-1, -1], [1, 1], 0.97)
    plain = SimulatorReference("Reacher-v5", horizon=10)
    states = plain.simulator.visit(agent, 5, seed=0, episodes=5)
    truth = plain.cotangent(agent, states)
    # So small a radius that its own bias, O(σ²), is below the noise.
    found = SmoothedSimulatorReference(plain.simulator, 0.01, horizon=10).cotangent(agent, states)
    assert truth.valid.all()
    assert found.valid.all()
    z = (found.mean - truth.mean) / found.stderr
    assert z.abs().max() < 4
    assert (found.stderr.norm(dim=-1) < 0.1 * truth.mean.norm(dim=-1)).all()


# What it depends on -----------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_whatever_is_simulated_along(pendulum, monkeypatch):
    agent = pendulum_agent()
    states = pendulum.visit(agent, 5, seed=1, episodes=2, max_steps=30)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    found = SmoothedSimulatorReference(pendulum, 0.3, horizon=12, draws=4).cotangent(agent, states)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.get_num_threads() == before[2]
    assert all(parameter.grad is None for parameter in agent.actor.parameters())
    first = SmoothedSimulatorReference(pendulum, 0.3, horizon=12, draws=4).cotangent(agent, states[:2])
    torch.testing.assert_close(found.mean[:2], first.mean, rtol=0, atol=0)
    monkeypatch.setattr("gradlab.references.smoothed._ROLLOUTS", 1)
    small = SmoothedSimulatorReference(Simulator("InvertedPendulum-v5", lanes=7), 0.3, horizon=12, draws=4)
    again = small.cotangent(agent, states)
    torch.testing.assert_close(found.mean, again.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.stderr, again.stderr, rtol=1e-12, atol=1e-12)
    other = SmoothedSimulatorReference(pendulum, 0.3, horizon=12, draws=4, seed=1).cotangent(agent, states)
    assert not torch.equal(found.mean, other.mean)


def test_states_that_no_time_was_left_for_are_left_out(pendulum, monkeypatch):
    agent = pendulum_agent()
    states = pendulum.visit(agent, 4, seed=1, episodes=2, max_steps=30)
    monkeypatch.setattr("gradlab.references.smoothed._ROLLOUTS", 1)
    found = SmoothedSimulatorReference(pendulum, 0.5, horizon=30, draws=4, seconds=0.0).cotangent(agent, states)
    assert found.diagnostics["reason"][1:] == [OUT_OF_TIME] * 3
    assert found.diagnostics["left_out"] == 3
    assert not found.valid[1:].any()
    assert found.mean.shape == (4, 1)


# What it refuses --------------------------------------------------------------------------------------------------


def test_a_jump_that_is_never_met_is_not_denied():
    # Ten standard deviations away, beside a return that changes a little.
    def q(act: Tensor) -> Tensor:
        return 100.0 * (act[:, 0] > 3.0).double()

    found = repetitions(q, [0.0], 0.3, 3)
    assert found.diagnostics["reason"] == [UNCHANGED] * 3
    assert torch.isnan(found.mean).all()
    simulator = Decisions(q, 1)

    class Either(nn.Module):
        def forward(self, obs: Tensor) -> Tensor:
            return torch.where(obs > 0, 3.0, 0.0)

    agent = Agent(Either(), [], [-20], [20], 1.0)
    states = simulator.visit(agent, 12, seed=0, episodes=12, max_steps=1)
    near = states.obs[:, 0] > 0
    found = SmoothedSimulatorReference(simulator, 0.3, horizon=1).cotangent(agent, states)
    assert near.any()
    assert not near.all()
    assert found.valid.all()
    assert (found.mean[~near] == 0).all()
    assert (found.diagnostics["unchanged"][~near] == 1).all()
    # One changed pair of 129, with all of the jump's height: √(2/π) · 100/(2σ)/129.
    torch.testing.assert_close(found.stderr[~near], torch.full_like(found.stderr[~near], 1.0308586), rtol=1e-6, atol=0)


def test_a_diverging_state_is_left_out_and_the_others_are_not():
    simulator = Decisions(lambda act: torch.where(act[:, 0] > 5, torch.nan, act[:, 0]), 1)

    class Either(nn.Module):
        def forward(self, obs: Tensor) -> Tensor:
            return torch.where(obs > 0, 5.0, 0.0)

    agent = Agent(Either(), [], [-20], [20], 1.0)
    states = simulator.visit(agent, 8, seed=0, episodes=8, max_steps=1)
    found = SmoothedSimulatorReference(simulator, 0.2, horizon=1).cotangent(agent, states)
    bad = states.obs[:, 0] > 0
    assert bad.any()
    assert [reason == NOT_FINITE for reason in found.diagnostics["reason"]] == bad.tolist()
    assert torch.equal(found.valid, ~bad)
    assert torch.isnan(found.mean[bad]).all()
    torch.testing.assert_close(found.mean[~bad], torch.ones_like(found.mean[~bad]), rtol=0.0, atol=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"radius": 0.0}, "radius: 0.0"),
        ({"radius": math.nan}, "radius: nan"),
        ({"radius": "wide"}, "radius: 'wide'"),
        ({"radius": 0.1, "horizon": 0}, "horizon: 0"),
        ({"radius": 0.1, "draws": 1}, "draws: 1"),
        ({"radius": 0.1, "seed": -1}, "seed: -1"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_line(pendulum, options, said):
    with pytest.raises(GradlabError, match=said) as refusal:
        SmoothedSimulatorReference(pendulum, **options)
    assert "\n" not in str(refusal.value)


def test_observations_alone_and_discrete_actions_are_refused(pendulum):
    with pytest.raises(GradlabError, match="not all of a state"):
        SmoothedSimulatorReference(pendulum, 0.1).cotangent(pendulum_agent(), torch.zeros(2, 4))
    cart = SmoothedSimulatorReference("CartPole-v1", 0.1, horizon=5)
    agent = Agent(Constant([0.0, 0.0]), [], [0, 0], [1, 1], policy=Softmax())
    states = cart.simulator.visit(agent, 1, seed=0, episodes=1)
    with pytest.raises(GradlabError, match="needs no smoothing"):
        cart.cotangent(agent, states)
