"""How a gradient at the head is made of returns: from which first actions, and what of what they gave."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from gradlab.references.rollouts.records import Outcome
from gradlab.simulation.chain import Chain


@dataclass(frozen=True)
class Assessment:
    """What is known of ∇_h F at B states whose rollouts share their noises.

    Attributes:
        draws: [seeds, B, m], one gradient a noise, at the step size that was taken.
        error: [B, m], what is not a matter of noise: by how much neighbouring step sizes disagree, and rounding.
        reasons: a sentence for each state whose gate is closed, else an empty string.
        values: [seeds, B], F itself.
        disagreement: [B], of the step sizes, relative.
        step: [B], the step size taken, as a fraction of the range.
        one_sided: [B], coordinates differenced inwards at the edge of the box.
        outside_box: [B], coordinates beyond it, which the environment clips and whose derivative is zero.
        growth: [B], by how much the closed loop amplifies a change of the first action; NaN where that was not asked.
        chain_error: [B], relative distance of the chain rule's gradient from the same noise's; NaN likewise.
    """

    draws: Tensor
    error: Tensor
    reasons: list[str]
    values: Tensor
    disagreement: Tensor
    step: Tensor
    one_sided: Tensor
    outside_box: Tensor
    growth: Tensor
    chain_error: Tensor


class Scheme(ABC):
    """One way from returns to a gradient, for one agent and its heads at B states.

    Attributes:
        width: number L of first actions a state and noise.
        value_width: how many of these, the first ones, F itself takes.
    """

    width: int
    value_width: int

    @abstractmethod
    def first_actions(self, positions: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """The actions [L, T, p] to begin with, and what is added to their returns to make them F, float64 [L, T].

        Args:
            positions: [T], positions of the states.
            noise: the first action's noise [T, p]; None for a deterministic policy.
        """

    @abstractmethod
    def values(self, positions: Tensor, found: Outcome) -> Tensor:
        """F [T], from the outcomes [value_width, T] of the first ``value_width`` actions."""

    @abstractmethod
    def assess(self, positions: list[int], found: Outcome, chain: Chain | None = None) -> Assessment:
        """What the outcomes [seeds, L, B] at these states say; ``chain`` is of their first noise."""
