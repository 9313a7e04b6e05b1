"""Where the slider stands: how far it reaches, which measurement is nearest, and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import Patch, html, no_update
from numpy.typing import NDArray

from dashboards.pages.page import Page
from dashboards.records import Records
from dashboards.showing import digest
from dashboards.timeline import around, extent, nearest, stops

TEXT = ("slider-text", "children")
#: Stops that a browser is told of.
_TOLD = 20_000
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


def told(records: Records, run: int | None, page: Page | None, before: Any) -> tuple[Any, Any]:
    """What a page is told of the stops, so that it finds the nearest one by itself, and a mark of what it knows then.

    Args:
        records: what is known of the store.
        run: the run that is looked at.
        page: the open page, which says where the slider stops.
        before: the mark of what it knows already; None for nothing.

    Returns:
        All stops with what they are of; only those that were added, as a Patch; or ``no_update``. Nothing is told of
        more than a browser should be given at once: it asks the server then.
    """
    if run is None or page is None:
        return no_update, before
    steps = stops(records, run, page.stops)[: _TOLD + 1]
    place = [run, records.epoch, page.path]
    if len(steps) > _TOLD:
        return (None, place) if before != place else (no_update, place)
    mark = [*place, len(steps), _mark(steps)]
    if mark == before:
        return no_update, mark
    known = before[3] if before and len(before) == len(mark) and before[:3] == place else 0
    if known and known < len(steps) and _mark(steps[:known]) == before[4]:
        added = Patch()
        added["steps"].extend(steps[known:].tolist())
        return added, mark
    return {"run": run, "epoch": records.epoch, "page": page.path, "steps": steps.tolist()}, mark


def _mark(steps: NDArray[np.int64]) -> str:
    return digest(np.ascontiguousarray(steps).tobytes())
