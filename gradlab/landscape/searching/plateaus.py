"""Plateaus: where Q is level in every direction, so that there is no maximum."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.landscape.searching.ascent import Climb
from gradlab.landscape.surface import Surface

#: Rounding of a slope across the box, in last digits of the value range.
_LAST_DIGITS = 64


def level(surface: Surface, climb: Climb, *, radius: float, span: Tensor, rounding: Tensor) -> Tensor:
    """Which rows lie on a plateau, inside it or on its edge, [N].

    Inside, no poll at ``radius`` along any axis differs by more than ``rounding``, and the slopes there and at the
    polls are zero or rounding: followed across the whole box they would change Q by no more than 64 last digits of its
    range, or one of its own. Values alone do not tell: the top of a wide hill is as level within the radius, but the
    slopes around it grow with the distance. On an edge, one of the two polls along every axis is level, and what lies
    twice as far off on all these sides is inside.

    Args:
        surface: the landscape.
        climb: the rows.
        radius: of the polls, in the unit box.
        span: value range of each state, [S].
        rounding: differences of values that are rounding, [S].
    """
    last = torch.finfo(span.dtype).eps
    # Rounding of values is eight last digits of Q.
    slope = torch.maximum(_LAST_DIGITS * last * span, rounding / 8)
    eye = torch.eye(surface.size, dtype=climb.point.dtype)

    def polled(state: Tensor, point: Tensor, value: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
        """Polls up and down some axes, [N, 2, axes, p], and whether Q is ``value`` there but for rounding."""
        polls = (point[:, None, None] + radius * torch.stack([axes, -axes])).clamp(0, 1)
        values = surface.values(state.repeat_interleave(2 * len(axes)), polls.flatten(0, 2))
        apart = (values.reshape(-1, 2, len(axes)) - value[:, None, None]).abs()
        return polls, apart <= rounding[state][:, None, None]

    # Most ends are told by the first axis.
    _, same = polled(climb.state, climb.point, climb.value, eye[:1])
    found = same.any(1).squeeze(-1)
    rows = found.nonzero().flatten()
    state, point, value = climb.state[rows], climb.point[rows], climb.value[rows]
    polls, same = polled(state, point, value, eye)
    sides = same & (polls != point[:, None, None]).any(-1)
    inside = same.all((-1, -2))
    shift = torch.where(inside[:, None], 0.0, torch.where(sides[:, 0], 2 * radius, -2 * radius)).to(point)
    kept = inside | sides.any(1).all(-1)
    found[rows] = kept
    # Fewer are as level, and slopes cost more than values.
    rows, state, value, point = rows[kept], state[kept], value[kept], (point + shift).clamp(0, 1)[kept]
    polls, same = polled(state, point, value, eye)
    at = torch.cat([point[:, None], polls.flatten(1, 2)], 1)
    values, slopes = surface.climb(state.repeat_interleave(at.shape[1]), at.flatten(0, 1))
    here = values.reshape(at.shape[:2])[:, 0]
    gentle = (slopes.abs().sum(-1).reshape(at.shape[:2]) <= slope[state][:, None]).all(-1)
    found[rows] = same.all((-1, -2)) & gentle & ((here - value).abs() <= rounding[state])
    return found
