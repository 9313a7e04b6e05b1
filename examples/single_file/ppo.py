"""PPO (Schulman et al. 2017) in one file, in CleanRL's style, with gradlab attached by its generic door.

    python examples/single_file/ppo.py [--env-id Pendulum-v1] [--total-timesteps 96000] [--no-gradlab]

The lines between the `gradlab` marks are all that measuring needs; `--no-gradlab` leaves them out, and the run is the
same run bit for bit. `gradlab dashboard gradlab.db` shows what is measured while it trains.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass, fields
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal

import gradlab
import probes
from gradlab.rollout import Rollout


@dataclass
class Args:
    """The run's settings; each is a flag of the command line."""

    env_id: str = "Pendulum-v1"
    seed: int = 1
    total_timesteps: int = 96_000
    learning_rate: float = 3e-3
    hidden: int = 64
    num_envs: int = 8
    num_steps: int = 200
    gamma: float = 0.9
    gae_lambda: float = 0.95
    num_minibatches: int = 25
    update_epochs: int = 10
    clip_coef: float = 0.2
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    gradlab: bool = True
    store: str = "gradlab.db"
    save: str = ""


def make_env(args: Args) -> gym.Env:
    """The task with clipped actions and normalised observations and rewards."""
    env = gym.make(args.env_id)
    env = gym.wrappers.RecordEpisodeStatistics(env)
    env = gym.wrappers.ClipAction(env)
    env = gym.wrappers.NormalizeObservation(env)
    env = gym.wrappers.TransformObservation(env, lambda obs: np.clip(obs, -10, 10), env.observation_space)
    env = gym.wrappers.NormalizeReward(env, gamma=args.gamma)
    return gym.wrappers.TransformReward(env, lambda reward: np.clip(reward, -10, 10))


def layer_init(layer: nn.Linear, std: float = 2**0.5) -> nn.Linear:
    """Orthogonal weights, no bias."""
    nn.init.orthogonal_(layer.weight, std)
    nn.init.zeros_(layer.bias)
    return layer


