"""A uniform sample of the states an agent visits on its own."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.simulation.acting import Actor, Stream, check_actions, stream
from gradlab.simulation.lanes.base import Actions, Bools, Floats, Lanes
from gradlab.simulation.states import States
from gradlab.simulation.workers import go_on


@dataclass(frozen=True, order=True)
class Candidate:
    """A state that was visited, ordered by its random key."""

    key: float
    episode: int
    step: int
    snapshot: Any = field(compare=False)
    obs: Floats = field(compare=False)


@dataclass(frozen=True)
class Round:
    """Episodes side by side.

    Attributes:
        first: number of the first of them.
        seeds: of their resets.
        count: how many states are wanted of all episodes together.
        seed: of everything else.
        stochastic: whether a stochastic policy draws.
        exploration: standard deviation of noise added to actions.
        steps: where an episode is cut.
    """

    first: int
    seeds: Sequence[int]
    count: int
    seed: int
    stochastic: bool
    exploration: float
    steps: int

    @torch.no_grad()
    def visit(
        self, lanes: Lanes, pilot: Agent, take: Callable[[Tensor], Actions], at: slice
    ) -> tuple[int, list[Candidate]]:
        """Run some of the episodes: how many states they visited, and those with the ``count`` largest keys."""
        numbers = range(self.first + at.start, self.first + at.stop)
        obs = lanes.reset(self.seeds[at])
        actor = Actor(
            pilot,
            self.seed,
            numbers,
            stochastic=self.stochastic,
            exploration=self.exploration,
            policy=Stream.VISIT,
        )
        keys = [np.random.default_rng(stream(self.seed, Stream.CHOICE, number)) for number in numbers]
        running: Bools = np.asarray(np.isfinite(obs).all(-1))
        visited, kept = 0, list[Candidate]()
        for step in range(self.steps):
            if not running.any():
                break
            go_on()
            for lane in np.flatnonzero(running).tolist():
                visited += 1
                # A uniform sample of unknown many: those with the largest of independent uniform keys.
                key = float(keys[lane].random())
                if len(kept) == self.count and key <= kept[0].key:
                    continue
                found = Candidate(key, numbers[lane], step, lanes.capture(lane), obs[lane].copy())
                (heapq.heappushpop if len(kept) == self.count else heapq.heappush)(kept, found)
            act, _ = actor(np.where(running[:, None], obs, 0.0), step)
            check_actions(act, running)
            obs, _, terminated = lanes.step(take(act), running)
            running = running & ~terminated & np.isfinite(obs).all(-1) & ~lanes.unstable()
        return visited, kept


def sample(
    run: Callable[[Round], list[tuple[int, list[Candidate]]]],
    count: int,
    seed: int,
    episodes: int,
    *,
    stochastic: bool,
    exploration: float,
    steps: int,
) -> list[Candidate]:
    """``count`` of the states visited in as many rounds of episodes as it takes; none where no reset is sound.

    Args:
        run: visits the states of a round, in parts.
        count: how many states are wanted.
        seed: of everything random.
        episodes: episodes of a round.
        stochastic: whether a stochastic policy draws.
        exploration: standard deviation of noise added to actions.
        steps: where an episode is cut.
    """
    kept: list[Candidate] = []
    visited = begun = 0
    while visited < count:
        seeds = np.random.SeedSequence([seed, begun]).generate_state(episodes).tolist()
        parts = run(Round(begun, seeds, count, seed, stochastic, exploration, steps))
        visited += sum(number for number, _ in parts)
        if visited == 0:
            return []
        kept = heapq.nlargest(count, (*kept, *(found for _, some in parts for found in some)))
        begun += episodes
    return kept


def assemble(kept: Sequence[Candidate], environment: str, origin: str) -> States:
    """The states of the candidates, by episode and step."""
    kept = sorted(kept, key=lambda found: (found.episode, found.step))
    return States(
        torch.from_numpy(np.stack([found.obs for found in kept])),
        tuple(found.snapshot for found in kept),
        torch.tensor([found.episode for found in kept]),
        torch.tensor([found.step for found in kept]),
        environment,
        origin,
    )
