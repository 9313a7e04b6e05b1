"""A polynomial of a Gaussian variable: the smallest problem on which estimators differ."""

from __future__ import annotations

import math
from typing import Literal

import torch
from numpy.polynomial import Polynomial
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian
from gradlab.worlds.base import Hessians, Moments, World
from gradlab.worlds.modules import ConstantActor, FixedLogStd

Way = Literal["naive", "score-function", "reparameterized"]


class GaussianPolynomial(World):
    """J(θ) = E_{x ~ N(θ, σ²)}[θ xᵏ]: the parameter acts through the distribution and explicitly.

    With f = θxᵏ, s = (x − θ)/σ² (the score) and m_j the raw moments of x, J = θ m_k and ∇J = m_k + θ k m_{k−1}
    (1 + 3θ² for k = 2, σ = 1; some teaching code has 3 + θ², which agrees at |θ| = 1 alone). Draws for one sample:

    * naive: xᵏ, what differentiating the sample mean gives when the samples are held fixed; biased by θ k m_{k−1};
    * score function: xᵏ + (f − b) s, unbiased for every constant baseline b;
    * reparameterised: xᵏ + θ k xᵏ⁻¹, the derivative along x = θ + σε.

    Each is a polynomial of x, so means and variances follow from the moments of x. Source: Mohamed et al. 2020,
    "Monte Carlo gradient estimation in machine learning", sections 4 and 5.

    Args:
        power: k, at least 1.
        theta: θ.
        std: σ.

    Raises:
        GradlabError: the power is below 1 or the standard deviation is not positive.

    Example:
        >>> world = GaussianPolynomial(power=2, theta=2.0)
        >>> world.true_gradient().item()
        13.0
        >>> world.naive(), world.reparameterized()
        (Moments(mean=5.0, variance=18.0), Moments(mean=13.0, variance=66.0))
    """

    name = "gaussian-polynomial"

    def __init__(self, power: int = 2, theta: float = 1.0, std: float = 1.0) -> None:
        if power < 1 or power != int(power):
            raise GradlabError(f"gaussian polynomial: power is {power}; it must be a whole number from 1")
        if not std > 0:
            raise GradlabError(f"gaussian polynomial: std is {std}; it must be positive")
        self.power, self.theta, self.std = int(power), float(theta), float(std)

    # In closed form ----------------------------------------------------------------------------------------

    def moment(self, order: int) -> float:
        """E[x^order], by m_{j+1} = θ m_j + j σ² m_{j−1} (Stein's identity)."""
        previous, current = 0.0, 1.0
        for j in range(order):
            previous, current = current, self.theta * current + j * self.std**2 * previous
        return current

    def value(self) -> float:
        """J = θ m_k."""
        return self.theta * self.moment(self.power)

    def true_gradient(self) -> Tensor:
        """∇J = m_k + θ k m_{k−1}, shape [1]."""
        gradient = self.moment(self.power) + self.theta * self.power * self.moment(self.power - 1)
        return torch.tensor([gradient], dtype=torch.float64)

    def naive(self) -> Moments:
        """Mean m_k, variance m_2k − m_k²."""
        return self._moments(self._polynomial("naive"))

    def score_function(self, baseline: float = 0.0) -> Moments:
        """Mean ∇J whatever the baseline b, and the variance with it."""
        return self._moments(self._polynomial("score-function", baseline))

    def reparameterized(self) -> Moments:
        """Mean ∇J, and the variance."""
        return self._moments(self._polynomial("reparameterized"))

    @property
    def value_baseline(self) -> float:
        """The value of the only state, b = J."""
        return self.value()

    @property
    def optimal_baseline(self) -> float:
        """The constant of least variance, b* = E[g₀ s] / E[s²] with g₀ = xᵏ + f s the draw without a baseline.

        Without the explicit derivative xᵏ this would be the usual E[f s²] / E[s²].
        """
        score = self._score()
        return self._mean(self._polynomial("score-function") * score) / self._mean(score**2)

    def _score(self) -> Polynomial:
        return Polynomial([-self.theta, 1.0]) / self.std**2

    def _polynomial(self, way: Way, baseline: float = 0.0) -> Polynomial:
        """The draw as a polynomial of x."""
        explicit = Polynomial.basis(self.power)
        if way == "naive":
            return explicit
        if way == "score-function":
            return explicit + (self.theta * explicit - baseline) * self._score()
        if way == "reparameterized":
            return explicit + self.theta * explicit.deriv()
        raise GradlabError(f"gaussian polynomial: no estimator {way!r}; naive, score-function or reparameterized")

    def _mean(self, polynomial: Polynomial) -> float:
        return math.fsum(c * self.moment(order) for order, c in enumerate(polynomial.coef.tolist()))

    def _moments(self, polynomial: Polynomial) -> Moments:
        mean = self._mean(polynomial)
        # Centred before it is squared: the difference of two large moments would lose digits.
        return Moments(mean, self._mean((polynomial - mean) ** 2))

    # By sampling -------------------------------------------------------------------------------------------

    def sample(self, samples: int, generator: torch.Generator) -> Tensor:
        """Draws of x, [samples], float64."""
        return self.theta + self.std * torch.randn(samples, generator=generator, dtype=torch.float64)

    def draw(self, way: Way, samples: int, generator: torch.Generator, *, baseline: float = 0.0) -> Tensor:
        """Independent gradients of one sample each, [samples], float64.

        Args:
            way: "naive", "score-function" or "reparameterized".
            samples: how many.
            generator: source of the randomness.
            baseline: b, for the score function.
        """
        at = self.sample(samples, generator)
        return torch.from_numpy(self._polynomial(way, baseline)(at.numpy()))

    # As an agent -------------------------------------------------------------------------------------------

    def explicit_gradient(self, act: Tensor) -> Tensor:
        """∂f/∂θ = xᵏ at actions [..., 1] → [...]: what a policy gradient, which holds the reward fixed, leaves out."""
        return act.squeeze(-1) ** self.power

    def action_gradient(self, obs: Tensor, act: Tensor) -> Tensor:
        """∂f/∂x = θ k xᵏ⁻¹: act [B, 1] → [B, 1]; the state is immaterial."""
        return self.theta * self.power * act ** (self.power - 1)

    def hessians(self, obs: Tensor, act: Tensor) -> Hessians:
        """∂²f/∂x² = θ k (k−1) xᵏ⁻², and zero for the state."""
        curvature = self.theta * self.power * (self.power - 1) * act ** max(self.power - 2, 0)
        return Hessians(curvature.unsqueeze(-1), act.new_zeros(*act.shape, obs.shape[-1]))

    def agent(self) -> Agent:
        """A Gaussian policy of mean θ (its only parameter), critic Q(s, a) = θ aᵏ with the reward's θ held fixed."""
        width = 20 * self.std
        return Agent(
            ConstantActor(torch.tensor([self.theta], dtype=torch.float64)),
            [_Power(self.theta, self.power)],
            action_low=self.theta - width,
            action_high=self.theta + width,
            discount=1.0,
            policy=Gaussian(),
            head=FixedLogStd(torch.tensor([math.log(self.std)], dtype=torch.float64)),
            algorithm=self.name,
        )


class _Power(nn.Module):
    def __init__(self, factor: float, power: int) -> None:
        super().__init__()
        self.factor, self.power = factor, power

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return self.factor * act.squeeze(-1) ** self.power
