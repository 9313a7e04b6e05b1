"""What the field probe stores of planes beyond the first pair of actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.landscape import LocalOptima, field, optima_plane, slice_plane


def pairs(actions: int, most: int) -> list[tuple[int, int]]:
    """Pairs of action coordinates that between them hold every one, at most so many.

    Example:
        >>> pairs(2, 4), pairs(5, 4), pairs(17, 2)
        ([(0, 1)], [(0, 1), (2, 3), (3, 4)], [(0, 1), (2, 3)])
    """
    found = [(first, first + 1) for first in range(0, actions - 1, 2)]
    if actions % 2 and actions > 1:
        found.append((actions - 2, actions - 1))
    return found[:most]


def more_planes(
    agent: Agent,
    obs: Tensor,
    optima: LocalOptima,
    generator: torch.Generator,
    *,
    most: int,
    resolution: int,
    arrows: int,
) -> dict[str, xr.DataArray]:
    """Arrays ``plane1_q``, ``plane1_gradient``, … of an agent with three actions or more; none of one with fewer.

    The last plane goes through the actor's action and the two best optima, where half of the action box's corners are
    out of sight: it is not a number there. ``plane{k}_origin`` and ``plane{k}_direction`` say where it lies.

    Args:
        agent: the agent.
        obs: observations [S, n].
        optima: of what the actor follows, at these.
        generator: of directions that nothing determines.
        most: planes of two actions, the first pair among them.
        resolution: points along each side.
        arrows: arrows along each side.
    """
    if agent.action_size < 3:
        return {}
    arrays: dict[str, xr.DataArray] = {}
    others = pairs(agent.action_size, most)[1:]
    for number, pair in enumerate(others, 1):
        picture = field(agent, obs, plane=pair, resolution=resolution, arrows=arrows)
        arrays[f"plane{number}_q"] = _kept(picture["q"], plane=list(pair))
        arrays[f"plane{number}_gradient"] = _kept(picture["gradient"])
    name = f"plane{len(others) + 1}"
    cut = slice_plane(agent, obs, optima_plane(agent, obs, optima, generator=generator), resolution=resolution)
    labels = arrays["plane1_q"]["critic"].values.tolist() if others else cut["critic"].values.tolist()
    cut = cut.sel(critic=labels)
    every = max(1, round((resolution - 1) / (arrows - 1)))
    sparse = cut["gradient"].isel(x=slice(None, None, every), y=slice(None, None, every))
    words = [str(cut[side].attrs["long_name"]) for side in ("x", "y")]
    arrays[f"{name}_q"] = _kept(cut["q"].drop_vars("component", errors="ignore"), plane="optima", words=words)
    arrays[f"{name}_gradient"] = _kept(sparse.rename(x="arrow_x", y="arrow_y"))
    for part in ("origin", "direction", "determined"):
        arrays[f"{name}_{part}"] = cut[part].drop_vars("component", errors="ignore")
    return arrays


def _kept(array: xr.DataArray, **attrs: Any) -> xr.DataArray:
    """In float32, with these attributes alone."""
    plain = array.astype(np.float32)
    plain.attrs = attrs
    for side in plain.coords.values():
        side.attrs = {}
    return plain
