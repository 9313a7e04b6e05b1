"""What stands out in how a run was measured: probes that failed, gave no number or have not had their turn."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dashboards.finding import Facts, Finding
from dashboards.said import percent, times


def failed(facts: Facts) -> Iterator[Finding]:
    """Probes that raised."""
    for name, probe in sorted(facts.probes.items()):
        if probe.failed and probe.failure is not None:
            step, message = probe.failure
            yield Finding(
                "bad",
                f"The probe {name} failed {'twice' if probe.failed == 2 else times(probe.failed)}.",
                f"The last time at step {step:,}: {message}",
                "The traceback is under what measuring costs; training goes on without the probe.",
                "run",
                "cost",
            )


def absent(facts: Facts) -> Iterator[Finding]:
    """Probes whose measurements were tried and gave no number."""
    for name, probe in sorted(facts.probes.items()):
        # What raised has been told of.
        gates = len(probe.absent) - probe.failed
        if gates > 0:
            step, message = probe.absent[-1]
            tried = probe.ok + len(probe.absent)
            yield Finding(
                "doubtful",
                f"{gates} of {tried} measurements of the probe {name} gave no number.",
                f"The last that gave none at step {step:,}: {message}",
                page="run",
                figure="cost",
            )


def waiting(facts: Facts) -> Iterator[Finding]:
    """Probes that were due and left out every time."""
    for name, probe in sorted(facts.probes.items()):
        if probe.ok == 0 and probe.skip is not None and probe.failure is None and not probe.absent:
            step, message = probe.skip
            yield Finding("doubtful", f"The probe {name} has not measured yet.", f"At step {step:,}: {message}")


def ended(facts: Facts) -> Iterator[Finding]:
    """A run that failed."""
    if facts.info is not None and facts.info.status == "failed":
        yield Finding("bad", "The run failed.", facts.info.message or "It gave no reason.")


def over_budget(facts: Facts) -> Iterator[Finding]:
    """A run that waited for its probes for longer than it may."""
    if facts.info is None:
        return
    budget = facts.info.config.get("budget")
    elapsed = facts.info.last_seen - facts.info.started
    inline = sum(probe.cost for probe in facts.probes.values() if probe.where == "inline")
    if isinstance(budget, int | float) and elapsed > 0 and inline / elapsed > budget and math.isfinite(budget):
        yield Finding(
            "doubtful",
            "Training waited longer for probes than the budget allows.",
            f"It waited {percent(inline / elapsed)} % of its time; the budget is {percent(budget)} %.",
            "The first measurement of each probe is made before its price is known; in a longer run its share is less.",
            "run",
            "cost",
        )
