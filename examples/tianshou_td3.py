"""Train TD3 of Tianshou 2 on Pendulum-v1 and measure it on the way: gradlab's are the three lines marked.

    pip install gradlab[tianshou]
    python examples/tianshou_td3.py [--steps 5000] [--store gradlab.db]
    gradlab dashboard gradlab.db

The same three lines do for DDPG and SAC. PPO and A2C are measured once an update, on the rollout that they are about
to train on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import gymnasium
import torch
from tianshou.algorithm import TD3
from tianshou.algorithm.modelfree.ddpg import ContinuousDeterministicPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.exploration import GaussianNoise
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.continuous import ContinuousActorDeterministic, ContinuousCritic

import probes  # gradlab 1 of 3

ENVIRONMENT = "Pendulum-v1"


def algorithm(env: gymnasium.Env) -> TD3:
    """TD3 on two hidden layers of 64."""
    n, p = env.observation_space.shape, env.action_space.shape
    policy = ContinuousDeterministicPolicy(
        actor=ContinuousActorDeterministic(preprocess_net=Net(state_shape=n, hidden_sizes=[64, 64]), action_shape=p),
        exploration_noise=GaussianNoise(sigma=0.1),
        action_space=env.action_space,
    )
    critic, critic2 = (
        ContinuousCritic(preprocess_net=Net(state_shape=n, action_shape=p, hidden_sizes=[64, 64], concat=True))
        for _ in range(2)
    )
    optim = AdamOptimizerFactory(lr=1e-3)
    return TD3(
        policy=policy, policy_optim=optim, critic=critic, critic_optim=optim, critic2=critic2, critic2_optim=optim
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, and say what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=5000, help="environment steps")
    parser.add_argument("--store", default="gradlab.db", help="where the measurements go")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    # Networks as small as these are faster on one thread.
    torch.set_num_threads(1)
    td3 = algorithm(gymnasium.make(ENVIRONMENT))
    envs = DummyVectorEnv([lambda: gymnasium.make(ENVIRONMENT)] * 4)
    collector = Collector(td3, envs, VectorReplayBuffer(20_000, 4), exploration_noise=True)
    collector.reset()
    collector.collect(n_step=400, random=True)
    trainer = td3.create_trainer(
        OffPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=options.steps,
            collection_step_num_env_steps=16,
            update_step_num_gradient_steps_per_sample=1.0,
            batch_size=128,
            verbose=False,
            show_progress=False,
        )
    )
    monitor = probes.attach(trainer, options.store)  # gradlab 2 of 3
    trainer.run()
    monitor.close()  # gradlab 3 of 3
    print(monitor.status)


if __name__ == "__main__":
    main()
