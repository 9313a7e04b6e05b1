"""``gradlab compare``: a number over the seeds of each group of runs, and which groups differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from gradlab.cli.screen import screen
from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from rich.table import Table

    from gradlab.estimate import Estimate
    from gradlab.store import Store
    from gradlab.store.across import AcrossRuns

#: Rows of the table; of more steps, so many that are evenly spread.
_ROWS = 12


def compare(
    scalar: Annotated[
        str | None, typer.Argument(help="The number, probe/name, such as landscape/gap; without it they are listed.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="What runs of a group have in common: algorithm, environment, library, or name.")
    ] = "algorithm",
    runs: Annotated[
        list[str] | None, typer.Option("--run", help="Only these runs, by id or name; may be repeated.")
    ] = None,
    store: Annotated[str, typer.Option(help="Store: a path, sqlite:///… or postgresql+psycopg://…")] = "gradlab.db",
    to: Annotated[str | None, typer.Option(help="Also write all rows into this .csv file.")] = None,
) -> None:
    """Compare groups of runs: interquartile means over seeds with 95 % intervals, and the differences they resolve.

    The steps are those that all runs were measured near.
    """
    from gradlab.store import open_store
    from gradlab.store.across import across_runs, grouped
    from gradlab.store.chosen import chosen_run

    with open_store(store, readonly=True) as opened:
        chosen = [chosen_run(opened, run) for run in runs] if runs else opened.runs()
        if not chosen:
            raise GradlabError(f"{store}: has no run yet; attach probes to one, or analyse checkpoints")
        if scalar is None:
            _list(opened, [run.id for run in chosen])
            return
        found = across_runs(opened, grouped(chosen, by), scalar)
    if to is not None:
        try:
            found.table().to_csv(to, index=False)
        except OSError as error:
            raise GradlabError(f"--to {to}: cannot be written ({error.strerror}); give another file") from error
    console = screen()
    console.print(_table(found))
    for note in found.notes:
        console.print(note)


def _list(store: Store, runs: list[int]) -> None:
    console = screen()
    names: dict[str, int] = {}
    for run in runs:
        table = store.scalars(run=run)
        for name in {f"{probe}/{scalar}" for probe, scalar in zip(table.probe, table.name, strict=True)}:
            names[name] = names.get(name, 0) + 1
    for name, count in sorted(names.items()):
        console.print(f"{name}  ({count} run{'s' if count > 1 else ''})")


def _table(found: AcrossRuns) -> Table:
    from rich import box
    from rich.table import Table

    against = f" against {found.reference}" if found.reference else ""
    objective = f" ({found.objective})" if found.objective else ""
    table = Table(title=f"{found.scalar}{against}{objective}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("step", justify="right")
    for name, estimates in found.groups.items():
        table.add_column(f"{name}\nn={max(one.samples for one in estimates)}", justify="right")
    for pair in found.differences:
        table.add_column(" − ".join(pair), justify="right")
    places = np.unique(np.linspace(0, len(found.steps) - 1, _ROWS).round().astype(int))
    for place in places:
        groups = [_cell(estimates[place]) for estimates in found.groups.values()]
        differences = [_cell(estimates[place], sign=True) for estimates in found.differences.values()]
        table.add_row(f"{found.steps[place]:,}", *groups, *differences)
    table.caption = "interquartile mean over runs and its 95 % interval; a difference without ~ is resolved"
    table.caption_justify = "left"
    return table


def _cell(estimate: Estimate, *, sign: bool = False) -> str:
    low, high = estimate.interval()
    if np.isnan(low):
        return f"{estimate.value:.3g} ({'of one run' if estimate.samples == 1 else 'no interval'})"
    mark = "~" if sign and not estimate.resolved else ""
    return f"{mark}{estimate.value:{'+' if sign else ''}.3g} [{low:.3g}, {high:.3g}]"
