"""A cubic critic in one state: the smallest problem on which smoothing biases a gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.worlds.inputs import check_finite
from gradlab.worlds.modules import quadratic_form
from gradlab.worlds.polynomial_bandit import PolynomialBandit
from gradlab.worlds.polynomials import Polynomial


class CubicBandit(PolynomialBandit):
    """Q(a) = q₀ + gᵀδ + ½ δᵀHδ + (1/6) T[δ, δ, δ] with δ = a − a₀.

    Gaussian zeroth-order estimators are biased by ½ μ² t, t_j = Σ_i T_iij, whatever g and H; on the sphere by
    p/(p + 2) of that. For independent coordinates of moments m₂, m₄ the mean is
    m₂ g + (μ²/6) (3 m₂² t_j + (m₄ − 3 m₂²) T_jjj), which differences along coordinates make (μ²/6) p T_jjj.

    Args:
        g: gradient at the actor's action, [p].
        H: Hessian, [p, p], symmetric; zero when None.
        T: third derivatives, [p, p, p], symmetric in all three indices.
        q0: value at the actor's action.
        action: a₀, [p]; zero when None.
        std: σ of a Gaussian policy, a number or [p]; None for a deterministic actor.
        learn_std: whether σ is a parameter.

    Raises:
        GradlabError: shapes do not fit, or H or T is not symmetric.

    Example:
        >>> world = CubicBandit(g=[0.0], T=[[[6.0]]])  # a³ at 0
        >>> world.smoothing_bias(0.1)  # 3 μ²
        tensor([0.0300], dtype=torch.float64)
    """

    name = "cubic-bandit"

    def __init__(
        self,
        g: Any,
        H: Any = None,
        T: Any = None,
        q0: float = 0.0,
        action: Any = None,
        std: Any = None,
        *,
        learn_std: bool = False,
    ) -> None:
        self.g = torch.as_tensor(g, dtype=torch.float64)
        size = self.g.numel()
        self.H = torch.zeros(size, size).double() if H is None else torch.as_tensor(H, dtype=torch.float64)
        self.T = torch.zeros(size, size, size).double() if T is None else torch.as_tensor(T, dtype=torch.float64)
        self.q0 = float(q0)
        if self.g.shape != (size,) or self.H.shape != (size,) * 2 or self.T.shape != (size,) * 3:
            raise GradlabError(
                f"{self.name}: g {tuple(self.g.shape)}, H {tuple(self.H.shape)}, T {tuple(self.T.shape)}; "
                "they must be [p], [p, p] and [p, p, p]"
            )
        check_finite(self.name, g=self.g, H=self.H, T=self.T, q0=self.q0)
        if not torch.allclose(self.H, self.H.T):
            raise GradlabError(f"{self.name}: H is not symmetric; pass (H + H.T) / 2")
        if not (torch.allclose(self.T, self.T.permute(1, 2, 0)) and torch.allclose(self.T, self.T.permute(1, 0, 2))):
            raise GradlabError(f"{self.name}: T is not symmetric; average it over the six orders of its indices")
        forms = [torch.tensor(self.q0, dtype=torch.float64), self.g, self.H, self.T]
        super().__init__(Polynomial.from_forms(forms), action, std, learn_std=learn_std)

    def q(self, act: Tensor) -> Tensor:
        """Q(a): [..., p] → [...]."""
        delta = act - self.a0
        third = torch.einsum("...i,...j,...k,ijk->...", delta, delta, delta, self.T)
        return self.q0 + delta @ self.g + quadratic_form(delta, self.H) / 2 + third / 6

    def smoothing_bias(self, mu: float) -> Tensor:
        """½ μ² Σ_i T_iij: gradient of E_u[Q(a₀ + μu)], u ~ N(0, I), less g; exact, [p]."""
        return mu**2 / 2 * torch.einsum("iij->j", self.T)
