"""Writes that wait for a store: in order, kept while the store is away, never raised into training."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from gradlab.errors import GradlabError

log = logging.getLogger("gradlab")


class Outbox:
    """Writes in order; what the store does not take now is kept and tried again at the next write.

    A store that is away (locked, full, unmounted) keeps the writes waiting; a write that is itself at fault is
    dropped and counted, so that it does not hold up the others.

    Args:
        limit: writes kept at most; beyond it the oldest are given up and counted in ``lost``.

    Example:
        >>> outbox, written = Outbox(), []
        >>> outbox.put(lambda: written.append(1))
        >>> written, outbox.waiting, outbox.lost
        ([1], 0, 0)
    """

    def __init__(self, limit: int = 256) -> None:
        self.limit = limit
        self.lost = 0
        self._waiting: deque[Callable[[], object]] = deque()

    @property
    def waiting(self) -> int:
        """Writes the store has not taken yet."""
        return len(self._waiting)

    def put(self, write: Callable[[], object]) -> None:
        """Write, after whatever waits already."""
        was_waiting = bool(self._waiting)
        self._waiting.append(write)
        if len(self._waiting) > self.limit:
            self._waiting.popleft()
            self.lost += 1
        while self._waiting:
            try:
                self._waiting[0]()
            except (GradlabError, SQLAlchemyError, OSError) as error:
                if not was_waiting:
                    log.warning("gradlab: the store takes no records now; they are kept and tried again (%s)", error)
                return
            except Exception:
                log.exception("gradlab: a record could not be written and is dropped")
                self.lost += 1
            self._waiting.popleft()
