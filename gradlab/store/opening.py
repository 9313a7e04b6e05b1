"""Which backend a place is opened by."""

from __future__ import annotations

from gradlab.store.backend import Backend
from gradlab.store.postgres import PostgresBackend
from gradlab.store.sqlite import SqliteBackend
from gradlab.store.unpacking import DepositBackend, check_packed, is_packed
from gradlab.store.url import Location, check_file


def open_backend(location: Location, *, readonly: bool, outdated: bool = False) -> Backend:
    """Opens the database at a place, and creates it where there is none unless ``readonly``.

    Args:
        location: where it is.
        readonly: whether changes are refused.
        outdated: whether tables of an older schema may be written to, for bringing them up to date.

    Raises:
        GradlabError: one line saying what is wrong with this place and what to do.
    """
    if location.path is None:
        return PostgresBackend(location, readonly, outdated=outdated)
    kind = DepositBackend if is_packed(location.path) else SqliteBackend
    return kind(location, readonly, outdated=outdated)


def check_place(location: Location) -> None:
    """Refuses a file that is no store, before anything is opened; a place without a file may get one yet.

    Raises:
        GradlabError: there is something, and it is not a store that can be read here.
    """
    if is_packed(location.path):
        check_packed(location)
    elif location.path is not None:
        check_file(location)
