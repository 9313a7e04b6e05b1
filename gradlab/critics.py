"""What critics and value functions return, and how several of a kind become the one value an actor follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from gradlab.errors import GradlabError
from gradlab.modules import owner, uncompiled

Critic = Callable[[Tensor, Tensor], Tensor]
StateValue = Callable[[Tensor], Tensor]

#: Which value the actor follows: the first critic's (DDPG, TD3), the smallest (SAC), the mean (REDQ, TQC's actor),
#: or the mean of the pooled quantiles of all critics without the highest (TQC's targets).
Reduction = Literal["first", "min", "mean", "truncated"]
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


def evaluate(critic: Critic, name: str, obs: Tensor, act: Tensor, quantiles: int | None) -> Tensor:
    """One critic's values for rows [N, n] and [N, p]: [N], or [N, quantiles] where it is told to give quantiles.

    Raises:
        GradlabError: it returns something of another shape, or was made for observations of another length.

    Example:
        >>> rows = torch.ones(3, 2)
        >>> evaluate(lambda obs, act: (obs + act).sum(-1, keepdim=True), "critic 0", rows, rows, None)
        tensor([4., 4., 4.])
    """
    try:
        # What torch.compile makes cannot be differentiated twice, and some of it gives zeros instead of an error.
        values: Any = uncompiled(critic)(*_in_its_dtype(critic, obs, act))
    except RuntimeError as error:
        n, p = obs.shape[-1], act.shape[-1]
        module = getattr(critic, "__self__", critic)
        refuse_wrong_length(error, name, module, n, (n, n + p, p))
        raise
    allowed = [(len(obs),), (len(obs), 1)] if quantiles is None else [(len(obs), quantiles)]
    if isinstance(values, Tensor) and values.shape in allowed:
        return values.reshape(allowed[0])
    if not isinstance(values, Tensor):
        raise GradlabError(
            f"{name}: returned {type(values).__name__}, not a tensor; wrap it: lambda obs, act: critic(obs, act)[0]"
        )
    found, remedy = tuple(values.shape), "wrap it so that it gives one number a row"
    if quantiles is not None:
        remedy = "mend quantiles=... of gradlab.Agent, or wrap the critic"
    elif values.ndim == 2 and len(values) == len(obs):
        remedy = f"if these are quantiles of the return, pass quantiles={found[1]} to gradlab.Agent; else wrap it"
    want = " or ".join(str(list(shape)) for shape in allowed)
    raise GradlabError(f"{name}: returned shape {list(found)} for {len(obs)} rows, not {want}; {remedy}")


def evaluate_state_value(value: StateValue, obs: Tensor) -> Tensor:
    """A value function at rows [N, n]: [N].

    Raises:
        GradlabError: it returns something of another shape, or was made for observations of another length.

    Example:
        >>> evaluate_state_value(lambda obs: obs.sum(-1, keepdim=True), torch.ones(3, 2))
        tensor([2., 2., 2.])
    """
    try:
        values: Any = uncompiled(value)(*_in_its_dtype(value, obs))
    except RuntimeError as error:
        refuse_wrong_length(error, "value", getattr(value, "__self__", value), obs.shape[-1], (obs.shape[-1],))
        raise
    if isinstance(values, Tensor) and values.shape in ((len(obs),), (len(obs), 1)):
        return values.reshape(len(obs))
    found = f"shape {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
    raise GradlabError(
        f"value: returned {found} for {len(obs)} rows, not [{len(obs)}] or [{len(obs)}, 1]; wrap it so that it gives "
        "one number a row"
    )


def _in_its_dtype(network: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Inputs in the floating type of the network's first parameter, which may be another than the actor's."""
    module = owner(network)
    dtype = None if module is None else next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
    return inputs if dtype is None else tuple(x.to(dtype) for x in inputs)


def reduce(values: Tensor, reduction: Reduction, quantiles: int | None, dropped: int) -> Tensor:
    """From every critic's values [critics, ..., B] (or [critics, ..., B, quantiles]) to the one followed, [..., B].

    A critic's value is the mean of its quantiles. "truncated" pools the quantiles of all C critics, leaves out the
    ``dropped``·C highest and takes the mean of the rest (Kuznetsov et al. 2020, arXiv 2005.04269, section 3). A value
    that is NaN makes the result NaN, however high it would rank.

    Example:
        >>> values = torch.tensor([[[1.0, 2.0, 9.0]], [[0.0, 1.0, 2.0]]])
        >>> [float(reduce(values, which, 3, 1)) for which in ("first", "min", "mean", "truncated")]
        [4.0, 1.0, 2.5, 1.0]
    """
    if reduction == "truncated":
        pooled = values.movedim(0, -2).flatten(-2)
        kept = pooled.sort(-1).values[..., : pooled.shape[-1] - dropped * len(values)].mean(-1)
        # Sorting ranks NaN highest, where truncation would hide it.
        return torch.where(pooled.isnan().any(-1), torch.nan, kept)
    if quantiles is not None:
        values = values.mean(-1)
    if reduction == "first":
        return values[0]
    return values.min(0).values if reduction == "min" else values.mean(0)


def check_reduction(reduction: str, quantiles: int | None, dropped: int) -> None:
    """Refuse a reduction that is none, or truncation without quantiles to truncate.

    Raises:
        GradlabError: it is so.
    """
    if reduction not in REDUCTIONS:
        raise GradlabError(f"reduction: {reduction!r} is none of {', '.join(map(repr, REDUCTIONS))}")
    if quantiles is not None and quantiles < 1:
        raise GradlabError(f"quantiles: {quantiles}; a critic gives at least one, or None for a plain value")
    if dropped and not 0 <= dropped < (quantiles or 0):
        raise GradlabError(f"drop_quantiles: {dropped} of {quantiles} quantiles; keep at least one of each critic")
    if reduction == "truncated" and quantiles is None:
        raise GradlabError("reduction: 'truncated' needs quantile critics; pass quantiles=... to gradlab.Agent")


def refuse_wrong_length(error: RuntimeError, name: str, module: Any, length: int, fits: tuple[int, ...]) -> None:
    """For an error inside a network: refuse in one line where its first linear layer wants another input length.

    Nothing is raised otherwise: the error may be a transform's (``torch.func``), which callers know how to handle.

    Raises:
        GradlabError: the first linear layer takes none of ``fits``.
    """
    layers = module.modules() if isinstance(module, nn.Module) else ()
    wanted = next((layer.in_features for layer in layers if isinstance(layer, nn.Linear)), None)
    if wanted is None or wanted in fits:
        return
    raise GradlabError(
        f"{name}: its first layer takes {wanted} numbers, but the observations have {length} each; is this the "
        "environment it was trained on? (pass obs_size=... to gradlab.Agent to have this checked first)"
    ) from error
