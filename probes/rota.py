"""Rota: the probes of a run, each taking its turn when it is due and there is room for it."""

from __future__ import annotations

import copy
import logging
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gradlab.agent import Agent
from gradlab.errors import first_line
from gradlab.rollout import Rollout
from gradlab.store.records import MeasurementStatus, Where
from probes.attempt import attempt
from probes.background import Background
from probes.book import Book
from probes.budget import Budget
from probes.duty import Duty
from probes.entries import new_token
from probes.giving import given
from probes.probe import ExperienceProbe, Probe, RolloutProbe, choice_for, generator_for
from probes.quiet import quiet
from probes.slot import Slot
from probes.source import Source
from probes.worker import Job

log = logging.getLogger("gradlab")


class Rota:
    """Measures what is due, or hands it over to the background, and books what came of it.

    Args:
        probes: what to measure.
        source: the training run.
        book: where everything is entered.
        background: the process for dear probes; None where no probe is.
        budget: what the others may cost.
        duty: how busy the background process may be.
        seed: seed of the measurements' own randomness.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        source: Source,
        book: Book,
        background: Background | None,
        budget: Budget,
        duty: Duty,
        seed: int,
    ) -> None:
        self._slots = [Slot(probe) for probe in probes]
        self._source = source
        self._book = book
        self._background = background
        self._budget = budget
        self._duty = duty
        self._seed = seed

    @property
    def stopped(self) -> dict[str, str]:
        """Probes that are not tried any more, with the reason."""
        return {slot.probe.name: slot.stopped for slot in self._slots if slot.stopped}

    @property
    def wants_rollouts(self) -> bool:
        """Whether a probe that has not been stopped wants rollouts."""
        return any(isinstance(slot.probe, RolloutProbe) and not slot.stopped for slot in self._slots)

    @property
    def wants_experience(self) -> bool:
        """Whether a probe that has not been stopped wants the run's latest steps."""
        return any(isinstance(slot.probe, ExperienceProbe) and not slot.stopped for slot in self._slots)

    def take(self, step: int, obs: Any, rollout: Rollout | None) -> float:
        """Measure what is due at this step.

        Returns:
            The next step at which there is something to look at.
        """
        # What has come back is paid for before anything else is begun.
        self.collect()
        live: Agent | None = None
        wakes: list[float] = []
        broke = False
        # The longest overdue goes first, and what it cannot afford nobody else spends: no probe is starved.
        for slot in sorted(self._slots, key=lambda slot: slot.due):
            if not self._waits(slot, step):
                continue
            reason = self._obstacle(slot, broke)
            broke = broke or (bool(reason) and not slot.background)
            batch, lack = (None, "") if reason else self._given(slot.probe, step, obs, rollout)
            reason = reason or lack
            if reason:
                # The clock wakes the monitor again for a budget or a process; a step for observations.
                wakes += [step + 1] if lack else []
                slot.obstacle = reason
                if slot.missed(step):
                    self._record(step, slot, status="skipped", message=reason)
                continue
            begun = time.perf_counter()
            with quiet():
                live = live or self._source.view()
                tried = self._measure(slot, live, batch, step)
            if tried:
                slot.taken(step)
            else:
                wakes.append(step + 1)
            self._budget.charge(slot.probe.name, time.perf_counter() - begun)
        return min([*wakes, *(slot.wakes(step) for slot in self._slots)], default=float("inf"))

    def collect(self) -> None:
        """Book what the background process has done; it writes its measurements itself."""
        if self._background is None:
            return
        slots = {slot.probe.name: slot for slot in self._slots}
        for outcome in self._background.outcomes():
            self._duty.charge(outcome.probe, outcome.seconds)
            if outcome.written:
                self._book.settle_written(
                    outcome.token, outcome.status, outcome.scalars, stored=outcome.stored, spooled=outcome.spooled
                )
            else:
                self._book.settle(
                    outcome.token, status=outcome.status, message=outcome.message, traceback=outcome.traceback
                )
            self._done(slots[outcome.probe], outcome.status, outcome.message)

    def blame(self, error: Exception, step: int) -> bool:
        """What goes wrong outside the probes (in a sampler, in a view of the agent) has failed all that was due.

        Returns:
            Whether anything was due: if it goes wrong again and again, those probes are stopped for it.
        """
        trace = "".join(traceback.format_exception(error))
        begun = {due.probe: token for token, due in self._book.unsettled.items() if due.where == "inline"}
        blamed = False
        for slot in self._slots:
            if self._waits(slot, step):
                token = begun.get(slot.probe.name) or self._due(step, slot)
                self._book.settle(token, status="failed", message=first_line(error), traceback=trace)
                slot.taken(step)
                self._done(slot, "failed", first_line(error))
                blamed = True
        return blamed

    def end(self, step: int) -> None:
        """Record what still waits as skipped, with what was in its way."""
        for slot in self._slots:
            if slot.obstacle and self._waits(slot, step):
                self._record(step, slot, status="skipped", message=f"{slot.obstacle} until the run ended")

    # Inside -------------------------------------------------------------------------------------------------

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
            if not self._duty.allows(slot.probe.name):
                return (
                    f"the background process rests: the budget lets it be busy for {self._duty.share:.0%} of the time"
                )
        elif broke or not self._budget.allows(slot.probe.name):
            return f"over the budget of {self._budget.share:.0%} of wall time"
        return ""

    def _given(self, probe: Probe, step: int, obs: Any, rollout: Rollout | None) -> tuple[Any, str]:
        # Chosen anew for each measurement, so that the same can be chosen from what was saved at this step.
        return given(probe, self._source, choice_for(self._seed, probe.name, step), obs, rollout)

    def _measure(self, slot: Slot, live: Agent, obs: Any, step: int) -> bool:
        """Measure, or hand over to the background; whether it was tried, rather than put off."""
        if slot.background:
            return self._hand_over(slot, live, obs, step)
        token = self._due(step, slot)
        # A copy for each probe, which may do with it as it likes.
        tried = attempt(slot.probe, live.snapshot(), obs, generator_for(self._seed, slot.probe.name, step))
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

    def _hand_over(self, slot: Slot, live: Agent, obs: Any, step: int) -> bool:
        """Hand over to the background, which copies the agent on the way; where it cannot go, it is measured here."""
        assert self._background is not None
        job = Job(new_token(), _for_travel(slot.probe), live, obs, step)
        try:
            self._background.submit(job)
        except Exception as error:  # noqa: BLE001 - what travels is the user's, and may refuse in any way
            slot.inline = f"it cannot be sent to the background process ({type(error).__name__}: {error})"
            log.warning(
                "gradlab: probe %s is measured in the training process: %s; what it holds of the agent, such as a "
                "function that keeps a lock or an open file, cannot be copied to another",
                slot.probe.name,
                slot.inline,
            )
            return False
        self._due(step, slot, job.token)
        return True

    def _done(self, slot: Slot, status: MeasurementStatus, message: str) -> None:
        if slot.ended(status == "failed", message):
            log.warning("gradlab: probe %s %s", slot.probe.name, slot.stopped)

    def _due(self, step: int, slot: Slot, token: str | None = None) -> str:
        where: Where = "background" if slot.background else "inline"
        return self._book.fall_due(step, slot.probe.name, where, token)

    def _record(self, step: int, slot: Slot, *, status: MeasurementStatus, message: str, trace: str = "") -> None:
        """A measurement fell due, and there is none."""
        self._book.settle(self._due(step, slot), status=status, message=message, traceback=trace)


def _for_travel(probe: Probe) -> Probe:
    """The probe without its schedule, which may be a function of the training script's that cannot travel."""
    other = copy.copy(probe)
    other.every = 1
    return other
