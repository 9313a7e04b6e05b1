"""Which objective a gradient belongs to; numbers for different objectives are not comparable."""

from __future__ import annotations

from dataclasses import dataclass


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
