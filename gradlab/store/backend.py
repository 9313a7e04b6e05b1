"""A backend runs questions and changes, each in one transaction; one subclass per database."""

from __future__ import annotations

import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from gradlab.errors import GradlabError
from gradlab.store import schema
from gradlab.store.url import Location, check_version

T = TypeVar("T")


class Backend(ABC):
    """One database, opened.

    Attributes:
        location: where it is.
        readonly: whether changes are refused.
        schema: version of its tables.
        notes: what a person should know about how it was opened, one line each.
    """

    def __init__(self, location: Location, readonly: bool) -> None:
        self.location = location
        self.readonly = readonly
        self.schema = schema.SCHEMA_VERSION
        self.notes: tuple[str, ...] = ()
        self._closed = False
        self._process = os.getpid()

    @abstractmethod
    def read(self, question: Callable[[Connection], T]) -> T:
        """The answer to a question asked in one read transaction, from any thread. It may be asked twice."""

    @abstractmethod
    def write(self, change: Callable[[Connection], T]) -> T:
        """Makes a change in one transaction, all or nothing, from any thread; writers take turns."""

    @property
    @abstractmethod
    def database(self) -> str:
        """What it is in, for people."""

    @abstractmethod
    def size(self) -> int:
        """Bytes on disk, with logs and indices."""

    @abstractmethod
    def vacuum(self, *, full: bool) -> None:
        """Gives up room that is not used; ``full`` also what can only be given up while nobody reads."""

    def _check_open_for_writing(self) -> None:
        if self.readonly:
            raise GradlabError(f"store {self.location.name}: is open for reading only; open it without readonly")

    @abstractmethod
    def close(self) -> None:
        """Lets go of every connection."""

    def _check_usable(self) -> None:
        if self._closed:
            raise GradlabError(f"store {self.location.name}: is closed; open it again with open_store")
        if os.getpid() != self._process:
            raise GradlabError(
                f"store {self.location.name}: was opened in another process; call open_store in this one"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Database errors that a user can put right, as one line."""
        try:
            yield
        except DBAPIError as error:
            faulty = isinstance(error, IntegrityError | ProgrammingError | DataError)
            if faulty and "permission denied" not in str(error.orig):
                raise
            what = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
            remedy = next((remedy for sign, remedy in _REMEDIES if sign in what), "check that it can be reached")
            raise GradlabError(f"store {self.location.name}: {what}; {remedy}") from error


class StoreGoneError(GradlabError):
    """The file that was opened is not at its path any more; opening the store again finds what is there now.

    Example:
        >>> raise StoreGoneError("store a.db: the file has been moved or replaced since it was opened; open it again")
        Traceback (most recent call last):
        ...
        gradlab.store.backend.StoreGoneError: store a.db: the file has been moved or replaced since it was opened; ...
    """


_REMEDIES = (
    ("locked", "another process has been writing for long; try again when it is done"),
    ("is full", "free some space on its disk"),
    ("malformed", "the file is damaged; restore a copy, or give another path"),
    ("no such", "the file is damaged; restore a copy, or give another path"),
    ("not a database", "the file is damaged; restore a copy, or give another path"),
    ("permission denied", "open it with readonly=True, or have its owner grant what is needed to write"),
    ("readonly", "make the file and its directory writable, or open it with readonly=True"),
    ("unable to open", "make the file and its directory writable, or copy them to where they are"),
    ("disk I/O", "check its disk"),
)


def create_tables(connection: Connection) -> None:
    """Creates every table and says in ``meta`` what they are."""
    schema.metadata.create_all(connection)
    facts = {
        "schema_version": str(schema.SCHEMA_VERSION),
        "gradlab_version": _gradlab_version(),
        "created": repr(time.time()),
        # Tells this store from another one put in its place.
        "identity": uuid.uuid4().hex,
    }
    connection.execute(insert(schema.meta), [{"key": key, "value": value} for key, value in facts.items()])


def check_tables(connection: Connection, location: Location) -> int:
    """Refuses tables that are not a store's, or of a version that cannot be read.

    Returns:
        Their version.

    Raises:
        GradlabError: the tables of this connection are not ones that this gradlab reads.
    """
    query = select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")
    found = connection.execute(query).scalar_one_or_none()
    if found is None or not found.isdigit():
        raise GradlabError(f"store {location.name}: its table meta names no schema version; give another path")
    check_version(int(found), location.name)
    return int(found)


def _gradlab_version() -> str:
    try:
        return version("gradlab")
    except PackageNotFoundError:
        return "unknown"
