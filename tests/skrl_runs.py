"""Small skrl models, agents and runs, as its users write them; nothing is written to disk and nothing is printed."""

import gymnasium
import numpy as np
import torch
from skrl.agents.torch.a2c import A2C
from skrl.agents.torch.ddpg import DDPG
from skrl.agents.torch.ppo import PPO
from skrl.agents.torch.sac import SAC
from skrl.agents.torch.td3 import TD3
from skrl.agents.torch.trpo import TRPO
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, GaussianMixin, Model, MultivariateGaussianMixin
from skrl.resources.noises.torch import GaussianNoise
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.trainers.torch import SequentialTrainer
from torch import nn

ALGORITHMS = {"DDPG": DDPG, "TD3": TD3, "SAC": SAC, "PPO": PPO, "A2C": A2C, "TRPO": TRPO}
ON_POLICY = ("PPO", "A2C", "TRPO")


class Drift(gymnasium.Env):
    """Three numbers that decay, two of them pushed by the action; rewarded near zero; 25 steps, or until far off."""

    def __init__(self, low=(-0.5, -2.0), high=(1.5, 0.25), discrete=False):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        box = gymnasium.spaces.Box(np.float32(low), np.float32(high), dtype=np.float32)
        self.action_space = gymnasium.spaces.Discrete(3) if discrete else box

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = (self.np_random.normal(size=3) * 3 + 1).astype(np.float32), 0
        return self.state.copy(), {}

    def step(self, action):
        self.steps += 1
        self.state = (0.9 * self.state + self.np_random.normal(size=3) * 0.1).astype(np.float32)
        box = self.action_space
        low, high = (-1, 1) if isinstance(box, gymnasium.spaces.Discrete) else (box.low, box.high)
        self.state[:2] += np.clip(action, low, high)
        far = bool(abs(self.state[2]) > 4)
        return self.state.copy(), -float(np.square(self.state).sum()), far, self.steps == 25, {}


def layers(size, out, width=16):
    return nn.Sequential(nn.Linear(size, width), nn.ELU(), nn.Linear(width, 12), nn.ELU(), nn.Linear(12, out))


class Actor(DeterministicMixin, Model):
    def __init__(self, clip_actions=False, gain=1.0, **spaces):
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self, clip_actions=clip_actions)
        self.net, self.gain = layers(self.num_observations, self.num_actions), gain

    def compute(self, inputs, role=""):
        return self.gain * torch.tanh(self.net(inputs["observations"])), {}


class Critic(DeterministicMixin, Model):
    def __init__(self, **spaces):
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.net = layers(self.num_observations + self.num_actions, 1)

    def compute(self, inputs, role=""):
        return self.net(torch.cat([inputs["observations"], inputs["taken_actions"]], dim=1)), {}


class Stochastic(GaussianMixin, Model):
    """log σ depends on the state, and is clipped at both ends somewhere."""

    def __init__(self, options=(), **spaces):
        Model.__init__(self, **spaces)
        GaussianMixin.__init__(self, **({"min_log_std": -1.5, "max_log_std": 0.3} | dict(options)))
        self.net = layers(self.num_observations, 2 * self.num_actions)

    def compute(self, inputs, role=""):
        mean, log_std = self.net(inputs["observations"]).chunk(2, dim=-1)
        return mean, {"log_std": 2 * log_std - 0.5}


class Free(GaussianMixin, Model):
    """log σ is a parameter of its own."""

    def __init__(self, options=(), **spaces):
        Model.__init__(self, **spaces)
        GaussianMixin.__init__(self, **dict(options))
        self.net = layers(self.num_observations, self.num_actions)
        self.log_std_parameter = nn.Parameter(torch.full((self.num_actions,), -0.3))

    def compute(self, inputs, role=""):
        return self.net(inputs["observations"]), {"log_std": self.log_std_parameter}


class Multivariate(MultivariateGaussianMixin, Model):
    def __init__(self, options=(), **spaces):
        Model.__init__(self, **spaces)
        MultivariateGaussianMixin.__init__(self, **dict(options))
        self.net = layers(self.num_observations, self.num_actions)
        self.log_std_parameter = nn.Parameter(torch.full((self.num_actions,), -0.3))

    def compute(self, inputs, role=""):
        return self.net(inputs["observations"]), {"log_std": self.log_std_parameter}


class Choice(CategoricalMixin, Model):
    def __init__(self, **spaces):
        Model.__init__(self, **spaces)
        CategoricalMixin.__init__(self)
        self.net = layers(self.num_observations, self.num_actions)

    def compute(self, inputs, role=""):
        return self.net(inputs["observations"]), {}


