"""The simulator reference equals closed forms and independent second ways, and refuses what it cannot know."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.objective import Objective
from gradlab.policies import Gaussian, SquashedGaussian
from gradlab.references import SimulatorReference, SmoothedSimulatorReference
from gradlab.references.simulator import OUT_OF_TIME
from gradlab.simulation import Simulator, States
from gradlab.simulation.gate import AMPLIFIED, CONSTANT, JUMP, NO_PLATEAU, NOT_FINITE


def network(inputs: int, outputs: int, seed: int = 0, gain: float = 1.0) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, outputs))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(gain * torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)
    return layers


def reacher_agent(discount: float = 0.97, gain: float = 0.5) -> Agent:
    return Agent(nn.Sequential(network(10, 2, gain=gain), nn.Tanh()), [], [-1, -1], [1, 1], discount, obs_size=10)


@pytest.fixture(scope="module")
def reacher() -> Simulator:
    return Simulator("Reacher-v5")


# Closed form ---------------------------------------------------------------------------------------------------


class Linear(gymnasium.Env):
    """s' = A s + B a, reward −(sᵀQs + aᵀRa), in a box too wide to matter."""

    def __init__(self, A, B, Q, R) -> None:
        self.A, self.B, self.Q, self.R = (np.atleast_2d(np.asarray(m, dtype=np.float64)) for m in (A, B, Q, R))
        n, p = self.B.shape
        self.observation_space = spaces.Box(-np.inf, np.inf, (n,), np.float64)
        self.action_space = spaces.Box(-50.0, 50.0, (p,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.s = self.np_random.standard_normal(len(self.A))
        return self.s.copy(), {}

    def step(self, action):
        reward = -float(self.s @ self.Q @ self.s + action @ self.R @ action)
        self.s = self.A @ self.s + self.B @ action
        return self.s.copy(), reward, False, False, {}


def linear_actor(K: np.ndarray) -> nn.Linear:
    actor = nn.Linear(K.shape[1], K.shape[0], bias=False, dtype=torch.float64)
    with torch.no_grad():
        actor.weight.copy_(-torch.from_numpy(K))
    return actor


def cost_to_go(env: Linear, K: np.ndarray, discount: float, rewards: int) -> np.ndarray:
    """P of the cost of following a = −Ks for so many rewards: P ← Q + KᵀRK + γ LᵀPL."""
    P, L = np.zeros_like(env.A), env.A - env.B @ K
    for _ in range(rewards):
        P = env.Q + K.T @ env.R @ K + discount * L.T @ P @ L
    return P


def true_action_gradient(env: Linear, K: np.ndarray, discount: float, horizon: int, obs: Tensor) -> np.ndarray:
    P, s = cost_to_go(env, K, discount, horizon - 1), obs.numpy()
    a = -s @ K.T
    return -2 * (a @ env.R + discount * (s @ env.A.T + a @ env.B.T) @ P @ env.B)


SCALAR = ((0.9, 0.5, 1.0, 0.1), np.array([[0.4]]), 0.95)
MATRIX = (
    ([[1.0, 0.1], [0.0, 0.9]], [[0.0, 0.05], [0.1, 0.0]], [[1.0, 0.2], [0.2, 0.5]], [[0.1, 0.0], [0.0, 0.3]]),
    np.array([[0.5, 1.0], [0.2, -0.3]]),
    0.9,
)


@pytest.mark.parametrize("horizon", [1, 5, 80])
@pytest.mark.parametrize("problem", [SCALAR, MATRIX], ids=["scalar", "matrix"])
def test_linear_quadratic_equals_its_closed_form_within_its_interval(problem, horizon):
    matrices, K, discount = problem
    reference = SimulatorReference(lambda: Linear(*matrices), horizon=horizon)
    env, p = reference.simulator._env, K.shape[0]
    agent = Agent(linear_actor(K), [], [-50] * p, [50] * p, discount)
    states = reference.simulator.visit(agent, 6, seed=1, episodes=6, max_steps=4)
    found = reference.cotangent(agent, states)
    truth = true_action_gradient(env, K, discount, horizon, states.obs)
    assert found.valid.all()
    assert found.samples == 0
    assert found.objective == Objective(discount=discount, horizon=horizon)
    np.testing.assert_allclose(found.mean.numpy(), truth, rtol=1e-6, atol=1e-8)
    assert (np.abs(found.mean.numpy() - truth) <= 3 * found.stderr.numpy()).all()
    values = reference.values(agent, states)
    exact = -np.einsum("bi,ij,bj->b", states.obs, cost_to_go(env, K, discount, horizon), states.obs)
    np.testing.assert_allclose(values.mean.numpy(), exact, rtol=1e-10)
    torch.testing.assert_close(found.diagnostics["value"], values.mean)
    assert values.samples == 0
    assert (values.stderr == 0).all()


def test_the_known_number_of_the_scalar_problem():
    matrices, K, discount = SCALAR
    reference = SimulatorReference(lambda: Linear(*matrices), horizon=120)
    agent = Agent(linear_actor(K), [], [-50], [50], discount)
    states = reference.simulator.visit(agent, 3, seed=0, episodes=3, max_steps=2)
    per_unit = reference.cotangent(agent, states).mean / states.obs
    np.testing.assert_allclose(per_unit.numpy(), -1.184059869, rtol=1e-8)
    there = reference.values(agent, states, torch.zeros(3, 1))
    np.testing.assert_allclose(
        (there.mean / states.obs[:, 0] ** 2).numpy(), -(1 + discount * 0.9**2 * 1.900841908), rtol=1e-8
    )


class GaussianHead(nn.Module):
    def __init__(self, K: np.ndarray, log_std: float) -> None:
        super().__init__()
        self.mean = linear_actor(K)
        self.log_std = nn.Parameter(torch.full((K.shape[0],), log_std, dtype=torch.float64))

    def forward(self, obs: Tensor) -> Tensor:
        mean = self.mean(obs)
        return torch.cat([mean, self.log_std.expand(mean.shape)], -1)


def test_gaussian_policy_on_the_linear_quadratic_problem_mean_and_log_std():
    matrices, K, discount = SCALAR
    reference = SimulatorReference(lambda: Linear(*matrices), horizon=40, noise_seeds=128, seed=3)
    agent = Agent(GaussianHead(K, np.log(0.5)), [], [-50], [50], discount, policy=Gaussian())
    states = reference.simulator.visit(agent, 6, seed=1, episodes=6, max_steps=3)
    found = reference.cotangent(agent, states)
    assert found.valid.all()
    assert found.samples == 128
    env = reference.simulator._env
    mean = true_action_gradient(env, K, discount, 40, states.obs)
    # E[Q(m + σε)] = Q(m) + σ²Q''/2, so the derivative by log σ is σ²Q''.
    P = cost_to_go(env, K, discount, 39).item()
    log_std = np.full_like(mean, -2 * (0.1 + discount * 0.5**2 * P) * 0.25)
    z = (found.mean.numpy() - np.concatenate([mean, log_std], 1)) / found.stderr.numpy()
    # Student's t of 127 degrees: twelve scores beyond 4 happen once in a thousand runs.
    assert np.abs(z).max() < 4
    assert 0.3 < np.abs(z).mean() < 1.5


# Squashed Gaussian with entropy, against quadrature -------------------------------------------------------------


class Bandit(gymnasium.Env):
    """Observations stay; reward −(a − s)²."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.s = self.np_random.uniform(-1, 1, 1)
        return self.s.copy(), {}

    def step(self, action):
        return self.s.copy(), -float((action[0] - self.s[0]) ** 2), False, False, {}


@pytest.mark.parametrize("entropy", [True, False])
def test_squashed_gaussian_with_entropy_agrees_with_quadrature(entropy):
    reference = SimulatorReference(Bandit, horizon=2, noise_seeds=256, entropy=entropy)
    agent = Agent(network(1, 2), [], [-1], [1], policy=SquashedGaussian(), entropy=0.3)
    states = reference.simulator.visit(agent, 16, seed=0, episodes=16, max_steps=1)
    found = reference.cotangent(agent, states)
    assert found.valid.all()
    assert found.objective == Objective(discount=0.99, entropy=0.3 if entropy else 0.0, horizon=2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    noise = torch.from_numpy(nodes)[:, None, None]
    head = agent.snapshot(double=True).head(states.obs).detach().requires_grad_()
    act, log_prob = agent.policy.sample(head, noise)
    inner = -(act[..., 0] - states.obs[:, 0]).square() - (0.3 * log_prob if entropy else 0.0)
    value = (torch.from_numpy(weights / weights.sum())[:, None] * inner).sum(0)
    (truth,) = torch.autograd.grad(value.sum(), head)
    z = (found.mean - truth) / found.stderr
    # 32 scores, mean square 1 ± 0.25.
    assert z.abs().max() < 4.5
    assert 0.3 < z.square().mean() < 2.0
    # The second step earns F too, whatever the first action is: with γ the value is 1.99 F.
    values = reference.values(agent, states)
    assert ((values.mean - 1.99 * value).abs() < 4.5 * values.stderr).all()
    torch.testing.assert_close(found.diagnostics["value"], values.mean)


# Reacher, two independent ways ----------------------------------------------------------------------------------


def plain_return(seed: int, before: list, first: np.ndarray, agent: Agent, horizon: int) -> float:
    """From the environment's own reset, with nothing captured or restored."""
    env = gymnasium.make("Reacher-v5").unwrapped
    env.reset(seed=seed)
    for action in before:
        env.step(action)
    action, value = first, 0.0
    for t in range(horizon):
        obs, reward, *_ = env.step(action)
        value += agent.discount**t * float(reward)
        action = agent.action(torch.from_numpy(obs)[None])[0].detach().numpy()
    return value


def test_reacher_agrees_with_a_plain_loop_from_reset(reacher):
    agent = reacher_agent()
    states = reacher.visit(agent, 4, seed=9, episodes=2)
    found = SimulatorReference(reacher, horizon=50).cotangent(agent, states)
    assert found.valid.all()
    double = agent.snapshot(double=True)
    seeds = np.random.SeedSequence([9, 0]).generate_state(2).tolist()
    for state in range(4):
        seed = seeds[int(states.episode[state])]
        env = gymnasium.make("Reacher-v5").unwrapped
        obs, _ = env.reset(seed=seed)
        before = []
        for _ in range(int(states.step[state])):
            before.append(double.action(torch.from_numpy(obs)[None])[0].detach().numpy())
            obs, *_ = env.step(before[-1])
        first = double.action(torch.from_numpy(obs)[None])[0].detach().numpy()
        naive = np.zeros(2)
        for j in range(2):
            offset = 3e-6 * np.eye(2)[j]
            up, down = (plain_return(seed, before, first + sign * offset, double, 50) for sign in (1, -1))
            naive[j] = (up - down) / 6e-6
        np.testing.assert_allclose(found.mean[state].numpy(), naive, rtol=1e-5, atol=1e-5 * np.abs(naive).max())


def step_jacobians(env, data, action: np.ndarray, step: float = 1e-6):
    """∂(qpos', qvel', obs', reward)/∂(qpos, qvel, action) of one environment step, by differences."""
    model, size = env.model, env.model.nq + env.model.nv

    def outcome(offset: np.ndarray) -> np.ndarray:
        copy = mujoco.MjData(model)
        mujoco.mj_copyData(copy, model, data)
        copy.qpos[:] += offset[: model.nq]
        copy.qvel[:] += offset[model.nq : size]
        env.data = copy
        obs, reward, *_ = env.step(action + offset[size:])
        return np.concatenate([copy.qpos, copy.qvel, obs, [reward]])

    eye = np.eye(size + len(action))
    return np.stack([(outcome(step * e) - outcome(-step * e)) / (2 * step) for e in eye], -1)


def test_reacher_agrees_with_the_chain_rule(reacher):
    agent, horizon = reacher_agent(), 50
    states = reacher.visit(agent, 3, seed=2, episodes=3)
    found = SimulatorReference(reacher, horizon=horizon).cotangent(agent, states)
    assert found.valid.all()
    double, env = agent.snapshot(double=True), gymnasium.make("Reacher-v5").unwrapped
    size = env.model.nq + env.model.nv
    for state in range(3):
        data = mujoco.MjData(env.model)
        mujoco.mj_setState(env.model, data, states.snapshots[state].state, mujoco.mjtState.mjSTATE_INTEGRATION)
        action = double.action(states.obs[state : state + 1])[0].detach().numpy()
        moved, moved_action, gradient = np.zeros((size, 2)), np.eye(2), np.zeros(2)
        for t in range(horizon):
            jacobian = step_jacobians(env, data, action)
            env.data = data
            obs, *_ = env.step(action)
            after = jacobian[:, :size] @ moved + jacobian[:, size:] @ moved_action
            moved, moved_obs = after[:size], after[size:-1]
            gradient += agent.discount**t * after[-1]
            at = torch.from_numpy(obs)[None].requires_grad_()
            act = double.action(at)[0]
            rows = [torch.autograd.grad(a, at, retain_graph=True)[0][0] for a in act]
            moved_action, action = torch.stack(rows).numpy() @ moved_obs, act.detach().numpy()
        error = np.linalg.norm(found.mean[state].numpy() - gradient) / np.linalg.norm(gradient)
        assert error < 1e-5


def test_a_saturated_actor_is_differenced_inwards(reacher):
    agent = reacher_agent()
    with torch.no_grad():
        agent.actor[0][2].bias.copy_(torch.tensor([60.0, 0.0]))
    double = agent.snapshot(double=True)
    states = reacher.visit(agent, 4, seed=1, episodes=2)
    act = double.action(states.obs).detach()
    assert (act[:, 0] == 1).all()
    found = SimulatorReference(reacher, horizon=30).cotangent(agent, states)
    assert found.valid.all()
    assert found.diagnostics["one_sided"].tolist() == [1, 1, 1, 1]
    inside = act - 1e-6 * torch.tensor([1.0, 0.0])
    values = reacher.returns(agent, states, torch.stack([act, inside]), horizon=30)
    slope = (values[0] - values[1]) / 1e-6
    torch.testing.assert_close(found.mean[:, 0], slope, rtol=1e-4, atol=1e-4)
    # A central difference would see the clipped side as flat and give half.
    outside = act + 1e-6 * torch.tensor([1.0, 0.0])
    half = (reacher.returns(agent, states, outside, horizon=30) - values[1]) / 2e-6
    torch.testing.assert_close(half, slope / 2, rtol=1e-3, atol=1e-3)


class SmallBox(Bandit):
    action_space = spaces.Box(np.float32(-0.4), np.float32(0.7), (1,), np.float32)


@pytest.mark.parametrize("bias", [60.0, -60.0, 0.3])
def test_an_asymmetric_box_that_float32_rounds_is_differenced_to_its_edge(bias):
    actor = nn.Sequential(zero_actor(1), nn.Tanh())
    with torch.no_grad():
        actor[0].bias.fill_(bias)
    agent = Agent(actor, [], [-1], [1], env_low=[-0.4], env_high=[0.7])
    reference = SimulatorReference(SmallBox, horizon=1)
    states = reference.simulator.visit(agent, 4, seed=0, episodes=4, max_steps=1)
    found = reference.cotangent(agent, states)
    assert found.valid.all()
    at = 0.15 + 0.55 * np.tanh(bias)
    truth = -2 * (at - states.obs) * 0.55
    torch.testing.assert_close(found.mean, truth, rtol=1e-6, atol=1e-7)
    assert (found.diagnostics["one_sided"] == int(abs(bias) > 1)).all()


@pytest.mark.parametrize("second_way", [False, True])
def test_beyond_the_box_the_environment_clips_and_the_slope_is_exactly_zero(reacher, second_way):
    for bias, outside in (([2.0, 0.1], [True, False]), ([-1.001, 3.0], [True, True]), ([1.0 + 1e-7, 0.1], [False] * 2)):
        actor = nn.Linear(10, 2)
        nn.init.zeros_(actor.weight)
        with torch.no_grad():
            actor.bias.copy_(torch.tensor(bias))
        agent = Agent(actor, [], [-1, -1], [1, 1], 0.97)
        states = reacher.visit(agent, 2, seed=0, episodes=1, max_steps=20)
        found = SimulatorReference(reacher, horizon=8, second_way=second_way).cotangent(agent, states)
        assert found.diagnostics["reason"] == ["", ""]
        assert found.diagnostics["outside_box"].tolist() == [sum(outside)] * 2
        assert found.diagnostics["one_sided"].tolist() == [int(not any(outside))] * 2
        smoothed = SmoothedSimulatorReference(reacher, 1e-4, horizon=8, draws=8).cotangent(agent, states)
        act = reacher.pilot(agent).head(states.obs).detach()
        for j in range(2):
            if outside[j]:
                assert (found.mean[:, j] == 0).all()
                assert (found.stderr[:, j] == 0).all()
                if not all(outside):
                    assert (smoothed.mean[:, j].abs() <= 5 * smoothed.stderr[:, j]).all()
            else:
                # Inwards, where the edge is; everywhere else it does not matter.
                act = act.clamp(-1, 1)
                inside = act - 1e-6 * torch.eye(2)[j]
                slope = (
                    reacher.returns(agent, states, act, horizon=8) - reacher.returns(agent, states, inside, horizon=8)
                ) / 1e-6
                torch.testing.assert_close(found.mean[:, j], slope, rtol=1e-3, atol=1e-5)


# The gate -------------------------------------------------------------------------------------------------------


def test_inverted_pendulum_closes_the_gate():
    reference = SimulatorReference("InvertedPendulum-v5", horizon=50)
    agent = Agent(nn.Sequential(network(4, 1), nn.Tanh()), [], [-1], [1], env_low=[-3], env_high=[3])
    states = reference.simulator.visit(agent, 8, seed=0)
    found = reference.cotangent(agent, states)
    assert not found.valid.any()
    assert torch.isnan(found.mean).all()
    assert torch.isnan(found.stderr).all()
    assert set(found.diagnostics["reason"]) <= {CONSTANT, JUMP}
    assert CONSTANT in found.diagnostics["reason"]
    # Steps wide enough to reach a fall see the return jump.
    wide = SimulatorReference(reference.simulator, horizon=50, steps=(0.2, 0.15, 0.1)).cotangent(agent, states)
    assert JUMP in wide.diagnostics["reason"]
    assert not wide.valid.any()


def test_half_cheetah_over_a_long_horizon_with_a_high_gain_has_no_plateau_and_the_second_way_says_why():
    simulator = Simulator("HalfCheetah-v5")
    agent = Agent(nn.Sequential(network(17, 6, gain=4.0), nn.Tanh()), [], [-1] * 6, [1] * 6)
    states = simulator.visit(agent, 2, seed=0, episodes=2, max_steps=200)
    alone = SimulatorReference(simulator, horizon=50, second_way=False).cotangent(agent, states)
    assert alone.diagnostics["reason"] == [NO_PLATEAU, NO_PLATEAU]
    found = SimulatorReference(simulator, horizon=50).cotangent(agent, states)
    assert not found.valid.any()
    for reason, growth in zip(found.diagnostics["reason"], found.diagnostics["growth"].tolist(), strict=True):
        assert growth > 1e7
        assert reason.startswith(f"{AMPLIFIED}: a change of the first action grows {growth:.1e} times")


class Edge(Bandit):
    """Rewards that have no derivative where the actor stands, each in its own way."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def step(self, action):
        a = float(action[0])
        if self.kind == "root":
            return self.s.copy(), float(np.cbrt(a)), False, False, {}
        return self.s.copy(), a, a > 0 or (self.kind == "ends" and a < -0.5), False, {}


def zero_actor(outputs: int) -> nn.Module:
    actor = nn.Linear(1, outputs, dtype=torch.float64)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
    return actor


def test_jumps_and_infinite_slopes_are_refused_with_the_right_reason():
    agent = Agent(zero_actor(1), [], [-1], [1])
    for kind, reason in (("root", NO_PLATEAU), ("jump", JUMP)):
        reference = SimulatorReference(lambda kind=kind: Edge(kind), horizon=3)
        states = reference.simulator.visit(agent, 2, seed=0, episodes=2, max_steps=1)
        found = reference.cotangent(agent, states)
        assert found.diagnostics["reason"] == [reason, reason]
        assert torch.isnan(found.mean).all()


def test_a_stochastic_policy_whose_episodes_end_is_refused():
    agent = Agent(zero_actor(2), [], [-1], [1], policy=Gaussian())
    reference = SimulatorReference(lambda: Edge("ends"), horizon=3)
    states = reference.simulator.visit(agent, 2, seed=0, episodes=2, max_steps=1)
    assert reference.cotangent(agent, states).diagnostics["reason"] == [JUMP, JUMP]


def test_a_diverging_state_is_left_out_and_the_others_are_not(reacher):
    agent = reacher_agent()
    states = reacher.visit(agent, 3, seed=1, episodes=1)
    broken = Simulator("Reacher-v5").visit(agent, 1, seed=1, episodes=1).snapshots[0]
    row = broken.state.copy()
    # A row is the time, four positions, four velocities and the rest.
    row[5:7] = 1e12
    snapshots = (states.snapshots[0], replace(broken, state=row), states.snapshots[2])
    mixed = States(states.obs, snapshots, states.episode, states.step, states.environment)
    found = SimulatorReference(reacher, horizon=5).cotangent(agent, mixed)
    assert found.valid.tolist() == [True, False, True]
    assert found.diagnostics["reason"] == ["", NOT_FINITE, ""]


# What it promises -----------------------------------------------------------------------------------------------


def test_a_seed_repeats_a_stochastic_reference_and_another_does_not(reacher):
    agent = Agent(network(10, 4), [], [-1, -1], [1, 1], policy=SquashedGaussian(), entropy=0.1)
    states = reacher.visit(agent, 2, seed=1, episodes=1)
    one, two, other = (
        SimulatorReference(reacher, horizon=5, noise_seeds=4, seed=seed).cotangent(agent, states) for seed in (1, 1, 2)
    )
    assert torch.equal(one.mean, two.mean)
    assert torch.equal(one.stderr, two.stderr)
    assert not torch.equal(one.mean, other.mean)
    assert one.mean.shape == (2, 4)
    assert one.valid.all()
    # A step's differences share their noise: without it the two seeds' means would be ~1/ε apart.
    assert (one.mean - other.mean).abs().max() < 20


def test_out_of_time_leaves_whole_states_out(reacher):
    agent = reacher_agent()
    states = reacher.visit(agent, 25, seed=1, episodes=2)
    found = SimulatorReference(reacher, horizon=3, seconds=0.0).cotangent(agent, states)
    done = len(states) - found.diagnostics["left_out"]
    assert 0 < done < 25
    assert found.valid.tolist() == [True] * done + [False] * (25 - done)
    assert set(found.diagnostics["reason"][done:]) == {OUT_OF_TIME}
    whole = SimulatorReference(reacher, horizon=3).cotangent(agent, states)
    assert whole.valid.all()
    assert whole.diagnostics["left_out"] == 0
    torch.testing.assert_close(whole.mean[:done], found.mean[:done])


class Noisy(Bandit):
    def step(self, action):
        self.s = self.s + self.np_random.normal()
        return super().step(action)


def test_wrong_input_is_one_line(reacher):
    agent = reacher_agent()
    cases = [
        (lambda: SimulatorReference("Reecher-v5"), "did you mean Reacher-v5"),
        (lambda: SimulatorReference(reacher, horizon=0), "horizon"),
        (lambda: SimulatorReference(reacher, steps=(1e-5, 1e-4)), "steps"),
        (lambda: SimulatorReference(reacher, steps=(1e-5,)), "steps"),
        (lambda: SimulatorReference(reacher, noise_seeds=1), "noise_seeds"),
        (lambda: SimulatorReference(Noisy, second_way=True), "random numbers"),
        (
            lambda: SimulatorReference("Hopper-v5").cotangent(agent, reacher.visit(agent, 1, episodes=1)),
            "11 numbers, but this agent takes 10",
        ),
    ]
    for attempt, message in cases:
        with pytest.raises(GradlabError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_observations_alone_are_no_states():
    reference = SimulatorReference("Reacher-v5", horizon=2)
    agent = Agent(nn.Linear(10, 2), [], action_low=[-1, -1], action_high=[1, 1])
    for measure in (reference.cotangent, reference.values):
        with pytest.raises(GradlabError, match=r"Tensor, but an observation is not all of a state.*visit"):
            measure(agent, torch.zeros(3, 10))
