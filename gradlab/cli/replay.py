"""``gradlab replay``: bring measurements that wait on this machine to their store."""

from __future__ import annotations

from typing import Annotated

import typer


def replay(
    store: Annotated[
        str | None,
        typer.Argument(help="Store: a path, sqlite:///… or postgresql+psycopg://…; all that are known if none."),
    ] = None,
) -> None:
    """Bring measurements that a store did not take (full, locked, away) to it. Nothing is written twice.

    The next run that is measured into the same store does so, too.
    """
    from probes.replay import replay as bring
    from probes.replay import replay_all

    done = replay_all() if store is None else [bring(store)]
    for one in done:
        said = f"{one.store}: {one.brought} brought"
        if one.waiting:
            said += f", {one.waiting} still waiting" + (f": {one.reason}" if one.reason else "")
        typer.echo(said)
    if not done:
        typer.echo("nothing waits on this machine")
    if any(one.waiting for one in done):
        raise typer.Exit(1)
