"""One panel of the Q-gradient field: what is seen of stored arrays on one plane, in one state, of one critic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Arrays = Mapping[str, xr.DataArray]

#: How far from a plane a point may be and still be in it, as a share of how far the plane reaches.
_IN_PLANE = 0.01


@dataclass(frozen=True, eq=False)
class Panel:
    """Q on a plane of actions, or along a line of them, and what is marked on it.

    Attributes:
        title: what it is of, where there are several.
        sides: coordinates of the values, along x and, on a plane, along y.
        values: Q, [y, x] or [x]; not a number out of the action box.
        slope_sides: coordinates of the arrows.
        slopes: ∇_a Q in the plane, [y, x, 2]; dQ/da along a line, [x].
        words: what x and y are.
        path: the actor's ascent, [k, d].
        optima: [k, d], the highest first; ``heights``, ``shares`` (persistence, of the value range; not a number where
            it is not known) and ``distances`` from the plane are [k].
        actor: where the actor is, [0 or 1, d].
        trail: where it was before, [k, d], at ``trail_steps`` [k].
        reach: how far the plane reaches, in action units.
        stderr: standard errors of the values, of their shape, where they are estimates.
        diverging: whether it is a difference, in which both signs are of interest.
    """

    title: str
    sides: tuple[Floats, ...]
    values: Floats
    slope_sides: tuple[Floats, ...]
    slopes: Floats
    words: tuple[str, ...]
    path: Floats
    optima: Floats
    heights: Floats
    shares: Floats
    distances: Floats
    actor: Floats
    trail: Floats
    trail_steps: NDArray[np.int64]
    reach: float
    stderr: Floats | None = None
    diverging: bool = False

    @property
    def flat(self) -> bool:
        """Whether there is but one action."""
        return len(self.sides) == 1

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which of the optima are in the plane rather than off it, [k]."""
        return self.distances <= _IN_PLANE * self.reach

    def centred(self) -> Panel:
        """Less the mean over what is seen, which no gradient knows."""
        middle = float(np.nanmean(self.values)) if np.isfinite(self.values).any() else 0.0
        return replace(self, values=self.values - middle)


@dataclass(frozen=True)
class Trail:
    """Actions that the actor took in one state at earlier steps.

    Attributes:
        steps: training steps, ascending, [k].
        actions: [k, p].
    """

    steps: NDArray[np.int64]
    actions: Floats


def planes(arrays: Arrays) -> list[str]:
    """Names of the planes that a picture has, in their order; those of actions first.

    Example:
        >>> planes({})
        []
    """
    found = []
    for number in range(len(arrays) + 1):
        name = "q" if number == 0 else f"plane{number}_q"
        if name not in arrays:
            break
        plane = arrays[name].attrs.get("plane", (0, 1))
        if plane == "optima":
            found.append("to the optima")
        else:
            found.append(" and ".join(str(int(axis) + 1) for axis in plane))
    return [f"action{'s' if ' ' in name else ''} {name}" if name[0].isdigit() else name for name in found]


def critics(arrays: Arrays) -> list[str]:
    """Names of the critics that a picture has, in their order.

    Example:
        >>> critics({})
        []
    """
    if "q" not in arrays:
        return []
    q = arrays["q"]
    named = [str(name) for name in q["critic"].values.tolist()] if "critic" in q.coords else []
    return named or [f"critic {number + 1}" for number in range(q.sizes["critic"])]


def panel(
    arrays: Arrays, state: int = 0, critic: int = 0, plane: int = 0, trail: Trail | None = None, title: str = ""
) -> Panel:
    """What the probe ``field`` stored of one state and one critic, on one plane; the nearest where there is none such.

    Args:
        arrays: from ``store.arrays(measurement_id)``, with ``q`` at least.
        state: which of the stored states.
        critic: which of the stored critics.
        plane: which of ``planes``.
        trail: where the actor was before.
        title: what the panel is called.
    """
    prefix = f"plane{plane}_" if plane and f"plane{plane}_q" in arrays else ""
    q = arrays[f"{prefix}q"]
    state = min(max(state, 0), q.sizes["state"] - 1)
    critic = min(max(critic, 0), q.sizes["critic"] - 1)
    flat = "y" not in q.dims
    names = ["x"] if flat else ["x", "y"]
    values = q.isel(critic=critic, state=state).transpose(*names[::-1])
    sides = tuple(values[name].values.astype(np.float64) for name in names)
    slopes, slope_sides = np.empty((0,) if flat else (0, 0, 2)), tuple(np.empty(0) for _ in names)
    if f"{prefix}gradient" in arrays:
        arrows = arrays[f"{prefix}gradient"].isel(critic=critic, state=state)
        arrows = arrows.transpose(*(f"arrow_{name}" for name in names[::-1]), "component")
        slope_sides = tuple(arrows[f"arrow_{name}"].values.astype(np.float64) for name in names)
        slopes = arrows.values.astype(np.float64)
        slopes = slopes[:, 0] if flat else slopes
    actions = _Actions(arrays, state, critic)
    place = _place(arrays, prefix, state, actions.actor, names)
    optima, heights, shares = actions.optima()
    words = tuple(f"action {int(axis) + 1}" for axis in _axes(q, names))
    if isinstance(q.attrs.get("words"), list):
        words = tuple(str(word) for word in q.attrs["words"])
        if f"{prefix}determined" in arrays:
            known = arrays[f"{prefix}determined"].isel(state=state).values
            words = tuple(word if sure else "a random direction" for word, sure in zip(words, known, strict=True))
    before = trail.actions if trail is not None else np.empty((0, actions.size))
    return Panel(
        title, sides, values.values.astype(np.float64), slope_sides, slopes, words,
        place(actions.path())[0], place(optima)[0], heights, shares, place(optima)[1], place(actions.actor)[0],
        place(before)[0], trail.steps if trail is not None else np.empty(0, dtype=np.int64),
        float(sides[0][-1] - sides[0][0]),
    )  # fmt: skip


