"""What the score-function estimators along episodes share: Σ_t w_t (Ψ_t − b_t) J_tᵀ ∇_h log π(a_t|s_t)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import TrajectoryEstimator
from gradlab.estimators.heads import ROWS
from gradlab.estimators.trajectory.baselines import Baseline, BaselineLike, Parts, as_baseline
from gradlab.objective import Objective
from gradlab.policies import Policy
from gradlab.trajectories import Trajectories

#: A value function V(s): observations [N, n] → [N].
Value = Callable[[Tensor], Tensor]


class ScoreAlongTrajectories(TrajectoryEstimator):
    """Cotangents w_t (Ψ_t − b_t) ∇_h log π_h(a_t|s_t); subclasses say what Ψ_t is (``_psi``) and the weight w_t.

    With an entropy coefficient α of the agent, r_t − α log π(a_t|s_t) takes the place of r_t: the gradient of α log π
    itself has expectation zero. Scores are taken at the recorded actions; from the recorded noise where there is some,
    which knows the digits that an action near the face of its box has lost.

    Args:
        baseline: b_t; see ``as_baseline``. All of them leave the expectation as it is.
        discounted_states: whether w_t = γᵗ, as the discounted objective asks; False is the common practice w_t = 1,
            which is the gradient of no objective (C. Nota, P. Thomas 2020, *Is the policy gradient a gradient?*).
        entropy: whether to include the agent's entropy bonus; without, another objective is estimated.
    """

    #: Short name of Ψ.
    _psi_name: str

    def __init__(
        self, baseline: BaselineLike = "none", *, discounted_states: bool = True, entropy: bool = True
    ) -> None:
        self.baseline: Baseline = as_baseline(baseline)
        self.discounted_states = discounted_states
        self.entropy = entropy
        options = ("" if discounted_states else "-undiscounted-states") + ("" if entropy else "-without-entropy")
        self.name = self._psi_name + self.baseline.suffix + options

    @property
    def group(self) -> int | None:
        """How many consecutive episodes make one independent sample, because they share a baseline; None for all."""
        return self.baseline.group

    def objective(self, agent: Agent) -> Objective:
        """The agent's, without entropy if so declared."""
        return agent.objective if self.entropy else replace(agent.objective, entropy=0.0)

    def cotangents(self, agent: Agent, trajectories: Trajectories) -> Tensor:
        """Detached cotangents [N, m], one a step, in the agent's dtype.

        Raises:
            GradlabError: the policy is deterministic, the discounts differ, or a baseline or value does not fit.
        """
        _check(self.name, agent, trajectories)
        with torch.no_grad():
            parts = self._parts(agent, trajectories)
            baseline = self.baseline.at(agent, trajectories, parts, lambda other: self._parts(agent, other))
            return (parts.scores * (parts.psi[:, None] - baseline)).to(agent.dtype)

    def _parts(self, agent: Agent, trajectories: Trajectories) -> Parts:
        """Ψ_t and w_t ∇_h log π, float64."""
        scores, log_prob = scores_along(agent, trajectories)
        alpha = agent.entropy if self.entropy else 0.0
        reward = trajectories.reward.to(log_prob)
        soft = (
            replace(trajectories, reward=reward - alpha * log_prob) if alpha else replace(trajectories, reward=reward)
        )
        psi = self._psi(agent, soft, alpha * log_prob)
        return Parts(psi, self._weights(soft)[:, None] * scores)

    def _weights(self, trajectories: Trajectories) -> Tensor:
        return trajectories.weights if self.discounted_states else torch.ones_like(trajectories.reward)

    @abstractmethod
    def _psi(self, agent: Agent, trajectories: Trajectories, surprise: Tensor) -> Tensor:
        """Ψ_t, [N]; the rewards hold the entropy bonus −``surprise`` = −α log π(a_t|s_t) already."""


def evaluate(value: Value, obs: Tensor, what: str) -> Tensor:
    """A value function at observations [N, n] → [N], checked.

    Raises:
        GradlabError: it gives another shape, or NaN or infinite values (counted and located).
    """
    out = value(obs)
    if out.shape == (len(obs), 1):
        out = out[:, 0]
    if out.shape != (len(obs),):
        raise GradlabError(f"{what}: gave shape {tuple(out.shape)} for {len(obs)} states; it must be one number each")
    bad = ~torch.isfinite(out)
    if bool(bad.any()):
        raise GradlabError(
            f"{what}: NaN or infinite at {int(bad.sum())} of {len(obs)} steps, first at row {int(bad.nonzero()[0])}; "
            "mend the value function"
        )
    return out.detach()


def scores_along(agent: Agent, trajectories: Trajectories) -> tuple[Tensor, Tensor]:
    """∇_h log π_h(a_t|s_t) and log π(a_t|s_t) of every step: [N, m] and [N], in the agent's dtype.

    Raises:
        GradlabError: the recorded noise does not give the recorded actions.
    """
    return scores_at(agent, trajectories.obs, trajectories.act, trajectories.noise)


def scores_at(agent: Agent, obs: Tensor, act: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The same at any steps: observations [N, n], actions [N, p] and the noise they were drawn with, if known.

    Raises:
        GradlabError: the noise does not give the actions.
    """
    obs, act = agent.observations(obs), act.to(agent.device, agent.dtype)
    noise = None if noise is None else noise.to(act)
    scores, log_probs = [], []
    for rows in torch.arange(len(obs), device=obs.device).split(ROWS):
        with torch.no_grad():
            head = agent.head(obs[rows])
        part = _scores(agent.policy, head, act[rows], None if noise is None else noise[rows])
        scores.append(part[0])
        log_probs.append(part[1])
    return torch.cat(scores), torch.cat(log_probs)


def _scores(policy: Policy, head: Tensor, act: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    if noise is not None:
        again, log_prob = policy.sample(head, noise)
        gap = float((again - act).abs().max())
        if not gap <= 100 * torch.finfo(act.dtype).eps ** 0.5:
            raise GradlabError(
                f"trajectories: the recorded noise gives actions up to {gap:.2g} from the recorded ones; were they "
                "drawn with another policy? pass noise=None"
            )
        return policy.score(head, noise), log_prob
    with torch.enable_grad():
        at = head.detach().requires_grad_()
        log_prob = policy.log_prob(at, act)
        (score,) = torch.autograd.grad(log_prob.sum(), at)
    return score, log_prob.detach()


def _check(name: str, agent: Agent, trajectories: Trajectories) -> None:
    if not agent.policy.stochastic:
        raise GradlabError(
            f"estimator {name}: needs a stochastic policy, this agent's is deterministic; "
            "its actions have no probability to differentiate: use PathwiseReturn"
        )
    if abs(agent.discount - trajectories.discount) > 1e-12:
        raise GradlabError(
            f"estimator {name}: the episodes are discounted with γ={trajectories.discount:g}, the agent's objective "
            f"with γ={agent.discount:g}; make them the same objective"
        )
