"""What pictures over a plane are made of: a heat map, arrows and points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboards.style import FIELD_COLORS, Theme, muted

#: The longest arrow, as a share of the distance between arrows.
_LONGEST = 0.9
_COLORSCALE = [[i / (len(FIELD_COLORS) - 1), color] for i, color in enumerate(FIELD_COLORS)]


def heat_map(
    values: NDArray[Any], x: NDArray[Any], y: NDArray[Any], theme: Theme, title: str, hover: str
) -> dict[str, Any]:
    """Values [y, x] in colours; what is not finite is left blank.

    Example:
        >>> heat_map(np.array([[1.0, np.nan]]), np.array([0.0, 1.0]), np.array([0.0]), "light", "Q", "")["zsmooth"]
        False
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return {
        "type": "heatmap",
        "x": x,
        "y": y,
        "z": values.astype(np.float32),
        "zmin": low,
        "zmax": high if high > low else low + 1e-9,
        "colorscale": _COLORSCALE,
        # Smoothing would paint over what is blank. "best" colours every pixel by itself, at several times the cost of
        # all the rest; on even grids "fast" differs from it by less than can be seen.
        "zsmooth": False if finite.size < values.size else "fast" if _even(x) and _even(y) else "best",
        "colorbar": {
            "thickness": 10,
            "outlinewidth": 0,
            "len": 0.92,
            "xpad": 8,
            "title": {"text": title, "font": {"size": 11, "color": muted(theme)}},
            "tickfont": {"size": 10, "color": muted(theme)},
            "nticks": 6,
        },
        "hovertemplate": hover,
    }


def _even(side: NDArray[Any]) -> bool:
    """Whether coordinates are as far from each other as plotly asks for."""
    steps = np.diff(side.astype(np.float64))
    return bool(np.ptp(steps) <= 1e-3 * np.abs(steps).mean()) if len(steps) else True


def arrows(gradient: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> dict[str, Any]:
    """Arrows along in-plane gradients [y, x, 2] at coordinates x and y, on the overlaying axis ``y2``.

    Plotly draws them under the heat map otherwise.

    Example:
        >>> arrows(np.array([[[4.0, 0.0], [0.0, 1.0]]]), np.array([0.0, 1.0]), np.array([0.0]))["u"].round(2).tolist()
        [0.8999999761581421, 0.0]
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    u, v = scaled_arrows(gradient.astype(np.float64), x, y)
    grid_x, grid_y = np.meshgrid(x, y)
    return {
        "type": "quiver",
        "name": "∇<sub>a</sub>Q (length ∝ √)",
        "yaxis": "y2",
        "arrowref": "data",
        "lengthmode": "raw",
        "anchor": "center",
        "marker": {"color": "rgba(255,255,255,0.82)", "line": {"width": 1.3}, "arrowsize": 1.1},
        "hoverinfo": "skip",
        "showlegend": False,
        "x": grid_x.ravel(),
        "y": grid_y.ravel(),
        "u": u.ravel(),
        "v": v.ravel(),
    }


def scaled_arrows(
    gradient: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Arrows in the units of the axes, length ∝ √‖g‖, the longest 0.9 of a cell.

    Args:
        gradient: [y, x, 2]; what is not finite gets no arrow.
        x: coordinates along the first action.
        y: coordinates along the second.

    Example:
        >>> u, v = scaled_arrows(np.array([[[4.0, 0.0], [0.0, 1.0]]]), np.array([0.0, 1.0]), np.array([0.0]))
        >>> [float(u[0, 0].round(2)), float(v[0, 1].round(2))]
        [0.8999999761581421, 0.44999998807907104]
    """
    gradient = np.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
    norm = np.linalg.norm(gradient, axis=-1)
    cells = [abs(float(c[1] - c[0])) for c in (x, y) if len(c) > 1]
    cell = min(cells, default=1.0)
    largest = float(norm.max()) if norm.size else 0.0
    if largest == 0.0:
        zero = np.zeros(norm.shape, dtype=np.float32)
        return zero, zero
    length = _LONGEST * cell * np.sqrt(norm / largest)
    direction = gradient / np.where(norm > 0, norm, 1.0)[..., None]
    drawn = (direction * length[..., None]).astype(np.float32)
    return drawn[..., 0], drawn[..., 1]


def points(at: NDArray[Any], name: str, mode: str) -> dict[str, Any]:
    """Points or a path [k, 2] on the overlaying axis ``y2``.

    Example:
        >>> points(np.array([[1.0, 2.0]]), "actor", "markers")["x"].tolist()
        [1.0]
    """
    return {
        "type": "scatter", "mode": mode, "name": name, "yaxis": "y2", "cliponaxis": False,
        "x": at[:, 0].astype(np.float64), "y": at[:, 1].astype(np.float64),
    }  # fmt: skip
