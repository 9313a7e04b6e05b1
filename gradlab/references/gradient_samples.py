"""A gradient in parameter space as the mean of independent samples of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from scipy.special import stdtrit
from torch import Tensor

from gradlab.agent import Agent
from gradlab.episode_error import ParameterReference
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.confidence import skewed_interval, trace_of_square
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
        """Inner product with a direction, flat [P] or by parameter, with an interval that knows of skewness and tails.

        Few episodes do not show how skewed they are. Where each is like the square of a normal number, as it is on a
        regulator of random first states, the interval holds the truth in .86, .91 and .94 of cases at 8, 16 and 32
        episodes (Student's in .83, .86 and .87), that of ``norm_squared`` likewise: take at least 32.
        """
        flat = flatten(direction).to(self.samples)
        if flat.shape != self.gradient.shape:
            raise GradlabError(f"direction: {flat.numel()} numbers for {self.gradient.numel()} parameters")
        return mean_of(self.samples @ flat, self.name, str(self.objective))

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
        low, high = (math.sqrt(end) for end in squared_norm_interval(plug_in, noise, self.count))
        if plug_in > 0:
            # Where the gradient shows, its norm is nearly a mean of these (less what a sample has in common with
            # itself), whose skewness and tails the normal theory of the interval does not know.
            own = self.samples.square().sum(1) / self.count
            along = (self.samples @ self.gradient - own) / math.sqrt(plug_in) * self.count / (self.count - 1)
            down, up = beyond_student(along)
            low, high = max(low - down, 0.0), high + up
        ends = low**2, high**2
        return Estimate(
            plug_in - noise.trace, stderr, self.count, self.name, str(self.objective), scale="linear", ends=ends
        )


def mean_of(each: Tensor, reference: str = "", objective: str = "", caveat: str = "") -> Estimate:
    """Mean of independent numbers [n], with an interval that knows of their skewness and tails.

    Example:
        >>> mean_of(torch.tensor([1.0, 1.0, 1.0, 5.0]).double()).ends
        (-1.18..., 7.22...)
    """
    value, stderr = float(each.mean()), float(each.std()) / math.sqrt(len(each))
    ends = skewed_interval(value, stderr, each)
    return Estimate(value, stderr, len(each), reference, objective, ends=ends, caveat=caveat)


def beyond_student(each: Tensor, level: float = 0.95) -> tuple[float, float]:
    """How far skewness and tails take the ends of a mean's interval beyond Student's, down and up; not negative."""
    count = len(each)
    stderr = float(each.std()) / math.sqrt(count)
    half = float(stdtrit(count - 1, 0.5 + level / 2)) * stderr
    low, high = skewed_interval(0.0, stderr, each, level)
    return max(-low - half, 0.0), max(high - half, 0.0)


def grouped(samples: Tensor, most: int = UNITS) -> Tensor:
    """Samples [n, P] averaged over groups of equal size, so that there are at most so many; a remainder is left out."""
    size = -(-len(samples) // most)
    return samples if size == 1 else samples[: len(samples) // size * size].unflatten(0, (-1, size)).mean(1)


def flatten(direction: Tensor | Mapping[str, Tensor]) -> Tensor:
    """A vector over parameters, given flat or by parameter, as flat and float64."""
    if isinstance(direction, Mapping):
        direction = torch.cat([part.detach().double().flatten() for part in direction.values()])
    return direction.detach().double().flatten()
