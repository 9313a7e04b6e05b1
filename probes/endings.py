"""Endings: what becomes of a monitor whose process ends, forks, or forgets it before it is closed."""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.util
import os
import sys
import weakref
from collections.abc import Callable
from typing import Protocol

from gradlab.store.records import RunStatus


class Ending(Protocol):
    """What is asked of a monitor here."""

    closed: bool

    def close(self, status: RunStatus = "finished", message: str = "", *, wait: float = 30.0) -> None:
        """End the run."""

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's without a word."""


#: The monitors of this process, for a process that is forked from it.
_living: weakref.WeakSet[Ending] = weakref.WeakSet()


def watch_over(monitor: Ending) -> None:
    """Close it when the process ends, and have it forgotten in processes forked from this one."""
    # A weak reference: the exit hook must not keep a discarded monitor alive.
    reference = weakref.ref(monitor)
    atexit.register(_close_at_exit, reference, os.getpid())
    if multiprocessing.parent_process() is not None:
        # The children of multiprocessing end without the exit hooks of the interpreter.
        multiprocessing.util.Finalize(None, _close_at_exit, args=(reference, os.getpid()), exitpriority=100)
    _living.add(monitor)


def when_discarded(monitor: Ending, close: Callable[[], None]) -> weakref.finalize[[], Ending]:
    """Call ``close``, which must not hold the monitor, when nobody holds the monitor any more; for ``detach``."""
    finalizer = weakref.finalize(monitor, _close_discarded, close, os.getpid())
    finalizer.atexit = False
    return finalizer  # type: ignore[return-value]


def _close_discarded(close: Callable[[], None], process: int) -> None:
    if os.getpid() == process:
        close()


def _close_at_exit(reference: weakref.ref[Ending], process: int) -> None:
    monitor = reference()
    if monitor is None or monitor.closed or os.getpid() != process:
        return
    # The interpreter leaves here what ended the program; in an interactive one it may be any earlier mistake.
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    if error is None or isinstance(error, KeyboardInterrupt):
        monitor.close("stopped", "the program ended before the monitor was closed", wait=0.0)
    else:
        monitor.close("failed", f"{type(error).__name__}: {error}", wait=0.0)


def _forget_all() -> None:
    for monitor in list(_living):
        monitor.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