def simulated_panel(arrays: Arrays, state: int = 0, title: str = "") -> Panel | None:
    """The simulated Q^π on the first plane with its own differences for arrows; None where it was not simulated.

    Of optima the highest point of the grid is marked, and of persistence nothing is known.
    """
    if "simulated_q" not in arrays or not 0 <= state < arrays["simulated_q"].sizes["state"]:
        return None
    values = arrays["simulated_q"].isel(state=state)
    names = ["x", "y"] if "y" in values.dims else ["x"]
    values = values.transpose(*names[::-1])
    height = values.values.astype(np.float64)
    if not np.isfinite(height).any():
        return None
    learned = panel(arrays, state)
    sides = tuple(values[name].values.astype(np.float64) for name in names)
    slopes = np.stack(np.gradient(height, *sides[::-1])[::-1], -1) if len(names) > 1 else np.gradient(height, sides[0])
    top = np.unravel_index(int(np.nanargmax(height)), height.shape)
    best = np.array([[side[at] for side, at in zip(sides, top[::-1], strict=True)]])
    return replace(
        learned, title=title, sides=sides, values=height, slope_sides=sides, slopes=slopes,
        path=np.empty((0, len(names))), optima=best, heights=height[top][None], shares=np.array([np.nan]),
        distances=np.zeros(1), stderr=_noise(arrays, state, names),
    )  # fmt: skip


def _noise(arrays: Arrays, state: int, names: list[str]) -> Floats | None:
    if "simulated_stderr" not in arrays:
        return None
    found = arrays["simulated_stderr"].isel(state=state).transpose(*names[::-1])
    return np.asarray(found.values.astype(np.float64))


class _Actions:
    """Actions of a picture in one state and of one critic, [k, p]."""

    def __init__(self, arrays: Arrays, state: int, critic: int) -> None:
        self._arrays, self._at = arrays, {"state": state, "critic": critic}
        self.actor = self._of("actor")
        self.size = self.actor.shape[1] if len(self.actor) else len(arrays["q"].attrs.get("plane", (0, 1)))

    def path(self) -> Floats:
        return self._of("ascent", "ascent_step")

    def optima(self) -> tuple[Floats, Floats, Floats]:
        """Optima, the highest first, with their values and their persistence."""
        empty = np.empty(0)
        if "optima" not in self._arrays or "optima_value" not in self._arrays:
            return np.empty((0, self.size)), empty, empty
        actions = self._arrays["optima"].isel(self._at).transpose("optimum", "action").values.astype(np.float64)
        heights = self._arrays["optima_value"].isel(self._at).values.astype(np.float64)
        shares = np.full(len(heights), np.nan)
        if "optima_persistence" in self._arrays:
            shares = self._arrays["optima_persistence"].isel(self._at).values.astype(np.float64)
        known = np.isfinite(actions).all(axis=1) & np.isfinite(heights)
        order = np.flatnonzero(known)[np.argsort(-heights[known], kind="stable")]
        return actions[order], heights[order], shares[order]

    def _of(self, name: str, along: str = "") -> Floats:
        if name not in self._arrays:
            return np.empty((0, 0))
        found = self._arrays[name].isel({key: at for key, at in self._at.items() if key in self._arrays[name].dims})
        rows = found.transpose(along, "action").values if along else found.values[None]
        rows = rows.astype(np.float64)
        return np.asarray(rows[np.isfinite(rows).all(axis=1)])


def _axes(q: xr.DataArray, names: list[str]) -> list[int]:
    plane = q.attrs.get("plane", (0, 1))
    return [0, 1][: len(names)] if isinstance(plane, str) else [int(axis) for axis in plane][: len(names)]


def _place(arrays: Arrays, prefix: str, state: int, actor: Floats, names: list[str]) -> Any:
    """What tells of actions [k, p] where they are in a plane, [k, d], and how far from it, [k]."""
    if f"{prefix}direction" in arrays:
        origin = arrays[f"{prefix}origin"].isel(state=state).values.astype(np.float64)
        directions = arrays[f"{prefix}direction"].isel(state=state).values.astype(np.float64)

        def across(actions: Floats) -> tuple[Floats, Floats]:
            if not actions.size:
                return np.empty((0, len(names))), np.empty(0)
            place = (actions - origin) @ directions.T
            return place, np.linalg.norm(actions - origin - place @ directions, axis=1)

        return across
    axes = _axes(arrays[f"{prefix}q"], names)

    def along(actions: Floats) -> tuple[Floats, Floats]:
        if not actions.size:
            return np.empty((0, len(axes))), np.empty(0)
        others = np.ones(actions.shape[1], dtype=bool)
        others[axes] = False
        through = actor[0] if len(actor) else actions[0]
        return actions[:, axes], np.linalg.norm((actions - through)[:, others], axis=1)

    return along
