"""DDPG (Lillicrap et al. 2016) in one file, in CleanRL's style, with gradlab attached by its generic door.

    python examples/single_file/ddpg.py [--env-id Pendulum-v1] [--total-timesteps 12000] [--no-gradlab]

The lines between the two `gradlab` marks are all that measuring needs; `--no-gradlab` leaves them out, and the run is
the same run bit for bit. `gradlab dashboard gradlab.db` shows what is measured while it trains.
"""

from __future__ import annotations

import argparse
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import gradlab
import probes


@dataclass
class Args:
    """The run's settings; each is a flag of the command line."""

    env_id: str = "Pendulum-v1"
    seed: int = 1
    total_timesteps: int = 12_000
    learning_rate: float = 1e-3
    hidden: int = 64
    buffer_size: int = 1_000_000
    gamma: float = 0.99
    tau: float = 0.005
    batch_size: int = 128
    exploration_noise: float = 0.1
    learning_starts: int = 1_000
    gradlab: bool = True
    store: str = "gradlab.db"
    save: str = ""


class Actor(nn.Module):
    """The action in environment units: tanh(fc_mu) · action_scale + action_bias."""

    def __init__(self, env: gym.Env, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(env.observation_space.shape[0], hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc_mu = nn.Linear(hidden, env.action_space.shape[0])
        low, high = (torch.as_tensor(corner) for corner in (env.action_space.low, env.action_space.high))
        self.register_buffer("action_scale", (high - low) / 2)
        self.register_buffer("action_bias", (high + low) / 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n] → [B, p]."""
        x = F.relu(self.fc2(F.relu(self.fc1(x))))
        return torch.tanh(self.fc_mu(x)) * self.action_scale + self.action_bias


class QNetwork(nn.Module):
    """Q(s, a), the action in environment units."""

    def __init__(self, env: gym.Env, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(env.observation_space.shape[0] + env.action_space.shape[0], hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        """[B, n], [B, p] → [B, 1]."""
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(torch.cat([x, a], 1))))))


class ReplayBuffer:
    """The last `size` transitions; a termination ends an episode, a time limit does not."""

    def __init__(self, size: int, env: gym.Env) -> None:
        (n,), (p,) = env.observation_space.shape, env.action_space.shape
        self.obs, self.next_obs = (np.zeros((size, n), np.float32) for _ in range(2))
        self.actions = np.zeros((size, p), np.float32)
        self.rewards, self.dones = (np.zeros((size, 1), np.float32) for _ in range(2))
        self.added = 0

    def add(self, *transition: NDArray[np.float32] | float) -> None:
        """One transition (obs, next_obs, action, reward, done)."""
        for array, part in zip(self._arrays, transition, strict=True):
            array[self.added % len(array)] = part
        self.added += 1

    def sample(self, count: int) -> Iterator[Tensor]:
        """A minibatch of (obs, next_obs, actions, rewards, dones)."""
        rows = np.random.randint(0, len(self), size=count)
        return (torch.from_numpy(array[rows]) for array in self._arrays)

    def __len__(self) -> int:
        return min(self.added, len(self.obs))

    @property
    def _arrays(self) -> tuple[NDArray[np.float32], ...]:
        return self.obs, self.next_obs, self.actions, self.rewards, self.dones


def train(args: Args) -> SimpleNamespace:
    """Train, and return everything the run is made of."""
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    env = gym.make(args.env_id)
    env.action_space.seed(args.seed)
    actor, qf1 = Actor(env, args.hidden), QNetwork(env, args.hidden)
    target_actor, qf1_target = copy.deepcopy(actor), copy.deepcopy(qf1)
    q_optimizer = torch.optim.Adam(qf1.parameters(), lr=args.learning_rate)
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=args.learning_rate)
    rb = ReplayBuffer(args.buffer_size, env)
    low, high = env.action_space.low, env.action_space.high
    global_step = 0
    returns: list[float] = []

    # gradlab: what there is to measure, what calls it, where observations are, and the time -------------------------
    if args.gradlab:
        agent = gradlab.Agent(
            actor,
            [qf1],
            action_low=low,
            action_high=high,
            discount=args.gamma,
            target_critics=[qf1_target],
            obs_size=env.observation_space.shape[0],
            algorithm="DDPG",
            library="CleanRL",
        )
        monitor = probes.attach(
            agent,
            args.store,
            optimizer=actor_optimizer,
            sampler=lambda count, generator: rb.obs[generator.integers(len(rb), size=count)],
            clock=lambda: global_step,
            environment=args.env_id,
        )
    # gradlab ------------------------------------------------------------------------------------------------------

    obs, _ = env.reset(seed=args.seed)
    episode_return = 0.0
    for global_step in range(1, args.total_timesteps + 1):
        if global_step <= args.learning_starts:
            action = env.action_space.sample()
        else:
            with torch.no_grad():
                action = actor(torch.as_tensor(obs)[None])[0]
                action += torch.randn_like(action) * actor.action_scale * args.exploration_noise
            action = action.numpy().clip(low, high)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        rb.add(obs, next_obs, action, float(reward), terminated)
        obs = next_obs
        episode_return += float(reward)
        if terminated or truncated:
            obs, _ = env.reset()
            returns.append(episode_return)
            print(f"global_step={global_step}, episodic_return={episode_return:.1f}")
            episode_return = 0.0

        if global_step <= args.learning_starts:
            continue
        b_obs, b_next_obs, b_actions, b_rewards, b_dones = rb.sample(args.batch_size)
        with torch.no_grad():
            next_q = qf1_target(b_next_obs, target_actor(b_next_obs))
            target = b_rewards + (1 - b_dones) * args.gamma * next_q
        qf_loss = F.mse_loss(qf1(b_obs, b_actions), target)
        q_optimizer.zero_grad()
        qf_loss.backward()
        q_optimizer.step()

        actor_loss = -qf1(b_obs, actor(b_obs)).mean()
        actor_optimizer.zero_grad()
        actor_loss.backward()
        actor_optimizer.step()
        for online, slow in ((actor, target_actor), (qf1, qf1_target)):
            for parameter, slow_parameter in zip(online.parameters(), slow.parameters(), strict=True):
                slow_parameter.data.lerp_(parameter.data, args.tau)

    if args.gradlab:
        monitor.close()
    if args.save:
        torch.save((actor.state_dict(), qf1.state_dict()), args.save)
    return SimpleNamespace(**locals())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Args):
        kind = {"action": argparse.BooleanOptionalAction} if field.default is True else {"type": type(field.default)}
        parser.add_argument(f"--{field.name.replace('_', '-')}", default=field.default, **kind)
    train(Args(**vars(parser.parse_args())))
