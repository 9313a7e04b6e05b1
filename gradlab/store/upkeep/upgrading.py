"""A store of an older gradlab made one of this one."""

from __future__ import annotations

import os
from contextlib import closing

from sqlalchemy import Connection

from gradlab.store.backend import check_tables
from gradlab.store.migrations import migrate
from gradlab.store.opening import open_backend
from gradlab.store.schema import SCHEMA_VERSION
from gradlab.store.url import parse


def upgrade_store(where: str | os.PathLike[str]) -> tuple[int, int]:
    """Brings a store's tables to this gradlab's schema, all of them or, whatever happens, none.

    Nothing that was stored changes. Who has the store open goes on reading it; an older gradlab cannot open it again.

    Args:
        where: path or URL of the store.

    Returns:
        The schema it had and the one it has; equal where there was nothing to do.

    Raises:
        GradlabError: there is no store at this place, or it cannot be written to.

    Example:
        >>> import tempfile
        >>> from gradlab.store import open_store
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     open_store(f"{folder}/a.db").close()
        ...     upgrade_store(f"{folder}/a.db")
        (2, 2)
    """
    location = parse(where)
    # A store that is not there is not to be made.
    open_backend(location, readonly=True).close()

    def change(connection: Connection) -> int:
        # Asked once more, now that nobody else writes.
        found = check_tables(connection, location)
        if found < SCHEMA_VERSION:
            migrate(connection, found)
        return found

    with closing(open_backend(location, readonly=False, outdated=True)) as backend:
        return backend.write(change), SCHEMA_VERSION
