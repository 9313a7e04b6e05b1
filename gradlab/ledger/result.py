"""What the error ledger returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate

Vector = dict[str, Tensor]


@dataclass(frozen=True)
class Term:
    """One difference along the chain from the applied gradient to the true one.

    Attributes:
        name: "estimator noise", "minibatch noise", "state distribution", "closed gates", "smoothing", "critic error",
            "truncation", "entropy" or "total"; of a rollout, those of ``gradlab.rollout_ledger``.
        vector: the term itself, like ``agent.named_parameters()``, float64; None where it could not be measured.
        norm_squared: ‖b‖² without the noise of b's own estimate; may be negative.
        norm: its square root, NaN where that is not positive; the interval is there all the same.
        cosine_with_total: cosine with the total error; None for the total itself.
        cosine_with_truth: cosine with the gradient at the end of the chain.
        share: b·total/‖total‖², debiased; negative where the term undoes some of the others. Shares add up to one.
        contribution: b·total, debiased; the terms' add up to ‖total‖², and it is there where that is not above zero.
        note: why there is no vector and what to give, why it is zero, or what else it holds.
    """

    name: str
    vector: Vector | None = None
    norm_squared: Estimate | None = None
    norm: Estimate | None = None
    cosine_with_total: Estimate | None = None
    cosine_with_truth: Estimate | None = None
    share: Estimate | None = None
    contribution: Estimate | None = None
    note: str = ""

    @property
    def missing(self) -> bool:
        """Whether it could not be measured; ``note`` says why and what to give."""
        return self.vector is None


@dataclass(frozen=True)
class ErrorLedger:
    """From the gradient the optimizer applied to the gradient of the stated objective, term by term.

    Attributes:
        terms: in the order of the chain; those not measured say so and have no vector.
        total: ``applied`` − ``truth``, with its estimates.
        applied: the gradient the optimizer applied, an ascent direction, float64.
        truth: the gradient at the end of the chain, normalised: Σ_i w_i J_iᵀ ∇_h F / Σ_i w_i.
        truth_name: what ``truth`` is, in words.
        truth_norm_squared: ‖truth‖², debiased.
        cosine: of the applied gradient and the truth.
        norm_ratio: ‖applied‖/‖truth‖.
        objective: the objective ``truth`` belongs to, in words.
        states: states of each pool by name.
        closed: states of the last pool left out from "closed gates" on, where a reference's gate is closed.
        notes: what a person should know.
    """

    terms: tuple[Term, ...]
    total: Term
    applied: Vector
    truth: Vector
    truth_name: str
    truth_norm_squared: Estimate
    cosine: Estimate
    norm_ratio: Estimate
    objective: str
    states: dict[str, int] = field(default_factory=dict)
    closed: int = 0
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Term:
        """The term of that name.

        Raises:
            GradlabError: there is none.
        """
        found = {term.name: term for term in (*self.terms, self.total)}
        if name not in found:
            raise GradlabError(f"error ledger: no term {name!r}; its terms are {', '.join(found)}")
        return found[name]

    @property
    def residual(self) -> float:
        """‖Σ terms − (applied − truth)‖ / ‖applied − truth‖."""
        total = {name: self.applied[name] - self.truth[name] for name in self.applied}
        rest = dict(total)
        for term in self.terms:
            if term.vector is not None:
                rest = {name: rest[name] - term.vector[name] for name in rest}
        return _norm(rest) / _norm(total) if _norm(rest) > 0 else 0.0

    def check(self, tolerance: float = 1e-9) -> None:
        """Add up the terms and compare with the applied gradient less the true one.

        Raises:
            GradlabError: they differ by more than the tolerance, relative to the total's norm.
        """
        if not self.residual <= tolerance:
            raise GradlabError(
                f"error ledger: its terms miss applied − truth by {self.residual:.1e} of its norm; "
                "a vector was changed after the ledger was made, or is not finite"
            )

    def rows(self) -> list[dict[str, Any]]:
        """One flat dict a term, the total last: the name, every number with its interval's ends, and the note."""
        rows = []
        for term in (*self.terms, self.total):
            row: dict[str, Any] = {"term": term.name, "missing": term.missing, "note": term.note}
            for name in ("norm_squared", "norm", "share", "cosine_with_total", "cosine_with_truth"):
                estimate: Estimate | None = getattr(term, name)
                low, high = (math.nan, math.nan) if estimate is None else estimate.interval()
                row[name] = math.nan if estimate is None else estimate.value
                row |= {f"{name}_low": low, f"{name}_high": high}
            rows.append(row)
        return rows

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name.replace('_', '-')} states" for name, count in self.states.items())
        lines = [f"Error ledger against {self.truth_name} ({self.objective}); {counts}", ""]
        header = ("", "norm", "share of total", "cosine with total", "cosine with truth")
        table: list[tuple[str, ...]] = [header]
        for term in (*self.terms, self.total):
            cells = (term.norm, term.share, term.cosine_with_total, term.cosine_with_truth)
            text = ["–"] * 4 if term.missing else [_cell(cell) for cell in cells]
            table.append((term.name, *text))
        widths = [max(len(row[i]) for row in table) for i in range(len(header))]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        lines += ["", f"applied against truth: cosine {_cell(self.cosine)}, norm ratio {_cell(self.norm_ratio)}"]
        lines += [f"{term.name}: {term.note}" for term in self.terms if term.note]
        return "\n".join([*lines, *self.notes])


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    low, high = estimate.interval()
    if not math.isfinite(estimate.value):
        return f"unresolved [{low:.2g}, {high:.2g}]" if math.isfinite(low) else "unresolved"
    if estimate.stderr == 0:
        return f"{estimate.value:.3g}"
    return (
        f"{estimate.value:.3g} [{low:.2g}, {high:.2g}]" if math.isfinite(low) else f"{estimate.value:.3g} (no interval)"
    )


def _norm(vector: Vector) -> float:
    if not vector:
        return 0.0
    return float(
        torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part.double()) for part in vector.values()]))
    )
