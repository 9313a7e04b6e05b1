"""Writes that wait for a store: in order, kept while the store is away, never waited for by training."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from gradlab.errors import GradlabError

log = logging.getLogger("gradlab")

#: Seconds between two tries while the store is away.
_PAUSE = 0.5


class Outbox:
    """Writes in order, in a thread of its own; what the store does not take now is kept and tried again.

    A store that is away (locked, full, unmounted) keeps the writes waiting; a write that is itself at fault is
    dropped and counted, so that it does not hold up the others.

    Args:
        limit: writes kept at most; beyond it the oldest are given up and counted in ``lost``.

    Attributes:
        lost: writes given up.
        seconds: processor time the thread has used, which it takes from its own process.

    Example:
        >>> outbox, written = Outbox(), []
        >>> outbox.put(lambda: written.append(1))
        >>> outbox.close(5.0)
        >>> written, outbox.lost
        ([1], 0)
    """

    def __init__(self, limit: int = 256) -> None:
        self.limit = limit
        self.lost = 0
        self.seconds = 0.0
        self._waiting: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._away = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="gradlab-outbox", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Writes the store has not taken yet."""
        return len(self._waiting)

    def put(self, write: Callable[[], object]) -> None:
        """Write, after whatever waits already; returns at once."""
        with self._changed:
            self._waiting.append(write)
            if len(self._waiting) > self.limit:
                self._waiting.popleft()
                self.lost += 1
            self._changed.notify()

    def close(self, wait: float) -> None:
        """Give the store at most ``wait`` seconds to take what is left; the rest is lost, and that is said."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(wait)
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
            self.lost += left
        if left:
            log.warning("gradlab: %d records never reached the store and are lost", left)

    # The thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        last = False  # whether the write tried last was tried after closing began
        while True:
            with self._changed:
                if self._away and not self._closing:
                    self._changed.wait_for(lambda: self._closing, _PAUSE)
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting or (self._away and last):
                    return
                last = self._closing
                write = self._waiting[0]
            begun = time.thread_time()
            taken = self._try(write)
            self.seconds += time.thread_time() - begun
            with self._changed:
                # While it was being written it may have been the oldest of too many.
                if taken and self._waiting and self._waiting[0] is write:
                    self._waiting.popleft()

    def _try(self, write: Callable[[], object]) -> bool:
        try:
            write()
        except (GradlabError, SQLAlchemyError, OSError) as error:
            if not self._away:
                log.warning("gradlab: the store takes no records now; they are kept and tried again (%s)", error)
            self._away = True
            return False
        except Exception:
            log.exception("gradlab: a record could not be written and is dropped")
            self.lost += 1
        self._away = False
        return True
