"""What every estimator is: something that draws cotangents, at states or along trajectories."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.objective import Objective
from gradlab.trajectories import Trajectories


def fresh_generator() -> torch.Generator:
    """A generator of its own, freshly seeded; the global random state is neither read nor changed."""
    generator = torch.Generator()
    generator.seed()
    return generator


class Estimator(ABC):
    """Draws estimates of ∇_h F_s(h), one small vector per state: a *cotangent*.

    Subclasses say how one batch of draws is made (``_draw``); this class checks the input once for all.
    """

    #: Name in tables, stores and figures; short, lower case, with hyphens.
    name: str
    #: Whether the estimator perturbs or differentiates actions, which discrete actions do not allow.
    continuous_only: ClassVar[bool] = True

    def draw(self, agent: Agent, obs: Any, draws: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Independent estimates of ∇_h F_s(h) at every state.

        Args:
            agent: the agent; neither changed nor given gradients.
            obs: observations [B, n].
            draws: number D of independent draws; independent over states too.
            generator: source of the randomness; one of its own, freshly seeded, when None. The global random
                state is never used.

        Returns:
            Detached cotangents [D, B, m], in the agent's dtype.

        Raises:
            GradlabError: the agent lacks what the estimator needs, or the observations do not fit.
        """
        self.check(agent, draws)
        generator = generator or fresh_generator()
        cotangents = self._draw(agent, agent.observations(obs), draws, generator).detach()
        # What they estimate goes with them, so that no reference for something else is taken for theirs.
        cotangents.objective = self.objective(agent)  # type: ignore[attr-defined]
        return cotangents

    def check(self, agent: Agent, draws: int = 1) -> None:
        """Refuse a number of draws below one, and an agent whose actions this estimator cannot perturb.

        Raises:
            GradlabError: it is so.
        """
        if draws < 1 or draws != int(draws):
            raise GradlabError(f"draws: {draws}; ask for a whole number, at least one")
        if self.continuous_only and not agent.policy.continuous:
            raise GradlabError(
                f"estimator {self.name}: needs continuous actions, this agent's are discrete; "
                "use a score-function estimator"
            )

    def objective(self, agent: Agent) -> Objective:
        """The objective whose gradient is estimated; the one the training run states, unless a subclass differs."""
        return agent.objective

    def notes(self, agent: Agent, obs: Any) -> tuple[str, ...]:
        """What a person should know of this estimator at these states [B, n], a line each; nothing by default."""
        return ()

    @abstractmethod
    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """The draws [D, B, m] for checked input."""

    def __str__(self) -> str:
        return self.name


class TrajectoryEstimator(ABC):
    """Makes a cotangent of every step of whole episodes; an episode's gradient is Σ_t J_tᵀ v_t over its steps.

    It estimates ∇J itself, with the discount weights γᵗ inside the cotangents, so that nothing is divided by the
    number of states. Whole episodes are the independent samples.
    """

    #: Name in tables, stores and figures; short, lower case, with hyphens.
    name: str

    @abstractmethod
    def cotangents(self, agent: Agent, trajectories: Trajectories) -> Tensor:
        """Detached cotangents [N, m], one a step, in the agent's dtype."""

    def objective(self, agent: Agent) -> Objective:
        """The objective whose gradient is estimated; the one the training run states, unless a subclass differs."""
        return agent.objective

    def __str__(self) -> str:
        return self.name
