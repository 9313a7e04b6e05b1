"""Probe: how good is each estimator's gradient, with the critic taken at its word?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.error import GradientError, gradient_error
from gradlab.estimate import Estimate
from gradlab.estimators import Estimator, default_estimators
from gradlab.evaluation_mode import in_evaluation, mode_notes
from gradlab.measurement import Measurement
from gradlab.references import CriticReference
from gradlab.references.base import ReferenceCotangent
from gradlab.tangent import tangent_kernel
from probes.probe import Probe
from probes.schedule import Every

#: What is kept of a GradientError, in the order tables show it.
METRICS = ("bias_squared", "variance", "mse", "cosine", "norm_ratio", "snr")


class Gradient(Probe):
    """Bias, variance, cosine, norm ratio and signal-to-noise of each estimator against the critic's own gradient.

    The reference is ∇_h F_s with the agent's critic, so what is measured is the estimator's own error, apart
    from the critic's.

    Args:
        every: training steps between two measurements.
        states: minibatch size the errors are stated for.
        draws: independent draws of each estimator.
        estimators: which ones; those that suit the agent when None.

    Example:
        >>> Gradient(draws=16).config()
        {'every': 1000, 'states': 128, 'draws': 16}
    """

    name = "gradient"

    def __init__(
        self,
        *,
        every: Every = 1000,
        states: int = 128,
        draws: int = 32,
        estimators: Sequence[Estimator] | None = None,
    ) -> None:
        super().__init__(every=every, states=states)
        self.draws = draws
        self._estimators = estimators

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """One GradientError an estimator, as scalars ``estimator/metric``, in evaluation mode."""
        notes = mode_notes(agent)
        agent = in_evaluation(agent)
        reference = CriticReference().cotangent(agent, obs)
        estimators = self._estimators or default_estimators(agent)
        errors = estimator_errors(agent, obs, reference, estimators, self.draws, generator)
        scalars = {name: value for estimator, error in errors for name, value in named(estimator, error).items()}
        return Measurement(scalars, notes=notes)


def estimator_errors(
    agent: Agent,
    obs: Tensor,
    reference: ReferenceCotangent,
    estimators: Sequence[Estimator],
    draws: int,
    generator: torch.Generator,
) -> Iterator[tuple[Estimator, GradientError]]:
    """The error of each estimator against one reference at these states; the tangent kernel is made once."""
    kernel = tangent_kernel(agent, obs)
    for estimator in estimators:
        v = estimator.draw(agent, obs, draws, generator)
        yield estimator, gradient_error(agent, obs, v, reference, kernel=kernel)


def named(estimator: Estimator, error: GradientError) -> dict[str, Estimate]:
    """The kept metrics of an error under their names in the store."""
    return {f"{estimator.name}/{metric}": getattr(error, metric) for metric in METRICS}
