"""What is seen of jumps in returns whose first action is moved at random."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradlab.simulation.rollouts import Rollouts

#: The pair that deviates most is halved so often, and keeps no more than this share of its change without a jump.
_HALVINGS, _LEFT = 10, 0.02

#: Fits of the linear part, each weighted by the residuals before.
_REWEIGHTED = 8

#: Below this share of the largest change a deviation is rounding.
_ROUNDING = 1e-9


def deviations(
    act: Tensor,
    directions: Tensor,
    radius: float,
    found: Rollouts,
    again: Callable[[Tensor, Tensor, Tensor], Rollouts],
) -> tuple[Tensor, Tensor]:
    """How far returns change other than along a straight line, and at which states they were seen to jump.

    A jump is seen in either of two ways.

    * Rollouts of a state differ in length, or some ended and others did not.
    * The pair of moves ±σu whose change is farthest from linear (least absolute deviations over all pairs of the
      state), or else the one whose change is largest, is halved ten times, towards the larger change and with the same
      noise. Of a smooth return's change a thousandth is left then, times the ratio of its steepest slope to its mean
      one; a jump is left whole. More than 2 % is a jump.

    So curved returns have none. A jump that no pair of a state met is not seen there, nor need be one that the same
    pair's other changes exceed many times.

    Args:
        act: first actions [N, B, p] before they are moved.
        directions: u [N, B, p].
        radius: σ.
        found: the rollouts [2, N, B] from act + σu and act − σu.
        again: from (first actions [1, b, p], pairs [b], states [b]) to rollouts with those pairs' noise.

    Returns:
        [B] float64, finite, the change of the pair that deviates most from the linear fit, less that fit, though not
        more than the largest change of all; and [B] bool, whether a jump was seen.

    Example:
        >>> directions = torch.tensor([0.2, 0.4, 0.8, 1.6]).double().view(4, 1, 1)
        >>> from types import SimpleNamespace
        >>> def rollouts(act, q):
        ...     value = q(act.squeeze(-1))
        ...     return SimpleNamespace(value=value, length=value > torch.inf, terminated=value > torch.inf)
        >>> for q in (lambda a: 3 * a.exp(), lambda a: 3 * a + 7 * (a > 1)):
        ...     found = rollouts(torch.stack([directions, -directions]), q)
        ...     _, jumps = deviations(0 * directions, directions, 1.0, found, lambda act, pair, state: rollouts(act, q))
        ...     print(jumps.item())
        False
        True
    """
    up, down = (value.to(directions).nan_to_num(0.0, 0.0, 0.0) for value in found.value)
    change, across = (up - down).T.unsqueeze(-1), directions.transpose(0, 1)
    trend = _least_absolute(across, change)
    largest = change.squeeze(-1).abs().amax(1)
    height = torch.minimum((change - across @ trend).squeeze(-1).abs().amax(1), largest)
    length, ended = found.length.flatten(0, 1), found.terminated.flatten(0, 1)
    jumps = (length.amin(0) != length.amax(0)) | (ended.any(0) & ~ended.all(0))
    # The trend hides a jump where it is itself made of jumps, and without it slopes hide small ones.
    for slopes in (trend, torch.zeros_like(trend)):
        bent, pairs = (change - across @ slopes).squeeze(-1).abs().max(1)
        state = (~jumps & (height > _ROUNDING * largest)).nonzero().flatten()
        if not len(state):
            break
        pair = pairs[state]
        centre, move = act.detach()[pair, state], radius * directions[pair, state]
        # Half of the linear change, which is taken off along the way.
        linear = (directions[pair, state].unsqueeze(1) @ slopes[state]).flatten() / 2
        low, high = -torch.ones_like(linear), torch.ones_like(linear)
        at_low, at_high = down[pair, state] + linear, up[pair, state] - linear
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            first = (centre + middle.unsqueeze(-1).to(centre) * move.to(centre)).unsqueeze(0)
            at_middle = again(first, pair, state).value[0].to(linear) - middle * linear
            above = (at_high - at_middle).abs() > (at_middle - at_low).abs()
            low, at_low = torch.where(above, middle, low), torch.where(above, at_middle, at_low)
            high, at_high = torch.where(above, high, middle), torch.where(above, at_high, at_middle)
        # A simulation that is not finite in between does more than jump.
        left = (at_high - at_low).abs().nan_to_num(torch.inf, torch.inf, torch.inf)
        jumps[state] = left > _LEFT * bent[state]
    return height, jumps


def _least_absolute(across: Tensor, change: Tensor) -> Tensor:
    """Coefficients [B, p, 1] with small Σ|change − across b|, by reweighted least squares: few jumps do not tilt it."""
    weight = torch.ones_like(change)
    for _ in range(_REWEIGHTED):
        # By the pseudo-inverse: directions may have lengths near zero.
        trend: Tensor = torch.linalg.pinv(weight * across) @ (weight * change)
        off = (change - across @ trend).abs()
        weight = off.clamp_min(1e-6 * change.abs().amax(1, keepdim=True) + 1e-300).rsqrt()
    return trend
