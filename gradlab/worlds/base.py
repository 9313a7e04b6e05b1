"""What every world offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import Estimator, TrajectoryEstimator
from gradlab.trajectories import Trajectories


class Moments(NamedTuple):
    """Mean and variance of one draw of an estimator; for vectors the variance is the trace of the covariance."""

    mean: float
    variance: float


class GradientMoments(NamedTuple):
    """Mean and variance of one gradient that is a vector.

    Attributes:
        mean: its expectation, in the shape of the parameters it is a gradient to.
        variance: trace of its covariance.
    """

    mean: Tensor
    variance: float


class Hessians(NamedTuple):
    """Second derivatives of Q(s, a).

    Attributes:
        action: ∂²Q/∂a², [B, p, p].
        mixed: ∂²Q/∂a∂s, [B, p, n]; rows are action coordinates.
    """

    action: Tensor
    mixed: Tensor


class Admitted(NamedTuple):
    """An estimator that makes sense on a world, with what is known of one of its gradients in closed form.

    One gradient is of one draw at the world's fixed states (divided by their number), or of one trajectory.

    Attributes:
        estimator: drawn at states or made from trajectories.
        mean: its expectation as a flat vector over the agent's parameters, [P]; the objective's gradient when unbiased.
        variance: trace of its covariance; None where no closed form is known.
        truth: the gradient it is judged against, [P]; the objective's.
    """

    estimator: Estimator | TrajectoryEstimator
    mean: Tensor
    variance: float | None
    truth: Tensor


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

    def observations(self) -> Tensor:
        """The fixed states [B, n] at which estimators are drawn in a calibration; one state of zeros by default."""
        return self.agent().action_low.new_zeros(1, 1)

    def trajectories(self, count: int, generator: torch.Generator) -> Trajectories:
        """Independent episodes of the world's policy.

        Raises:
            GradlabError: the world has no time.
        """
        raise GradlabError(f"world {self.name}: is a single decision; it has no trajectories")

    def admitted(self) -> Sequence[Admitted]:
        """Every estimator that is to be checked on this world; none by default."""
        return ()
