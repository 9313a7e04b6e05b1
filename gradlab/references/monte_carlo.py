"""Monte Carlo as reference: score-function estimates, which differentiate nothing but the policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, shown, whole_number
from gradlab.episode_gradients import gradient_chunks, parameter_count
from gradlab.errors import GradlabError
from gradlab.estimators.trajectory import GPOMDP
from gradlab.estimators.trajectory.score import ScoreAlongTrajectories
from gradlab.objective import Objective
from gradlab.policies import Around
from gradlab.references.base import ReferenceCotangent
from gradlab.references.closed_loop import ClosedLoopReference
from gradlab.references.controlled_scores import controlled_draws, left_out_baseline
from gradlab.references.fitted_value import FittedValue
from gradlab.references.gradient_samples import UNITS, PolicyGradient
from gradlab.simulation.gate import NOT_FINITE
from gradlab.simulation.given import check_radius, check_states
from gradlab.simulation.simulator import Simulator
from gradlab.simulation.states import States

#: Numbers of noise that the rollouts of one block of states may hold.
_NUMBERS = 2**23
#: Keeps these streams apart from others that are seeded by a seed and a position.
_PURPOSE = 0x3C4A
#: Seeds of episodes and of the pilot's, so that they share nothing with those that people ask for.
_EPISODES, _PILOT = 7_405_883, 7_405_884


class MonteCarloReference(ClosedLoopReference):
    """∇_h F_s(h) and ∇_θ J as large-sample means of score-function estimates of simulated returns.

    For a stochastic policy, with D independent draws at a state,

        ∇_h F_s = E[∇_h log π_h(a) (Q̂(s, a) − α log π_h(a) − b)],

    Q̂ being a simulated return and b a baseline out of other draws, which biases nothing: their mean, or where the noise
    is normal and there are draws enough a control variate that is quadratic in it (``controlled_draws``). Each draw is
    then a pair of first actions of noise ε and −ε with the same noise afterwards. No return is differentiated, so there
    is no step size and no gate but finiteness, and returns may jump: a second way to what ``SimulatorReference`` gives,
    by quite other means, at the price of more noise. A deterministic policy has no score; with ``smoothing`` the first
    action is drawn around its own, which gives the gradient of F^σ as ``SmoothedSimulatorReference`` does.

    Args:
        environment: a gymnasium identifier, a function that makes an environment, or a ``Simulator``.
        horizon: number H of rewards in a return.
        draws: D, at least 8.
        smoothing: for a deterministic policy, σ of the first action, in the critic's action units; 0 is none.
        seed: of the noise, which depends on it and on the position of the state alone.
        entropy: whether returns count the agent's entropy bonus −α log π, where it has one.
        respect_time_limit: whether rewards beyond the environment's time limit are lost.

    Raises:
        GradlabError: the environment cannot be simulated exactly, or an argument is out of range.

    Example:
        >>> from torch import nn
        >>> actor = nn.Sequential(nn.Linear(10, 2), nn.Tanh())
        >>> _ = nn.init.constant_(actor[0].weight, 0.1), nn.init.zeros_(actor[0].bias)
        >>> agent = Agent(actor, [], action_low=[-1, -1], action_high=[1, 1], policy=Around(0.2))
        >>> reference = MonteCarloReference("Reacher-v5", horizon=5, draws=16)
        >>> states = reference.simulator.visit(agent, 3, seed=0, episodes=1)
        >>> found = reference.cotangent(agent, states)
        >>> found.mean.shape, found.samples, bool((found.stderr > 0).all())
        (torch.Size([3, 2]), 16, True)
    """

    name = "Monte Carlo"

    def __init__(
        self,
        environment: str | Callable[[], Any] | Simulator,
        horizon: int = 50,
        *,
        draws: int = 256,
        smoothing: float = 0.0,
        seed: int = 0,
        entropy: bool = True,
        respect_time_limit: bool = False,
    ) -> None:
        draws = whole_number("draws", draws, 8)
        smoothing = real_number("smoothing", smoothing, 0.0, "σ is in the critic's action units, and 0 is none")
        super().__init__(environment, horizon, seed=seed, entropy=entropy, respect_time_limit=respect_time_limit)
        self.draws = draws
        self.smoothing = smoothing

    def objective(self, agent: Agent) -> Objective:
        """The objective whose gradient the cotangents are, for that agent."""
        return Objective(agent.discount, self._alpha(agent), self.smoothing, self.horizon)

    def cotangent(self, agent: Agent, states: States) -> ReferenceCotangent:
        """∇_h F_s(h) at every state.

        Args:
            agent: the agent; a float64 copy in evaluation mode acts.
            states: states visited by ``simulator.visit``.

        Returns:
            The reference, valid where every simulation was finite. Its diagnostics: ``reason`` (a sentence for each
            state left out, else empty), ``value`` and ``value_stderr`` [B] (F_s(h) itself).

        Raises:
            GradlabError: the agent or the states do not fit the environment, or the policy has no score.
        """
        pilot = self.simulator.pilot(agent)
        check_states(states, self.simulator)
        if pilot.policy.stochastic == (self.smoothing > 0):
            raise GradlabError(
                "Monte Carlo reference: a stochastic policy smooths already; leave smoothing at 0"
                if self.smoothing
                else "Monte Carlo reference: a deterministic policy has no score; pass smoothing=σ, or give the agent "
                "policy=policies.Around(σ)"
            )
        check_radius("smoothing", self.smoothing, pilot)
        block = max(1, _NUMBERS // (self.draws * self.horizon * pilot.action_size))
        parts = [self._block(pilot, states, begin, block) for begin in range(0, len(states), block)]
        mean, stderr, values = (
            torch.cat(part, dim=dim) for part, dim in zip(zip(*parts, strict=True), (0, 0, 1), strict=True)
        )
        valid = torch.isfinite(mean).all(-1)
        diagnostics = {
            "reason": ["" if fine else NOT_FINITE for fine in valid.tolist()],
            "value": values.mean(0),
            "value_stderr": values.std(0) / math.sqrt(self.draws),
        }
        return ReferenceCotangent(mean, stderr, self.name, self.objective(pilot), valid, self.draws, diagnostics)

    def gradient(
        self,
        agent: Agent,
        episodes: int = 1024,
        *,
        estimator: ScoreAlongTrajectories | None = None,
        max_steps: int | None = None,
    ) -> PolicyGradient:
        """∇_θ J, J = E Σ_{t<T} γᵗ r_t of whole episodes, T the time limit, by an unbiased estimator along them.

        Args:
            agent: the agent, of a stochastic policy; a float64 copy acts.
            episodes: how many, the independent samples.
            estimator: any unbiased one with discounted states; G(PO)MDP with a value baseline fitted to a quarter as
                many other episodes when None.
            max_steps: T, where the environment has no sooner time limit.

        Raises:
            GradlabError: the policy is deterministic, the estimator's episodes are not independent or it is not for
                this objective, or the agent does not fit.
        """
        pilot, episodes = self.simulator.pilot(agent), whole_number("episodes", episodes, 1)
        if not isinstance(estimator, ScoreAlongTrajectories | None):
            raise GradlabError(f"estimator: {shown(estimator)}; give one along trajectories, such as GPOMDP(), or None")
        if estimator is None:
            fewer = self.simulator.episodes(pilot, max(episodes // 4, 8), seed=self.seed + _PILOT, max_steps=max_steps)
            estimator = GPOMDP(FittedValue(fewer), entropy=self.entropy)
        if not estimator.discounted_states or estimator.group is None:
            raise GradlabError(
                f"Monte Carlo reference: {estimator.name} is biased or makes all episodes one sample; "
                "take discounted_states=True and a baseline of groups or a pilot"
            )
        runs = self.simulator.episodes(pilot, episodes, seed=self.seed + _EPISODES, max_steps=max_steps)
        left_out = len(self.simulator.left_out)
        if (spare := runs.count % estimator.group) and runs.count > spare:
            runs = runs.select(torch.arange(runs.count - spare))
        v = estimator.cotangents(pilot, runs)
        size = estimator.group * -(-runs.count // (UNITS * estimator.group))
        units = runs.count // size
        samples = torch.zeros(units, parameter_count(pilot), dtype=torch.float64)
        for at, gradients in gradient_chunks(pilot, runs, v):
            unit = torch.arange(at.start, at.stop) // size
            fits = unit < units
            samples.index_add_(0, unit[fits], gradients.double().cpu()[fits] / size)
        limits = [limit for limit in (self.simulator.time_limit, max_steps) if limit is not None]
        entropy = self._alpha(pilot) if estimator.entropy else 0.0
        notes = [f"{estimator.name} over {units * size} episodes"]
        if left_out:
            notes.append(f"{left_out} episodes left out: their simulation was not finite")
        objective = Objective(agent.discount, entropy, horizon=min(limits, default=1000))
        return PolicyGradient(samples, self.name, objective, notes=tuple(notes))

    # A block of states -------------------------------------------------------------------------------------

    @torch.no_grad()
    def _block(self, pilot: Agent, states: States, begin: int, block: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and standard error [B, m] of the draws at some of the states, and their values [D, B]."""
        part = states[begin : begin + block]
        head = pilot.head(part.obs.to(dtype=pilot.dtype, device=pilot.device))
        policy = pilot.policy if pilot.policy.stochastic else Around(self.smoothing, pilot.policy)
        shape = (self.draws, self.horizon, pilot.action_size)
        noise = torch.stack(
            [policy.noise(shape, _generator(self.seed, begin + i), head) for i in range(len(part))], dim=2
        )
        alpha, first = self._alpha(pilot), noise[:, 0]
        values, scores = [], []
        # Reversed normal noise is as likely; that of a discrete choice is not.
        for epsilon in (first, -first) if policy.continuous else (first,):
            act, log_prob = policy.sample(head, epsilon)
            value = self.simulator.rollouts(
                pilot,
                part,
                act,
                horizon=self.horizon,
                noise=noise if pilot.policy.stochastic else None,
                entropy=alpha,
                respect_time_limit=self.respect_time_limit,
            ).value
            values.append(value - alpha * log_prob.cpu().double() if alpha else value)
            scores.append(policy.score(head, epsilon).cpu().double())
        value, score = torch.stack(values), torch.stack(scores)
        finite = torch.isfinite(value).all(0).all(0)
        filled = torch.where(finite, value, 0.0)
        if policy.continuous and self.draws >= 4 * pilot.action_size:
            draws, stderr = controlled_draws(score, filled, first.cpu().double())
        else:
            draws, stderr = left_out_baseline(score, filled)
        mean, stderr = (torch.where(finite[:, None], x, torch.nan) for x in (draws.mean(0), stderr))
        return mean, stderr, value.mean(0)


def _generator(seed: int, position: int) -> torch.Generator:
    words = np.random.SeedSequence([_PURPOSE, seed, position]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> 1))
