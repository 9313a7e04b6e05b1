"""What measuring cost a run, beside what it was planned to cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.entries import Columns
from dashboards.own import planned as planned_probes
from dashboards.summary import Failure, ProbeSummary
from gradlab.store import RunInfo
from gradlab.store.records import Where

#: Points of a line over time.
_POINTS = 240


@dataclass(frozen=True, slots=True)
class ProbeCost:
    """What one probe cost in one of the two processes.

    Attributes:
        name: the probe.
        where: ``inline``, where training waits for it, or ``background``.
        spent: share of the run's wall time that its measurements took.
        planned: the share they would have taken had none been left out: mean cost × times due / wall time; NaN while
            none has been measured.
        price: mean seconds of a measurement; NaN while none has been measured.
        due: how many times it was due.
        ok: measurements made.
        skipped: left out.
        failed: that raised.
        reasons: why measurements were skipped, and how many; most frequent first.
        failures: the newest that failed, oldest first.
    """

    name: str
    where: Where
    spent: float
    planned: float
    price: float
    due: int
    ok: int = 0
    skipped: int = 0
    failed: int = 0
    reasons: tuple[tuple[str, int], ...] = ()
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class OverTime:
    """Seconds taken so far in one process, from the beginning of the run to now.

    Attributes:
        seconds: since the run began, [n].
        spent: probe → seconds that its measurements have taken, [n].
        planned: seconds that all of them together would have taken had none been left out, [n].
    """

    seconds: NDArray[np.float64]
    spent: Mapping[str, NDArray[np.float64]]
    planned: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """What measuring cost a run.

    Attributes:
        elapsed: the run's wall time in seconds.
        budget: share of it that the training process may spend; None where there is no limit.
        probes: every probe, by name.
        over_time: process → what was spent in it over time; without a process that did nothing.
        left_out: probes that were refused → why.
    """

    elapsed: float = 0.0
    budget: float | None = None
    probes: tuple[ProbeCost, ...] = ()
    over_time: Mapping[Where, OverTime] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def spent(self, where: Where) -> float:
        """Share of wall time spent in one process."""
        return sum(probe.spent for probe in self.probes if probe.where == where)


def costs(run: RunInfo, summaries: Mapping[str, ProbeSummary]) -> Costs:
    """What a run's probes cost.

    A measurement's cost is what the probe itself took. The budget also counts the copy of the agent it measured and
    the writing of its numbers, of which the store knows nothing.

    Args:
        run: the run, with the configuration that ``probes.attach`` gave it.
        summaries: what each probe did.

    Example:
        >>> from dashboards.entries import Entries, Entry
        >>> run = RunInfo(1, "r", "TD3", "E", "sb3", 0, {"budget": 0.1}, 0.0, 100.0, 999, "running", "")
        >>> entries = Entries([Entry(t, 500, 2.0, "inline") for t in (50.0, 90.0)])
        >>> summary = ProbeSummary(ok=2, cost=4.0, entries=entries)
        >>> found = costs(run, {"mine": summary})
        >>> found.budget, found.spent("inline"), found.probes[0].price
        (0.1, 0.04, 2.0)
    """
    config = planned_probes(run.config)
    times = [float(time.max()) for one in summaries.values() if len(time := one.entries.columns().time)]
    elapsed = max([run.last_seen, *times]) - run.started
    counted = {name: _Counted(name, summaries.get(name, ProbeSummary()), config) for name in {*config, *summaries}}
    probes = [
        one.cost(where, elapsed, run.step) for _, one in sorted(counted.items()) for where in one.places
    ]  # fmt: skip
    budget, left_out = run.config.get("budget"), run.config.get("left_out")
    return Costs(
        elapsed=elapsed,
        budget=float(budget) if isinstance(budget, int | float) else None,
        probes=tuple(probes),
        over_time={
            where: line
            for where in ("inline", "background")
            if (line := _over_time(run, counted, where, elapsed)) is not None
        },
        left_out={str(name): str(why) for name, why in left_out.items()} if isinstance(left_out, Mapping) else {},
    )  # fmt: skip


class _Counted:
    """A probe's measurements and how often it was due."""

    def __init__(self, name: str, summary: ProbeSummary, config: Mapping[str, Mapping[str, Any]]) -> None:
        self.name = name
        self.summary = summary
        self._every = config.get(name, {}).get("every")
        # A probe may move from the background to the training process.
        self.places: list[Where] = summary.entries.places() or ["inline"]
        self._entries = {where: summary.entries.of(where) for where in self.places}
        self._steps = np.sort(np.concatenate([one.step for one in self._entries.values()]))

    def entries(self, where: Where) -> Columns:
        return self._entries.get(where) or Columns(*(np.zeros(0, kind) for kind in ("f8", "i8", "f8")))

    def price(self, where: Where) -> float:
        cost = self.entries(where).cost
        paid = cost[cost > 0]
        return float(paid.mean()) if len(paid) else math.nan

    def due(self, step: NDArray[np.int64]) -> NDArray[np.int64]:
        """How often it had been due at each of these steps: by its schedule, else as often as it was recorded.

        A loop that looks at its probes only now and then, as at the end of a rollout, cannot be asked more often.
        """
        if isinstance(self._every, int) and self._every > 0:
            gaps = np.diff(self._steps)
            gaps = gaps[gaps > 0]
            stride = max(self._every, int(gaps.min()) if len(gaps) else 0)
            # A schedule begins at step 0; a loop that looks less often, when it first looks.
            begins = stride == self._every or int(self._steps[0]) < stride
            return step // stride + int(begins)
        if isinstance(self._every, list) and all(isinstance(one, int) for one in self._every):
            return np.searchsorted(np.sort(self._every), step, side="right")
        return np.searchsorted(self._steps, step, side="right")

    def cost(self, where: Where, elapsed: float, step: int) -> ProbeCost:
        price = self.price(where)
        last = max(step, int(self._steps[-1]) if len(self._steps) else 0)
        due = int(self.due(np.array([last]))[0])
        here = where == self.places[-1]
        one = self.summary
        return ProbeCost(
            name=self.name,
            where=where,
            spent=float(self.entries(where).cost.sum()) / elapsed if elapsed > 0 else 0.0,
            planned=price * due / elapsed if elapsed > 0 else math.nan,
            price=price,
            due=due,
            # Of a probe that moved, the counts are said once, where it is now.
            ok=one.ok if here else 0,
            skipped=one.skipped if here else 0,
            failed=one.failed if here else 0,
            reasons=tuple(one.reasons.most_common()) if here else (),
            failures=tuple(one.failures) if here else (),
        )


def _over_time(run: RunInfo, counted: Mapping[str, _Counted], where: Where, elapsed: float) -> OverTime | None:
    here = {name: one for name, one in sorted(counted.items()) if (one.entries(where).cost > 0).any()}
    if not here:
        return None
    times, taken = (np.concatenate([one.entries(where)[column] for one in here.values()]) for column in (0, 1))
    order = np.lexsort((taken, times))
    chosen = order[np.unique(np.linspace(0, len(order) - 1, _POINTS).round().astype(np.int64))]
    moments = np.append(times[chosen], run.started + elapsed)
    steps = np.maximum.accumulate(np.append(taken[chosen], max(run.step, int(taken[chosen].max()))))
    spent, planned = {}, np.zeros(len(moments))
    for name, one in here.items():
        time, _, cost = one.entries(where)
        by_time = np.argsort(time, kind="stable")
        total = _from_zero(np.cumsum(cost[by_time]))
        spent[name] = _from_zero(total[np.searchsorted(time[by_time], moments, side="right")])
        planned += one.price(where) * one.due(steps)
    return OverTime(seconds=_from_zero(moments - run.started), spent=spent, planned=_from_zero(planned))


def _from_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], values])
