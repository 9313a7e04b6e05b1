"""What goes wrong with several actors and learned surrogates, each as a number with a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

from gradlab.arguments import real_number, real_tensor, shown
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.landscape.actors.many_actors import SeveralActors

Verdict = Literal["present", "absent", "unresolved"]


@dataclass(frozen=True)
class Signature:
    """A way to fail, as measured.

    Attributes:
        name: what it is, in words.
        measured: the number that shows it.
        threshold: above it the signature is there.

    Example:
        >>> Signature("duplicates", Estimate(0.9, 0.01, samples=64, scale="share"), 0.5).verdict
        'present'
    """

    name: str
    measured: Estimate
    threshold: float

    @property
    def verdict(self) -> Verdict:
        """Whether the whole 95 % interval lies above the threshold, not above it, or on both sides."""
        low, high = self.measured.interval()
        if low > self.threshold:
            return "present"
        return "absent" if high <= self.threshold else "unresolved"

    def __str__(self) -> str:
        return f"{self.name}: {self.verdict} ({self.measured}; threshold {self.threshold:g})"


def failure_signatures(
    actors: SeveralActors,
    errors: Sequence[Estimate] = (),
    steps: Sequence[float] = (),
    *,
    same: float = 0.5,
    alone: float = 0.9,
    growth: float = 0.0,
) -> tuple[Signature, ...]:
    """The failures that SAVO's authors name (arXiv 2410.11833), as far as there is something to measure.

    * *the actors converge to the same actions*: share of pairs of actors that are duplicates, above ``same``;
    * *one actor always wins*: the largest share of wins, above ``alone``. With the first actor this also says that the
      others gain nothing;
    * *the surrogate's error grows*: the trend of ``errors`` over training, above ``growth``.

    Args:
        actors: several actors at one moment.
        errors: a surrogate's approximation error (mean square or root mean square) at three moments or more.
        steps: training steps of these moments, increasing.
        same: as above, a share.
        alone: as above, a share.
        growth: as above: change over the whole time, as a share of the mean error.

    Returns:
        One signature each; those of two actors or more are left out for one, the error's without errors.

    Raises:
        GradlabError: a threshold is not finite, or ``errors`` and ``steps`` do not fit.

    Example:
        >>> import torch
        >>> from gradlab.agent import Agent
        >>> from gradlab.landscape.actors.many_actors import several_actors
        >>> agent = Agent(torch.nn.Identity(), [lambda obs, act: -act.abs().sum(-1)], [-1.0], [1.0])
        >>> alike = several_actors(agent, torch.ones(64, 1), [lambda obs: 0 * obs, lambda obs: 0.01 * obs])
        >>> [signature.verdict for signature in failure_signatures(alike)]
        ['present', 'present']
    """
    same, alone = real_number("same", same), real_number("alone", alone)
    if not isinstance(actors, SeveralActors):
        raise GradlabError(f"actors: {shown(actors)}; give what several_actors measured")
    errors, steps = _estimates("errors", errors), _moments(steps)
    found = []
    if len(actors.values) > 1:
        most = max(actors.win_share, key=lambda share: share.value)
        found = [
            Signature("the actors converge to the same actions", actors.duplicates, same),
            Signature("one actor always wins", most, alone),
        ]
    if len(errors) or len(steps):
        found.append(Signature("the surrogate's error grows", trend(steps, errors), real_number("growth", growth)))
    return tuple(found)


def trend(steps: Sequence[float], measured: Sequence[Estimate]) -> Estimate:
    """The change of a positive number from the first moment to the last, as a share of its mean, by a straight line.

    Weighted least squares with each moment's standard error; where the moments scatter about the line by more than
    these explain, the slope's error is raised by the ratio (R. Birge 1932, *The calculation of errors by the method of
    least squares*), and Student's quantile has the degrees of freedom of the line's residuals.

    Args:
        steps: when, increasing, three or more.
        measured: the number then, with its standard error.

    Raises:
        GradlabError: fewer than three moments, not as many of both, not increasing, or values that are not finite.

    Example:
        >>> grown = trend([0, 1, 2], [Estimate(v, 0.01, samples=50) for v in (1.0, 2.0, 3.0)])
        >>> round(grown.value, 6), grown.resolved
        (1.0, True)
    """
    when, measured = np.array(_moments(steps), dtype=np.float64), _estimates("measured", measured)
    value = np.array([each.value for each in measured], dtype=np.float64)
    error = np.array([each.stderr for each in measured], dtype=np.float64)
    if len(when) != len(value) or len(when) < 3 or not (np.diff(when) > 0).all():
        raise GradlabError(f"trend: {len(when)} steps and {len(value)} numbers; give three or more, by increasing step")
    if not np.isfinite([when, value, error]).all():
        raise GradlabError("trend: a step, a value or a standard error is not finite; leave those moments out")
    # An error of zero would take all the weight; it is then the scatter that says how sure the line is.
    weight = 1 / np.maximum(error, 1e-9 * max(float(np.abs(value).max()), 1e-300)) ** 2
    weight /= weight.sum()
    centre = float((weight * when).sum())
    mean = float((weight * value).sum())
    across = float((weight * (when - centre) ** 2).sum())
    slope = float((weight * (when - centre) * (value - mean)).sum()) / across
    residual = value - mean - slope * (when - centre)
    freedom = len(when) - 2
    own = float(((weight * (when - centre)) ** 2 * error**2).sum()) / across**2
    scatter = float((weight * residual**2).sum()) / freedom / across
    stderr = math.sqrt(max(own, scatter))
    scale = float(when[-1] - when[0]) / abs(mean) if mean else math.nan
    half = float(stdtrit(freedom, 0.975)) * stderr * scale
    change = slope * scale
    samples, first = len(when), measured[0]
    return Estimate(
        change, stderr * scale, samples, first.reference, first.objective, ends=(change - half, change + half)
    )


def _moments(steps: Any) -> list[float]:
    given = real_tensor("steps", steps)
    if given.ndim != 1:
        raise GradlabError(f"steps: {shown(steps)}; give a list of training steps")
    return [float(step) for step in given.tolist()]


def _estimates(name: str, given: Any) -> list[Estimate]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, Estimate) for each in given):
        raise GradlabError(f"{name}: {shown(given)}; give a list of Estimates, one a training step")
    return list(given)
