"""Products with the Jacobian of the head, J_i = ∂h_θ(s_i)/∂θ, and with the tangent kernel, one draw at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from gradlab.agent import Agent
from gradlab.errors import GradlabError

#: Numbers a batched product may hold at a time for its draws (128 MB in float64).
_NUMBERS = 2**24

NOTHING_TO_DIFFERENTIATE = "head: depends on no trainable parameter of the actor; nothing to differentiate"


def head_with_graph(agent: Agent, obs: Tensor) -> Tensor:
    """The head [B, m] with its graph to the actor's parameters, for callers that have enabled gradients.

    Raises:
        GradlabError: the head is not [B, m], or depends on no trainable parameter.
    """
    head = agent.head(obs)
    if head.ndim != 2 or len(head) != len(obs):
        raise GradlabError(
            f"head: shape {tuple(head.shape)} for {len(obs)} states; it must be [states, m]: mend head=... of the Agent"
        )
    if not head.requires_grad:
        raise GradlabError(NOTHING_TO_DIFFERENTIATE)
    return head


def check_cotangents(v: Tensor, states: int, size: int) -> None:
    """Refuse cotangents whose last two dimensions are not [states, size].

    Raises:
        GradlabError: they are not.
    """
    if v.shape[-2:] != (states, size):
        raise GradlabError(f"cotangents: shape {tuple(v.shape)}; this agent and batch need [..., {states}, {size}]")


def check_draws(v: Tensor, states: int, size: int, valid: Tensor | None = None) -> None:
    """Refuse draws that are not [D ≥ 1, states, size], or not finite at the valid states (mask [B], all if None).

    Raises:
        GradlabError: they are not; non-finite ones are counted and located.
    """
    if v.ndim != 3 or len(v) == 0:
        raise GradlabError(f"cotangents: shape {tuple(v.shape)}; expected [draws, {states}, {size}], not empty")
    check_cotangents(v, states, size)
    _refuse_not_finite(v, valid)


def _refuse_not_finite(v: Tensor, valid: Tensor | None = None) -> None:
    """Refuse draws [D, B, m] that are NaN or infinite at a valid state, counted and located."""
    if v.numel() == 0:
        return
    low, high = v.aminmax()
    if math.isfinite(low) and math.isfinite(high):
        return
    bad = ~torch.isfinite(v).all(-1)
    if valid is not None:
        bad = bad & valid.to(v.device)
    if bool(bad.any()):
        draw, state = (int(x) for x in bad.nonzero()[0])
        raise GradlabError(
            f"cotangents: NaN or infinite in {int(bad.any(1).sum())} of {len(v)} draws at {int(bad.any(0).sum())} of "
            f"{v.shape[1]} states, first in draw {draw}, state {state}; mend the estimator or leave those states out"
        )


def all_same(draws: Tensor) -> bool:
    """Whether two draws or more are all the same, as a deterministic estimator's are."""
    # The second draw alone usually tells.
    return len(draws) > 1 and bool((draws[1] == draws[0]).all()) and bool((draws == draws[0]).all())


@torch.enable_grad()
def parameter_gradient(agent: Agent, obs: Any, v: Tensor) -> dict[str, Tensor]:
    """The policy gradient of a cotangent, g = (1/B) Σ_i J_iᵀ v_i, by one vector–Jacobian product.

    This is DESIGN's batch gradient: an ascent direction of the objective, minus a library's actor-loss gradient.

    Args:
        agent: the agent; neither changed nor given gradients.
        obs: observations [B, n].
        v: cotangents [B, m], or [D, B, m] for one gradient per draw (a batched product, in chunks).

    Returns:
        A dict like ``agent.named_parameters()``, in the parameters' dtype; with a leading D when v has draws.
        A parameter the head does not depend on gets zeros.

    Raises:
        GradlabError: v does not fit the head at these observations, or is NaN or infinite (counted and located).

    Example:
        >>> actor = nn.Linear(2, 1, bias=False)
        >>> agent = Agent(actor, [], action_low=[-1], action_high=[1])
        >>> obs, v = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0], [4.0]])
        >>> parameter_gradient(agent, obs, v)["weight"]
        tensor([[1., 2.]])
    """
    obs = agent.observations(obs)
    head = head_with_graph(agent, obs)
    if v.ndim not in (2, 3):
        raise GradlabError(f"cotangents: shape {tuple(v.shape)}; expected [B, m] or [D, B, m]")
    check_cotangents(v, *head.shape)
    _refuse_not_finite(v.detach().reshape(-1, *head.shape))
    parameters = agent.named_parameters()
    draws = v.detach().to(head).reshape(-1, *head.shape) / len(obs)
    chunks = [_gradients(head, list(parameters.values()), chunk) for chunk in draws.split(_draws(parameters, head))]
    gradients = [torch.cat(parts) for parts in zip(*chunks, strict=True)]
    return {name: g if v.ndim == 3 else g[0] for name, g in zip(parameters, gradients, strict=True)}


