"""SAC (Haarnoja et al. 2018, learned α) in one file, in CleanRL's style, with gradlab attached by its generic door.

    python examples/single_file/sac.py [--env-id Pendulum-v1] [--total-timesteps 12000] [--no-gradlab]

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

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


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
    learning_starts: int = 1_000
    policy_frequency: int = 2
    gradlab: bool = True
    store: str = "gradlab.db"
    save: str = ""


class Actor(nn.Module):
    """Mean and log σ of a Gaussian that tanh squashes into the action box, in environment units."""

    def __init__(self, env: gym.Env, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(env.observation_space.shape[0], hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc_mean = nn.Linear(hidden, env.action_space.shape[0])
        self.fc_logstd = nn.Linear(hidden, env.action_space.shape[0])
        low, high = (torch.as_tensor(corner) for corner in (env.action_space.low, env.action_space.high))
        self.register_buffer("action_scale", (high - low) / 2)
        self.register_buffer("action_bias", (high + low) / 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, n] → mean and log σ, [B, p] each; log σ lies in [−5, 2]."""
        x = F.relu(self.fc2(F.relu(self.fc1(x))))
        log_std = LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (torch.tanh(self.fc_logstd(x)) + 1)
        return self.fc_mean(x), log_std

    def get_action(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A draw [B, p] and its log-density [B, 1] in environment units."""
        mean, log_std = self(x)
        normal = torch.distributions.Normal(mean, log_std.exp())
        x_t = normal.rsample()
        y_t = torch.tanh(x_t)
        log_prob = normal.log_prob(x_t) - torch.log(self.action_scale * (1 - y_t.square()) + 1e-6)
        return y_t * self.action_scale + self.action_bias, log_prob.sum(1, keepdim=True)


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
    actor, qf1, qf2 = Actor(env, args.hidden), QNetwork(env, args.hidden), QNetwork(env, args.hidden)
    qf1_target, qf2_target = copy.deepcopy(qf1), copy.deepcopy(qf2)
    q_optimizer = torch.optim.Adam([*qf1.parameters(), *qf2.parameters()], lr=args.learning_rate)
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=args.learning_rate)
    target_entropy = -float(env.action_space.shape[0])
    log_alpha = torch.zeros(1, requires_grad=True)
    alpha = log_alpha.exp().item()
    a_optimizer = torch.optim.Adam([log_alpha], lr=args.learning_rate)
    rb = ReplayBuffer(args.buffer_size, env)
    low, high = env.action_space.low, env.action_space.high
    global_step = 0
    returns: list[float] = []

    # gradlab: what there is to measure, what calls it, where observations are, and the time -------------------------
    if args.gradlab:

        def agent() -> gradlab.Agent:
            """The agent as it is now: α is a number that training replaces, so it is asked at each measurement."""
            return gradlab.Agent(
                actor,
                [qf1, qf2],
                action_low=low,
                action_high=high,
                discount=args.gamma,
                policy=gradlab.policies.SquashedGaussian(epsilon=1e-6, low=low, high=high),
                head=lambda actor, x: torch.cat(actor(x), dim=-1),
                reduction="min",
                target_critics=[qf1_target, qf2_target],
                entropy=alpha,
                obs_size=env.observation_space.shape[0],
                algorithm="SAC",
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
                action = actor.get_action(torch.as_tensor(obs)[None])[0][0].numpy()
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
            next_actions, next_log_pi = actor.get_action(b_next_obs)
            next_q = torch.min(qf1_target(b_next_obs, next_actions), qf2_target(b_next_obs, next_actions))
            target = b_rewards + (1 - b_dones) * args.gamma * (next_q - alpha * next_log_pi)
        qf_loss = F.mse_loss(qf1(b_obs, b_actions), target) + F.mse_loss(qf2(b_obs, b_actions), target)
        q_optimizer.zero_grad()
        qf_loss.backward()
        q_optimizer.step()

        if global_step % args.policy_frequency == 0:
            for _ in range(args.policy_frequency):
                pi, log_pi = actor.get_action(b_obs)
                actor_loss = (alpha * log_pi - torch.min(qf1(b_obs, pi), qf2(b_obs, pi))).mean()
                actor_optimizer.zero_grad()
                actor_loss.backward()
                actor_optimizer.step()

                with torch.no_grad():
                    _, log_pi = actor.get_action(b_obs)
                alpha_loss = (-log_alpha.exp() * (log_pi + target_entropy)).mean()
                a_optimizer.zero_grad()
                alpha_loss.backward()
                a_optimizer.step()
                alpha = log_alpha.exp().item()
        for online, slow in ((qf1, qf1_target), (qf2, qf2_target)):
            for parameter, slow_parameter in zip(online.parameters(), slow.parameters(), strict=True):
                slow_parameter.data.lerp_(parameter.data, args.tau)

    if args.gradlab:
        monitor.close()
    if args.save:
        networks = (actor.state_dict(), qf1.state_dict(), qf2.state_dict())
        torch.save((*networks, {"log_alpha": log_alpha.detach()}), args.save)
    return SimpleNamespace(**locals())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Args):
        kind = {"action": argparse.BooleanOptionalAction} if field.default is True else {"type": type(field.default)}
        parser.add_argument(f"--{field.name.replace('_', '-')}", default=field.default, **kind)
    train(Args(**vars(parser.parse_args())))
