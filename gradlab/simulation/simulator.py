"""Closed-loop rollouts of an agent's policy from exact states, in batch."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.simulation.actions import count_actions, to_env
from gradlab.simulation.environments import make
from gradlab.simulation.exactness import open_lanes
from gradlab.simulation.lanes import Actions, Bools, Floats
from gradlab.simulation.pilot import make_pilot
from gradlab.simulation.states import States


@dataclass(frozen=True)
class Rollouts:
    """What closed-loop rollouts gave; every tensor is [..., B] like the first actions they began with.

    Attributes:
        value: discounted return, float64; NaN where the simulation was not finite or diverged.
        length: number of rewards received, at most the horizon.
        terminated: whether the environment ended the episode within the horizon.
        last_obs: [..., B, n] float64, the observation after the last reward received, to bootstrap from; NaN where
            the value is.
    """

    value: Tensor
    length: Tensor
    terminated: Tensor
    last_obs: Tensor


class Simulator:
    """One environment of our own, whose exact states can be captured, restored and rolled out in batch.

    gymnasium's MuJoCo tasks are restored by a full copy of the engine's data. Any other environment is restored
    by a deep copy of its Python attributes, which is slow, and exact only where that is all the state it has. An
    environment whose restored copy does not repeat the original bit for bit is refused when it is opened.

    Actions are clipped to the environment's box before they are taken, as the libraries do, and stay float64
    (a library's float32 actions would turn the return into a staircase that cannot be differenced). Discrete
    actions are one-hot vectors [..., B, p], as a softmax policy gives them.

    Args:
        environment: a gymnasium identifier, or a function without arguments that makes an environment (only one
            without wrappers that change the task).
        lanes: most states stepped together; more take memory, fewer take time.

    Attributes:
        name: name of the environment.
        obs_size: length n of an observation.
        action_size: number p of action coordinates; of discrete actions, how many there are.
        time_limit: steps after which the environment's own time limit cuts an episode, or None.
        double: whether observations are float64; a rounded one makes the closed-loop return a staircase.
        random: whether a step draws random numbers, so that a state and an action do not decide what follows.

    Raises:
        GradlabError: no such environment, something it needs is not installed, a wrapper changes the task, it
            does not have vectors for observations and actions, or its state cannot be restored exactly.

    Example:
        >>> from torch import nn
        >>> from gradlab.agent import Agent
        >>> actor = nn.Sequential(nn.Linear(10, 2), nn.Tanh())
        >>> agent = Agent(actor, [], action_low=[-1, -1], action_high=[1, 1])
        >>> simulator = Simulator("Reacher-v5")
        >>> states = simulator.visit(agent, 4, seed=1, episodes=2)
        >>> actions = agent.action(states.obs.float()).detach()
        >>> simulator.returns(agent, states, actions, horizon=10).shape
        torch.Size([4])
    """

    def __init__(self, environment: str | Callable[[], Any], *, lanes: int = 128) -> None:
        if lanes < 1:
            raise GradlabError(f"lanes: {lanes}; at least one state must be stepped at a time")
        self.name, self._env, self.time_limit = make(environment)
        self.lanes = lanes
        self._lanes, self.random = open_lanes(self.name, self._env)
        self.obs_size = int(self._env.observation_space.shape[0])
        self.action_size = count_actions(self._env.action_space)
        self.double = np.dtype(self._env.observation_space.dtype) == np.float64

    # The agent it is asked about ---------------------------------------------------------------------------

    def pilot(self, agent: Agent) -> Agent:
        """A float64 copy of the agent as it acts: evaluation mode, checked to fit this environment.

        Raises:
            GradlabError: observations, actions or the action box do not fit, or only one of the two is discrete.
        """
        return make_pilot(self.name, self._env, agent)

    def _to_env(self, agent: Agent, act: Tensor) -> Actions:
        return to_env(self._env.action_space, agent, act)

    # Visiting ----------------------------------------------------------------------------------------------

    def visit(
        self,
        agent: Agent,
        count: int,
        *,
        seed: int = 0,
        stochastic: bool = True,
        exploration: float = 0.0,
        episodes: int = 8,
        max_steps: int = 1000,
    ) -> States:
        """States the agent visits on its own, in whole episodes from seeded resets.

        The states are a uniform sample, without replacement, of all steps of these episodes: the undiscounted
        on-policy distribution. For the discounted one weigh them by ``agent.discount ** states.step``.

        Args:
            agent: the agent; a copy in float64 acts.
            count: number B of states.
            seed: of resets, policy noise and the choice of states; the same seed gives the same states.
            stochastic: whether a stochastic policy acts by its draws (on policy) or by its mode.
            exploration: standard deviation of normal noise added to each action, in the critic's coordinates,
                clipped to the box (how DDPG and TD3 explore); not for discrete actions.
            episodes: episodes run side by side; as many again while they have fewer than ``count`` steps.
            max_steps: where an episode is cut if the environment has no time limit.

        Raises:
            GradlabError: the agent does not fit the environment, or a number is out of range.
        """
        if count < 1 or episodes < 1 or max_steps < 1 or exploration < 0:
            raise GradlabError("visit: count, episodes and max_steps must be at least 1 and exploration at least 0")
        pilot = self.pilot(agent)
        if exploration and not pilot.policy.continuous:
            raise GradlabError(
                "visit: exploration is noise added to an action, which discrete ones do not take; leave it 0"
            )
        generator = torch.Generator().manual_seed(seed)
        keys = np.random.default_rng([seed, 1])
        kept: list[tuple[float, int, int, Any, Floats]] = []
        visited = begun = 0
        while visited < count:
            seeds = np.random.SeedSequence([seed, begun]).generate_state(episodes).tolist()
            obs = self._lanes.reset(seeds)
            running: Bools = np.asarray(np.isfinite(obs).all(-1))
            for step in range(self.time_limit or max_steps):
                for lane in np.flatnonzero(running).tolist():
                    visited += 1
                    # A uniform sample of unknown many: those with the largest of independent uniform keys.
                    key = float(keys.random())
                    if len(kept) == count and key <= kept[0][0]:
                        continue
                    entry = (key, begun + lane, step, self._lanes.capture(lane), obs[lane].copy())
                    (heapq.heappushpop if len(kept) == count else heapq.heappush)(kept, entry)
                act = self._act(pilot, obs, stochastic, exploration, generator)
                obs, _, terminated = self._lanes.step(act, running)
                running &= ~terminated & np.isfinite(obs).all(-1) & ~self._lanes.unstable()
                if not running.any():
                    break
            begun += episodes
            if visited == 0:
                raise GradlabError(f"environment {self.name}: every reset gave observations that are not finite")
        kept.sort(key=lambda entry: entry[1:3])
        return States(
            torch.from_numpy(np.stack([entry[4] for entry in kept])),
            tuple(entry[3] for entry in kept),
            torch.tensor([entry[1] for entry in kept]),
            torch.tensor([entry[2] for entry in kept]),
            self.name,
        )

    @torch.no_grad()
    def _act(
        self, pilot: Agent, obs: Floats, stochastic: bool, exploration: float, generator: torch.Generator
    ) -> Actions:
        head = pilot.head(_tensor(pilot, obs))
        act = pilot.policy.mode(head)
        if stochastic and pilot.policy.stochastic:
            act, _ = pilot.policy.sample(head, pilot.policy.noise(tuple(act.shape), generator, act))
        if exploration:
            noise = torch.randn(act.shape, generator=generator, dtype=act.dtype).to(act.device)
            act = torch.clamp(act + exploration * noise, pilot.action_low, pilot.action_high)
        return self._to_env(pilot, act)

    # Rolling out -------------------------------------------------------------------------------------------

    def returns(self, agent: Agent, states: States, first_actions: Tensor, **options: Any) -> Tensor:
        """The discounted returns [..., B] of ``rollouts``, whose options it takes."""
        return self.rollouts(agent, states, first_actions, **options).value

    @torch.no_grad()
    def rollouts(
        self,
        agent: Agent,
        states: States,
        first_actions: Tensor,
        *,
        horizon: int,
        noise: Tensor | None = None,
        entropy: float = 0.0,
        respect_time_limit: bool = False,
    ) -> Rollouts:
        """Take the given action first, then follow the policy: Σ_{t<H} γ^t r_t − α Σ_{1≤t<H} γ^t log π(a_t|s_t).

        That is Q^π(s, a) over H rewards, γ being the agent's discount (the soft Q of SAC where α is not zero:
        the first action's own log-probability is not part of it). Nothing is earned after a termination. The
        environment's time limit cuts nothing unless asked to: training treats it as truncation, not as an end.

        Args:
            agent: the agent; a copy in float64 acts.
            states: B states to begin from; their snapshots stay as they are.
            first_actions: actions [..., B, p] in the critic's coordinates.
            horizon: number H of rewards.
            noise: the policy's noise ε [..., H, B, p], broadcast against ``first_actions``; entry t is used for
                the action at step t ≥ 1. Needed by a stochastic policy, ignored by a deterministic one.
            entropy: coefficient α.
            respect_time_limit: whether rewards after the time limit, counted from the episode's own start, are lost.

        Raises:
            GradlabError: the agent or the states do not fit the environment, or noise is missing.
        """
        pilot = self.pilot(agent)
        stochastic = pilot.policy.stochastic
        if horizon < 1:
            raise GradlabError(f"horizon: {horizon}; a return has at least one reward")
        if states.environment != self.name:
            raise GradlabError(f"states: of environment {states.environment!r}, but this simulator is of {self.name!r}")
        if stochastic and noise is None:
            raise GradlabError("noise: a stochastic policy needs it, [..., horizon, states, actions]")
        lead, count, size = first_actions.shape[:-2], len(states), self.action_size
        if first_actions.shape[-2:] != (count, size):
            raise GradlabError(f"first_actions: shape {tuple(first_actions.shape)}; expected [..., {count}, {size}]")
        # Lanes of one state lie side by side, so that a chunk copies as few different snapshots as it can.
        first = _by_state(first_actions.to(dtype=pilot.dtype, device=pilot.device), lead)
        owner = np.repeat(np.arange(count), len(first) // count)

        def epsilon(t: int, chunk: slice) -> Tensor | None:
            return _by_state(noise[..., t, :, :], lead)[chunk] if noise is not None and stochastic else None

        limit = self.time_limit if respect_time_limit else None
        chunks = [slice(begin, begin + self.lanes) for begin in range(0, len(first), self.lanes)]
        results = [
            self._chunk(pilot, states, owner[at], first[at], horizon, partial(epsilon, chunk=at), entropy, limit)
            for at in chunks
        ]
        value, length, terminated, obs = (torch.from_numpy(np.concatenate(part)) for part in zip(*results, strict=True))
        value, length, terminated = (part.reshape(count, *lead).movedim(0, -1) for part in (value, length, terminated))
        return Rollouts(value, length, terminated, obs.reshape(count, *lead, self.obs_size).movedim(0, -2))

    def _chunk(
        self,
        pilot: Agent,
        states: States,
        owner: Any,
        first: Tensor,
        horizon: int,
        noise: Callable[[int], Tensor | None],
        entropy: float,
        limit: int | None,
    ) -> tuple[Floats, Any, Bools, Floats]:
        self._lanes.load([states.snapshots[i] for i in owner.tolist()])
        value, length = np.zeros(len(owner)), np.zeros(len(owner), dtype=np.int64)
        ended, running = np.zeros(len(owner), dtype=bool), np.ones(len(owner), dtype=bool)
        last = states.obs.numpy()[owner]
        remaining = horizon if limit is None else np.minimum(horizon, limit - states.step.numpy()[owner])
        act, weight = first, 1.0
        for t in range(horizon):
            running &= t < remaining
            if not running.any():
                break
            obs, reward, terminated = self._lanes.step(self._to_env(pilot, act), running)
            last[running] = obs[running]
            value += weight * reward
            length += running
            ended |= terminated
            broken = running & ~(np.isfinite(obs).all(-1) & np.isfinite(reward))
            value[broken] = np.nan
            running &= ~terminated & ~broken
            weight *= pilot.discount
            if t + 1 == horizon:
                break
            head = pilot.head(_tensor(pilot, np.where(running[:, None], obs, 0.0)))
            epsilon = noise(t + 1)
            if epsilon is None:
                act = pilot.policy.mode(head)
                continue
            act, log_prob = pilot.policy.sample(head, epsilon.to(head))
            if entropy:
                alive = running & (t + 1 < remaining)
                value -= weight * entropy * np.where(alive, log_prob.cpu().numpy(), 0.0)
        value[self._lanes.unstable()] = np.nan
        last[np.isnan(value)] = np.nan
        return value, length, ended, last


def _tensor(pilot: Agent, obs: Floats) -> Tensor:
    return torch.from_numpy(obs).to(dtype=pilot.dtype, device=pilot.device)


def _by_state(values: Tensor, lead: torch.Size) -> Tensor:
    """[..., B, p], broadcast to leading dimensions ``lead`` → [B · lanes, p], the lanes of a state together."""
    wide = values.expand(*lead, *values.shape[-2:]).reshape(-1, *values.shape[-2:])
    return wide.transpose(0, 1).reshape(-1, values.shape[-1])
