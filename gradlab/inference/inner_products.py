"""Inner products of an estimator's gradients with each other and with a reference: all that a statistic needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

#: Draws up to which every pair is left out too, for the jackknife's own correction; more are rows at a time.
PAIRS = 2048


@dataclass(frozen=True)
class Products:
    """Inner products of the draws' errors w_d = g_d − r, in the words of ``gradlab.inference.jackknife``; float64.

    Attributes:
        draws: D, also where all draws are the same and only one of them (D′ = 1) is behind the tensors.
        mean_squared: ‖w̄‖².
        cross: w̄·r.
        reference_squared: r·r.
        squares: ‖e_d‖², [D′].
        with_mean: e_d·w̄, [D′].
        with_reference: e_d·r, [D′].
        times: c [D′] → Σ_e (e_d·e_e) c_e, [D′].
        gram: e_d·e_e, [D′, D′]; None where there are more draws than ``PAIRS``.
        gram_squared: Σ_de (e_d·e_e)².
        noise_along: c [D′] → (aᵀΩa, aᵀΩr) of a = Σ_d c_d g_d and the reference's covariance Ω; None if unknown.
    """

    draws: int
    mean_squared: Tensor
    cross: Tensor
    reference_squared: Tensor
    squares: Tensor
    with_mean: Tensor
    with_reference: Tensor
    times: Callable[[Tensor], Tensor]
    gram: Tensor | None
    gram_squared: float
    noise_along: Callable[[Tensor], tuple[float, float]] | None = None

    @property
    def constant(self) -> bool:
        """Whether all draws are the same, as a deterministic estimator's are."""
        return self.draws > len(self.squares)

    @property
    def with_gradients(self) -> Tensor:
        """g_d·r, [D′]."""
        return self.with_reference + self.cross + self.reference_squared

    @property
    def norms_squared(self) -> Tensor:
        """‖g_d‖², [D′]."""
        mean = self.mean_squared + 2 * self.cross + self.reference_squared
        return mean + 2 * (self.with_mean + self.with_reference) + self.squares

    def against(self, c: Tensor) -> Tensor:
        """Σ_e (g_d·g_e) c_e, [D′]."""
        along = self.with_mean + self.with_reference
        mean = self.mean_squared + 2 * self.cross + self.reference_squared
        return (mean + along) * c.sum() + along @ c + self.times(c)


@dataclass(frozen=True)
class Label:
    """What an error is against, in words, and what else goes with it.

    Attributes:
        reference: name of the reference.
        objective: the objective, in words.
        reference_samples: independent samples behind the reference; 0 when it is not a sample mean.
        states: states behind the error.
        notes: what a person should know.
        caveat: what every number must be printed with; empty for none.
    """

    reference: str
    objective: str
    reference_samples: int = 0
    states: int = 0
    notes: tuple[str, ...] = ()
    caveat: str = ""
