"""A store in PostgreSQL, for a team: many writers and many readers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, create_engine, event, inspect, text

from gradlab.errors import GradlabError
from gradlab.store.backend import Backend, check_tables, create_tables
from gradlab.store.schema import APPLICATION_ID, meta, metadata
from gradlab.store.url import Location, check_current

T = TypeVar("T")

#: Seconds that a host which does not answer is waited for, where the URL does not say connect_timeout=….
_PATIENCE = 10


class PostgresBackend(Backend):
    """Writers take turns by an advisory lock held until they commit.

    PostgreSQL hands out ids when a row is inserted but shows it when its transaction commits: without turns, an id
    could appear after a higher one, and a reader who tails by id would miss it for ever.

    Args:
        location: where it is.
        readonly: whether changes are refused.
        outdated: whether tables of an older version may be written to.
    """

    def __init__(self, location: Location, readonly: bool, *, outdated: bool = False) -> None:
        super().__init__(location, readonly)
        patience = {} if "connect_timeout" in location.url.query else {"connect_timeout": _PATIENCE}
        try:
            self._engine = create_engine(
                location.url, pool_pre_ping=True, isolation_level="REPEATABLE READ", connect_args=patience
            )
        except ModuleNotFoundError as error:
            raise GradlabError(
                f"store {location.name}: the driver {error.name} is not installed; pip install 'psycopg[binary]'"
            ) from error
        self._writing = self._engine.execution_options(gradlab_writing=True, isolation_level="READ COMMITTED")

        @event.listens_for(self._writing, "begin")
        def take_turn(connection: Connection) -> None:
            # Commits wait for the disk, or ids that were seen would be handed out again after a crash of the server.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": APPLICATION_ID})

        try:
            if not readonly:
                self.write(self._prepare)
            self.schema = self.read(self._check)
            if not readonly and not outdated:
                check_current(self.schema, location.name)
        except GradlabError:
            self.close()
            raise

    def read(self, question: Callable[[Connection], T]) -> T:
        """The answer to a question asked in one read transaction."""
        self._check_usable()
        with self._translated(), self._engine.begin() as connection:
            return question(connection)

    def write(self, change: Callable[[Connection], T]) -> T:
        """Makes a change in one transaction, when it is this writer's turn."""
        self._check_usable()
        self._check_open_for_writing()
        with self._translated(), self._writing.begin() as connection:
            return change(connection)

    @property
    def database(self) -> str:
        """What it is in, for people."""
        return "PostgreSQL"

    def size(self) -> int:
        """Bytes on disk: the tables, their large values and their indices."""
        query = text(
            "SELECT sum(pg_total_relation_size(to_regclass(name))) FROM unnest(CAST(:names AS text[])) AS name"
        )
        names = {"names": list(metadata.tables)}
        return int(self.read(lambda connection: connection.execute(query, names).scalar_one() or 0))

    def vacuum(self, *, full: bool) -> None:
        """Makes room that is not used free for what is stored next; ``full`` gives it to the disk."""
        self._check_usable()
        self._check_open_for_writing()
        outside = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        with self._translated(), outside.connect() as connection:
            for table in metadata.tables:
                connection.exec_driver_sql(f"VACUUM ({'FULL, ' if full else ''}ANALYZE) {table}")

    def close(self) -> None:
        """Lets go of every connection."""
        self._closed = True
        self._engine.dispose(close=os.getpid() == self._process)

    def _prepare(self, connection: Connection) -> None:
        """Makes the tables that are lacking, and touches nothing in a database that is another program's."""
        there = set(inspect(connection).get_table_names())
        if "meta" in there:
            self._check(connection)
        elif there & set(metadata.tables):
            raise self._foreign()
        else:
            create_tables(connection)

    def _check(self, connection: Connection) -> int:
        inspector = inspect(connection)
        if not inspector.has_table("meta"):
            raise GradlabError(f"store {self.location.name}: holds no store; open it once without readonly")
        if {column["name"] for column in inspector.get_columns("meta")} != set(meta.c.keys()):
            raise self._foreign()
        return check_tables(connection, self.location)

    def _foreign(self) -> GradlabError:
        return GradlabError(f"store {self.location.name}: holds another program's tables; give another database")
