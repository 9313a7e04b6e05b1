"""Products with the critic's Hessians at many states at once, without forming one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor, shown
from gradlab.errors import GradlabError
from gradlab.hessians import state_gradients
from gradlab.hessians.along import difference_along, exact_along
from gradlab.hessians.piecewise import piecewise_linear
from gradlab.hessians.points import Points, points, step_length

#: Vectors [N, B, ·] → products [N, B, ·], both of whatever lengths the matrix has.
Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class HessianProducts:
    """Products of ∇²_aa Q and ∇²_as Q with N vectors at each of B states; made by ``hessian_products``.

    Attributes:
        states: number of states B.
        action_size: p.
        obs_size: n.
        scale: the step δ of central differences, in the critic's action units; None where products are exact.
        linear: whether products are linear in the vector. Those of a piecewise-linear critic at a scale are not: along
            each direction they count the kinks that a step in it crosses.
        refused: why there is no ∂/∂s, in a line; empty where there is.
    """

    states: int
    action_size: int
    obs_size: int
    scale: float | None
    linear: bool
    _along: Callable[[Tensor, Tensor | None, bool], Tensor]
    _select: Callable[[slice], HessianProducts]
    refused: str = ""

    def action(self, vectors: Tensor) -> Tensor:
        """∇²_aa Q v: vectors [N, B, p] → [N, B, p], float64.

        Raises:
            GradlabError: shapes do not fit, or a product is not finite.
        """
        return self._checked(vectors, self.action_size, True, False)

    def mixed(self, vectors: Tensor) -> Tensor:
        """∇²_as Q v: vectors [N, B, n] → [N, B, p], float64; raises as ``action``."""
        return self._checked(vectors, self.obs_size, False, False)

    def mixed_transposed(self, vectors: Tensor) -> Tensor:
        """∇²_sa Q w: vectors [N, B, p] → [N, B, n], float64; raises as ``action``."""
        return self._checked(vectors, self.action_size, True, True)

    def at(self, states: slice) -> HessianProducts:
        """The products at some of the states."""
        return self._select(states)

    def _checked(self, vectors: Tensor, length: int, of_action: bool, by_state: bool) -> Tensor:
        vectors = real_tensor("vectors", vectors)
        if vectors.ndim != 3 or vectors.shape[1:] != (self.states, length):
            raise GradlabError(
                f"vectors: shape {tuple(vectors.shape)}; expected [vectors, {self.states}, {length}], one a state"
            )
        if self.refused and (by_state or not of_action):
            raise GradlabError(f"there is no ∂/∂s: {self.refused}")
        kept = vectors.detach().double()
        found = self._along(kept, None, by_state) if of_action else self._along(kept[..., :0], kept, by_state)
        if not bool(torch.isfinite(found).all()):
            bad = (~torch.isfinite(found)).any(-1).any(0).nonzero().flatten().tolist()
            raise GradlabError(f"critic: NaN or infinite second derivatives in state(s) {bad[:5]}; has it diverged?")
        return found


def hessian_products(
    agent: Agent,
    obs: Any,
    act: Any = None,
    scale: float | None = None,
    *,
    critic: int | None = None,
    obs_scale: Any = None,
) -> HessianProducts:
    """Products with ∇²_aa Q, ∇²_as Q and its transpose, at B states at once and without a p×p matrix.

    Exact ones differentiate ∇Q along the vector (forward over reverse; B. Pearlmutter 1994, *Fast exact multiplication
    by the Hessian*), which costs about two gradients. At a scale δ they are central differences of ∇Q along v,

        ∇²_aa Q v ≈ ‖v‖ [∇_a Q(s, a + δ v/‖v‖) − ∇_a Q(s, a − δ v/‖v‖)] / 2δ

    and in the state the same with steps of length δ in units of ``obs_scale``: along a coordinate it is the column that
    ``second_derivatives`` gives. Actions that a step takes out of the box are evaluated there. Rows are chunked by the
    critic's size, so that memory stays near 128 MB beside the vectors.

    Args:
        agent: the agent; measured on a float64 snapshot.
        obs: observations [B, n].
        act: actions [B, p] in the critic's own coordinates; the actor's own when None.
        scale: None for exact products, otherwise the step δ in action units.
        critic: index of one critic instead of the one the actor follows.
        obs_scale: step in each observation feature relative to ``scale``, [n]; ``feature_scale(obs)`` by default.

    Raises:
        GradlabError: exact products of a piecewise-linear critic are asked for, actions are discrete, a shape does not
            fit, or the critic is not finite.

    Example:
        >>> class Critic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return -2 * act.square().sum(-1) + 3 * obs[:, 0] * act[:, 0]
        >>> H = hessian_products(Agent(torch.nn.Linear(2, 1), [Critic()], [-1.0], [1.0]), torch.zeros(1, 2))
        >>> one = torch.ones(1, 1, 1)
        >>> H.action(one).item(), H.mixed_transposed(one).flatten().tolist()
        (-4.0, [3.0, 0.0])
    """
    step = step_length(agent, scale)
    at = points(agent, obs, act, critic=critic, obs_scale=obs_scale, exact=step is None)
    if step is None:
        return _of(at, None, True, state_gradients.blocked(at.agent, at.obs, at.act, critic))
    return _of(at, step, not piecewise_linear(at.agent, at.obs, critic))


def matrix_products(action: Any, mixed: Any = None) -> HessianProducts:
    """The same products from matrices at hand, ∇²_aa Q [B, p, p] and, if any, ∇²_as Q [B, p, n].

    Raises:
        GradlabError: shapes do not fit.

    Example:
        >>> matrix_products(torch.eye(2)[None]).action(torch.ones(1, 1, 2)).tolist()
        [[[1.0, 1.0]]]
    """
    action = real_tensor("action", action)
    if action.ndim != 3 or action.shape[1] != action.shape[2]:
        raise GradlabError(f"action: shape {tuple(action.shape)}; expected square matrices [B, p, p]")
    H = action.detach().double()
    other = H[:, :, :0] if mixed is None else real_tensor("mixed", mixed).detach().to(H)
    if other.ndim != 3 or other.shape[:2] != H.shape[:2]:
        raise GradlabError(f"mixed: shape {tuple(other.shape)}; expected matrices {[*H.shape[:2]]} by n")

    def along(by_action: Tensor, by_state: Tensor | None, transposed: bool) -> Tensor:
        if by_state is not None:
            return torch.einsum("bij,kbj->kbi", other, by_state.to(H))
        return torch.einsum("bji,kbj->kbi", other if transposed else H.mT, by_action.to(H))

    def select(states: slice) -> HessianProducts:
        return matrix_products(H[states], other[states])

    return HessianProducts(len(H), H.shape[1], other.shape[2], None, True, along, select)


def _of(at: Points, scale: float | None, linear: bool, refused: str = "") -> HessianProducts:
    def along(by_action: Tensor, by_state: Tensor | None, transposed: bool) -> Tensor:
        vectors = by_action if by_state is None else by_state
        return _chunked(at, vectors.to(at.obs), by_state is not None, transposed, scale)

    def select(states: slice) -> HessianProducts:
        return _of(at.at(states), scale, linear, refused)

    return HessianProducts(len(at.obs), at.act.shape[1], at.obs.shape[1], scale, linear, along, select, refused)


def _product(at: Points, vectors: Tensor, in_state: bool, by_state: bool, scale: float | None) -> Tensor:
    if scale is None:
        return exact_along(at, vectors, in_state, by_state)
    return difference_along(at, vectors, in_state, by_state, scale)


def _chunked(at: Points, vectors: Tensor, in_state: bool, by_state: bool, scale: float | None) -> Tensor:
    """Products [N, B, ·] a chunk of vectors and states at a time."""
    count, states = vectors.shape[:2]
    length = at.obs.shape[1] if by_state else at.act.shape[1]
    found = vectors.new_empty(count, states, length)
    rows = at.rows_at_a_time
    per_state = min(count, rows)
    width = max(1, rows // max(per_state, 1))
    for start in range(0, states, width):
        some = slice(start, start + width)
        for first in range(0, count, per_state):
            these = slice(first, first + per_state)
            found[these, some] = _product(at.at(some), vectors[these, some], in_state, by_state, scale)
    return found


def checked_products(products: Any) -> HessianProducts:
    """The products, or one line on what they are instead.

    Raises:
        GradlabError: they are no ``HessianProducts``.
    """
    if not isinstance(products, HessianProducts):
        raise GradlabError(f"products: {shown(products)}; give those of hessian_products or matrix_products")
    return products
