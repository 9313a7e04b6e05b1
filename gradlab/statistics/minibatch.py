"""How large a minibatch is worth its price: the gradient noise scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scipy.special import stdtrit
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimate import Estimate
from gradlab.statistics.nested import leave_groups_out
from gradlab.statistics.split import VarianceSplit, summarize
from gradlab.tangent import TangentKernel


@dataclass(frozen=True)
class NoiseScale:
    """The gradient noise scale tr Σ/‖E g‖², Σ the covariance of one sample's gradient, and its parts.

    Attributes:
        scale: the noise scale, in samples: the batch size whose gradient has as much noise as signal.
        from_states: share of Σ's trace that comes from sampling states, which better estimators cannot lower.
        split: the variances and ‖E g‖² behind it.
        notes: what a person should know.
    """

    scale: Estimate
    from_states: Estimate
    split: VarianceSplit
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        numbers = {
            "noise scale": self.scale,
            "from states": self.from_states,
            "variance": self.split.total,
            "‖E g‖²": self.split.gradient_squared,
        }
        return "\n".join([*(f"{name:12}  {estimate}" for name, estimate in numbers.items()), *self.notes])

    @property
    def critical_batch_size(self) -> Estimate:
        """The batch size beyond which larger ones hardly help: the noise scale itself (McCandlish et al., 2.3)."""
        return self.scale

    def progress(self, batch_size: float) -> float:
        """Share of the noiseless step's progress that one step makes, 1/(1 + scale/B) (equation 2.7)."""
        return 1 / (1 + self.scale.value / batch_size)


def noise_scale(
    agent: Agent, obs: Any, v: Tensor, *, episode: Tensor | None = None, kernel: TangentKernel | None = None
) -> NoiseScale:
    """The gradient noise scale B_noise = tr Σ/‖E g‖² of samples (state, draw), and where Σ comes from.

    tr Σ is the variance of states plus that of draws at a state, and ‖E g‖² the mean inner product of gradients at
    different states, both unbiased (``gradlab.variance_split``). The ratio is NaN where ‖E g‖² is not above zero, and
    its interval has no upper end where ‖E g‖² is not resolved from zero; the interval is E. Fieller's (1954).

    Source: S. McCandlish et al. 2018, *An empirical model of large-batch training* (arXiv 1812.06162), equation 2.9.

    Args:
        agent: the agent.
        obs: observations [S, n], independent draws of states.
        v: cotangents [D, S, m], two or more independent draws.
        episode: which episode a state is of, [S] integers; every state its own when None.
        kernel: ``tangent_kernel(agent, obs)``, to share it.

    Raises:
        GradlabError: shapes do not fit, or a draw is not finite.

    Example:
        >>> import torch
        >>> agent = Agent(torch.nn.Linear(1, 1, bias=False), [], action_low=[-1], action_high=[1])
        >>> normal = torch.randn(2, 4000, 1, generator=torch.Generator().manual_seed(0))
        >>> found = noise_scale(agent, torch.ones(4000, 1), 0.5 + normal)
        >>> low, high = found.scale.interval()
        >>> low < 4 < high, round(found.progress(4), 1)
        (True, 0.5)
    """
    parts = leave_groups_out(agent, obs, v, episode=episode, kernel=kernel)
    split = summarize(parts)
    notes = list(split.notes)
    if not split.gradient_squared.value > 0:
        notes.append("unresolved: ‖E g‖² is not above its noise; no noise scale")
    elif not split.gradient_squared.resolved:
        notes.append("‖E g‖² is not resolved from zero: the noise scale has no upper end")
    return NoiseScale(
        ratio(split.total, split.gradient_squared, parts.covariance("total", "gradient_squared")),
        ratio(split.state, split.total, parts.covariance("state", "total")),
        split,
        tuple(notes),
    )


def ratio(a: Estimate, b: Estimate, covariance: float) -> Estimate:
    """a/b of two correlated estimates, with E. Fieller's interval (1954, *Some problems in interval estimation*).

    It holds the ratios ρ at which a − ρb is not resolved from zero; where b itself is not, it has no upper end.

    Example:
        >>> quotient = ratio(Estimate(6.0, 0.1, 1000), Estimate(2.0, 0.1, 1000), covariance=0.0)
        >>> low, high = quotient.interval()
        >>> quotient.value, round(low, 2), round(high, 2)
        (3.0, 2.72, 3.34)
    """
    if not (b.value > 0 and math.isfinite(a.stderr)):
        return Estimate(a.value / b.value if b.value > 0 else math.nan, math.nan, a.samples)
    value = a.value / b.value
    stderr = math.sqrt(max(a.stderr**2 - 2 * value * covariance + value**2 * b.stderr**2, 0.0)) / b.value
    quantile = float(stdtrit(a.samples - 1, 0.975)) ** 2
    # (a − ρb)² ≤ t²(σ_a² − 2ρσ_ab + ρ²σ_b²), a quadratic in ρ.
    square = b.value**2 - quantile * b.stderr**2
    linear = a.value * b.value - quantile * covariance
    constant = a.value**2 - quantile * a.stderr**2
    root = math.sqrt(max(linear**2 - square * constant, 0.0))
    if square > 0:
        ends = (linear - root) / square, (linear + root) / square
    else:
        # The lower root, in the form that stands a vanishing square.
        ends = constant / (linear + root) if linear + root > 0 else -math.inf, math.inf
    return Estimate(value, stderr, a.samples, ends=(min(ends[0], value), max(ends[1], value)))
