"""What an agent does in episodes of its own, each with its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import whole_number
from gradlab.errors import GradlabError
from gradlab.simulation.lanes.base import Bools, Floats
from gradlab.simulation.pilot import receiver

#: Steps whose noise is drawn at once; fixed, since other sizes would draw other numbers.
_STEPS = 256


#: Smallest chunk of episodes that pays a thread.
FEWEST = 4
#: Where an episode is cut if neither the environment nor the caller says.
_LONGEST = 1000


def episode_steps(time_limit: int | None, max_steps: int | None) -> int:
    """Where an episode is cut: by the environment's time limit or by ``max_steps``, whichever is sooner.

    Args:
        time_limit: the environment's, None if it has none.
        max_steps: the caller's; None to leave it to the environment, or 1000 where that has no limit.

    Raises:
        GradlabError: ``max_steps`` is no whole number from 1.
    """
    if max_steps is not None:
        max_steps = whole_number("max_steps", max_steps, 1, "an episode has at least one step")
    return min((limit for limit in (time_limit, max_steps) if limit is not None), default=_LONGEST)


class Stream(IntEnum):
    """Independent random numbers of one episode; visits have others than episodes that are recorded."""

    RESET = 1
    POLICY = 2
    VISIT = 3
    EXPLORATION = 4
    CHOICE = 5
    DISCOUNTED = 6


def stream(seed: int, kind: Stream, episode: int) -> np.random.SeedSequence:
    """Seeds that an episode's own number decides, however many others there are and whoever acts."""
    return np.random.SeedSequence([seed, episode, int(kind)])


class Actor:
    """Acts in episodes side by side; an episode's noise does not depend on its company, nor on the actor's weights.

    Args:
        pilot: the agent in float64.
        seed: of the noise.
        episodes: numbers of the episodes, a row each.
        stochastic: whether a stochastic policy acts by its draws or by its mode.
        exploration: standard deviation of normal noise added to the action, which is then clipped to the box.
        policy: which random numbers the policy draws with.
    """

    def __init__(
        self,
        pilot: Agent,
        seed: int,
        episodes: Sequence[int],
        *,
        stochastic: bool,
        exploration: float = 0.0,
        policy: Stream = Stream.POLICY,
    ) -> None:
        self._pilot = pilot
        self._see = receiver(pilot)
        self._policy = policy
        self._exploration = exploration
        self._draws = stochastic and pilot.policy.stochastic
        self._generators = {
            kind: [_generator(seed, kind, episode) for episode in episodes]
            for kind, wanted in ((policy, self._draws), (Stream.EXPLORATION, exploration > 0))
            if wanted
        }
        self._blocks: dict[Stream, Tensor] = {}

    def __call__(self, obs: Floats, step: int) -> tuple[Tensor, Tensor | None]:
        """Actions [R, p] in the critic's coordinates at observations [R, n], and the policy's noise behind them."""
        pilot, noise = self._pilot, None
        head = pilot.head(self._see(obs))
        if self._draws:
            noise = self._noise(self._policy, step)
            act, _ = pilot.policy.sample(head, noise)
        else:
            act = pilot.policy.mode(head)
        act = marked(act, head)
        if self._exploration:
            extra = self._exploration * self._noise(Stream.EXPLORATION, step)
            act = torch.clamp(act + extra, pilot.action_low, pilot.action_high)
        return act, noise

    def _noise(self, kind: Stream, step: int) -> Tensor:
        if step % _STEPS == 0:
            self._blocks[kind] = torch.stack([self._block(kind, own) for own in self._generators[kind]], 1)
        return self._blocks[kind][step % _STEPS]

    def _block(self, kind: Stream, generator: torch.Generator) -> Tensor:
        shape, like = (_STEPS, self._pilot.action_size), self._pilot.action_low
        if kind is self._policy:
            return self._pilot.policy.noise(shape, generator, like)
        return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)


def marked(act: Tensor, head: Tensor) -> Tensor:
    """Actions [N, p], not numbers where the policy gave none: where they or its head [N, m] are not finite.

    A head's −∞ is a choice that is never taken; one that is not a number may give an action that looks sound.
    """
    bad = ~torch.isfinite(act).all(-1) | torch.isnan(head).any(-1)
    return torch.where(bad[:, None], torch.nan, act)


def missing(act: Tensor, running: Bools) -> Bools:
    """Lanes [N] of those ``running`` for which there is no action [N, p]: it must not be put to the environment.

    MuJoCo takes a control of zero for one that is not a number, and the return would look sound.
    """
    return np.asarray(running & ~torch.isfinite(act).all(-1).cpu().numpy())


def check_actions(act: Tensor, running: Bools) -> None:
    """Nothing, if there is an action for every lane that is ``running`` [N].

    Raises:
        GradlabError: the actor gives none.
    """
    if (lost := missing(act, running)).any():
        raise GradlabError(
            f"actor: its output is not finite at {int(lost.sum())} of {int(running.sum())} states it came to in one "
            "step; look at its weights, and at how it normalises observations"
        )


def _generator(seed: int, kind: Stream, episode: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(stream(seed, kind, episode).generate_state(1, np.uint64)[0] >> 1))
