"""Only what changed travels to the browser: arrays as a Patch, a whole figure when its traces or its look changed."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import numpy as np
import plotly.graph_objects as go
from dash import Patch

#: What a new measurement changes in a trace; everything else is the figure's form.
_DATA = ("x", "y", "z", "u", "v", "customdata", "text", "zmin", "zmax")
_MARKER = ("symbol", "size")


def increment(figure: go.Figure, shown: str | None) -> tuple[Any, str]:
    """What turns the figure on screen into this one, and this one's form.

    Args:
        figure: what is to be seen.
        shown: the form of what is on screen, from the last call; None when nothing is.

    Returns:
        A ``dash.Patch`` of arrays (base64, as plotly encodes them) when only data changed, else the whole figure as
        a dict; and the form to hand in next time.

    Example:
        >>> first, form = increment(go.Figure(go.Scatter(x=[0, 1], y=[1, 2])), None)
        >>> later, same = increment(go.Figure(go.Scatter(x=[0, 1, 2], y=[1, 2, 3])), form)
        >>> type(first).__name__, type(later).__name__, form == same
        ('dict', 'Patch', True)
    """
    whole = figure.to_dict()
    changing = [_split(trace) for trace in whole["data"]]
    form = _digest([_without(trace) for trace in whole["data"]], whole["layout"])
    if form != shown:
        return whole, form
    patch = Patch()
    for number, trace in enumerate(changing):
        for path, value in trace:
            target = patch["data"][number]
            for step in path[:-1]:
                target = target[step]
            target[path[-1]] = value
    return patch, form


def _split(trace: dict[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    found = [((name,), trace[name]) for name in _DATA if name in trace]
    marker = trace.get("marker", {})
    return found + [(("marker", name), marker[name]) for name in _MARKER if _is_array(marker.get(name))]


def _without(trace: dict[str, Any]) -> dict[str, Any]:
    form = {name: value for name, value in trace.items() if name not in _DATA}
    if "marker" in form:
        form["marker"] = {n: v for n, v in form["marker"].items() if not (n in _MARKER and _is_array(v))}
    return form


def _is_array(value: Any) -> bool:
    return isinstance(value, (list, tuple, dict, np.ndarray))


def _digest(*parts: Any) -> str:
    return blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()
