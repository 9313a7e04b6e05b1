"""A weighted mean of a first-order and a zeroth-order estimator."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
from scipy.special import expit
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators.base import Estimator
from gradlab.inference.confidence import variance_interval
from gradlab.objective import Objective
from gradlab.products import all_same, check_draws
from gradlab.tangent import tangent_kernel

#: Far from the seeds people choose: the pilot must not share its noise with the draws it weighs.
_SEED = 6_939_502_117


class Mixed(Estimator):
    """α·first + (1 − α)·zeroth, two independent estimates of one gradient.

    With α = V₀/(V₀ + V₁), V the traces of their covariances in parameter space, tr Var = (1/B²) Σ_i tr(K_ii Cov v_i),
    no other α has a smaller variance: V₀V₁/(V₀ + V₁). The variances come from pilot draws with a generator of their
    own, so that α is independent of the draws it weighs, and the mixture is unbiased where both parts are. Where the
    parts differ (a pathwise gradient across a jump of Q) the mean is the same mixture of their means: a small variance
    is no evidence against bias, and a deterministic ``first`` always gets α = 1.
    Sources: Suh et al. 2022, "Do differentiable simulators give better policy gradients?", arXiv 2202.00817
    (α-order batched gradient); Parmas et al. 2018, "PIPPS", arXiv 1902.01240 (total propagation: inverse variance).

    Args:
        first: the first-order estimator (``Deterministic``, ``Reparameterized``, ...).
        zeroth: the zeroth-order one (``ZerothOrder``, ``ScoreFunction``, ...).
        alpha: the weight of ``first``, in [0, 1]; by inverse variance when None.
        per: one weight for the "batch", or one for each "state" from its own block K_ii.
        pilot: pilot draws of each estimator.

    Raises:
        GradlabError: an argument is none of these; on drawing, when the two estimate gradients of different objectives
            (smoothing apart, which is a bias that is measured), or a pilot draw is not finite.

    Example:
        >>> from gradlab.estimators import Deterministic, ZerothOrder
        >>> class Critic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return 3.0 * act.sum(-1)
        >>> agent = Agent(torch.nn.Linear(1, 1), [Critic()], action_low=-1, action_high=1)
        >>> mixed = Mixed(ZerothOrder(0.1, 2), ZerothOrder(0.1, 2))
        >>> (weight,) = mixed.weights(agent, torch.zeros(4, 1))
        >>> low, high = weight.interval()
        >>> low < 0.5 < high
        True
    """

    continuous_only = False  # the parts know what they need

    def __init__(
        self,
        first: Estimator,
        zeroth: Estimator,
        alpha: float | None = None,
        *,
        per: Literal["batch", "state"] = "batch",
        pilot: int = 64,
    ) -> None:
        if alpha is not None and not 0 <= alpha <= 1:
            raise GradlabError(f"mixed: alpha is {alpha}; give a number from 0 to 1, or None for inverse variance")
        if per not in ("batch", "state") or pilot < 3:
            raise GradlabError(f"mixed: per is {per!r}, pilot {pilot}; choose 'batch' or 'state' and at least 3 draws")
        self.first, self.zeroth, self.alpha, self.per, self.pilot = first, zeroth, alpha, per, pilot
        how = f"-{alpha:g}" if alpha is not None else "-per-state" if per == "state" else ""
        self.name = f"mixed{how}-{first.name}-{zeroth.name}"

    def objective(self, agent: Agent) -> Objective:
        """That of both parts, smoothed as the more smoothed one is.

        Raises:
            GradlabError: they differ in more than smoothing.
        """
        one, other = self.first.objective(agent), self.zeroth.objective(agent)
        smoothing = max(one.smoothing, other.smoothing)
        joint = replace(one, smoothing=smoothing)
        if joint != replace(other, smoothing=smoothing):
            raise GradlabError(
                f"mixed: {self.first} estimates the gradient of ({one}), {self.zeroth} of ({other}); "
                "mix estimators of one objective"
            )
        return joint

    def notes(self, agent: Agent, obs: Any) -> tuple[str, ...]:
        """Those of both parts."""
        return (*self.first.notes(agent, obs), *self.zeroth.notes(agent, obs))

    def weights(self, agent: Agent, obs: Any) -> tuple[Estimate, ...]:
        """The weight α of ``first``: one, or one a state, each with its 95 % interval from the pilot draws.

        The interval is on the scale log V₀ − log V₁ = logit α and joins the intervals of the two variances, which are
        independent (Zou & Donner 2008, "Construction of confidence limits about effect measures").

        Raises:
            GradlabError: a pilot draw is not finite.
        """
        obs = agent.observations(obs)
        count = 1 if self.per == "batch" else len(obs)
        if self.alpha is not None:
            return (Estimate(self.alpha, 0.0, self.pilot),) * count
        blocks = tangent_kernel(agent, obs, full=False).blocks
        generator = torch.Generator().manual_seed(_SEED)
        first, zeroth = (self._squares(e, agent, obs, blocks, generator) for e in (self.first, self.zeroth))
        return tuple(_weight(first[:, i], zeroth[:, i]) for i in range(count))

    def _squares(
        self, estimator: Estimator, agent: Agent, obs: Tensor, blocks: Tensor, generator: torch.Generator
    ) -> Tensor:
        """‖J_iᵀ(v_di − v̄_i)‖² of the pilot draws, summed over the batch or not: [D, 1] or [D, B]."""
        v = estimator.draw(agent, obs, self.pilot, generator)
        check_draws(v, len(obs), blocks.shape[1])
        # The mean of equal numbers can round away from them.
        centre = v[0].double() if all_same(v) else v.mean(0, dtype=torch.float64)
        v = v.double() - centre
        squares = torch.einsum("dbi,bij,dbj->db", v, blocks, v)
        return squares.sum(1, keepdim=True) if self.per == "batch" else squares

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        self.objective(agent)
        alpha = obs.new_tensor([weight.value for weight in self.weights(agent, obs)])[:, None]
        first = self.first.draw(agent, obs, draws, generator)
        return alpha * first + (1 - alpha) * self.zeroth.draw(agent, obs, draws, generator)


def _weight(first: Tensor, zeroth: Tensor) -> Estimate:
    """Inverse-variance weight from the squared deviations [D] of two independent pilots."""
    draws = len(first)
    of_first, of_zeroth = _log_variance(first), _log_variance(zeroth)
    if of_first is None or of_zeroth is None:
        # Without variance an estimator gets all the weight; where neither has any, nothing prefers one.
        value = 0.5 if of_first is of_zeroth else float(of_first is None)
        return Estimate(value, 0.0, draws)
    (one, error_one, low_one, high_one), (other, error_other, low_other, high_other) = of_first, of_zeroth
    logit = other - one
    value = float(expit(logit))
    stderr = value * (1 - value) * math.hypot(error_one, error_other)
    low = logit - math.hypot(other - low_other, high_one - one)
    high = logit + math.hypot(high_other - other, one - low_one)
    return Estimate(value, stderr, draws, ends=(float(expit(low)), float(expit(high))))


def _log_variance(squares: Tensor) -> tuple[float, float, float, float] | None:
    """The log of a variance, its jackknife standard error and the log of its interval's ends; None if it is zero."""
    draws, spread = len(squares), squares.sum()
    value = float(spread) / (draws - 1)
    if value == 0:
        return None
    logs = ((spread - squares * draws / (draws - 1)) / (draws - 2)).log()
    error = math.sqrt((draws - 1) / draws * float((logs - logs.mean()).square().sum()))
    low, high = variance_interval(value, value * error, squares)
    return math.log(value), error, math.log(low), math.log(high)
