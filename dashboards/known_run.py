"""What the dashboard knows of one run: its numbers over training, and what each probe did."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from dashboards.growing import Growing
from dashboards.series import Key, Series, collect
from dashboards.summary import ProbeSummary
from gradlab.store import MeasurementInfo, ScalarTable

#: Probes whose arrays hold a row for each state.
TABLES = ("returns", "smoothness")
#: What is said of a probe that measured arrays which are not in the store any more.
PRUNED = "what was measured has been pruned from this store"


@dataclass(slots=True)
class RunRecords:
    """What is known of one run."""

    series: dict[Key, Series] = field(default_factory=dict)
    growing: dict[Key, Growing] = field(default_factory=dict)
    probes: dict[str, ProbeSummary] = field(default_factory=dict)
    #: (step, id) of every picture of the field, by step.
    fields: list[tuple[int, int]] = field(default_factory=list)
    #: (step, id) of every measurement of the probes whose arrays are drawn beside the field's, by probe and step.
    tables: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    last_time: float = 0.0
    #: Ids of the last measurement that is counted, and of the last whose scalars are known.
    counted: int = 0
    measured: int = 0
    #: Whether it was read from its beginning.
    complete: bool = False

    def count(self, info: MeasurementInfo) -> None:
        """Adds one measurement without its numbers."""
        self.probes.setdefault(info.probe, ProbeSummary()).count(info)
        # Of what was pruned there is nothing to draw.
        if info.probe == "field" and info.arrays:
            insort(self.fields, (info.step, info.id))
        if info.probe in TABLES and info.arrays:
            insort(self.tables.setdefault(info.probe, []), (info.step, info.id))
        self.last_time = max(self.last_time, info.time)
        self.counted = info.id

    def pruned(self, probe: str) -> bool:
        """Whether a probe whose arrays are drawn has measured, and nothing that it measured is left to draw."""
        held = self.fields if probe == "field" else self.tables.get(probe)
        return not held and probe in self.probes and self.probes[probe].ok > 0

    def add(self, table: ScalarTable) -> None:
        """Adds scalars of this run."""
        if not len(table):
            return
        for key, fresh in collect(table).items():
            if key in self.growing:
                self.series[key] = self.growing[key].extended(fresh)
            else:
                self.series[key], self.growing[key] = fresh, Growing(fresh)
        self.measured = int(table.id.max())
