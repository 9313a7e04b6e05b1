"""Which objective a gradient belongs to; numbers for different objectives are not comparable."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradlab.errors import GradlabError


@dataclass(frozen=True, slots=True)
class Objective:
    """The objective J whose gradient is estimated or referred to.

    Attributes:
        discount: γ of the return; 1.0 is undiscounted.
        entropy: coefficient α of the entropy bonus; 0.0 is none.
        smoothing: radius of the Gaussian the action is smoothed with, in the critic's action units; 0.0 is none.
        horizon: number of rewards in the return, or None when it has no end of its own.

    Example:
        >>> print(Objective(discount=0.99, horizon=50))
        γ=0.99, H=50
        >>> print(Objective(discount=1.0, entropy=0.2, smoothing=0.1))
        undiscounted, entropy α=0.2, smoothed σ=0.1
    """

    discount: float = 0.99
    entropy: float = 0.0
    smoothing: float = 0.0
    horizon: int | None = None

    def __str__(self) -> str:
        parts = ["undiscounted" if self.discount == 1.0 else f"γ={self.discount:g}"]
        if self.entropy:
            parts.append(f"entropy α={self.entropy:.3g}")
        if self.smoothing:
            parts.append(f"smoothed σ={self.smoothing:g}")
        if self.horizon is not None:
            parts.append(f"H={self.horizon}")
        return ", ".join(parts)

    def mismatch(self, other: Objective) -> str:
        """How this objective is another one than ``other`` by definition: in its discount or its entropy bonus.

        Empty where it is not. Smoothing and truncation are approximations of one objective, whose error is part of
        a bias; see ``approximations``.

        Example:
            >>> Objective(discount=0.99).mismatch(Objective(discount=1.0, entropy=0.2))
            'discounted (γ=0.99) against undiscounted; no entropy against entropy α=0.2'
        """
        parts = []
        if not math.isclose(self.discount, other.discount, rel_tol=1e-9):
            parts.append(f"{_discount(self)} against {_discount(other)}")
        if not math.isclose(self.entropy, other.entropy, rel_tol=1e-6, abs_tol=1e-12):
            parts.append(f"{_entropy(self)} against {_entropy(other)}")
        return "; ".join(parts)

    def approximations(self, other: Objective) -> tuple[str, ...]:
        """What is smoothed or cut off differently in ``other``, one line each: part of a bias, to be noted.

        Example:
            >>> Objective(smoothing=0.1).approximations(Objective(horizon=50))
            ('the bias includes smoothing: σ=0.1 against none', 'the bias includes truncation: none against H=50')
        """
        notes = []
        if self.smoothing != other.smoothing:
            radii = (f"σ={x.smoothing:g}" if x.smoothing else "none" for x in (self, other))
            notes.append(f"the bias includes smoothing: {' against '.join(radii)}")
        if self.horizon != other.horizon:
            ends = ("none" if x.horizon is None else f"H={x.horizon}" for x in (self, other))
            notes.append(f"the bias includes truncation: {' against '.join(ends)}")
        return tuple(notes)


def _discount(objective: Objective) -> str:
    return "undiscounted" if objective.discount == 1.0 else f"discounted (γ={objective.discount:g})"


def _entropy(objective: Objective) -> str:
    return f"entropy α={objective.entropy:.3g}" if objective.entropy else "no entropy"


def compare_objectives(
    estimated: Objective, referred: Objective, reference: str, *, allow_mismatch: bool = False
) -> tuple[str, tuple[str, ...]]:
    """The caveat and the notes that go with an estimator of one objective measured against another.

    Args:
        estimated: the objective whose gradient is estimated.
        referred: the reference's.
        reference: the reference's name.
        allow_mismatch: whether they may differ by definition; the caveat then says so.

    Raises:
        GradlabError: they differ and may not.

    Example:
        >>> compare_objectives(Objective(), Objective(discount=1.0), "simulator", allow_mismatch=True)[0]
        'mismatch allowed: discounted (γ=0.99) against undiscounted'
    """
    mismatch = estimated.mismatch(referred)
    notes = estimated.approximations(referred)
    if not mismatch:
        return "", notes
    if not allow_mismatch:
        raise GradlabError(
            f"reference {reference}: is for another objective than the estimator: {mismatch}; "
            "make both for one objective, or pass allow_mismatch=True"
        )
    caveat = f"mismatch allowed: {mismatch}"
    return caveat, (caveat, *notes)
