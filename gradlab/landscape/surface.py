"""A Q-landscape as the search sees it: many states at once, actions in the unit box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import shown, whole_number
from gradlab.errors import GradlabError

#: Three digits or fewer: values of a critic agree in as many nearly everywhere.
_COARSE = (torch.float16, torch.bfloat16)
#: Rows a gradient is taken of at a time; the graph of a 256-wide critic then stays near 40 MB.
_ROWS = 8_192

ActionValue = Callable[[Tensor], Tensor]
#: Values of N rows: (state index [N], actions [N, p]) → [N].
Rows = Callable[[Tensor, Tensor], Tensor]
#: How many rows are computed for rows of these states, [N].
Cost = Callable[[Tensor], int]


class Surface:
    """Q(s, ·) of several states, asked for by rows (state index [N], point of the unit box [N, p]).

    The search works on flat rows, because states have different numbers of points left to climb; the unit box
    makes step lengths and radii mean the same in every coordinate. The search itself runs on the CPU.

    Args:
        rows: values of actions (in their own units) at states given by index, differentiable in the actions.
        states: number S of states.
        low: lower corner of the action box, [p].
        high: upper corner, [p].
        cost: how many rows are computed for rows of these states, where it is not as many.

    Raises:
        GradlabError: the box is empty, not bounded or of inconsistent shape.

    Example:
        >>> bowl = Surface(lambda state, act: -act.square().sum(-1), 1, torch.tensor([-1.0]), torch.tensor([3.0]))
        >>> values, gradients = bowl.climb(torch.tensor([0]), torch.tensor([[0.5]]))
        >>> values.item(), gradients.item()
        (-1.0, -8.0)
    """

    def __init__(self, rows: Rows, states: int, low: Tensor, high: Tensor, cost: Cost = len) -> None:
        _check_box(low, high)
        self.rows, self._cost = rows, cost
        self.states = states
        self.low, self.high = low, high
        self.width = high - low
        #: Rows computed so far, with and without gradient.
        self.evaluations = 0
        #: Lowest value met so far at each state, [S].
        self.lowest = torch.full((states,), torch.inf, dtype=low.dtype)

    @property
    def size(self) -> int:
        """Number p of action coordinates."""
        return self.low.numel()

    def actions(self, unit: Tensor) -> Tensor:
        """Points of the unit box in action units; a face of the one is exactly a face of the other."""
        return torch.where(unit == 1, self.high, self.low + unit * self.width)

    def unit(self, act: Tensor) -> Tensor:
        """Actions as points of the unit box; those outside are moved to the nearest face."""
        return ((act.to(self.low) - self.low) / self.width).clamp(0, 1)

    def flipped(self) -> Surface:
        """The surface of −Q, whose ascent is descent."""
        return Surface(lambda state, act: -self.rows(state, act), self.states, self.low, self.high, self._cost)

    def values(self, state: Tensor, unit: Tensor) -> Tensor:
        """Q at rows, [N], without a graph."""
        if len(state) == 0:
            return unit.new_zeros(0)
        with torch.no_grad():
            values = torch.cat([self._asked(s, self.actions(u)).detach() for s, u in _chunks(state, unit)])
        self._met(state, values)
        return values

    def climb(self, state: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """Q and its gradient with respect to the unit coordinates: [N] and [N, p]."""
        if len(state) == 0:
            return unit.new_zeros(0), torch.zeros_like(unit)
        values, gradients = [], []
        for s, u in _chunks(state, unit):
            with torch.enable_grad():
                act = self.actions(u).detach().requires_grad_()
                value = self._asked(s, act)
                gradient = _gradient(value, act, s)
            values.append(value.detach())
            gradients.append(gradient * self.width)
        found = torch.cat(values)
        self._met(state, found)
        return found, torch.cat(gradients)

    def _asked(self, state: Tensor, act: Tensor) -> Tensor:
        self.evaluations += self._cost(state)
        return self.rows(state, act)

    def _met(self, state: Tensor, values: Tensor) -> None:
        finite = values.nan_to_num(nan=torch.inf, neginf=torch.inf).to(self.lowest)
        self.lowest.scatter_reduce_(0, state, finite, "amin")


def _gradient(value: Tensor, act: Tensor, state: Tensor) -> Tensor:
    """∇ of every value with respect to its own action; zero where Q does not depend on the action."""
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.sum(), act, materialize_grads=True)
        return gradient
    # Between states it may differ all the same.
    if any(len(value[state == one].unique()) > 1 for one in state.unique()):
        raise GradlabError("q: differs between actions but has no gradient; it must be differentiable by autograd")
    return torch.zeros_like(act)


def _chunks(state: Tensor, unit: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(state.split(_ROWS), unit.split(_ROWS), strict=True))


def agent_surface(agent: Agent, obs: Tensor, critic: int | None) -> Surface:
    """The surface of an agent's Q at observations [S, n]; ``critic`` as in ``Agent.q``.

    Raises:
        GradlabError: the agent has no such critic, or its actions are discrete.
    """
    check_critic(agent, critic)
    if agent.dtype in _COARSE:
        raise GradlabError(
            f"agent: its networks are in {agent.dtype}, in which optima cannot be told from rounding; measure "
            "agent.snapshot(double=True)"
        )

    def rows(state: Tensor, act: Tensor) -> Tensor:
        return agent.q(obs[state.to(obs.device)], act.to(obs), critic=critic).to(act)

    return Surface(rows, len(obs), agent.action_low.cpu(), agent.action_high.cpu())


def check_critic(agent: Agent, critic: int | None) -> None:
    """Raise one line unless the agent has a landscape over actions for this critic."""
    if not agent.policy.continuous:
        raise GradlabError("agent: its actions are discrete; there is no landscape over an action box")
    if not agent.critics:
        raise GradlabError("agent: has no critic of (obs, act); a landscape needs one")
    if critic is not None and (isinstance(critic, bool) or not isinstance(critic, (int, np.integer))):
        raise GradlabError(f"critic: {shown(critic)}; give the index of one, 0 to {len(agent.critics) - 1}, or None")
    if critic is not None and not -len(agent.critics) <= critic < len(agent.critics):
        raise GradlabError(f"critic: {critic}, but this agent has critics 0 to {len(agent.critics) - 1}")


def callable_surface(q: ActionValue, states: int, low: Any, high: Any) -> Surface:
    """The surface of ``q``: actions [states, starts, p] → values [states, starts].

    The box's dtype, float32 or float64, is the actions' dtype; integers become the default dtype. Where ``q`` answers
    in the other of the two, the surface is in float32, the coarser: steps of values in float32 are no optima, and
    between actions in float32 there is nothing to climb. Rows are packed into the rectangle that ``q``
    expects, so the number of starts differs from call to call, and places that are left empty are computed too: the
    surface's ``evaluations`` count them.

    Raises:
        GradlabError: ``states`` is below one, the box is wrong, or ``q`` is no function, or answers with another shape
            or with what has no gradient or too few digits.
    """
    if not callable(q):
        raise GradlabError(
            f"q: {shown(q)}; give an Agent, or a function of actions [states, k, p] to values [states, k]"
        )
    states = whole_number("states", states, 1)
    corners = [box_corner(name, corner) for name, corner in (("low", low), ("high", high))]
    given = torch.promote_types(corners[0].dtype, corners[1].dtype)
    bottom, top = (corner.to(given) for corner in corners)
    _check_box(bottom, top)
    with torch.no_grad():
        answered = _answer(q, ((bottom + top) / 2).expand(states, 1, -1))
    dtype = torch.float32 if torch.float32 in (given, answered.dtype) else given

    def rows(state: Tensor, act: Tensor) -> Tensor:
        asked = act.to(given)
        if given != dtype:
            # Rounding to float32 may take a corner out of the box; the slope there stays.
            asked = asked + (asked.clamp(bottom, top) - asked).detach()
        counts = torch.bincount(state, minlength=states)
        order = torch.argsort(state, stable=True)
        first = counts.cumsum(0) - counts
        place = torch.empty_like(state)
        place[order] = torch.arange(len(state), device=state.device) - first[state[order]]
        # Empty places repeat the first row, so that q never sees an action outside the box.
        grid = asked.detach()[0].expand(states, int(counts.max()), -1).clone()
        return _answer(q, grid.index_put((state, place), asked))[state, place].to(dtype)

    surface = Surface(rows, states, bottom.to(dtype), top.to(dtype), lambda s: states * int(torch.bincount(s).max()))
    surface.evaluations = states
    return surface


def box_corner(name: str, value: Any) -> Tensor:
    """A corner of the action box, [p], in float32 or float64; integers become the default dtype.

    Raises:
        GradlabError: it is no numbers, or of half precision, complex or bool.

    Example:
        >>> box_corner("low", [-1, -2])
        tensor([-1., -2.])
    """
    try:
        found = torch.atleast_1d(torch.as_tensor(value)).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise GradlabError(
            f"{name}: {shown(value)}; give a corner of the action box, one number a coordinate"
        ) from None
    if found.is_complex() or found.dtype is torch.bool or found.dtype in _COARSE:
        raise GradlabError(f"{name}: numbers of {found.dtype}; give a corner of the action box in float32 or float64")
    corner: Tensor = found if found.is_floating_point() else found.to(torch.get_default_dtype())
    return corner


def _answer(q: ActionValue, actions: Tensor) -> Tensor:
    """The values of ``q`` [S, k] at actions [S, k, p], in float32 or float64."""
    values = q(actions)
    if not isinstance(values, Tensor) or values.shape != actions.shape[:2]:
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise GradlabError(
            f"q: answered {shape} for actions {tuple(actions.shape)}; expected values {tuple(actions.shape[:2])}"
        )
    if values.dtype in _COARSE:
        raise GradlabError(
            f"q: answered in {values.dtype}, in which optima cannot be told from rounding; answer in float32 or float64"
        )
    if not values.is_floating_point():
        raise GradlabError(
            f"q: answered in {values.dtype}, which has no gradient for ascent to follow; answer in float32 or float64"
        )
    return values


def _check_box(low: Tensor, high: Tensor) -> None:
    if low.ndim != 1 or low.shape != high.shape or low.numel() == 0:
        raise GradlabError(f"action box: low has shape {tuple(low.shape)}, high {tuple(high.shape)}; both must be [p]")
    if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise GradlabError("action box: has infinite or NaN bounds; local optima need a bounded box")
    if not bool((low < high).all()):
        raise GradlabError("action box: low must be below high in every coordinate")
