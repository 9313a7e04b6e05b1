"""Q and its action gradient on any plane of actions, as a labelled dataset ready to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor, switch, whole_number
from gradlab.arguments import shown as printed
from gradlab.errors import GradlabError
from gradlab.landscape.entrance import measured_agent
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.planes.optima_planes import optima_plane
from gradlab.landscape.planes.plane_geometry import extent
from gradlab.landscape.planes.planes import Plane, coordinate_plane
from gradlab.landscape.planes.shown import Shown, shown_critics, values, values_and_gradients

_ACTION = "critic's action units"
_UNITS = {
    "q": "return",
    "spread": "return",
    "gradient": "return per action unit",
    "gradient_norm": "return per action unit",
    "curvature": "return per action unit squared",
    "origin": _ACTION,
    "mark_place": _ACTION,
    "mark_distance": _ACTION,
}


def slice_plane(
    agent: Agent,
    obs: Any,
    plane: tuple[int, int] | LocalOptima | Plane = (0, 1),
    *,
    resolution: int = 41,
    gradient: bool = True,
    window: Sequence[tuple[float, float]] | None = None,
    critics: Sequence[int | str] | None = None,
) -> xr.Dataset:
    """Q and ∇_a Q at the actions origin + x·u + y·v of a plane through the action box, at many states.

    Points outside the box are NaN, and no critic is asked there. Every critic is evaluated once at every point, for
    its value and its gradient together.

    Args:
        agent: the agent.
        obs: observations [S, n].
        plane: two action coordinates; or the optima found at these states, for the plane through actor, best and
            second best; or a ``Plane`` from ``curvature_plane``, ``random_plane``, ``optima_plane`` or of your own.
        resolution: points along each side.
        gradient: whether ∇_a Q is taken too, at about twice the cost.
        window: ranges of x and of y, in the critic's action units; by default what holds the box at every state. It is
            common to all states, so that one state by itself fills it better.
        critics: indices of critics, ``"followed"``, ``"min"``, ``"mean"``; by default every critic, the value that
            the actor follows where it is made of several, and the smallest of several.

    Returns:
        A dataset in the model's dtype; with one action the dimension ``y`` is absent.

        * ``q`` (critic, state, y, x): Q.
        * ``gradient`` (critic, state, y, x, component): ∇_a Q·u and ∇_a Q·v, and ``gradient_norm`` (critic, state,
          y, x): ‖∇_a Q‖ in all action coordinates, so that what points out of the plane is seen.
        * ``spread`` (state, y, x): standard deviation of Q over the single critics shown, where there are several.
        * ``inside`` (state, y, x): whether the point is in the action box.
        * ``origin`` (state, action), ``direction`` (state, component, action): the plane.
        * ``determined`` (state, component): whether a direction is what it is called; random where not.
        * ``mark_place`` (state, mark, component): places of the actor and of optima in the plane, NaN where there is
          none; ``mark_distance`` (state, mark): how far they are from the plane.
        * ``curvature`` (state, component): where the plane was chosen by it.

    Raises:
        GradlabError: the plane does not exist, misses the box or is not orthonormal, an argument is wrong, or Q is
            finite nowhere on the slice.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 2), [lambda obs, act: -act.square().sum(-1)], [-1.0, -1.0], [1.0, 1.0])
        >>> slope = torch.tensor([[[0.6, 0.8], [-0.8, 0.6]]])
        >>> picture = slice_plane(agent, torch.zeros(1, 1), Plane(torch.zeros(1, 2), slope), resolution=29)
        >>> at = picture.isel(state=0, critic=0).sel(x=0.0, y=0.5, method="nearest")
        >>> [round(v, 3) for v in [at.q.item(), *at.gradient.values.tolist(), picture.inside.mean().item()]]
        [-0.25, 0.0, -1.0, 0.486]
    """
    agent = measured_agent(agent)
    shown = shown_critics(agent, critics, minimum=True)
    states = agent.observations(obs)
    resolution = whole_number("resolution", resolution, 2)
    gradient = switch("gradient", gradient)
    cut = _checked(agent, len(states), _plane(agent, states, plane))
    low, high = agent.action_low.double(), agent.action_high.double()
    sides = _sides(extent(cut.origin, cut.directions, low, high), window, resolution)

    grid = torch.stack(torch.meshgrid(*sides[::-1], indexing="ij")[::-1], -1)  # [(y,) x, d], y slowest
    reached = torch.einsum("...d,sdp->s...p", grid, cut.directions)
    reached = reached + cut.origin.reshape(len(states), *[1] * len(sides), -1)
    slack = 1e-6 * (high - low)  # points on a face are inside, whatever their rounding
    inside = ((reached >= low - slack) & (reached <= high + slack)).all(-1)
    if not bool(inside.any()):
        raise GradlabError("plane: no point of the slice is in the action box; move the window or the plane")
    row_state = inside.nonzero()[:, 0]
    rows = reached[inside].to(agent.dtype).clamp(agent.action_low, agent.action_high)

    def whole(part: Tensor) -> np.ndarray[Any, Any]:
        """[pictures, N, ...] → [pictures, S, (y,) x, ...], NaN outside of the box."""
        full = part.new_full((len(part), *inside.shape, *part.shape[2:]), math.nan)
        full[:, inside] = part
        return np.asarray(full.cpu().numpy())

    spatial = ["y", "x"][-len(sides) :]
    dims = ("critic", "state", *spatial)
    variables: dict[str, Any] = {}
    if gradient:
        q, slope = values_and_gradients(agent, states[row_state], rows, shown)
        along = torch.einsum("cnp,ndp->cnd", slope, cut.directions[row_state].to(slope))
        variables["gradient"] = ((*dims, "component"), whole(along))
        variables["gradient_norm"] = (dims, whole(slope.norm(dim=-1)))
    else:
        q = values(agent, states[row_state], rows, shown)
    if not bool(torch.isfinite(q).any()):
        raise GradlabError("critic: NaN or infinite at every action of the slice; has it diverged?")
    single = [index for index, one in enumerate(shown) if one.critic is not None and one.label != "followed"]
    if len(single) > 1:
        variables["spread"] = (dims[1:], whole(q[single].std(0)[None])[0])
    variables = {"q": (dims, whole(q)), **variables, "inside": (dims[1:], inside.cpu().numpy())}
    return _dataset(cut, sides, shown, variables, agent.dtype)


def _plane(agent: Agent, obs: Tensor, plane: Any) -> Plane:
    if isinstance(plane, Plane):
        return plane
    if isinstance(plane, LocalOptima):
        return optima_plane(agent, obs, plane)
    return coordinate_plane(agent, obs, plane)


def _checked(agent: Agent, states: int, plane: Plane) -> Plane:
    """The plane in float64 on the agent's device, or one line on what is wrong with it."""
    size = agent.action_size
    count = min(size, 2)
    origin, directions = (part.to(agent.device).double() for part in (plane.origin, plane.directions))
    if origin.shape != (states, size) or directions.shape != (states, count, size):
        raise GradlabError(
            f"plane: origin {tuple(origin.shape)} and directions {tuple(directions.shape)}; expected "
            f"{(states, size)} and {(states, count, size)}"
        )
    gram = directions @ directions.mT
    # NaN must fail too.
    if not bool((gram - torch.eye(count).to(gram)).abs().max() < 1e-4):
        raise GradlabError("plane: the directions are not orthonormal; make them so, by torch.linalg.qr for instance")
    if not bool(torch.isfinite(origin).all()):
        raise GradlabError("plane: NaN or infinite origin")
    marks = {name: point.to(agent.device).double() for name, point in plane.marks.items()}
    for name, point in marks.items():
        if point.shape != (states, size):
            raise GradlabError(f"plane: mark {name!r} has shape {tuple(point.shape)}; expected {(states, size)}")
    return Plane(origin, directions, plane.axes[:count], plane.kind, marks, plane.determined, plane.curvature)


