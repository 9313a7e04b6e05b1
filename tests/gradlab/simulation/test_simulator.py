"""Restoring is exact, rollouts are the environment's own, and what cannot be exact is refused."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys
import warnings

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian, Softmax, SquashedGaussian
from gradlab.simulation import Simulator, States
from gradlab.simulation.lanes.copied import CopiedLanes

TASKS = ["Reacher-v5", "InvertedPendulum-v5", "HalfCheetah-v5", "Hopper-v5", "Ant-v5"]


def network(inputs: int, outputs: int, seed: int = 0) -> nn.Sequential:
    """A small actor body with weights of its own generator."""
    layers = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, outputs))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)
    return layers


def agent_for(simulator: Simulator, *, discount: float = 0.99, seed: int = 0) -> Agent:
    """A deterministic tanh actor in unit coordinates."""
    space = simulator._env.action_space
    actor = nn.Sequential(network(simulator.obs_size, simulator.action_size, seed), nn.Tanh())
    unit = np.ones(simulator.action_size)
    return Agent(actor, [], -unit, unit, discount, env_low=space.low, env_high=space.high)


def assert_same(one, two) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("task", TASKS)
def test_a_restored_state_goes_on_bitwise_as_env_step_from_reset_and_from_mid_episode(task):
    simulator = Simulator(task)
    lanes = simulator._lanes
    env = gymnasium.make(task).unwrapped
    actions = np.random.default_rng(3).uniform(
        env.action_space.low, env.action_space.high, (300, simulator.action_size)
    )
    obs, _ = env.reset(seed=7)
    np.testing.assert_array_equal(lanes.reset([7])[0], obs)
    both = np.array([True, True])
    marks = {0: lanes.capture(0)}
    trace = []
    for t, action in enumerate(actions):
        trace.append(env.step(action)[:3])
        ours = lanes.step(action[None], both[:1])
        assert_same([part[0] for part in ours], trace[-1])
        if t == 99:
            marks[100] = lanes.capture(0)
    for start, snapshot in marks.items():
        kept = pickle.dumps(snapshot)
        # Two lanes at once, one of them a step behind: they must not see one another.
        lanes.load([snapshot, snapshot])
        behind = None
        for t in range(start, min(start + 120, 300)):
            act = np.stack([actions[t], actions[max(t - 1, start)]])
            ours = lanes.step(act, np.array([True, t > start]))
            assert_same([part[0] for part in ours], trace[t])
            if t > start:
                assert_same([part[1] for part in ours], behind)
            behind = trace[t]
        assert pickle.dumps(snapshot) == kept


@pytest.mark.parametrize("task", ["Reacher-v5", "Ant-v5", "Pendulum-v1"])
def test_snapshots_survive_pickling_and_another_simulator(task):
    simulator = Simulator(task)
    agent = agent_for(simulator)
    states = simulator.visit(agent, 3, seed=2, episodes=2, max_steps=60)
    act = agent.action(states.obs.float()).detach()
    there = Simulator(task)
    ours = simulator.returns(agent, states, act, horizon=30)
    theirs = there.returns(agent, pickle.loads(pickle.dumps(states)), act, horizon=30)
    assert torch.equal(ours, theirs)
    assert torch.isfinite(ours).all()


@pytest.mark.parametrize("task", ["Hopper-v5", "Reacher-v5", "Pendulum-v1"])
def test_returns_are_those_of_a_plain_loop(task):
    simulator = Simulator(task)
    agent = agent_for(simulator, discount=0.95)
    states = simulator.visit(agent, 4, seed=5, episodes=2)
    act = torch.rand(3, 4, simulator.action_size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    rollouts = simulator.rollouts(agent, states, act, horizon=40)
    double = agent.snapshot(double=True)
    env = gymnasium.make(task).unwrapped
    env.reset(seed=0)
    for lane in range(3):
        for state in range(4):
            snapshot = states.snapshots[state]
            if task == "Pendulum-v1":
                env.state = snapshot["state"]
            else:
                mujoco.mj_setState(env.model, env.data, snapshot.state, mujoco.mjtState.mjSTATE_INTEGRATION)
            a, value, length, ended = act[lane, state].double(), 0.0, 0, False
            for t in range(40):
                obs, reward, ended, _, _ = env.step(double.to_env(a).numpy())
                value += 0.95**t * float(reward)
                length += 1
                if ended:
                    break
                a = double.action(torch.as_tensor(obs, dtype=torch.float64)[None])[0].detach()
            assert rollouts.length[lane, state] == length
            assert bool(rollouts.terminated[lane, state]) == bool(ended)
            assert rollouts.value[lane, state].item() == pytest.approx(value, rel=1e-11)


def test_a_visit_lies_on_the_agents_own_path_and_a_seed_repeats_it():
    simulator = Simulator("Reacher-v5")
    agent = agent_for(simulator)
    states = simulator.visit(agent, 20, seed=4, episodes=3)
    assert states.obs.shape == (20, 10)
    assert states.obs.dtype == torch.float64
    assert int(states.step.max()) < 50
    assert set(states.episode.tolist()) <= {0, 1, 2}
    again = simulator.visit(agent, 20, seed=4, episodes=3)
    assert torch.equal(states.obs, again.obs)
    assert not torch.equal(states.obs, simulator.visit(agent, 20, seed=5, episodes=3).obs)
    env = gymnasium.make("Reacher-v5").unwrapped
    double = agent.snapshot(double=True)
    seeds = np.random.SeedSequence([4, 0]).generate_state(3).tolist()
    for episode in range(3):
        obs, _ = env.reset(seed=seeds[episode])
        path = [obs]
        for _ in range(49):
            act = double.action(torch.from_numpy(path[-1])[None]).detach()
            path.append(env.step(double.to_env(act)[0].numpy())[0])
        mine = states.episode == episode
        steps = states.step[mine].tolist()
        assert len(set(steps)) == len(steps)
        np.testing.assert_allclose(states.obs[mine].numpy(), np.stack(path)[steps], rtol=1e-9, atol=1e-11)


def test_visited_steps_are_uniform_over_the_episode():
    simulator = Simulator("Pendulum-v1")
    agent = agent_for(simulator)
    steps = torch.cat([simulator.visit(agent, 40, seed=seed, episodes=1).step for seed in range(10)]).double()
    # 40 of 200 without replacement, ten times: mean 99.5, standard error sqrt((200² − 1)/12 · 160/199 / 400) = 2.59.
    assert abs(steps.mean() - 99.5) < 4 * 2.59


def test_exploration_and_stochastic_policies_change_the_visit_and_stay_in_the_box():
    simulator = Simulator("Reacher-v5")
    agent = agent_for(simulator)
    plain = simulator.visit(agent, 10, seed=4, episodes=2)
    noisy = simulator.visit(agent, 10, seed=4, episodes=2, exploration=0.3)
    assert not torch.equal(plain.obs, noisy.obs)
    gaussian = Agent(network(10, 4), [], [-1, -1], [1, 1], policy=Gaussian())
    drawn = simulator.visit(gaussian, 10, seed=4, episodes=2)
    mode = simulator.visit(gaussian, 10, seed=4, episodes=2, stochastic=False)
    assert not torch.equal(drawn.obs, mode.obs)


def test_more_episodes_are_run_until_there_are_enough_states():
    simulator = Simulator("InvertedPendulum-v5")
    agent = agent_for(simulator)
    states = simulator.visit(agent, 60, seed=0, episodes=2)
    assert len(states) == 60
    assert int(states.episode.max()) > 1


def test_the_time_limit_cuts_returns_only_when_asked():
    simulator = Simulator("Reacher-v5")
    agent = agent_for(simulator)
    states = simulator.visit(agent, 8, seed=1, episodes=2)
    act = agent.action(states.obs.float()).detach()
    free = simulator.rollouts(agent, states, act, horizon=60)
    cut = simulator.rollouts(agent, states, act, horizon=60, respect_time_limit=True)
    assert (free.length == 60).all()
    assert torch.equal(cut.length, 50 - states.step)
    assert not cut.terminated.any()


def test_rewards_stop_at_termination_and_lanes_need_not_fit_one_chunk():
    simulator = Simulator("Hopper-v5")
    agent = agent_for(simulator, seed=2)
    states = simulator.visit(agent, 6, seed=1, episodes=3)
    act = torch.rand(5, 6, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = simulator.rollouts(agent, states, act, horizon=60)
    assert whole.terminated.any()
    assert (whole.length[whole.terminated] <= 60).all()
    simulator.lanes = 7
    pieces = simulator.rollouts(agent, states, act, horizon=60)
    torch.testing.assert_close(whole.value, pieces.value, rtol=1e-9, atol=1e-9)
    assert torch.equal(whole.length, pieces.length)


@pytest.mark.parametrize("task", ["Hopper-v5", "CartPole-v1"])
def test_the_last_observation_is_the_one_after_the_last_reward(task):
    simulator = Simulator(task)
    discrete = task == "CartPole-v1"
    agent = (
        Agent(network(4, 2), [], [0, 0], [1, 1], policy=Softmax()) if discrete else agent_for(simulator, discount=0.9)
    )
    states = simulator.visit(agent, 3, seed=2, episodes=2)
    eye = torch.eye(simulator.action_size)
    act = eye[torch.tensor([[0, 1, 1], [1, 0, 1]])] if discrete else eye[:2, None].expand(2, 3, 3) - 0.5
    noise = torch.zeros(15, 3, simulator.action_size)
    found = simulator.rollouts(agent, states, act, horizon=15, noise=noise)
    assert found.last_obs.shape == (2, 3, simulator.obs_size)
    assert found.last_obs.dtype == torch.float64
    pilot, lanes = simulator.pilot(agent), simulator._lanes
    for lane in range(2):
        for state in range(3):
            lanes.load([states.snapshots[state]])
            a = act[lane, state][None].double()
            value = 0.0
            for t in range(int(found.length[lane, state])):
                obs, reward, ended = lanes.step(simulator._to_env(pilot, a), np.array([True]))
                value += agent.discount**t * reward[0]
                a = pilot.action(torch.from_numpy(obs)).detach()
            assert bool(found.terminated[lane, state]) == bool(ended[0])
            assert found.value[lane, state].item() == pytest.approx(value, rel=1e-11)
            np.testing.assert_allclose(found.last_obs[lane, state], obs[0], rtol=1e-9, atol=1e-11)


def test_discrete_actions_are_one_hot_and_a_softmax_policy_draws_by_its_noise():
    simulator = Simulator("CartPole-v1")
    assert simulator.action_size == 2
    agent = Agent(network(4, 2), [], [0, 0], [1, 1], policy=Softmax())
    states = simulator.visit(agent, 5, seed=2, episodes=2)
    first = torch.eye(2)[:, None].expand(2, 5, 2)
    noise = agent.policy.noise((3, 1, 20, 5, 2), torch.Generator().manual_seed(0), agent.action_low)
    value = simulator.returns(agent, states, first.expand(3, 2, 5, 2), horizon=20, noise=noise)
    env, double = gymnasium.make("CartPole-v1").unwrapped, agent.snapshot(double=True)
    for seed, action, state in [(0, 0, 0), (1, 1, 2), (2, 0, 4)]:
        obs = env.reset(seed=0)[0]
        env.state = tuple(states.snapshots[state]["state"])
        a, expected = action, 0.0
        for t in range(20):
            obs, reward, ended, _, _ = env.step(a)
            expected += 0.99**t * reward
            if ended:
                break
            logits = double.head(torch.from_numpy(obs).double()[None])[0]
            a = int((logits + noise[seed, 0, min(t + 1, 19), state]).argmax())
        assert value[seed, action, state].item() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(GradlabError, match="exploration"):
        simulator.visit(agent, 2, exploration=0.1)
    with pytest.raises(GradlabError, match="the agent's actions are points of a box, the environment's are discrete"):
        simulator.visit(Agent(network(4, 2), [], [0, 0], [1, 1]), 2)
    with pytest.raises(GradlabError, match="the agent's actions are discrete, the environment's are the box"):
        Simulator("Reacher-v5").visit(Agent(network(10, 2), [], [0, 0], [1, 1], policy=Softmax()), 2)


def test_soft_returns_subtract_the_policys_log_probability_after_the_first_step():
    simulator = Simulator("Reacher-v5")
    agent = Agent(network(10, 4), [], [-1, -1], [1, 1], 0.9, policy=SquashedGaussian(), entropy=0.2)
    states = simulator.visit(agent, 3, seed=1, episodes=1)
    noise = torch.randn(2, 5, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first = torch.zeros(2, 3, 2)
    hard = simulator.returns(agent, states, first, horizon=5, noise=noise)
    soft = simulator.returns(agent, states, first, horizon=5, noise=noise, entropy=0.2)
    double = agent.snapshot(double=True)
    for seed in range(2):
        simulator._lanes.load(states.snapshots)
        obs, *_ = simulator._lanes.step(np.zeros((3, 2)), np.ones(3, dtype=bool))
        bonus = torch.zeros(3, dtype=torch.float64)
        for t in range(1, 5):
            act, log_prob = double.policy.sample(double.head(torch.from_numpy(obs)), noise[seed, t])
            bonus -= 0.9**t * 0.2 * log_prob.detach()
            obs, *_ = simulator._lanes.step(act.detach().numpy(), np.ones(3, dtype=bool))
        torch.testing.assert_close(soft[seed] - hard[seed], bonus, rtol=1e-9, atol=1e-9)
    with pytest.raises(GradlabError, match="noise"):
        simulator.returns(agent, states, first, horizon=5)


def test_a_diverging_simulation_is_nan_and_not_a_number_to_average():
    simulator = Simulator("HalfCheetah-v5")
    agent = agent_for(simulator)
    states = simulator.visit(agent, 2, seed=0, episodes=1, max_steps=10)
    broken = copy.deepcopy(states.snapshots[0])
    # After the time and the nine positions come the velocities.
    broken.state[10:19] = 1e12
    mixed = States(states.obs, (broken, states.snapshots[1]), states.episode, states.step, states.environment)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = simulator.returns(agent, mixed, torch.zeros(2, 6), horizon=3)
    assert torch.isnan(value[0])
    assert torch.isfinite(value[1])


def test_the_agent_and_global_randomness_are_left_alone():
    simulator = Simulator("Reacher-v5")
    agent = agent_for(simulator)
    agent.actor.train()
    before = copy.deepcopy(agent.actor.state_dict())
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    states = simulator.visit(agent, 5, seed=0, episodes=1)
    simulator.returns(agent, states, torch.zeros(5, 2), horizon=3)
    assert torch.equal(torch_state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])
    assert agent.actor.training
    for name, value in agent.actor.state_dict().items():
        assert torch.equal(value, before[name])


class Counter(gymnasium.Env):
    """A plain environment; its variants hide state where a copy cannot reach."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    hidden = 0.0

    def __init__(self, kind: str = "honest") -> None:
        self.kind = kind

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.array([self.np_random.uniform()])
        return self.x.copy(), {}

    def step(self, action):
        self.x += 0.1 * action
        if self.kind == "hidden":
            type(self).hidden += 1.0
            self.x[0] = type(self).hidden
        if self.kind == "random":
            self.x += self.np_random.normal()
        return self.x.copy(), float(self.x[0]), False, False, {}


