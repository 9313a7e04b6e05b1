"""Figure: the Q-gradient field over states, on a plane of observations or along a trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from dashboards.figures.lines import caption
from dashboards.figures.maps import heat_map, points
from dashboards.style import ACCENT, Theme, axis, drawing, layout, look, muted

_TITLES = {"norm": "‖∇<sub>a</sub>Q‖", "volatility": "volatility", "q": "Q(s, a)"}
_MEANINGS = (
    "the gradient of Q with respect to each action coordinate, at every step",
    "its length: how strongly the critic pulls at the action",
    "the angle between the gradient and the next step's; above 90° it turns back",
    "change of the gradient to the next step, by the change of the observation",
)
_GAP = 0.09
#: Looks of the lines of the components, told apart by colour and dash.
_LOOKS = ("deterministic", "zeroth-order-antithetic", "score-function-baseline", "score-function", "reparameterized")
_DASHES = ("solid", "dash", "dot", "dashdot")


def field_over_states(
    arrays: Mapping[Any, xr.DataArray],
    critic: int = 0,
    *,
    shown: str = "norm",
    theme: Theme = "light",
    uirevision: str = "field over states",
) -> go.Figure:
    """On a plane of states a heat map; along a trajectory g = ∇_a Q, its norm, its turn and its volatility by step.

    Args:
        arrays: the dataset of ``gradlab.landscape.gradient_field_over_states``, or its arrays by name.
        critic: which of the critics.
        shown: on a plane, ``"norm"``, ``"volatility"``, ``"q"``, or a component such as ``"action 1"``.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.

    Example:
        >>> import torch
        >>> from gradlab.agent import Agent
        >>> from gradlab.landscape import gradient_field_over_states
        >>> agent = Agent(torch.nn.Linear(2, 1), [lambda obs, act: act[:, 0] * obs[:, 0]], [-9.0], [9.0])
        >>> along = gradient_field_over_states(agent, torch.rand(9, 2))
        >>> [trace.name for trace in field_over_states(along).data]
        ['action 1', '‖g‖', 'angle', 'volatility']
    """
    critic = min(max(critic, 0), arrays["q"].sizes["critic"] - 1)
    if "step" in arrays["q"].dims:
        return _along(arrays, critic, theme, uirevision)
    if shown in _TITLES:
        picture, title = arrays[shown].isel(critic=critic), _TITLES[shown]
    else:
        picture, title = arrays["gradient"].isel(critic=critic).sel(component=shown), f"∂Q/∂({shown})"
    picture = picture.transpose("y", "x")
    x, y = picture["x"].values.astype(np.float64), picture["y"].values.astype(np.float64)
    hover = f"(%{{x:.3g}}, %{{y:.3g}})<br>{title} = %{{z:.4g}}<extra></extra>"
    traces = [heat_map(picture.values, x, y, theme, title, hover)]
    if "seen" in arrays:
        cloud = points(arrays["seen"].values.astype(np.float64), "states seen", "markers")
        dots = {"size": 3, "color": "rgba(255,255,255,0.5)"}
        traces.append(
            {
                **cloud, "yaxis": "y", "marker": dots, "hoverinfo": "skip", "cliponaxis": True, "showlegend": False,
                "legendgroup": "seen",
            }
        )  # fmt: skip
        # The dots are as white as the ground under the legend: its own has a rim.
        rim = {"size": 6, "color": "#ffffff", "line": {"width": 1.2, "color": muted(theme)}}
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": "states seen", "x": [None], "y": [None], "marker": rim,
                "legendgroup": "seen", "hoverinfo": "skip",
            }
        )  # fmt: skip
    if "place" in arrays:
        state = points(arrays["place"].values[None].astype(np.float64), "state", "markers")
        outline = {"symbol": "circle", "size": 12, "color": ACCENT, "line": {"width": 2.5, "color": "#ffffff"}}
        # There are no arrows here, and thus no overlaying axis.
        traces.append({**state, "yaxis": "y", "marker": outline, "hovertemplate": "the state<extra></extra>"})
    font = {"font": {"size": 12, "color": muted(theme)}, "standoff": 4}
    sides = [
        axis(
            theme,
            range=[float(side[0]), float(side[-1])],
            title={**font, "text": str(picture[name].attrs.get("long_name", name))},
            showgrid=False,
            ticks="outside",
            ticklen=4,
        )
        for name, side in (("x", x), ("y", y))
    ]
    margin = {"l": 58, "r": 8, "t": 34, "b": 44}
    return drawing(
        {
            "data": traces,
            "layout": layout(theme, uirevision=uirevision, margin=margin, xaxis=sides[0], yaxis=sides[1]),
        }
    )


def stored_over_states(arrays: Mapping[str, xr.DataArray], state: int = 0) -> dict[str, xr.DataArray]:
    """What the probe ``field`` stored of the field over states, as ``field_over_states`` takes it; empty without.

    Args:
        arrays: from ``store.arrays(measurement_id)``.
        state: which of the stored states: each has a plane of its own.
    """
    if "state_q" not in arrays or not 0 <= state < arrays["state_q"].sizes["state"]:
        return {}
    words = arrays["state_q"].attrs.get("words", ["x", "y"])
    sides = {
        side: (side, arrays[f"state_side_{side}"].values[state], {"long_name": str(word)})
        for side, word in zip("xy", words, strict=True)
    }
    found: dict[str, xr.DataArray] = {}
    for name in ("q", "norm", "volatility", "gradient"):
        one = arrays[f"state_{name}"].isel(state=state)
        more = {"component": [f"action {k + 1}" for k in range(one.sizes["component"])]} if name == "gradient" else {}
        found[name] = xr.DataArray(
            one.values, dims=[dim.removeprefix("state_") for dim in map(str, one.dims)], coords={**sides, **more}
        )
    found["place"] = arrays["state_place"].isel(state=state)
    found["seen"] = arrays["state_seen"]
    return found


def _along(arrays: Mapping[Any, xr.DataArray], critic: int, theme: Theme, uirevision: str) -> go.Figure:
    steps = arrays["q"]["step"].values
    gradient = arrays["gradient"].isel(critic=critic).transpose("step", "component")
    rows: list[tuple[str, list[tuple[str, Any]]]] = [
        ("g = ∇<sub>a</sub>Q", [(str(n), gradient.sel(component=n).values) for n in gradient["component"].values]),
        ("‖g‖", [("‖g‖", arrays["norm"].isel(critic=critic).values)]),
        ("turn to the next step, degrees", [("angle", np.degrees(arrays["angle"].isel(critic=critic).values))]),
        ("volatility ‖Δg‖ / ‖Δs‖", [("volatility", arrays["volatility"].isel(critic=critic).values)]),
    ]
    height = (1 - _GAP * (len(rows) - 1)) / len(rows)
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes = []
    for row, (title, curves) in enumerate(rows):
        number = "" if row == 0 else str(row + 1)
        top = 1 - row * (height + _GAP)
        more: dict[str, Any] = {"range": [0, 180], "tickvals": [0, 90, 180]} if row == 2 else {}
        extra[f"yaxis{number}"] = axis(theme, domain=[max(0.0, top - height), top], zeroline=row == 0, **more)
        notes.append(caption(title, _MEANINGS[row], y=top))
        for index, (name, values) in enumerate(curves):
            line = {
                "color": look(_LOOKS[index % len(_LOOKS)]).color(theme),
                "dash": _DASHES[index % len(_DASHES)],
                "width": 1.6,
            }
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": name,
                    "x": steps,
                    "y": values.astype(np.float64),
                    "yaxis": f"y{number}",
                    "line": line,
                    "showlegend": row == 0 and len(curves) > 1,
                    "connectgaps": False,
                    "hovertemplate": f"step %{{x}}<br>{name} = %{{y:.4g}}<extra></extra>",
                }
            )
    title = {"text": "step", "font": {"size": 11, "color": muted(theme)}, "standoff": 6}
    return drawing(
        {
            "data": traces,
            "layout": layout(
                theme,
                uirevision=uirevision,
                annotations=notes,
                margin={"l": 56, "r": 12, "t": 46, "b": 40},
                legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.04, "yanchor": "bottom"},
                xaxis=axis(theme, title=title, anchor=f"y{len(rows)}", domain=[0, 1]),
                **extra,
            ),
        }
    )
