"""States of a task that can be returned to exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.arguments import shown
from gradlab.errors import GradlabError, first_line


@dataclass(frozen=True)
class States:
    """B states of one environment, each with all that is needed to go on from it exactly.

    They can be pickled and used in another process. Rollouts start from copies and never change a snapshot.

    Attributes:
        obs: observations [B, n], float64 on the CPU, as the environment gave them.
        snapshots: B snapshots, opaque; ``Simulator`` makes and restores them.
        episode: [B] int64, which episode a state was visited in; states of one episode are not independent.
        step: [B] int64, actions taken in that episode before the state was reached.
        environment: name of the environment they belong to.
        origin: digest of the environment they were visited in (``simulation.origin``), by which a simulator of
            another one of the same name refuses them; empty for states made by hand, of which only the name counts.

    Example:
        >>> states = States(torch.zeros(3, 2), ("a", "b", "c"), torch.tensor([0, 0, 1]), torch.tensor([4, 9, 2]), "X")
        >>> len(states), states[1:].snapshots, states[torch.tensor([True, False, True])].episode
        (3, ('b', 'c'), tensor([0, 1]))
    """

    obs: Tensor
    snapshots: tuple[Any, ...]
    episode: Tensor
    step: Tensor
    environment: str = ""
    origin: str = ""

    def __post_init__(self) -> None:
        sizes = {len(self.obs), len(self.snapshots), len(self.episode), len(self.step)}
        if len(sizes) != 1:
            raise GradlabError(
                f"states: obs, snapshots, episode and step must have one entry a state; they have {sorted(sizes)}"
            )

    def __len__(self) -> int:
        return len(self.snapshots)

    def __getitem__(self, index: slice | Tensor | list[int]) -> States:
        """Some of the states: a slice, a list of positions, or a tensor of positions or of booleans.

        Raises:
            GradlabError: a position is beyond the last state, or it is none of these.
        """
        try:
            at = torch.arange(len(self))[index]
        except (IndexError, TypeError, ValueError) as error:
            raise GradlabError(
                f"states: there is no selecting {shown(index)} of {len(self)} ({first_line(error)}); give positions "
                f"from 0 to {len(self) - 1}, or one boolean for each"
            ) from error
        if at.ndim == 0:
            at = at[None]
        snapshots = tuple(self.snapshots[i] for i in at.tolist())
        return States(self.obs[at], snapshots, self.episode[at], self.step[at], self.environment, self.origin)
