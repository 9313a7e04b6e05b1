"""The plan of an analysis and what came of it, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from gradlab.cli.tables import error_table, finding, headlines, results_of, scalar_table
from gradlab.store import RunInfo, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

    from gradlab.store import MeasurementInfo
    from probes.analysis import Plan, Summary

#: Checkpoints of a run that the table has at most; beyond, some evenly spread.
_ROWS = 24
#: What is said of one measurement is not said again of more checkpoints than these.
_SAID = 3


def show_plan(console: Console, plan: Plan, workers: int | None) -> int:
    """Print a plan; the exit code: 1 where something cannot be measured, 2 where nothing can."""
    from gradlab.simulation.workers import cores

    for line in plan.inventory.lines:
        console.print(line, markup=False, soft_wrap=True, style="yellow")
    over = ", ".join(f"{count} {ending}" for ending, count in plan.inventory.passed_over.items())
    if over:
        console.print(f"passed over: {over}", markup=False, soft_wrap=True)
    if not plan.runs:
        console.print("There are no checkpoints that can be measured.")
        return 2
    table = Table(title="plan", title_justify="left", box=box.SIMPLE_HEAD)
    for title in ("run", "algorithm", "environment"):
        table.add_column(title, overflow="fold")
    for title in ("seed", "files", "steps", "to measure", "known"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("store", no_wrap=True)
    for run in plan.runs:
        series = run.series
        steps = [one.step for one in series.checkpoints]
        table.add_row(
            series.title,
            series.algorithm,
            series.environment,
            "" if series.seed is None else str(series.seed),
            str(len(steps)),
            f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}",
            str(len(run.waiting)),
            str(len(run.known)),
            "new" if run.info is None else f"run {run.info.id}",
        )
    console.print(table)
    names = dict.fromkeys(probe.name for run in plan.runs for probe in run.probes)
    console.print(f"probes: {', '.join(names)}", markup=False, soft_wrap=True)
    count = workers or cores()
    console.print(
        f"{plan.total - plan.known} measurements to make; {estimate(plan, 1)}"
        + (f", {duration(plan.seconds / count)} on {count}" if count > 1 else ""),
        markup=False,
        soft_wrap=True,
    )
    return 1 if plan.inventory.refused else 0


def show_results(console: Console, store: str, summary: Summary) -> None:
    """Print what the store has of the runs: of one checkpoint everything, of more a row each."""
    with open_store(store, readonly=True) as opened:
        infos = [info for info in opened.runs() if info.id in summary.runs]
        steps = {info.id: _by_step(opened, info) for info in infos}
        if sum(map(len, steps.values())) == 1:
            ((run, at),) = ((info, at) for info in infos for at in steps[info.id].items())
            _show_one(console, opened, run, *at)
        else:
            for info in infos:
                console.print(_table(opened, info, steps[info.id]))
            for line in _unmeasured(steps):
                console.print(line, markup=False, soft_wrap=True)
    for line in summary.lacks:
        console.print(f"missing: {line}", markup=False, soft_wrap=True)
    counts = [f"{summary.measured} measured", f"{summary.known} known before"]
    counts += [f"{summary.failed} failed"] if summary.failed else []
    lost = len(summary.refused) + len(summary.missing)
    counts += [f"{lost} missing"] if lost else []
    console.print(", ".join(counts), markup=False)


def duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> duration(0.2), duration(75), duration(5400), duration(200_000)
        ('1 s', '75 s', '1.5 h', '2.3 days')
    """
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def estimate(plan: Plan, workers: int) -> str:
    """What the rest of a plan will take, and what that is known from."""
    about = f"about {duration(plan.seconds / workers)} on {workers} worker{'s' * (workers > 1)}"
    guessed = plan.guessed
    if not guessed:
        return f"{about}, by what was measured before"
    those = "every probe" if len(guessed) > 3 else ", ".join(guessed)
    return f"{about}, a guess for {those}: nothing was measured yet"


def _by_step(store: Store, info: RunInfo) -> dict[int, list[MeasurementInfo]]:
    found: dict[int, list[MeasurementInfo]] = {}
    for one in store.measurements(run=info.id):
        found.setdefault(one.step, []).append(one)
    return dict(sorted(found.items()))


def _show_one(console: Console, store: Store, run: RunInfo, step: int, measured: list[MeasurementInfo]) -> None:
    order = list(run.config.get("probes", ()))
    measured = sorted(measured, key=lambda one: order.index(one.probe) if one.probe in order else -1)
    results = results_of(store, run.id, [one for one in measured if one.probe != "checkpoint"])
    console.print(
        f"{run.name}: {run.algorithm} on {run.environment}, step {step:,}", style="bold", markup=False, soft_wrap=True
    )
    console.print(finding(results))
    for table in (*error_table(results), scalar_table(results)):
        console.print(table)
    for one in measured:
        for line in (one.message, *(one.notes if one.probe != "checkpoint" else ())):
            if line:
                console.print(f"{one.probe}: {line}", markup=False, soft_wrap=True)


def _table(store: Store, info: RunInfo, steps: Mapping[int, list[MeasurementInfo]]) -> Table:
    title = f"{info.name}: {info.algorithm} on {info.environment} (run {info.id})"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("step", justify="right")
    shown = _spread(list(steps))
    results = results_of(store, info.id, [one for step in shown for one in steps[step]])
    at = iter(results)
    rows = {step: headlines([next(at) for _ in steps[step]]) for step in shown}
    columns = list(dict.fromkeys(word for row in rows.values() for word in row))
    for word in columns:
        table.add_column(word, justify="right")
    table.add_column("not measured")
    for step, row in rows.items():
        lacks = [f"{one.probe} ({one.status})" for one in steps[step] if one.status != "ok"]
        table.add_row(f"{step:,}", *(row.get(word, "") for word in columns), ", ".join(lacks))
    left = len(steps) - len(shown)
    table.caption = "± is one standard error; ~ marks what is not resolved from zero at 95 %" + (
        f"; {left} more checkpoints are in the store" if left else ""
    )
    table.caption_justify = "left"
    return table


def _spread(steps: list[int]) -> list[int]:
    if len(steps) <= _ROWS:
        return steps
    return [steps[round(place * (len(steps) - 1) / (_ROWS - 1))] for place in range(_ROWS)]


def _unmeasured(steps: Mapping[int, Mapping[int, list[MeasurementInfo]]]) -> Iterator[str]:
    """Why something was not measured, a line a reason."""
    reasons: dict[tuple[str, str, str], list[int]] = {}
    for of_run in steps.values():
        for step, measured in of_run.items():
            for one in measured:
                if one.status != "ok":
                    reasons.setdefault((one.probe, one.status, one.message), []).append(step)
    for (probe, status, message), at in reasons.items():
        where = ", ".join(f"{step:,}" for step in at[:_SAID]) + (
            f" and {len(at) - _SAID} more" if len(at) > _SAID else ""
        )
        yield f"{probe} {status} at step {where}: {message}"
