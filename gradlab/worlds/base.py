"""What every world offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from gradlab.agent import Agent


class Moments(NamedTuple):
    """Mean and variance of one draw of an estimator; for vectors the variance is the trace of the covariance."""

    mean: float
    variance: float


class Hessians(NamedTuple):
    """Second derivatives of Q(s, a).

    Attributes:
        action: ∂²Q/∂a², [B, p, p].
        mixed: ∂²Q/∂a∂s, [B, p, n]; rows are action coordinates.
    """

    action: Tensor
    mixed: Tensor


class World(ABC):
    """A problem whose value, gradient and derivatives of Q are known in closed form; everything is float64."""

    #: Name in tables; short, lower case, with hyphens.
    name: str

    @abstractmethod
    def value(self) -> float:
        """The objective J at the world's parameters."""

    @abstractmethod
    def true_gradient(self) -> Tensor:
        """∇J with respect to the policy's parameters, in their shape."""

    @abstractmethod
    def action_gradient(self, obs: Tensor, act: Tensor) -> Tensor:
        """∇_a Q(s, a): obs [B, n], act [B, p] → [B, p]."""

    @abstractmethod
    def hessians(self, obs: Tensor, act: Tensor) -> Hessians:
        """Second derivatives of Q: obs [B, n], act [B, p]."""

    @abstractmethod
    def agent(self) -> Agent:
        """The world's policy and its exact critic as a float64 agent; its gradients are ascent directions."""
