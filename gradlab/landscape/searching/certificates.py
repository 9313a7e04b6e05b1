"""What proves that a point is a local optimum, without second derivatives."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from gradlab.landscape.searching.ascent import feasible
from gradlab.landscape.searching.ridges import on_ridge, rotated_polls
from gradlab.landscape.searching.stationary import STATIONARY, goldstein
from gradlab.landscape.surface import Surface

#: A value within this share of what gradients' differences predict counts as quadratic.
_QUADRATIC = 0.25
#: Least curvature, as a share of the greatest, that counts as curved, and below which it may be a bent ridge's.
_CURVED, _BENT = 1e-4, 0.02
#: What the longest gradient would rise over the scale, times this, is level along a ridge.
_LEVEL = 1e-5


class Certificate(IntEnum):
    """How an optimum is certified, at a stated scale h, a share of the box's width; ``int8`` in tensors.

    * ``SECOND_ORDER``: smooth at scale h. Along the coordinates that are free to move, the Hessian made of central
      differences of gradients over ±h is negative definite, agrees with the values there, and its Newton step is
      shorter than h; along the others every gradient within h points out of the box.
    * ``KINK``: zero lies in the convex hull of gradients met within h/2 and the box's normal cone, but for a residual
      of at most 2 % of the longest of them, and 4p polls at distance h are all lower.
    * ``CORNER``: no coordinate is free to move, and every gradient within h points out of the box.
    * ``UNCERTIFIED``: none of these. It may be an optimum all the same: one that is level in some direction, or
      narrower than h.

    On a ridge, straight or bent, nothing is a strict optimum, though where it is bent all polls are lower. So a kink,
    and a smooth top whose least curvature is below 2 % of its greatest, is certified only if ascent from polls at
    distance h does not end at the same height h/2√p away or further, nor higher than that on both sides; "the same" is
    but for rounding, or 0.001 % of what the longest gradient would rise over h. A bent ridge that is kinked across in
    some directions and smooth in others may pass all the same, as ascent returns to it slowly.
    """

    UNCERTIFIED = 0
    SECOND_ORDER = 1
    KINK = 2
    CORNER = 3


def certify(surface: Surface, state: Tensor, point: Tensor, *, scale: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Certificates of rows (state [N], point [N, p] in the unit box), and their residuals.

    Args:
        surface: the landscape.
        state: state index of each row, [N].
        point: where each row is in the unit box, [N, p].
        scale: h above, in (0, 0.5).
        seed: of polls and trials.

    Returns:
        Certificates [N], int8, and residuals [N]: length of the shortest vector in the hull of the gradients and the
        normal cone, as a share of the longest gradient; for ``SECOND_ORDER`` that of the gradient at the point itself.

    Example:
        >>> bowl = Surface(lambda state, act: -act.square().sum(-1), 1, torch.tensor([-1.0]), torch.tensor([3.0]))
        >>> kind, residual = certify(bowl, torch.zeros(2, dtype=torch.long), torch.tensor([[0.25], [0.5]]), scale=0.01)
        >>> [Certificate(one).name for one in kind.tolist()]
        ['SECOND_ORDER', 'UNCERTIFIED']
    """
    count, size = point.shape
    if count == 0:
        return torch.zeros(0, dtype=torch.int8), point.new_zeros(0)
    value, gradient = surface.climb(state, point)
    eye = torch.eye(size, dtype=point.dtype)
    stencil = (point[:, None] + scale * torch.cat([eye, -eye])).clamp(0, 1)
    rows = state[:, None].expand(-1, 2 * size).reshape(-1)
    values, gradients = surface.climb(rows, stencil.flatten(0, 1))
    values, gradients = values.reshape(count, 2 * size), gradients.reshape(count, 2 * size, size)
    rounding = 8 * torch.finfo(value.dtype).eps * torch.maximum(value.abs(), values.abs().amax(-1))

    out = ((point <= 0) & (gradient < 0)) | ((point >= 1) & (gradient > 0))
    always = out & (gradients.sign() == gradient.sign()[:, None]).all(1)
    corner = always.all(-1)
    smooth, bent = _curves_down(point, value, gradient, stencil, values, gradients, ~out, rounding, scale)
    smooth &= (always | ~out).all(-1) & ~corner
    longest = torch.maximum(gradients.norm(dim=-1).amax(-1), gradient.norm(dim=-1))
    tiny = torch.finfo(longest.dtype).tiny
    residual = feasible(point, gradient).norm(dim=-1) / longest.clamp_min(tiny)

    rest = (~corner & ~smooth).nonzero().flatten()
    kink = torch.zeros_like(corner)
    if len(rest):
        ended = goldstein(
            surface,
            state[rest],
            point[rest],
            value[rest],
            gradient[rest],
            radius=torch.full_like(value[rest], scale / 2),
            rounds=4 * size + 12,
            least=rounding[rest],
            seed=seed,
        )
        stays = (ended.point == point[rest]).all(-1)
        residual[rest] = torch.where(stays, ended.residual, residual[rest])
        stays &= ended.residual <= STATIONARY
        # Polls that a face kept where they were say nothing.
        polled = values[rest].masked_fill((stencil[rest] == point[rest, None]).all(-1), -torch.inf).amax(-1)
        highest = torch.maximum(polled, _rotated(surface, state[rest], point[rest], scale, seed))
        kink[rest] = stays & (highest < value[rest] - rounding[rest])
    doubtful = (kink | smooth & bent).nonzero().flatten()
    least = torch.maximum(rounding / 4, _LEVEL * longest * scale)[doubtful]
    ridge = on_ridge(surface, state[doubtful], point[doubtful], value[doubtful], scale=scale, least=least, seed=seed)
    kink[doubtful] &= ~ridge
    smooth[doubtful] &= ~ridge
    kind = Certificate.SECOND_ORDER * smooth + Certificate.KINK * kink + Certificate.CORNER * corner
    return kind.to(torch.int8), residual


