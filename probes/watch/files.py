"""The files of a directory that have stopped changing, found by looking again and again.

Polling sees what notifications do not: writes of another machine on a network file system. Times of files are compared
with nothing but themselves, since that machine's clock is its own.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from probes.checkpoints.walking import walk


@dataclass(frozen=True)
class Signature:
    """What changes whenever a file is written to, renamed onto or given other permissions."""

    size: int
    modified: int
    changed: int


@dataclass
class _Seen:
    signature: Signature
    since: float
    handed: bool = False


class Files:
    """The files under a directory whose names match, each handed out once it has held still, and again if it changes.

    Directories are gone through to the bottom, but not those that are links. What begins with a dot or has an ending
    of unfinished files is passed over without a word.

    Args:
        root: the directory; it need not exist yet.
        pattern: of the name, or of the path below ``root``, as in a shell.
        settle: seconds a file must hold its size and times.
        clock: seconds that only grow.

    Attributes:
        present: files that match, as of the last look.
        growing: those of them that have not held still for long enough.
        missing: whether there was no directory at the last look.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = Files(Path(folder), "*.zip", settle=0.0)
        ...     _ = (Path(folder) / "a.zip").write_bytes(b"1"), (Path(folder) / "b.zip.part").write_bytes(b"1")
        ...     [[path.name for path in files.look()] for _ in range(3)]
        [[], ['a.zip'], []]
    """

    def __init__(self, root: Path, pattern: str, settle: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._pattern = pattern
        self._settle = settle
        self._clock = clock
        self._seen: dict[Path, _Seen] = {}
        self._news: list[str] = []
        self._told: set[str] = set()
        self.present: frozenset[Path] = frozenset()
        self.growing: frozenset[Path] = frozenset()
        self.missing = False

    def look(self) -> list[Path]:
        """Files that have come to rest since the last look, in the order of their names; always at the second look."""
        now = self._clock()
        seen: dict[Path, _Seen] = {}
        rested = []
        for path in self._walk():
            signature = self._sign(path)
            if signature is None:
                continue
            before = self._seen.get(path)
            if before is None or before.signature != signature:
                seen[path] = _Seen(signature, now)
                continue
            seen[path] = before
            if not before.handed and now - before.since >= self._settle:
                before.handed = True
                rested.append(path)
        self._seen = seen
        self.present = frozenset(seen)
        self.growing = frozenset(path for path, one in seen.items() if not one.handed)
        return sorted(rested)

    def news(self) -> list[str]:
        """What was passed over since the last call, a line a kind of file, and directories that cannot be read."""
        news, self._news = self._news, []
        return news

    def _walk(self) -> Iterator[Path]:
        self.missing = not self._root.is_dir()
        if self.missing:
            return
        for path in walk(self._root, self._refused):
            if self._matches(path):
                yield path
            else:
                ending = path.suffix or "no ending"
                self._tell(
                    ending,
                    f"{self._below(path)}: does not match {self._pattern} and is passed over, "
                    f"as are all files with {ending if path.suffix else 'no ending'} that do not",
                )

    def _matches(self, path: Path) -> bool:
        below = self._below(path)
        return fnmatchcase(path.name, self._pattern) or fnmatchcase(below, self._pattern)

    def _sign(self, path: Path) -> Signature | None:
        """None of what is gone, or is no file: to open a pipe would be to wait for its other end."""
        try:
            facts = path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._tell(str(path), f"{self._below(path)}: cannot be looked at ({error.strerror})")
            return None
        if not stat.S_ISREG(facts.st_mode):
            self._tell(str(path), f"{self._below(path)}: is no regular file and is passed over")
            return None
        return Signature(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)

    def _refused(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._tell(str(error.filename), f"directory {error.filename}: cannot be read ({error.strerror})")

    def _below(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _tell(self, once: str, text: str) -> None:
        if once not in self._told:
            self._told.add(once)
            self._news.append(text)
