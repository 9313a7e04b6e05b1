"""Mixtures of Gaussians, whose modes have no closed form and are found to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.worlds.landscapes.base import Optima, sorted_optima
from gradlab.worlds.landscapes.bumps import _Bumps

#: Least distance of two centres in widths: their tails then shift each other's modes by less than a width.
_APART = 4.0


class GaussianMixture(_Bumps):
    """Q(a) = Σ_k h_k exp(−‖a − c_k‖²/2w²) on [−1, 1]^p, centres at least four widths apart: one mode at each.

    ∇Q points towards a weighted mean of the centres, so that no face of the box holds a maximum. Where ∇Q = 0, a is
    that mean, with weights r, and the Hessian is negative definite only if their covariance Σ r_k (c_k − a)(c_k − a)ᵀ
    is below w², which takes one weight near one. Each mode is found from its centre by the mean shift a ← Σ r_k c_k
    (M. Carreira-Perpiñán 2000, *Mode-finding for mixtures of Gaussian distributions*) and ended by Newton's method.

    Args:
        centres: c, [k, p], in the box [−1, 1]^p.
        heights: h, [k], positive.
        width: w, positive.

    Raises:
        GradlabError: shapes do not fit, a centre is outside the box, two are too near, or one has no mode.

    Example:
        >>> world = GaussianMixture([[-0.5], [0.5]], [1.0, 2.0], width=0.25)
        >>> world.optima().actions.flatten().round(4)  # each drawn towards the other
        array([ 0.4998, -0.4993])
    """

    name = "gaussian-mixture"

    def __init__(self, centres: Any, heights: Any, width: float) -> None:
        super().__init__(centres, heights)
        self.width = float(width)
        apart = np.linalg.norm(self.centres[:, None] - self.centres, axis=-1)
        np.fill_diagonal(apart, np.inf)
        if not self.width > 0 or apart.min() < _APART * self.width:
            raise GradlabError(
                f"gaussian mixture: width {width}, nearest centres {apart.min():.3g} apart; it takes {_APART:g} widths"
            )
        self._modes = self._find_modes()

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., p] → values [...]."""
        heights = torch.from_numpy(self.heights).to(actions)
        return (heights * (-self._squares(actions) / (2 * self.width**2)).exp()).sum(-1)

    def optima(self) -> Optima:
        """The modes; no closed form of their basins is known."""
        values = self.q(torch.from_numpy(self._modes)).numpy()
        return sorted_optima(self._modes, values, None)

    def _weights(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        squares = ((at[:, None] - self.centres) ** 2).sum(-1)
        weights: NDArray[np.float64] = self.heights * np.exp(-squares / (2 * self.width**2))
        return weights

    def _find_modes(self) -> NDArray[np.float64]:
        at, eye = self.centres.copy(), np.eye(self.centres.shape[1])
        for _ in range(200):
            weights = self._weights(at)
            at = weights @ self.centres / weights.sum(-1, keepdims=True)
        for _ in range(3):
            weights = self._weights(at)
            off = self.centres - at[:, None]
            gradient = np.einsum("mk,mki->mi", weights, off)
            hessian = np.einsum("mk,mki,mkj->mij", weights, off, off) / self.width**2
            hessian -= weights.sum(-1)[:, None, None] * eye
            at = at - np.linalg.solve(hessian, gradient[..., None])[..., 0]
        lost = np.linalg.norm(at - self.centres, axis=-1) > self.width
        if lost.any() or np.linalg.eigvalsh(hessian).max() >= 0:
            raise GradlabError(
                f"gaussian mixture: centre {int(lost.argmax())} has no mode beside it; raise it or move it away"
            )
        return at
