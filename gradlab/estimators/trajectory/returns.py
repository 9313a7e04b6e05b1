"""REINFORCE and G(PO)MDP: the score weighted with what was received."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimators.trajectory.baselines import BaselineLike
from gradlab.estimators.trajectory.score import ScoreAlongTrajectories, Value, evaluate
from gradlab.trajectories import Trajectories


class _Returns(ScoreAlongTrajectories):
    """Ψ from rewards, with the tails of episodes that were cut off taken from a value function."""

    def __init__(
        self,
        baseline: BaselineLike = "none",
        *,
        bootstrap: Value | None = None,
        discounted_states: bool = True,
        entropy: bool = True,
    ) -> None:
        super().__init__(baseline, discounted_states=discounted_states, entropy=entropy)
        self.bootstrap = bootstrap
        self.name += "-bootstrapped" if bootstrap else ""

    def _bootstrapped(self, agent: Agent, trajectories: Trajectories) -> Trajectories:
        cut = trajectories.cut_off
        if self.bootstrap is None or not bool(cut.any()):
            return trajectories
        tail = torch.zeros_like(trajectories.reward)
        tail[cut] = evaluate(self.bootstrap, agent.observations(trajectories.next_obs[cut]), "bootstrap").to(tail)
        return replace(trajectories, reward=trajectories.reward + trajectories.discount * tail)


class Reinforce(_Returns):
    """REINFORCE: Ψ_t = G = Σ_k γᵏ r_k, the whole return, at every step: Σ_t J_tᵀ ∇_h log π(a_t|s_t) (G − b_t).

    The return is discounted from the start of the episode, so that no further weight γᵗ belongs to a step.
    Source: Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning".

    Args:
        baseline: b_t: "none", a number, a function of observations, "leave-one-out", "optimal",
            "optimal-per-component", or an object of ``gradlab.estimators.trajectory.baselines``.
        bootstrap: V(s), observations [N, n] → [N]: what follows an episode that was cut off is taken from it.
        entropy: whether to include the agent's entropy bonus.

    Raises:
        GradlabError: an argument is none of these.

    Example:
        >>> from gradlab.policies import Gaussian
        >>> agent = Agent(torch.nn.Linear(1, 2), [], [-1], [1], 1.0, policy=Gaussian(),
        ...               head=lambda actor, obs: 0 * actor(obs))
        >>> one, end = torch.ones(2, 1), torch.tensor([False, True])
        >>> runs = Trajectories(one, one, torch.tensor([1.0, 2.0]), one, end, torch.tensor([0, 0]), discount=1.0)
        >>> Reinforce().cotangents(agent, runs)
        tensor([[3., 0.],
                [3., 0.]])
        >>> print(Reinforce("leave-one-out"))
        reinforce-leave-one-out
    """

    _psi_name = "reinforce"

    def __init__(
        self, baseline: BaselineLike = "none", *, bootstrap: Value | None = None, entropy: bool = True
    ) -> None:
        super().__init__(baseline, bootstrap=bootstrap, entropy=entropy)

    def _weights(self, trajectories: Trajectories) -> Tensor:
        return torch.ones_like(trajectories.reward)

    def _psi(self, agent: Agent, trajectories: Trajectories, surprise: Tensor) -> Tensor:
        return self._bootstrapped(agent, trajectories).returns()[trajectories.trajectory]


class GPOMDP(_Returns):
    """G(PO)MDP: Ψ_t = Σ_{k≥t} γ^{k−t} r_k, the reward-to-go, with weight γᵗ: what an action cannot have caused is gone.

    Source: Baxter, Bartlett 2001, "Infinite-horizon policy-gradient estimation"; Sutton et al. 2000, theorem 1.

    Args:
        baseline: b_t, as for ``Reinforce``.
        bootstrap: V(s), observations [N, n] → [N]: what follows an episode that was cut off is taken from it.
        discounted_states: whether a step has the weight γᵗ; False is the common practice, and biased.
        entropy: whether to include the agent's entropy bonus.

    Raises:
        GradlabError: an argument is none of these.

    Example:
        >>> from gradlab.policies import Gaussian
        >>> agent = Agent(torch.nn.Linear(1, 2), [], [-1], [1], 0.5, policy=Gaussian(),
        ...               head=lambda actor, obs: 0 * actor(obs))
        >>> one, end = torch.ones(2, 1), torch.tensor([False, True])
        >>> runs = Trajectories(one, one, torch.tensor([1.0, 2.0]), one, end, torch.tensor([0, 0]), discount=0.5)
        >>> GPOMDP().cotangents(agent, runs)
        tensor([[2., 0.],
                [1., 0.]])
    """

    _psi_name = "gpomdp"

    def _psi(self, agent: Agent, trajectories: Trajectories, surprise: Tensor) -> Tensor:
        return self._bootstrapped(agent, trajectories).rewards_to_go()
