"""A reward that jumps: pathwise gradients see nothing of it."""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.special import ndtr
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, Mixed, Naive, Reparameterized, ScoreFunction
from gradlab.worlds.base import Admitted, GradientMoments, Hessians, World
from gradlab.worlds.gaussian_actor import GaussianActor, gaussian_agent
from gradlab.worlds.inputs import check_finite, no_mixed, vectors
from gradlab.worlds.score_moments import ScoreMoments, admitted_scores, half_and_half


class Step(World):
    """Q(a) = low + height · 1[n·a > threshold] under a ~ N(θ, diag σ²), in any dimension.

    n·a is N(n·θ, s²), s² = Σ n_i² σ_i², so with z = (n·θ − threshold)/s

    * J = low + height Φ(z), ∇_θ J = height φ(z) n/s, ∂J/∂σ_i = −height φ(z) z n_i² σ_i/s²;
    * the reparameterised gradient is zero in every draw, whatever the truth: its bias is −∇J;
    * the score function is unbiased; its variance follows from moments of a normal variable cut off at z.

    The difference of the two is the flux through the jump that interchanging derivative and expectation loses
    (Suh et al. 2022, "Do differentiable simulators give better policy gradients?", section 3).

    Args:
        mean: θ, a number or [p].
        std: σ, a number or [p].
        normal: n, [p]; ones when None. Its length matters: the jump is at n·a = threshold.
        threshold: where Q jumps, along n.
        height: of the jump.
        low: Q below it.
        learn_std: whether σ is a parameter.

    Raises:
        GradlabError: shapes do not fit, a standard deviation is not positive, or the normal is zero.

    Example:
        >>> world = Step(mean=0.0, std=1.0)
        >>> world.value(), round(world.true_gradient().item(), 6)  # Φ(0), φ(0)
        (0.5, 0.398942)
        >>> world.reparameterized()
        GradientMoments(mean=tensor([0.], dtype=torch.float64), variance=0.0)
    """

    name = "step"

    def __init__(
        self,
        mean: Any = 0.0,
        std: Any = 1.0,
        normal: Any = None,
        threshold: float = 0.0,
        height: float = 1.0,
        low: float = 0.0,
        *,
        learn_std: bool = False,
    ) -> None:
        self.mean = torch.atleast_1d(torch.as_tensor(mean, dtype=torch.float64))
        size = self.mean.numel()
        given = torch.ones(size) if normal is None else torch.as_tensor(normal)
        self.normal, spread = given.double(), torch.as_tensor(std, dtype=torch.float64)
        if self.mean.shape != (size,) or self.normal.shape != (size,) or spread.shape not in ((), (size,)):
            raise GradlabError(
                f"step: mean {tuple(self.mean.shape)}, std {tuple(spread.shape)}, normal {tuple(self.normal.shape)}; "
                "they must be [p], [p] or a number, and [p]"
            )
        self.std = spread.expand(size).clone()
        if not bool((self.std > 0).all()) or not bool(self.normal.any()):
            raise GradlabError("step: every std must be positive, and the normal not zero")
        self.threshold, self.height, self.low = float(threshold), float(height), float(low)
        self.learn_std = learn_std
        numbers = {"mean": self.mean, "std": self.std, "normal": self.normal}
        check_finite("step", **numbers, threshold=threshold, height=height, low=low)

    # In closed form ------------------------------------------------------------------------------------------

    @property
    def spread(self) -> float:
        """Standard deviation s of n·a."""
        return float((self.normal * self.std).norm())

    @property
    def margin(self) -> float:
        """The distance z of the mean from the jump, in standard deviations of n·a."""
        return (float(self.normal @ self.mean) - self.threshold) / self.spread

    @property
    def share(self) -> float:
        """Probability Φ(z) of being above the jump."""
        return float(ndtr(self.margin))

    def q(self, act: Tensor) -> Tensor:
        """Q(a): [..., p] → [...]."""
        above = (act @ self.normal.to(act) > self.threshold).to(act)
        return self.low + self.height * above

    def value(self) -> float:
        """J = low + height Φ(z)."""
        return self.low + self.height * self.share

    def true_gradient(self) -> Tensor:
        """∇_θ J [p], followed by ∂J/∂σ [p] where it is learnt."""
        density = math.exp(-(self.margin**2) / 2) / math.sqrt(2 * math.pi)
        by_mean = self.height * density / self.spread * self.normal
        if not self.learn_std:
            return by_mean
        by_std = -self.height * density * self.margin / self.spread**2 * self.normal**2 * self.std
        return torch.cat([by_mean, by_std])

    def action_gradient(self, obs: Any, act: Any) -> Tensor:
        """Zero almost everywhere, which is all that automatic differentiation sees: [B, p]."""
        return torch.zeros_like(vectors(self.name, "act", act, len(self.normal)))

    def hessians(self, obs: Any, act: Any) -> Hessians:
        """Zero almost everywhere."""
        act = vectors(self.name, "act", act, len(self.normal))
        return Hessians(no_mixed(act, act), no_mixed(obs, act))

    # Estimators ----------------------------------------------------------------------------------------------

    def reparameterized(self) -> GradientMoments:
        """Mean and variance of the pathwise gradient: nothing at all; its bias is −∇J."""
        return GradientMoments(torch.zeros_like(self.true_gradient()), 0.0)

    def score_moments(self) -> ScoreMoments:
        """What ``ScoreFunction`` has here, from E[1[n·a > threshold] s²].

        Given y = (n·(a − θ))/s, the noise ε_i is c_i y plus an independent remainder of variance 1 − c_i², with
        c_i = n_i σ_i/s. Over y > −z the standard normal's moments are M₀ = Φ(z), M_k = (−z)^{k−1} φ(z) + (k−1) M_{k−2}.
        The scores are ε_i/σ_i and (ε_i² − 1)/σ_i.
        """
        z, share = self.margin, self.share
        density = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        second = share - z * density
        fourth = -(z**3) * density + 3 * second
        c = self.normal * self.std / self.spread
        above = (c**2 * second + (1 - c**2) * share) / self.std**2  # E[1 ε²]/σ²
        score = 1 / self.std**2
        if self.learn_std:
            rest = 1 - c**2
            power_four = c**4 * fourth + 6 * c**2 * rest * second + 3 * rest**2 * share
            power_two = c**2 * second + rest * share
            above = torch.cat([above, (power_four - 2 * power_two + share) / self.std**2])
            score = torch.cat([score, 2 / self.std**2])
        # f − E f is height (1 − Φ) above the jump and −height Φ below it.
        high, low = self.height * (1 - share), -self.height * share
        return ScoreMoments(
            value=self.value(),
            spread=self.height**2 * share * (1 - share),
            gradient=self.true_gradient(),
            score=score,
            weighted=high * above + low * (score - above),
            weighted_square=high**2 * above + low**2 * (score - above),
        )

    def agent(self) -> Agent:
        """A Gaussian policy with the step as its critic."""
        return gaussian_agent(GaussianActor(self.mean, self.std, learn_std=self.learn_std), _Critic(self), self.name)

    def admitted(self) -> tuple[Admitted, ...]:
        """Pathwise ones, biased by −∇J, and score functions."""
        truth, moments = self.true_gradient(), self.score_moments()
        at_mode = float(self.q(self.mean))
        pathwise = Admitted(Reparameterized(), *self.reparameterized(), truth)
        scores = admitted_scores(moments, truth, at_mode)
        return (
            Admitted(Deterministic(), torch.zeros_like(truth), 0.0, truth),
            pathwise,
            Admitted(Naive(), torch.zeros_like(truth), 0.0, truth),
            *scores,
            half_and_half(pathwise, scores[1]),
            # Of no variance, it gets all the weight: how sure a gradient is says nothing of how right it is.
            Admitted(Mixed(Reparameterized(), ScoreFunction()), torch.zeros_like(truth), 0.0, truth),
        )


class _Critic(nn.Module):
    def __init__(self, world: Step) -> None:
        super().__init__()
        self.world = world

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        # The product keeps the graph, so that differentiating gives zeros and not an error.
        return self.world.q(act) + 0 * act.sum(-1)
