"""Probe: estimators side by side, and where the error of each sits: states or draws, layers, radius."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.estimators import Estimator, ZerothOrder, default_estimators
from gradlab.evaluation_mode import in_evaluation, mode_notes
from gradlab.measurement import Measurement
from gradlab.references import CriticReference
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.curve import Lowest, sweep
from gradlab.statistics.minibatch import noise_scale
from gradlab.statistics.paired import common_draws, seed_from
from gradlab.statistics.ranking import Ranking, rank
from gradlab.statistics.views import error_by_layer
from gradlab.tangent import TangentKernel, tangent_kernel
from probes.probe import Probe
from probes.schedule import Every

#: Radii of the sweep, in the critic's action units.
RADII = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class Estimators(Probe):
    """Estimators compared pair by pair with common random numbers, and the error of each taken apart.

    The critic is taken at its word, as the probe ``gradient`` takes it. It measures in the background process: with
    five estimators, 128 states and two hidden layers of 256 about a second, nothing of which training waits for.

    Args:
        every: training steps between two measurements.
        states: minibatch size the errors are stated for.
        draws: independent draws of each estimator, four or more.
        estimators: which ones; those that suit the agent when None.
        radii: the radii μ that zeroth-order estimators are tried with; none for no sweep.

    Raises:
        GradlabError: a number is out of range.

    Example:
        >>> Estimators(draws=16, radii=(0.1, 0.3)).config()
        {'every': 4000, 'states': 128, 'draws': 16, 'radii': '0.1, 0.3'}
    """

    name = "estimators"
    background = True

    def __init__(
        self,
        *,
        every: Every = 4000,
        states: int = 128,
        draws: int = 64,
        estimators: Sequence[Estimator] | None = None,
        radii: Sequence[float] = RADII,
    ) -> None:
        super().__init__(every=every, states=states)
        if draws < 4:
            raise GradlabError(f"probe estimators: draws is {draws}; an interval needs at least four")
        self.draws = draws
        self.radii = ", ".join(f"{radius:g}" for radius in radii)
        self._radii = tuple(radii)
        self._estimators = estimators

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """What is in ``ranked``, ``split_by_source``, ``split_by_layer`` and ``over_radii``, in evaluation mode."""
        notes = mode_notes(agent)
        agent = in_evaluation(agent)
        reference = CriticReference().cotangent(agent, obs)
        kernel = tangent_kernel(agent, obs)
        estimators = self._estimators or default_estimators(agent)
        seed = seed_from(generator)
        draws = {one.name: common_draws(one, agent, obs, self.draws, seed) for one in estimators}
        scalars: dict[str, Estimate] = {}
        if len(draws) > 1:
            scalars |= ranked(rank(agent, obs, draws, reference, kernel=kernel), list(draws))
        for name, v in draws.items():
            scalars |= split_by_source(name, agent, obs, v, kernel)
            scalars |= split_by_layer(name, agent, obs, v, reference)
        for one in estimators:
            if isinstance(one, ZerothOrder) and self._radii:
                scalars |= over_radii(one, self._radii, agent, obs, reference, self.draws, generator, kernel)
        return Measurement(scalars, notes=notes)


def ranked(ranking: Ranking, names: Sequence[str]) -> dict[str, Estimate]:
    """MSE(a) − MSE(b) as ``paired/a/b``, in the order of the names."""
    return {f"paired/{a}/{b}": ranking.difference(a, b) for a, b in combinations(names, 2)}


def split_by_source(name: str, agent: Agent, obs: Tensor, v: Tensor, kernel: TangentKernel) -> dict[str, Estimate]:
    """Variance of one sample's gradient from states and from draws, ‖E g‖², noise scale, as ``estimator/part``."""
    found = noise_scale(agent, obs, v, kernel=kernel)
    split = found.split
    return {
        f"{name}/state_variance": split.state,
        f"{name}/draw_variance": split.action,
        f"{name}/total_variance": split.total,
        f"{name}/gradient_squared": split.gradient_squared,
        f"{name}/noise_scale": found.scale,
        f"{name}/from_states": found.from_states,
    }


def split_by_layer(
    name: str, agent: Agent, obs: Tensor, v: Tensor, reference: ReferenceCotangent
) -> dict[str, Estimate]:
    """Bias², variance and ‖reference‖² of each layer's part, as ``layer/place/module/estimator/metric``."""
    numbers: dict[str, Estimate] = {}
    for place, (module, error) in enumerate(error_by_layer(agent, obs, v, reference, by="module").items()):
        kept: Mapping[str, Estimate] = {
            "bias_squared": error.bias_squared,
            "variance": error.variance,
            "reference_squared": error.reference_norm_squared,
        }
        numbers |= {f"layer/{place}/{module}/{name}/{metric}": estimate for metric, estimate in kept.items()}
    return numbers


def over_radii(
    like: ZerothOrder,
    radii: Sequence[float],
    agent: Agent,
    obs: Tensor,
    reference: ReferenceCotangent,
    draws: int,
    generator: torch.Generator,
    kernel: TangentKernel,
) -> dict[str, Estimate]:
    """Bias², variance and MSE at each radius as ``radius/μ/estimator/metric``, and ``estimator/best_radius``."""

    def make(mu: float) -> Estimator:
        return ZerothOrder(mu, like.points, like.directions, like.count)

    curve = sweep(make, radii, agent, obs, reference, draws, generator, kernel=kernel)
    numbers = {f"{like.name}/best_radius": _lowest(curve.best, draws)}
    for metric, estimates in _metrics(curve.bias_squared, curve.variance, curve.mse):
        for mu, estimate in zip(curve.values, estimates, strict=True):
            numbers[f"radius/{mu:g}/{like.name}/{metric}"] = estimate
    return numbers


def _metrics(*columns: list[Estimate]) -> Iterator[tuple[str, list[Estimate]]]:
    yield from zip(("bias_squared", "variance", "mse"), columns, strict=True)


def _lowest(best: Lowest, draws: int) -> Estimate:
    """Where a curve is lowest; its resamples have an interval, and no standard error of a symmetric kind."""
    return Estimate(
        best.value, (best.high - best.low) / 3.92, draws, "critic", scale="log", ends=(best.low, best.high)
    )  # fmt: skip