class Agent(nn.Module):
    """A Gaussian around a mean that depends on the state, with a σ that does not, and V."""

    def __init__(self, envs: gym.vector.VectorEnv, hidden: int) -> None:
        super().__init__()
        (n,), (p,) = envs.single_observation_space.shape, envs.single_action_space.shape
        self.critic = nn.Sequential(
            layer_init(nn.Linear(n, hidden)),
            nn.Tanh(),
            layer_init(nn.Linear(hidden, hidden)),
            nn.Tanh(),
            layer_init(nn.Linear(hidden, 1), std=1.0),
        )
        self.actor_mean = nn.Sequential(
            layer_init(nn.Linear(n, hidden)),
            nn.Tanh(),
            layer_init(nn.Linear(hidden, hidden)),
            nn.Tanh(),
            layer_init(nn.Linear(hidden, p), std=0.01),
        )
        self.actor_logstd = nn.Parameter(torch.zeros(1, p))

    def get_value(self, x: Tensor) -> Tensor:
        """V(s), [B]."""
        return self.critic(x).flatten()

    def get_action_and_value(self, x: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """An action [B, p] (drawn where none is given), its log-density [B], and V(s) [B]."""
        mean = self.actor_mean(x)
        probs = Normal(mean, self.actor_logstd.expand_as(mean).exp())
        action = probs.sample() if action is None else action
        return action, probs.log_prob(action).sum(1), self.get_value(x)


def train(args: Args) -> SimpleNamespace:
    """Train, and return everything the run is made of."""
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    same_step = gym.vector.AutoresetMode.SAME_STEP
    envs = gym.vector.SyncVectorEnv([lambda: make_env(args)] * args.num_envs, autoreset_mode=same_step)
    model = Agent(envs, args.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate, eps=1e-5)
    (n,), (p,) = envs.single_observation_space.shape, envs.single_action_space.shape
    rollout = (args.num_steps, args.num_envs)
    obs, actions = torch.zeros(*rollout, n), torch.zeros(*rollout, p)
    logprobs, rewards, terminated, ended, values, next_values = (torch.zeros(rollout) for _ in range(6))
    batch_size = args.num_steps * args.num_envs
    global_step = 0
    returns: list[float] = []

    # gradlab: what there is to measure ------------------------------------------------------------------------------
    if args.gradlab:
        space = gym.make(args.env_id).action_space
        agent = gradlab.Agent(
            model,
            [],
            action_low=space.low,
            action_high=space.high,
            discount=args.gamma,
            policy=gradlab.policies.Gaussian(),
            head=lambda model, x: torch.cat([model.actor_mean(x), model.actor_logstd.expand(len(x), -1)], dim=-1),
            value=model.get_value,
            obs_size=n,
            algorithm="PPO",
            library="CleanRL",
        )
        monitor = probes.attach(agent, args.store, environment=args.env_id)
    # gradlab ------------------------------------------------------------------------------------------------------

    next_obs = torch.as_tensor(envs.reset(seed=args.seed)[0], dtype=torch.float32)
    for iteration in range(args.total_timesteps // batch_size):
        optimizer.param_groups[0]["lr"] = args.learning_rate * (1 - iteration * batch_size / args.total_timesteps)
        for step in range(args.num_steps):
            global_step += args.num_envs
            obs[step] = next_obs
            with torch.no_grad():
                actions[step], logprobs[step], values[step] = model.get_action_and_value(next_obs)
            found, reward, terminations, truncations, infos = envs.step(actions[step].numpy())
            next_obs = torch.as_tensor(found, dtype=torch.float32)
            rewards[step] = torch.as_tensor(reward)
            terminated[step] = torch.as_tensor(terminations)
            ended[step] = torch.as_tensor(terminations | truncations)
            # A time limit is no end of the task: V of the state it cut the episode at stands for what would follow.
            last = next_obs.clone()
            for index in np.flatnonzero(terminations | truncations):
                last[index] = torch.as_tensor(infos["final_obs"][index], dtype=torch.float32)
                returns.append(float(infos["final_info"]["episode"]["r"][index]))
                print(f"global_step={global_step}, episodic_return={returns[-1]:.1f}")
            with torch.no_grad():
                next_values[step] = model.get_value(last)

        advantages, following = torch.zeros(rollout), torch.zeros(args.num_envs)
        for t in reversed(range(args.num_steps)):
            delta = rewards[t] + args.gamma * next_values[t] * (1 - terminated[t]) - values[t]
            advantages[t] = following = delta + args.gamma * args.gae_lambda * (1 - ended[t]) * following

        # From here on the steps of an environment are together, one environment after the other.
        b_obs, b_actions = obs.transpose(0, 1).reshape(-1, n), actions.transpose(0, 1).reshape(-1, p)
        b_logprobs, b_values, b_advantages, b_returns = (
            part.T.flatten() for part in (logprobs, values, advantages, advantages + values)
        )

        # gradlab: the rollout that is about to be trained on ----------------------------------------------------------
        if args.gradlab:
            starts = torch.cat([torch.ones(1, args.num_envs), ended[:-1]])
            weighed = (b_advantages - b_advantages.mean()) / (b_advantages.std() + 1e-8)
            trajectory = starts.T.flatten().cumsum(0).long() - 1
            notes = ("advantages are normalised over the rollout; training does so within each minibatch",)
            monitor.step(
                global_step, rollout=Rollout(b_obs, b_actions, weighed, b_returns, b_values, trajectory, notes)
            )
        # gradlab ------------------------------------------------------------------------------------------------------

        for _ in range(args.update_epochs):
            order = np.random.permutation(batch_size)
            for rows in np.array_split(order, args.num_minibatches):
                _, new_logprob, new_value = model.get_action_and_value(b_obs[rows], b_actions[rows])
                ratio = (new_logprob - b_logprobs[rows]).exp()
                weight = b_advantages[rows]
                weight = (weight - weight.mean()) / (weight.std() + 1e-8)
                clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
                pg_loss = -torch.min(weight * ratio, weight * clipped).mean()
                v_loss = 0.5 * (new_value - b_returns[rows]).square().mean()
                optimizer.zero_grad()
                (pg_loss + args.vf_coef * v_loss).backward()
                nn.utils.clip_grad_norm_(model.parameters(), args.max_grad_norm)
                optimizer.step()

    if args.gradlab:
        monitor.close()
    if args.save:
        torch.save(model.state_dict(), args.save)
    return SimpleNamespace(**locals())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Args):
        kind = {"action": argparse.BooleanOptionalAction} if field.default is True else {"type": type(field.default)}
        parser.add_argument(f"--{field.name.replace('_', '-')}", default=field.default, **kind)
    train(Args(**vars(parser.parse_args())))
