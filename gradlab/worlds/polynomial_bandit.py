"""A polynomial critic in one state: every estimator's mean and variance by exact moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, Naive, Reparameterized, ScoreFunction, ZerothOrder
from gradlab.estimators.directions import Direction
from gradlab.estimators.zeroth_order import check_radius
from gradlab.worlds.base import Admitted, GradientMoments, Hessians, Moments, World
from gradlab.worlds.direction_kinds import KINDS, direction_kind
from gradlab.worlds.gaussian_actor import GaussianActor, gaussian_agent
from gradlab.worlds.inputs import check_finite, no_mixed, vectors
from gradlab.worlds.modules import ConstantActor
from gradlab.worlds.polynomials import Polynomial, gaussian_moment, vector_moments
from gradlab.worlds.score_moments import ScoreMoments, admitted_scores, half_and_half

_RADIUS = 0.1


class PolynomialBandit(World):
    """Q(a) = a polynomial of δ = a − a₀, in one state.

    With a deterministic actor (``std`` None) that gives a₀, the objective is Q(a₀). With a Gaussian one it is
    E[Q(a₀ + σε)], its parameters a₀ and, where ``learn_std``, the standard deviations σ themselves. Along a random
    direction every draw of an estimator is a polynomial of that direction's coordinates, so that means and variances
    are sums of moments: exact for any degree, any dimension and any kind of direction whose moments are known.

    Args:
        polynomial: Q as a function of δ, in p variables.
        action: a₀, [p]; zero when None.
        std: σ, a number or [p]; None for a deterministic actor.
        learn_std: whether σ is a parameter.

    Raises:
        GradlabError: shapes do not fit, a standard deviation is not positive, or there is none to learn.

    Example:
        >>> x = Polynomial.variable(0, 1)
        >>> world = PolynomialBandit(x * x * x * x, action=[0.0], std=2.0, learn_std=True)
        >>> world.value(), world.true_gradient()  # 3σ⁴ and 12σ³
        (48.0, tensor([ 0., 96.], dtype=torch.float64))
    """

    name = "polynomial-bandit"

    def __init__(self, polynomial: Polynomial, action: Any = None, std: Any = None, *, learn_std: bool = False) -> None:
        size = polynomial.size
        self.polynomial = polynomial
        self.a0 = torch.zeros(size).double() if action is None else torch.as_tensor(action, dtype=torch.float64)
        if self.a0.shape != (size,):
            raise GradlabError(f"{self.name}: action has shape {tuple(self.a0.shape)}; it must be [{size}]")
        self.std = None if std is None else torch.as_tensor(std, dtype=torch.float64).expand(size).clone()
        check_finite(self.name, polynomial=polynomial.coefficients, action=self.a0, std=0.0 if std is None else std)
        self.learn_std = learn_std
        if self.std is None and learn_std:
            raise GradlabError(f"{self.name}: a deterministic actor has no standard deviation to learn; give std")
        if self.std is not None and not bool((self.std > 0).all()):
            raise GradlabError(f"{self.name}: std is {self.std.tolist()}; every one must be positive, or std None")
        if self.std is not None:
            self.name = f"{type(self).name}-gaussian"

    # In closed form ------------------------------------------------------------------------------------------

    def q(self, act: Tensor) -> Tensor:
        """Q(a): [..., p] → [...]."""
        return self.polynomial(act - self.a0)

    def value(self) -> float:
        """Q(a₀), or E[Q(a₀ + σε)]."""
        if self.std is None:
            return float(self.q(self.a0))
        return self.polynomial.stretched(self.std).mean(gaussian_moment)

    def true_gradient(self) -> Tensor:
        """∇Q at a₀, [p]; for a Gaussian policy E ∇Q, [p], followed where it is learnt by E[∇Q ∘ ε], [p]."""
        if self.std is None:
            return self.action_gradient(self.a0.new_zeros(1, 1), self.a0.unsqueeze(0))[0]
        return vector_moments(self._pathwise(), gaussian_moment)[0]

    def action_gradient(self, obs: Any, act: Any) -> Tensor:
        """∇_a Q: act [B, p] → [B, p]; the state is immaterial."""
        delta = vectors(self.name, "act", act, len(self.a0)) - self.a0
        return torch.stack([part(delta) for part in self._slopes()], -1)

    def hessians(self, obs: Any, act: Any) -> Hessians:
        """∇²_aa Q, and zero for the state."""
        delta = vectors(self.name, "act", act, len(self.a0)) - self.a0
        rows = [torch.stack([s.derivative(j)(delta) for j in range(s.size)], -1) for s in self._slopes()]
        return Hessians(torch.stack(rows, -2), no_mixed(obs, delta))

    def _slopes(self) -> list[Polynomial]:
        return [self.polynomial.derivative(i) for i in range(self.polynomial.size)]

    # Estimators ----------------------------------------------------------------------------------------------

    def zeroth_order(
        self, mu: float = 0.1, points: Any = 2, directions: str | Direction = "gaussian", count: int = 1
    ) -> Moments:
        """Norm of the mean, and trace of the covariance, of one draw of ``ZerothOrder`` with these arguments.

        Args:
            mu: radius μ.
            points: 1, 2 or "antithetic".
            directions: the kind of direction u.
            count: directions averaged within one draw; for coordinates, drawn without replacement.
        """
        mean, variance = self.zeroth_order_vector(mu, points, directions, count)
        return Moments(float(mean.norm()), variance)

    def zeroth_order_vector(
        self, mu: float = 0.1, points: Any = 2, directions: str | Direction = "gaussian", count: int = 1
    ) -> GradientMoments:
        """Mean [p] and trace of the covariance of one draw of ``ZerothOrder``: of the polynomial D(u) u.

        D = Q(a₀ + μu)/μ, without Q(a₀)/μ for two points, its odd part for antithetic ones.

        Raises:
            GradlabError: an argument is none of these.
        """
        kind = direction_kind(directions)
        if points not in (1, 2, "antithetic"):
            raise GradlabError(f"{self.name}: points is {points!r}; choose 1, 2 or 'antithetic'")
        mu, size = check_radius(self.name, "mu", mu), self.polynomial.size
        change = self.polynomial.stretched(mu)
        if points == 2:
            change = change + Polynomial.constant(-self.polynomial.mean(_at_origin), size)
        elif points == "antithetic":
            change = change.odd()
        draw = [change * Polynomial.variable(i, size) * (1 / mu) for i in range(size)]
        mean, variance = vector_moments(draw, kind.moment)
        return GradientMoments(mean, variance * kind.averaging(count, size))

    def reparameterized(self) -> GradientMoments:
        """Mean, which is ∇J, and trace of the covariance of one draw along a = a₀ + σε: ∇Q, and ∇Q ∘ ε for σ.

        Raises:
            GradlabError: the actor is deterministic.
        """
        return vector_moments(self._pathwise(), gaussian_moment)

    def _pathwise(self) -> list[Polynomial]:
        if self.std is None:
            raise GradlabError(f"{self.name}: its actor is deterministic; give std for a Gaussian one")
        std, size = self.std, self.polynomial.size
        slopes = [slope.stretched(std) for slope in self._slopes()]
        by_std = [slope * Polynomial.variable(i, size) for i, slope in enumerate(slopes)]
        return slopes + by_std if self.learn_std else slopes

    def score_moments(self, sigma: float | None = None) -> ScoreMoments:
        """What ``ScoreFunction`` has of a policy N(a₀, σ²): this world's, or around a deterministic actor ``sigma``.

        The score is ε/σ for the mean and (ε² − 1)/σ for the standard deviation.

        Raises:
            GradlabError: the actor is deterministic and there is no ``sigma``.
        """
        reward, score = self._reward_and_score(sigma)
        value = reward.mean(gaussian_moment)
        reward = reward + Polynomial.constant(-value, reward.size)
        draw = [s * reward for s in score]

        def each(left: Sequence[Polynomial], right: Sequence[Polynomial]) -> Tensor:
            pairs = zip(left, right, strict=True)
            return torch.tensor([a.inner(b, gaussian_moment) for a, b in pairs], dtype=torch.float64)

        return ScoreMoments(
            value=value,
            spread=reward.inner(reward, gaussian_moment),
            gradient=each(score, [reward] * len(score)),
            score=each(score, score),
            weighted=each(score, draw),
            weighted_square=each(draw, draw),
        )

    def taylor(self, sigma: float | None = None) -> GradientMoments:
        """Mean and variance of Q-Prop: s (Q − Q(a₀) − gᵀδ), and g as the mean's correction.

        Args:
            sigma: as in ``score_moments``.

        Raises:
            GradlabError: the actor is deterministic and there is no ``sigma``.
        """
        reward, score = self._reward_and_score(sigma)
        tangent = reward.exponents.sum(-1) <= 1
        reward = Polynomial(reward.exponents[~tangent], reward.coefficients[~tangent])
        mean, variance = vector_moments([s * reward for s in score], gaussian_moment)
        correction = torch.zeros_like(mean)
        correction[: reward.size] = self.action_gradient(self.a0.new_zeros(1, 1), self.a0.unsqueeze(0))[0]
        return GradientMoments(mean + correction, variance)

    def _reward_and_score(self, sigma: float | None) -> tuple[Polynomial, list[Polynomial]]:
        """Q and the score as polynomials of ε; for ``sigma`` those of the mean alone."""
        std = self.std
        if sigma is not None:
            std = self.a0.new_full(self.a0.shape, check_radius(self.name, "sigma", sigma))
        if std is None:
            raise GradlabError(f"{self.name}: its actor is deterministic; say with which sigma actions are drawn")
        size = self.polynomial.size
        noise = [(Polynomial.variable(i, size), 1 / s) for i, s in enumerate(std.tolist())]
        score = [e * inverse for e, inverse in noise]
        if self.learn_std and sigma is None:
            score += [(e * e + Polynomial.constant(-1.0, size)) * inverse for e, inverse in noise]
        return self.polynomial.stretched(std), score

    # As an agent ---------------------------------------------------------------------------------------------

    def agent(self) -> Agent:
        """An actor that gives a₀ in every state (with σ where there is one), and Q as its critic."""
        if self.std is not None:
            actor = GaussianActor(self.a0, self.std, learn_std=self.learn_std)
            return gaussian_agent(actor, _Critic(self), self.name)
        return Agent(
            ConstantActor(self.a0),
            [_Critic(self)],
            action_low=self.a0 - 10.0,
            action_high=self.a0 + 10.0,
            discount=0.0,
            algorithm=self.name,
        )

    def admitted(self) -> tuple[Admitted, ...]:
        """Zeroth-order of every kind and score functions around a deterministic actor, or those of a Gaussian one."""
        return self._admitted_deterministic() if self.std is None else self._admitted_gaussian()

    def _admitted_deterministic(self) -> tuple[Admitted, ...]:
        truth, size = self.true_gradient(), self.polynomial.size
        settings: list[dict[str, Any]] = [
            {"points": points, "directions": directions} for directions in KINDS for points in (1, 2, "antithetic")
        ]
        settings += [{"points": 2, "count": 3}]
        if size > 1:
            settings += [{"points": "antithetic", "directions": "coordinate", "count": size}]
        at_mode, first = float(self.q(self.a0)), Admitted(Deterministic(), truth, 0.0, truth)
        zeroth = [Admitted(ZerothOrder(_RADIUS, **s), *self.zeroth_order_vector(_RADIUS, **s), truth) for s in settings]
        return (
            first,
            *zeroth,
            half_and_half(first, zeroth[1]),
            *admitted_scores(self.score_moments(_RADIUS), truth, at_mode, _RADIUS),
            Admitted(ScoreFunction(_RADIUS, "taylor"), *self.taylor(_RADIUS), truth),
        )

    def _admitted_gaussian(self) -> tuple[Admitted, ...]:
        truth = self.true_gradient()
        slope = self.action_gradient(self.a0.new_zeros(1, 1), self.a0.unsqueeze(0))[0]
        through_mode = torch.cat([slope, torch.zeros_like(truth[len(slope) :])])
        pathwise = Admitted(Reparameterized(), *self.reparameterized(), truth)
        scores = admitted_scores(self.score_moments(), truth, float(self.q(self.a0)))
        return (
            Admitted(Deterministic(), through_mode, 0.0, truth),
            pathwise,
            Admitted(Naive(), torch.zeros_like(truth), 0.0, truth),
            *scores,
            half_and_half(pathwise, scores[1]),
            Admitted(ScoreFunction(baseline="taylor"), *self.taylor(), truth),
        )


def _at_origin(exponents: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(exponents.sum(-1) == 0, 1.0, 0.0)


class _Critic(nn.Module):
    def __init__(self, world: PolynomialBandit) -> None:
        super().__init__()
        self.world = world

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return self.world.q(act)
