"""A gradient in parameter space as the mean of independent samples of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.episode_error import ParameterReference
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.confidence import trace_of_square
from gradlab.inference.intervals import Noise, squared_norm_interval
from gradlab.objective import Objective

#: Most independent samples that are kept apart; more are averaged in equal groups, so that they fit into memory.
UNITS = 256


@dataclass(frozen=True)
class PolicyGradient:
    """A gradient in parameter space as the mean of independent samples of it, usually of whole episodes.

    Attributes:
        samples: [n, P], float64, over ``agent.named_parameters()`` in order; their mean is the gradient. For a
            gradient per unit of weight, which is a ratio, they are its linearisation.
        name: what it is, in words.
        objective: the objective it is the gradient of.
        per_weight: whether it is divided by the weight of the states, as a minibatch's mean is, and hence not ∇J.
        closed: share of the weight that lies at states where the reference's gate is closed.
        reference_share: share of the squared standard error that is the reference's own noise, the rest being that of
            the states; NaN where it is not known.
        notes: what a person should know, a line each.

    Example:
        >>> found = PolicyGradient(torch.tensor([[1.0, 0.0], [3.0, 0.0]]).double(), "truth", Objective())
        >>> found.gradient, found.stderr, found.along(torch.tensor([1.0, 0.0])).value
        (tensor([2., 0.], dtype=torch.float64), tensor([1., 0.], dtype=torch.float64), 2.0)
    """

    samples: Tensor
    name: str
    objective: Objective
    per_weight: bool = False
    closed: float = 0.0
    reference_share: float = math.nan
    notes: tuple[str, ...] = ()
    gradient: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or len(self.samples) < 2:
            raise GradlabError(
                f"policy gradient {self.name}: samples of shape {tuple(self.samples.shape)}; a standard error needs at "
                "least two episodes, [episodes, parameters]"
            )
        bad = ~torch.isfinite(self.samples).all(-1)
        if bool(bad.any()):
            raise GradlabError(
                f"policy gradient {self.name}: NaN or infinite in {int(bad.sum())} of {len(bad)} samples, first "
                f"{int(bad.nonzero()[0])}; leave those episodes out"
            )
        object.__setattr__(self, "gradient", self.samples.mean(0))

    @property
    def count(self) -> int:
        """Number n of independent samples."""
        return len(self.samples)

    @property
    def stderr(self) -> Tensor:
        """Standard error of each component, [P]."""
        return self.samples.std(0) / math.sqrt(self.count)

    @property
    def reference(self) -> ParameterReference:
        """The same for ``trajectory_error``, which takes components as independent."""
        return ParameterReference(self.gradient, self.name, self.objective, self.stderr, self.count)

    def as_dict(self, agent: Agent) -> dict[str, Tensor]:
        """The gradient by parameter, in its shape."""
        named = agent.named_parameters()
        parts = self.gradient.split([parameter.numel() for parameter in named.values()])
        return {name: part.reshape(named[name].shape) for name, part in zip(named, parts, strict=True)}

    def along(self, direction: Tensor | Mapping[str, Tensor]) -> Estimate:
        """Inner product with a direction, flat [P] or by parameter, with its interval."""
        flat = flatten(direction).to(self.samples)
        if flat.shape != self.gradient.shape:
            raise GradlabError(f"direction: {flat.numel()} numbers for {self.gradient.numel()} parameters")
        each = self.samples @ flat
        stderr = float(each.std()) / math.sqrt(self.count)
        return Estimate(float(each.mean()), stderr, self.count, self.name, str(self.objective))

    def noise(self) -> Noise:
        """The covariance of the gradient, as far as its squared norm is concerned."""
        centred = self.samples - self.gradient
        freedom = self.count - 1
        gram = centred @ centred.T
        trace = float(gram.trace()) / freedom
        square = trace_of_square(trace, float(gram.square().sum()) / freedom**2, freedom)
        along = float((centred @ self.gradient).square().sum()) / freedom
        return Noise(trace / self.count, square / self.count**2, along / self.count)

    @property
    def norm_squared(self) -> Estimate:
        """‖∇J‖², without the noise of its estimate: unbiased, hence negative at times."""
        noise, plug_in = self.noise(), float(self.gradient @ self.gradient)
        stderr = math.sqrt(max(4 * noise.along - 2 * noise.square, 2 * noise.square))
        ends = squared_norm_interval(plug_in, noise, self.count)
        return Estimate(
            plug_in - noise.trace, stderr, self.count, self.name, str(self.objective), scale="linear", ends=ends
        )


def grouped(samples: Tensor, most: int = UNITS) -> Tensor:
    """Samples [n, P] averaged over groups of equal size, so that there are at most so many; a remainder is left out."""
    size = -(-len(samples) // most)
    return samples if size == 1 else samples[: len(samples) // size * size].unflatten(0, (-1, size)).mean(1)


def flatten(direction: Tensor | Mapping[str, Tensor]) -> Tensor:
    """A vector over parameters, given flat or by parameter, as flat and float64."""
    if isinstance(direction, Mapping):
        direction = torch.cat([part.detach().double().flatten() for part in direction.values()])
    return direction.detach().double().flatten()
