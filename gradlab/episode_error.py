"""A trajectory estimator against a reference gradient: whole episodes are the draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.episode_gradients import (
    Episodes,
    check_steps,
    directional_derivative,
    gradient_chunks,
    gram_by_gradients,
    gram_by_kernel,
    parameter_count,
)
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.inference.confidence import ReferenceNoise
from gradlab.inference.gram import GradientError, error_from_gram
from gradlab.objective import Objective, compare_objectives
from gradlab.tangent import TangentKernel, tangent_kernel
from gradlab.trajectories import Trajectories

#: Steps whose directional derivatives are taken at a time.
_ROWS = 16_384


@dataclass(frozen=True)
class ParameterReference:
    """A trustworthy ∇_θ J in parameter space, with what is known of its error.

    Attributes:
        gradient: flat over ``agent.named_parameters()``, [P], or a dict like it; an ascent direction.
        name: what it is, in words ("closed form", "Monte Carlo").
        objective: the objective it is the gradient of.
        stderr: standard error of each component, like ``gradient``, components independent; None where it is exact.
        samples: independent samples behind it; 0 when it is not a sample mean.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 1), [], action_low=[-1], action_high=[1])
        >>> given = {"bias": torch.ones(1), "weight": torch.zeros(1, 1)}
        >>> ParameterReference(given, "closed form", Objective()).flat(agent)[0]
        tensor([0., 1.], dtype=torch.float64)
    """

    gradient: Tensor | Mapping[str, Tensor]
    name: str
    objective: Objective
    stderr: Tensor | Mapping[str, Tensor] | None = None
    samples: int = 0

    def flat(self, agent: Agent) -> tuple[Tensor, Tensor | None]:
        """Gradient and standard error in the order of the agent's parameters, [P] each, float64.

        Raises:
            GradlabError: they do not fit the agent's parameters, or are NaN or infinite.
        """
        stderr = None if self.stderr is None else self._flat(agent, self.stderr, "stderr")
        return self._flat(agent, self.gradient, "gradient"), stderr

    def _flat(self, agent: Agent, part: Tensor | Mapping[str, Tensor], what: str) -> Tensor:
        named = agent.named_parameters()
        if isinstance(part, Mapping):
            wrong = sorted(name for name in {*named, *part} if name not in part or name not in named)
            wrong += [name for name in named if name in part and part[name].shape != named[name].shape]
            if wrong:
                raise GradlabError(
                    f"reference {self.name}: {what} does not fit the actor's parameters at {', '.join(wrong)}; "
                    "give one tensor for each of agent.named_parameters(), of its shape"
                )
            part = torch.cat([part[name].flatten() for name in named])
        count = parameter_count(agent)
        if part.shape != (count,):
            raise GradlabError(f"reference {self.name}: {what} has shape {tuple(part.shape)}; expected [{count}]")
        bad = ~torch.isfinite(part)
        if bool(bad.any()):
            raise GradlabError(
                f"reference {self.name}: {what} is NaN or infinite in {int(bad.sum())} of {count} components, first "
                f"{int(bad.nonzero()[0])}; mend the reference"
            )
        return part.detach().to(agent.device, torch.float64)


def trajectory_error(
    agent: Agent,
    trajectories: Episodes,
    v: Tensor,
    reference: ParameterReference,
    *,
    group: int | None = 1,
    objective: Objective | None = None,
    allow_mismatch: bool = False,
    kernel: TangentKernel | None = None,
    memory: int = 2**30,
) -> GradientError:
    """Bias, variance, mean squared error, cosine, norm ratio and signal-to-noise ratio of one episode's gradient.

    An episode's gradient is g = Σ_t J_tᵀ v_t; the statistics and intervals are those of ``gradient_error``, with
    whole episodes as the independent draws. All that is needed are inner products: through the tangent kernel of
    all steps where that is smaller than the gradients and fits, and otherwise from the gradients themselves, of which
    no more are held than fit.

    Args:
        agent: the agent; neither changed nor given gradients. Pass a snapshot.
        trajectories: R episodes; four or more samples for every number to have a standard error.
        v: cotangents [N, m], one a step, with the discount weights inside (``TrajectoryEstimator.cotangents``).
        reference: ∇J. Its noise is taken off the squared norms and widens the intervals.
        group: how many consecutive episodes make one sample, because they share a baseline
            (``estimator.group``); the draw is then the mean of their gradients. None, where all share one, is refused.
        objective: the objective that v estimates the gradient of; the agent's own when None. Where its discount or
            entropy is not the reference's the two are refused.
        allow_mismatch: compare them all the same; every number and the notes then say so.
        kernel: ``tangent_kernel(agent, trajectories.obs)``, full, to share it.
        memory: bytes that a tangent kernel, or the gradients that are held, may take; formed again and again where
            they do not fit, which takes time.

    Raises:
        GradlabError: shapes do not fit, episodes do not divide into groups, a number is NaN or infinite, or the
            reference is for another objective.

    Example:
        >>> from gradlab.estimators.trajectory import GPOMDP
        >>> from gradlab.policies import Gaussian
        >>> actor = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
        >>> def head(actor, obs):
        ...     return torch.cat([actor(obs), torch.zeros_like(obs)], -1)
        >>> agent = Agent(actor, [], [-1], [1], 1.0, policy=Gaussian(), head=head)
        >>> normal = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> one, end = torch.ones_like(normal), torch.ones(4000, dtype=torch.bool)
        >>> act = actor.weight.detach() + normal
        >>> runs = Trajectories(one, act, act[:, 0], one, end, torch.arange(4000), discount=1.0)
        >>> truth = ParameterReference(torch.ones(1), "closed form", Objective(discount=1.0))
        >>> error = trajectory_error(agent, runs, GPOMDP().cotangents(agent, runs), truth)
        >>> low, high = error.bias_squared.interval()
        >>> low <= 0 <= high
        True
    """
    check_steps(trajectories, v)
    caveat, notes = compare_objectives(
        objective or agent.objective, reference.objective, reference.name, allow_mismatch=allow_mismatch
    )
    if isinstance(trajectories, Trajectories) and bool(trajectories.cut_off.any()):
        cut = f"{int(trajectories.cut_off.sum())} of {trajectories.count} episodes"
        notes += (f"{cut} were cut off: what would have followed is missing where it was not bootstrapped",)
    samples = _grouped(trajectories, group)
    v = v.detach() * (samples.count / trajectories.count)
    r, stderr = reference.flat(agent)
    gram = _gram(agent, samples, v, kernel, exact=stderr is None, memory=memory)
    along = torch.cat([directional_derivative(agent, rows, r) for rows in samples.obs.split(_ROWS)])
    with_reference = torch.zeros(samples.count, dtype=torch.float64, device=along.device)
    with_reference.index_add_(0, samples.trajectory.to(along.device), (along * v.to(along)).sum(-1))
    error = error_from_gram(
        gram,
        with_reference.to(gram),
        r @ r,
        noise=ReferenceNoise() if stderr is None else _noise(agent, samples, v, r, stderr),
        reference=reference.name,
        objective=str(reference.objective),
        reference_samples=reference.samples,
        states=len(samples.obs),
        notes=notes,
    )
    return _with_caveat(error, caveat) if caveat else error


@dataclass(frozen=True)
class _Samples:
    obs: Tensor
    trajectory: Tensor

    @property
    def count(self) -> int:
        return int(self.trajectory[-1]) + 1


def _grouped(trajectories: Episodes, group: int | None) -> _Samples:
    if group is None:
        raise GradlabError(
            f"trajectory error: all {trajectories.count} episodes share one baseline, so that none is an independent "
            "draw; give the baseline groups (LeaveOneOut(8)) or a pilot (OptimalBaseline(pilot))"
        )
    if group < 1 or trajectories.count % group:
        raise GradlabError(
            f"trajectory error: {trajectories.count} episodes do not divide into groups of {group}; "
            "pass the estimator's group and a multiple of it"
        )
    return _Samples(trajectories.obs, trajectories.trajectory // group)


def _gram(
    agent: Agent, samples: _Samples, v: Tensor, kernel: TangentKernel | None, *, exact: bool, memory: int
) -> Tensor:
    """Inner products of the samples' gradients, by whichever way holds fewer numbers."""
    rows = v.shape[0] * v.shape[1]
    if kernel is None and exact and rows**2 < samples.count * parameter_count(agent):
        kernel = tangent_kernel(agent, samples.obs, memory=memory)
    if kernel is not None and kernel.matrix is not None:
        return gram_by_kernel(kernel, samples, v)
    return gram_by_gradients(agent, samples, v, max(1, memory // (8 * parameter_count(agent))))


def _noise(agent: Agent, samples: _Samples, v: Tensor, r: Tensor, stderr: Tensor) -> ReferenceNoise:
    """What a reference with covariance Ω = diag(stderr²) adds, one chunk of gradients at a time."""
    # Around r, so that the squares do not cancel.
    total, squares = torch.zeros_like(r), torch.zeros_like(r)
    for _, gradients in gradient_chunks(agent, samples, v):
        error = gradients.to(r) - r
        total += error.sum(0)
        squares += error.square().sum(0)
    mean, variances = total / samples.count, stderr.square()
    spread = (squares - samples.count * mean.square()).clamp_min(0) / max(samples.count - 1, 1)
    return ReferenceNoise(
        trace=float(variances.sum()),
        square=float(variances.square().sum()),
        with_spread=float(variances @ spread),
        error=float(variances @ mean.square()),
        cross=float(variances @ (mean * r)),
        reference=float(variances @ r.square()),
    )


def _with_caveat(error: GradientError, caveat: str) -> GradientError:
    estimates: dict[str, Any] = {
        field.name: replace(value, caveat=caveat)
        for field in fields(error)
        if isinstance(value := getattr(error, field.name), Estimate)
    }
    return replace(error, **estimates)
