"""What the pages share: their frame, and what they say while there is nothing to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dashboards.own import planned
from dashboards.pages.page import Seen
from dashboards.said import Answer


def frame(name: str, figures: Sequence[str], *panels: Any) -> Any:
    """A page's panels under each other, and what its callbacks remember.

    Args:
        name: of the page; ``{name}-none`` and ``{name}-there`` are for ``dashboards.presence``.
        figures: ids of graphs, each with its ``{id}-shown``, which is forgotten when the page is left.
        panels: what is seen.
    """
    remembered = [dcc.Store(id=f"{figure}-shown") for figure in figures]
    return dmc.Stack(
        [html.Div(id=f"{name}-none", className="none"), dcc.Store(id=f"{name}-there"), *remembered, *panels], gap="sm"
    )


def of_page(seen: Seen, probe: str, what: str) -> Answer:
    """What a page says that has no number of its probe yet.

    Example:
        >>> from dashboards.known_run import RunRecords
        >>> of_page(Seen(None, {}, RunRecords()), "curvature", "curvature").text
        'Waiting for the first measurement of curvature.'
    """
    first = min((int(one.step[0]) for key, one in seen.records.series.items() if key.probe == probe), default=None)
    if seen.at is not None and first is not None and first > seen.at:
        return Answer(f"Step {seen.at:,} is before the first measurement of {what}, at step {first:,}.", "unknown")
    summary = seen.records.probes.get(probe)
    if summary is not None and summary.ok == 0 and (summary.failure or summary.skip):
        step, message = max(one for one in (summary.failure, summary.skip) if one is not None)
        return Answer(f"Nothing is known of {what} yet. Step {step:,}: {message.rstrip('.')}.", "doubtful")
    expected = planned(seen.run.config) if seen.run is not None else {}
    if expected and probe not in expected:
        return Answer(f"This run does not measure {what}.", "unknown")
    if seen.run is not None and seen.run.status != "running":
        return Answer(f"This run ended without a measurement of {what}.", "unknown")
    return Answer(f"Waiting for the first measurement of {what}.", "unknown")
