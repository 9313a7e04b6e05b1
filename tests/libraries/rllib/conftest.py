"""Small RLlib learners, each in this process, and minibatches to update them with."""

import os
import random

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import gymnasium
import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from probes.callbacks.rllib import KeepsRollout

CONFIGS = {"sac": SACConfig, "ppo": PPOConfig}


class Nowhere(gymnasium.Env):
    """An environment for its spaces."""

    def __init__(self, space, obs=3):
        self.action_space = space
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (obs,))


def box(low=(-0.5, -2.0), high=(1.5, 0.25)):
    return gymnasium.spaces.Box(np.float32(low), np.float32(high))


def learner_of(name, space=None, *, model=None, obs=3, environment=None, learner_class=None, **options):
    """A learner on small networks; ``model`` are options of those."""
    torch.manual_seed(3)
    small = {"fcnet_hiddens": [16, 12], "head_fcnet_hiddens": [10]}
    if name == "sac":
        small |= {"fusionnet_hiddens": [14, 13]}
    config = CONFIGS[name]().rl_module(model_config=small | (model or {})).training(**options)
    if environment:
        config.environment(**environment)
    if learner_class:
        config.training(learner_class=learner_class)
    return config.build_learner(env=Nowhere(space or box(), obs))


class Keeping(KeepsRollout, PPOTorchLearner):
    """PPO's learner as it is documented for the probes."""


def algorithm_of(name, env="Pendulum-v1", *, learner_class=Keeping, **options):
    """The library's own algorithm with everything in this process, seeded, not yet trained."""
    small = {"fcnet_hiddens": [16, 12], "head_fcnet_hiddens": [10]}
    config = CONFIGS[name]().environment(env).learners(num_learners=0).debugging(seed=3)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=4 if name == "ppo" else 1)
    if name == "sac":
        small |= {"fusionnet_hiddens": [14]}
        config.training(
            train_batch_size_per_learner=16,
            num_steps_sampled_before_learning_starts=32,
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1000},
        )
        config.reporting(min_sample_timesteps_per_iteration=40, min_time_s_per_iteration=0)
    else:
        config.training(train_batch_size_per_learner=400, minibatch_size=100, num_epochs=2, learner_class=learner_class)
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    algorithm = config.rl_module(model_config=small).training(**options).build_algo()
    # The library seeds neither the generator of first actions nor that of its buffer.
    algorithm.env_runner.env.action_space.seed(3)
    if name == "sac":
        algorithm.local_replay_buffer.rng = np.random.default_rng(3)
    return algorithm


def batch_of(name, size=32, obs=3, actions=2, seed=5):
    """A minibatch of random transitions, as the learner's connectors would have made it."""
    numbers = np.random.default_rng(seed)

    def normal(*shape):
        return numbers.normal(size=shape).astype(np.float32)

    columns = {"obs": normal(size, obs), "actions": np.tanh(normal(size, actions)), "rewards": normal(size)}
    columns |= {"terminateds": numbers.random(size) < 0.1, "truncateds": np.zeros(size, bool)}
    if name == "sac":
        columns |= {"new_obs": normal(size, obs), "weights": np.ones(size, np.float32)}
        columns |= {"n_step": np.ones(size, np.float32)}
    else:
        inputs = 0.1 * normal(size, 2 * actions)
        noise = (columns["actions"] - inputs[:, :actions]) / np.exp(inputs[:, actions:])
        log_prob = -(noise**2 / 2 + inputs[:, actions:] + np.log(2 * np.pi) / 2).sum(-1)
        columns |= {"action_dist_inputs": inputs, "action_logp": log_prob.astype(np.float32)}
        columns |= {"advantages": normal(size), "value_targets": normal(size)}
    return MultiAgentBatch({"default_policy": SampleBatch(columns)}, env_steps=size)


@pytest.fixture
def make():
    """A function that builds a learner by its algorithm's name."""
    return learner_of


@pytest.fixture(scope="module")
def algorithms():
    """A function that builds an algorithm, while Ray runs on this machine alone."""
    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield algorithm_of
    ray.shutdown()


@pytest.fixture
def keeping():
    return Keeping


@pytest.fixture
def minibatch():
    return batch_of


@pytest.fixture
def spaces():
    return {
        "asymmetric": box(),
        "unit": box((-1, -1), (1, 1)),
        "one": box((-2,), (2,)),
        "discrete": gymnasium.spaces.Discrete(3),
    }


@pytest.fixture
def random_states():
    """A function that describes the global random states of python, numpy and torch."""

    def states():
        numpy = np.random.get_state()
        return (random.getstate(), numpy[1].tobytes(), numpy[2:], torch.get_rng_state().numpy().tobytes())

    return states
