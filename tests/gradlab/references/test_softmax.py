"""The gradient at a softmax policy's logits equals closed forms and a plain loop over env.step."""

from __future__ import annotations

import copy

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Softmax
from gradlab.references.softmax import expected_value, softmax_cotangent
from gradlab.simulation import Simulator
from gradlab.simulation.gate import NOT_FINITE
from gradlab.testing.environments import TabularEnvironment
from gradlab.worlds import TabularMDP


def ring(entropy: float = 0.0, horizon: int | None = 6, states: int = 5) -> TabularMDP:
    """Deterministic: action 0 steps back, 1 stands still, 2 steps on; rewards differ everywhere."""
    P = torch.zeros(states, 3, states, dtype=torch.float64)
    for state in range(states):
        for act, move in enumerate((-1, 0, 1)):
            P[state, act, (state + move) % states] = 1.0
    generator = torch.Generator().manual_seed(3)
    r = torch.randn(states, 3, generator=generator, dtype=torch.float64)
    theta = torch.randn(states, 3, generator=generator, dtype=torch.float64)
    alpha = torch.full((states,), 1 / states, dtype=torch.float64)
    return TabularMDP(P, r, 0.9, alpha, theta, entropy=entropy, horizon=horizon)


def noise(agent: Agent, *shape: int, seed: int = 0) -> Tensor:
    return agent.policy.noise((*shape, agent.action_size), torch.Generator().manual_seed(seed), agent.action_low)


def truth(world: TabularMDP, obs: Tensor, step: int = 0) -> Tensor:
    """∇_h F_s = π(a | s) (Q − τ log π − v), from the world's own linear algebra."""
    return obs @ (world.policy * world.advantages(step))


@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_a_deterministic_process_equals_its_closed_form_within_its_interval(entropy):
    world = ring(entropy)
    simulator = Simulator(lambda: TabularEnvironment(world))
    assert not simulator.random
    agent = world.agent()
    states = simulator.visit(agent, 4, seed=1, episodes=2, max_steps=6)
    seeds = 400
    found = softmax_cotangent(
        simulator, agent, states, horizon=6, noise=noise(agent, seeds, 6, 4), entropy=agent.entropy
    )
    exact = truth(world, states.obs)
    z = (found.mean - exact) / found.stderr
    assert z.abs().max() < 4.5
    assert (found.stderr < 0.05 * exact.abs().max()).all()
    q = states.obs @ world.q_values()
    q_error = found.action_values.std(0) / seeds**0.5
    assert ((found.action_values.mean(0) - q).abs() <= 4.5 * q_error + 1e-12).all()
    value = states.obs @ world.state_values()
    assert ((found.values.mean(0) - value).abs() <= 4.5 * found.values.std(0) / seeds**0.5).all()
    assert found.valid.all()


def test_standard_errors_cover_as_often_as_they_say():
    world = ring(0.2, horizon=4)
    simulator = Simulator(lambda: TabularEnvironment(world))
    agent = world.agent()
    states = simulator.visit(agent, 2, seed=0, episodes=1, max_steps=4)
    groups, seeds = 60, 16
    found = softmax_cotangent(
        simulator, agent, states, horizon=4, noise=noise(agent, groups * seeds, 4, 2), entropy=0.2
    )
    draws = found.draws.reshape(groups, seeds, 2, 3)
    z = (draws.mean(1) - truth(world, states.obs)) / (draws.std(1) / seeds**0.5)
    # Student's t with 15 degrees of freedom leaves [-2.13, 2.13] in 5 % of cases; 60 groups: standard error 2.8 %.
    assert 0.0 <= (z.abs() > 2.131).double().mean() <= 0.05 + 3.5 * 0.028


def test_horizon_one_and_a_greedy_policy_are_exact_without_error():
    world = ring(horizon=1)
    simulator = Simulator(lambda: TabularEnvironment(world))
    agent = world.agent()
    states = simulator.visit(agent, 3, seed=0, episodes=1, max_steps=5)
    found = softmax_cotangent(simulator, agent, states, horizon=1, noise=noise(agent, 2, 1, 3))
    torch.testing.assert_close(found.mean, truth(world, states.obs), rtol=1e-12, atol=1e-14)
    assert not found.stderr.any()


def test_the_later_noise_is_common_to_the_actions():
    world = ring(horizon=12)
    simulator = Simulator(lambda: TabularEnvironment(world))
    agent = world.agent()
    states = simulator.visit(agent, 3, seed=0, episodes=1, max_steps=5)
    found = softmax_cotangent(simulator, agent, states, horizon=12, noise=noise(agent, 200, 12, 3))
    q = found.action_values
    together = (q[..., 0] - q[..., 2]).var(0)
    apart = q[..., 0].var(0) + q[..., 2].var(0)
    assert (together < apart).all()


def cart_pole_agent(discount: float = 0.97) -> Agent:
    actor = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return Agent(actor, [], [0, 0], [1, 1], discount, policy=Softmax(), entropy=0.1)


