"""Draws of several estimators under common random numbers, and their errors as inner products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimators.base import Estimator
from gradlab.statistics.checked import Checked


def seed_from(generator: torch.Generator | None) -> int:
    """A seed out of a generator; out of one of its own, freshly seeded, when None."""
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    return int(torch.randint(2**62, (1,), generator=generator, device=generator.device))


def common_draws(estimator: Estimator, agent: Agent, obs: Any, draws: int, seed: int) -> Tensor:
    """Draws [D, B, m] of which the d-th depends on no randomness but that of the d-th seed after ``seed``.

    Two estimators of any kinds then share the noise of draw d, and that of no other, however much of it each takes.

    Example:
        >>> from gradlab.estimators import Deterministic
        >>> agent = Agent(torch.nn.Linear(1, 1), [lambda obs, act: act.sum(-1)], action_low=-1, action_high=1)
        >>> common_draws(Deterministic(), agent, torch.zeros(2, 1), 3, seed=0).shape
        torch.Size([3, 2, 1])
    """
    seeds = torch.randint(2**62, (draws,), generator=torch.Generator().manual_seed(seed)).tolist()
    parts = [estimator.draw(agent, obs, 1, torch.Generator().manual_seed(one)) for one in seeds]
    joined = torch.cat(parts)
    joined.objective = parts[0].objective  # type: ignore[attr-defined]
    return joined


@dataclass(frozen=True)
class Errors:
    """Inner products of the errors w_d = g_d − r of one estimator's draws, in parameter space.

    Attributes:
        gram: w_d·w_e, [D, D], float64.
        mean: K w̄/B², flat [B·m]: what the reference's noise meets.
        centred: K (w_d − w̄)/B², likewise, [D, B·m].
        trace: ν = tr Ω, the reference's noise in ‖w‖².
    """

    gram: Tensor
    mean: Tensor
    centred: Tensor
    trace: float

    @staticmethod
    def of(given: Checked) -> Errors:
        """The errors of checked draws."""
        w = given.draws.double() - given.mean
        product = given.product(w)
        blocks = given.kernel.blocks.diagonal(dim1=1, dim2=2)
        trace = float((blocks * given.stderr.square()).sum()) / len(given.obs) ** 2
        mean = product.mean(0)
        return Errors(w.flatten(1) @ product.T, mean, product - mean, trace)

    def left_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """(‖bias‖², tr Var) of all draws [2], with each left out [2, D], and with each pair left out [2, D, D]."""
        squares, n = self.gram.diagonal(), len(self.gram)
        rows = self.gram.sum(1)
        whole, trace = rows.sum(), squares.sum()
        pair = squares[:, None] + squares[None, :]
        row_pair = rows[:, None] + rows[None, :]
        return (
            self._moments(whole, trace, n),
            self._moments(whole - 2 * rows + squares, trace - squares, n - 1),
            self._moments(whole - 2 * row_pair + pair + 2 * self.gram, trace - pair, n - 2),
        )

    def _moments(self, whole: Tensor, trace: Tensor, count: int) -> Tensor:
        """From Σ_de w_d·w_e and Σ_d ‖w_d‖² over ``count`` draws."""
        if count < 2:
            return torch.full((2, *whole.shape), torch.nan, dtype=whole.dtype, device=whole.device)
        bias = (whole - trace) / (count * (count - 1))
        return torch.stack([bias - self.trace, trace / count - bias])
