"""Small Tianshou algorithms, and buffers of transitions to train them on."""

import random

import gymnasium
import numpy as np
import pytest
import torch
from tianshou.algorithm import A2C, DDPG, NPG, PPO, SAC, TD3, TRPO
from tianshou.algorithm.modelfree.ddpg import ContinuousDeterministicPolicy
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy, ProbabilisticActorPolicy
from tianshou.algorithm.modelfree.sac import AutoAlpha, SACPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch, Collector, ReplayBuffer, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams, OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.continuous import ContinuousActorDeterministic, ContinuousActorProbabilistic, ContinuousCritic
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from torch import nn
from torch.distributions import Categorical, Independent, Normal

OFF_POLICY = {"ddpg": DDPG, "td3": TD3, "sac": SAC}
ON_POLICY = {"ppo": PPO, "a2c": A2C, "npg": NPG, "trpo": TRPO}


def box(low=(-0.5, -2.0), high=(1.5, 0.25)):
    return gymnasium.spaces.Box(np.float32(low), np.float32(high))


def observations(count=3):
    return gymnasium.spaces.Box(-np.inf, np.inf, (count,))


def net(inputs, activation, hidden=(16,)):
    return Net(state_shape=inputs, hidden_sizes=hidden, activation=activation)


def off_policy(name, space=None, *, activation=nn.ReLU, obs_only=False, actor=None, policy=None, obs=3, **options):
    """DDPG, TD3 or SAC on small networks; ``actor`` and ``policy`` are options of those."""
    torch.manual_seed(3)
    space = space or box()
    p = len(space.low)
    shape = {"preprocess_net": net(obs, activation), "action_shape": p, "hidden_sizes": [12]}
    policy = {"action_space": space} | (policy or {})
    if name == "sac":
        shape |= {"unbounded": True, "conditioned_sigma": True} | (actor or {})
        chosen = SACPolicy(actor=ContinuousActorProbabilistic(**shape), **policy)
        options = {"alpha": 0.2} | options
    else:
        policy = {"exploration_noise": "default"} | policy
        chosen = ContinuousDeterministicPolicy(actor=ContinuousActorDeterministic(**shape | (actor or {})), **policy)

    def critic():
        first = net(obs if obs_only else obs + p, activation)
        if obs_only:
            # The library sizes the next layer by this and appends the action, which it does not count.
            first.output_dim += p
        return ContinuousCritic(preprocess_net=first, hidden_sizes=[10], apply_preprocess_net_to_obs_only=obs_only)

    if name != "ddpg":
        options["critic2"] = critic()
    rate = AdamOptimizerFactory(lr=1e-3)
    return OFF_POLICY[name](policy=chosen, policy_optim=rate, critic=critic(), critic_optim=rate, **options)


def independent_normals(loc_scale):
    return Independent(Normal(*loc_scale), 1)


def on_policy(name, space=None, *, activation=nn.Tanh, share=False, actor=None, policy=None, obs=3, **options):
    """PPO, A2C, NPG or TRPO on small networks; ``actor`` and ``policy`` are options of those."""
    torch.manual_seed(3)
    space = space or box()
    first = net(obs, activation)
    behind = first if share else net(obs, activation)
    if isinstance(space, gymnasium.spaces.Discrete):
        built = DiscreteActor(preprocess_net=first, action_shape=space.n, **{"softmax_output": False} | (actor or {}))
        chosen = DiscreteActorPolicy(actor=built, action_space=space, **policy or {})
        critic = DiscreteCritic(preprocess_net=behind)
    else:
        shape = {"preprocess_net": first, "action_shape": len(space.low), "hidden_sizes": [12], "unbounded": True}
        built = ContinuousActorProbabilistic(**shape | (actor or {}))
        settings = {"action_space": space, "dist_fn": independent_normals} | (policy or {})
        chosen = ProbabilisticActorPolicy(actor=built, **settings)
        critic = ContinuousCritic(preprocess_net=behind)
    rate = AdamOptimizerFactory(lr=1e-3)
    return ON_POLICY[name](policy=chosen, critic=critic, optim=rate, **options)


