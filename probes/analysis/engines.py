"""Doing tasks: in this process, in processes of this machine, or on a cluster, all by joblib.

Results come as they are done. Work lost with a worker is done again; a task that ends its worker again and again is
given up.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from gradlab.errors import GradlabError, first_line
from probes.analysis.tasks import Outcome, Task, perform

#: How often a task is tried whose worker ends.
TRIES = 3


@dataclass(frozen=True)
class Engine:
    """Where tasks are done.

    Attributes:
        workers: how many at a time.
        backend: joblib's name of it; empty for this process.
        session: what is open while tasks are done.
    """

    workers: int
    backend: str = ""
    session: Callable[[], AbstractContextManager[Any]] = nullcontext


class _Performer(Protocol):
    def __call__(self, task: Task, parent: int, /) -> Outcome: ...


def results(tasks: Sequence[Task], engine: Engine, do: _Performer | None = None) -> Iterator[Outcome]:
    """What came of the tasks, in the order in which they are done.

    Args:
        tasks: the tasks; none may depend on another.
        engine: where they are done.
        do: what does one; for tests.
    """
    waiting = {task.token: task for task in tasks}
    ended: Counter[str] = Counter()
    fruitful = False
    with engine.session():
        while waiting:
            suspects = [task for token, task in waiting.items() if ended[token]]
            # One that may have ended its worker is tried alone, so that it takes no other with it.
            batch = suspects[:1] or list(waiting.values())
            flying: dict[str, Task] = {}
            try:
                for outcome in _round(batch, engine, do or work, flying):
                    flying.pop(outcome.token, None)
                    waiting.pop(outcome.token, None)
                    fruitful = True
                    yield outcome
            except GradlabError:
                raise
            except Exception as error:
                said = _said(error)
                if not flying:
                    raise GradlabError(f"engine {engine.backend or 'local'}: {said}") from error
                for token in flying:
                    ended[token] += 1
                    if ended[token] >= TRIES:
                        if not fruitful:
                            # No worker has done anything: what is wrong is not the task.
                            raise GradlabError(f"engine {engine.backend}: no worker works: {said}") from error
                        del waiting[token]
                        yield Outcome(token, None, f"its worker ended {TRIES} times ({said})")


def work(task: Task, parent: int) -> Outcome:
    """Do a task in a worker, which ends when the process that handed it out does."""
    if parent and os.getpid() != parent:
        _stay_with(parent)
    return perform(task)


def _round(tasks: Iterable[Task], engine: Engine, do: _Performer, flying: dict[str, Task]) -> Iterator[Outcome]:
    if not engine.backend:
        for task in tasks:
            yield do(task, 0)
        return
    import joblib

    # Workers of this machine are children of this process.
    parent = os.getpid() if engine.backend == "loky" else 0

    def handed_out() -> Iterator[Any]:
        for task in tasks:
            flying[task.token] = task
            yield joblib.delayed(do)(task, parent)

    with joblib.parallel_config(backend=engine.backend, n_jobs=engine.workers, **_one_thread(engine.backend)):
        yield from joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")(handed_out())


def _said(error: Exception) -> str:
    """What an error says, on one line; Ray's end with their cause, in colours."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    if type(error).__module__.startswith("ray") and lines:
        return f"{type(error).__name__}: {lines[-1].strip()}"
    return first_line(error)


def _one_thread(backend: str) -> dict[str, Any]:
    return {"inner_max_num_threads": 1} if backend == "loky" else {}


_bound = threading.Event()


def _stay_with(parent: int) -> None:
    """End with the parent, however that ends; an interrupt is the parent's to answer."""
    if _bound.is_set():
        return
    _bound.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="gradlab-parent", daemon=True).start()
