"""What a linear layer contributes to the Jacobian of the head, without ever forming it.

For a layer y = W x + b, a state's Jacobian is ∂h_i/∂W = D_i ⊗ x_i and ∂h_i/∂b = D_i, with D_i = ∂h_i/∂y_i. One run
of the head with hooks gives every x_i; one backward pass, mapped over the m coordinates, gives every D_i.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.products import NOTHING_TO_DIFFERENTIATE, head_with_graph


@dataclass(frozen=True)
class Factor:
    """Jacobians J_i of one layer's parameters in factored form: J_i J_jᵀ = (x_i·x_j + bias) D_i D_jᵀ.

    Attributes:
        outer: D, [B, m, out], the head's Jacobian to the layer's output (or a Jacobian itself, ``inner`` None).
        inner: x, [B, in], the layer's input; None where the weight is frozen or there is none.
        bias: whether the layer has a trainable bias.
    """

    outer: Tensor
    inner: Tensor | None
    bias: bool

    def scale(self, rows: slice, columns: slice) -> Tensor | None:
        """The factor x_i·x_j + bias for pairs of states, [rows, columns]; None where it is one."""
        if self.inner is None:
            return None
        return self.inner[rows] @ self.inner[columns].T + float(self.bias)

    def scale_of_blocks(self) -> Tensor | None:
        """The factor ‖x_i‖² + bias of the diagonal blocks, [B]; None where it is one."""
        return None if self.inner is None else self.inner.double().square().sum(-1) + float(self.bias)


@dataclass(frozen=True)
class _Call:
    x: Tensor
    edge: GradientEdge


@torch.enable_grad()
def factor_linear_layers(agent: Agent, obs: Tensor) -> tuple[list[Factor], list[str], int]:
    """Factors of the linear layers that allow it, the parameters left over, and the head's size m.

    A parameter is left over, for a materialised Jacobian, unless it is used exactly once, by an ``nn.Linear``
    called exactly once, with a [B, in] input whose row i reaches head i alone. Parameters that the head does not
    depend on are in neither list.

    Raises:
        GradlabError: the states of the batch interact, the actor is random (dropout in training mode), or the head
            depends on no trainable parameter.
    """
    refuse_modes(agent.actor)
    calls: dict[nn.Module, list[_Call]] = {}

    def record(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> None:
        x = args[0] if args else kwargs["input"]
        if output.requires_grad:
            # The edge, not the tensor: an in-place activation would replace what the tensor means.
            calls.setdefault(module, []).append(_Call(x.detach(), get_gradient_edge(output)))

    linears = [
        module
        for module in agent.actor.modules()
        if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward and _trainable(module)
    ]
    # First in line, so that a hook of the module's own cannot have changed the output we see.
    handles = [module.register_forward_hook(record, prepend=True, with_kwargs=True) for module in linears]
    leaf = obs.detach().requires_grad_()
    try:
        head = head_with_graph(agent, leaf.clone())
    finally:
        for handle in handles:
            handle.remove()

    uses = _uses(head)
    names = {id(parameter): name for name, parameter in agent.named_parameters().items() if uses[id(parameter)]}
    if not names:
        raise GradlabError(NOTHING_TO_DIFFERENTIATE)
    once = {
        module: found[0]
        for module, found in calls.items()
        if len(found) == 1 and found[0].x.ndim == 2 and len(found[0].x) == len(obs)
    }
    aligned = _refuse_interaction(head, leaf, [call.edge for call in once.values()])
    layers = [item for item, keep in zip(once.items(), aligned, strict=True) if keep]
    outers = _outer_jacobians(head, [call.edge for _, call in layers])

    factors = []
    for (module, call), outer in zip(layers, outers, strict=True):
        if outer is None:
            continue
        own = {key: p for key, p in _trainable(module).items() if id(p) in names and uses[id(p)] == 1}
        for parameter in own.values():
            del names[id(parameter)]
        if own:
            factors.append(Factor(outer, call.x if "weight" in own else None, "bias" in own))
    return factors, list(names.values()), head.shape[1]


def _trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    # Parameters of its own only: a re-parametrised weight (weight norm) is not a leaf and is left over.
    own = module.named_parameters(recurse=False)
    return {key: p for key, p in own if key in ("weight", "bias") and p.requires_grad}


def refuse_modes(actor: nn.Module) -> None:
    """Refuse layers in training mode that make a state's head random or dependent on the rest of the batch.

    Raises:
        GradlabError: there is batch normalisation without running statistics or in training mode, or dropout in it.

    Example:
        >>> refuse_modes(nn.Sequential(nn.Linear(1, 1), nn.Dropout()).eval())
    """
    for name, module in actor.named_modules():
        where = f"{name or 'actor'} ({type(module).__name__})"
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            raise GradlabError(
                f"actor: {where} mixes the states of a batch in training mode; call .eval() on a snapshot's actor"
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise GradlabError(f"actor: {where} is random in training mode; call .eval() on a snapshot's actor")


def _refuse_interaction(head: Tensor, leaf: Tensor, edges: list[GradientEdge]) -> list[bool]:
    """For each edge whether rows stay apart; refuse when they do not for the observations themselves."""
    half = len(leaf) // 2
    if half == 0:
        return [True] * len(edges)
    # Uneven weights, because an even sum is blind to heads that are centred or normalised.
    weights = torch.arange(1, half * head.shape[1] + 1, device=head.device).cos().to(head).reshape(half, -1)
    grads = torch.autograd.grad(
        head[:half], [get_gradient_edge(leaf), *edges], weights, retain_graph=True, allow_unused=True
    )
    apart = [g is None or not bool(g[half:].any()) for g in grads]
    if not apart[0] and not bool(torch.isfinite(head).all()):
        raise GradlabError(
            "actor: its head is NaN or infinite at some of the states; its weights have diverged, or the observations "
            "are beyond its numbers"
        )
    if not apart[0]:
        raise GradlabError(
            "actor: the states of a batch interact (a layer normalises over the batch?); "
            "per-state gradients do not exist: call .eval() on a snapshot's actor"
        )
    return apart[1:]


def _uses(head: Tensor) -> Counter[int]:
    """How often each leaf occurs in the graph of the head, by id."""
    uses: Counter[int] = Counter()
    root = head.grad_fn
    stack: list[Node] = [] if root is None else [root]
    seen = set(stack)
    while stack:
        for node, _ in stack.pop().next_functions:
            if node is None:
                continue
            variable = getattr(node, "variable", None)
            if variable is not None:
                uses[id(variable)] += 1
            elif node not in seen:
                seen.add(node)
                stack.append(node)
    return uses


def _outer_jacobians(head: Tensor, edges: list[GradientEdge]) -> list[Tensor | None]:
    """D of each edge, [B, m, out]; None where the head does not depend on it."""
    if not edges:
        return []
    size = head.shape[1]
    units = torch.eye(size, dtype=head.dtype, device=head.device)[:, None, :].expand(size, *head.shape)
    try:
        # One backward pass for all coordinates.
        batched = torch.autograd.grad(head, edges, units, retain_graph=True, allow_unused=True, is_grads_batched=True)
        return [None if g is None else g.transpose(0, 1) for g in batched]
    except RuntimeError:
        # An operation of the actor, a function of the user's own say, that cannot be mapped over a batch.
        columns = [torch.autograd.grad(head, edges, unit, retain_graph=True, allow_unused=True) for unit in units]
        return [None if grads[0] is None else torch.stack(grads, 1) for grads in zip(*columns, strict=True)]
