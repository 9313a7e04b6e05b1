"""A quadratic critic in one state: every zeroth-order variance in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimators.directions import ClippedGaussian, Direction
from gradlab.estimators.zeroth_order import check_radius
from gradlab.worlds.base import GradientMoments
from gradlab.worlds.direction_kinds import direction_kind
from gradlab.worlds.inputs import check_finite
from gradlab.worlds.modules import quadratic_form
from gradlab.worlds.polynomial_bandit import PolynomialBandit
from gradlab.worlds.polynomials import Polynomial, clipped_normal_moment


class QuadraticBandit(PolynomialBandit):
    """Q(a) = q₀ + gᵀδ + ½ δᵀHδ with δ = a − a₀, where a₀ is the actor's (mean) action.

    Smoothing does not move the gradient of a quadratic, so every zeroth-order estimator along symmetric directions with
    E uuᵀ = I is unbiased for g here, and they differ in variance alone.

    Args:
        g: gradient at the actor's action, [p].
        H: Hessian, [p, p], symmetric.
        q0: value at the actor's action.
        action: a₀, [p]; zero when None.
        std: σ of a Gaussian policy, a number or [p]; None for a deterministic actor.
        learn_std: whether σ is a parameter.

    Raises:
        GradlabError: shapes do not fit or H is not symmetric.

    Example:
        >>> world = QuadraticBandit(g=[1.0, -2.0], H=[[-1.0, 0.0], [0.0, -2.0]], q0=3.0)
        >>> world.zeroth_order(mu=0.1, points="antithetic").variance  # (p + 1) ‖g‖²
        15.0
    """

    name = "quadratic-bandit"

    def __init__(
        self, g: Any, H: Any, q0: float = 0.0, action: Any = None, std: Any = None, *, learn_std: bool = False
    ) -> None:
        self.g = torch.as_tensor(g, dtype=torch.float64)
        self.H = torch.as_tensor(H, dtype=torch.float64)
        self.q0 = float(q0)
        size = self.g.numel()
        if self.g.shape != (size,) or self.H.shape != (size, size):
            raise GradlabError(
                f"{self.name}: g {tuple(self.g.shape)}, H {tuple(self.H.shape)}; they must be [p] and [p, p]"
            )
        check_finite(self.name, g=self.g, H=self.H, q0=self.q0)
        if not torch.allclose(self.H, self.H.T):
            raise GradlabError(f"{self.name}: H is not symmetric; pass (H + H.T) / 2")
        forms = [torch.tensor(self.q0, dtype=torch.float64), self.g, self.H]
        super().__init__(Polynomial.from_forms(forms), action, std, learn_std=learn_std)

    def q(self, act: Tensor) -> Tensor:
        """Q(a): [..., p] → [...]."""
        delta = act - self.a0
        return self.q0 + delta @ self.g + quadratic_form(delta, self.H) / 2

    def zeroth_order_vector(
        self, mu: float = 0.1, points: Any = 2, directions: str | Direction = "gaussian", count: int = 1
    ) -> GradientMoments:
        """Mean [p] and trace of the covariance of one draw, from the fourth and sixth moments of the direction u.

        With S = (tr H)² + 2 tr H² and V = E[(gᵀu)²‖u‖²], W = E[(uᵀHu)²‖u‖²], X = E[uᵀHu ‖u‖²],

        ============  ======================  ==================  ===========================
        directions    V                       X                   W
        ============  ======================  ==================  ===========================
        gaussian      (p + 2) ‖g‖²            (p + 2) tr H        (p + 4) S
        sphere        p ‖g‖²                  p tr H              p²/(p + 2) S
        independent   (m₄ + (p−1)m₂²) ‖g‖²    (m₄ + (p−1)m₂²)·    c S + (m₆ + (p−1)m₄m₂ − 3c)
                                              tr H                Σ H_ii², c = 2m₄m₂ + (p−2)m₂³
        ============  ======================  ==================  ===========================

        where *independent* are coordinates of moments m_j: all 1 for Rademacher, the clipped normal's for the noise of
        TD3, whose mean draw is m₂ g. antithetic = V − m₂²‖g‖²;  two-point = antithetic + μ²/4 W;
        one-point = two-point + q₀² p m₂/μ² + q₀ X. Odd moments vanish. Along coordinates √p e_i they do not, and the
        sum over i is taken as it stands. ``ScoreFunction`` of standard deviation μ has the Gaussian one-point
        variance, with the value baseline the two-point one.

        Raises:
            GradlabError: an argument is none of these.
        """
        kind = directions if isinstance(directions, str) else directions.name
        univariate = _INDEPENDENT.get(kind)
        if isinstance(directions, ClippedGaussian):
            univariate = _clipped(directions.std, directions.limit)
        mu = check_radius(self.name, "mu", mu)
        if points not in (1, 2, "antithetic") or (univariate is None and kind not in ("gaussian", "sphere")):
            return super().zeroth_order_vector(mu, points, directions, count)
        p, trace = len(self.g), float(self.H.trace())
        square, spread = float(self.g @ self.g), trace**2 + 2 * float((self.H @ self.H).trace())
        second = 1.0
        if kind == "gaussian":
            slope, mixed, bend = (p + 2) * square, (p + 2) * trace, (p + 4) * spread
        elif univariate is None:
            slope, mixed, bend = p * square, p * trace, p**2 / (p + 2) * spread
        else:
            second, fourth, sixth = (univariate(order) for order in (2, 4, 6))
            diagonal = float(self.H.diagonal().square().sum())
            pair = 2 * fourth * second + (p - 2) * second**3
            slope, mixed = ((fourth + (p - 1) * second**2) * of for of in (square, trace))
            bend = pair * spread + (sixth + (p - 1) * fourth * second - 3 * pair) * diagonal
        variance = slope - second**2 * square
        if points != "antithetic":
            variance += mu**2 / 4 * bend
        if points == 1:
            variance += self.q0**2 * p * second / mu**2 + self.q0 * mixed
        return GradientMoments(second * self.g, variance * direction_kind(directions).averaging(count, p))


def _clipped(std: float = 0.2, limit: float = 0.5) -> Callable[[int], float]:
    return lambda order: clipped_normal_moment(order, std, limit)


#: Even moments by order of kinds of direction whose coordinates are independent.
_INDEPENDENT: dict[str, Callable[[int], float]] = {"rademacher": lambda _: 1.0, "clipped": _clipped()}


def expected_absolute_cosine(size: int) -> float:
    """E|cos(u, g)| = Γ(p/2) / (√π Γ((p+1)/2)) for a random direction u in p dimensions.

    One antithetic draw on a quadratic is (gᵀu) u, so this is its expected cosine with the gradient.

    Example:
        >>> round(expected_absolute_cosine(6), 6)
        0.339531
    """
    return math.exp(math.lgamma(size / 2) - math.lgamma((size + 1) / 2)) / math.sqrt(math.pi)
