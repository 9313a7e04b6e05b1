"""Where the slider stands: how far it reaches, which measurement is nearest, and what is said of it."""

from __future__ import annotations

from typing import Any

from dash import html, no_update

from dashboards.pages.page import Page
from dashboards.records import Records
from dashboards.timeline import around, extent, nearest, stops

TEXT = ("slider-text", "children")
#: What shows the step: the parts of the shell that ``moved`` fills, in its order.
STEP = (("slider", "min"), ("slider", "max"), ("slider", "value"), ("at", "data"), TEXT)


def moved(
    records: Records, run: int | None, page: Page | None, follow: bool, low: int, top: int, value: int, at: Any
) -> tuple[Any, ...]:
    """What changes of the slider and of what it says: values of ``STEP``, ``no_update`` where nothing does.

    Args:
        records: what is known of the store.
        run: the run that is looked at.
        page: the open page, which says where the slider stops.
        follow: whether the newest measurement is looked at, whichever it is.
        low: where the slider begins now.
        top: where it ends now.
        value: where it stands now.
        at: what is said now: the step, its place, how many there are, those around it, and where the slider stood.
    """
    ends = extent(records, run)
    before = (low, top, value, at)
    if ends is not None:
        low, top = ends
        value = top if follow else min(max(value or 0, low), top)
    steps = stops(records, run, page.stops if page is not None else ())
    there = nearest(steps, value)
    step = int(steps[there]) if there >= 0 else None
    # Keys go from stop to stop by themselves, without a question for each.
    mark = [step, there, len(steps), around(steps, there), value]
    said: Any = no_update
    if at is None or mark[:3] != at[:3]:
        said = ""
        if step is not None:
            said = [f"step {step:,} ", html.Span(f"({there + 1:,} of {len(steps):,})", className="of")]
    after = (low, top, value, mark)
    return (*(new if new != old else no_update for new, old in zip(after, before, strict=True)), said)
