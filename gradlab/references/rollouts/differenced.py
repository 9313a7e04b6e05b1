"""Gradients out of differences of returns along the head's coordinates, for continuous actions."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.references.rollouts.records import Outcome
from gradlab.references.rollouts.schemes import Assessment, Scheme
from gradlab.simulation.chain import Chain
from gradlab.simulation.differences import Stencil, plateau, stencil
from gradlab.simulation.gate import AGREEMENT, Paths, apart, closed_because


class DifferencedReturns(Scheme):
    """Central differences at several step sizes, gated by their plateau; see ``simulation.differences``.

    Args:
        pilot: the agent that acts.
        head: its head at all states, [B, m].
        steps: decreasing step sizes, as fractions of each coordinate's range.
        entropy: coefficient α of the entropy bonus in F.
        tolerance: largest relative disagreement of neighbouring step sizes that leaves the gate open.
        agreement: largest relative distance to the chain rule that does.
        random: whether the environment draws random numbers, so that noises are its own as well as the policy's.
    """

    def __init__(
        self,
        pilot: Agent,
        head: Tensor,
        steps: tuple[float, ...],
        *,
        entropy: float,
        tolerance: float,
        agreement: float = AGREEMENT,
        random: bool = False,
    ) -> None:
        self._pilot = pilot
        self._head = head
        self._steps = steps
        self._entropy = entropy
        self._tolerance = tolerance
        self._agreement = agreement
        self._stochastic = pilot.policy.stochastic or random
        self.width = 1 + 2 * head.shape[-1] * len(steps)
        self.value_width = 1

    @torch.no_grad()
    def first_actions(self, positions: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """f(h + offset, ε), and −α log π of it."""
        heads = self._around(positions).heads
        first = noise[None].to(heads) if noise is not None else heads.new_zeros(1, *heads.shape[1:])
        act, log_prob = self._pilot.policy.sample(heads, first)
        bonus = torch.zeros(act.shape[:-1], dtype=torch.float64)
        return act, bonus - self._entropy * log_prob.cpu().double() if self._entropy else bonus

    def values(self, positions: Tensor, found: Outcome) -> Tensor:
        """The return from the head itself."""
        return found.values[0]

    def assess(self, positions: list[int], found: Outcome, chain: Chain | None = None) -> Assessment:
        """The gradient on the plateau, and whether it can be trusted."""
        around = self._around(torch.tensor(positions))
        steps, count = around.steps.cpu(), len(positions)
        gradients = around.gradient(found.values.to(around.weights)).cpu()
        magnitude = found.values.abs().amax((0, 1))
        level = plateau(gradients.mean(0), steps, magnitude, self._tolerance)
        at = torch.arange(count)
        draws = gradients[:, level.chosen, at]
        paths = Paths(found.lengths, found.ends, found.regimes, found.actionless)
        reasons = closed_because(
            around,
            level,
            found.values,
            paths,
            stochastic=self._stochastic,
            chain=chain,
            agreement=self._agreement,
        )
        unknown = torch.full((count,), torch.nan, dtype=torch.float64)
        return Assessment(
            draws=draws,
            # Clipped, the action does not depend on the head: nothing is uncertain about that.
            error=torch.where(around.outside.T.cpu(), 0.0, level.error),
            reasons=reasons,
            values=found.values[:, 0],
            disagreement=level.disagreement,
            step=torch.tensor(self._steps, dtype=torch.float64)[level.chosen],
            one_sided=around.inward.cpu()[level.chosen, :, at].sum(-1),
            outside_box=around.outside.cpu().sum(0),
            growth=unknown if chain is None else chain.growth.amax(0),
            chain_error=unknown if chain is None else apart(around, level, found.values, chain),
        )

    def _around(self, positions: Tensor) -> Stencil:
        return stencil(self._pilot, self._head[positions.to(self._head.device)], self._steps)
