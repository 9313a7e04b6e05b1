"""A polynomial of a Gaussian variable: the smallest problem on which estimators differ."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from numpy.polynomial import Polynomial
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.arguments import shown, whole
from gradlab.errors import GradlabError
from gradlab.estimators import Reparameterized, ScoreFunction
from gradlab.estimators.base import Estimator
from gradlab.worlds.base import Admitted, Hessians, Moments, World
from gradlab.worlds.gaussian_actor import GaussianActor, gaussian_agent
from gradlab.worlds.inputs import check_finite, no_mixed, vectors

Way = Literal["naive", "score-function", "reparameterized"]
Parameter = Literal["theta", "std"]


class GaussianPolynomial(World):
    """J(θ) = E_{x ~ N(θ, σ²)}[θ xᵏ]: the parameter acts through the distribution and explicitly.

    With f = θxᵏ, s = (x − θ)/σ² (the score) and m_j the raw moments of x, J = θ m_k and ∂J/∂θ = m_k + θ k m_{k−1}
    (1 + 3θ² for k = 2, σ = 1; some teaching code has 3 + θ², which agrees at |θ| = 1 alone). Draws for one sample:

    * naive: xᵏ, what differentiating the sample mean gives when the samples are held fixed; biased by θ k m_{k−1};
    * score function: xᵏ + (f − b) s, unbiased for every constant baseline b;
    * reparameterised: xᵏ + θ k xᵏ⁻¹, the derivative along x = θ + σε.

    For the standard deviation, which f does not contain, ∂J/∂σ = θ k (k − 1) σ m_{k−2} (Price's theorem), and the
    draws are 0, (f − b) ((x − θ)² − σ²)/σ³, and θ k xᵏ⁻¹ (x − θ)/σ: the naive estimator sees nothing of σ.

    Each is a polynomial of x, so means and variances follow from the moments of x. Source: Mohamed et al. 2020,
    "Monte Carlo gradient estimation in machine learning", sections 4 and 5.

    Args:
        power: k, at least 1.
        theta: θ.
        std: σ.
        learn_std: whether σ is the agent's second parameter, and ∂J/∂σ the second coordinate of its gradient.

    Raises:
        GradlabError: the power is below 1 or the standard deviation is not positive.

    Example:
        >>> world = GaussianPolynomial(power=2, theta=2.0)
        >>> world.true_gradient().item()
        13.0
        >>> world.naive(), world.reparameterized()
        (Moments(mean=5.0, variance=18.0), Moments(mean=13.0, variance=66.0))
        >>> world.score_function(parameter="std").mean  # 2θσ
        4.0
    """

    name = "gaussian-polynomial"

    def __init__(self, power: int = 2, theta: float = 1.0, std: float = 1.0, *, learn_std: bool = False) -> None:
        if not whole(power, 1):
            raise GradlabError(f"gaussian polynomial: power is {shown(power)}; it must be a whole number from 1")
        check_finite("gaussian polynomial", theta=theta, std=std)
        if not std > 0:
            raise GradlabError(f"gaussian polynomial: std is {std}; it must be positive")
        self.power, self.theta, self.std = int(power), float(theta), float(std)
        self.learn_std = learn_std

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

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the agent's gradient is with respect to, in order."""
        return ("theta", "std") if self.learn_std else ("theta",)

    def true_gradient(self) -> Tensor:
        """∂J/∂θ = m_k + θ k m_{k−1}, and where σ is learnt ∂J/∂σ = θ k (k−1) σ m_{k−2}: [1] or [2]."""
        k = self.power
        by_theta = self.moment(k) + self.theta * k * self.moment(k - 1)
        by_std = self.theta * k * (k - 1) * self.std * self.moment(max(k - 2, 0))
        return torch.tensor([by_theta, by_std], dtype=torch.float64)[: len(self.parameters)]

    def naive(self, parameter: Parameter = "theta") -> Moments:
        """Mean m_k, variance m_2k − m_k²; both 0 for σ."""
        return self._moments(self._polynomial("naive", parameter=parameter))

    def score_function(self, baseline: float = 0.0, parameter: Parameter = "theta") -> Moments:
        """Mean ∂J whatever the baseline b, and the variance with it."""
        return self._moments(self._polynomial("score-function", baseline, parameter))

    def reparameterized(self, parameter: Parameter = "theta") -> Moments:
        """Mean ∂J, and the variance."""
        return self._moments(self._polynomial("reparameterized", parameter=parameter))

    @property
    def value_baseline(self) -> float:
        """The value of the only state, b = J."""
        return self.value()

    @property
    def optimal_baseline(self) -> float:
        """The constant of least variance, b* = Σ E[g₀ s] / Σ E[s²] over the parameters.

        g₀ is the draw without a baseline, for θ xᵏ + f s. Without the explicit derivative xᵏ this would be the usual
        E[f s²] / E[s²].
        """
        scores = {parameter: self._score(parameter) for parameter in self.parameters}
        with_draw = (self._mean(self._polynomial("score-function", 0.0, p) * s) for p, s in scores.items())
        return math.fsum(with_draw) / math.fsum(self._mean(s**2) for s in scores.values())

    def _score(self, parameter: Parameter) -> Polynomial:
        deviation = Polynomial([-self.theta, 1.0])
        if parameter == "std":
            return (deviation**2 - self.std**2) / self.std**3
        return deviation / self.std**2

    def _polynomial(self, way: Way, baseline: float = 0.0, parameter: Parameter = "theta") -> Polynomial:
        """The draw as a polynomial of x."""
        if parameter not in ("theta", "std"):
            raise GradlabError(f"gaussian polynomial: no parameter {parameter!r}; theta or std")
        reward = self.theta * Polynomial.basis(self.power)
        explicit, moved = Polynomial.basis(self.power), Polynomial([1.0])  # ∂f and ∂x with respect to the parameter
        if parameter == "std":
            explicit, moved = Polynomial([0.0]), Polynomial([-self.theta, 1.0]) / self.std
        if way == "naive":
            return explicit
        if way == "score-function":
            return explicit + (reward - baseline) * self._score(parameter)
        if way == "reparameterized":
            return explicit + reward.deriv() * moved
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

    def draw(
        self,
        way: Way,
        samples: int,
        generator: torch.Generator,
        *,
        baseline: float = 0.0,
        parameter: Parameter = "theta",
    ) -> Tensor:
        """Independent gradients of one sample each, [samples], float64.

        Args:
            way: "naive", "score-function" or "reparameterized".
            samples: how many.
            generator: source of the randomness.
            baseline: b, for the score function.
            parameter: "theta" or "std".
        """
        at = self.sample(samples, generator)
        return torch.from_numpy(self._polynomial(way, baseline, parameter)(at.numpy()))

    # As an agent -------------------------------------------------------------------------------------------

    def explicit_gradient(self, act: Tensor) -> Tensor:
        """∂f/∂θ = xᵏ at actions [..., 1] → [...]: what a policy gradient, which holds the reward fixed, leaves out."""
        return act.squeeze(-1) ** self.power

    def action_gradient(self, obs: Any, act: Any) -> Tensor:
        """∂f/∂x = θ k xᵏ⁻¹: act [B, 1] → [B, 1]; the state is immaterial."""
        at = vectors(self.name, "act", act, 1)
        return self.theta * self.power * at ** (self.power - 1)

    def hessians(self, obs: Any, act: Any) -> Hessians:
        """∂²f/∂x² = θ k (k−1) xᵏ⁻², and zero for the state."""
        at = vectors(self.name, "act", act, 1)
        curvature = self.theta * self.power * (self.power - 1) * at ** max(self.power - 2, 0)
        return Hessians(curvature.unsqueeze(-1), no_mixed(obs, at))

    def agent(self) -> Agent:
        """A Gaussian policy of mean θ (and, where learnt, σ); critic Q(s, a) = θ aᵏ with the reward's θ held fixed."""
        mean, std = (torch.tensor([number], dtype=torch.float64) for number in (self.theta, self.std))
        actor = GaussianActor(mean, std, learn_std=self.learn_std)
        return gaussian_agent(actor, _Power(self.theta, self.power), self.name)

    def admitted(self) -> tuple[Admitted, ...]:
        """Naive, score function (without baseline, with the value, with the best) and reparameterised."""
        best, value = self.optimal_baseline, self.value_baseline
        ways: tuple[tuple[WithExplicitDerivative, Way, float], ...] = (
            (WithExplicitDerivative(None), "naive", 0.0),
            (WithExplicitDerivative(ScoreFunction()), "score-function", 0.0),
            (WithExplicitDerivative(ScoreFunction(baseline=value)), "score-function", value),
            (WithExplicitDerivative(ScoreFunction(baseline=best)), "score-function", best),
            (WithExplicitDerivative(Reparameterized()), "reparameterized", 0.0),
        )
        truth, found = self.true_gradient(), []
        for estimator, way, baseline in ways:
            parts = [self._moments(self._polynomial(way, baseline, parameter)) for parameter in self.parameters]
            mean = torch.tensor([part.mean for part in parts], dtype=torch.float64)
            found.append(Admitted(estimator, mean, math.fsum(part.variance for part in parts), truth))
        return tuple(found)


class WithExplicitDerivative(Estimator):
    """A policy-gradient estimator and the reward's own derivative xᵏ, taken at the same actions.

    A policy gradient holds the reward fixed; J(θ) = E[θ xᵏ] has θ in the reward too. The derivative is added to the
    head's mean, whose Jacobian with respect to θ is 1.

    Args:
        inner: ``ScoreFunction`` or ``Reparameterized``; None for the naive estimator, which has nothing else.

    Example:
        >>> world = GaussianPolynomial(power=2, theta=2.0)
        >>> draws = WithExplicitDerivative(None).draw(world.agent(), torch.zeros(1, 1), 3, torch.Generator())
        >>> draws.shape, bool((draws[..., 0] >= 0).all())
        (torch.Size([3, 1, 2]), True)
    """

    def __init__(self, inner: ScoreFunction | Reparameterized | None) -> None:
        self.inner = inner
        self.name = "naive" if inner is None else inner.name

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        critic = agent.critics[0]
        if not isinstance(critic, _Power):
            raise GradlabError(f"estimator {self.name}: is for the agent of a GaussianPolynomial only")
        noise = agent.policy.noise((draws, len(obs), agent.action_size), generator, obs)
        with torch.no_grad():
            head = agent.head(obs)
            act = agent.policy.sample(head, noise)[0]
        result = torch.zeros(draws, *head.shape, dtype=head.dtype)
        if self.inner is not None:
            result += self.inner.at_noise(agent, obs, noise)
        result[..., 0] += act.squeeze(-1) ** critic.power
        return result


class _Power(nn.Module):
    def __init__(self, factor: float, power: int) -> None:
        super().__init__()
        self.factor, self.power = factor, power

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return self.factor * act.squeeze(-1) ** self.power