def _sides(extents: Tensor, window: Any, resolution: int) -> list[Tensor]:
    """Coordinates along x and y [resolution], float64: over the window, or over what holds the box at every state."""
    count = extents.shape[1]
    if window is not None:
        try:
            ranges = real_tensor("window", window).detach().double()
        except GradlabError:
            ranges = torch.zeros(0)
        if ranges.shape != (count, 2) or not bool(torch.isfinite(ranges).all() and (ranges[:, 0] < ranges[:, 1]).all()):
            raise GradlabError(f"window: {printed(window)}; give {count} increasing pairs of numbers, x first")
        bounds = ranges.to(extents)
    else:
        missed = extents.isnan().any(-1).any(-1)
        if bool(missed.all()):
            raise GradlabError("plane: misses the action box at every state; move its origin into the box")
        known = extents[~missed]
        bounds = torch.stack([known[..., 0].amin(0), known[..., 1].amax(0)], -1)
        if not bool((bounds[:, 0] < bounds[:, 1]).all()):
            raise GradlabError("plane: meets the action box in a point or a line alone; choose other directions")
    return [torch.linspace(float(a), float(b), resolution, dtype=torch.float64).to(extents) for a, b in bounds]


def _dataset(
    cut: Plane, sides: list[Tensor], shown: list[Shown], variables: dict[str, Any], dtype: torch.dtype
) -> xr.Dataset:
    """Everything with its labels and units, in the model's dtype."""

    def array(part: Tensor) -> np.ndarray[Any, Any]:
        return np.asarray(part.to(dtype).cpu().numpy())

    spatial = ["x", "y"][: len(sides)]
    variables["origin"] = (("state", "action"), array(cut.origin))
    variables["direction"] = (("state", "component", "action"), array(cut.directions))
    determined = torch.ones(cut.directions.shape[:2], dtype=torch.bool) if cut.determined is None else cut.determined
    variables["determined"] = (("state", "component"), determined.cpu().numpy())
    coords: dict[str, Any] = {"critic": [one.label for one in shown], "component": spatial}
    for name, side, words in zip(spatial, sides, cut.axes, strict=True):
        coords[name] = (name, array(side), {"units": _ACTION, "long_name": words})
    if cut.marks:
        offset = torch.stack(list(cut.marks.values()), 1) - cut.origin[:, None]
        place = offset @ cut.directions.mT
        distance = (offset - place @ cut.directions).norm(dim=-1)
        variables["mark_place"] = (("state", "mark", "component"), array(place))
        variables["mark_distance"] = (("state", "mark"), array(distance))
        coords["mark"] = list(cut.marks)
    if cut.curvature is not None:
        variables["curvature"] = (("state", "component"), array(cut.curvature))
    # xarray takes longer to change a dataset than to make one.
    labelled = {name: (*parts, {"units": _UNITS[name]} if name in _UNITS else {}) for name, parts in variables.items()}
    return xr.Dataset(labelled, coords=coords, attrs={"plane": cut.kind})