def filled(algorithm, steps=200, obs=3, parts=1, size=None):
    """A buffer of transitions with the policy's own actions and episodes of 25 steps, in ``parts`` sub-buffers."""
    numbers = np.random.default_rng(5)
    buffer = VectorReplayBuffer(size or steps, parts) if parts > 1 else ReplayBuffer(size or steps)
    for step in range(steps // parts):
        seen = numbers.normal(size=(parts, obs)).astype(np.float32)
        with torch.no_grad():
            act = algorithm.policy(Batch(obs=seen, info={})).act.numpy()
        act = act if act.dtype.kind == "i" else act + 0.1 * numbers.normal(size=act.shape).astype(np.float32)
        batch = Batch(
            obs=seen,
            act=act,
            rew=numbers.normal(size=parts),
            terminated=np.full(parts, step % 50 == 24),
            truncated=np.full(parts, step % 50 == 49),
            obs_next=numbers.normal(size=(parts, obs)).astype(np.float32),
            info=Batch(),
        )
        if parts > 1:
            buffer.add(batch, buffer_ids=np.arange(parts))
        else:
            buffer.add(batch[0])
    return buffer


def built(name, *args, **options):
    """An algorithm by its name; ``alpha="auto"`` is learned."""
    if name in ON_POLICY:
        return on_policy(name, *args, **options)
    if options.get("alpha") == "auto":
        options["alpha"] = AutoAlpha(-2.0, -1.0, AdamOptimizerFactory(lr=1e-2))
    return off_policy(name, *args, **options)


def trainer_of(name, envs=1, steps=300, wrap=lambda env: env, **options):
    """The library's own trainer of an algorithm on Pendulum-v1, seeded, with what was collected before it begins.

    Off-policy it updates once a step, 10 at a time; on-policy it collects 128 steps and goes through them twice.
    """
    random.seed(3)
    np.random.seed(3)
    env = wrap(DummyVectorEnv([lambda: gymnasium.make("Pendulum-v1")] * envs))
    env.seed(3)
    algorithm = built(name, gymnasium.spaces.Box(-2, 2, (1,)), **options)
    buffer = VectorReplayBuffer(2000, envs) if envs > 1 else ReplayBuffer(2000)
    collector = Collector(algorithm, env, buffer, exploration_noise=name not in ON_POLICY)
    collector.reset()
    shared = {"training_collector": collector, "max_epochs": 1, "epoch_num_steps": steps}
    shared |= {"batch_size": 32, "verbose": False, "show_progress": False}
    if name in ON_POLICY:
        params = OnPolicyTrainerParams(collection_step_num_env_steps=128, update_step_num_repetitions=2, **shared)
    else:
        collector.collect(n_step=64, random=True)
        params = OffPolicyTrainerParams(
            collection_step_num_env_steps=10, update_step_num_gradient_steps_per_sample=1.0, **shared
        )
    return algorithm.create_trainer(params)


@pytest.fixture
def make():
    """A function that builds an algorithm by its name."""
    return built


@pytest.fixture
def train():
    """A function that makes a trainer, not yet run."""
    return trainer_of


@pytest.fixture
def fill():
    return filled


@pytest.fixture
def spaces():
    """Two action boxes and a set of three actions, by name."""
    return {
        "asymmetric": box(),
        "unit": box((-1, -1), (1, 1)),
        "one": box((-2,), (2,)),
        "discrete": gymnasium.spaces.Discrete(3),
    }


@pytest.fixture
def flat():
    return observations


@pytest.fixture
def categorical():
    return lambda probs: Categorical(probs=probs)


@pytest.fixture
def random_states():
    """A function that describes the global random states of python, numpy and torch."""

    def states():
        numpy = np.random.get_state()
        return (random.getstate(), numpy[1].tobytes(), numpy[2:], torch.get_rng_state().numpy().tobytes())

    return states