def test_cart_pole_equals_a_plain_loop_over_env_step():
    """Poles fall within the horizon, so returns jump from one action to the other: there is nothing to difference."""
    simulator = Simulator("CartPole-v1")
    agent = cart_pole_agent()
    states = simulator.visit(agent, 5, seed=3, episodes=3)
    horizon, seeds = 30, 3
    eps = noise(agent, seeds, horizon, 5)
    found = softmax_cotangent(simulator, agent, states, horizon=horizon, noise=eps, entropy=0.1)
    double = agent.snapshot(double=True)
    env = gymnasium.make("CartPole-v1").unwrapped
    ends = 0
    with torch.no_grad():
        for state in range(5):
            head = double.head(states.obs[state : state + 1])[0]
            prob = head.softmax(-1)
            for seed in range(seeds):
                q = []
                for act in range(2):
                    vars(env).update(copy.deepcopy(states.snapshots[state]))
                    obs, reward, ended, _, _ = env.step(act)
                    value = reward
                    for t in range(1, horizon):
                        if ended:
                            ends += 1
                            break
                        h = double.head(torch.as_tensor(obs, dtype=torch.float64)[None])[0]
                        choice = int((h + eps[seed, t, state]).argmax())
                        obs, reward, ended, _, _ = env.step(choice)
                        value += 0.97**t * (reward - 0.1 * float(h.log_softmax(-1)[choice]))
                    q.append(value)
                q = torch.tensor(q, dtype=torch.float64)
                torch.testing.assert_close(found.action_values[seed, state], q, rtol=1e-12, atol=1e-12)
                logits = head.clone().requires_grad_()
                with torch.enable_grad():
                    log_prob = logits.log_softmax(-1)
                    value = (log_prob.exp() * (q - 0.1 * log_prob)).sum()
                    (gradient,) = torch.autograd.grad(value, logits)
                torch.testing.assert_close(found.draws[seed, state], gradient, rtol=1e-11, atol=1e-12)
                assert prob.min() > 0
    assert ends > 5


def test_masked_actions_have_no_gradient_and_no_nan():
    logits = torch.tensor([[0.5, -torch.inf, 1.0], [-1e4, 0.0, 0.0]], dtype=torch.float64)
    q = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value, gradient = expected_value(logits, q, entropy=0.7)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()
    assert gradient[0, 1] == 0
    without = expected_value(logits[:1, [0, 2]], q[:1, [0, 2]], entropy=0.7)
    torch.testing.assert_close(value[:1], without[0])
    torch.testing.assert_close(gradient[:1, [0, 2]], without[1])


class Fragile(TabularEnvironment):
    """Its reward is not a number once state 2 is reached by action 2."""

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, np.nan if self.state == 2 and action == 2 else reward, *rest


def test_a_state_whose_simulation_is_not_finite_is_left_out_and_no_other():
    world = ring(horizon=1)
    simulator = Simulator(lambda: Fragile(world))
    agent = world.agent()
    states = simulator.visit(agent, 10, seed=0, episodes=3, max_steps=8)
    bad = states.obs.argmax(-1) == 1
    assert bad.any()
    assert not bad.all()
    found = softmax_cotangent(simulator, agent, states, horizon=1, noise=noise(agent, 2, 1, 10))
    assert torch.equal(found.valid, ~bad)
    assert [reason == NOT_FINITE for reason in found.reasons] == bad.tolist()
    assert torch.isnan(found.mean[bad]).all()
    torch.testing.assert_close(found.mean[~bad], truth(world, states.obs)[~bad])


def test_wrong_input_is_one_line():
    world = ring()
    simulator = Simulator(lambda: TabularEnvironment(world))
    agent = world.agent()
    states = simulator.visit(agent, 2, seed=0, episodes=1, max_steps=5)
    continuous = Agent(nn.Linear(5, 3), [], [0] * 3, [1] * 3)
    cases = [
        (agent, noise(agent, 1, 6, 2), "two seeds"),
        (agent, noise(agent, 4, 5, 2), r"expected \[seeds, 6, 2, 3\]"),
        (continuous, noise(agent, 4, 6, 2), "policy is Deterministic"),
    ]
    for who, eps, message in cases:
        with pytest.raises(GradlabError, match=message) as caught:
            softmax_cotangent(simulator, who, states, horizon=6, noise=eps)
        assert "\n" not in str(caught.value)


def test_the_environment_is_what_the_world_says_also_with_chance_and_an_end():
    P = torch.zeros(3, 2, 3, dtype=torch.float64)
    P[0, 0], P[0, 1], P[1, 0], P[1, 1], P[2, :, 2] = (
        torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
        torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64),
        torch.tensor([0.6, 0.0, 0.4], dtype=torch.float64),
        torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
        1.0,
    )
    r = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.0, 0.0]])
    world = TabularMDP(P, r, 0.9, [1.0, 0.0, 0.0])
    env = TabularEnvironment(world, terminal=(2,))
    assert isinstance(env.action_space, spaces.Discrete)
    rng = np.random.default_rng(0)
    counts = np.zeros((2, 2, 3))
    for seed in range(300):
        env.reset(seed=seed)
        ended = False
        while not ended:
            before, act = env.state, int(rng.integers(2))
            obs, reward, ended, _, _ = env.step(act)
            assert reward == r[before, act]
            assert ended == (obs[2] == 1)
            counts[before, act, env.state] += 1
    total = counts.sum(-1, keepdims=True)
    p = P[:2].numpy()
    assert (np.abs(counts / total - p) <= 4.5 * np.sqrt(p * (1 - p) / total)).all()
    with pytest.raises(GradlabError, match="terminal state 0"):
        TabularEnvironment(world, terminal=(0,))
