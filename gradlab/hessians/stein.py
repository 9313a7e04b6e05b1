"""Sums over antithetic draws from which second derivatives of a smoothed critic follow, group by group."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.hessians.along import first_derivative
from gradlab.hessians.points import Points

#: Groups that draws are dealt into.
GROUPS = 16


class StateSums:
    """Sums over the draws of each group at each state; memory does not grow with the draws.

    With y a draw's difference quotient and u its direction, both in coordinates where the noise is σ in every one:

    Attributes:
        products: from gradients Σ y uᵀ; from values Σ y (u_a uᵀ − I), [G, B, p, p + n].
        moments: from gradients Σ u uᵀ, [G, B, p + n, p + n], or None without a fit; from values Σ (u_a uᵀ − I),
            [G, B, p, p + n].
        totals: from values Σ y, [G, B].

    Args:
        at: where.
        sigma: σ.
        fit: whether moments are kept.
    """

    def __init__(self, at: Points, sigma: float, fit: bool) -> None:
        self.at, self.sigma, self.fit = at, sigma, fit
        (states, n), p = at.obs.shape, at.act.shape[1]
        self.products = at.obs.new_zeros(GROUPS, states, p, p + n)
        self.moments: Tensor | None = None
        self.totals = at.obs.new_zeros(GROUPS, states)
        with torch.no_grad():
            self.centre = at.agent.q(at.obs, at.act, critic=at.critic)

    def rows(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Observations and actions at x ± σDu: u [K, B, p + n] → [2·K·B, n] and [2·K·B, p]."""
        p = self.at.act.shape[1]
        move = self.sigma * torch.stack([u, -u])
        act = self.at.act + move[..., :p]
        obs = self.at.obs + self.at.obs_scale * move[..., p:]
        return obs.flatten(0, 2), act.flatten(0, 2)

    def estimates(self, by_gradients: bool, count: int) -> Tensor:
        """Unbiased estimates of ∇²_a(a,s) Q_σ by each group of ``count`` draws, [G, B, p, p + n].

        A group's y is replaced by y − c, where c is what the other groups' draws predict: C u from gradients, with C
        their least squares fit, and their mean from values. The mean of what is taken off is known: C, and zero.
        """
        found = self.products
        if self.moments is not None and by_gradients:
            others, spread = self.products.sum(0) - self.products, self.moments.sum(0) - self.moments
            fit: Tensor = torch.linalg.solve(spread, others, left=False)
            eye = torch.eye(spread.shape[-1], dtype=spread.dtype, device=spread.device)
            found = self.products - fit @ (self.moments - count * eye)
        elif self.moments is not None:
            baseline = (self.totals.sum(0) - self.totals) / (count * (GROUPS - 1))
            found = self.products - baseline[..., None, None] * self.moments
        # Rows are the action's, whose units are those of σ; only columns have units of their own.
        return found / (count * torch.cat([torch.ones_like(self.at.act[0]), self.at.obs_scale]))


def first_order(sums: StateSums, group: int, u: Tensor) -> None:
    """Add draws u [K, B, p + n] to a group, by gradients."""
    at, rows = sums.at, sums.at.rows_at_a_time
    obs, act = sums.rows(u)
    chunks = zip(obs.split(rows), act.split(rows), strict=True)
    gradient = torch.cat([first_derivative(at, s, a) for s, a in chunks]).reshape(2, *u.shape[:2], -1)
    y = _finite((gradient[0] - gradient[1]) / (2 * sums.sigma))
    sums.products[group] += torch.einsum("kbi,kbj->bij", y, u)
    if sums.fit:
        if sums.moments is None:
            sums.moments = u.new_zeros(GROUPS, *u.shape[1:], u.shape[-1])
        sums.moments[group] += torch.einsum("kbi,kbj->bij", u, u)


def zeroth_order(sums: StateSums, group: int, u: Tensor) -> None:
    """Add draws u [K, B, p + n] to a group, by values."""
    at, rows = sums.at, sums.at.rows_at_a_time
    obs, act = sums.rows(u)
    chunks = zip(obs.split(rows), act.split(rows), strict=True)
    with torch.no_grad():
        values = torch.cat([at.agent.q(s, a, critic=at.critic) for s, a in chunks]).reshape(2, *u.shape[:2])
    y = _finite((values.sum(0) - 2 * sums.centre)[..., None] / (2 * sums.sigma**2))[..., 0]
    p = at.act.shape[1]
    shape = torch.eye(p, u.shape[-1], dtype=u.dtype, device=u.device)
    sums.products[group] += torch.einsum("kb,kbi,kbj->bij", y, u[..., :p], u) - y.sum(0)[:, None, None] * shape
    if sums.moments is None:
        sums.moments = torch.zeros_like(sums.products)
    sums.moments[group] += torch.einsum("kbi,kbj->bij", u[..., :p], u) - len(u) * shape
    sums.totals[group] += y.sum(0)


def _finite(differences: Tensor) -> Tensor:
    """Difference quotients [K, B, ·] as they are."""
    if not bool(torch.isfinite(differences).all()):
        bad = (~torch.isfinite(differences)).any(-1).any(0).nonzero().flatten().tolist()
        raise GradlabError(
            f"critic: NaN or infinite near state(s) {bad[:5]}; has it diverged, or is the scale too large?"
        )
    return differences
