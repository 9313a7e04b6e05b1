"""Mirrors: the measured numbers, also in the tool that the user already looks at."""

from __future__ import annotations

import contextlib
import inspect
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from gradlab.arguments import shown
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate

log = logging.getLogger("gradlab")

#: Writes numbers by tag at a training step.
Write = Callable[[int, Mapping[str, float]], object]

#: A mirror that fails this often in a row is not written to any more.
_MAX_FAILURES = 3


class Mirror:
    """Passes numbers on, and keeps to itself whatever goes wrong there.

    Each number ``name`` of a probe is written under ``gradlab/probe/name``, the ends of its 95 % interval under
    ``…/low`` and ``…/high``.

    Args:
        write: takes the step and the numbers.
        end: called when the run ends.

    Attributes:
        seconds: what it has taken in the training process.

    Example:
        >>> mirror = Mirror(lambda step, numbers: print(step, sorted(numbers)))
        >>> mirror.pass_on(500, "gap", {"mean": Estimate(1.0, 0.1, samples=9)})
        500 ['gradlab/gap/mean', 'gradlab/gap/mean/high', 'gradlab/gap/mean/low']
    """

    def __init__(self, write: Write, end: Callable[[], object] = lambda: None) -> None:
        self._write = write
        self._end = end
        self._failures = 0
        self.seconds = 0.0

    def pass_on(self, step: int, probe: str, scalars: Mapping[str, Estimate]) -> None:
        """Write the numbers of one measurement; those that are NaN or infinite are left out."""
        if not scalars or self._failures >= _MAX_FAILURES:
            return
        started = time.perf_counter()
        try:
            self._write(step, _numbers(probe, scalars))
            self._failures = 0
        except Exception as error:  # noqa: BLE001 - isolation: somebody else's tool must not end the run
            self._failures += 1
            end = "; it is not written to any more" if self._failures >= _MAX_FAILURES else ""
            log.warning("gradlab: the mirror did not take step %d (%s: %s)%s", step, type(error).__name__, error, end)
        self.seconds += time.perf_counter() - started

    def close(self) -> None:
        """Let it keep what it has not kept yet."""
        with contextlib.suppress(Exception):
            self._end()


def mirror_of(target: Any, own_logger: Callable[[], Any] | None = None) -> Mirror | None:
    """The mirror for a tool, told by what it can do; nothing is imported.

    Args:
        target: a TensorBoard ``SummaryWriter``, a Weights & Biases run, a logger of Stable-Baselines3 or TorchRL, a
            writer of skrl's, a function of (step, numbers by tag), True for the model's own logger, or None.
        own_logger: gives that logger.

    Raises:
        GradlabError: it is none of these.

    Example:
        >>> mirror_of("tensorboard")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: mirror: 'tensorboard'; give a SummaryWriter, a W&B run, ...
    """
    if target is None or target is False:
        return None
    if target is True and own_logger is not None:
        return _own(own_logger)
    if callable(getattr(target, "add_scalar", None)):
        if "timestep" in inspect.signature(target.add_scalar).parameters:
            return Mirror(lambda step, numbers: _skrl(target, numbers, step))
        return Mirror(lambda step, numbers: _each(target.add_scalar, numbers, step), getattr(target, "flush", _nothing))
    if callable(getattr(target, "define_metric", None)) and callable(getattr(target, "log", None)):
        return _weights_and_biases(target)
    if callable(getattr(target, "record", None)) and hasattr(target, "name_to_value"):
        return Mirror(lambda _, numbers: _sb3(target, numbers))
    if callable(getattr(target, "log_scalar", None)):
        return Mirror(lambda step, numbers: _each(target.log_scalar, numbers, step))
    if callable(target):
        return Mirror(target)
    raise GradlabError(
        f"mirror: {shown(target)}; give a SummaryWriter, a W&B run, a Stable-Baselines3 or TorchRL logger, a function "
        "of (step, numbers), or True for a Stable-Baselines3 model's own logger"
    )


def _nothing() -> None:
    pass


def _each(write: Callable[..., object], numbers: Mapping[str, float], step: int) -> None:
    for tag, value in numbers.items():
        write(tag, value, step)


def _skrl(writer: Any, numbers: Mapping[str, float], step: int) -> None:
    for tag, value in numbers.items():
        writer.add_scalar(tag=tag, value=value, timestep=step)


def _own(logger: Callable[[], Any]) -> Mirror:
    """The library's own logger, which it may make, and make anew, only when training begins."""

    def write(step: int, numbers: Mapping[str, float]) -> None:
        mirror = mirror_of(logger())
        if mirror is not None:
            mirror._write(step, numbers)

    return Mirror(write)


def _sb3(logger: Any, numbers: Mapping[str, float]) -> None:
    for tag, value in numbers.items():
        # Its tables for people cut long names, and refuse two that are then the same.
        logger.record(tag, value, exclude=("stdout", "log"))


def _weights_and_biases(run: Any) -> Mirror:
    run.define_metric("gradlab/step", hidden=True)
    run.define_metric("gradlab/*", step_metric="gradlab/step")
    # Without a commit the user's own steps stay what they are; the numbers go with the next of them.
    return Mirror(
        lambda step, numbers: run.log({**numbers, "gradlab/step": step}, commit=False),
        lambda: run.log({}, commit=True),
    )


def _numbers(probe: str, scalars: Mapping[str, Estimate]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, estimate in scalars.items():
        low, high = estimate.interval()
        tag = f"gradlab/{probe}/{name}"
        found |= {tag: float(estimate.value), f"{tag}/low": low, f"{tag}/high": high}
    return {tag: value for tag, value in found.items() if math.isfinite(value)}