@torch.enable_grad()
def kernel_product(agent: Agent, obs: Any, v: Tensor) -> Tensor:
    """K v without K: (K v)_i = J_i Σ_j J_jᵀ v_j, one vector–Jacobian and one Jacobian–vector product per draw.

    The forward product is the derivative of the backward one, which is linear in its cotangent ("double
    backward"; J. Townsend 2017, *A new trick for calculating Jacobian vector products*).

    Args:
        agent: the agent; neither changed nor given gradients.
        obs: observations [B, n].
        v: cotangents [D, B, m].

    Returns:
        [D, B, m], float64 (computed in the model's own dtype).

    Raises:
        GradlabError: v does not fit the head at these observations.

    Example:
        >>> actor = nn.Linear(2, 1)
        >>> agent = Agent(actor, [], action_low=[-1], action_high=[1])
        >>> kernel_product(agent, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.ones(1, 2, 1))
        tensor([[[3.],
                 [3.]]], dtype=torch.float64)
    """
    obs = agent.observations(obs)
    head = head_with_graph(agent, obs)
    check_cotangents(v, *head.shape)
    named = agent.named_parameters()
    zeros = torch.zeros_like(head, requires_grad=True)
    linear = torch.autograd.grad(head, list(named.values()), zeros, create_graph=True, allow_unused=True)
    pairs = [(p, g) for p, g in zip(named.values(), linear, strict=True) if g is not None]
    used, backward = [p for p, _ in pairs], [g for _, g in pairs]
    out = []
    for chunk in v.detach().to(head).split(_draws(named, head)):
        gradients = _gradients(head, used, chunk)
        (forward,) = torch.autograd.grad(backward, zeros, gradients, retain_graph=True, is_grads_batched=True)
        out.append(forward.double())
    return torch.cat(out)


@torch.enable_grad()
def jacobians(agent: Agent, obs: Tensor, names: Sequence[str]) -> list[Tensor]:
    """Per-state Jacobians of the head to the named parameters, by a vectorised reverse mode: [B, m, numel] each.

    Where ``torch.func.vmap`` cannot follow the head (control flow on values, unsupported operations) they are
    taken state by state and given as one, [B, m, all].
    """
    named = agent.named_parameters()
    head = HeadModule(agent)

    def at_one(parameters: dict[str, Tensor], one: Tensor) -> Tensor:
        swapped = {f"actor.{name}": value for name, value in parameters.items()}
        out: Tensor = functional_call(head, swapped, (one[None],))
        return out[0]

    try:
        parts = vmap(jacrev(at_one), in_dims=(None, 0))({name: named[name].detach() for name in names}, obs)
    except RuntimeError:
        return [jacobians_by_loop(agent, obs, names)]
    return [parts[name].detach().flatten(2) for name in names]


@torch.enable_grad()
def jacobians_by_loop(agent: Agent, obs: Tensor, names: Sequence[str]) -> Tensor:
    """The same [B, m, P], slow and obvious: one backward pass per state and head coordinate."""
    named = agent.named_parameters()
    parameters = [named[name] for name in names]
    rows = []
    for one in obs:
        head = head_with_graph(agent, one[None])[0]
        for coordinate in head:
            grads = torch.autograd.grad(coordinate, parameters, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(rows).reshape(len(obs), -1, rows[0].numel())


class HeadModule(nn.Module):
    """The head function as a module, so that ``functional_call`` can swap the actor's parameters."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.actor = agent.actor
        self._agent = agent

    def forward(self, obs: Tensor) -> Tensor:
        """The head, without check: the shapes seen here are the transform's own."""
        return self._agent.head(obs)


def _draws(parameters: dict[str, nn.Parameter], head: Tensor) -> int:
    # A backward pass holds every gradient and, for each state, activations of a few hundred numbers.
    per_draw = sum(p.numel() for p in parameters.values()) + 512 * len(head)
    return max(1, _NUMBERS // per_draw)


def _gradients(head: Tensor, parameters: list[nn.Parameter], draws: Tensor) -> tuple[Tensor, ...]:
    if len(draws) == 1:
        # Without vmap: anything that has a backward pass works, and it is faster.
        one = torch.autograd.grad(head, parameters, draws[0], retain_graph=True, materialize_grads=True)
        return tuple(g[None] for g in one)
    grads = torch.autograd.grad(head, parameters, draws, retain_graph=True, is_grads_batched=True, allow_unused=True)
    return tuple(p.new_zeros(len(draws), *p.shape) if g is None else g for p, g in zip(parameters, grads, strict=True))
