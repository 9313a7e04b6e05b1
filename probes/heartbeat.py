"""Signs of life of runs, while a measurement of their checkpoints goes on."""

from __future__ import annotations

import contextlib
import threading

from sqlalchemy.exc import SQLAlchemyError

from gradlab.errors import GradlabError
from gradlab.store import RunWriter

#: Seconds between two signs of life.
PAUSE = 2.0


class Heartbeat:
    """A thread that says every two seconds of some runs that they go on; the context ends it.

    A store that does not take a sign of life is not asked again before the next: the measurements, which it must take,
    find out what is wrong.
    """

    def __init__(self) -> None:
        self._steps: dict[int, tuple[RunWriter, int]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="gradlab-heartbeat", daemon=True)

    def at(self, run: RunWriter, step: int) -> None:
        """The run goes on, and is at this step; written with the next beat."""
        with self._lock:
            self._steps[run.id] = (run, step)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(PAUSE):
            with self._lock:
                beats = list(self._steps.values())
            for run, step in beats:
                with contextlib.suppress(GradlabError, SQLAlchemyError, OSError):
                    run.heartbeat(step)
