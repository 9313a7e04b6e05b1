"""Whole episodes of an agent, with the same random numbers for every agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.agent import Agent
from gradlab.simulation.acting import Actor, Stream, missing, stream
from gradlab.simulation.lanes.base import Actions, Bools, Lanes
from gradlab.simulation.workers import go_on
from gradlab.trajectories import Trajectories


@dataclass(frozen=True)
class Recorded:
    """Episodes of one chunk, their steps one after the other.

    Attributes:
        rows: obs, act, reward, next_obs, terminated and, where the policy drew, noise of each step.
        lengths: steps of each episode; 0 where the simulation was not finite and it is left out.
    """

    rows: tuple[NDArray[Any], ...]
    lengths: NDArray[np.int64]


@torch.no_grad()
def record(
    lanes: Lanes,
    pilot: Agent,
    take: Callable[[Tensor], Actions],
    seed: int,
    at: slice,
    *,
    stochastic: bool,
    steps: int,
) -> Recorded:
    """The episodes numbered ``at``, from their own resets to their ends or to ``steps``."""
    numbers = range(at.start, at.stop)
    obs = lanes.reset([int(stream(seed, Stream.RESET, i).generate_state(1)[0]) for i in numbers])
    actor = Actor(pilot, seed, numbers, stochastic=stochastic)
    sound: Bools = np.asarray(np.isfinite(obs).all(-1))
    running = sound.copy()
    ran, steps_seen = list[Bools](), list[tuple[NDArray[Any], ...]]()
    for step in range(steps):
        if not running.any():
            break
        go_on()
        act, noise = actor(np.where(running[:, None], obs, 0.0), step)
        before, lost = obs, missing(act, running)
        # An episode without an action is left out; the environment is not asked what it makes of that.
        sound, running = sound & ~lost, running & ~lost
        if not running.any():
            break
        obs, reward, terminated = lanes.step(take(act), running)
        drawn = () if noise is None else (noise.cpu().numpy(),)
        ran.append(running)
        steps_seen.append((before, act.cpu().numpy(), reward, obs, terminated, *drawn))
        sound &= ~running | (np.isfinite(obs).all(-1) & np.isfinite(reward))
        running = running & ~terminated & sound
    sound &= ~lanes.unstable()
    if not sound.any():
        return Recorded((), np.zeros(len(sound), dtype=np.int64))
    kept = np.stack(ran, 1) & sound[:, None]
    # [episodes, steps, ...] before the mask, so that each episode's steps follow one another.
    rows = tuple(np.stack(parts, 1)[kept] for parts in zip(*steps_seen, strict=True))
    return Recorded(rows, kept.sum(1))


def joined(parts: Sequence[Recorded], discount: float) -> tuple[Trajectories | None, tuple[int, ...]]:
    """All episodes whose simulation was finite, and the numbers of those that are left out."""
    lengths = np.concatenate([part.lengths for part in parts])
    left_out = tuple(np.flatnonzero(lengths == 0).tolist())
    columns = zip(*(part.rows for part in parts if part.rows), strict=True)
    rows = [torch.from_numpy(np.concatenate(column)) for column in columns]
    if not rows:
        return None, left_out
    counts = torch.from_numpy(lengths[lengths > 0])
    trajectory = torch.arange(len(counts)).repeat_interleave(counts)
    obs, act, reward, next_obs, terminated, *noise = rows
    return Trajectories(obs, act, reward, next_obs, terminated, trajectory, discount, *noise), left_out
