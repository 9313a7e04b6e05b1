"""A store in one SQLite file: created whole or not at all, and read without leaving a trace."""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError

from gradlab.errors import GradlabError
from gradlab.store.backend import Backend, StoreGoneError, check_tables, create_tables
from gradlab.store.filesystem import filesystem, is_network, state_of
from gradlab.store.schema import APPLICATION_ID, SCHEMA_VERSION
from gradlab.store.url import Location, check_current, check_file

T = TypeVar("T")

#: Byte of the file's header that is 2 when it is used with a write-ahead log.
_WRITE_VERSION, _LOGGED = 18, 2
#: Seconds a writer waits for another one before it gives up.
_PATIENCE = 10.0
#: How often a question is asked again because a writer appeared half-way.
_ATTEMPTS = 20
#: How often one who closes tries to move the log into the file, and seconds between.
_MOVES, _BETWEEN_MOVES = 20, 0.01


class SqliteBackend(Backend):
    """One file, written by several processes in turn and read by any number.

    On a local disk with write-ahead logging, so that readers and writers do not wait for each other; with a rollback
    journal on file systems shared between machines, where the log is unsafe (https://sqlite.org/wal.html).

    A read-only store opens the file for each question anew. When no writer has it open it reads with ``immutable=1``,
    which needs no permission on the directory and leaves nothing there, and asks again if the file changed meanwhile.
    A writer that closes has everything in the one file; one that is killed leaves a part in the log beside it.

    Args:
        location: where it is.
        readonly: whether changes are refused.
        outdated: whether tables of an older version may be written to.
    """

    def __init__(self, location: Location, readonly: bool, *, outdated: bool = False) -> None:
        super().__init__(location, readonly)
        assert location.path is not None
        self.path = location.path
        # Where the file is, which for a file inside of another one is not where the store is.
        self._inside = location
        exists = check_file(location)
        network = is_network(kind := filesystem(self.path.parent))
        if readonly and not exists:
            raise GradlabError(f"store {location.name}: there is no such file; check the path")
        if network and not readonly:
            self.notes += (
                f"store {location.name}: on a network file system ({kind}); readers and writers wait for each other",
            )
        if not readonly:
            if exists:
                # Reading leaves nothing behind where the file turns out to be damaged; opening it to write would.
                found = SqliteBackend(location, readonly=True)
                found.close()
                if not outdated:
                    check_current(found.schema, location.name)
                self._check_writable()
            else:
                self._create("DELETE" if network else "WAL")
        self._file = self._identity()
        self._engine = self._make_engine("ro" if readonly else "rw")
        self._frozen = self._make_engine("immutable")
        self._outside = self._engine.execution_options(gradlab_begin="")  # of any transaction
        self._writing = self._engine.execution_options(gradlab_begin="BEGIN IMMEDIATE")
        try:
            if not readonly:
                self._set_journal("DELETE" if network else "WAL")
                self.write(lambda _: None)  # finds out now whether it can be written to
            self.schema = self.read(lambda connection: check_tables(connection, location))
        except GradlabError:
            self.close()
            raise

    def read(self, question: Callable[[Connection], T]) -> T:
        """The answer to a question asked in one read transaction."""
        self._check_usable()
        if not self.readonly:
            self._check_place()
            with self._translated(), self._engine.begin() as connection:
                return question(connection)
        for _ in range(_ATTEMPTS):
            header = check_file(self._inside)
            if not header:
                raise self._vanished()
            if header[_WRITE_VERSION] != _LOGGED or not self._is_frozen():
                with self._translated(), self._engine.begin() as connection:
                    return question(connection)
            before = self._fingerprint()
            try:
                with self._frozen.begin() as connection:
                    answer = question(connection)
            except DBAPIError:
                # Perhaps only because a writer changed the file under our hands.
                if self._is_frozen() and self._fingerprint() == before:
                    with self._translated():
                        raise
                continue
            if self._is_frozen() and self._fingerprint() == before:
                return answer
        raise GradlabError(f"store {self.location.name}: changes faster than it can be read; try again")

    def write(self, change: Callable[[Connection], T]) -> T:
        """Makes a change in one transaction, when it is this writer's turn."""
        self._check_usable()
        self._check_open_for_writing()
        self._check_place()
        with self._translated(), self._writing.begin() as connection:
            return change(connection)

    @property
    def database(self) -> str:
        """What it is in, for people."""
        return "SQLite"

    def size(self) -> int:
        """Bytes on disk: the file and its log."""
        return sum(size for _, size, *_ in (facts for facts in state_of(self.path) if len(facts) > 1))

    def vacuum(self, *, full: bool) -> None:
        """Writes the file anew without what is not used; whoever writes waits, and so does this for him."""
        self._check_usable()
        self._check_open_for_writing()
        self._check_place()
        with self._translated(), self._outside.connect() as connection:
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Lets go of every connection."""
        if self._closed:
            return
        self._closed = True
        ours = os.getpid() == self._process  # what a fork copied is its parent's to close
        if ours and not self.readonly:
            # Usually the last to close moves the log into the file; a reader at this very moment prevents it, or
            # leaves a part in the log.
            with suppress(DBAPIError), self._outside.connect() as connection:
                for _ in range(_MOVES):
                    _, logged, moved = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
                    if moved == logged:
                        break
                    time.sleep(_BETWEEN_MOVES)
        self._engine.dispose(close=ours)

    # Opening -----------------------------------------------------------------------------------------------

    def _make_engine(self, mode: str) -> Engine:
        flags = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
        uri = f"file:{quote(str(self.path))}?{flags}"

        def connect() -> sqlite3.Connection:
            # A connection is used by one thread at a time, but not always by the same one. Transactions are ours
            # to begin: the driver would begin writing ones as reading ones, which cannot wait for their turn.
            connection = sqlite3.connect(
                uri, uri=True, timeout=_PATIENCE, check_same_thread=False, isolation_level=None
            )
            connection.execute("PRAGMA foreign_keys = ON")
            # A file that came from elsewhere runs no function by its own tables.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA synchronous = NORMAL")
            return connection

        engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool if mode == "rw" else NullPool)

        @event.listens_for(engine, "begin")
        def on_begin(connection: Connection) -> None:
            if begin := connection.get_execution_options().get("gradlab_begin", "BEGIN"):
                connection.exec_driver_sql(begin)

        return engine

    def _create(self, journal: str) -> None:
        """Makes the file under another name and links it into place, so that nobody ever sees half of it."""
        directory, name = self.path.parent, self.location.name
        if not directory.is_dir():
            raise GradlabError(f"store {name}: there is no directory {directory}; create it, or give another path")
        for ending in ("-wal", "-journal"):
            # SQLite would play a log without its file into the new one, and so destroy it. Looked for before the
            # file, which a process that is making the same store puts there first.
            if (log := Path(f"{self.path}{ending}")).exists() and not self.path.exists():
                raise GradlabError(
                    f"store {name}: is gone, but its log {log.name} is not; delete that too, or give another path"
                )
        draft = directory / f".{self.path.name}.{uuid.uuid4().hex}.new"
        try:
            draft.touch(exist_ok=False)
        except OSError as error:
            raise GradlabError(
                f"store {name}: cannot be created in {directory} ({error.strerror}); "
                "make the directory writable, or give another path"
            ) from error
        engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(draft), poolclass=NullPool)
        try:
            with self._translated(), engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
                create_tables(connection)
                connection.commit()
                # Only now: what is in a log does not fit into the file of a full disk, and nobody would say so.
                connection.exec_driver_sql(f"PRAGMA journal_mode = {journal}")
            self._link(draft)
        except OSError as error:
            raise GradlabError(f"store {name}: cannot be created ({error.strerror}); give another path") from error
        finally:
            for ending in ("", "-wal", "-shm", "-journal"):
                draft.with_name(draft.name + ending).unlink(missing_ok=True)

    def _link(self, draft: Path) -> None:
        try:
            os.link(draft, self.path)
        except FileExistsError:
            # Another process was faster; its store serves as well.
            check_file(self.location)
        except OSError:
            # A file system without hard links.
            draft.rename(self.path)

    def _check_writable(self) -> None:
        for path, what in ((self.path, "the file"), (self.path.parent, "its directory")):
            if not os.access(path, os.W_OK):
                raise GradlabError(
                    f"store {self.location.name}: {what} is not writable; change its permissions, give another path, "
                    "or open it with readonly=True"
                )

    def _set_journal(self, journal: str) -> None:
        """The journal this place needs, for a file that was made in another place."""
        # The journal cannot change inside a transaction.
        with self._translated(), self._outside.connect() as connection:
            if connection.exec_driver_sql("PRAGMA journal_mode").scalar_one().upper() != journal:
                connection.exec_driver_sql(f"PRAGMA journal_mode = {journal}")

    # The file ----------------------------------------------------------------------------------------------

    def _check_place(self) -> None:
        """SQLite would go on writing into a file that nobody can find any more."""
        if self._identity() != self._file:
            raise self._vanished()

    def _identity(self) -> tuple[int, int] | None:
        try:
            facts = self.path.stat()
        except OSError:
            return None
        return facts.st_dev, facts.st_ino

    def _fingerprint(self) -> tuple[int, ...] | None:
        try:
            facts = self.path.stat()
        except OSError:
            return None
        return facts.st_ino, facts.st_size, facts.st_mtime_ns

    def _is_frozen(self) -> bool:
        """Whether the file is all there is: no log beside it, which every open writer has, and no journal."""
        journal, log, index = (Path(f"{self.path}{ending}") for ending in ("-journal", "-wal", "-shm"))
        if journal.exists():
            return False
        try:
            return log.stat().st_size == 0 and not index.exists()
        except OSError:
            return True

    def _vanished(self) -> GradlabError:
        return StoreGoneError(
            f"store {self.location.name}: the file has been moved or replaced since it was opened; open it again"
        )
