"""What the callbacks of all figures share: which run a page looks at, and sending only what is not on screen."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import plotly.graph_objects as go
from dash import no_update

from dashboards.increment import increment
from dashboards.own import CARDS
from dashboards.parts import status
from dashboards.records import Records, View
from dashboards.style import Theme
from gradlab.store import RunInfo

#: Probes that have a token of their own, and beside them what changes when there is a new probe or a new number.
KINDS = "kinds of numbers"
TOKENS = (*sorted({probe for probes in CARDS.values() for probe in probes}), KINDS)

#: Runs whose health is told, the newest; the sidebar has all.
HEALTHY = 6


def part_of_token(name: str) -> str:
    """The id of the store whose data are the token as far as one probe goes, or ``KINDS``.

    Example:
        >>> part_of_token("curvature"), part_of_token("a probe without one")
        ('token-curvature', 'token')
    """
    return f"token-{name}" if name in TOKENS else "token"


def show(shown: Any, key: list[Any], make: Callable[[], go.Figure]) -> tuple[Any, Any]:
    """The figure, or what changed in it; nothing at all when what is on screen is what would be drawn.

    Args:
        shown: what this said was shown the last time.
        key: what the figure depends on; the last of it is the colour scheme.
        make: draws it.
    """
    mark = digest(key)
    # The browser says its colour scheme a moment after its first question.
    if key[-1] is None or (shown and shown["key"] == mark):
        return no_update, no_update
    change, form = increment(make(), shown["form"] if shown else None)
    return change, {"key": mark, "form": form}


def theme_of(value: Any) -> Theme:
    """The theme of a colour scheme as the browser says it."""
    return "dark" if value == "dark" else "light"


def run_of(token: Any) -> int | None:
    """The id of the run that a page looks at."""
    return token["run"] if token else None


def together(token: Any) -> list[int]:
    """The ids of the runs that are compared, that which a page looks at among them, in the order of their ids.

    Example:
        >>> together({"run": 2, "compared": {"1": {}, "2": {}}}), together({"run": 2}), together(None)
        ([1, 2], [2], [])
    """
    if not token:
        return []
    return sorted({token["run"], *(int(run) for run in token.get("compared", {}))})


def info_of(records: Records, token: Any) -> RunInfo | None:
    """The run that a page looks at, as the store knows it."""
    return next((run for run in records.view().runs if run.id == run_of(token)), None)


def known_of(records: Records, view: View, run: RunInfo | None, now: float) -> str:
    """Changes with what is said of runs beside what was measured: which there are, how far they are, whether they run.

    Args:
        records: what is known of the store.
        view: the store.
        run: the run that a page looks at; of others the newest are told of.
        now: seconds since 1970.
    """
    told = [one for one in (*view.runs[:HEALTHY], run) if one is not None]
    facts = [
        (one.id, one.name, one.step, status(one, now), one.message, records.knows(one.id), records.why_unread(one.id))
        for one in told
    ]
    return digest([view.condition, records.epoch, facts, run and run.last_seen])


def last_of(records: Records, run: int | None, probe: str) -> Any:
    """Changes when a probe has measured, or another store is in this one's place."""
    summary = records.run(run).probes.get(probe)
    return (records.epoch, summary.last if summary is not None else 0)


def absent_of(records: Records, run: int | None, probe: str) -> list[tuple[int, str]]:
    """Step and reason of the measurements that a figure of this probe has to show as absent."""
    summary = records.run(run).probes.get(probe)
    return [] if summary is None else summary.missing


def digest(facts: Any) -> str:
    """A short mark of what something depends on."""
    return blake2b(repr(facts).encode(), digest_size=9).hexdigest()
