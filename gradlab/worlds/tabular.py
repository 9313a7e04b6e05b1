"""Tabular decision processes with a softmax policy: everything by linear solves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Softmax
from gradlab.trajectories import Trajectories
from gradlab.worlds.base import Admitted, GradientMoments, Hessians, World
from gradlab.worlds.modules import TableCritic
from gradlab.worlds.score_moments import ScoreMoments
from gradlab.worlds.tabular_admitted import admitted
from gradlab.worlds.tabular_episodes import episode_process, sample_episodes
from gradlab.worlds.tabular_moments import Process
from gradlab.worlds.tabular_values import TabularValues


class TabularMDP(TabularValues, World):
    """States 0 … S−1, actions 0 … A−1, policy π(a | s) ∝ exp θ_sa; the objective is J = E Σ_t γᵗ r_t.

    With P_π, r_π the policy's averages, τ the entropy coefficient and H(s) the entropy of π(· | s)::

        v  = (I − γP_π)⁻¹ (r_π + τH)                 Q = r + γ P v (without the entropy of its own step)
        d  = (I − γP_πᵀ)⁻¹ α                         discounted visitation, of mass 1/(1 − γ)
        J  = αᵀv
        ∂J/∂θ_sa = d(s) π(a | s) [Q(s, a) − τ log π(a | s) − v(s)]

    A finite horizon of T rewards takes v_T = 0 backward and d_{t+1} = P_πᵀ d_t forward instead. Sources: Sutton et al.
    2000, theorem 1 (policy gradient); Mei et al. 2020, arXiv 2005.06392 (softmax, entropy).

    **As an agent**: observations are one-hot states, the actor is linear without bias, its weight [A, S] is θᵀ, so that
    flat gradients are ``true_gradient().T.flatten()``; the critic is the exact table of Q.

    Args:
        P: P(s' | s, a), [S, A, S]; normalised where it adds up to 1 in single precision only, like alpha.
        r: reward r(s, a), [S, A], or r(s, a, s'), [S, A, S].
        gamma: γ in [0, 1), or up to 1 with a horizon.
        alpha: distribution of the first state, [S].
        theta: logits, [S, A]; zeros when None.
        entropy: coefficient τ of the entropy bonus.
        horizon: number T of rewards; None is infinite.

    Raises:
        GradlabError: shapes do not fit, something is not a distribution, or γ is out of range.

    Example:
        >>> P = [[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.1, 0.9]]]
        >>> world = TabularMDP(P, [[1.0, 0.0], [0.0, 2.0]], gamma=0.9, alpha=[1.0, 0.0])
        >>> round(world.value(), 9)
        7.341040462
        >>> world.true_gradient()
        tensor([[ 0.8453, -0.8453],
                [-2.7064,  2.7064]], dtype=torch.float64)
    """

    name = "tabular"

    def action_gradient(self, obs: Tensor, act: Tensor) -> Tensor:
        """Refused: actions are discrete."""
        raise GradlabError("tabular: actions are discrete, Q has no derivative in them; use q_values()")

    def hessians(self, obs: Tensor, act: Tensor) -> Hessians:
        """Refused: actions are discrete."""
        raise GradlabError("tabular: actions are discrete, Q has no derivative in them; use q_values()")

    # By sampling ---------------------------------------------------------------------------------------------

    def agent(self, step: int = 0, *, geometric: bool = False) -> Agent:
        """Softmax policy of a linear actor on one-hot states, weight θᵀ, and the table of Q as its critic, float64.

        Args:
            step: which step's Q; immaterial for an infinite horizon.
            geometric: for episodes that end at random instead of being discounted: its discount is then 1.
        """
        states, actions = self.theta.shape
        actor = nn.Linear(states, actions, bias=False, dtype=torch.float64)
        actor.weight = nn.Parameter(self.theta.detach().T.contiguous().clone())
        return Agent(
            actor,
            [TableCritic(self.q_values(step))],
            action_low=[0.0] * actions,
            action_high=[1.0] * actions,
            discount=1.0 if geometric else self.gamma,
            policy=Softmax(),
            entropy=self.entropy,
            obs_size=states,
            algorithm=self.name,
        )

    def observations(self) -> Tensor:
        """Every state once, one-hot, [S, S]."""
        return torch.eye(len(self.P), dtype=torch.float64)

    def states(self, count: int, generator: torch.Generator) -> Tensor:
        """One-hot states [count, S] from the normalised discounted visitation: ∇J is its mass times their mean."""
        visits = self.visitation(normalized=True).detach()
        return self.observations()[torch.multinomial(visits, count, replacement=True, generator=generator)]

    def process(self, steps: int | None = None, *, geometric: bool = False) -> Process:
        """What one episode of ``trajectories`` with these arguments is, for ``gradlab.worlds.tabular_moments``."""
        return episode_process(self, steps, geometric=geometric)

    def trajectories(
        self, count: int, generator: torch.Generator, steps: int | None = None, *, geometric: bool = False
    ) -> Trajectories:
        """Independent episodes of the policy; observations and actions one-hot, rewards without the entropy bonus.

        * Finite horizon: exactly T steps, discounted by γ, the last one terminal.
        * Infinite horizon: cut, not ended, after ``steps`` steps, discounted by γ. Without bootstrapping they lack
          their tail, a share γ^steps of the discounted mass; by default that is 1e-12, and a bias of that size.
        * Infinite horizon, ``geometric``: after every step the episode ends with probability 1 − γ, terminally, and
          nothing is discounted: E Σ_t r_t is then J, and Q, v and ∇J are the same, so that an estimator that is
          unbiased without discount is unbiased here, exactly. They go with ``agent(geometric=True)``.

        The policy's Gumbel noise is kept with the steps.

        Raises:
            GradlabError: ``steps`` or ``geometric`` is given although the horizon is finite, or they contradict.
        """
        return sample_episodes(self, count, generator, steps, geometric=geometric)

    # Estimators ----------------------------------------------------------------------------------------------

    def score_function(self, baseline: Tensor | float = 0.0) -> GradientMoments:
        """Moments of one draw of the score function at ``observations``, mean over the states, one action a state.

        g = (1/S) Σ_s e_s ⊗ (e_a − π(· | s)) (Q(s, a) − τ log π(a | s) − b(s)), sums over the actions.

        Args:
            baseline: b(s), [S] or a number.

        Returns:
            Mean [S, A] and trace of the covariance.
        """
        b = torch.as_tensor(baseline, dtype=torch.float64).expand(len(self.P))
        weight = self.q_values() + self.bonus - b.unsqueeze(-1)
        score = torch.eye(weight.shape[1], dtype=torch.float64) - self.policy.unsqueeze(1)
        draws = weight.unsqueeze(-1) * score
        mean = torch.einsum("sa,sab->sb", self.policy, draws)
        # Centred before it is squared: with two actions the optimal baseline leaves no variance at all.
        spread = torch.einsum("sa,sab->", self.policy, (draws - mean.unsqueeze(1)).square())
        states = len(weight)
        return GradientMoments(mean / states, float(spread / states**2))

    def score_moments(self) -> list[ScoreMoments]:
        """What the score function at each state depends on, componentwise in that state's logits; f is Q − τ log π."""
        score = torch.eye(self.theta.shape[1], dtype=torch.float64) - self.policy.unsqueeze(1)
        out: list[ScoreMoments] = []
        states = zip(self.policy, score, self.advantages(), self.state_values().tolist(), strict=True)
        for chance, s, left, value in states:
            mass = chance.unsqueeze(-1) * s.square()
            out.append(
                ScoreMoments(
                    value=value,
                    spread=float(chance @ left.square()),
                    gradient=(chance * left) @ s,
                    score=mass.sum(0),
                    weighted=left @ mass,
                    weighted_square=left.square() @ mass,
                )
            )
        return out

    def optimal_baseline(self) -> Tensor:
        """Per state, the b(s) of least variance: E[‖∇log π‖² (Q − τ log π)] / E‖∇log π‖², [S]."""
        return torch.tensor([state.optimal_baseline for state in self.score_moments()], dtype=torch.float64)

    def admitted(self) -> Sequence[Admitted]:
        """Score functions at the states, and trajectory estimators on whole episodes."""
        return admitted(self)

    def flat(self, gradient: Tensor) -> Tensor:
        """A gradient [S, A] as a flat vector over the agent's parameters."""
        return gradient.T.flatten()
