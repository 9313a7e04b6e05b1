"""Monitor: calls the probes when they are due, within the budget, and keeps trouble away from the training run."""

from __future__ import annotations

import ctypes
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gradlab.arguments import shown, whole
from gradlab.errors import GradlabError
from gradlab.rollout import Rollout
from gradlab.simulation.workers import cores
from gradlab.store import RunWriter, Store
from gradlab.store.records import RunStatus
from probes.background import Background
from probes.book import Book
from probes.budget import Budget
from probes.duty import Duty, limit
from probes.endings import watch_over, when_discarded
from probes.mirror import Mirror
from probes.probe import Probe
from probes.rota import Rota
from probes.slot import MAX_FAILURES
from probes.source import Source
from probes.spool import spool_root
from probes.status import Status
from probes.worker import Hello

log = logging.getLogger("gradlab")

#: Seconds between looks at the clock's business: heartbeats, outcomes, measurements that wait for budget.
_PAUSE = 0.25
_HEARTBEAT = 2.0
#: Part of the budget that is for what a busy background process takes from training on another core.
_BESIDE = 1 / 3


class Monitor:
    """What ``probes.attach`` returns: tell it the step, and it measures when something is due.

    Nothing that goes wrong inside reaches the caller: a probe that raises is recorded as failed, and stopped
    after three failures in a row.

    Args:
        source: the training run.
        probes: what to measure.
        open_run: opens the store and starts a run in it; the monitor closes both.
        budget: share of wall time, or None.
        seed: seed of the measurements' own randomness.
        left_out: probes that were refused, with the reason.
        store_url: address the background process opens the store by.
        mirror: where the numbers go, too.
    """

    def __init__(
        self,
        source: Source,
        probes: Sequence[Probe],
        open_run: Callable[[], tuple[Store, RunWriter]],
        *,
        store_url: str,
        budget: float | None = 0.03,
        seed: int = 0,
        left_out: dict[str, str] | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self.left_out = dict(left_out or {})
        self._source = source
        self._probes = tuple(probes)
        self._open_run = open_run
        self._store_url = store_url
        self._share = budget
        self._seed = seed
        self._mirror = mirror
        self.begin()
        watch_over(self)

    def begin(self) -> None:
        """Start a run: of its own accord when the monitor is made, and again to measure anew after ``close``."""
        self._book = Book(*self._open_run(), self._mirror)
        dear = sum(probe.background for probe in self._probes)
        # What the background process takes from training is in the budget, too.
        rest = _BESIDE if dear else 0.0
        self._budget = Budget(self._share, 1.0 - rest)
        duty = Duty(limit(None if self._share is None else rest * self._share, cores()), dear)
        self._step = 0
        self._wake_step: float = 0
        self._wake_time = 0.0
        self._attend_time = 0.0
        self._beat = 0.0
        self._writing = 0.0
        self.closed = False
        hello = Hello(
            path=list(sys.path),
            store=self._store_url,
            identity=self._book.identity,
            run=self.run.id,
            seed=self._seed,
            spool=spool_root(),
        )
        background = Background(hello) if dear else None
        book, self._background = self._book, background
        self._rota = Rota(self._probes, self._source, book, background, self._budget, duty, self._seed)

        def close_discarded() -> None:
            if background is not None:
                background.close(0.0)
            book.close(None, "stopped", "the monitor was discarded before it was closed")

        # One that nobody holds any more is never asked to close.
        self._discarded = when_discarded(self, close_discarded)
        self._faults = 0
        self._said: set[str] = set()
        self._updates = 0
        optimizer = self._source.optimizer
        # A compiled function that steps the optimizer leaves its compiled code to call the hook.
        hook = torch.compiler.disable(self._updated)
        self._hook = None if optimizer is None else optimizer.register_step_post_hook(hook)

    # The training loop's side -------------------------------------------------------------------------------

    def step(self, step: int, obs: Any = None, rollout: Rollout | None = None) -> None:
        """Tell the monitor that training is at ``step``; measures what is due.

        Args:
            step: environment steps so far; non-decreasing.
            obs: observations [B, n] to measure at, where the monitor was not given a sampler; a probe that wants
                fewer takes the first, so they should be in random order.
            rollout: what an on-policy loop is about to train on, for probes that measure rollouts.
        """
        if type(step) is not int or step < self._step:
            checked = self._checked(step)
            if checked is None:
                return
            step = checked
        if step < self._wake_step and time.perf_counter() < self._wake_time:
            self._step = step
            return
        if self.closed:
            return
        self._guard(lambda: self._tick(step, obs, rollout))

    def alive(self, step: int) -> None:
        """Tell the monitor that training is at ``step`` where nothing can be measured: its record goes on.

        Args:
            step: environment steps so far; non-decreasing.
        """
        checked = self._checked(step)
        if checked is None:
            return
        self._step = checked
        if not self.closed and time.perf_counter() >= self._attend_time:
            self._guard(self._attend)

    def close(self, status: RunStatus = "finished", message: str = "", *, wait: float = 30.0) -> None:
        """End the run: wait for the background measurement in flight, write the status, close the store.

        Args:
            status: "finished", "stopped" or "failed".
            message: why, in one line.
            wait: seconds to wait for the background measurement.

        Raises:
            GradlabError: the status is none of these.
        """
        if status not in ("finished", "stopped", "failed"):
            raise GradlabError(f"close: status {shown(status)}; give 'finished', 'stopped' or 'failed'")
        if self.closed:
            return
        self.closed = True
        self._discarded.detach()
        if self._hook is not None:
            self._hook.remove()
        self._wake_step = sys.maxsize
        self._wake_time = float("inf")
        try:
            if self._background is not None:
                self._background.close(wait)
                self._rota.collect()
        finally:
            self._rota.end(self._step)
            self._book.close(self._step, status, message)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close()
        else:
            self.close("stopped" if kind is KeyboardInterrupt else "failed", f"{type(error).__name__}: {error}")

    @property
    def run(self) -> RunWriter:
        """The run in the store that measurements go to."""
        return self._book.run

    @property
    def status(self) -> Status:
        """What has been measured, skipped and spent."""
        return Status(
            step=self._step,
            cost=self._budget.share_spent,
            stopped=self._rota.stopped,
            left_out=dict(self.left_out),
            **self._book.totals(),
        )

    @property
    def measures_rollouts(self) -> bool:
        """Whether a probe that has not been stopped wants rollouts."""
        return self._rota.wants_rollouts and not self.closed

    @property
    def measures_experience(self) -> bool:
        """Whether a probe that has not been stopped wants the run's latest steps."""
        return self._rota.wants_experience and not self.closed

    # Inside -------------------------------------------------------------------------------------------------

    def _updated(self, *_: object) -> None:
        """Called by the optimizer after each of its steps."""
        self._updates += 1
        clock = self._source.clock
        if clock is None:
            self.step(self._updates)
        elif not self.closed:
            self._guard(lambda: self.step(clock()))

    def _checked(self, step: Any) -> int | None:
        """A step as a number; None, and said once, where it is none."""
        if not whole(step, 0):
            self._say_once("gradlab: step %s is no number of steps so far; nothing is measured there", shown(step))
            return None
        found = int(step)
        if found < self._step:
            self._say_once(
                "gradlab: training went back from step %d to %d; nothing is measured until it has passed what was due "
                "next before: give steps since the beginning of the run, or close() and attach() anew",
                self._step,
                found,
            )
        return found

    def _say_once(self, text: str, *about: object) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning(text, *about)

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            # The instrument's own fault must not end somebody's training run.
            self._faults += 1
            try:
                if self._rota.blame(error, self._step):
                    # Three in a row stop the probes, and so the trouble.
                    self._faults = 0
            except Exception:
                self._faults = MAX_FAILURES
                log.exception("gradlab cannot record what went wrong")
            if self._faults >= MAX_FAILURES:
                log.error("gradlab stops measuring this run; training goes on", exc_info=error)
                self._wake_step = sys.maxsize
                self._wake_time = self._attend_time = float("inf")

    def _tick(self, step: int, obs: Any, rollout: Rollout | None) -> None:
        self._step = step
        wake = self._rota.take(step, obs, rollout)
        self._attend()
        self._wake_step = wake
        self._wake_time = time.perf_counter() + _PAUSE

    def _attend(self) -> None:
        """What goes on beside measuring: outcomes of the background process, the cost of writing, heartbeats."""
        self._rota.collect()
        self._budget.spent += self._book.seconds - self._writing
        self._writing = self._book.seconds
        now = time.perf_counter()
        if now - self._beat > _HEARTBEAT:
            self._beat = now
            self._book.alive(self._step)
        self._attend_time = now + _PAUSE

    def forget(self) -> None:
        """In a forked child: the run, its worker and its store belong to the parent, and go on there."""
        if self.closed:
            return
        self.closed = True
        self._discarded.detach()
        self._wake_step = sys.maxsize
        self._wake_time = self._attend_time = float("inf")
        if self._background is not None:
            self._background.forget()
        # A connection that SQLite closes here would be closed under the parent's hands: it is kept for ever.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._book))
