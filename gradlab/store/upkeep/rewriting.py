"""For who reads a store by its tail: a word that more was done to it than to append."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from gradlab.store.schema import REWRITTEN, meta


def say_rewritten(connection: Connection) -> None:
    """Has every reader forget what he knows of the store, as ``Store.version`` says."""
    of = meta.c.key == REWRITTEN
    before = connection.execute(select(meta.c.value).where(of)).scalar_one_or_none()
    if before is None:
        connection.execute(insert(meta), {"key": REWRITTEN, "value": "1"})
    else:
        connection.execute(update(meta).where(of).values(value=str(int(before) + 1)))
