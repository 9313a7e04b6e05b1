"""A file of finished blocks of rollouts, which a process may be killed over at any moment.

Blocks are appended, each with its length and its checksum, and are on the disk before the next one is begun. What a
killed process left half-written at the end is recognised and overwritten; nothing before it is ever touched again.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.references.rollouts.fingerprint import first_difference

try:
    import fcntl
except ImportError:  # pragma: no cover - elsewhere than on Unix two processes are not kept apart
    fcntl = None  # type: ignore[assignment]

#: What the file begins with: name and version of the format.
_MAGIC = b"gradlab-rollouts-1\n"
#: Before each block: bytes, checksum.
_FRAME = struct.Struct("<QI")

Arrays = Mapping[str, NDArray[Any]]


class RolloutLog:
    """The blocks of one reference, in the order they were made.

    Args:
        path: the file; made, with the folders above it, if there is none.
        identity: what the blocks belong to, by the name of what each digest is of.

    Raises:
        GradlabError: the file is of another reference, is something else, is in use, or cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with RolloutLog(Path(folder) / "a.rollouts", {"agent": "1"}) as log:
        ...         log.append({"values": np.ones(3)})
        ...     with RolloutLog(Path(folder) / "a.rollouts", {"agent": "1"}) as log:
        ...         [block["values"].tolist() for block in log.blocks()]
        [[1.0, 1.0, 1.0]]
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, str]) -> None:
        self._where = f"rollouts {path}"
        self._at_end = False
        self._file = self._open(Path(path))
        try:
            self._lock()
            self._begin(dict(identity))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> RolloutLog:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; every block is on the disk already."""
        self._file.close()

    def blocks(self) -> Iterator[dict[str, NDArray[Any]]]:
        """The finished blocks. Afterwards the file goes on where the last of them ends."""
        while True:
            end = self._file.tell()
            payload = self._frame()
            if payload is None:
                break
            with np.load(io.BytesIO(payload), allow_pickle=False) as found:
                yield {name: found[name] for name in found.files}
        self._file.seek(end)
        self._file.truncate()
        self._at_end = True

    def append(self, arrays: Arrays) -> None:
        """Add one finished block, and see it onto the disk.

        Raises:
            GradlabError: the disk is full or gone; what was there before is as good as it was.
        """
        if not self._at_end:
            for _ in self.blocks():
                pass
        buffer = io.BytesIO()
        named: dict[str, Any] = dict(arrays)
        np.savez(buffer, **named)
        self._write(buffer.getvalue())

    # The file ----------------------------------------------------------------------------------------------

    def _open(self, path: Path) -> IO[bytes]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Neither truncates nor insists that it be new: two processes may come here at once.
            return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644), "r+b")
        except OSError as error:
            raise GradlabError(f"{self._where}: {error.strerror}; name a file that can be written") from error

    def _lock(self) -> None:
        if fcntl is None:  # pragma: no cover
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise GradlabError(f"{self._where}: in use by another process; wait for it, or name another") from error
        except OSError:
            # Some network file systems have no locks; the file is as good without.
            return

    def _begin(self, identity: dict[str, str]) -> None:
        head = self._file.read(len(_MAGIC))
        if head == _MAGIC:
            payload = self._frame()
            if payload is not None:
                if differs := first_difference(identity, self._identity(payload)):
                    raise GradlabError(
                        f"{self._where}: belongs to another reference, of other {differs}; name another file, or "
                        "delete this one"
                    )
                return
        elif not _MAGIC.startswith(head):
            raise GradlabError(f"{self._where}: is a file of another kind; name another")
        # New, or its maker was killed before the first line was out.
        self._file.seek(0)
        self._file.truncate()
        self._file.write(_MAGIC)
        self._write(json.dumps(identity).encode())

    def _identity(self, payload: bytes) -> dict[str, str]:
        try:
            found = json.loads(payload)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise GradlabError(f"{self._where}: is a file of another kind; name another")
        return found

    def _frame(self) -> bytes | None:
        """The payload that begins here; None at the end, and where it was not finished."""
        head = self._file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            return None
        length, checksum = _FRAME.unpack(head)
        # Compared before it is read: a length that was never written whole may be any number.
        if length > os.fstat(self._file.fileno()).st_size - self._file.tell():
            return None
        payload = self._file.read(length)
        return payload if zlib.crc32(payload) == checksum else None

    def _write(self, payload: bytes) -> None:
        begin = self._file.tell()
        try:
            self._file.write(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(begin)
            raise GradlabError(
                f"{self._where}: {error.strerror}; what was finished before is kept, make room and begin again"
            ) from error
