"""A deposit opened as a store: unpacked for as long as it is open, and trusted with nothing."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from gradlab.errors import GradlabError
from gradlab.store.backend import StoreGoneError
from gradlab.store.filesystem import state_of
from gradlab.store.schema import metadata
from gradlab.store.sqlite import SqliteBackend
from gradlab.store.url import Location

T = TypeVar("T")

#: The store's name in the zip file.
MEMBER = "store.db"
_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_CHUNK = 1 << 20


def is_packed(path: Path | None) -> bool:
    """Whether a file begins as a zip file does.

    Example:
        >>> is_packed(Path(__file__))
        False
    """
    if path is None or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in _MAGIC
    except OSError:
        return False


def check_packed(location: Location) -> None:
    """Refuses a zip file that is no deposit, without unpacking it.

    Raises:
        GradlabError: it is a zip file of something else, or cannot be read.
    """
    path, name = location.path, location.name
    assert path is not None
    try:
        with zipfile.ZipFile(path) as packed:
            info = packed.getinfo(MEMBER)
    except KeyError as error:
        raise GradlabError(
            f"store {name}: is a zip file without {MEMBER}, and so no deposit; a checkpoint is read by gradlab analyze"
        ) from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise GradlabError(f"store {name}: is a damaged zip file ({error}); get another copy") from error
    except OSError as error:
        raise GradlabError(f"store {name}: cannot be read ({error.strerror}); check the path and its owner") from error
    if info.flag_bits & 1:
        raise GradlabError(f"store {name}: is encrypted; decrypt it, or ask for a deposit that is not")


class DepositBackend(SqliteBackend):
    """A store in a zip file, for reading; what it is unpacked to is deleted when it is closed.

    Whoever made the file could put anything into it: only tables and indices that a store has are read.

    Args:
        location: where it is.
        readonly: must be True.
        outdated: as of ``SqliteBackend``.

    Raises:
        GradlabError: it is to be written to, or is no deposit that can be read.
    """

    def __init__(self, location: Location, readonly: bool, *, outdated: bool = False) -> None:
        assert location.path is not None
        check_packed(location)
        if not readonly:
            raise GradlabError(
                f"store {location.name}: is a deposit, which is for reading; copy its runs into a store of yours: "
                f"gradlab store copy {location.name} gradlab.db"
            )
        self._packed = location.path
        self._state = state_of(self._packed)
        self._folder = tempfile.TemporaryDirectory(prefix="gradlab-deposit-")
        inside = Path(self._folder.name) / MEMBER
        try:
            _unpack(location, inside)
            within = Location(URL.create("sqlite", database=str(inside)), inside, location.name)
            super().__init__(within, readonly=True, outdated=outdated)
            self.read(lambda connection: _check_schema(connection, location.name))
        except BaseException:
            self._folder.cleanup()
            raise
        self.location = location

    @property
    def database(self) -> str:
        """What it is in, for people."""
        return "deposit"

    def size(self) -> int:
        """Bytes of the zip file."""
        return self._packed.stat().st_size

    def read(self, question: Callable[[Connection], T]) -> T:
        """The answer to a question asked in one read transaction."""
        if state_of(self._packed) != self._state:
            raise StoreGoneError(
                f"store {self.location.name}: the file has been moved or replaced since it was opened; open it again"
            )
        return super().read(question)

    def close(self) -> None:
        """Lets go of it, and deletes what was unpacked."""
        super().close()
        self._folder.cleanup()


def _unpack(location: Location, to: Path) -> None:
    assert location.path is not None
    try:
        with zipfile.ZipFile(location.path) as packed, packed.open(MEMBER) as inside, to.open("wb") as file:
            size, room = packed.getinfo(MEMBER).file_size, shutil.disk_usage(to.parent).free
            if size > room:
                raise GradlabError(
                    f"store {location.name}: needs {size:,} bytes in {to.parent.parent}, which has {room:,}; "
                    "free some space, or set TMPDIR to another directory"
                )
            shutil.copyfileobj(inside, file, _CHUNK)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise GradlabError(f"store {location.name}: is a damaged zip file ({error}); get another copy") from error
    except OSError as error:
        raise GradlabError(
            f"store {location.name}: cannot be unpacked in {to.parent.parent} ({error.strerror}); "
            "set TMPDIR to another directory"
        ) from error


def _check_schema(connection: Connection, name: str) -> None:
    """Refuses views and triggers, which would run when a table is read."""
    ours = {("table", table) for table in (*metadata.tables, "alembic_version")}
    for kind, what, table in connection.execute(text("SELECT type, name, tbl_name FROM sqlite_master")):
        known = (kind, what) in ours or (kind == "index" and ("table", table) in ours)
        if not known and not what.startswith("sqlite_"):
            raise GradlabError(f"store {name}: holds the {kind} {what!r}, which no store has; do not trust it")
