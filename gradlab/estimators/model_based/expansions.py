"""One-step model-based expansions, whose gradients live at s and at s'."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.model_based.model import Model
from gradlab.estimators.model_based.unroll import Ending, Noises, act_with, draw_noises, total_derivatives, unroll


@dataclass(frozen=True)
class Expansion:
    """Cotangents at the states of a batch and at their successors, draw by draw: what ``trajectory_gradients`` takes.

    Attributes:
        obs: the B states and their B successors, for each draw in turn, [2DB, n].
        trajectory: which draw a row belongs to, [2DB].
        cotangents: [2DB, m], with 1/B and γ inside: a draw's gradient Σ J_iᵀ v_i is a mean over its states.
    """

    obs: Tensor
    trajectory: Tensor
    cotangents: Tensor

    @property
    def count(self) -> int:
        """Number of draws."""
        return int(self.trajectory[-1]) + 1


class OneStepExpansion(ABC):
    """Gradient of E_s[r(s, π(s)) + γ Q(s', π(s'))] with Q held fixed, s' from a model.

    It is the sum of the first two terms of Σ_t γᵗ E[J_tᵀ ∇_h F(s_t)] when s is drawn as s_0 is.
    """

    #: Name in tables; short, lower case, with hyphens.
    name: str

    def __init__(self, model: Model) -> None:
        self.model = model

    def draw(self, agent: Agent, obs: Any, draws: int = 1, generator: torch.Generator | None = None) -> Expansion:
        """Independent draws of the gradient at a batch of states.

        Args:
            agent: the agent; neither changed nor given gradients.
            obs: observations [B, n].
            draws: number D.
            generator: source of the randomness; one of its own, freshly seeded, when None.

        Raises:
            GradlabError: the actions are discrete, the agent has no critic, or the observations do not fit.
        """
        if draws < 1 or draws != int(draws):
            raise GradlabError(f"draws: {draws}; ask for a whole number, at least one")
        if not agent.policy.continuous:
            raise GradlabError(
                f"estimator {self.name}: needs continuous actions, this agent's are discrete; "
                "use a score-function estimator"
            )
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        obs = agent.observations(obs)
        noises = draw_noises(agent, self.model, (draws, len(obs)), 1, obs, generator)
        flat = Noises(noises.act.flatten(1, 2), noises.model.flatten(1, 2))
        rows = obs.repeat(draws, 1)
        following, here, there = self._gradients(agent, rows, flat)
        # [draws, s or s', states, ...]
        parts = [
            torch.stack([a, b]).unflatten(1, (draws, -1)).transpose(0, 1) for a, b in ((rows, following), (here, there))
        ]
        index = torch.arange(draws, device=obs.device).repeat_interleave(2 * len(obs))
        return Expansion(parts[0].flatten(0, 2), index, parts[1].flatten(0, 2) / len(obs))

    @abstractmethod
    def _gradients(self, agent: Agent, obs: Tensor, noises: Noises) -> tuple[Tensor, Tensor, Tensor]:
        """Successors s' [N, n], and the cotangents at s and s', [N, m] each, detached."""


def _offsets(agent: Agent, obs: Tensor) -> list[Tensor]:
    with torch.no_grad():
        size = agent.head(obs[:1]).shape[1]
    return [obs.new_zeros(len(obs), size).requires_grad_() for _ in range(2)]


class OneStepReparameterized(OneStepExpansion):
    """DPMB-R: J_sᵀ ∂/∂h [r(s, a) + γ Q(s', π(s'))] + γ J_{s'}ᵀ ∂/∂h' Q(s', π_{h'}(s')), s' = f(s, a, ξ).

    The derivative at s is total in s': ∇_{s'}Q + (∂π/∂s')ᵀ∇_a Q; without the second term, which a chain rule written
    with partial derivatives drops, it is wrong.

    Args:
        model: the dynamics and reward, differentiable.

    Example:
        >>> from gradlab.estimators.model_based import GaussianModel
        >>> class Critic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return (obs * act).sum(-1)
        >>> model = GaussianModel(lambda s, a: s + a, lambda s, a: a.sum(-1))
        >>> actor = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.ones_(actor.weight)
        >>> agent = Agent(actor, [Critic()], [-1], [1], discount=0.5)
        >>> OneStepReparameterized(model).draw(agent, torch.tensor([[1.0]])).cotangents
        tensor([[3.],
                [1.]])
    """

    name = "dpmb-r"

    @torch.enable_grad()
    def _gradients(self, agent: Agent, obs: Tensor, noises: Noises) -> tuple[Tensor, Tensor, Tensor]:
        length = torch.ones(len(obs), dtype=torch.int64, device=obs.device)
        offsets = _offsets(agent, obs)
        ending = Ending(length, torch.ones_like(length, dtype=torch.bool))
        paths = unroll(agent, self.model, obs, noises, ending, offsets, agent.entropy)
        here, there = total_derivatives(paths.value, offsets)
        return paths.states[1][1], here, there


class OneStepScoreFunction(OneStepExpansion):
    """DPMB-SF: J_sᵀ ∂/∂h [r(s, a) + γ log p(s'|s, a) (Q(s', π(s')) − b)] + γ J_{s'}ᵀ ∂/∂h' Q(s', π_{h'}(s')).

    Only the model's density is differentiated, so that dynamics need not be.

    Args:
        model: with a density.
        baseline: b: "none", or "value", Q at the model's s' without noise.

    Raises:
        GradlabError: the baseline is neither; on drawing, when the model has no density.

    Example:
        >>> from gradlab.estimators.model_based import GaussianModel
        >>> class Critic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return obs.sum(-1)
        >>> model = GaussianModel(lambda s, a: s + a, lambda s, a: a.sum(-1), std=0.1)
        >>> agent = Agent(torch.nn.Linear(1, 1), [Critic()], [-1], [1], discount=0.5)
        >>> draws = OneStepScoreFunction(model, "value").draw(
        ...     agent, torch.zeros(1, 1), 4000, torch.Generator().manual_seed(0))
        >>> bool((draws.cotangents[::2].mean() - 1.5).abs() < 0.1), bool((draws.cotangents[1::2] == 0).all())
        (True, True)
    """

    def __init__(self, model: Model, baseline: Literal["none", "value"] = "none") -> None:
        super().__init__(model)
        if baseline not in ("none", "value"):
            raise GradlabError(f"dpmb-sf: baseline is {baseline!r}; choose 'none' or 'value'")
        self.baseline = baseline
        self.name = "dpmb-sf" + ("-value-baseline" if baseline == "value" else "")

    @torch.enable_grad()
    def _gradients(self, agent: Agent, obs: Tensor, noises: Noises) -> tuple[Tensor, Tensor, Tensor]:
        offsets, gamma = _offsets(agent, obs), agent.discount
        act, bonus = act_with(agent, agent.head(obs).detach() + offsets[0], noises.act[0], agent.entropy)
        xi = noises.model[0]
        following = self.model.next_obs(obs, act, xi).detach()
        value = self._value(agent, following, noises.act[1], offsets[1])
        with torch.no_grad():
            advantage = value
            if self.baseline == "value":
                centre = self.model.next_obs(obs, act, torch.zeros_like(xi))
                advantage = value - self._value(agent, centre, noises.act[1], torch.zeros_like(offsets[1]))
        log_prob = self.model.log_prob(following, obs, act)
        surrogate = self.model.reward(obs, act) + bonus + gamma * (log_prob * advantage.detach() + value)
        here, there = total_derivatives(surrogate, offsets)
        return following, here, there

    def _value(self, agent: Agent, obs: Tensor, noise: Tensor, offset: Tensor) -> Tensor:
        act, bonus = act_with(agent, agent.head(obs).detach() + offset, noise, agent.entropy)
        return agent.q(obs, act) + bonus
