"""TD3 with TorchRL, as its tutorials write it, and two lines that measure the policy gradient while it trains.

    python examples/torchrl_td3.py [FRAMES] [STORE]
    gradlab dashboard STORE

They and their imports are marked with "gradlab". Training is bit for bit the same without them.
"""

from __future__ import annotations

import sys
import time

import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import Compose, DoubleToFloat, GymEnv, RewardSum, StepCounter, TransformedEnv
from torchrl.modules import MLP, AdditiveGaussianModule, TanhModule, ValueOperator
from torchrl.objectives import SoftUpdate, TD3Loss

import probes  # gradlab
from probes.callbacks.torchrl import sampler_of  # gradlab

TASK = "Reacher-v5"
WARM_UP, BATCH, DELAY = 500, 128, 2


def main(frames: int, store: str) -> None:
    """Train for so many frames and print what was measured."""
    torch.manual_seed(0)
    env = TransformedEnv(GymEnv(TASK), Compose(DoubleToFloat(), StepCounter(50), RewardSum()))
    env.set_seed(0)
    spec = env.action_spec
    obs, act = env.observation_spec["observation"].shape[-1], spec.shape[-1]

    def mlp(inputs: int, outputs: int) -> MLP:
        return MLP(in_features=inputs, out_features=outputs, num_cells=[256, 256], activation_class=nn.ReLU)

    net = TensorDictModule(mlp(obs, act), in_keys=["observation"], out_keys=["param"])
    actor = TensorDictSequential(net, TanhModule(in_keys=["param"], out_keys=["action"], spec=spec))
    critic = ValueOperator(mlp(obs + act, 1), in_keys=["observation", "action"])
    explore = AdditiveGaussianModule(spec, sigma_init=0.1, sigma_end=0.1)

    loss = TD3Loss(actor, critic, action_spec=spec)
    loss.make_value_estimator(gamma=0.99)
    target = SoftUpdate(loss, tau=0.005)
    critic_optimizer = torch.optim.Adam(loss.qvalue_network_params.parameters(), 1e-3)
    actor_optimizer = torch.optim.Adam(loss.actor_network_params.parameters(), 1e-3)

    collector = Collector(
        env,
        TensorDictSequential(actor, explore),
        frames_per_batch=50,
        total_frames=frames,
        init_random_frames=WARM_UP,
        auto_register_policy_transforms=True,
    )
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(100_000), batch_size=BATCH)

    sample = sampler_of(buffer)  # gradlab
    monitor = probes.attach(loss, store, optimizer=actor_optimizer, sampler=sample, environment=TASK)  # gradlab

    started, updates = time.perf_counter(), 0
    for data in collector:
        buffer.extend(data)
        for _ in range(data.numel() if len(buffer) > WARM_UP else 0):
            updates += 1
            batch = buffer.sample()
            of_critic, _ = loss.value_loss(batch)
            critic_optimizer.zero_grad()
            of_critic.backward()
            critic_optimizer.step()
            if updates % DELAY == 0:
                of_actor, _ = loss.actor_loss(batch)
                actor_optimizer.zero_grad()
                of_actor.backward()
                actor_optimizer.step()
                target.step()
        returns = data["next", "episode_reward"][data["next", "done"]]
        if returns.numel() and len(buffer) % 1000 == 0:
            seconds = time.perf_counter() - started
            print(f"{len(buffer):>7} frames  return {returns.mean():8.2f}  {seconds:6.1f} s")
    monitor.close()
    print(f"measured {monitor.status.measured}, {monitor.status.cost:.1%} of the time, in {store}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, sys.argv[2] if len(sys.argv) > 2 else "gradlab.db")
