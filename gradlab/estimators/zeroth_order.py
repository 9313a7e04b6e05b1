"""Zeroth-order policy gradients: from values of the critic at perturbed actions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators.base import Estimator, fresh_generator
from gradlab.estimators.directions import DIRECTIONS, Direction
from gradlab.estimators.heads import in_chunks, to_head
from gradlab.objective import Objective

Points = Literal[1, 2, "antithetic"]
Directions = Literal["gaussian", "sphere", "rademacher", "coordinate", "clipped"]

#: Draws and seed that a note rests on: a few digits of a share, the same at every call.
_NOTE_DRAWS, _NOTE_SEED = 64, 3_141_592_653


def check_radius(owner: str, name: str, radius: float) -> float:
    """``radius`` as a float.

    Raises:
        GradlabError: it is not a positive, finite number.
    """
    try:
        value = float(radius)
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(radius, str) or not (math.isfinite(value) and value > 0):
        raise GradlabError(f"{owner}: {name} is {radius!r}; it must be a positive number, in the critic's action units")
    return value


class ZerothOrder(Estimator):
    """Finite differences of Q along random directions u around a = f(h), carried to the head by (∂f/∂h)ᵀ.

    ====================  ==========================================  ==============================
    ``points``            estimate of ∇_a Q                           source
    ====================  ==========================================  ==============================
    1                     Q(a + μu) / μ · u                           Flaxman et al. 2005, section 2
    2 (forward)           (Q(a + μu) − Q(a)) / μ · u                  Nesterov & Spokoiny 2017, section 3;
                                                                      CPG, arXiv 2409.01477
    "antithetic"          (Q(a + μu) − Q(a − μu)) / (2μ) · u          Nesterov & Spokoiny 2017, section 3
    ====================  ==========================================  ==============================

    Directions have E uuᵀ = c·I (``gradlab.estimators.directions``); c = 1, so that all are unbiased for a linear Q,
    except for "clipped", the noise as CPG's public code draws it: expected scale c = .0391, right direction. With
    Gaussian directions all three are unbiased for the gradient of the smoothed critic E_u[Q(a + μu)], hence biased by
    O(μ²) for ∇_a Q; along coordinates forward differences are biased by O(μ), one point by Q/μ. Perturbed actions are
    not clipped to the action box; ``off_support`` counts those outside.

    Args:
        mu: radius μ, in the critic's action units.
        points: 1, 2 or "antithetic".
        directions: "gaussian", "sphere" (radius √p), "rademacher" (signs), "coordinate" (√p·e_i, i uniform), "clipped",
            or a ``Direction`` of one's own.
        count: directions averaged within one draw; "coordinate" takes them without replacement, so that ``count`` = p
            is the full difference quotient.

    Raises:
        GradlabError: an argument is none of these, or, on drawing, the agent's actions are discrete.

    Example:
        >>> from torch import nn
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return 3.0 * act.sum(-1)
        >>> agent = Agent(nn.Linear(1, 1), [Critic()], action_low=-1, action_high=1)
        >>> estimator = ZerothOrder(mu=0.1, points="antithetic", directions="sphere")
        >>> estimator.draw(agent, torch.zeros(2, 1), draws=4).round(decimals=3).unique()
        tensor([3.])
        >>> ZerothOrder(mu=0.1, points=2).name
        'zeroth-order-2'
    """

    def __init__(
        self, mu: float = 0.1, points: Points = 2, directions: Directions | Direction = "gaussian", count: int = 1
    ) -> None:
        if points not in (1, 2, "antithetic"):
            raise GradlabError(f"zeroth-order: points is {points!r}; choose 1, 2 or 'antithetic'")
        if not isinstance(directions, Direction) and directions not in DIRECTIONS:
            choices = ", ".join(map(repr, DIRECTIONS))
            raise GradlabError(f"zeroth-order: directions is {directions!r}; choose one of {choices}, or a Direction")
        if count < 1 or count != int(count):
            raise GradlabError(f"zeroth-order: count is {count}; average a whole number of directions, at least one")
        self.mu = check_radius("zeroth-order", "mu", mu)
        self.points: Points = points
        self.directions = directions if isinstance(directions, Direction) else DIRECTIONS[directions]
        self.count = count
        self.name = f"zeroth-order-{points}"
        if self.directions.name != "gaussian":
            self.name += f"-{self.directions.name}"
        if count > 1:
            self.name += f"-{count}-directions"

    def noise(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Directions for ``at_noise``: [D, B, p], or [D, count, B, p] where several are averaged.

        They depend on neither μ nor points, so that estimators that differ in these can share them (common random
        numbers).
        """
        u = self.directions.draw((draws, len(obs), self.count, agent.action_size), generator, obs)
        return u.squeeze(2) if self.count == 1 else u.transpose(1, 2)

    def at_noise(self, agent: Agent, obs: Tensor, noise: Tensor) -> Tensor:
        """The draws [D, B, m] for given directions u [D, B, p], or their averages over those of [D, count, B, p]."""
        with torch.no_grad():
            head = agent.head(obs)
            act = agent.policy.mode(head)
            change = agent.q(obs, act + self.mu * noise)
            if self.points == 2:
                change = change - agent.q(obs, act)
            elif self.points == "antithetic":
                change = (change - agent.q(obs, act - self.mu * noise)) / 2
            slope = (change / self.mu).unsqueeze(-1) * noise
        return to_head(agent.policy, head, slope.mean(1) if noise.ndim == 4 else slope)

    def objective(self, agent: Agent) -> Objective:
        """The agent's without entropy, smoothed; the radius is the root of the perturbation's mean square, μ√c."""
        smoothing = self.mu * math.sqrt(self.directions.second_moment)
        return replace(agent.objective, entropy=0.0, smoothing=smoothing)

    def off_support(
        self, agent: Agent, obs: Any, draws: int = 256, generator: torch.Generator | None = None
    ) -> Estimate:
        """Share of the perturbed actions a ± μu that lie outside the action box, at these states.

        Replay holds no such actions, so that the critic extrapolates there. The samples are the draws; within one, all
        states count.

        Raises:
            GradlabError: the actions are discrete or the observations do not fit.

        Example:
            >>> agent = Agent(torch.nn.Linear(1, 1), [], action_low=-1, action_high=1)
            >>> print(ZerothOrder(mu=1e-3).off_support(agent, torch.zeros(4, 1), draws=8).value)
            0.0
        """
        self.check(agent, draws)
        obs = agent.observations(obs)
        noise = self.noise(agent, obs, draws, generator or fresh_generator())
        with torch.no_grad():
            act = agent.action(obs)
        signs = (1, -1) if self.points == "antithetic" else (1,)
        actions = torch.stack([act + sign * self.mu * noise for sign in signs], dim=1)
        outside = ((actions < agent.action_low) | (actions > agent.action_high)).any(-1)
        shares = outside.double().flatten(1).mean(1)
        stderr = float(shares.std()) / math.sqrt(draws) if draws > 1 else math.nan
        return Estimate(float(shares.mean()), stderr, draws, scale="share")

    def notes(self, agent: Agent, obs: Any) -> tuple[str, ...]:
        """How many perturbed actions leave the box, where some do, and the scale, where it is not one."""
        lines = []
        share = self.off_support(agent, obs, _NOTE_DRAWS, torch.Generator().manual_seed(_NOTE_SEED)).value
        if share > 0:
            percent = f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"
            lines.append(
                f"{self.name}: {percent} of the perturbed actions leave the action box, where the critic was never "
                "trained; take a smaller mu"
            )
        if self.points == 1 and not self.directions.symmetric:
            lines.append(
                f"{self.name}: values at one side of the action do not cancel, which biases it by about Q/mu; "
                "take points=2 or 'antithetic'"
            )
        scale = self.directions.second_moment
        if scale != 1:
            lines.append(
                f"{self.name}: directions of second moment {scale:.4g}, so that the expected scale of a gradient is "
                f"{scale:.4g}; its direction is not changed"
            )
        return tuple(lines)

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        noise = self.noise(agent, obs, draws, generator)
        return in_chunks(lambda part: self.at_noise(agent, obs, part), noise)
