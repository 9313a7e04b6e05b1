"""Making a reference's rollouts, block by block, within what may be spent."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from gradlab.references.rollouts.allocation import Allocation, Sampled, widest
from gradlab.references.rollouts.course import Course
from gradlab.references.rollouts.log import RolloutLog
from gradlab.references.rollouts.records import Block, Outcome, RolloutRecords
from gradlab.references.rollouts.schemes import Assessment, Scheme
from gradlab.references.rollouts.spending import Listener, Progress, Spending
from gradlab.simulation.chain import Chain
from gradlab.simulation.gate import NO_PLATEAU

#: Environment steps that the chain rule is worked out over at a time, about.
_CHAIN_STEPS = 200_000


class RolloutRun:
    """Rolls out what an allocation asks for until it asks for no more or nothing more can be paid for.

    What comes next depends on what there is alone, so that a run that was interrupted goes on as if it had not been.

    Args:
        course: what is the same for every rollout.
        scheme: from returns to gradients.
        allocation: which rollouts come next.
        spending: what they may cost.
        log: where finished blocks are kept, and taken from.
        listener: is told after every block.
        second_way: whether the chain rule is worked out too, at every state that is open without it, and at those
            without a plateau: it can tell why there is none.
    """

    def __init__(
        self,
        course: Course,
        scheme: Scheme,
        allocation: Allocation,
        spending: Spending,
        *,
        log: RolloutLog | None = None,
        listener: Listener | None = None,
        second_way: bool = False,
    ) -> None:
        self._course = course
        self._scheme = scheme
        self._allocation = allocation
        self._spending = spending
        self._log = log
        self._listener = listener
        self.second_way = second_way
        self.records = RolloutRecords()
        self.chains: dict[int, Chain] = {}
        self.chain_steps = 0
        self.seconds = 0.0
        self.out_of_rollouts = False
        self._blocks = 0
        self._fraction = 0.0
        self._sampled: dict[int, tuple[tuple[int, ...], bool, Sampled]] = {}
        self._piloted: dict[int, tuple[bool, Sampled]] = {}
        self._pilots_now: dict[int, Sampled] = {}
        self._unexplained: set[int] = set()

    @property
    def stochastic(self) -> bool:
        """Whether there is more than one noise a state to roll out."""
        return self._course.stochastic

    def go(self) -> None:
        """Take what the log has, make the rest, and keep it there."""
        for kept in self._log.blocks() if self._log is not None else ():
            self._take(kept)
        while True:
            if (positions := self._to_chain()) is not None:
                # Already paid for: without it the rollouts at these states would be for nothing.
                self._make_chain(positions)
            else:
                block = self._next_block()
                if block is None or not self._may_roll_out(block):
                    break
                self._roll_out(block)
            self._tell()
        self._tell(finished=True)

    def assess(self, positions: list[int], noises: tuple[int, ...] | None = None) -> Assessment:
        """What is known of states that have the same noises, by all of them or by these alone."""
        chained = [self.chains[position] for position in positions if position in self.chains]
        chain = _joined(chained) if chained and len(chained) == len(positions) else None
        return self._scheme.assess(positions, self.records.gathered(positions, noises), chain)

    def alike(self) -> list[list[int]]:
        """The states that have their first noises, in groups that can be assessed together."""
        done = [p for p in self._allocation.positions if self._allocation.done(self.records, p)]
        return [
            [p for p in group if (p in self.chains) == chained]
            for group in self.records.alike(done)
            for chained in (True, False)
            if any((p in self.chains) == chained for p in group)
        ]

    # What comes next ---------------------------------------------------------------------------------------

    def _next_block(self) -> Block | None:
        block = self._allocation.first(self.records, self._blocks)
        if block is not None or not self._allocation.adaptive:
            return block
        return self._allocation.further(self._pilots(), self.records, self._blocks)

    def _pilots(self) -> dict[int, Sampled]:
        """The draws of every state's pilot: what came after it has no say in how much more comes."""
        noises, positions = tuple(range(self._allocation.noises)), self._allocation.positions
        for chained in (True, False):
            some = [p for p in positions if (p in self.chains) == chained]
            stale = [p for p in some if p not in self._piloted or self._piloted[p][0] != chained]
            if not stale:
                continue
            found = self.assess(stale, noises)
            for i, p in enumerate(stale):
                self._piloted[p] = (chained, Sampled(found.draws[:, i], noises, not found.reasons[i]))
            self._pilots_now = {p: self._piloted[p][1] for p in positions if p in self._piloted}
        return self._pilots_now

    def _to_chain(self) -> Tensor | None:
        if not self.second_way:
            return None
        unchained = [p for p, state in self._sample().items() if self._wants_chain(p, state)]
        if not unchained:
            return None
        return torch.tensor(unchained[: max(16, _CHAIN_STEPS // (self._course.horizon * self._chain_width))])

    def _wants_chain(self, position: int, state: Sampled) -> bool:
        return position not in self.chains and (state.open or position in self._unexplained)

    def _sample(self) -> dict[int, Sampled]:
        """The draws at every state that has its first noises; worked out anew only where there are new ones."""
        stale = [
            p
            for p in self._allocation.positions
            if self._allocation.done(self.records, p)
            and (p not in self._sampled or self._sampled[p][:2] != (self.records.indices(p), p in self.chains))
        ]
        for group in self.records.alike(stale):
            for chained in (True, False):
                some = [p for p in group if (p in self.chains) == chained]
                if not some:
                    continue
                found, indices = self.assess(some), self.records.indices(some[0])
                for i, p in enumerate(some):
                    self._sampled[p] = (indices, chained, Sampled(found.draws[:, i], indices, not found.reasons[i]))
                    (self._unexplained.add if found.reasons[i] == NO_PLATEAU else self._unexplained.discard)(p)
        return {p: self._sampled[p][2] for p in self._allocation.positions if p in self._sampled}

    def _may_roll_out(self, block: Block) -> bool:
        # The first block is always made: without any there is nothing to tell, not even a price.
        if not self.records.rollouts:
            return True
        amount = len(block) * self._scheme.width
        self.out_of_rollouts = self._spending.exhausted(self.records.rollouts + amount)
        fresh = {p for p in block.positions.tolist() if not self.records.count(p)} if self.second_way else ()
        return not self.out_of_rollouts and self._spending.affords({"rollouts": amount, "chain": len(fresh)})

    # Doing it ----------------------------------------------------------------------------------------------

    def _roll_out(self, block: Block) -> None:
        begun = self._spending.now()
        outcome = self._course.outcome(self._scheme, block)
        spent = self._spending.now() - begun
        self._spending.book("rollouts", outcome.values.numel(), spent)
        self._keep(
            kind=0,
            seconds=spent,
            positions=block.positions,
            indices=block.indices,
            **{part.name: getattr(outcome, part.name) for part in fields(Outcome)},
        )
        self._add(block, outcome, spent)

    def _add(self, block: Block, outcome: Outcome, seconds: float) -> None:
        self.records.add(block, outcome)
        self.seconds += seconds
        self._blocks += 1

    def _make_chain(self, positions: Tensor) -> None:
        begun = self._spending.now()
        chain = self._course.chain(positions)
        spent = self._spending.now() - begun
        self._spending.book("chain", len(positions), spent)
        self._keep(
            kind=1,
            seconds=spent,
            positions=positions,
            **{part.name: getattr(chain, part.name) for part in fields(Chain)},
        )
        self._add_chain(positions, chain, spent)

    def _add_chain(self, positions: Tensor, chain: Chain, seconds: float) -> None:
        for column, position in enumerate(positions.tolist()):
            self.chains[position] = _columns(chain, slice(column, column + 1))
        self.chain_steps += chain.steps
        self.seconds += seconds

    # Keeping it --------------------------------------------------------------------------------------------

    def _keep(self, **parts: Any) -> None:
        if self._log is not None:
            self._log.append({name: torch.as_tensor(part).numpy() for name, part in parts.items()})

    def _take(self, kept: dict[str, Any]) -> None:
        parts = {name: torch.from_numpy(array) for name, array in kept.items() if array.ndim}
        seconds = float(kept["seconds"])
        if int(kept["kind"]) == 0:
            block = Block(parts.pop("positions"), parts.pop("indices"))
            self._add(block, Outcome(**parts), seconds)
        else:
            positions = parts.pop("positions")
            self._add_chain(positions, Chain(**parts, steps=int(kept["steps"])), seconds)

    # Telling -----------------------------------------------------------------------------------------------

    def _tell(self, *, finished: bool = False) -> None:
        if self._listener is None:
            return
        states = self._sample()
        self._fraction = 1.0 if finished else max(self._fraction, self._share(states))
        open_states = [state for state in states.values() if state.open]
        wide = math.nan
        if open_states:
            pairs = [self._allocation.combined(s.draws[:, None], s.indices) for s in open_states]
            wide = widest(torch.cat([mean for mean, _ in pairs]), torch.cat([stderr for _, stderr in pairs]))
        self._listener(
            Progress(
                fraction=self._fraction,
                states=len(self._allocation.positions),
                states_begun=sum(self.records.count(p) > 0 for p in self._allocation.positions),
                rollouts=self.records.rollouts,
                steps=self.records.steps + self.chain_steps,
                seconds=self._spending.seconds,
                widest=wide,
            )
        )

    @property
    def _chain_width(self) -> int:
        """The chain rule's price at a state, in rollouts."""
        return 1 + 6 * self._course.simulator.action_size

    def _share(self, states: dict[int, Sampled]) -> float:
        """Share of the work that is done; the chain rule's is counted in states."""
        width = self._chain_width if self.second_way else 0
        total: float = max(self._allocation.first_rollouts, self.records.rollouts) + width * len(
            self._allocation.positions
        )
        checked = sum(not self._wants_chain(p, state) for p, state in states.items())
        done = self.records.rollouts + width * checked
        if self._allocation.adaptive and self._allocation.first(self.records, self._blocks) is None:
            total += self._allocation.missing(self._pilots(), self.records)
        # Something is left to do until the last report says that nothing is.
        return min(max(done / total, self._spending.share(self.records.rollouts)), 0.999)


def _columns(chain: Chain, at: slice) -> Chain:
    parts = {part.name: getattr(chain, part.name)[:, at] for part in fields(Chain) if part.name != "steps"}
    return Chain(**parts, steps=0)


def _joined(chains: list[Chain]) -> Chain:
    names = [part.name for part in fields(Chain) if part.name != "steps"]
    return Chain(**{name: torch.cat([getattr(c, name) for c in chains], 1) for name in names}, steps=0)
