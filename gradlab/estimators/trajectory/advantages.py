"""Scores weighted with what a critic says of an action: Q, the TD error, GAE(λ)."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.trajectory.baselines import BaselineLike
from gradlab.estimators.trajectory.score import ScoreAlongTrajectories, Value, evaluate
from gradlab.trajectories import Trajectories


class ActionValue(ScoreAlongTrajectories):
    """Ψ_t = Q(s_t, a_t) − b_t of the agent's critic, with weight γᵗ: exact when the critic is.

    An entropy bonus is that of the action itself, Q − α log π, the critic being a soft one as SAC's is.
    Source: Sutton et al. 2000, "Policy gradient methods for reinforcement learning with function approximation".

    Args:
        baseline: b_t, as for ``Reinforce``.
        discounted_states: whether a step has the weight γᵗ; False is the common practice, and biased.
        entropy: whether to include the agent's entropy bonus.

    Raises:
        GradlabError: an argument is none of these.

    Example:
        >>> print(ActionValue(baseline=lambda obs: obs[:, 0]))
        action-value-value-baseline
    """

    _psi_name = "action-value"

    def _psi(self, agent: Agent, trajectories: Trajectories, surprise: Tensor) -> Tensor:
        q = agent.q(agent.observations(trajectories.obs), trajectories.act.to(agent.device, agent.dtype))
        bad = ~torch.isfinite(q)
        if bool(bad.any()):
            raise GradlabError(
                f"critic: NaN or infinite at {int(bad.sum())} of {len(q)} steps, first at row "
                f"{int(bad.nonzero()[0])}; mend the critic or leave those episodes out"
            )
        return q.to(surprise) - surprise


class GAE(ScoreAlongTrajectories):
    """Ψ_t = Σ_l (γλ)ˡ δ_{t+l}, δ_t = r_t + γ V(s_{t+1}) − V(s_t), with weight γᵗ.

    λ = 0 is the TD error, unbiased only where V is exact; λ = 1 is the reward-to-go less the baseline V(s_t),
    unbiased for any V. Nothing follows a terminated step; an episode that was cut off ends with γV(s_{t+1}).
    Source: Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation".

    Args:
        lam: λ, in [0, 1].
        value: V(s), observations [N, n] → [N]; the soft value where there is an entropy bonus.
        discounted_states: whether a step has the weight γᵗ; False is the common practice, and biased.
        entropy: whether to include the agent's entropy bonus.

    Raises:
        GradlabError: λ lies outside [0, 1].

    Example:
        >>> from gradlab.policies import Gaussian
        >>> agent = Agent(torch.nn.Linear(1, 2), [], [-1], [1], 0.5, policy=Gaussian(),
        ...               head=lambda actor, obs: 0 * actor(obs))
        >>> one, end = torch.ones(2, 1), torch.tensor([False, True])
        >>> runs = Trajectories(one, one, torch.tensor([1.0, 2.0]), one, end, torch.tensor([0, 0]), discount=0.5)
        >>> GAE(1.0, value=lambda obs: 0.5 * obs[:, 0]).cotangents(agent, runs)
        tensor([[1.5000, 0.0000],
                [0.7500, 0.0000]])
    """

    _psi_name = "gae"

    def __init__(
        self,
        lam: float,
        value: Value,
        *,
        baseline: BaselineLike = "none",
        discounted_states: bool = True,
        entropy: bool = True,
    ) -> None:
        if not 0 <= lam <= 1:
            raise GradlabError(f"gae: lam is {lam}; it must lie in [0, 1]")
        super().__init__(baseline, discounted_states=discounted_states, entropy=entropy)
        self.lam, self.value = float(lam), value
        if self._psi_name == "gae":
            self.name = f"gae-{self.lam:g}" + self.name.removeprefix("gae")

    def _psi(self, agent: Agent, trajectories: Trajectories, surprise: Tensor) -> Tensor:
        reward = trajectories.reward
        here = evaluate(self.value, agent.observations(trajectories.obs), "value").to(reward)
        there = evaluate(self.value, agent.observations(trajectories.next_obs), "value").to(reward)
        follows = (~trajectories.terminated).to(reward)
        delta = reward + trajectories.discount * follows * there - here
        return trajectories.accumulate(delta, trajectories.discount * self.lam)


class TDError(GAE):
    """Ψ_t = δ_t = r_t + γ V(s_{t+1}) − V(s_t), with weight γᵗ: GAE(0), unbiased only where V is exact.

    Source: Barto, Sutton, Anderson 1983 (the adaptive heuristic critic).

    Args:
        value: V(s), observations [N, n] → [N]; the soft value where there is an entropy bonus.
        discounted_states: whether a step has the weight γᵗ; False is the common practice, and biased.
        entropy: whether to include the agent's entropy bonus.

    Example:
        >>> print(TDError(value=lambda obs: obs[:, 0]))
        td-error
    """

    _psi_name = "td-error"

    def __init__(self, value: Value, *, discounted_states: bool = True, entropy: bool = True) -> None:
        super().__init__(0.0, value, discounted_states=discounted_states, entropy=entropy)
