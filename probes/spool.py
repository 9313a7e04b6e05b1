"""Spool: files on this machine that keep what a store does not take, until it does.

One directory a store, by the store's identity, so that one that was moved finds what is waiting for it; one file an
entry.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from gradlab.store.entry import UnstorableError
from gradlab.store.records import MeasurementStatus
from probes import entry_file
from probes.entries import End, Record
from probes.entry_file import EntryFileError
from probes.sink import Sink

log = logging.getLogger("gradlab")

#: Bytes kept for one store.
LIMIT = 256 * 2**20
_PLACE = "store.txt"
#: Entries kept between two looks at how much lies there.
_CHECK = 16
#: Bytes a zip archive spends on naming a part.
_MEMBER = 128
#: Seconds after which a file half written has no writer any more.
_ABANDONED = 3600.0


def spool_root() -> Path:
    """The directory of all spools: ``$GRADLAB_SPOOL``, or ``gradlab/spool`` in the user's state directory.

    Example:
        >>> spool_root().is_absolute()
        True
    """
    chosen = os.environ.get("GRADLAB_SPOOL")
    if chosen:
        return Path(chosen).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state).absolute() / "gradlab" / "spool"


class Spool:
    """What waits for one store.

    Args:
        identity: the store's.
        name: where the store is: its path in full, or its address without a password.
        root: the directory of all spools; ``spool_root`` when None.
        limit: bytes kept at most; ``LIMIT`` when None.

    Attributes:
        refused: tokens of entries that were set aside, as no store can take them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     spool = Spool("f3a9", "gradlab.db", Path(folder))
        ...     spool.keep(Record("a token", 1, 0.0, 500, "field", "inline", "failed", message="no memory"))
        ...     (path,) = spool.paths()
        ...     entry_file.read(path).message
        True
        'no memory'
    """

    def __init__(self, identity: str, name: str = "", root: Path | None = None, limit: int | None = None) -> None:
        # The identity comes out of a file that somebody may have made, and names a directory.
        self.directory = (root or spool_root()) / (re.sub(r"\W", "_", identity) or "_")
        self.name = name
        self.limit = LIMIT if limit is None else limit
        self.refused: set[str] = set()
        self._held = 0
        self._unchecked = 0

    def keep(self, entry: Record | End) -> bool:
        """Write an entry into a file, whole or not at all; False where there is no room for it.

        Raises:
            UnstorableError: the entry is itself at fault.
        """
        text, arrays = entry_file.pack(entry)
        size = sum(len(part) + _MEMBER for part in (text, *arrays))
        if not self._has_room(size):
            return False
        # Names sort as the entries were made.
        name = f"{time.time_ns():020d}-{re.sub(r'[^0-9A-Za-z]', '_', entry.token)}"
        try:
            try:
                self._write(name, text, arrays)
            except FileNotFoundError:
                # A process that has brought the last entry to the store has removed the directory just now.
                self._write(name, text, arrays)
        except OSError as error:
            log.debug("gradlab: spool %s: %s", self.directory, error)
            return False
        self._held += size
        return True

    def _write(self, name: str, text: bytes, arrays: list[bytes]) -> None:
        draft = self.directory / f".{name}.{os.getpid()}.new"
        self._make()
        try:
            with draft.open("wb") as file:
                entry_file.write(text, arrays, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.directory / f"{name}.entry")
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise

    def paths(self) -> list[Path]:
        """The files that wait, oldest first."""
        try:
            found = list(self.directory.iterdir())
        except OSError:
            return []
        for path in found:
            with contextlib.suppress(OSError):
                if path.suffix == ".new" and time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()
        return sorted(path for path in found if path.suffix == ".entry")

    def place(self) -> str:
        """Where the store was that entries wait for; empty when nothing was noted."""
        try:
            return (self.directory / _PLACE).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def left_behind(self) -> bool:
        """Whether entries wait that an earlier process left for the store at this place.

        A copy of a store has the identity of the original; what waits goes to the original, while that is there.
        """
        place = self.place()
        return bool(self.paths()) and (place in ("", self.name) or not os.path.exists(place))

    def drain(self, sink: Sink) -> Iterator[tuple[Record | End, MeasurementStatus | None]]:
        """Bring what waits to its store, in order; each entry, when the store has it, with its status there.

        What cannot be read, or is itself at fault, is set aside under another name and said.

        Raises:
            StoreAwayError: the store takes nothing now; the rest goes on waiting.
        """
        for path in self.paths():
            try:
                entry = entry_file.read(path)
                kept = sink.write(entry)
            except FileNotFoundError:
                continue  # another process has brought it
            except (UnstorableError, EntryFileError) as error:
                self._set_aside(path, error)
                continue
            path.unlink(missing_ok=True)
            yield entry, kept
        with contextlib.suppress(OSError):
            if [path.name for path in self.directory.iterdir()] == [_PLACE]:
                (self.directory / _PLACE).unlink()
                self.directory.rmdir()

    def _set_aside(self, path: Path, error: Exception) -> None:
        log.warning("gradlab: %s cannot be brought to its store and is set aside: %s", path, error)
        path.replace(path.with_suffix(".refused"))
        self.refused.add(path.stem.rpartition("-")[2])

    def _make(self) -> None:
        if not self.directory.is_dir():
            # Measurements are nobody else's business.
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        label = self.directory / _PLACE
        if not label.exists():
            label.write_text(self.name + "\n", encoding="utf-8")

    def _has_room(self, size: int) -> bool:
        # Other processes write and take files, too; looking at a thousand of them for every new one would be slow.
        if self._unchecked % _CHECK == 0 or self._held + size > self.limit:
            self._held = 0
            with contextlib.suppress(OSError), os.scandir(self.directory) as found:
                for entry in found:
                    with contextlib.suppress(OSError):
                        self._held += entry.stat().st_size
        self._unchecked += 1
        return self._held + size <= self.limit
