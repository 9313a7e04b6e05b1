"""What the field probe stores of the field over states: ∇_a Q at the actor's action on a plane of observations."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.landscape import gradient_field_over_states, state_plane

#: Fewest observations whose directions of largest variance mean something.
_FEWEST = 16
#: Components of the gradient that are kept.
_COMPONENTS = 6


def over_states(agent: Agent, obs: Tensor, seen: Tensor, resolution: int) -> dict[str, xr.DataArray]:
    """Arrays ``state_q``, ``state_norm``, ``state_volatility``, ``state_gradient`` [critic, state, state_y, state_x].

    Each of the states has a plane of its own, along the two directions in which the observations seen vary most
    (principal components, in the observation's own units, which are what the networks get). ``state_place`` [state,
    axis] is where the state is in it, ``state_seen`` [sample, axis] where the observations seen would be.

    Args:
        agent: the agent.
        obs: the states [S, n].
        seen: observations seen [B, n].
        resolution: points along each side.

    Returns:
        None of it where too few observations were seen, or they do not vary in two directions.
    """
    data = seen.detach().cpu().double()
    if data.shape[1] < 2 or len(data) < _FEWEST or not bool(torch.isfinite(data).all()):
        return {}
    middle = data.mean(0)
    _, spread, directions = torch.linalg.svd(data - middle, full_matrices=False)
    if not bool(spread[1] > 1e-9 * spread[0]):
        return {}
    directions = directions[:2]
    # The sign of a principal direction is arbitrary: its largest component points upwards.
    largest = directions.abs().argmax(1)
    directions = directions * directions.gather(1, largest[:, None]).sign()
    kept: dict[str, list[xr.DataArray]] = {"q": [], "norm": [], "volatility": [], "gradient": []}
    cloud = (data - middle) @ directions.T
    # What is at the border of what was seen, or beyond it, is in its plane all the same.
    span = cloud.quantile(torch.tensor([0.01, 0.99], dtype=data.dtype), dim=0)
    places, sides_x, sides_y = [], [], []
    for state in obs.detach().cpu().double():
        at = (state - middle) @ directions.T
        low, high = torch.minimum(span[0], at) - at, torch.maximum(span[1], at) - at
        sides = {name: (float(low[i]), float(high[i])) for i, name in enumerate("xy")}
        plane = state_plane(state, directions, **sides, resolution=resolution)
        found = gradient_field_over_states(agent, plane)
        for name, parts in kept.items():
            parts.append(found[name])
        places.append(at)
        # From the middle of what was seen, so that the states' planes have the same coordinates.
        sides_x.append((plane.x + at[0]).numpy())
        sides_y.append((plane.y + at[1]).numpy())
    labels = [str(one) for one in kept["q"][0]["critic"].values]
    words = [_named(direction) for direction in directions]
    arrays: dict[str, xr.DataArray] = {}
    for name, parts in kept.items():
        dims: tuple[str, ...] = ("critic", "state", "state_y", "state_x")
        values = np.stack([part.values for part in parts], 1).astype(np.float32)
        if name == "gradient":
            dims, values = (*dims, "component"), values[..., :_COMPONENTS]
        arrays[f"state_{name}"] = xr.DataArray(values, dims=dims, coords={"critic": labels}, attrs={"words": words})
    for side, rows in (("x", sides_x), ("y", sides_y)):
        arrays[f"state_side_{side}"] = xr.DataArray(np.stack(rows).astype(np.float32), dims=("state", f"state_{side}"))
    arrays["state_place"] = xr.DataArray(torch.stack(places).float().numpy(), dims=("state", "axis"))
    arrays["state_seen"] = xr.DataArray(cloud.float().numpy(), dims=("sample", "axis"))
    return arrays


def _named(direction: Tensor) -> str:
    """A direction of observations by the coordinates that make most of it.

    Example:
        >>> _named(torch.tensor([0.0, 1.0])), _named(torch.tensor([0.6, 0.0, -0.8]))
        ('observation 2', '−0.80 observation 3 + 0.60 observation 1')
    """
    order = direction.abs().argsort(descending=True).tolist()
    kept, held = [], 0.0
    for index in order[:2]:
        kept.append(index)
        held += float(direction[index]) ** 2
        if held > 0.98:
            break
    if len(kept) == 1:
        return f"{'−' if direction[kept[0]] < 0 else ''}observation {kept[0] + 1}"
    text = ""
    for index in kept:
        value = float(direction[index])
        sign = ("−" if value < 0 else "") if not text else (" − " if value < 0 else " + ")
        text += f"{sign}{abs(value):.2f} observation {index + 1}"
    return text + (" + …" if held < 0.9 else "")
