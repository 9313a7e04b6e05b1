"""Monte Carlo as reference: closed forms on a regulator, a smoothed jump, and independence of chunks and company."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from torch import nn

from gradlab import Agent, GradlabError, cross_check, policy_gradient
from gradlab.estimators.trajectory import GPOMDP, LeaveOneOut, Reinforce
from gradlab.objective import Objective
from gradlab.references import MonteCarloReference, SimulatorReference
from gradlab.references import monte_carlo as module
from gradlab.references.controlled_scores import controlled_draws, left_out_baseline
from gradlab.simulation import Simulator, visit_discounted
from gradlab.testing.environments import LinearQuadraticEnvironment, TabularEnvironment
from gradlab.worlds import LinearQuadratic, TabularMDP

HORIZON = 5


def regulator(policy_std: float) -> LinearQuadratic:
    return LinearQuadratic(0.9, 0.5, 1.0, 0.1, 0.9, 0.4, policy_std=policy_std, horizon=HORIZON)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(lambda: TimeLimit(LinearQuadraticEnvironment(regulator(0.5), 50.0), HORIZON))


class Step(gymnasium.Env):
    """One decision, which pays whether the action is above the observation; then nothing."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space = spaces.Box(-9.0, 9.0, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.s = self.np_random.standard_normal(1)
        return self.s.copy(), {}

    def step(self, action):
        return self.s.copy(), float(action[0] > self.s[0]), True, False, {}


def exact_cotangents(world: LinearQuadratic, states) -> torch.Tensor:
    """∂F/∂mean and ∂F/∂log σ = σ² H_aa at each state's own step."""
    rows = []
    for obs, step in zip(states.obs, states.step.tolist(), strict=True):
        act = -obs @ world.K.T
        along = world.action_gradient(obs[None], act[None], step)[0]
        spread = world.policy_std.square() * world.hessians(obs[None], act[None], step).action.flatten()
        rows.append(torch.cat([along, spread]))
    return torch.stack(rows)


def test_cotangents_are_the_regulators(simulator):
    world, agent = regulator(0.5), regulator(0.5).agent(action_bound=50.0)
    states = simulator.visit(agent, 10, seed=1, episodes=3)
    found = MonteCarloReference(simulator, HORIZON, draws=128, respect_time_limit=True).cotangent(agent, states)
    # At a last step the return is quadratic in the noise, and the draws know it to rounding.
    apart = (found.mean - exact_cotangents(world, states)) / found.stderr.clamp_min(1e-9)
    assert float(apart.abs().max()) < 4
    assert float(apart.square().mean()) < 2
    values = torch.stack([world.state_value(o[None], int(t))[0] for o, t in zip(states.obs, states.step, strict=True)])
    value, error = found.diagnostics["value"], found.diagnostics["value_stderr"]
    assert float(((value - values) / error).abs().max()) < 4
    assert (found.samples, found.objective) == (128, Objective(0.9, horizon=HORIZON))
    assert found.valid.all()


def test_entropy_is_the_soft_returns(simulator):
    agent = regulator(0.5).agent(action_bound=50.0)
    agent.entropy = 0.3
    states = simulator.visit(agent, 4, seed=2, episodes=2)
    soft = MonteCarloReference(simulator, 3, draws=64).cotangent(agent, states)
    pathwise = SimulatorReference(simulator, horizon=3, noise_seeds=64).cotangent(agent, states)
    assert soft.objective == pathwise.objective == Objective(0.9, 0.3, horizon=3)
    scale = (soft.stderr.square() + pathwise.stderr.square()).sqrt()
    assert float(((soft.mean - pathwise.mean) / scale).abs().max()) < 4.5
    hard = MonteCarloReference(simulator, 3, draws=64, entropy=False).cotangent(agent, states)
    # The bonus adds α to the gradient at log σ: the first action's entropy is log σ + constant.
    gain = (soft.mean - hard.mean)[:, 1]
    assert float((gain - 0.3).abs().max()) < 0.05


def test_a_jump_has_the_gradient_of_its_smoothing():
    actor = nn.Linear(1, 1).double()
    nn.init.constant_(actor.weight, 0.5)
    nn.init.constant_(actor.bias, 0.1)
    agent = Agent(actor, [], [-9], [9], discount=0.9)
    reference = MonteCarloReference(Step, 1, draws=512, smoothing=0.7)
    states = reference.simulator.visit(agent, 8, seed=1, episodes=8)
    found = reference.cotangent(agent, states)
    distance = (states.obs - agent.action(states.obs)) / 0.7
    exact = (-0.5 * distance.detach().square()).exp() / math.sqrt(2 * math.pi) / 0.7
    assert float(((found.mean - exact) / found.stderr).abs().max()) < 4
    assert found.objective == Objective(0.9, smoothing=0.7, horizon=1)


