"""The tangent kernel K_ij = J_i J_jᵀ of the actor's head, J_i = ∂h_θ(s_i)/∂θ.

Whatever a policy-gradient estimator does in parameter space at fixed states follows from its cotangents and K
(A. Jacot, F. Gabriel, C. Hongler 2018, *Neural tangent kernel*, section 4), so K is what replaces per-sample
parameter gradients. It is built layer by layer (``gradlab.layers``); J is never formed for linear layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.layers import Factor, factor_linear_layers
from gradlab.products import check_cotangents, jacobians, jacobians_by_loop, parameter_gradient

__all__ = ["TangentKernel", "materialised_kernel", "parameter_gradient", "tangent_kernel"]

#: Numbers of K that one step of its accumulation makes (2 MB): small, so that the peak is K itself.
_NUMBERS = 2**18


@dataclass(frozen=True)
class TangentKernel:
    """Inner products of the head's per-state Jacobians.

    Attributes:
        blocks: the diagonal blocks K_ii, [B, m, m], float64.
        matrix: all of K, [B·m, B·m], row i·m + k, float64; None when it was not asked for or does not fit.

    Example:
        >>> kernel = TangentKernel(torch.eye(2).expand(3, 2, 2), torch.eye(6))
        >>> kernel.states, kernel.head_size
        (3, 2)
    """

    blocks: Tensor
    matrix: Tensor | None = None

    @property
    def states(self) -> int:
        """Number B of states."""
        return self.blocks.shape[0]

    @property
    def head_size(self) -> int:
        """Size m of the head."""
        return self.blocks.shape[1]

    def product(self, v: Tensor) -> Tensor:
        """K v for cotangents [..., B, m], same shape, float64.

        Raises:
            GradlabError: there is no matrix, or v does not fit.
        """
        if self.matrix is None:
            raise GradlabError("tangent kernel: only its blocks are there; use gradlab.products.kernel_product")
        check_cotangents(v, self.states, self.head_size)
        return (v.to(self.matrix).flatten(-2) @ self.matrix).reshape(v.shape)

    def select(self, states: Tensor) -> TangentKernel:
        """The kernel of some of the states, given as a mask [B] or as indices."""
        if self.matrix is None:
            return TangentKernel(self.blocks[states])
        index = torch.arange(self.states, device=self.matrix.device)[states]
        square = self.matrix.reshape(self.states, self.head_size, self.states, self.head_size)
        size = len(index) * self.head_size
        return TangentKernel(self.blocks[states], square[index][:, :, index].reshape(size, size))


def tangent_kernel(agent: Agent, obs: Any, *, full: bool = True, memory: int = 2**30) -> TangentKernel:
    """The tangent kernel at these states, layer by layer.

    A linear layer with input x and head-to-output Jacobian D adds (x_i·x_j + 1) D_i D_jᵀ (without the 1 where it
    has no trainable bias, without x_i·x_j where its weight is frozen). Parameters of anything else (normalisation,
    convolution, a free log-std, a layer called twice, shared weights) go through their materialised Jacobians.
    Model passes are in the model's dtype, products and sums in float64.

    Args:
        agent: the agent; neither changed nor given gradients. Pass a snapshot: hooks live on its actor meanwhile.
        obs: observations [B, n].
        full: whether to build all of K, not only its diagonal blocks.
        memory: bytes that K and the materialised Jacobians may take; where they would take more, only the
            blocks are built and ``matrix`` is None.

    Raises:
        GradlabError: the states of a batch interact (batch normalisation in training mode), the actor is random
            (dropout in training mode), or the head is not [B, m].

    Example:
        >>> actor = torch.nn.Linear(2, 1)
        >>> agent = Agent(actor, [], action_low=[-1], action_high=[1])
        >>> tangent_kernel(agent, torch.tensor([[1.0, 0.0], [3.0, 2.0]])).matrix
        tensor([[ 2.,  4.],
                [ 4., 14.]], dtype=torch.float64)
    """
    obs = agent.observations(obs)
    factors, left_over, size = factor_linear_layers(agent, obs)
    named = agent.named_parameters()
    rest = sum(named[name].numel() for name in left_over)
    rows = len(obs) * size
    full = full and 8 * rows * (rows + 2 * rest) <= memory
    if left_over and full:
        factors += [Factor(jacobian, None, False) for jacobian in jacobians(agent, obs, left_over)]
        left_over = []
    blocks = torch.zeros(len(obs), size, size, dtype=torch.float64, device=obs.device)
    for factor in factors:
        _add_blocks(blocks, factor)
    if left_over:
        chunk = max(1, memory // (16 * size * rest))
        for part, chunk_obs in zip(blocks.split(chunk), obs.split(chunk), strict=True):
            for jacobian in jacobians(agent, chunk_obs, left_over):
                _add_blocks(part, Factor(jacobian, None, False))
    return TangentKernel(blocks, _matrix(factors, len(obs), size, obs.device) if full else None)


def materialised_kernel(agent: Agent, obs: Any, *, full: bool = True) -> TangentKernel:
    """The same kernel, slow and obvious: every Jacobian materialised by one backward pass per head coordinate.

    The test oracle of :func:`tangent_kernel`; takes B·m·P numbers of memory.

    Raises:
        GradlabError: the head is not [B, m].

    Example:
        >>> agent = Agent(torch.nn.Linear(2, 1), [], action_low=[-1], action_high=[1])
        >>> obs = torch.tensor([[1.0, 0.0], [3.0, 2.0]])
        >>> torch.equal(materialised_kernel(agent, obs).matrix, tangent_kernel(agent, obs).matrix)
        True
    """
    obs = agent.observations(obs)
    jacobian = jacobians_by_loop(agent, obs, list(agent.named_parameters()))
    states, size, _ = jacobian.shape
    blocks = torch.stack([one.double() @ one.double().T for one in jacobian])
    if not full:
        return TangentKernel(blocks)
    matrix = torch.zeros(states * size, states * size, dtype=torch.float64, device=obs.device)
    for columns in jacobian.flatten(0, 1).split(4096, dim=1):
        matrix += columns.double() @ columns.double().T
    return TangentKernel(blocks, matrix)


def _add_blocks(blocks: Tensor, factor: Factor) -> None:
    outer, scale = factor.outer.double(), factor.scale_of_blocks()
    products = outer @ outer.mT
    if scale is None:
        blocks += products
    else:
        blocks.addcmul_(products, scale[:, None, None])


def _matrix(factors: list[Factor], states: int, size: int, device: torch.device) -> Tensor:
    matrix = torch.zeros(states * size, states * size, dtype=torch.float64, device=device)
    square = matrix.reshape(states, size, states, size)
    step = max(1, _NUMBERS // (states * size * size))
    starts = range(0, states, step)
    for factor in factors:
        inner = None if factor.inner is None else factor.inner.double()
        double = Factor(factor.outer.double(), inner, factor.bias)
        flat = double.outer.flatten(0, 1)
        # The upper triangle only: K is symmetric.
        for start in starts:
            rows, columns = slice(start, start + step), slice(start, states)
            target = square[rows, :, columns]
            product = (flat[start * size : (start + step) * size] @ flat[start * size :].T).reshape(target.shape)
            scale = double.scale(rows, columns)
            if scale is None:
                target += product
            else:
                target.addcmul_(product, scale[:, None, :, None])
    for start in starts:
        below, within = slice((start + step) * size, None), slice(start * size, (start + step) * size)
        matrix[below, within] = matrix[within, below].T
        # A matrix product need not be symmetric to the last bit: that depends on the processor's kernels.
        block = matrix[within, within]
        block.copy_(block.triu() + block.triu(1).T)
    return matrix
