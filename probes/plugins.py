"""Probes that other packages bring, found by their entry points."""

from __future__ import annotations

import logging
from importlib.metadata import entry_points

from probes.function import FunctionProbe
from probes.probe import Probe

log = logging.getLogger("gradlab")

#: The group of entry points a package names its probes in: ``[project.entry-points."gradlab.probes"]``.
GROUP = "gradlab.probes"


def installed_probes() -> list[Probe]:
    """The probes of installed packages, each made without arguments; a function is a probe, too.

    One that cannot be imported or made is named in the log and passed over.

    Example:
        >>> installed_probes()
        []
    """
    found: list[Probe] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            loaded = entry.load()
            probe = loaded() if isinstance(loaded, type) else loaded
            found.append(probe if isinstance(probe, Probe) else FunctionProbe(probe, name=entry.name))
        except Exception as error:  # noqa: BLE001 - a stranger's module may fail in any way, which is not this run's fault
            reason = next(iter(str(error).splitlines()), "no message")
            log.warning(
                "gradlab: the installed probe %s (%s) cannot be used: %s: %s",
                entry.name,
                entry.value,
                type(error).__name__,
                reason,
            )
    return found
