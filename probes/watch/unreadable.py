"""Files that cannot be read: perhaps only not yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class _Failure:
    reason: str
    since: float
    told: bool


class Unreadable:
    """Files that could not be read, each reported once for a reason, when it has not changed for a while.

    Args:
        grace: seconds.
        clock: seconds that only grow.

    Example:
        >>> broken = Unreadable(grace=0.0)
        >>> broken.failed(Path("a.zip"), "cut short")
        >>> broken.due(), broken.report(Path("a.zip")), broken.due()
        ([PosixPath('a.zip')], 'cut short', [])
    """

    def __init__(self, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace = grace
        self._clock = clock
        self._failures: dict[Path, _Failure] = {}

    @property
    def reasons(self) -> dict[Path, str]:
        """Every file that could not be read when it was last tried."""
        return {path: failure.reason for path, failure in self._failures.items()}

    @property
    def pending(self) -> bool:
        """Whether there are files that are not reported yet."""
        return any(not failure.told for failure in self._failures.values())

    def failed(self, path: Path, reason: str) -> None:
        """The file came to rest and could not be read."""
        before = self._failures.get(path)
        told = before is not None and before.told and before.reason == reason
        self._failures[path] = _Failure(reason, self._clock(), told)

    def due(self) -> list[Path]:
        """Files that have not changed for as long as is waited for, and are not reported."""
        now = self._clock()
        return [p for p, failure in self._failures.items() if not failure.told and now - failure.since >= self._grace]

    def report(self, path: Path) -> str:
        """Why it cannot be read; nothing when it can by now."""
        failure = self._failures.get(path)
        if failure is None:
            return ""
        failure.told = True
        return failure.reason

    def pop(self, path: Path) -> None:
        """It can be read, or is gone."""
        self._failures.pop(path, None)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._failures)