def test_draws_depend_on_seed_and_position_alone(simulator, monkeypatch):
    agent = regulator(0.5).agent(action_bound=50.0)
    states = simulator.visit(agent, 5, seed=1, episodes=3)
    reference = MonteCarloReference(simulator, HORIZON, draws=8)
    whole, first = reference.cotangent(agent, states).mean, reference.cotangent(agent, states[:2]).mean
    # To rounding: sums over fewer states may be taken in another order.
    torch.testing.assert_close(first, whole[:2], rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(module, "_NUMBERS", 1)
    torch.testing.assert_close(reference.cotangent(agent, states).mean, whole, rtol=1e-12, atol=1e-12)
    other = MonteCarloReference(simulator, HORIZON, draws=8, seed=1).cotangent(agent, states).mean
    assert not torch.equal(other, whole)


@pytest.mark.parametrize("estimator", [None, Reinforce(LeaveOneOut(8)), GPOMDP(LeaveOneOut(4))], ids=str)
def test_whole_episodes_give_the_regulators_gradient(simulator, estimator):
    world, agent = regulator(0.5), regulator(0.5).agent(action_bound=50.0)
    reference = MonteCarloReference(simulator, HORIZON, respect_time_limit=True)
    found = reference.gradient(agent, 1030, estimator=estimator)
    apart = (found.gradient - world.true_gradient().flatten()) / found.stderr
    assert float(apart.abs()) < 3.5
    assert found.objective == Objective(0.9, horizon=HORIZON)
    assert found.count <= 256
    assert not found.per_weight
    name = "gpomdp-fitted-value" if estimator is None else estimator.name
    assert found.notes[0].startswith(f"{name} over 10")


def test_the_fitted_baseline_lowers_the_variance(simulator):
    agent = regulator(0.5).agent(action_bound=50.0)
    reference = MonteCarloReference(simulator, HORIZON, respect_time_limit=True)
    plain, fitted = (reference.gradient(agent, 512, estimator=one) for one in (GPOMDP(), None))
    assert float(fitted.stderr) < 0.8 * float(plain.stderr)


def test_wrong_input_is_refused_in_one_line(simulator):
    agent = regulator(0.5).agent(action_bound=50.0)
    states = simulator.visit(agent, 2, seed=1, episodes=1)
    reference = MonteCarloReference(simulator, HORIZON)
    with pytest.raises(GradlabError, match="an observation is not all of a state"):
        reference.cotangent(agent, states.obs)
    with pytest.raises(GradlabError, match="has no score; pass smoothing"):
        reference.cotangent(regulator(0.0).agent(action_bound=50.0), states)
    with pytest.raises(GradlabError, match="smooths already"):
        MonteCarloReference(simulator, HORIZON, smoothing=0.1).cotangent(agent, states)
    with pytest.raises(GradlabError, match="draws: 4"):
        MonteCarloReference(simulator, HORIZON, draws=4)
    with pytest.raises(GradlabError, match="smoothing: nan"):
        MonteCarloReference(simulator, HORIZON, smoothing=math.nan)
    for biased in (GPOMDP(discounted_states=False), GPOMDP("leave-one-out")):
        with pytest.raises(GradlabError, match="is biased or makes all episodes one sample"):
            reference.gradient(agent, 16, estimator=biased)
    with pytest.raises(GradlabError, match="deterministic"):
        reference.gradient(regulator(0.0).agent(action_bound=50.0), 16)


@pytest.mark.parametrize("dimension", [1, 3])
def test_controlled_draws_are_unbiased_and_their_standard_errors_are_right(dimension):
    """A return with a jump and noise of its own: E[ε·f] and E[(ε² − 1)·f] are known in each coordinate."""
    generator = torch.Generator().manual_seed(3)
    states, draws = 400, 64
    noise = torch.randn(draws, states, dimension, generator=generator, dtype=torch.float64)
    other = torch.randn(draws, states, generator=generator, dtype=torch.float64)
    both = torch.stack([noise, -noise])
    value = (2 * both.square() + 0.9 * both + (both > 0.5)).sum(-1) + other
    score = torch.cat([both, both.square() - 1], -1)
    found, stderr = controlled_draws(score, value, noise)
    density = math.exp(-0.125) / math.sqrt(2 * math.pi)
    exact = torch.tensor([0.9 + density] * dimension + [4 + 0.5 * density] * dimension).double()
    each = found.mean(0)
    assert float(((each.mean(0) - exact) / (each.std(0) / states**0.5)).abs().max()) < 4
    held = ((each - exact).abs() < 2 * stderr).double().mean()
    assert 0.91 < float(held) < 0.98
    plain, _ = left_out_baseline(score, value)
    assert float(found.var(0).mean()) < 0.4 * float(plain.var(0).mean())


def test_discrete_choices_give_the_tables_gradient():
    """Two states and two actions with deterministic transitions: the closed form of a table, by scores of softmax."""
    there_and_back = [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]
    world = TabularMDP(there_and_back, [[1.0, 0.0], [0.0, 2.0]], gamma=0.5, alpha=[0.7, 0.3])
    simulator = Simulator(lambda: TimeLimit(TabularEnvironment(world), 12))
    agent = world.agent()
    reference = MonteCarloReference(simulator, 12, draws=24)
    found = reference.gradient(agent, 1024)
    # The actor's weight is θᵀ.
    truth = world.true_gradient().T.flatten()
    assert float(((found.gradient - truth) / found.stderr.clamp_min(2e-3)).abs().max()) < 4
    states = visit_discounted(simulator, agent, 64, seed=2)
    carried = policy_gradient(agent, reference, states)
    assert float(((carried.gradient - truth) / carried.stderr.clamp_min(2e-3)).abs().max()) < 4
    assert cross_check(carried, found).agree
