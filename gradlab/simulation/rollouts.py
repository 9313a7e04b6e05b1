"""Closed-loop returns from exact states, a chunk of lanes at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, real_tensor, whole_number
from gradlab.errors import GradlabError
from gradlab.simulation.acting import marked, missing
from gradlab.simulation.lanes.base import Actions, Bools, Floats, Lanes
from gradlab.simulation.pilot import receiver
from gradlab.simulation.regimes import Itineraries
from gradlab.simulation.states import States
from gradlab.simulation.workers import go_on

_Part = tuple[Floats, NDArray[np.int64], Bools, Floats, NDArray[np.int64], Bools]


@dataclass(frozen=True)
class Rollouts:
    """What closed-loop rollouts gave; every tensor is [..., B] like the first actions they began with.

    Attributes:
        value: discounted return, float64; NaN where the simulation was not finite or diverged.
        length: number of rewards received, at most the horizon.
        terminated: whether the environment ended the episode within the horizon.
        last_obs: [..., B, n] float64, the observation after the last reward received, to bootstrap from; NaN where
            the value is.
        regimes: int64, a number for the pieces of a reward that jumps (a bonus for health) in their order on the way;
            see ``simulation.regimes``. Zero where the environment tells of none.
        actionless: whether the actor gave an action that is not finite. It is not taken, and the value is NaN.
    """

    value: Tensor
    length: Tensor
    terminated: Tensor
    last_obs: Tensor
    regimes: Tensor
    actionless: Tensor


class Course:
    """One set of rollouts, to be rolled out chunk by chunk; lanes of one state lie side by side.

    Args:
        pilot: the agent in float64.
        states: B states to begin from.
        first: first actions [..., B, p] in the critic's coordinates.
        horizon: most rewards.
        noise: the policy's noise [..., H, B, p], broadcast against ``first``; not looked at if it is deterministic.
        entropy: coefficient of the entropy bonus.
        limit: steps after which an episode is over, counted from its own start; None: it is not.

    Raises:
        GradlabError: there is no reward to come, or actions or noise have another shape.
    """

    def __init__(
        self,
        pilot: Agent,
        states: States,
        first: Tensor,
        *,
        horizon: int,
        noise: Tensor | None,
        entropy: float,
        limit: int | None,
    ) -> None:
        horizon = whole_number("horizon", horizon, 1, "a return has at least one reward")
        entropy, first = real_number("entropy", entropy), real_tensor("first_actions", first)
        shape = (len(states), pilot.action_size)
        if tuple(first.shape[-2:]) != shape:
            raise GradlabError(f"first_actions: shape {tuple(first.shape)}; expected [..., {shape[0]}, {shape[1]}]")
        self._states = states
        self._lead = first.shape[:-2]
        self._each = self._lead.numel()
        first = first.detach().to(dtype=pilot.dtype, device=pilot.device)
        # Side by side, so that a chunk copies as few different snapshots as it can.
        self._first = first.movedim(-2, 0).reshape(-1, shape[1])
        self._noise = _wide(noise, self._lead, horizon, shape) if pilot.policy.stochastic else None
        self._horizon = horizon
        self._entropy = entropy
        self._limit = limit

    @property
    def lanes(self) -> int:
        """How many there are in all."""
        return len(self._states) * self._each

    @torch.no_grad()
    def roll_out(self, lanes: Lanes, pilot: Agent, take: Callable[[Tensor], Actions], at: slice) -> _Part:
        """One chunk: value, length, termination [chunk], last observation [chunk, n], regimes, no action [chunk]."""
        states, horizon = self._states, self._horizon
        rows = np.arange(at.start, at.stop)
        owner = rows // self._each
        noise = self._noise_of(rows, owner)
        lanes.load([states.snapshots[i] for i in owner.tolist()])
        value, length = np.zeros(len(owner)), np.zeros(len(owner), dtype=np.int64)
        ended, running = np.zeros(len(owner), dtype=bool), np.ones(len(owner), dtype=bool)
        last: Floats = states.obs.numpy()[owner]
        begun = states.step.numpy()[owner]
        remaining: Any = horizon if self._limit is None else np.minimum(horizon, self._limit - begun)
        see, act, weight = receiver(pilot), self._first[at], 1.0
        regimes, actionless = Itineraries(len(owner)), np.zeros(len(owner), dtype=bool)
        for t in range(horizon):
            running &= t < remaining
            actionless |= missing(act, running)
            running &= ~actionless
            if not running.any():
                break
            go_on()
            obs, reward, terminated = lanes.step(take(act), running)
            regimes.follow(lanes.regimes(), running)
            np.copyto(last, obs, where=running[:, None])
            value += weight * reward
            length += running
            ended |= terminated
            broken = running & ~(np.isfinite(obs).all(-1) & np.isfinite(reward))
            value[broken] = np.nan
            running &= ~(terminated | broken)
            weight *= pilot.discount
            if t + 1 == horizon:
                break
            # Every lane keeps its row, so that what the policy does in one does not hang on which others have ended.
            head = pilot.head(see(np.where(running[:, None], obs, 0.0)))
            if noise is None:
                act = marked(pilot.policy.mode(head), head)
                continue
            act, log_prob = pilot.policy.sample(head, noise[t + 1].to(head))
            act = marked(act, head)
            if self._entropy:
                alive = running & (t + 1 < remaining)
                value -= weight * self._entropy * np.where(alive, log_prob.cpu().numpy(), 0.0)
        value[lanes.unstable() | actionless] = np.nan
        last[np.isnan(value)] = np.nan
        return value, length, ended, last, regimes.numbers, actionless

    def _noise_of(self, rows: NDArray[np.int64], owner: NDArray[np.int64]) -> Tensor | None:
        """The chunk's noise [H, chunk, p]."""
        if self._noise is None:
            return None
        lead = np.unravel_index(rows % self._each, self._lead) if self._lead else ()
        return self._noise.movedim(-3, -1)[(*(torch.from_numpy(i) for i in lead), torch.from_numpy(owner))].movedim(
            -1, 0
        )

    def joined(self, parts: Sequence[_Part]) -> Rollouts:
        """All chunks, shaped like the first actions."""
        found = [torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)]
        last, shape = found.pop(3), (len(self._states), *self._lead)
        value, length, ended, regimes, actionless = (part.reshape(shape).movedim(0, -1) for part in found)
        last = last.reshape(*shape, last.shape[-1]).movedim(0, -2)
        return Rollouts(value, length, ended, last, regimes, actionless)


def _wide(noise: Tensor | None, lead: torch.Size, horizon: int, shape: tuple[int, int]) -> Tensor:
    """The noise as [..., H, B, p], with the leading dimensions of the first actions."""
    if noise is None:
        raise GradlabError("noise: a stochastic policy needs it, [..., horizon, states, actions]")
    noise = real_tensor("noise", noise)
    expected = (*lead, horizon, *shape)
    try:
        return noise[..., :horizon, :, :].expand(expected)
    except (RuntimeError, IndexError) as error:
        raise GradlabError(f"noise: shape {tuple(noise.shape)} does not broadcast to {expected}") from error
