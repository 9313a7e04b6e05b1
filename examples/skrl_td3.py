"""Train TD3 of skrl 2 on Pendulum-v1 and measure it on the way: gradlab's are the three lines marked.

    pip install gradlab[skrl]
    python examples/skrl_td3.py [--steps 5000] [--store gradlab.db]
    gradlab dashboard gradlab.db

The same three lines do for DDPG and SAC. PPO, A2C and TRPO are measured once an update, on the rollout that they are
about to train on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import gymnasium
import torch
from skrl.agents.torch.td3 import TD3
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, Model
from skrl.resources.noises.torch import GaussianNoise
from skrl.trainers.torch import SequentialTrainer
from torch import Tensor, nn

import probes  # gradlab 1 of 3

ENVIRONMENT = "Pendulum-v1"


def layers(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers of 64."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))


class Actor(DeterministicMixin, Model):
    """The action, within Pendulum-v1's [−2, 2]."""

    def __init__(self, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.net = layers(self.num_observations, self.num_actions)

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> tuple[Tensor, dict[str, Any]]:
        """The action [B, 1]."""
        return 2 * torch.tanh(self.net(inputs["observations"])), {}


class Critic(DeterministicMixin, Model):
    """Q(s, a)."""

    def __init__(self, **spaces: Any) -> None:
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.net = layers(self.num_observations + self.num_actions, 1)

    def compute(self, inputs: dict[str, Tensor], role: str = "") -> tuple[Tensor, dict[str, Any]]:
        """The value [B, 1]."""
        return self.net(torch.cat([inputs["observations"], inputs["taken_actions"]], dim=1)), {}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, and say what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=5000, help="environment steps")
    parser.add_argument("--store", default="gradlab.db", help="where the measurements go")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    # Networks as small as these are faster on one thread.
    torch.set_num_threads(1)
    env = wrap_env(gymnasium.make(ENVIRONMENT))
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space, "device": "cpu"}
    critics = ("critic_1", "critic_2", "target_critic_1", "target_critic_2")
    agent = TD3(
        models={
            "policy": Actor(**spaces),
            "target_policy": Actor(**spaces),
            **{name: Critic(**spaces) for name in critics},
        },
        memory=RandomMemory(memory_size=20_000, device="cpu"),
        cfg={
            "learning_starts": 100,
            "exploration_noise": GaussianNoise,
            "exploration_noise_kwargs": {"mean": 0, "std": 0.2, "device": "cpu"},
            "smooth_regularization_noise": GaussianNoise,
            "smooth_regularization_noise_kwargs": {"mean": 0, "std": 0.2, "device": "cpu"},
            "experiment": {"write_interval": 0, "checkpoint_interval": 0},
        },
        **spaces,
    )
    trainer = SequentialTrainer(
        env=env, agents=agent, cfg={"timesteps": options.steps, "headless": True, "disable_progressbar": True}
    )

    monitor = probes.attach(agent, options.store, environment=ENVIRONMENT)  # gradlab 2 of 3
    trainer.train()
    monitor.close()  # gradlab 3 of 3
    print(monitor.status)


if __name__ == "__main__":
    main()
