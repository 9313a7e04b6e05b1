"""Threads that share chunks of work, with results that do not depend on how many threads there are."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from itertools import pairwise
from typing import TypeVar

from gradlab.simulation.lanes.base import Lanes
from gradlab.simulation.torch_threads import one_torch_thread

Result = TypeVar("Result")

#: Numbers of chunks are multiples of this, where there is enough work: it divides evenly between 2, 4, 8 or 16 threads.
_SHARES = 16

_mine = threading.local()


class _StoppedError(Exception):
    """Another thread's chunk failed, or the caller was interrupted."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunks(count: int, *, least: int, most: int) -> list[slice]:
    """Divide ``count`` lanes into chunks of nearly equal size, a function of these numbers alone.

    Args:
        count: lanes in all.
        least: no smaller chunks than this where it can be helped: each step of a chunk costs Python's time.
        most: no larger chunks than this.

    Example:
        >>> [piece.stop - piece.start for piece in chunks(50, least=16, most=128)]
        [16, 17, 17]
        >>> len(chunks(1024, least=16, most=128)), len(chunks(2368, least=16, most=128))
        (16, 32)
    """
    least = min(least, most)
    number = _SHARES * -(-count // (_SHARES * most)) if count >= _SHARES * least else count // least
    number = max(number, -(-count // most), 1)
    edges = [count * i // number for i in range(number + 1)]
    return [slice(begin, end) for begin, end in pairwise(edges)]


def go_on() -> None:
    """To be called now and then in a chunk: leaves it if the work has been called off meanwhile."""
    stop = getattr(_mine, "stop", None)
    if stop is not None and stop.is_set():
        raise _StoppedError


def spread(work: Callable[[Lanes, slice], Result], pieces: Sequence[slice], lanes: Sequence[Lanes]) -> list[Result]:
    """``work(lanes, piece)`` for every piece, in their order: in one thread for each of ``lanes``, all at once.

    Each call has lanes of its own and one torch thread. With one kind of lanes the caller's thread does all. When a
    call fails the others are called off, and its error is raised; so they are when the caller is interrupted.
    """
    if len(lanes) == 1 or len(pieces) < 2:
        with one_torch_thread():
            return [work(lanes[0], piece) for piece in pieces]
    crew = lanes[: len(pieces)]
    waiting, found, stop = deque(enumerate(pieces)), dict[int, Result](), threading.Event()

    def labour(mine: Lanes) -> None:
        _mine.stop = stop
        try:
            with one_torch_thread():
                while not stop.is_set():
                    try:
                        i, piece = waiting.popleft()
                    except IndexError:
                        return
                    found[i] = work(mine, piece)
        except _StoppedError:
            return

    with ThreadPoolExecutor(len(crew), thread_name_prefix="gradlab-lanes") as pool:
        # What the caller has set for its own context (numpy's handling of errors) holds in the threads, too.
        futures = [pool.submit(copy_context().run, labour, mine) for mine in crew]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # By now all is done, or to be left: the pool then waits for no more than the step each thread is at.
            stop.set()
    for future in futures:
        future.result()
    return [found[i] for i in range(len(pieces))]
