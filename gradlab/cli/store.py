"""``gradlab store``: what an owner does with a store: look how large it is, upgrade, copy, prune, vacuum, export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gradlab.cli.export import export
from gradlab.cli.screen import screen
from gradlab.errors import GradlabError

if TYPE_CHECKING:
    from gradlab.store.upkeep import Pruned, StoreSize
    from gradlab.store.upkeep.copying import Told

_STORE = "Store: a path, sqlite:///… or postgresql+psycopg://…"
StorePlace = Annotated[str, typer.Argument(metavar="[STORE]", help=_STORE)]

store = typer.Typer(help="Look how large a store is; upgrade, copy, prune, vacuum or export it.", no_args_is_help=True)


@store.command()
def info(
    place: StorePlace = "gradlab.db",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for another program.")] = False,
) -> None:
    """Say what a store holds of each run, and what it takes on disk."""
    from gradlab.store import open_store
    from gradlab.store.upkeep import store_size

    with open_store(place, readonly=True) as opened:
        size = store_size(opened)
    if as_json:
        typer.echo(json.dumps(asdict(size), indent=2, default=str))
    else:
        _print(size)


@store.command()
def upgrade(place: StorePlace = "gradlab.db") -> None:
    """Bring a store of an older gradlab to this one's schema, so that it can be written to; all of it or nothing.

    An older gradlab cannot open it afterwards.
    """
    from gradlab.store.upkeep import upgrade_store

    before, after = upgrade_store(place)
    said = f"has schema {after} already" if before == after else f"upgraded from schema {before} to {after}"
    screen().print(f"{_shown(place)}: {said}", markup=False, soft_wrap=True)


@store.command()
def copy(
    source: Annotated[str, typer.Argument(help="Store, or deposit, to copy from.")],
    target: Annotated[str, typer.Argument(help=f"{_STORE}; made where there is none.")],
    runs: Annotated[
        list[str] | None, typer.Option("--run", help="Only these runs, by id or name; may be repeated.")
    ] = None,
) -> None:
    """Copy runs into another store, bit for bit, whatever the two are in.

    What is there already stays, and what came since is added: a copy that was killed is finished by the same command.
    """
    from gradlab.store import open_store
    from gradlab.store.upkeep import copy_runs

    chosen: list[int | str] = list(runs or [])
    with open_store(source, readonly=True) as ours, open_store(target) as theirs, _bar("copying") as told:
        copied = copy_runs(ours, theirs, chosen, told=told)
    console = screen()
    for one in copied:
        known = f", {one.before:,} were there" if one.before else ""
        console.print(
            f"run {one.run.id} ({one.run.name}) → run {one.id}: {_count(one.measurements, 'measurement')}{known}",
            markup=False,
            soft_wrap=True,
        )


@store.command()
def prune(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs by id or name.")],
    place: Annotated[str, typer.Option("--store", help=_STORE)] = "gradlab.db",
    arrays: Annotated[bool, typer.Option("--arrays", help="Only their arrays; numbers stay.")] = False,
    probe: Annotated[str | None, typer.Option(help="With --arrays: only of this probe.")] = None,
    before: Annotated[int | None, typer.Option(help="With --arrays: only of earlier training steps.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take runs, or the arrays of runs, out of a store for good.

    The disk gets their room by `gradlab store vacuum`.
    """
    from gradlab.store import open_store
    from gradlab.store.upkeep import prune_arrays, prune_runs

    if not arrays and (probe is not None or before is not None):
        option = "--probe" if probe is not None else "--before"
        raise GradlabError(f"{option}: says which arrays; give --arrays, too, or leave it out to remove the whole run")
    chosen: list[int | str] = list(runs)
    console = screen()
    with open_store(place, readonly=dry_run) as opened:

        def pruned(*, dry_run: bool) -> Pruned:
            if arrays:
                return prune_arrays(opened, chosen, probe=probe, before=before, dry_run=dry_run)
            return prune_runs(opened, chosen, dry_run=dry_run)

        found = pruned(dry_run=True)
        said = _pruned(found, whole=not arrays)
        if dry_run:
            console.print(f"Would remove {said}", markup=False, soft_wrap=True)
            return
        if not yes:
            typer.confirm(f"Remove {said} from {opened.name} for good?", abort=True)
        said = _pruned(pruned(dry_run=False), whole=not arrays)
    console.print(f"Removed {said}", markup=False, soft_wrap=True)


@store.command()
def vacuum(
    place: StorePlace = "gradlab.db",
    full: Annotated[
        bool, typer.Option("--full", help="PostgreSQL: give room to the disk, too; everybody waits meanwhile.")
    ] = False,
) -> None:
    """Give room that is not used any more back; writers wait meanwhile."""
    from gradlab.store import open_store
    from gradlab.store.upkeep import vacuum_store

    # A store that is not there is not to be made.
    open_store(place, readonly=True).close()
    with open_store(place) as opened:
        before, after = vacuum_store(opened, full=full)
        screen().print(f"{opened.name}: {_bytes(before)} before, {_bytes(after)} now", markup=False, soft_wrap=True)


store.command()(export)


def _print(size: StoreSize) -> None:
    from rich import box
    from rich.table import Table

    console = screen()
    facts = f"{size.database}, schema {size.schema}, {_bytes(size.disk)}"
    made = datetime.fromtimestamp(float(size.facts["created"]), UTC)
    facts += f"; made by gradlab {size.facts.get('gradlab_version', '?')} on {made:%Y-%m-%d %H:%M} UTC"
    console.print(f"{size.name}: {facts}", markup=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("run", "name", "status"):
        table.add_column(name, no_wrap=name != "name", overflow="fold")
    for name in ("ok", "skipped", "failed", "numbers", "arrays", "stored", "of"):
        table.add_column(name, justify="right", no_wrap=True)
    from rich.markup import escape

    for one in size.runs:
        statuses = [f"{one.measurements.get(status, 0):,}" for status in ("ok", "skipped", "failed")]
        cells = [str(one.run.id), escape(one.run.name), one.run.status, *statuses]
        table.add_row(*cells, f"{one.scalars:,}", f"{one.arrays:,}", _bytes(one.stored), _bytes(one.raw))
    console.print(table)


def _pruned(found: Pruned, *, whole: bool) -> str:
    listed = ", ".join(f"{run.id} ({run.name})" for run in found.runs)
    held = f"{_count(found.arrays, 'array')} of {_bytes(found.stored)}"
    of = f"run{'s' * (len(found.runs) != 1)} {listed}"
    if not whole:
        return f"{held} of {of}"
    return f"{of}: {_count(found.measurements, 'measurement')}, {_count(found.scalars, 'number')}, {held}"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _bytes(count: int) -> str:
    """A number of bytes for people.

    Example:
        >>> _bytes(512), _bytes(1_234_567), _bytes(5_000_000_000)
        ('512 B', '1.2 MB', '5.0 GB')
    """
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def _shown(place: str) -> str:
    from gradlab.store.url import parse

    return parse(place).name


@contextmanager
def _bar(what: str) -> Iterator[Told]:
    """A bar of what is copied of each run, where there is a terminal."""
    from rich.progress import Progress

    from gradlab.store import RunInfo

    console = screen()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def told(run: RunInfo, done: int, whole: int) -> None:
            bar.update(task, description=f"{what} run {run.id}", completed=done, total=whole)

        yield told
