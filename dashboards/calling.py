"""Calling callbacks for what an update may cost: Dash's own way checks and copies all of a question and an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from dash import Dash, Output, no_update
from dash._utils import stringify_id
from dash.exceptions import PreventUpdate
from plotly.io.json import to_json_plotly

try:
    import orjson
except ImportError:
    # It is three times as fast; plotly's own encoder serves as well.
    orjson = None


class Answer(NamedTuple):
    """What is sent: HTTP's status and the body."""

    status: int
    body: bytes


#: Nothing is to change.
_NOTHING = Answer(204, b"")


def caller(app: Dash, otherwise: Callable[[bytes], Any]) -> Callable[[bytes], Answer]:
    """What answers the questions of pages as Dash does, for callbacks that need no more than their arguments.

    Args:
        app: the app, with its callbacks.
        otherwise: Dash's own way, for those that ask what triggered them, and for outputs that several share.

    Returns:
        A function of a question's body.
    """

    def call(question: bytes) -> Answer:
        asked = orjson.loads(question) if orjson is not None else json.loads(question)
        known = app.callback_map.get(asked["output"], {})
        function = getattr(known.get("callback"), "__wrapped__", None)
        if function is None or not _own_way(known, function):
            try:
                made = otherwise(question)
            except PreventUpdate:
                return _NOTHING
            return Answer(made.status_code, made.get_data())
        given = [one.get("value") for one in (*asked["inputs"], *asked.get("state", ()))]
        places = known["inputs_state_indices"]
        places = [places] if isinstance(places, int) else places
        try:
            found = function(*(given[place] for place in places))
        except PreventUpdate:
            return _NOTHING
        several = not isinstance(known["output"], Output)
        outputs = asked["outputs"] if several else [asked["outputs"]]
        values = found if several else [found]
        if len(values) != len(outputs):
            raise TypeError(f"callback {asked['output']}: gave {len(values)} values for {len(outputs)} outputs")
        response: dict[str, dict[str, Any]] = {}
        for output, value in zip(outputs, values, strict=True):
            if value is not no_update:
                response.setdefault(stringify_id(output["id"]), {})[output["property"]] = value
        return Answer(200, encoded({"multi": True, "response": response})) if response else _NOTHING

    return call


def _own_way(known: dict[str, Any], function: Callable[..., Any]) -> bool:
    """Whether a callback needs no more than its arguments, and its outputs are its own."""
    outputs = known["output"] if isinstance(known["output"], list) else [known["output"]]
    return not (
        known["no_output"] or "ctx" in function.__code__.co_names or any(one.allow_duplicate for one in outputs)
    )


def encoded(value: Any) -> bytes:
    """JSON of what a callback gives: components, figures with arrays, and what changes in them; NaN as null.

    Example:
        >>> from dash import html
        >>> encoded({"children": html.B("so"), "y": np.array([1.0, np.nan])})
        b'{"children":{"props":{"children":"so"},"type":"B","namespace":"dash_html_components"},"y":[1.0,null]}'
    """
    if orjson is not None:
        try:
            return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
        except TypeError:
            # Such as a number of more than 64 bits.
            pass
    return to_json_plotly(value).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.to_plotly_json()
