"""``gradlab dashboard``: the live dashboard over a store."""

from __future__ import annotations

from typing import Annotated

import typer


def dashboard(
    store: Annotated[str, typer.Argument(help="Store: a path, sqlite:///… or postgresql+psycopg://…")] = "gradlab.db",
    host: Annotated[str, typer.Option(help="Address to listen on; only this machine by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 8050,
    refresh: Annotated[float, typer.Option(help="Seconds between looks for new measurements.", min=0.1)] = 1.0,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Watch a store live in the browser. It only reads: a training run never waits for it.

    The store need not exist yet; the page waits for it.
    """
    from dashboards import serve
    from gradlab.store.opening import check_place
    from gradlab.store.url import parse

    check_place(parse(store))
    serve(store, host=host, port=port, refresh=refresh, open_browser=open_browser)
