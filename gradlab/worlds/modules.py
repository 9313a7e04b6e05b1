"""Actors and heads that the worlds' agents are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ConstantActor(nn.Module):
    """The same action in every state; the action [p] is the only parameter, float64.

    Example:
        >>> ConstantActor(torch.tensor([1.0, 2.0]))(torch.zeros(2, 1)).tolist()
        [[1.0, 2.0], [1.0, 2.0]]
    """

    def __init__(self, action: Tensor) -> None:
        super().__init__()
        self.action = nn.Parameter(action.detach().double().clone())

    def forward(self, obs: Tensor) -> Tensor:
        """Observations [B, n] → [B, p]."""
        return self.action.expand(len(obs), -1)


class FixedLogStd:
    """The head (mean, log_std) [B, 2p] of a Gaussian policy: what the actor returns and a fixed log_std [p].

    Example:
        >>> FixedLogStd(torch.tensor([-1.0]))(nn.Identity(), torch.zeros(1, 1))
        tensor([[ 0., -1.]])
    """

    def __init__(self, log_std: Tensor) -> None:
        self.log_std = log_std.detach().clone()

    def __call__(self, actor: Any, obs: Tensor) -> Tensor:
        """The head at observations [B, n]."""
        mean = actor(obs)
        return torch.cat([mean, self.log_std.to(mean).expand_as(mean)], dim=-1)


class QuadraticCritic(nn.Module):
    """Q(s, a) = c + ½ aᵀH_aa a + aᵀH_as s + ½ sᵀH_ss s.

    Args:
        action: H_aa, [p, p].
        mixed: H_as, [p, n].
        state: H_ss, [n, n].
        constant: c, of no dimension.

    Example:
        >>> one = torch.ones(1, 1)
        >>> QuadraticCritic(-2 * one, one, 0 * one, torch.tensor(3.0))(one, one)
        tensor([3.])
    """

    action: Tensor
    mixed: Tensor
    state: Tensor
    constant: Tensor

    def __init__(self, action: Tensor, mixed: Tensor, state: Tensor, constant: Tensor) -> None:
        super().__init__()
        parts = {"action": action, "mixed": mixed, "state": state, "constant": constant}
        for name, part in parts.items():
            self.register_buffer(name, part.detach().clone())

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """Observations [..., n] and actions [..., p] → [...]."""
        mixed = torch.einsum("...i,ij,...j->...", act, self.mixed, obs)
        return self.constant + mixed + (quadratic_form(act, self.action) + quadratic_form(obs, self.state)) / 2


def quadratic_form(vector: Tensor, matrix: Tensor) -> Tensor:
    """The form vᵀMv of vectors [..., k] → [...].

    Example:
        >>> quadratic_form(torch.tensor([1.0, 2.0]), torch.eye(2))
        tensor(5.)
    """
    return torch.einsum("...i,ij,...j->...", vector, matrix, vector)


class TableCritic(nn.Module):
    """Q(s, a) of one-hot states and one-hot actions (or points of the simplex, where it is linear).

    Args:
        table: Q, [S, A].

    Example:
        >>> TableCritic(torch.tensor([[1.0, 2.0]]))(torch.ones(1, 1), torch.tensor([[0.0, 1.0]]))
        tensor([2.])
    """

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table.detach().clone())

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """Observations [..., S] and actions [..., A] → [...]."""
        return ((obs @ self.table) * act).sum(-1)
