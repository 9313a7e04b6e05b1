"""Which rollouts to make next: every state a pilot and a few noises, then more where the pilot was widest.

A sample size that depends on the sample biases both its mean and its standard error: one stops where the noise seems
small, and goes on where the gradient seems small. So a pilot decides, and is no part of the estimate: the two stages
of C. Stein (A two-sample test for a linear hypothesis whose power is independent of the variance, 1945), with the
pilot's draws left out of the mean too. How many noises a state has, and in which order states get them, follows from
the pilots, the target and the limits; given that, they are a plain sample: the mean is unbiased, the standard error's
square is, and Student's t is as good as for as many noises that were decided on beforehand. That costs the pilot.

(Where instead every half of a state's noises was sized by its other half's draws, the two sizes tied the halves
together: with skewed draws means were off by up to 4 % and intervals of 95 % held 76 % of the truths; where one draw
in twenty is far off, 36 %.)

Two things decide besides: a limit of time stops by the clock, so where episodes end early it is reached later; and who
asks for more having seen an outcome lets it decide the size.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.references.rollouts.records import Block, RolloutRecords

#: Rollouts of the first block; each further one may have twice as many, so that a price is known early ...
_FIRST = 128
#: ... until a block simulates about so many environment steps: seconds of work, not minutes.
_STEPS = 200_000
#: A gradient counts as no smaller than this part of the root mean square over states: where there is next to none,
#: its relative interval would take all there is ...
_FLOOR = 0.1
#: ... nor than this part of its pilot's own standard error: a pilot does not tell smaller ones apart.
_UNRESOLVED = 0.5
#: At one turn a state gets at least so many noises, and a quarter of what it has.
_LEAST = 2


@dataclass(frozen=True)
class Sampled:
    """The draws at one state.

    Attributes:
        draws: [seeds, m].
        indices: numbers of their noises.
        open: whether the state's gate is.
    """

    draws: Tensor
    indices: tuple[int, ...]
    open: bool


def over_seeds(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the leading dimension and its standard error; zero where there is one draw, of a policy without noise.

    Example:
        >>> over_seeds(torch.tensor([1.0, 3.0]))
        (tensor(2.), tensor(1.))
    """
    mean = draws.mean(0)
    if len(draws) == 1:
        return mean, torch.zeros_like(mean)
    return mean, draws.std(0) / len(draws) ** 0.5


