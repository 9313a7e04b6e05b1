"""A small task with any action box, and Stable-Baselines3 models that have really been trained on it."""

import random

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import TQC, TRPO, CrossQ
from stable_baselines3 import A2C, PPO, SAC

UNIT = ([-1.0, -1.0], [1.0, 1.0])
NARROW = ([-0.4, -0.4], [0.4, 0.4])
ASYMMETRIC = ([-0.5, -2.0], [1.5, 0.25])


class Drift(gymnasium.Env):
    """Three numbers that decay, two of them pushed by the action; rewarded near zero; 25 steps."""

    def __init__(self, low, high):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = gymnasium.spaces.Box(np.float32(low), np.float32(high), dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = self.np_random.normal(size=3) * 3 + 1, 0
        return self.state.copy(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        self.state = 0.9 * self.state + self.np_random.normal(size=3) * 0.1
        self.state[:2] += action
        return self.state.copy(), -float(np.square(self.state).sum()), False, self.steps == 25, {}


def trained(algorithm, box=UNIT, env=None, steps=80, **options):
    """A model that has trained for some steps on small networks."""
    options = {"learning_starts": 40, "batch_size": 32, "buffer_size": 500, "seed": 3, "device": "cpu"} | options
    options["policy_kwargs"] = {"net_arch": [16, 12]} | options.get("policy_kwargs", {})
    if algorithm in (SAC, TQC, CrossQ):
        # α far from its start, so that a wrong one shows.
        options.setdefault("ent_coef", "auto_0.2")
    return algorithm("MlpPolicy", env or Drift(*box), **options).learn(steps)


def trained_on_policy(algorithm, env, rollouts=3, **options):
    """A model that has trained on some short rollouts, on small networks; ``env`` is one or its identifier."""
    options = {"n_steps": 32, "seed": 3, "device": "cpu", "gamma": 0.96, "gae_lambda": 0.9} | options
    if algorithm is not A2C:
        options.setdefault("batch_size", 16)
    options["policy_kwargs"] = {"net_arch": {"pi": [16, 12], "vf": [10]}} | options.get("policy_kwargs", {})
    model = algorithm("MlpPolicy", env, **options)
    return model.learn(rollouts * model.n_steps * model.n_envs)


@pytest.fixture
def train():
    return trained


@pytest.fixture
def train_on_policy():
    return trained_on_policy


@pytest.fixture(scope="session")
def on_policy():
    """One trained model of each on-policy algorithm and kind of action, to be read and left as it is."""
    envs = {"box": lambda: Drift(*ASYMMETRIC), "discrete": lambda: "CartPole-v1"}
    return {
        (algorithm, kind): trained_on_policy(algorithm, make())
        for algorithm in (PPO, A2C, TRPO)
        for kind, make in envs.items()
    }


@pytest.fixture
def drift():
    return Drift


@pytest.fixture
def boxes():
    return {"unit": UNIT, "narrow": NARROW, "asymmetric": ASYMMETRIC}


@pytest.fixture
def random_states():
    """A function that describes the global random states of python, numpy and torch."""

    def states():
        numpy = np.random.get_state()
        return (random.getstate(), numpy[1].tobytes(), numpy[2:], torch.get_rng_state().numpy().tobytes())

    return states
