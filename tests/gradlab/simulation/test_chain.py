"""The chain rule equals automatic differentiation where the whole loop has it, and differences where they hold."""

from __future__ import annotations

import copy
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv
from gymnasium.wrappers import RescaleAction, TransformObservation, TransformReward
from torch import Tensor, nn

from gradlab.adapters import load
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian, Policy, Softmax, SquashedGaussian
from gradlab.references import SimulatorReference
from gradlab.simulation import Simulator, States
from gradlab.simulation.chain import Chain, chain_rule
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


def network(inputs: int, outputs: int, seed: int = 0, gain: float = 1.0) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, outputs))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(gain * torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)
    return layers


def agent_for(simulator: Simulator, gain: float = 0.5, discount: float = 0.99) -> Agent:
    """A deterministic tanh actor in unit coordinates."""
    space, p = simulator._env.action_space, simulator.action_size
    actor = nn.Sequential(network(simulator.obs_size, p, gain=gain), nn.Tanh())
    return Agent(actor, [], [-1.0] * p, [1.0] * p, discount, env_low=space.low, env_high=space.high)


def relative(found: Tensor, truth: Tensor) -> Tensor:
    return (found - truth).norm(dim=-1) / truth.norm(dim=-1)


# A loop that automatic differentiation goes all the way through ------------------------------------------------------