class Allocation:
    """Which pairs of a state and a noise come next: a function of what has been rolled out, and of nothing else.

    Args:
        positions: the states wanted, in their order.
        noises: how many noises each has; with a target, in its pilot, and again at least so many to average over.
        width: rollouts a pair costs.
        horizon: most steps of a rollout.
        target: relative standard error to aim at, by which a state's noises are numbered; 0 for as many as
            can be paid for, None to stay at ``noises``.
    """

    def __init__(
        self, positions: Sequence[int], noises: int, *, width: int, horizon: int, target: float | None
    ) -> None:
        self.positions = list(positions)
        self.noises = noises
        self._width = width
        self._horizon = horizon
        self._target = target
        self._plan: tuple[Mapping[int, Sampled], dict[int, tuple[float, float]]] | None = None

    @property
    def adaptive(self) -> bool:
        """Whether states may get more noises than they begin with."""
        return self._target is not None

    @property
    def least(self) -> int:
        """Noises without which a state is not begun upon: the pilot's, where there is one, and the first to average."""
        return 2 * self.noises if self.adaptive else self.noises

    @property
    def first_rollouts(self) -> int:
        """Rollouts that these take at all states together."""
        return len(self.positions) * self.least * self._width

    def averaged(self, count: int) -> int:
        """How many of so many noises at a state are averaged over: all but the pilot's."""
        return max(count - self.noises, 0) if self.adaptive else count

    def combined(self, draws: Tensor, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Mean and standard error of draws [seeds, ...] with these numbers, the pilot's left out.

        Example:
            >>> allocation = Allocation([0], 2, width=1, horizon=1, target=0.1)
            >>> allocation.combined(torch.tensor([70.0, -50.0, 1.0, 3.0]), [0, 1, 2, 3])
            (tensor(2.), tensor(1.))
        """
        if self.adaptive:
            draws = draws[[i for i, index in enumerate(indices) if index >= self.noises]]
        return over_seeds(draws)

    def done(self, records: RolloutRecords, position: int) -> bool:
        """Whether a state has its first noises."""
        return records.count(position) >= self.least

    def first(self, records: RolloutRecords, blocks: int) -> Block | None:
        """The next block of first noises, after so many blocks; None when every state has them."""
        room = self._room(blocks)
        # Whole states where they fit: should the time run out, a state begun is not worth more than one that is not.
        room = room - room % self.least if room > self.least else room
        pairs: list[tuple[int, int]] = []
        for position in self.positions:
            if not self.done(records, position):
                pairs += [(position, k) for k in range(self.least) if not records.has(position, k)]
            if len(pairs) >= room:
                break
        return Block.of(pairs[:room]) if pairs else None

    def further(self, pilots: Mapping[int, Sampled], records: RolloutRecords, blocks: int) -> Block | None:
        """The next block of further noises, after so many blocks; None when none needs more.

        Args:
            pilots: the draws of every state's pilot, and of no noise after it.
            records: what has been rolled out; every state has its first noises.
            blocks: how many there were.
        """
        planned = self._planned(pilots)
        counts = {position: self.averaged(records.count(position)) for position in planned}
        queue = [
            (-width / math.sqrt(counts[position]), position)
            for position, (width, enough) in planned.items()
            if counts[position] < enough
        ]
        heapq.heapify(queue)
        pairs: list[tuple[int, int]] = []
        room = self._room(blocks)
        while queue and len(pairs) < room:
            _, position = heapq.heappop(queue)
            (width, enough), n = planned[position], counts[position]
            more = int(min(max(_LEAST, n // 4), max(room - len(pairs), _LEAST), enough - n))
            pairs += [(position, self.noises + i) for i in range(n, n + more)]
            counts[position] += more
            if counts[position] < enough:
                heapq.heappush(queue, (-width / math.sqrt(n + more), position))
        return Block.of(sorted(pairs)) if pairs else None

    def missing(self, pilots: Mapping[int, Sampled], records: RolloutRecords) -> float:
        """How many more rollouts the target takes; 0 without one, infinite where it is zero."""
        if self._target is None:
            return 0.0
        missing = 0.0
        for position, (_, enough) in self._planned(pilots).items():
            missing += max(enough - self.averaged(records.count(position)), 0) * self._width
        return missing

    def _room(self, blocks: int) -> int:
        """Pairs in a block."""
        rollouts = min(_FIRST << min(blocks, 30), max(_FIRST, _STEPS // self._horizon))
        return max(1, rollouts // self._width)

    def _planned(self, pilots: Mapping[int, Sampled]) -> dict[int, tuple[float, float]]:
        """For each open state, by its pilot: one noise's relative standard error, and how many noises to average."""
        if self._plan is not None and self._plan[0] is pilots:
            return self._plan[1]
        of = {position: state.draws for position, state in pilots.items() if state.open}
        variances = {position: float(draws.var(0).sum()) for position, draws in of.items()}
        # A mean's squared length holds its noise's too.
        squares = {
            position: max(float(draws.mean(0).square().sum()) - variances[position] / len(draws), 0.0)
            for position, draws in of.items()
        }
        floor = _FLOOR**2 * sum(squares.values()) / max(len(squares), 1)
        found: dict[int, tuple[float, float]] = {}
        for position, draws in of.items():
            square = max(squares[position], floor, _UNRESOLVED**2 * variances[position] / len(draws))
            width = math.sqrt(variances[position] / square) if square > 0 else 0.0
            enough: float
            if self._target:
                enough = max(math.ceil((width / self._target) ** 2), self.noises)
            else:
                # Draws without noise need no more.
                enough = math.inf if width > 0 else self.noises
            found[position] = (width, enough)
        self._plan = pilots, found
        return found


def widest(means: Tensor, stderrs: Tensor) -> float:
    """The largest relative standard error over states [B, m], as it is allocated by; NaN where there is none."""
    if not len(means):
        return math.nan
    lengths = means.norm(dim=-1)
    floor = _FLOOR * float(lengths.square().mean().sqrt())
    return float((stderrs.norm(dim=-1) / lengths.clamp_min(max(floor, 1e-300))).max())
