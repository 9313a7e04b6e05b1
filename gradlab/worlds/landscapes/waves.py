"""Lines with many maxima: trigonometric polynomials (Shubert's kind) and a bowl with ripples (Rastrigin's)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.worlds.landscapes.lines import Line


class Trigonometric(Line):
    """Q(a) = Σ_j c_j cos(jωa + φ_j), j from 1, on [−1, 1].

    With z = e^{iωa} its derivative is a polynomial of z, so that all stationary points are among its roots on the unit
    circle (eigenvalues of the companion matrix), polished by Newton's method. Shubert's function, whose coordinates
    are Σ_j j cos((j + 1)x + j) (B. Shubert 1972), is of this kind.

    Args:
        amplitudes: c, [J].
        phases: φ, [J].
        frequency: ω, positive.

    Raises:
        GradlabError: shapes do not fit, the frequency is not positive, or nothing varies.

    Example:
        >>> wave = Trigonometric([1.0], [0.0], frequency=2 * math.pi)  # cos 2πa
        >>> wave.maxima().round(6) + 0.0, wave.basins().round(6)
        (array([-1.,  0.,  1.]), array([0.25, 0.5 , 0.25]))
    """

    name = "trigonometric"

    def __init__(self, amplitudes: Any, phases: Any, frequency: float = math.pi) -> None:
        self.amplitudes = np.atleast_1d(np.asarray(amplitudes, dtype=np.float64))
        self.phases = np.atleast_1d(np.asarray(phases, dtype=np.float64))
        if self.amplitudes.ndim != 1 or self.phases.shape != self.amplitudes.shape or not self.amplitudes.any():
            raise GradlabError(
                f"trigonometric: amplitudes {self.amplitudes.shape}, phases {self.phases.shape}; give one of each a "
                "harmonic, not all of them zero"
            )
        if not frequency > 0:
            raise GradlabError(f"trigonometric: frequency {frequency}; it must be positive")
        self.frequency = float(frequency)
        self._harmonics = np.arange(1, len(self.amplitudes) + 1)

    @classmethod
    def shubert(cls, scale: float = 2.0, terms: int = 5, shift: float = 0.0) -> Trigonometric:
        """Shubert's Σ_{j=1}^{terms} j cos((j + 1)x + j) at x = scale·a + shift.

        Example:
            >>> line = Trigonometric.shubert(scale=1.0)
            >>> x = 0.3
            >>> bool(np.isclose(line.values(np.array(x)), sum(j * math.cos((j + 1) * x + j) for j in range(1, 6))))
            True
        """
        term = np.arange(1, terms + 1)
        return cls(np.r_[0.0, term], np.r_[0.0, term + (term + 1) * shift], scale)

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., 1] → values [...]."""
        amplitudes, phases, harmonics = (
            torch.from_numpy(part).to(actions) for part in (self.amplitudes, self.phases, self._harmonics)
        )
        return (amplitudes * (harmonics * self.frequency * actions + phases).cos()).sum(-1)

    def values(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Q at points of the interval."""
        return self._sum(at, 0)

    def _sum(self, at: Any, order: int) -> NDArray[np.float64]:
        """The derivative of this order: every one turns the phase by a quarter."""
        rate = self._harmonics * self.frequency
        turned = np.cos(np.asarray(at)[..., None] * rate + self.phases + order * math.pi / 2)
        result: NDArray[np.float64] = (self.amplitudes * rate**order * turned).sum(-1)
        return result

    def _derivative(self, at: float) -> float:
        return float(self._sum(at, 1))

    def _stationary(self, sign: float) -> NDArray[np.float64]:
        # Q' = 0 where Σ_j (b_j z^j − conj(b_j) z^−j) = 0, b_j = j c_j e^{iφ_j}; times z^J it is a polynomial.
        b = self._harmonics * self.amplitudes * np.exp(1j * self.phases)
        coefficients = np.concatenate([-np.conj(b[::-1]), [0.0], b])
        roots = np.roots(np.trim_zeros(coefficients[::-1], "b"))
        circle = roots[np.abs(np.abs(roots) - 1) < 1e-5]
        turns = np.arange(-math.ceil(self.frequency) - 1, math.ceil(self.frequency) + 2)
        at = ((np.angle(circle)[:, None] + 2 * math.pi * turns) / self.frequency).ravel()
        for _ in range(4):
            at = at - self._sum(at, 1) / self._sum(at, 2)
        at = np.unique(at[np.abs(at) < 1].round(12))
        return at[sign * self._sum(at, 2) < 0]


class CosineBowl(Line):
    """Q(a) = −½κ(a − c)² + b cos ω(a − c) on [−1, 1]: a coordinate of Rastrigin's function.

    Between two inflections, known in closed form, Q' is monotone, so that a root between them is found by bisection and
    none is missed.

    Args:
        curvature: κ, positive.
        depth: b, positive.
        frequency: ω, positive.
        centre: c, inside (−1, 1).

    Raises:
        GradlabError: an argument is not positive, or the centre outside.

    Example:
        >>> CosineBowl(curvature=5.0, depth=1.0, frequency=4 * math.pi).maxima().round(3) + 0.0
        array([-0.969, -0.485,  0.   ,  0.485,  0.969])
    """

    name = "cosine-bowl"

    def __init__(
        self, curvature: float = 5.0, depth: float = 1.0, frequency: float = 4 * math.pi, centre: float = 0.0
    ) -> None:
        if not (curvature > 0 and depth > 0 and frequency > 0 and abs(centre) < 1):
            raise GradlabError(
                f"cosine bowl: curvature {curvature}, depth {depth}, frequency {frequency}, centre {centre}; the first "
                "three must be positive, the centre inside (−1, 1)"
            )
        self.curvature, self.depth = float(curvature), float(depth)
        self.frequency, self.centre = float(frequency), float(centre)

    def q(self, actions: Tensor) -> Tensor:
        """Actions [..., 1] → values [...]."""
        x = (actions - self.centre).squeeze(-1)
        return -self.curvature / 2 * x.square() + self.depth * (self.frequency * x).cos()

    def values(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Q at points of the interval."""
        x = at - self.centre
        result: NDArray[np.float64] = -self.curvature / 2 * x**2 + self.depth * np.cos(self.frequency * x)
        return result

    def _derivative(self, at: float) -> float:
        x = at - self.centre
        return -self.curvature * x - self.depth * self.frequency * math.sin(self.frequency * x)

    def _stationary(self, sign: float) -> NDArray[np.float64]:
        bend = -self.curvature / (self.depth * self.frequency**2)
        walls = [-1.0, 1.0]
        if abs(bend) < 1:
            turns = 2 * math.pi * np.arange(-math.ceil(self.frequency), math.ceil(self.frequency) + 1)
            inflections = (
                self.centre + np.concatenate([turns + math.acos(bend), turns - math.acos(bend)]) / self.frequency
            )
            walls = np.sort([*walls, *inflections[np.abs(inflections) < 1]]).tolist()
        found = [
            float(brentq(self._derivative, left, right, xtol=1e-15))
            for left, right in pairwise(walls)
            if sign * self._derivative(left) > 0 > sign * self._derivative(right)
        ]
        return np.array(found)
