"""What one probe did in a run: how often, at what cost, and what went wrong."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from dashboards.entries import Entries, Entry
from gradlab.store import MeasurementInfo
from gradlab.store.records import Where

#: Failures that are kept with their messages, the newest.
_FAILURES = 5
#: Different reasons that are told apart; one that holds numbers may be a new one each time.
_REASONS = 50
_OTHER = "other reasons"


class Failure(NamedTuple):
    """A measurement that raised: its id in the store, its step and the error in one line."""

    id: int
    step: int
    message: str


@dataclass(slots=True)
class ProbeSummary:
    """What a probe did in a run: how often, at what cost, and what last went wrong.

    Attributes:
        ok: measurements made.
        skipped: left out, for the budget or because they were not possible.
        failed: that raised.
        cost: seconds, all together.
        where: ``inline`` or ``background``.
        last: id of the last measurement.
        skip: step and reason of the last measurement that was skipped.
        failure: step and message of the last one that failed.
        note: the last measurement's notes that said something.
        absent: step and reason of every measurement that was tried and gave no number.
        entries: what each measurement cost, skipped ones included.
        reasons: why measurements were skipped → how many were.
        failures: the newest of those that failed, oldest first.
    """

    ok: int = 0
    skipped: int = 0
    failed: int = 0
    cost: float = 0.0
    where: Where = "inline"
    last: int = 0
    skip: tuple[int, str] | None = None
    failure: tuple[int, str] | None = None
    note: str = ""
    absent: list[tuple[int, str]] = field(default_factory=list)
    # All of a summary that is printed is compared at every look at the store; these grow with the run.
    entries: Entries = field(default_factory=Entries, repr=False)
    reasons: Counter[str] = field(default_factory=Counter, repr=False)
    failures: list[Failure] = field(default_factory=list, repr=False)

    @property
    def missing(self) -> list[tuple[int, str]]:
        """Step and reason of what a figure has to show as absent.

        Where there is nothing to draw, what was left out for the budget or a busy process is the reason as well.
        """
        return list(self.absent) or ([self.skip] if self.skip and not self.ok else [])

    def count(self, info: MeasurementInfo) -> None:
        """Adds one measurement."""
        # Of a damaged record nothing is counted: it is tried again at every look.
        cost = float(info.cost)
        self.entries.append(Entry(info.time, info.step, cost, info.where))
        self.cost += cost
        self.where = info.where
        self.last = info.id
        if info.status == "ok":
            self.ok += 1
        elif info.status == "skipped":
            self.skipped += 1
            self.skip = (info.step, info.message)
            known = info.message in self.reasons or len(self.reasons) < _REASONS
            self.reasons[info.message if known else _OTHER] += 1
        else:
            self.failed += 1
            self.failure = (info.step, info.message)
            self.failures = [*self.failures[1 - _FAILURES :], Failure(info.id, info.step, info.message)]
        # What was left out for the budget or a busy process took no time; a closed gate is known only afterwards.
        if info.status != "ok" and info.cost > 0:
            insort(self.absent, (info.step, info.message.removeprefix("GradlabError: ")), key=lambda one: one[0])
        self.note = "; ".join(info.notes) or self.note
