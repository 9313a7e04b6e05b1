"""Where a store is: a path, ``sqlite:///…`` or ``postgresql+psycopg://…``, checked before anything is opened."""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from gradlab.arguments import shown
from gradlab.errors import GradlabError
from gradlab.store.schema import APPLICATION_ID, OLDEST_READ, SCHEMA_VERSION

_SQLITE = ("sqlite", "sqlite+pysqlite")
_POSTGRESQL = ("postgresql", "postgresql+psycopg")
_MAGIC = b"SQLite format 3\0"
_HEADER = 100  # bytes


@dataclass(frozen=True, slots=True)
class Location:
    """Where a store is.

    Attributes:
        url: the whole truth, password included; not for printing.
        path: the file, absolute, where the store is one.
        name: for people: the path as it was given, or the URL without its password.
    """

    url: URL
    path: Path | None
    name: str


def parse(where: str | os.PathLike[str]) -> Location:
    """Reads a bare path, ``sqlite:///relative``, ``sqlite:////absolute`` or ``postgresql+psycopg://user@host/name``.

    Raises:
        GradlabError: not one of these.

    Example:
        >>> parse("gradlab.db").path == Path.cwd() / "gradlab.db"
        True
        >>> parse("postgresql://me:secret@host/lab").name
        'postgresql+psycopg://me:***@host/lab'
        >>> parse("mysql://host/lab")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: store mysql://host/lab: mysql is not supported; give a path, sqlite:///PATH or
        postgresql+psycopg://USER@HOST/DATABASE
    """
    if not isinstance(where, str | os.PathLike) or not isinstance(os.fspath(where), str):
        raise GradlabError(f"store: {shown(where)}; give a path such as gradlab.db, or a URL")
    text = os.fspath(where)
    if not text or not text.strip():
        raise GradlabError("store: the name is empty; give a path such as gradlab.db")
    if isinstance(where, str) and (":memory:" in text or text in ("sqlite://", "sqlite:///")):
        raise GradlabError(f"store {text}: a store is shared between processes and cannot be in memory; give a path")
    if not isinstance(where, str) or "://" not in text:
        return _file(text, text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise GradlabError(f"store: {text.split('://')[0]}://… is not a URL that can be read; check it") from error
    name = _printable(url)
    if url.drivername in _SQLITE:
        if url.host or url.query or not url.database:
            raise GradlabError(
                f"store {name}: expected sqlite:///relative/path or sqlite:////absolute/path, without options"
            )
        return _file(url.database, name)
    if url.drivername in _POSTGRESQL:
        url = url.set(drivername="postgresql+psycopg")
        return Location(url, None, _printable(url))
    raise GradlabError(
        f"store {name}: {url.drivername} is not supported; give a path, sqlite:///PATH or "
        "postgresql+psycopg://USER@HOST/DATABASE"
    )


def _printable(url: URL) -> str:
    """The URL without its password, which PostgreSQL also takes as an option."""
    hidden = {key: "***" for key in url.query if "password" in key}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _file(text: str, name: str) -> Location:
    if "\0" in text:
        raise GradlabError("store: the path holds a NUL character; give a path such as gradlab.db")
    try:
        path = Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise GradlabError(f"store {name}: {error}; write the path in full") from error
    return Location(URL.create("sqlite", database=str(path)), path, name)


def check_file(location: Location) -> bytes:
    """The first 100 bytes of the file, after a look whether they are those of a store of this version.

    Nothing is opened with SQLite, so nothing is created beside it. https://sqlite.org/fileformat.html, section 1.3:
    ``user_version`` is at byte 60, ``application_id`` at byte 68, both big-endian.

    Returns:
        The header of the SQLite file; nothing when there is no file.

    Raises:
        GradlabError: there is something, and it is not a store that can be read here.
    """
    path, name = location.path, location.name
    assert path is not None
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise GradlabError(f"store {name}: is a directory; name a file in it, such as {Path(name) / 'gradlab.db'}")
        if not stat.S_ISREG(mode):
            raise GradlabError(f"store {name}: is not a regular file; give a path such as gradlab.db")
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise GradlabError(f"store {name}: cannot be read ({error.strerror}); check the path and its owner") from error
    if not header:
        raise GradlabError(f"store {name}: is an empty file; delete it, or give another path")
    if not header.startswith(_MAGIC):
        raise GradlabError(f"store {name}: is not a SQLite file; give another path")
    if len(header) < _HEADER:
        raise GradlabError(f"store {name}: is cut off; restore a copy, or give another path")
    if int.from_bytes(header[68:72]) != APPLICATION_ID:
        raise GradlabError(f"store {name}: is a SQLite database of another program; give another path")
    check_version(int.from_bytes(header[60:64]), name)
    return header


def check_version(version: int, name: str) -> None:
    """Refuses tables of a version that cannot be read.

    Raises:
        GradlabError: the store's tables are newer than this gradlab's, or too old to be read by it.
    """
    if version > SCHEMA_VERSION:
        raise GradlabError(
            f"store {name}: has schema {version}, newer than this gradlab's {SCHEMA_VERSION}; upgrade gradlab"
        )
    if version < OLDEST_READ:
        raise GradlabError(
            f"store {name}: has schema {version}, older than any this gradlab reads; "
            "open it with the gradlab that wrote it, or give another path"
        )


def check_current(version: int, name: str) -> None:
    """Refuses to write into tables of an older version: they are brought up to date when their owner says so.

    Not without being asked: an older gradlab that others still use could not open them any more.

    Raises:
        GradlabError: the store's tables are older than this gradlab's.
    """
    if version < SCHEMA_VERSION:
        raise GradlabError(
            f"store {name}: has schema {version}, older than this gradlab's {SCHEMA_VERSION}, and can only be read; "
            f"to write into it, run: gradlab store upgrade {shlex.quote(name)}"
        )
