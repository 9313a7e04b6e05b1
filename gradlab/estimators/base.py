"""What every estimator is: something that draws cotangents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError


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
        if draws < 1:
            raise GradlabError(f"draws: {draws}; ask for at least one")
        if self.continuous_only and not agent.policy.continuous:
            raise GradlabError(
                f"estimator {self.name}: needs continuous actions, this agent's are discrete; "
                "use a score-function estimator"
            )
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        return self._draw(agent, agent.observations(obs), draws, generator).detach()

    @abstractmethod
    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """The draws [D, B, m] for checked input."""

    def __str__(self) -> str:
        return self.name
