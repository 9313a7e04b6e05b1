"""Monitor: calls the probes when they are due, within the budget, and keeps trouble away from the training run."""

from __future__ import annotations

import atexit
import copy
import logging
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gradlab.agent import Agent
from gradlab.measurement import Measurement
from gradlab.rollout import Rollout
from gradlab.store import RunWriter, Store
from gradlab.store.records import MeasurementStatus, RunStatus, Where
from probes.attempt import attempt
from probes.background import Background
from probes.book import Book
from probes.budget import Budget
from probes.mirror import Mirror
from probes.probe import Probe, RolloutProbe, generator_for
from probes.quiet import quiet
from probes.slot import Slot
from probes.source import Source
from probes.status import Status
from probes.worker import Hello, Job

log = logging.getLogger("gradlab")

#: Seconds between looks at the clock's business: heartbeats, outcomes, measurements that wait for budget.
_PAUSE = 0.25
_HEARTBEAT = 2.0
_TOO_FEW = "too few observations yet"
_NO_ROLLOUT = "no whole rollout yet"


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
        atexit.register(_close_at_exit, weakref.ref(self))

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
        hello = Hello(path=list(sys.path), store=self._store_url, run=self.run.id, seed=self._seed)
        self._background = Background(hello) if any(slot.background for slot in self._slots) else None
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
        if self._hook is not None:
            self._hook.remove()
        self._wake_step = sys.maxsize
        self._wake_time = float("inf")
        if self._background is not None:
            self._background.close(wait)
            self._collect()
        for slot in self._slots:
            if slot.obstacle and slot.waits(self._step):
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
            measured=self._book.counted("ok"),
            skipped=self._book.counted("skipped"),
            failed=self._book.counted("failed"),
            cost=self._budget.share_spent,
            stopped={slot.probe.name: slot.stopped for slot in self._slots if slot.stopped},
            left_out=dict(self.left_out),
            lost=self._book.lost,
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
        except Exception:
            # The instrument's own fault must not end somebody's training run; it ends the instrument.
            log.exception("gradlab stops measuring this run; training goes on")
            self._wake_step = sys.maxsize
            self._wake_time = self._attend_time = float("inf")

    def _tick(self, step: int, obs: Any, rollout: Rollout | None) -> None:
        self._step = step
        agent: Agent | None = None
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
                agent = agent or self._source.view().snapshot()
                tried = self._measure(slot, agent, batch, step)
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
            slot.stopped = f"stopped, as its schedule raised {type(error).__name__}: {error}"
            self._record(step, slot, status="failed", message=slot.stopped)
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
                self._background.submit(Job(_for_travel(probe), agent, obs, step))
            except Exception as error:  # noqa: BLE001 - what travels is the user's, and may refuse in any way
                slot.inline = f"it cannot be sent to the background process ({type(error).__name__}: {error})"
                log.warning(
                    "gradlab: probe %s is measured in the training process: %s; what it holds of the agent, such as a "
                    "function that keeps a lock or an open file, cannot be copied to another",
                    probe.name,
                    slot.inline,
                )
                return False
            return True
        tried = attempt(probe, agent, obs, generator_for(self._seed, probe.name, step))
        measurement = tried.measurement
        if measurement is not None and slot.inline:
            note = f"measured in the training process, as {slot.inline}"
            measurement = replace(measurement, notes=(*measurement.notes, note))
        self._record(step, slot, measurement, status=tried.status, message=tried.message, cost=tried.seconds)
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
            if outcome.recorded:
                self._book.count(outcome.step, outcome.probe, outcome.status, outcome.scalars)
            else:
                self._record(outcome.step, slot, status=outcome.status, message=outcome.message)
            self._done(slot, outcome.status, outcome.message)

    def _record(
        self,
        step: int,
        slot: Slot,
        measurement: Measurement | None = None,
        *,
        status: MeasurementStatus = "ok",
        message: str = "",
        cost: float = 0.0,
    ) -> None:
        where: Where = "background" if slot.background else "inline"
        self._book.enter(step, slot.probe.name, measurement, where=where, status=status, message=message, cost=cost)


def _for_travel(probe: Probe) -> Probe:
    """The probe without its schedule, which may be a function of the training script's that cannot travel."""
    other = copy.copy(probe)
    other.every = 1
    return other


def _close_at_exit(reference: weakref.ref[Monitor]) -> None:
    monitor = reference()
    if monitor is None or monitor.closed:
        return
    # The interpreter leaves here what ended the program; in an interactive one it may be any earlier mistake.
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    if error is None or isinstance(error, KeyboardInterrupt):
        monitor.close("stopped", "the program ended before the monitor was closed", wait=0.0)
    else:
        monitor.close("failed", f"{type(error).__name__}: {error}", wait=0.0)
