"""What has been rolled out so far, by state and by noise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from gradlab.simulation.rollouts import Rollouts


@dataclass(frozen=True)
class Block:
    """Rollouts to be made together: each of T pairs of a state and a noise, from every head that is wanted.

    Attributes:
        positions: [T] int64, positions of the states.
        indices: [T] int64, numbers of the noises.
    """

    positions: Tensor
    indices: Tensor

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]]) -> Block:
        """From pairs (position, number of the noise)."""
        positions, indices = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
        return cls(positions.clone(), indices.clone())

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Outcome:
    """What rollouts from L heads gave; each tensor is [L, T] after a block, [seeds, L, B] when gathered.

    Attributes:
        values: F, float64.
        lengths: rewards received, int32.
        ends: whether the episode ended within the horizon, bool.
        regimes: the pieces of a reward that jumps, in their order on the way, as a number (``Rollouts``), int64.
        actionless: whether the actor gave an action that is not finite, bool.
    """

    values: Tensor
    lengths: Tensor
    ends: Tensor
    regimes: Tensor
    actionless: Tensor

    @classmethod
    def of(cls, rollouts: Rollouts, bonus: Tensor) -> Outcome:
        """Of rollouts [L, T], with what is added to their returns to make them F."""
        return cls(
            rollouts.value + bonus,
            rollouts.length.int(),
            rollouts.terminated,
            rollouts.regimes,
            rollouts.actionless,
        )

    @property
    def steps(self) -> int:
        """Environment steps simulated."""
        return int(self.lengths.sum())


class RolloutRecords:
    """Outcomes by state and noise.

    Example:
        >>> records = RolloutRecords()
        >>> block = Block.of([(0, 0), (0, 1), (3, 0)])
        >>> ones = torch.ones(5, 3)
        >>> records.add(block, Outcome(ones.double(), ones.int(), ones.bool(), ones.long(), ones.bool()))
        >>> records.count(0), records.rollouts, records.gathered([3]).values.shape
        (2, 15, torch.Size([1, 5, 1]))
    """

    def __init__(self) -> None:
        self._of: dict[int, dict[int, Outcome]] = defaultdict(dict)
        self.rollouts = 0
        self.steps = 0

    def add(self, block: Block, outcome: Outcome) -> None:
        """Keep what a block gave; of a pair that is there already nothing changes."""
        for column, (position, index) in enumerate(zip(block.positions.tolist(), block.indices.tolist(), strict=True)):
            if index not in self._of[position]:
                parts = {part.name: getattr(outcome, part.name)[:, column] for part in fields(Outcome)}
                self._of[position][index] = Outcome(**parts)
        self.rollouts += outcome.values.numel()
        self.steps += outcome.steps

    def count(self, position: int) -> int:
        """Noises rolled out at that state."""
        return len(self._of[position]) if position in self._of else 0

    def has(self, position: int, index: int) -> bool:
        """Whether that pair has been rolled out."""
        return position in self._of and index in self._of[position]

    def indices(self, position: int) -> tuple[int, ...]:
        """Numbers of its noises, rising."""
        return tuple(sorted(self._of[position])) if position in self._of else ()

    def alike(self, positions: Sequence[int]) -> Iterator[list[int]]:
        """The states among ``positions`` that were begun, in groups with the same noises."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for position in positions:
            if noises := self.indices(position):
                groups.setdefault(noises, []).append(position)
        yield from groups.values()

    def gathered(self, positions: Sequence[int], noises: Sequence[int] | None = None) -> Outcome:
        """Outcomes [seeds, L, B] of states that have the same noises, in the order of their numbers; or of some."""
        noises = self.indices(positions[0]) if noises is None else noises
        found = [[self._of[position][index] for position in positions] for index in noises]

        def joined(name: str) -> Tensor:
            return torch.stack([torch.stack([getattr(one, name) for one in row], -1) for row in found])

        return Outcome(**{part.name: joined(part.name) for part in fields(Outcome)})
