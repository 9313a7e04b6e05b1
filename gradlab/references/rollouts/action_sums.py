"""Gradients at a softmax policy's logits: the sum over actions of their simulated values."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.references.rollouts.records import Outcome
from gradlab.references.rollouts.schemes import Assessment, Scheme
from gradlab.references.softmax import expected_value
from gradlab.simulation.chain import Chain
from gradlab.simulation.gate import ACTIONLESS, NOT_FINITE


class ActionSums(Scheme):
    """Every action is taken once a noise; see ``references.softmax.softmax_cotangent``.

    Nothing is differenced, so the only gate is that the simulation stays finite.

    Args:
        logits: the head at all states, [B, p].
        entropy: coefficient α of the entropy bonus in F.
    """

    def __init__(self, logits: Tensor, *, entropy: float) -> None:
        self._logits = logits.cpu().double()
        self._entropy = entropy
        self.width = self.value_width = logits.shape[-1]

    def first_actions(self, positions: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Every action, one-hot; the returns are Q itself."""
        every = torch.eye(self.width, dtype=torch.float64)[:, None].expand(self.width, len(positions), self.width)
        return every, torch.zeros(self.width, len(positions), dtype=torch.float64)

    def values(self, positions: Tensor, found: Outcome) -> Tensor:
        """Σ_a π_a (q_a − α log π_a)."""
        return expected_value(self._logits[positions], found.values.T, self._entropy)[0]

    def assess(self, positions: list[int], found: Outcome, chain: Chain | None = None) -> Assessment:
        """π_a (q_a − α log π_a − F) for each noise."""
        logits = self._logits[positions]
        action_values = found.values.transpose(-1, -2)
        finite = torch.isfinite(action_values).all(-1).all(0) & torch.isfinite(logits.logsumexp(-1))
        lost = found.actionless.any(1).any(0) | torch.isnan(logits).any(-1)
        values, draws = expected_value(logits, torch.where(finite[:, None], action_values, torch.nan), self._entropy)
        unknown = torch.full((len(positions),), torch.nan, dtype=torch.float64)
        return Assessment(
            draws=draws,
            error=torch.zeros_like(draws[0]),
            reasons=[
                "" if ok else ACTIONLESS if lost else NOT_FINITE
                for ok, lost in zip(finite.tolist(), lost.tolist(), strict=True)
            ],
            values=values,
            disagreement=torch.zeros_like(unknown),
            step=torch.zeros_like(unknown),
            one_sided=torch.zeros(len(positions), dtype=torch.int64),
            outside_box=torch.zeros(len(positions), dtype=torch.int64),
            growth=unknown,
            chain_error=unknown,
        )
