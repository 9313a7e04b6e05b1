"""``gradlab report``: what a store says of some runs, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradlab.cli.screen import screen
from gradlab.errors import GradlabError


def report(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs by id or name; the newest by default.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file; one that is there is replaced.")] = Path(
        "report.html"
    ),
    store: Annotated[str, typer.Option(help="Store: a path, sqlite:///… or postgresql+psycopg://…")] = "gradlab.db",
    every: Annotated[bool, typer.Option("--all", help="Every run of the store, with an index on top.")] = False,
) -> None:
    """Write a report of a run: one HTML file that works without a network, to keep or to send.

    The answer comes first; then what stands out, the figures with what their numbers mean, what measuring cost, and
    how to make it again. Of several runs, what their algorithms differ in over seeds comes first, and an index.
    """
    from dashboards import write_report
    from gradlab.files import check_target
    from gradlab.store import open_store
    from gradlab.store.damage import damage_named

    if every and runs:
        raise GradlabError(f"--all: is every run, and {runs[0]!r} is one of them; give one of the two")
    check_target(out)
    with open_store(store, readonly=True) as opened:
        with damage_named(opened):
            chosen: list[int | str] = [run.id for run in opened.runs()] if every else list(runs or [])
        path = write_report(out, opened, chosen)
    many = f"{len(chosen)} runs" if len(chosen) > 1 else "a run"
    size = path.stat().st_size / 1e6
    screen().print(f"Report of {many}: {path} ({size:.1f} MB); open it in a browser", markup=False, soft_wrap=True)
