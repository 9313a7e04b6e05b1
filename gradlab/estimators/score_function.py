"""Score-function (likelihood-ratio) policy gradients with the critic as the return."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators.action_baselines import Taylor
from gradlab.estimators.base import Estimator, fresh_generator
from gradlab.estimators.baselines import Baseline, Constant, LeaveOneOut, OfState, Optimal, value_baseline
from gradlab.estimators.decisions import decision_problem
from gradlab.estimators.heads import in_chunks
from gradlab.estimators.zeroth_order import check_radius
from gradlab.objective import Objective

#: Seed of the actions that a note counts: the same at every call.
_NOTE_SEED = 2_718_281_829

BaselineName = Literal["none", "value", "leave-one-out", "optimal", "optimal-per-component", "taylor"]

#: What every name stands for; a new one is a line here.
BASELINES: dict[BaselineName, Callable[[], Baseline]] = {
    "none": Constant,
    "value": value_baseline,
    "leave-one-out": LeaveOneOut,
    "optimal": Optimal,
    "optimal-per-component": lambda: Optimal(per_component=True),
    "taylor": Taylor,
}


class ScoreFunction(Estimator):
    """∇_h log π_h(a) · (Q(s, a) − α log π_h(a) − b), a ~ π_h.

    A stochastic policy is taken as it is. Around a deterministic actor the policy is N(f(h), σ²I), whose score at
    a = f(h) + σu is u/σ, carried to the head by (∂f/∂h)ᵀ; the gradient is then that of the smoothed critic. Its entropy
    is constant, so α plays no part there. With b = Q(s, f(h)) this *is* two-point ``ZerothOrder`` of radius σ, draw
    by draw.
    Sources: Williams 1992 (REINFORCE); Sutton et al. 2000, theorem 1; baselines: Greensmith et al. 2004.

    ===========================  ===========================================================================
    ``baseline``                 b
    ===========================  ===========================================================================
    "none", a number             0, that number
    "value"                      Q(s, mode)
    a function                   b(s): (agent, obs [B, n]) → [B]
    "leave-one-out"              for each of the draw's K actions, the mean weight of the others
    "optimal"                    E[‖g‖² R]/E[‖g‖²], from pilot draws
    "optimal-per-component"      the same for each coordinate of the head
    "taylor"                     Q-Prop's b(s, a), the critic's tangent at the mode, with its correction
    an instance of ``Baseline``  its own: ``StateAction(b)``, ``Optimal(pilots=1000)``, …
    ===========================  ===========================================================================

    Args:
        sigma: standard deviation σ around a deterministic actor, in the critic's action units; unused otherwise.
        baseline: one of the above.
        samples: number K of actions that one draw averages over at every state; 1 by default, 2 where the baseline
            needs others.
        entropy: include −α log π when the agent's objective has it; without, another objective is estimated.

    Raises:
        GradlabError: an argument is none of these.

    Example:
        >>> from torch import nn
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return act.sum(-1)
        >>> agent = Agent(nn.Linear(1, 2), [Critic()], action_low=[-1, -1], action_high=[1, 1])
        >>> draws = ScoreFunction(0.1, "value").draw(agent, torch.zeros(1, 1), 4000, torch.Generator().manual_seed(0))
        >>> (draws.mean((0, 1)) - 1).abs() < 0.1
        tensor([True, True])
        >>> ScoreFunction(baseline="leave-one-out", samples=4).name
        'score-function-leave-one-out-4-actions'
    """

    continuous_only = False

    def __init__(
        self,
        sigma: float = 0.1,
        baseline: BaselineName | float | Callable[[Agent, Tensor], Tensor] | Baseline = "none",
        *,
        samples: int | None = None,
        entropy: bool = True,
    ) -> None:
        self.sigma = check_radius("score-function", "sigma", sigma)
        self.baseline = _baseline(baseline)
        self.samples = self.baseline.least_samples if samples is None else samples
        if self.samples < self.baseline.least_samples:
            raise GradlabError(
                f"score-function{self.baseline.suffix}: samples is {samples}; this baseline needs at least "
                f"{self.baseline.least_samples} actions in a draw"
            )
        self.entropy = entropy
        self.name = "score-function" + self.baseline.suffix
        if self.samples > self.baseline.least_samples:
            self.name += f"-{self.samples}-actions"
        if not entropy:
            self.name += "-without-entropy"

    def at_noise(self, agent: Agent, obs: Tensor, noise: Tensor) -> Tensor:
        """The draws [D, B, m] for given noise [D·K, B, p], as ``agent.policy.noise`` makes it; K rows to a draw.

        Raises:
            GradlabError: the rows are not a multiple of K.
        """
        if len(noise) % self.samples:
            raise GradlabError(
                f"estimator {self.name}: {len(noise)} rows of noise; each draw takes {self.samples}, so give a multiple"
            )
        problem = decision_problem(agent, obs, self.sigma, entropy=self.entropy)
        weighting = self.baseline.weighting(problem)
        grouped = noise.unflatten(0, (-1, self.samples))
        return in_chunks(lambda part: weighting(problem.decide(part)).mean(1), grouped)

    def objective(self, agent: Agent) -> Objective:
        """The agent's; around a deterministic actor without entropy and smoothed with radius σ."""
        if not agent.policy.stochastic:
            return replace(agent.objective, entropy=0.0, smoothing=self.sigma)
        return replace(agent.objective, entropy=agent.entropy if self.entropy else 0.0)

    def off_support(
        self, agent: Agent, obs: Any, draws: int = 64, generator: torch.Generator | None = None
    ) -> Estimate:
        """Share of the actions drawn that lie outside the action box, at these states; zero for discrete actions.

        Environments clip such actions and replay holds none, so that the critic extrapolates there. The samples are
        the draws; within one, all states count.

        Raises:
            GradlabError: the observations do not fit.

        Example:
            >>> agent = Agent(torch.nn.Linear(1, 1), [], action_low=-1, action_high=1)
            >>> print(ScoreFunction(1e-3).off_support(agent, torch.zeros(4, 1)).value)
            0.0
        """
        self.check(agent, draws)
        obs = agent.observations(obs)
        problem = decision_problem(agent, obs, self.sigma, entropy=False)
        if not problem.policy.continuous:
            return Estimate(0.0, 0.0, draws, scale="share")
        noise = problem.noise((draws,), generator or fresh_generator())
        with torch.no_grad():
            act = problem.policy.sample(problem.head, noise)[0]
        outside = ((act < agent.action_low) | (act > agent.action_high)).any(-1)
        shares = outside.double().mean(1)
        stderr = float(shares.std()) / math.sqrt(draws) if draws > 1 else math.nan
        return Estimate(float(shares.mean()), stderr, draws, scale="share")

    def notes(self, agent: Agent, obs: Any) -> tuple[str, ...]:
        """How many of the actions drawn leave the box, where some do."""
        share = self.off_support(agent, obs, generator=torch.Generator().manual_seed(_NOTE_SEED)).value
        if share == 0:
            return ()
        percent = f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"
        remedy = "squash or truncate the policy" if agent.policy.stochastic else "take a smaller sigma"
        where = "leave the action box, where the critic was never trained"
        return (f"{self.name}: {percent} of the actions drawn {where}; {remedy}",)

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        noise = agent.policy.noise((draws * self.samples, len(obs), agent.action_size), generator, obs)
        return self.at_noise(agent, obs, noise)


def _baseline(given: object) -> Baseline:
    if isinstance(given, Baseline):
        return given
    if isinstance(given, str) and given in BASELINES:
        return BASELINES[given]()
    if isinstance(given, int | float) and not isinstance(given, bool):
        return Constant(given)
    if callable(given) and not isinstance(given, type):
        return OfState(given)
    names = ", ".join(repr(name) for name in BASELINES)
    raise GradlabError(f"score-function: baseline is {given!r}; choose {names}, a number, a function or a Baseline")
