"""``gradlab analyze``: saved checkpoints, many at a time, measured as a live run would be."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradlab.cli.demo import LARGEST_SEED
from gradlab.cli.facts import ActionFirst, Activation, Discount, Entropy, MaxAction, Output, Trust, facts_of
from gradlab.cli.interrupts import end_like_an_interrupt, ignore_interrupts
from gradlab.cli.screen import screen
from gradlab.files import check_target

if TYPE_CHECKING:
    from rich.console import Console

    from probes.analysis import Summary


def analyze(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Checkpoints, folders with all below them, patterns.")
    ],
    env: Annotated[
        list[str] | None,
        typer.Option(
            help="Gymnasium environment they were trained on, e.g. Reacher-v5; of several, each checkpoint's is the "
            "one that it fits. By default what monitor.csv beside a checkpoint says, or its name or folder."
        ),
    ] = None,
    store: Annotated[
        str, typer.Option(help="Where measurements go, for the dashboard: a path or a URL.")
    ] = "gradlab.db",
    report: Annotated[
        Path | None, typer.Option(help="Also write them as an HTML report, as `gradlab report` does of a store.")
    ] = None,
    probes: Annotated[
        list[str] | None,
        typer.Option(
            help="What to measure: names, with commas between or given more than once. By default everything."
        ),
    ] = None,
    states: Annotated[
        str,
        typer.Option(
            help="Where states come from: rollout (fresh episodes of each checkpoint's policy), buffer (the replay "
            "buffer saved with it), or a file of observations, .npy, .npz or .pt."
        ),
    ] = "rollout",
    state_count: Annotated[
        int | None, typer.Option(help="States each probe measures at; by default its own number.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the states and of the measurements.", min=0, max=LARGEST_SEED)] = 0,
    engine: Annotated[str, typer.Option(help="Where it is done: local, ray or dask.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the ray or dask cluster; by default one on this machine is started.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Measurements at a time; by default one for each core.", min=1)
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Whether what the store has is gone on with, or all measured anew."),
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done and what that would take, and end.")
    ] = False,
    discount: Discount = None,
    activation: Activation = None,
    entropy: Entropy = None,
    output: Output = None,
    max_action: MaxAction = None,
    action_first: ActionFirst = None,
    trust: Trust = False,
) -> None:
    """Measure checkpoints as live runs would be, keep the numbers in a store, and print them.

    Checkpoints are read without running any code from them. Those of one folder, name, algorithm, environment and seed
    are a run of the store, each of them a step. Ended or killed, the same command goes on where it was. What files do
    not say is asked for by name. Exit code 0: all was measured; 1: something failed or is missing; 2: nothing could
    start.
    """
    # Before numpy is loaded: workers are as many as there are cores.
    for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(library, "1")
    from gradlab.cli.analysis_screen import Screen
    from gradlab.cli.analysis_tables import show_plan, show_results
    from gradlab.cli.tasks import require_box_task
    from probes import analysis

    if report is not None:
        check_target(report)
    for one in env or []:
        require_box_task(one).close()
    names = None if probes is None else [name.strip() for one in probes for name in one.split(",") if name.strip()]
    asked: dict[str, Any] = {
        "resume": resume,
        "environment": env,
        "probes": names,
        "states": states,
        "state_count": state_count,
        "seed": seed,
        "trust": trust,
        "facts": facts_of(None, None, discount, activation, entropy, output, max_action, action_first),
    }
    console = screen()
    end_like_an_interrupt()
    try:
        with Screen(console) as shown:
            if dry_run:
                found = analysis.plan(paths, store, tell=shown, **asked)
            else:
                options: dict[str, Any] = {"engine": engine, "address": address, "workers": workers}
                summary = analysis.analyze(paths, store, tell=shown, **options, **asked)
    except KeyboardInterrupt:
        ignore_interrupts()
        # The terminal may be what has gone.
        with suppress(OSError):
            console.print(f"Ended. The same command goes on from what is in {store}.", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    except analysis.BrokenOffError as error:
        typer.echo(f"gradlab: {error}", err=True)
        raise typer.Exit(1) from None
    if dry_run:
        raise typer.Exit(show_plan(console, found, workers))
    show_results(console, store, summary)
    if report is not None:
        _report(report, store, summary, console)
    again = f"gradlab dashboard {shlex.quote(store)}"
    console.print(f"Kept in {summary.store}; look at it with: {again}", markup=False, soft_wrap=True)
    if not summary.complete:
        raise typer.Exit(1)


def _report(path: Path, store: str, summary: Summary, console: Console) -> None:
    from dashboards import write_report
    from gradlab.store import open_store

    with open_store(store, readonly=True) as opened:
        write_report(path, opened, list(summary.runs))
    console.print(f"Report: {path}; open it in a browser", markup=False, soft_wrap=True)
