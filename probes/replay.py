"""Replay: bring what waits on this machine to its store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gradlab.store import open_store
from probes.sink import Sink, StoreAwayError
from probes.spool import Spool, spool_root


@dataclass(frozen=True)
class Replayed:
    """What came of a replay.

    Attributes:
        store: the store, for people.
        brought: entries it has taken, or had already.
        waiting: entries that wait for it still.
        reason: why they do; empty when there are none.
    """

    store: str
    brought: int
    waiting: int
    reason: str = ""


def replay(store: str | os.PathLike[str]) -> Replayed:
    """Bring to a store what it did not take while a run was measured.

    Nothing is written twice, however often this is done, and whoever else does it at the same time.

    Args:
        store: where it is; it may have been moved since.

    Raises:
        GradlabError: there is no such store.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     open_store(f"{folder}/a.db").close()
        ...     replay(f"{folder}/a.db").brought
        0
    """
    with open_store(store, readonly=True) as found:
        address, identity, name = found.address, found.identity, found.name
    return _brought(address, identity, name)


def replay_all() -> list[Replayed]:
    """Bring what waits on this machine to every store that is where it was."""
    places = ((directory.name, Spool(directory.name).place()) for directory in sorted(_directories(spool_root())))
    done = [_brought(place, identity, place or identity) for identity, place in places]
    return [one for one in done if one.brought or one.waiting]


def _brought(address: str, identity: str, name: str) -> Replayed:
    spool = Spool(identity, address)
    if not spool.paths():
        return Replayed(name, 0, 0)
    sink = Sink(address, identity, run=0)
    brought, reason = 0, ""
    try:
        # A password is never kept.
        if "***" in address:
            raise StoreAwayError("its address has a password; give it: gradlab replay postgresql://...")
        for _ in spool.drain(sink):
            brought += 1
    except StoreAwayError as error:
        reason = str(error)
    finally:
        sink.close()
    return Replayed(name, brought, len(spool.paths()), reason)


def _directories(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir()]
    except OSError:
        return []