def test_a_plain_environment_is_copied_and_hidden_state_is_refused():
    simulator = Simulator(Counter)
    assert isinstance(simulator._lanes, CopiedLanes)
    assert not simulator.random
    assert simulator.time_limit is None
    assert Simulator(lambda: Counter("random")).random
    with pytest.raises(GradlabError, match="does not go on as the original"):
        Simulator(lambda: Counter("hidden"))


COUNT = itertools.count()


class Changing(gymnasium.RewardWrapper):
    """Pays differently every time it is asked, out of a state that is in nobody's attributes."""

    def reward(self, reward):
        return reward + next(COUNT)


def test_wrong_environments_are_refused_in_one_line():
    cases = [
        (lambda: Simulator("Reecher-v5"), "Reecher-v5.*did you mean Reacher-v5"),
        (lambda: Simulator("Reacher-v99"), "Reacher-v99"),
        (lambda: Simulator("no such thing"), "no such"),
        (lambda: Simulator(gymnasium.make("Reacher-v5")), "a function that makes one"),
        (lambda: Simulator("FrozenLake-v1"), r"observations are Discrete\(16\)"),
        (lambda: Simulator(lambda: Changing(gymnasium.make("Reacher-v5"))), "wrapper Changing"),
    ]
    for attempt, message in cases:
        with pytest.raises(GradlabError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_agents_that_do_not_fit_are_refused_in_one_line():
    simulator = Simulator("Reacher-v5")
    unit = [1.0, 1.0]
    cases = [
        (Agent(network(11, 2), [], [-1, -1], unit, obs_size=11), "10 numbers, but this agent takes 11"),
        (Agent(network(11, 2), [], [-1, -1], unit), "takes 11 numbers, but the observations have 10"),
        (Agent(network(10, 3), [], [-1] * 3, [1] * 3), "2 coordinates, but this agent's have 3"),
        (Agent(network(10, 2), [], [-2, -2], [2, 2]), "action box"),
    ]
    for agent, message in cases:
        with pytest.raises(GradlabError, match=message) as caught:
            simulator.visit(agent, 2)
        assert "\n" not in str(caught.value)
    agent = agent_for(simulator)
    states = simulator.visit(agent, 2, episodes=1)
    with pytest.raises(GradlabError, match="first_actions"):
        simulator.returns(agent, states, torch.zeros(3, 2), horizon=2)
    with pytest.raises(GradlabError, match="horizon"):
        simulator.returns(agent, states, torch.zeros(2, 2), horizon=0)
    other = Simulator("Hopper-v5")
    with pytest.raises(GradlabError, match="of environment 'Reacher-v5'"):
        other.returns(agent_for(other), states, torch.zeros(2, 3), horizon=2)


@pytest.mark.parametrize("missing", ["mujoco", "gymnasium"])
def test_without_mujoco_or_gymnasium_the_package_imports_and_says_what_to_install(missing):
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "import gradlab.references, gradlab.simulation\n"
        "from gradlab.errors import GradlabError\n"
        "try:\n    gradlab.references.SimulatorReference('Reacher-v5')\n"
        "except GradlabError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert "pip install 'gradlab[mujoco]'" in done.stdout
    assert done.stdout.count("\n") == 1
