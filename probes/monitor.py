"""Monitor: calls the probes when they are due, within the budget, and keeps trouble away from the training run."""

from __future__ import annotations

import atexit
import copy
import ctypes
import logging
import multiprocessing
import multiprocessing.util
import os
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gradlab.agent import Agent
from gradlab.errors import first_line
from gradlab.rollout import Rollout
from gradlab.store import RunWriter, Store
from gradlab.store.records import MeasurementStatus, RunStatus, Where
from probes.attempt import attempt
from probes.background import Background
from probes.book import Book
from probes.budget import Budget
from probes.entries import new_token
from probes.mirror import Mirror
from probes.probe import Probe, RolloutProbe, generator_for
from probes.quiet import quiet
from probes.slot import MAX_FAILURES, Slot
from probes.source import Source
from probes.spool import spool_root
from probes.status import Status
from probes.worker import Hello, Job

log = logging.getLogger("gradlab")

#: Seconds between looks at the clock's business: heartbeats, outcomes, measurements that wait for budget.
_PAUSE = 0.25
_HEARTBEAT = 2.0
_TOO_FEW = "too few observations yet"
_NO_ROLLOUT = "no whole rollout yet"
#: The monitors of this process, for a process that is forked from it.
_living: weakref.WeakSet[Monitor] = weakref.WeakSet()


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
        # A weak reference: the exit hook must not keep a discarded monitor alive.
        atexit.register(_close_at_exit, weakref.ref(self), os.getpid())
        if multiprocessing.parent_process() is not None:
            # The children of multiprocessing end without the exit hooks of the interpreter.
            multiprocessing.util.Finalize(None, _close_at_exit, args=(weakref.ref(self), os.getpid()), exitpriority=100)
        _living.add(self)

    def begin(self) -> None:
        """Start a run: of its own accord when the monitor is made, and again to measure anew after ``close``."""
        self._book = Book(*self._open_run(), self._mirror)
        self._slots = [Slot(probe) for probe in self._probes]
        self._budget = Budget(self._share)
        self._random = np.random.default_rng(self._seed)
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
        self._background = Background(hello) if any(slot.background for slot in self._slots) else None
        # One that nobody holds any more is never asked to close.
        self._discarded = weakref.finalize(self, _close_discarded, self._book, self._background, os.getpid())
        self._discarded.atexit = False
        self._faults = 0
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
        self._step = step
        if not self.closed and time.perf_counter() >= self._attend_time:
            self._guard(self._attend)

    def close(self, status: RunStatus = "finished", message: str = "", *, wait: float = 30.0) -> None:
        """End the run: wait for the background measurement in flight, write the status, close the store.

        Args:
            status: "finished", "stopped" or "failed".
            message: why, in one line.
            wait: seconds to wait for the background measurement.
        """
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
                self._collect()
        finally:
            for slot in self._slots:
                if slot.obstacle and self._waits(slot, self._step):
                    self._record(self._step, slot, status="skipped", message=f"{slot.obstacle} until the run ended")
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
            stopped={slot.probe.name: slot.stopped for slot in self._slots if slot.stopped},
            left_out=dict(self.left_out),
            **self._book.totals(),
        )

    @property
    def measures_rollouts(self) -> bool:
        """Whether a probe that has not been stopped wants rollouts."""
        wanted = any(isinstance(slot.probe, RolloutProbe) and not slot.stopped for slot in self._slots)
        return wanted and not self.closed

    # Inside -------------------------------------------------------------------------------------------------

    def _updated(self, *_: object) -> None:
        """Called by the optimizer after each of its steps."""
        self._updates += 1
        clock = self._source.clock
        if clock is None:
            self.step(self._updates)
        elif not self.closed:
            self._guard(lambda: self.step(clock()))

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            # The instrument's own fault must not end somebody's training run.
            self._faults += 1
            try:
                self._blame(error)
            except Exception:
                self._faults = MAX_FAILURES
                log.exception("gradlab cannot record what went wrong")
            if self._faults >= MAX_FAILURES:
                log.error("gradlab stops measuring this run; training goes on", exc_info=error)
                self._wake_step = sys.maxsize
                self._wake_time = self._attend_time = float("inf")

    def _blame(self, error: Exception) -> None:
        """What goes wrong outside the probes (in a sampler, in a view of the agent) has failed all that was due."""
        trace = "".join(traceback.format_exception(error))
        begun = {due.probe: token for token, due in self._book.unsettled.items() if due.where == "inline"}
        for slot in self._slots:
            if self._waits(slot, self._step):
                token = begun.get(slot.probe.name) or self._due(self._step, slot)
                self._book.settle(token, status="failed", message=first_line(error), traceback=trace)
                slot.taken(self._step)
                self._done(slot, "failed", first_line(error))
                # Three in a row stop the probe, and so the trouble.
                self._faults = 0

    def _tick(self, step: int, obs: Any, rollout: Rollout | None) -> None:
        self._step = step
        live: Agent | None = None
        wake: float = sys.maxsize
        broke = False
        # The longest overdue goes first, and what it cannot afford nobody else spends: no probe is starved.
        for slot in sorted(self._slots, key=lambda slot: slot.due):
            if not self._waits(slot, step):
                continue
            reason = self._obstacle(slot, broke)
            broke = broke or (bool(reason) and not slot.background)
            batch, lack = (None, "") if reason else self._given(slot.probe, obs, rollout)
            reason = reason or lack
            if reason:
                # The clock wakes the monitor again for a budget or a process; a step for observations.
                wake = step + 1 if lack else wake
                slot.obstacle = reason
                if slot.missed(step):
                    self._record(step, slot, status="skipped", message=reason)
                continue
            begun = time.perf_counter()
            with quiet():
                live = live or self._source.view()
                # What goes to the background is copied on its way; a probe may do with its copy as it likes.
                tried = self._measure(slot, live if slot.background else live.snapshot(), batch, step)
            if tried:
                slot.taken(step)
            else:
                wake = step + 1
            self._budget.charge(slot.probe.name, time.perf_counter() - begun)
        self._attend()
        self._wake_step = min([wake, *(slot.wakes(step) for slot in self._slots)])
        self._wake_time = time.perf_counter() + _PAUSE

    def _attend(self) -> None:
        """What goes on beside measuring: outcomes of the background process, the cost of writing, heartbeats."""
        self._collect()
        self._budget.spent += self._book.seconds - self._writing
        self._writing = self._book.seconds
        now = time.perf_counter()
        if now - self._beat > _HEARTBEAT:
            self._beat = now
            self._book.alive(self._step)
        self._attend_time = now + _PAUSE

    def _waits(self, slot: Slot, step: int) -> bool:
        try:
            return slot.waits(step)
        except Exception as error:  # noqa: BLE001 - the user's own function, which may fail in any way
            slot.stopped = f"stopped, as its schedule raised {first_line(error)}"
            self._record(step, slot, status="failed", message=slot.stopped, trace=traceback.format_exc())
            log.warning("gradlab: probe %s %s", slot.probe.name, slot.stopped)
            return False

    def _obstacle(self, slot: Slot, broke: bool) -> str:
        if slot.background:
            assert self._background is not None
            if self._background.gone:
                return self._background.gone
            if not self._background.idle:
                return "the background process is busy"
        elif broke or not self._budget.allows(slot.probe.name):
            return f"over the budget of {self._budget.share:.0%} of wall time"
        return ""

    def _given(self, probe: Probe, obs: Any, rollout: Rollout | None) -> tuple[Any, str]:
        """What the probe is handed to measure at, and what it waits for where that is not there."""
        if isinstance(probe, RolloutProbe):
            if rollout is None and self._source.rollout is not None:
                rollout = self._source.rollout()
            return rollout, _NO_ROLLOUT if rollout is None else ""
        if not probe.needs_observations:
            return None, ""
        batch = self._observations(probe, obs)
        return batch, _TOO_FEW if batch is None else ""

    def _observations(self, probe: Probe, given: Any) -> Any:
        if given is not None:
            return probe.choose(given if len(given) <= probe.states else given[: probe.states])
        sampled = None if self._source.sample is None else self._source.sample(probe.states, self._random)
        return None if sampled is None else probe.choose(sampled)

    def _measure(self, slot: Slot, agent: Agent, obs: Any, step: int) -> bool:
        """Measure, or hand over to the background; whether it was tried, rather than put off."""
        probe = slot.probe
        if slot.background:
            assert self._background is not None
            try:
                job = Job(new_token(), _for_travel(probe), agent, obs, step)
                self._background.submit(job)
            except Exception as error:  # noqa: BLE001 - what travels is the user's, and may refuse in any way
                slot.inline = f"it cannot be sent to the background process ({type(error).__name__}: {error})"
                log.warning(
                    "gradlab: probe %s is measured in the training process: %s; what it holds of the agent, such as a "
                    "function that keeps a lock or an open file, cannot be copied to another",
                    probe.name,
                    slot.inline,
                )
                return False
            self._due(step, slot, job.token)
            return True
        token = self._due(step, slot)
        tried = attempt(probe, agent, obs, generator_for(self._seed, probe.name, step))
        measurement = tried.measurement
        if measurement is not None and slot.inline:
            note = f"measured in the training process, as {slot.inline}"
            measurement = replace(measurement, notes=(*measurement.notes, note))
        self._book.settle(
            token,
            measurement,
            status=tried.status,
            message=tried.message,
            traceback=tried.traceback,
            cost=tried.seconds,
        )
        self._done(slot, tried.status, tried.message)
        return True

    def _done(self, slot: Slot, status: MeasurementStatus, message: str) -> None:
        if slot.ended(status == "failed", message):
            log.warning("gradlab: probe %s %s", slot.probe.name, slot.stopped)

    def _collect(self) -> None:
        """Book what the background process has done; it writes its measurements itself."""
        if self._background is None:
            return
        slots = {slot.probe.name: slot for slot in self._slots}
        for outcome in self._background.outcomes():
            slot = slots[outcome.probe]
            if outcome.written:
                self._book.settle_written(
                    outcome.token, outcome.status, outcome.scalars, stored=outcome.stored, spooled=outcome.spooled
                )
            else:
                self._book.settle(
                    outcome.token, status=outcome.status, message=outcome.message, traceback=outcome.traceback
                )
            self._done(slot, outcome.status, outcome.message)

    def _due(self, step: int, slot: Slot, token: str | None = None) -> str:
        where: Where = "background" if slot.background else "inline"
        return self._book.fall_due(step, slot.probe.name, where, token)

    def _record(self, step: int, slot: Slot, *, status: MeasurementStatus, message: str, trace: str = "") -> None:
        """A measurement fell due, and there is none."""
        self._book.settle(self._due(step, slot), status=status, message=message, traceback=trace)

    def _forget(self) -> None:
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


def _for_travel(probe: Probe) -> Probe:
    """The probe without its schedule, which may be a function of the training script's that cannot travel."""
    other = copy.copy(probe)
    other.every = 1
    return other


def _forget_all() -> None:
    for monitor in list(_living):
        monitor._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _close_discarded(book: Book, background: Background | None, process: int) -> None:
    if os.getpid() != process:
        return
    if background is not None:
        background.close(0.0)
    book.close(None, "stopped", "the monitor was discarded before it was closed")


def _close_at_exit(reference: weakref.ref[Monitor], process: int) -> None:
    monitor = reference()
    if monitor is None or monitor.closed or os.getpid() != process:
        return
    # The interpreter leaves here what ended the program; in an interactive one it may be any earlier mistake.
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    if error is None or isinstance(error, KeyboardInterrupt):
        monitor.close("stopped", "the program ended before the monitor was closed", wait=0.0)
    else:
        monitor.close("failed", f"{type(error).__name__}: {error}", wait=0.0)
