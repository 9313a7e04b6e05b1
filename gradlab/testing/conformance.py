"""Conformance: whether attaching probes leaves a training run what it would have been.

For one's own agents, libraries and probes, too. A training is a function that makes everything anew from its seeds,
attaches what it is handed at the place where a user would, trains, and returns all that its future depends on:

    def train(attach):
        model = make_model(seed=3)
        monitor = attach(model)
        model.learn(2_000, callback=monitor)
        return {"model": model, "env": model.env}

    found = compare(train, lambda model: probes.attach(model, "run.db", probes="full"))
    assert found.changed == [], found
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gradlab.errors import GradlabError
from gradlab.testing.digests import CLOCKS, differences, digest

__all__ = ["CLOCKS", "Comparison", "Training", "compare", "differences", "digest"]

#: Trains anew, attaching with what it is handed, and returns what is to be compared, by name.
Training = Callable[[Callable[[Any], Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """A training with probes against the same without.

    Attributes:
        changed: paths of everything that differs; empty when the run was left what it was.
        compared: how many fingerprints were compared.
        measured: measurements taken, by probe.
        failed: measurements that raised, by probe.
    """

    changed: list[str]
    compared: int
    measured: dict[str, int]
    failed: dict[str, int]

    def __str__(self) -> str:
        if not self.changed:
            return f"nothing of {self.compared} differs, with {sum(self.measured.values())} measurements"
        shown = ", ".join(self.changed[:10])
        return f"{len(self.changed)} of {self.compared} differ: {shown}{', …' if len(self.changed) > 10 else ''}"


def compare(train: Training, attach: Callable[[Any], Any]) -> Comparison:
    """Train three times: twice without probes, as only what repeats itself can be compared, and once with.

    Args:
        train: the training.
        attach: attaches probes to what the training hands it and returns the monitor, as ``probes.attach`` does.

    Returns:
        What differs, of weights, buffers, modes, ``.grad``, hooks, optimizers, replay buffers, environments, counters
        and random states, and of the process's own settings.

    Raises:
        GradlabError: the training does not repeat itself, it never attached, or nothing was measured, so that nothing
            would have been shown.

    Example:
        >>> import torch
        >>> def train(attach):
        ...     torch.manual_seed(0)
        ...     layer = torch.nn.Linear(2, 1)
        ...     attach(layer)
        ...     return {"layer": layer}
        >>> compare(train, lambda layer: None)
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: conformance: no monitor measured anything, so nothing has been shown; ...
    """
    first, _ = _trained(train, lambda _: None)
    second, _ = _trained(train, lambda _: None)
    unstable = differences(first, second)
    if unstable:
        raise GradlabError(
            f"conformance: the training does not repeat itself without probes: {', '.join(unstable[:5])}; seed all of "
            "it, or leave out of what it returns whatever tells the time"
        )
    after, monitors = _trained(train, attach)
    measured, failed = _counts(monitors)
    if not measured:
        raise GradlabError(
            "conformance: no monitor measured anything, so nothing has been shown; train for longer, without a budget, "
            f"with probes that suit the agent (failed: {failed or 'none'})"
        )
    return Comparison(differences(first, after), len(first), measured, failed)


def _trained(train: Training, attach: Callable[[Any], Any]) -> tuple[dict[str, str], list[Any]]:
    monitors: list[Any] = []

    def noting(model: Any) -> Any:
        monitor = attach(model)
        monitors.append(monitor)
        return monitor

    parts = train(noting)
    for monitor in monitors:
        # What a monitor holds of the run while it is open, such as an optimizer's hook, it lets go of.
        if monitor is not None:
            monitor.close()
    return digest(**parts), monitors


def _counts(monitors: list[Any]) -> tuple[dict[str, int], dict[str, int]]:
    measured: dict[str, int] = {}
    failed: dict[str, int] = {}
    for monitor in monitors:
        for total, counts in ((measured, "measured"), (failed, "failed")):
            for probe, number in getattr(getattr(monitor, "status", None), counts, {}).items():
                total[probe] = total.get(probe, 0) + number
    return measured, failed