class State(DeterministicMixin, Model):
    def __init__(self, **spaces):
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.net = layers(self.num_observations, 1, width=10)

    def compute(self, inputs, role=""):
        return self.net(inputs["observations"]), {}


class Shared(GaussianMixin, DeterministicMixin, Model):
    """Policy and value at once, as in the library's own examples: the value uses what the policy has kept."""

    def __init__(self, options=(), **spaces):
        Model.__init__(self, **spaces)
        GaussianMixin.__init__(self, **dict(options))
        DeterministicMixin.__init__(self)
        self.net = nn.Sequential(nn.Linear(self.num_observations, 16), nn.ELU())
        self.mean_layer = nn.Linear(16, self.num_actions)
        self.log_std_parameter = nn.Parameter(torch.full((self.num_actions,), -0.3))
        self.value_layer = nn.Linear(16, 1)
        self._shared_output = None

    def act(self, inputs, *, role=""):
        mixin = GaussianMixin if role == "policy" else DeterministicMixin
        return mixin.act(self, inputs, role=role)

    def compute(self, inputs, role=""):
        if role == "policy":
            self._shared_output = self.net(inputs["observations"])
            return self.mean_layer(self._shared_output), {"log_std": self.log_std_parameter}
        shared = self.net(inputs["observations"]) if self._shared_output is None else self._shared_output
        self._shared_output = None
        return self.value_layer(shared), {}


def models(algorithm, policy, spaces):
    """The models an algorithm asks for; ``policy`` makes the policy out of the spaces."""
    made = {"policy": policy(**spaces)}
    if algorithm in ON_POLICY:
        return made | {"value": made["policy"] if isinstance(made["policy"], Shared) else State(**spaces)}
    names = ("critic",) if algorithm == "DDPG" else ("critic_1", "critic_2")
    made |= {f"{prefix}{name}": Critic(**spaces) for prefix in ("", "target_") for name in names}
    return made if algorithm == "SAC" else made | {"target_policy": policy(**spaces)}


POLICIES = {"DDPG": Actor, "TD3": Actor, "SAC": Stochastic, "PPO": Free, "A2C": Free, "TRPO": Free}


def prepared(algorithm, env=None, policy=None, steps=200, scaled=False, envs=1, rollouts=64, seed=3, **options):
    """An agent with its trainer, ready to be trained."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    make = (lambda: Drift()) if env is None else (lambda: gymnasium.make(env)) if isinstance(env, str) else env
    task = make() if envs == 1 else gymnasium.vector.SyncVectorEnv([make] * envs)
    task.reset(seed=seed)
    wrapped = wrap_env(task, verbose=False)
    spaces = {"observation_space": wrapped.observation_space, "action_space": wrapped.action_space, "device": "cpu"}
    for space in (task.observation_space, task.action_space, wrapped.observation_space, wrapped.action_space):
        space.seed(seed)
    on_policy = algorithm in ON_POLICY
    memory = RandomMemory(memory_size=rollouts if on_policy else 500, num_envs=envs, device="cpu", replacement=False)
    quiet = {"write_interval": 0, "checkpoint_interval": 0, "experiment_name": "run"}
    cfg = {"experiment": quiet, "discount_factor": 0.96}
    if on_policy:
        cfg |= {"rollouts": rollouts}
        cfg |= {} if algorithm == "A2C" else {"mini_batches": 4, "learning_epochs": 2}
    else:
        cfg |= {"learning_starts": 40, "batch_size": 32}
    if algorithm in ("DDPG", "TD3"):
        cfg |= {
            "exploration_noise": GaussianNoise,
            "exploration_noise_kwargs": {"mean": 0, "std": 0.2, "device": "cpu"},
        }
    if algorithm == "SAC":
        cfg |= {"learn_entropy": True, "initial_entropy_value": 0.5, "learning_rate": (1e-3, 1e-3, 1e-2)}
    if scaled:
        kwargs = {"size": wrapped.observation_space, "device": "cpu"}
        cfg |= {"observation_preprocessor": RunningStandardScaler, "observation_preprocessor_kwargs": kwargs}
        if on_policy:
            cfg |= {"value_preprocessor": RunningStandardScaler}
            cfg |= {"value_preprocessor_kwargs": {"size": 1, "device": "cpu"}}
    made = models(algorithm, policy or POLICIES[algorithm], spaces)
    agent = ALGORITHMS[algorithm](models=made, memory=memory, cfg=cfg | options, **spaces)
    trainer_cfg = {"timesteps": steps, "headless": True, "disable_progressbar": True}
    trainer = SequentialTrainer(env=wrapped, agents=agent, cfg={**trainer_cfg, "close_environment_at_exit": False})
    return agent, trainer
