"""Worlds as gymnasium environments: they are what the worlds say, and the simulator finds the worlds' gradients."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from gradlab import parameter_gradient
from gradlab.references import SimulatorReference
from gradlab.simulation import Simulator, States
from gradlab.testing.environments import LinearQuadraticEnvironment, TabularEnvironment
from gradlab.worlds import LinearQuadratic, TabularMDP

A = [[0.9, 0.3, 0.0], [-0.2, 0.8, 0.1], [0.0, 0.1, 0.7]]
B = [[0.4, 0.0], [0.2, 0.5], [0.0, 0.8]]
K = [[0.3, -0.1, 0.0], [0.1, 0.2, 0.3]]


def world(horizon: int | None, **changes) -> LinearQuadratic:
    given = {"A": A, "B": B, "Q": np.diag([1.0, 0.5, 2.0]), "R": [[0.3, 0.1], [0.1, 0.4]], "gamma": 0.9, "K": K}
    return LinearQuadratic(**(given | {"horizon": horizon} | changes))


def at(simulator: Simulator, states: States, obs: torch.Tensor) -> States:
    """The environment in states of one's choice."""
    snapshots = tuple({**states.snapshots[0], "state": row.numpy().copy()} for row in obs)
    zeros = torch.zeros(len(obs), dtype=torch.int64)
    return replace(states, obs=obs, snapshots=snapshots, episode=zeros, step=zeros)


def inside(found, truth) -> None:
    """Three standard errors, which for a deterministic policy are the step sizes' disagreement and rounding."""
    assert found.valid.all()
    assert ((found.mean - truth).abs() <= 3 * found.stderr).all()
    assert (found.stderr < 1e-5 * truth.abs().max()).all()


@pytest.mark.parametrize("horizon", [1, 7, None])
def test_a_deterministic_policy_has_the_worlds_action_gradient(horizon):
    """P backward from zero over a finite horizon, and the Lyapunov solution by a long one: γ^H ρ(L)^{2H} is nothing."""
    problem = world(horizon)
    reference = SimulatorReference(lambda: LinearQuadraticEnvironment(problem), horizon=horizon or 150)
    agent = problem.agent()
    for seed in range(3):
        states = reference.simulator.visit(agent, 4, seed=seed, episodes=2, max_steps=10)
        found = reference.cotangent(agent, states)
        inside(found, problem.action_gradient(states.obs, states.obs @ -problem.K.T))
        values = reference.values(agent, states)
        torch.testing.assert_close(values.mean, problem.state_value(states.obs), rtol=1e-10, atol=1e-12)


def test_a_gaussian_policy_has_the_worlds_gradient_in_mean_and_log_std_and_covers_it():
    """F(μ, ℓ) = E Q(μ + e^ℓ ε): ∂F/∂μ = ∂Q/∂a at μ, ∂F/∂ℓ_i = σ_i² H_ii, with the Q of the noisy policy itself."""
    std = [0.3, 0.6]
    problem = world(6, policy_std=std)
    agent = problem.agent()
    curvature = torch.diagonal(problem.hessians(torch.zeros(3), torch.zeros(2)).action)
    scores = []
    for seed in range(5):
        reference = SimulatorReference(
            lambda: LinearQuadraticEnvironment(problem), horizon=6, noise_seeds=24, seed=100 + seed
        )
        states = reference.simulator.visit(agent, 6, seed=seed, episodes=3, max_steps=6)
        found = reference.cotangent(agent, states)
        assert found.valid.all()
        mean = problem.action_gradient(states.obs, states.obs @ -problem.K.T)
        log_std = (torch.tensor(std, dtype=torch.float64).square() * curvature).expand_as(mean)
        scores.append((found.mean - torch.cat([mean, log_std], -1)) / found.stderr)
    z = torch.stack(scores)
    assert z.abs().max() < 5.5
    # Student's t of 23 degrees leaves ±2.069 in 5 %; 30 states, of which the four coordinates count about as two.
    assert (z.abs() > 2.069).double().mean() < 0.05 + 3.5 * math.sqrt(0.05 * 0.95 / 60)
    assert 0.6 < z.square().mean() < 1.6


@pytest.mark.parametrize("std", [0.0, 0.4])
def test_the_parameters_gradient_is_the_worlds(std):
    """At states whose second moments are Σ, the mean of J_sᵀ ∇_h F_s is ∇J, of the mean's weight and of log σ."""
    problem = world(None, policy_std=std, gamma=0.6)
    agent = problem.agent(action_bound=200.0)
    reference = SimulatorReference(
        lambda: LinearQuadraticEnvironment(problem, action_bound=200.0), horizon=35, noise_seeds=32
    )
    simulator = reference.simulator
    obs = problem.observations()
    states = at(simulator, simulator.visit(agent, 1, seed=0, episodes=1, max_steps=2), obs)
    found = reference.cotangent(agent, states)
    assert found.valid.all()
    gradient = parameter_gradient(agent, obs, found.mean)
    weight = next(part for name, part in gradient.items() if part.shape == problem.K.shape)
    truth = problem.true_gradient()
    if not std:
        torch.testing.assert_close(weight, truth, rtol=1e-6, atol=1e-7)
        return
    # The same noise seeds serve all states independently, so the states' errors add up in squares.
    error = (found.stderr[:, :2].square().T @ obs.square()).sqrt() / len(obs)
    assert ((weight - truth).abs() <= 4.5 * error).all()
    assert (error < 0.15 * truth.abs().max()).all()


def test_the_environments_are_what_they_say_to_gymnasium():
    problem = world(None, noise=np.diag([0.1, 0.2, 0.0]))
    env = LinearQuadraticEnvironment(problem)
    check_env(env, skip_render_check=True)
    tabular = TabularMDP(
        [[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.3, 0.7]]], [[1.0, 0.0], [0.0, 2.0]], 0.9, [0.5, 0.5]
    )
    check_env(TabularEnvironment(tabular), skip_render_check=True)


def test_the_regulators_noise_and_first_states_have_their_moments():
    first = np.array([[1.0, 0.4, 0.0], [0.4, 0.5, 0.1], [0.0, 0.1, 0.3]])
    noise = np.array([[0.2, 0.1, 0.0], [0.1, 0.3, 0.0], [0.0, 0.0, 0.0]])
    problem = world(None, sigma0=first, noise=noise)
    env = LinearQuadraticEnvironment(problem)
    begins, steps = [], []
    for seed in range(3000):
        begin, _ = env.reset(seed=seed)
        begins.append(begin)
        steps.append(env.step(np.array([0.5, -1.0]))[0] - np.array(A) @ begin - np.array(B) @ [0.5, -1.0])
    for drawn, moments in ((begins, first), (steps, noise)):
        found = np.stack(drawn).T @ np.stack(drawn) / len(drawn)
        error = np.sqrt((np.outer(np.diag(moments), np.diag(moments)) + moments**2) / len(drawn))
        assert (np.abs(found - moments) <= 4.5 * error + 1e-12).all()
    reward = env.step(np.array([0.5, -1.0]))[1]
    before = steps[-1] + np.array(A) @ begins[-1] + np.array(B) @ [0.5, -1.0]
    act = np.array([0.5, -1.0])
    assert reward == pytest.approx(-(before @ problem.Q.numpy() @ before + act @ problem.R.numpy() @ act), rel=1e-12)
