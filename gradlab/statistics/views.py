"""An error seen part by part: by coordinates of the head, and by the actor's layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.error import gradient_error
from gradlab.errors import GradlabError
from gradlab.inference.gram import GradientError
from gradlab.objective import Objective
from gradlab.products import NOTHING_TO_DIFFERENTIATE
from gradlab.references.base import ReferenceCotangent
from gradlab.tangent import TangentKernel, tangent_kernel


def error_by_coordinate(
    agent: Agent,
    obs: Any,
    v: Tensor,
    ref: ReferenceCotangent,
    *,
    kernel: TangentKernel | None = None,
    objective: Objective | None = None,
    allow_mismatch: bool = False,
) -> list[GradientError]:
    """The error of what each coordinate of the head gives to the gradient, (1/B) Σ_i J_ikᵀ v_ik for coordinate k.

    Coordinates share the actor's parameters, so squared norms do not add up over k; vectors do.

    Args:
        agent: the agent.
        obs: observations [B, n].
        v: cotangents [D, B, m].
        ref: the reference.
        kernel: ``tangent_kernel(agent, obs)``, to share it.
        objective: as for ``gradient_error``.
        allow_mismatch: as for ``gradient_error``.

    Returns:
        One error for each of the m coordinates.

    Raises:
        GradlabError: as ``gradient_error`` does.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 2, bias=False), [], action_low=[-1, -1], action_high=[1, 1])
        >>> truth = torch.ones(1, 2, dtype=torch.float64)
        >>> ref = ReferenceCotangent(truth, torch.zeros_like(truth), "truth", Objective())
        >>> v = torch.tensor([[1.0, 3.0], [1.0, 5.0], [1.0, 4.0], [1.0, 4.0]]).reshape(4, 1, 2)
        >>> [round(error.mse.value, 2) for error in error_by_coordinate(agent, torch.ones(1, 1), v, ref)]
        [0.0, 9.5]
    """
    obs = agent.observations(obs)
    kernel = kernel or tangent_kernel(agent, obs)
    objective = objective or getattr(v, "objective", None)
    errors = []
    for k in range(kernel.head_size):
        part = _coordinate(kernel, k) if kernel.matrix is not None else None
        one = ReferenceCotangent(
            ref.mean[:, k : k + 1], ref.stderr[:, k : k + 1], ref.name, ref.objective, ref.valid, ref.samples
        )
        if part is None:
            # Without the matrix, the other coordinates' cotangents are zero instead of left out.
            only = torch.zeros_like(ref.mean)
            only[:, k] = 1
            one = replace(ref, mean=torch.where(only > 0, ref.mean, 0.0), stderr=torch.where(only > 0, ref.stderr, 0.0))
            draws = torch.where(only.to(v) > 0, v, torch.zeros_like(v))
        else:
            draws = v[..., k : k + 1]
        errors.append(
            gradient_error(
                agent, obs, draws, one, kernel=part or kernel, objective=objective, allow_mismatch=allow_mismatch
            )
        )
    return errors


def _coordinate(kernel: TangentKernel, k: int) -> TangentKernel:
    assert kernel.matrix is not None
    m = kernel.head_size
    return TangentKernel(kernel.blocks[:, k : k + 1, k : k + 1], kernel.matrix[k::m, k::m].contiguous())


def error_by_layer(
    agent: Agent,
    obs: Any,
    v: Tensor,
    ref: ReferenceCotangent,
    *,
    by: Literal["tensor", "module"] = "tensor",
    objective: Objective | None = None,
    allow_mismatch: bool = False,
) -> dict[str, GradientError]:
    """The error of each layer's part of the gradient.

    Parameters of different layers are different coordinates of the gradient, so bias², variance, mean squared error
    and the reference's squared norm add up to the whole's, exactly; cosines and ratios do not.

    Args:
        agent: the agent.
        obs: observations [B, n].
        v: cotangents [D, B, m].
        ref: the reference.
        by: ``tensor`` for each parameter tensor (``0.weight``), ``module`` for each module that owns some (``0``).
        objective: as for ``gradient_error``.
        allow_mismatch: as for ``gradient_error``.

    Returns:
        Errors by name, in the order of ``agent.named_parameters()``. Parameters that the head does not depend on
        are left out: their gradient is zero.

    Raises:
        GradlabError: as ``gradient_error`` does, or ``by`` is neither.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 1), [], action_low=[-1], action_high=[1])
        >>> truth = torch.ones(1, 1, dtype=torch.float64)
        >>> ref = ReferenceCotangent(truth, torch.zeros_like(truth), "truth", Objective())
        >>> v = torch.tensor([1.0, 3.0, 2.0, 4.0]).reshape(4, 1, 1)
        >>> layers = error_by_layer(agent, torch.full((1, 1), 2.0), v, ref)
        >>> {name: round(error.variance.value, 3) for name, error in layers.items()}
        {'weight': 6.667, 'bias': 1.667}
    """
    if by not in ("tensor", "module"):
        raise GradlabError(f"error by layer: by is {by!r}; choose 'tensor' or 'module'")
    objective = objective or getattr(v, "objective", None) or agent.objective
    groups: dict[str, list[str]] = {}
    for name in agent.named_parameters():
        groups.setdefault(name if by == "tensor" else name.rpartition(".")[0] or "actor", []).append(name)
    errors = {}
    for group, names in groups.items():
        # A copy whose other parameters are frozen: its tangent kernel is this layer's term of the whole.
        part = agent.snapshot()
        for name, parameter in part.actor.named_parameters():
            parameter.requires_grad_(name in names)
        try:
            kernel = tangent_kernel(part, obs)
        except GradlabError as problem:
            if str(problem) == NOTHING_TO_DIFFERENTIATE:
                continue
            raise
        errors[group] = gradient_error(
            part, obs, v, ref, kernel=kernel, objective=objective, allow_mismatch=allow_mismatch
        )
    return errors
