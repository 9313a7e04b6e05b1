"""``gradlab analyze``: the same measurements on a saved checkpoint."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradlab.cli.demo import LARGEST_SEED
from gradlab.cli.facts import (
    ActionFirst,
    Activation,
    Discount,
    Entropy,
    MaxAction,
    Output,
    Trust,
    facts_of,
)
from gradlab.cli.screen import screen
from gradlab.command import command_line, versions
from gradlab.files import check_target

if TYPE_CHECKING:
    from rich.console import Console

    from gradlab.adapters.checkpoint import Checkpoint
    from gradlab.store import Store
    from probes.offline import Result
    from probes.probe import Probe


def analyze(
    checkpoint: Annotated[Path, typer.Argument(help="A file of any library that gradlab.load() reads.")],
    env: Annotated[str, typer.Option(help="Gymnasium environment it was trained on, e.g. Reacher-v5.")],
    store: Annotated[
        str | None, typer.Option(help="Also keep the measurements here, for the dashboard: a path or a URL.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write them as an HTML report, as `gradlab report` does of a store.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the states and of the measurements.", min=0, max=LARGEST_SEED)] = 0,
    discount: Discount = None,
    activation: Activation = None,
    entropy: Entropy = None,
    output: Output = None,
    max_action: MaxAction = None,
    action_first: ActionFirst = None,
    trust: Trust = False,
) -> None:
    """Measure one checkpoint as a live run would be, and print the table.

    The checkpoint is read without running any code from it. States come from fresh episodes of its own policy. What the
    file does not say is asked for by name; the box of actions is the environment's.
    """
    from gradlab.adapters.checkpoint import read_checkpoint
    from gradlab.cli.tables import error_table, finding, scalar_table
    from gradlab.cli.tasks import require_box_task
    from gradlab.simulation import Simulator
    from gradlab.store import open_store
    from probes.offline import measure_all, offline_probes, visited_observations

    if report is not None:
        check_target(report)
    task = require_box_task(env)
    low, high = (",".join(map(str, corner.tolist())) for corner in (task.action_space.low, task.action_space.high))
    task.close()
    facts = facts_of(low, high, discount, activation, entropy, output, max_action, action_first)
    saved = read_checkpoint(checkpoint, trust=trust, facts=facts)
    simulator = Simulator(env)
    simulator.pilot(saved.agent)  # refuses an agent of another task, before anything is written
    console = screen()
    opened = None if store is None else open_store(store)
    chosen = offline_probes(env)
    with console.status("visiting states") as status:
        obs = visited_observations(saved.agent, chosen, simulator, seed)
        results = measure_all(
            saved.agent,
            chosen,
            obs,
            step=saved.step,
            seed=seed,
            before=lambda probe: status.update(f"measuring: {probe.name}"),
        )
    console.print(f"{checkpoint.name}: {saved.algorithm} on {env}, step {saved.step:,}", style="bold", markup=False)
    console.print(finding(results))
    for table in (*error_table(results), scalar_table(results)):
        console.print(table)
    for result in results:
        for line in [result.message, *(result.measurement.notes if result.measurement else ())]:
            if line:
                console.print(f"{result.probe}: {line}", markup=False, soft_wrap=True)
    if opened is not None:
        with opened:
            _keep(opened, saved, results, checkpoint, env, seed, chosen)
            if report is not None:
                _report(report, opened, console)
        again = f"gradlab dashboard {shlex.quote(str(store))}"
        console.print(f"Kept in {store}; look at it with: {again}", markup=False, soft_wrap=True)
    elif report is not None:
        with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "gradlab.db") as passing:
            _keep(passing, saved, results, checkpoint, env, seed, chosen)
            _report(report, passing, console)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


def _keep(
    store: Store,
    saved: Checkpoint,
    results: Sequence[Result],
    checkpoint: Path,
    env: str,
    seed: int,
    chosen: Sequence[Probe],
) -> None:
    from probes.offline import entries

    config = {
        "checkpoint": checkpoint.name,
        "probes": {probe.name: probe.config() for probe in chosen},
        "command": command_line(),
        "versions": versions(),
    }
    run = store.start_run(
        checkpoint.stem,
        algorithm=saved.algorithm,
        environment=env,
        library=saved.agent.library,
        seed=seed,
        config=config,
    )
    run.record_all(saved.step, entries(results))
    run.heartbeat(saved.step)
    run.finish()


def _report(path: Path, store: Store, console: Console) -> None:
    from dashboards import write_report

    write_report(path, store)
    console.print(f"Report: {path}; open it in a browser", markup=False, soft_wrap=True)