def _curves_down(
    point: Tensor,
    value: Tensor,
    gradient: Tensor,
    stencil: Tensor,
    values: Tensor,
    gradients: Tensor,
    free: Tensor,
    rounding: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Which rows are smooth at ``scale`` with a negative definite Hessian on their free coordinates, [N].

    And which of them are curved so little in some direction that they may lie on a bent ridge.
    """
    size = point.shape[1]
    plus, minus = gradients[:, :size], gradients[:, size:]
    width = (stencil[:, :size] - stencil[:, size:]).diagonal(dim1=-2, dim2=-1)
    hessian = ((plus - minus) / width[..., None]).double()
    hessian = (hessian + hessian.mT) / 2
    bend = hessian.diagonal(dim1=-2, dim2=-1)
    moved = (stencil - point[:, None]).double()
    moved = torch.cat([part.diagonal(dim1=-2, dim2=-1) for part in moved.split(size, 1)], -1)
    half = 0.5 * bend.repeat(1, 2) * moved.square()
    expected = gradient.double().repeat(1, 2) * moved + half
    off = (values.double() - value.double()[:, None] - expected).abs()
    quadratic = (off <= _QUADRATIC * half.abs() + rounding[:, None]) | ~free.repeat(1, 2)

    both = free[:, :, None] & free[:, None, :]
    hessian = torch.where(both, hessian, 0.0)
    steepest = hessian.abs().amax((-2, -1))
    # Coordinates that are not free take no part: they are given the least curvature there is.
    hessian = hessian - torch.diag_embed((~free).double() * steepest[:, None])
    usable = quadratic.all(-1) & (steepest * scale**2 > 8 * rounding) & torch.isfinite(steepest)
    hessian = torch.where(usable[:, None, None], hessian, -torch.eye(size, dtype=hessian.dtype))
    eigenvalues, vectors = torch.linalg.eigh(hessian)
    least = torch.maximum(_CURVED * eigenvalues.abs().amax(-1), 2 * rounding.double() / scale**2)
    negative = eigenvalues[:, -1] < -least
    slope = (vectors.mT @ torch.where(free, gradient, 0.0).double()[..., None]).squeeze(-1)
    step = (slope / eigenvalues.clamp(max=-torch.finfo(torch.float64).tiny)).norm(dim=-1)
    return usable & negative & (step <= scale), eigenvalues[:, -1] > -_BENT * eigenvalues.abs().amax(-1)


def _rotated(surface: Surface, state: Tensor, point: Tensor, scale: float, seed: int) -> Tensor:
    """The highest of 2p values at ``scale`` along a random rotation of the axes, [N]; unmoved polls do not count."""
    polls = rotated_polls(point, scale, seed)
    rows = state.repeat_interleave(polls.shape[1])
    values = surface.values(rows, polls.flatten(0, 1)).reshape(polls.shape[:2])
    return values.masked_fill((polls == point[:, None]).all(-1), -torch.inf).amax(-1)
