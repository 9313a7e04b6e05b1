"""Only what changed travels to the browser: arrays as a Patch, a whole figure when its traces or its look changed."""

from __future__ import annotations

import json
import marshal
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import plotly.graph_objects as go
from dash import Patch

from dashboards.drawn import plain, sent

#: What a new measurement changes in a trace, beside its arrays; everything else is the figure's form.
_NUMBERS = ("zmin", "zmax", "cmin", "cmax")
#: Lists that are a trace's look.
_LOOK = ("colorscale", "dimensions", "transforms")


def increment(figure: go.Figure, shown: str | None) -> tuple[Any, str]:
    """What turns the figure on screen into this one, and this one's form.

    Args:
        figure: what is to be seen.
        shown: the form of what is on screen, from the last call; None when nothing is.

    Returns:
        A ``dash.Patch`` of arrays (base64, as plotly encodes them) and of the parts of the layout that changed, else,
        where a trace has another look or there are others, the whole figure as a dict; and the form to hand in next
        time.

    Example:
        >>> first, form = increment(go.Figure(go.Scatter(x=[0, 1], y=[1, 2])), None)
        >>> later, same = increment(go.Figure(go.Scatter(x=[0, 1, 2], y=[1, 2, 3])), form)
        >>> type(first).__name__, type(later).__name__, form == same
        ('dict', 'Patch', True)
    """
    whole = plain(figure)
    layout = whole["layout"]
    # A theme's template is the same for all of its figures, and they tell themes apart by their colours as well.
    parts = {name: _digest(value, 4) for name, value in layout.items() if name != "template"}
    traces = _digest([[_without(trace) for trace in whole["data"]], list(parts)], 9)
    form = ";".join([traces, *parts.values()])
    before = (shown or "").split(";")
    if before[0] != traces:
        return {**whole, "data": sent(whole["data"]), "layout": sent(layout)}, form
    changes = []
    for number, trace in enumerate(whole["data"]):
        for name, value in trace.items():
            if _is_data(name, value):
                changes.append((["data", number, name], sent(value)))
            elif isinstance(value, dict):
                for inner, one in value.items():
                    if _is_data(inner, one):
                        changes.append((["data", number, name, inner], sent(one)))
    for (name, mark), old in zip(parts.items(), before[1:], strict=True):
        if mark != old:
            changes.append((["layout", name], sent(layout[name])))
    patch = Patch()
    # By brackets Dash would make an object for each of them.
    patch._operations += [
        {"operation": "Assign", "location": place, "params": {"value": value}} for place, value in changes
    ]
    return patch, form


def _without(trace: Mapping[str, Any], depth: int = 1) -> dict[str, Any]:
    # Which data there are is part of the form: a Patch takes nothing away.
    return {
        name: None
        if _is_data(name, value)
        else _without(value, depth - 1)
        if depth and isinstance(value, dict)
        else value
        for name, value in trace.items()
    }


def _is_data(name: str, value: Any) -> bool:
    if isinstance(value, dict):
        return "bdata" in value
    return name in _NUMBERS or (isinstance(value, list | tuple | np.ndarray) and name not in _LOOK)


def _digest(part: Any, size: int) -> str:
    try:
        # Without references, which would tell equal parts apart by where they are kept; json takes five times as long.
        written = marshal.dumps(part, 2)
    except ValueError:
        written = json.dumps(part, default=_listed).encode()
    return blake2b(written, digest_size=size).hexdigest()


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