def after(state: Tensor, last: Tensor, act: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """State [2] and its previous action [2] → state, observation (clipped, as Hopper's), reward that knows both."""
    act = act.clamp(-1, 1)
    angle, speed = state
    speed = 0.9 * speed + 0.4 * angle.sin() + 0.5 * act[0] + 0.2 * act[0] * act[1] ** 2
    angle = angle + 0.3 * speed + 0.1 * act[1]
    obs = torch.stack([angle.sin(), angle.cos(), speed.clamp(-0.5, 0.5)])
    reward = angle.cos() - 0.1 * speed.square() - 0.05 * (act - last).square().sum()
    return torch.stack([angle, speed]), obs, reward


class Swing(gymnasium.Env):
    """Keeps its state in an array, a float, and a list in a dictionary; its step is ``after``."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, limit: float = np.inf) -> None:
        self.limit = limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.angle, self.speed = self.np_random.uniform(-0.6, 0.6, 1), float(self.np_random.uniform(-0.6, 0.6))
        self.memory = {"actions": [np.zeros(2)]}
        self.count = 0
        return np.array([np.sin(self.angle[0]), np.cos(self.angle[0]), np.clip(self.speed, -0.5, 0.5)]), {}

    def step(self, action):
        state = torch.tensor([self.angle[0], self.speed], dtype=torch.float64)
        act = torch.from_numpy(np.asarray(action, dtype=np.float64))
        state, obs, reward = after(state, torch.from_numpy(self.memory["actions"][0]), act)
        self.angle, self.speed = state[:1].numpy(), float(state[1])
        self.memory = {"actions": [act.clamp(-1, 1).numpy()]}
        self.count += 1
        return obs.numpy(), float(reward), abs(self.angle[0]) > self.limit, False, {}


def unrolled(
    agent: Agent, snapshot: dict, head: Tensor, noise: Tensor | None, horizon: int, alpha: float, limit: float
) -> Tensor:
    """F itself, with its graph to the head."""
    policy, value = agent.policy, torch.zeros((), dtype=torch.float64)
    state = torch.tensor([snapshot["angle"][0], snapshot["speed"]], dtype=torch.float64)
    last = torch.from_numpy(snapshot["memory"]["actions"][0])
    for t in range(horizon):
        if noise is None:
            act = policy.mode(head)
        else:
            act, log_prob = policy.sample(head, noise[t][None])
            value = value - agent.discount**t * alpha * log_prob[0]
        state, obs, reward = after(state, last, act[0])
        last = act[0].clamp(-1, 1)
        value = value + agent.discount**t * reward
        if abs(state[0]) > limit:
            break
        head = agent.head(obs[None])
    return value


POLICIES: dict[str, tuple[Policy | None, int]] = {
    "deterministic": (None, 2),
    "gaussian": (Gaussian(), 4),
    "squashed": (SquashedGaussian(), 4),
}


@pytest.mark.parametrize("limit", [np.inf, 0.9], ids=["endless", "ending"])
@pytest.mark.parametrize("kind", POLICIES)
def test_every_policy_equals_automatic_differentiation_of_the_whole_loop(kind, limit):
    policy, outputs = POLICIES[kind]
    horizon, alpha = 20, 0.0 if policy is None else 0.3
    simulator = Simulator(lambda: Swing(limit))
    actor = network(3, outputs, seed=3, gain=1.5)
    agent = Agent(
        nn.Sequential(actor, nn.Tanh()) if policy is None else actor, [], [-1] * 2, [1] * 2, 0.95, policy=policy
    )
    states = simulator.visit(agent, 5, seed=1, episodes=5, max_steps=6)
    noise = torch.randn(3, horizon, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chain = chain_rule(simulator, agent, states, horizon=horizon, noise=noise, entropy=alpha)
    seeds = 1 if policy is None else 3
    assert chain.gradient.shape == (seeds, 5, outputs)
    assert chain.gradient.dtype == torch.float64
    double, clipped, ended = agent.snapshot(double=True), 0, 0
    for seed in range(seeds):
        for state in range(5):
            head = double.head(states.obs[state : state + 1]).detach().requires_grad_()
            epsilon = None if policy is None else noise[seed, :, state]
            value = unrolled(double, states.snapshots[state], head, epsilon, horizon, alpha, limit)
            (truth,) = torch.autograd.grad(value, head)
            assert relative(chain.gradient[seed, state], truth[0]) < 1e-7
            assert chain.value[seed, state].item() == pytest.approx(value.item(), rel=1e-12)
            ended += int(chain.length[seed, state] < horizon)
            if kind == "gaussian":
                clipped += int((double.policy.sample(head, epsilon[:1])[0].abs() > 1).any())
    assert chain.open.all()
    assert not chain.jumps.any()
    assert (ended > 0) == (limit < np.inf)
    # Some first actions lie outside the box, where a change of them changes nothing.
    assert kind != "gaussian" or clipped > 0


@pytest.mark.parametrize("horizon", [1, 7, 40])
def test_the_linear_quadratic_regulator_equals_its_closed_form(horizon):
    world = LinearQuadratic(
        A=torch.tensor([[1.0, 0.1], [0.0, 0.9]]).double(),
        B=torch.tensor([[0.0, 0.5], [0.3, 0.0]]).double(),
        Q=torch.tensor([[1.0, 0.2], [0.2, 0.5]]).double(),
        R=torch.tensor([[0.1, 0.0], [0.0, 0.3]]).double(),
        gamma=0.9,
        K=torch.tensor([[0.5, 1.0], [0.2, -0.3]]).double(),
        horizon=horizon,
    )
    simulator = Simulator(lambda: LinearQuadraticEnvironment(world, action_bound=50.0))
    agent = world.agent(action_bound=50.0)
    states = simulator.visit(agent, 5, seed=1, episodes=5, max_steps=4)
    chain = chain_rule(simulator, agent, states, horizon=horizon)
    truth = world.action_gradient(states.obs, agent.snapshot(double=True).action(states.obs).detach())
    assert chain.open.all()
    assert relative(chain.gradient[0], truth).max() < 1e-8


def test_growth_is_the_largest_product_of_the_closed_loops_jacobians():
    class Line(gymnasium.Env):
        observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.s = self.np_random.uniform(-1e-4, 1e-4, 1)
            return self.s.copy(), {}

        def step(self, action):
            self.s = 1.8 * self.s + 0.5 * action
            return self.s.copy(), float(self.s[0]), False, False, {}

    actor = nn.Linear(1, 1, bias=False)
    nn.init.constant_(actor.weight, -0.6)
    # The critic's coordinates are a third of the environment's; a fraction of the box is the same in both.
    agent = Agent(nn.Sequential(actor, nn.Identity()), [], [-2 / 3], [2 / 3], 0.9, env_low=[-2], env_high=[2])
    simulator = Simulator(Line)
    states = simulator.visit(agent, 3, seed=0, episodes=3, max_steps=1)
    closed_loop = 1.8 - 0.5 * 0.6 * 3
    for horizon in (1, 6):
        chain = chain_rule(simulator, agent, states, horizon=horizon)
        torch.testing.assert_close(
            chain.growth[0],
            torch.full((3,), 4 * 0.5 * max(closed_loop ** (horizon - 1), 1.0)).double(),
            rtol=1e-6,
            atol=0,
        )
        truth = sum(0.9**t * 0.5 * 3 * closed_loop**t for t in range(horizon))
        torch.testing.assert_close(chain.gradient[0, :, 0], torch.full((3,), truth).double(), rtol=1e-7, atol=0)


def test_at_the_boxs_edge_the_first_action_is_moved_inwards():
    simulator = Simulator(Swing)
    actor = nn.Sequential(network(3, 2, gain=0.5), nn.Tanh())
    with torch.no_grad():
        actor[0][2].bias.copy_(torch.tensor([60.0, 0.0]))
    agent = Agent(actor, [], [-1] * 2, [1] * 2, 0.95)
    states = simulator.visit(agent, 3, seed=1, episodes=3, max_steps=4)
    chain = chain_rule(simulator, agent, states, horizon=10)
    double = agent.snapshot(double=True)
    for state in range(3):
        head = double.head(states.obs[state : state + 1]).detach().requires_grad_()
        assert head[0, 0] == 1
        value = unrolled(double, states.snapshots[state], head, None, 10, 0.0, np.inf)
        (truth,) = torch.autograd.grad(value, head)
        assert relative(chain.gradient[0, state], truth[0]) < 1e-7


def test_a_first_action_beyond_the_box_cannot_be_moved():
    simulator = Simulator(Swing)
    actor = nn.Linear(3, 2)
    nn.init.zeros_(actor.weight)
    with torch.no_grad():
        actor.bias.copy_(torch.tensor([1.5, 0.2]))
    agent = Agent(actor, [], [-1] * 2, [1] * 2, 0.95)
    states = simulator.visit(agent, 2, seed=1, episodes=2, max_steps=4)
    chain = chain_rule(simulator, agent, states, horizon=4)
    assert chain.open.all()
    assert (chain.gradient[..., 0] == 0).all()
    assert (chain.gradient[..., 1] != 0).all()


# MuJoCo --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "horizon"), [("Reacher-v5", 50), ("HalfCheetah-v5", 10), ("Hopper-v5", 50), ("Ant-v5", 3)]
)
def test_differences_and_the_chain_rule_agree(task, horizon):
    simulator = Simulator(task)
    agent = agent_for(simulator)
    states = simulator.visit(agent, 4, seed=3, episodes=4, max_steps=60)
    found = SimulatorReference(simulator, horizon=horizon, second_way=False).cotangent(agent, states)
    chain = chain_rule(simulator, agent, states, horizon=horizon)
    assert found.valid.sum() >= 3
    assert relative(chain.gradient[0], found.mean)[found.valid].max() < 1e-5
    assert chain.open.all()
    torch.testing.assert_close(chain.value[0], found.diagnostics["value"], rtol=1e-12, atol=1e-12)


def test_no_open_state_of_a_trained_half_cheetah_is_further_than_1e_5_from_the_chain_rule():
    agent = load(CHECKPOINTS / "td3_halfcheetah_50000.zip")
    simulator = Simulator("HalfCheetah-v5")
    states = simulator.visit(agent, 40, seed=5, episodes=8, max_steps=300)
    found = SimulatorReference(simulator, horizon=10).cotangent(agent, states)
    chain = chain_rule(simulator, agent, states, horizon=10)
    assert found.valid.sum() >= 36
    assert relative(chain.gradient[0], found.mean)[found.valid].max() < 1e-5


def test_wrappers_are_links_of_the_chain_like_any_other():
    def wrapped() -> gymnasium.Env:
        env = gymnasium.make("Reacher-v5")
        space = spaces.Box(-1.0, 1.0, (10,), np.float64)
        env = TransformReward(TransformObservation(env, np.tanh, space), lambda reward: 3 * reward)
        return RescaleAction(env, np.float32(-2.0), np.float32(2.0))

    simulator = Simulator(wrapped)
    agent = agent_for(simulator)
    states = simulator.visit(agent, 3, seed=1, episodes=2, max_steps=30)
    found = SimulatorReference(simulator, horizon=15, second_way=False).cotangent(agent, states)
    chain = chain_rule(simulator, agent, states, horizon=15)
    assert found.valid.all()
    assert relative(chain.gradient[0], found.mean).max() < 1e-5


class SmoothPendulum(InvertedPendulumEnv):
    """InvertedPendulum's dynamics with a reward that has derivatives, and without an end."""

    def step(self, action):
        obs, _, _, _, info = super().step(action)
        return obs, float(np.cos(obs[1]) - 0.1 * obs[0] ** 2), False, False, info


def test_a_smooth_reward_without_contacts_agrees_to_nine_digits_over_fifty_steps():
    simulator = Simulator(SmoothPendulum)
    agent = agent_for(simulator)
    states = simulator.visit(agent, 3, seed=0, episodes=3, max_steps=20)
    found = SimulatorReference(simulator, horizon=50, steps=(1e-3, 1e-4, 1e-5), second_way=False).cotangent(
        agent, states
    )
    chain = chain_rule(simulator, agent, states, horizon=50, steps=(1e-3, 1e-4, 1e-5))
    assert found.valid.all()
    assert relative(chain.gradient[0], found.mean).max() < 1e-9


def test_rounded_observations_are_stepped_over():
    simulator = Simulator("Pendulum-v1")
    assert not simulator.double
    agent = agent_for(simulator)
    states = simulator.visit(agent, 2, seed=0, episodes=2, max_steps=30)
    found = SimulatorReference(simulator, horizon=15, second_way=False).cotangent(agent, states)
    chain = chain_rule(simulator, agent, states, horizon=15)
    assert relative(chain.gradient[0], found.mean)[found.valid].max() < 1e-3
    assert found.valid.any()
    assert chain.open.all()


# What it promises ----------------------------------------------------------------------------------------------------


def same(one: Chain, two: Chain) -> bool:
    names = ("gradient", "error", "disagreement", "open", "growth", "jumps", "value", "length")
    return all(torch.equal(getattr(one, name), getattr(two, name)) for name in names)


def test_threads_and_neighbours_do_not_change_a_bit_of_it():
    task = "Hopper-v5"
    simulator = Simulator(task, threads=1)
    agent = Agent(network(11, 6), [], [-1] * 3, [1] * 3, policy=SquashedGaussian(), entropy=0.1)
    states = simulator.visit(agent, 7, seed=3, episodes=4)
    noise = torch.randn(3, 8, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    options = {"horizon": 8, "entropy": 0.1}
    whole = chain_rule(simulator, agent, states, noise=noise, **options)
    for threads in (2, 3):
        assert same(whole, chain_rule(Simulator(task, threads=threads), agent, states, noise=noise, **options))
    some = chain_rule(simulator, agent, states[4:6], noise=noise[1:, :, 4:6], **options)
    assert torch.equal(some.gradient, whole.gradient[1:, 4:6])
    assert torch.equal(some.growth, whole.growth[1:, 4:6])


def test_the_time_limit_cuts_only_when_asked():
    simulator = Simulator("Reacher-v5")
    agent = agent_for(simulator)
    states = simulator.visit(agent, 3, seed=1, episodes=2)[[2]]
    left = 50 - int(states.step)
    assert left < 50
    free = chain_rule(simulator, agent, states, horizon=50)
    cut = chain_rule(simulator, agent, states, horizon=50, respect_time_limit=True)
    short = chain_rule(simulator, agent, states, horizon=left)
    assert free.length.item() == 50
    assert cut.length.item() == left
    torch.testing.assert_close(cut.gradient, short.gradient, rtol=1e-12, atol=0)


def test_a_diverging_state_is_nan_and_the_others_are_not():
    simulator = Simulator("HalfCheetah-v5")
    agent = agent_for(simulator)
    states = simulator.visit(agent, 2, seed=0, episodes=1, max_steps=10)
    rows = states.snapshots[0].state.copy()
    rows[1 + 9 : 1 + 18] = 1e12
    broken = copy.copy(states.snapshots[0])
    object.__setattr__(broken, "state", rows)
    mixed = States(states.obs, (broken, states.snapshots[1]), states.episode, states.step, states.environment)
    chain = chain_rule(simulator, agent, mixed, horizon=3)
    assert torch.isnan(chain.gradient[0, 0]).all()
    assert torch.isnan(chain.value[0, 0])
    assert chain.open.tolist() == [[False, True]]
    assert torch.equal(chain.gradient[0, 1], chain_rule(simulator, agent, states, horizon=3).gradient[0, 1])


def test_the_agent_its_gradients_and_global_randomness_are_left_alone():
    simulator = Simulator("Reacher-v5")
    agent = agent_for(simulator)
    agent.actor.train()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    before, threads = copy.deepcopy(agent.actor.state_dict()), torch.get_num_threads()
    states = simulator.visit(agent, 2, seed=0, episodes=1)
    chain_rule(simulator, agent, states, horizon=3)
    assert torch.equal(torch_state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])
    assert torch.get_num_threads() == threads
    assert agent.actor.training
    assert all(parameter.grad is None for parameter in agent.actor.parameters())
    assert all(torch.equal(value, before[name]) for name, value in agent.actor.state_dict().items())


class Noisy(Swing):
    def step(self, action):
        self.speed += float(self.np_random.normal())
        return super().step(action)


class Other(Swing):
    pass


def test_wrong_input_is_one_line():
    simulator = Simulator(Swing)
    agent = Agent(nn.Sequential(network(3, 2), nn.Tanh()), [], [-1] * 2, [1] * 2)
    states = simulator.visit(agent, 2, seed=0, episodes=1, max_steps=3)
    gaussian = Agent(network(3, 4), [], [-1] * 2, [1] * 2, policy=Gaussian())
    noisy = Simulator(Noisy)
    opaque = States(states.obs, ("a", "b"), states.episode, states.step, states.environment)
    cart = Simulator("CartPole-v1")
    discrete = Agent(network(4, 2), [], [0, 0], [1, 1], policy=Softmax())
    cases = [
        (lambda: chain_rule(simulator, agent, states, horizon=0), "horizon: 0"),
        (lambda: chain_rule(simulator, agent, states, horizon=2, steps=(1e-6, 1e-5)), "steps"),
        (lambda: chain_rule(simulator, agent, states, horizon=2, steps=(1e-6,)), "steps"),
        (lambda: chain_rule(simulator, gaussian, states, horizon=2), "noise: a stochastic policy needs it"),
        (
            lambda: chain_rule(simulator, gaussian, states, horizon=2, noise=torch.zeros(3, 2, 1, 2)),
            r"noise: shape \(3, 2, 1, 2\); expected \[seeds, 2, 2, 2\]",
        ),
        (lambda: chain_rule(noisy, agent, noisy.visit(agent, 1, episodes=1, max_steps=2), horizon=2), "random numbers"),
        (lambda: chain_rule(simulator, agent, opaque, horizon=2), "kept as str, which cannot be moved"),
        (
            lambda: chain_rule(Simulator("Hopper-v5"), agent, states, horizon=2),
            "3 coordinates, but this agent's have 2",
        ),
        (lambda: chain_rule(Simulator(Other), agent, states, horizon=2), "of environment 'Swing'"),
        (lambda: chain_rule(cart, discrete, cart.visit(discrete, 1, episodes=1), horizon=2), "actions are discrete"),
    ]
    for attempt, message in cases:
        with pytest.raises(GradlabError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)
