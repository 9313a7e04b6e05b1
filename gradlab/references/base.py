"""What every reference gives: a trustworthy cotangent with its own standard error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.objective import Objective


@dataclass(frozen=True)
class ReferenceCotangent:
    """∇_h F_s(h) at B states, with what is known of its error.

    Attributes:
        mean: [B, m], float64.
        stderr: [B, m], standard error of each component, zero where exact; float64.
        name: what it is, in words ("critic", "simulator").
        objective: the objective it is the gradient of.
        valid: [B] bool, the states where its gate is open; components elsewhere are NaN and must be left out.
        samples: independent samples behind ``mean``; 0 when it is not a sample mean.
        diagnostics: per-state evidence for the gate, name → [B] tensor, and anything worth showing.

    Raises:
        GradlabError: shapes do not fit.
    """

    mean: Tensor
    stderr: Tensor
    name: str
    objective: Objective
    valid: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))
    samples: int = 0
    diagnostics: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mean.ndim != 2 or self.stderr.shape != self.mean.shape:
            raise GradlabError(
                f"reference {self.name}: mean {tuple(self.mean.shape)} and stderr {tuple(self.stderr.shape)}; "
                "both must be [states, m]"
            )
        if self.valid.numel() == 0:
            object.__setattr__(self, "valid", torch.isfinite(self.mean).all(-1))
        if self.valid.shape != self.mean.shape[:1] or self.valid.dtype != torch.bool:
            raise GradlabError(
                f"reference {self.name}: valid is {self.valid.dtype} {tuple(self.valid.shape)}; "
                f"it must be one bool for each of {len(self.mean)} states"
            )
