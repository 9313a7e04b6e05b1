"""Optima of one landscape against those of another, at the same states."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.landscape.found import LocalOptima


def counting_optima(found: LocalOptima, threshold: float) -> list[Tensor]:
    """The optima of each state whose persistence is at least ``threshold`` of the range, [k_s, p] each.

    Example:
        >>> from gradlab.landscape import local_optima
        >>> found = local_optima(lambda a: (9 * a).sin().sum(-1), [-1.0], [1.0])
        >>> len(counting_optima(found, 0.01)[0])
        4
    """
    ranges = found.value_range.tolist()
    return [a[p >= threshold * r] for a, p, r in zip(found.actions, found.persistence, ranges, strict=True)]


def unmatched(some: list[Tensor], others: list[Tensor], diagonal: Tensor, radius: float) -> Tensor:
    """How many of each state's ``some`` have none of ``others`` within the radius, [S].

    Args:
        some: places [k_s, p], a tensor a state.
        others: places [j_s, p], likewise.
        diagonal: by what coordinates are divided, [p], so that a distance of one is the box's diagonal.
        radius: in that unit.

    Example:
        >>> here, there = [torch.tensor([[0.0], [1.0]])], [torch.tensor([[0.05]])]
        >>> unmatched(here, there, torch.tensor([2.0]), 0.1).tolist()
        [1.0]
    """
    some, others = ([part / diagonal for part in parts] for parts in (some, others))
    table, there = _padded(some)
    near, filled = _padded(others)
    distance = torch.cdist(table, near).masked_fill(~filled[:, None], torch.inf)
    nearest = distance.amin(-1) if distance.shape[-1] else torch.full_like(table[..., 0], torch.inf)
    return ((nearest > radius) & there).double().sum(-1)


def below_threshold(agent: Agent, states: Tensor, critic: int | None, optima: list[Tensor], cut: Tensor) -> Tensor:
    """How many of each state's optima [k_s, p] lie where Q ≤ ``cut`` [S], [S].

    Example:
        >>> agent = Agent(torch.nn.Identity(), [lambda obs, act: act.sum(-1)], [-1.0], [1.0])
        >>> below_threshold(agent, torch.zeros(1, 1), None, [torch.tensor([[0.0], [1.0]])], torch.tensor([0.5]))
        tensor([1.], dtype=torch.float64)
    """
    table, there = _padded(optima)
    # Empty places hold the box's corner rather than an action that may lie outside.
    table = torch.where(there[..., None], table, agent.action_low)
    with torch.no_grad():
        values = agent.q(states, table.transpose(0, 1), critic=critic) if there.any() else table[..., 0].T
    return ((values <= cut).T & there).double().sum(-1)


def _padded(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    table = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    counts = torch.tensor([len(part) for part in parts], device=table.device)
    return table, torch.arange(table.shape[1], device=table.device) < counts[:, None]
