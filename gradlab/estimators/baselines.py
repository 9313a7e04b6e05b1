"""Baselines b(s) of score-function estimators: they change the variance and, being independent of a, not the mean."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.decisions import DecisionProblem, Decisions
from gradlab.estimators.heads import ROWS
from gradlab.tangent import tangent_kernel

#: Makes the cotangents [D, K, B, m] of decisions; what a baseline comes down to at given states.
Weighting = Callable[[Decisions], Tensor]

#: Far from the seeds people choose: pilot draws must not be the draws that the baseline is subtracted from.
_PILOT_SEED = 6_170_229_811


class Baseline(ABC):
    """What is subtracted from the weight of the score, (Q(s, a) − α log π − b) ∇_h log π_h(a)."""

    #: What it adds to the estimator's name; starts with a hyphen, or is empty.
    suffix: str = ""
    #: Least number of actions in one draw that it can be worked out from.
    least_samples: int = 1

    @abstractmethod
    def weighting(self, problem: DecisionProblem) -> Weighting:
        """The baseline at these states, worked out once for all draws."""


class Constant(Baseline):
    """b(s) = c, the same number everywhere.

    Raises:
        GradlabError: it is not finite.

    Example:
        >>> Constant(2.0).suffix
        '-baseline-2'
    """

    def __init__(self, value: float = 0.0) -> None:
        if not math.isfinite(value):
            raise GradlabError(f"baseline: {value}; a number as baseline must be finite")
        self.value = float(value)
        self.suffix = f"-baseline-{self.value:g}" if self.value else ""

    def weighting(self, problem: DecisionProblem) -> Weighting:
        """(R − c) times the score."""
        return lambda decisions: (decisions.weight - self.value).unsqueeze(-1) * decisions.score


class OfState(Baseline):
    """b(s) given by a function.

    Args:
        function: (agent, obs [B, n]) → [B].

    Example:
        >>> OfState(lambda agent, obs: obs[:, 0]).suffix
        '-baseline'
    """

    suffix = "-baseline"

    def __init__(self, function: Callable[[Agent, Tensor], Tensor]) -> None:
        self.function = function

    def weighting(self, problem: DecisionProblem) -> Weighting:
        """(R − b(s)) times the score.

        Raises:
            GradlabError: the function does not give one number a state.
        """
        with torch.no_grad():
            value = self.function(problem.agent, problem.obs).to(problem.obs)
        if value.shape != problem.obs.shape[:1]:
            # [B, 1] would broadcast to every pair of states and be silently wrong.
            raise GradlabError(
                f"baseline: the function gave shape {tuple(value.shape)} for {len(problem.obs)} states; it must give "
                "[states], one number each"
            )
        return lambda decisions: (decisions.weight - value).unsqueeze(-1) * decisions.score


def value_baseline() -> OfState:
    """b(s) = Q(s, mode): the critic at the action taken without exploration.

    Not exactly V(s), but it needs no sampling; around a deterministic actor it makes two-point ``ZerothOrder``.
    """
    return OfState(lambda agent, obs: agent.q(obs, agent.policy.mode(agent.head(obs))))


class LeaveOneOut(Baseline):
    """For each of K ≥ 2 actions of one draw, the mean weight of the K − 1 others.

    It is independent of its own action, hence unbiased, and the K actions stay within one draw, so that draws stay
    independent. With c = E[R s] and deviations R' = R − E[R], the trace of one draw's covariance is

        (1/K) [E[R'² ‖s‖²] − ‖c‖² + (Var R · E‖s‖² + ‖c‖²)/(K − 1)],

    which tends to K draws with b = E[R].
    Sources: Kool, van Hoof & Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!";
    Mnih & Rezende 2016, arXiv 1602.06725.

    Example:
        >>> weight = torch.tensor([1.0, 3.0]).reshape(1, 2, 1)
        >>> two = Decisions(weight, weight, weight, torch.ones(1, 2, 1, 1))
        >>> LeaveOneOut().weighting(None)(two).flatten()  # 1 − 3 and 3 − 1
        tensor([-2.,  2.])
    """

    suffix = "-leave-one-out"
    least_samples = 2

    def weighting(self, problem: DecisionProblem) -> Weighting:
        """(R_k − mean of R_j, j ≠ k) times the score."""

        def cotangents(decisions: Decisions) -> Tensor:
            count = decisions.weight.shape[1]
            # R_k − (ΣR − R_k)/(K − 1) = (R_k − R̄) K/(K − 1).
            centred = decisions.weight - decisions.weight.mean(1, keepdim=True)
            return (centred * (count / (count - 1))).unsqueeze(-1) * decisions.score

        return cotangents


class Optimal(Baseline):
    """The b(s) of least variance, E[‖g‖² R]/E[‖g‖²] with g = ∇_θ log π(a|s) and R = Q(s, a) − α log π.

    ‖g‖² = sᵀ K_ss s with s the score at the head and K_ss the tangent kernel's block of that state, so that the
    baseline is optimal for the actor's parameters, not for the head's coordinates. ``per_component`` takes one number
    for each coordinate of the head instead, E[s_k² R]/E[s_k²]; one for each parameter is no cotangent. It is *not* the
    value function: E[‖g‖² R] factorises into E[‖g‖²] E[R] only where the two are uncorrelated, as on a linear Q.
    Expectations are means over ``pilots`` draws of a generator of their own: whatever their error, the estimator stays
    unbiased and its draws independent. An error e of b costs E‖g‖² e² of variance; drawing the pilots' normal noise in
    pairs ±ε takes away most of it, since R − b is mostly odd in ε.
    Sources: Greensmith, Bartlett & Baxter 2004, "Variance reduction techniques for gradient estimates in
    reinforcement learning"; Peters & Schaal 2008, "Reinforcement learning of motor skills with policy gradients" (per
    component).

    Args:
        per_component: one baseline for each coordinate of the head.
        pilots: independent pilot draws at every state, at least 2.
        seed: of their generator.

    Raises:
        GradlabError: there are too few pilot draws.

    Example:
        >>> Optimal().suffix, Optimal(per_component=True).suffix
        ('-optimal', '-optimal-per-component')
    """

    def __init__(self, *, per_component: bool = False, pilots: int = 256, seed: int = _PILOT_SEED) -> None:
        if pilots < 2:
            raise GradlabError(f"optimal baseline: {pilots} pilot draws; at least 2 are needed")
        self.per_component, self.pilots, self.seed = per_component, pilots, seed
        self.suffix = "-optimal-per-component" if per_component else "-optimal"

    def at(self, problem: DecisionProblem) -> Tensor:
        """The baseline at the states: [B], or [B, m] per component; float64."""
        blocks = None if self.per_component else tangent_kernel(problem.agent, problem.obs, full=False).blocks
        noise = self._pilots(problem)
        above: Tensor | float = 0.0
        below: Tensor | float = 0.0
        for part in noise.split(max(1, ROWS // len(problem.obs))):
            decisions = problem.decide(part)
            score, weight = decisions.score.double()[:, 0], decisions.weight.double()[:, 0]
            if blocks is None:
                square, weight = score.square(), weight.unsqueeze(-1)
            else:
                square = torch.einsum("dbm,bmn,dbn->db", score, blocks.to(score), score)
            above, below = above + (square * weight).sum(0), below + square.sum(0)
        # Where the head has no gradient any baseline will do.
        return torch.where(torch.as_tensor(below) > 0, above / below, 0.0)

    def _pilots(self, problem: DecisionProblem) -> Tensor:
        """Noise of the pilot draws, [pilots, 1, B, p]; normal noise in pairs ±ε, for which odd errors cancel."""
        generator = torch.Generator().manual_seed(self.seed)
        if not problem.policy.continuous:
            return problem.noise((self.pilots, 1), generator)
        half = problem.noise(((self.pilots + 1) // 2, 1), generator)
        return torch.cat([half, -half])[: self.pilots]

    def weighting(self, problem: DecisionProblem) -> Weighting:
        """(R − b) times the score, coordinate by coordinate if so asked."""
        baseline = self.at(problem).to(problem.obs)
        if not self.per_component:
            baseline = baseline.unsqueeze(-1)
        return lambda decisions: (decisions.weight.unsqueeze(-1) - baseline) * decisions.score
