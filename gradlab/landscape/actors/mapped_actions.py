"""Continuous proto-actions mapped to the nearest items of a finite set: what the mapping costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor, shown, switch, whole_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.landscape.entrance import measured_agent
from gradlab.landscape.surface import check_critic
from gradlab.landscape.truncated.surrogate_agents import check_actions
from gradlab.statistics.state_means import state_mean, state_share

#: Distances, and rows of Q, held at once.
_DISTANCES, _ROWS = 1 << 24, 1 << 17


@dataclass(frozen=True)
class MappingGap:
    """What mapping proto-actions to items costs at S states, in units of Q.

    Attributes:
        nearest: indices of the k nearest items, nearest first, [S, k].
        distance: how far they are, in units of the items' coordinates, [S, k].
        proto_value: Q at the proto-action, [S].
        values: Q with the k nearest items in its place, [S, k].
        chosen: index of the item with the highest Q of the k nearest, [S]; the nearest of equals.
        best: index of the item with the highest Q of all, [S]; None where not asked for.
        best_value: that Q, [S]; None likewise.
        mapping: mean of Q(proto) − Q(nearest item); negative where items are better than what the actor asks for.
        choice: mean of Q(chosen) − Q(nearest item), never negative: what choosing among k gains.
        left: mean of Q(best of all) − Q(chosen), never negative: what a larger k could still gain. None without
            ``best``.
        nearest_chosen: share of states where the nearest item is the best of the k.
        nearest_best: share of states where the nearest item is the best of all. None without ``best``.
        chosen_best: share of states where the chosen item is the best of all, or as good. None without ``best``.
    """

    nearest: Tensor
    distance: Tensor
    proto_value: Tensor
    values: Tensor
    chosen: Tensor
    best: Tensor | None
    best_value: Tensor | None
    mapping: Estimate
    choice: Estimate
    left: Estimate | None
    nearest_chosen: Estimate
    nearest_best: Estimate | None
    chosen_best: Estimate | None


def mapping_gap(
    agent: Agent,
    obs: Any,
    items: Any,
    proto: Tensor | None = None,
    *,
    nearest: int = 1,
    coordinates: Sequence[int] | None = None,
    critic: int | None = None,
    whole: bool = True,
    episode: Any = None,
) -> MappingGap:
    """Map proto-actions to items, let Q choose among the nearest, and compare with what there is.

    The nearest-neighbour policy of G. Dulac-Arnold et al. 2015, *Deep reinforcement learning in large discrete action
    spaces* (arXiv 1512.07679, section 4.2: the Wolpertinger), as in SAVO's recommender (arXiv 2410.11833).
    Hybrid actions have a discrete part, the ``coordinates`` that items stand for, and a continuous one that stays as
    the actor has it, for every item alike.

    Args:
        agent: the agent, whose critic judges.
        obs: observations [S, n].
        items: the finite set, [N, d], in the critic's action units; they may lie outside the action box.
        proto: proto-actions [S, p]; the actor's own by default.
        nearest: number k of nearest items from which Q chooses, at most N.
        coordinates: which d of the p action coordinates the items stand for; all by default.
        critic: index of the critic; the one the actor follows by default.
        whole: whether Q is asked for every item in every state, S·N rows, for what is best of all.
        episode: which episode a state is from, [S]; every state is its own when None.

    Raises:
        GradlabError: the set is empty or not finite, shapes do not fit, ``nearest`` is above N, or Q is NaN.

    Example:
        >>> agent = Agent(torch.nn.Identity(), [lambda obs, act: -(act - 0.4).abs().sum(-1)], [-1.0], [1.0])
        >>> found = mapping_gap(agent, torch.full((1, 1), 0.4), [[0.0], [0.3], [0.6], [1.0]], nearest=2)
        >>> found.nearest.tolist(), found.chosen.tolist(), round(found.mapping.value, 3)
        ([[1, 2]], [1], 0.1)
    """
    agent = measured_agent(agent)
    check_critic(agent, critic)
    states = agent.observations(obs)
    columns = _columns(agent, coordinates)
    table = _items(items, len(columns)).to(states)
    count, whole = whole_number("nearest", nearest, 1), switch("whole", whole)
    if count > len(table):
        raise GradlabError(f"nearest: {count} of {len(table)} items; choose among as many as there are, or fewer")
    with torch.no_grad():
        asked = agent.action(states) if proto is None else real_tensor("proto", proto)
        asked = check_actions("proto", agent, states, asked[None])[0]
        index, distance = nearest_items(asked[:, columns], table, count)
        proto_value = agent.q(states, asked, critic=critic)
        values = agent.q(states, _mapped(asked, table[index.T], columns), critic=critic).T
        top = _best_of_all(agent, states, asked, table, columns, critic) if whole else None
    if not bool(torch.isfinite(values).all() and torch.isfinite(proto_value).all()):
        raise GradlabError("critic: NaN or infinite values at proto-actions or items; has it diverged?")
    chosen_value, rank = values.max(1)
    chosen = index.gather(1, rank[:, None])[:, 0]
    said: dict[str, Any] = {"episode": episode, "objective": str(agent.objective)}
    return MappingGap(
        nearest=index,
        distance=distance,
        proto_value=proto_value,
        values=values,
        chosen=chosen,
        best=None if top is None else top[1],
        best_value=None if top is None else top[0],
        mapping=state_mean(proto_value - values[:, 0], **said),
        choice=state_mean(chosen_value - values[:, 0], **said, least=0),
        left=None if top is None else state_mean((top[0] - chosen_value).clamp_min(0), **said, least=0),
        nearest_chosen=state_share(rank == 0, **said),
        # By value, as two items may be equally good.
        nearest_best=None if top is None else state_share(values[:, 0] >= top[0], **said),
        chosen_best=None if top is None else state_share(chosen_value >= top[0], **said),
    )


def nearest_items(points: Tensor, items: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """The nearest items to each point by Euclidean distance, a block of distances at a time.

    Args:
        points: [S, d].
        items: [N, d].
        count: how many of them, k, from 1 to N.

    Returns:
        Their indices and distances, nearest first, [S, k] each; of equally distant ones the first.

    Raises:
        GradlabError: shapes do not fit or ``count`` is out of range.

    Example:
        >>> nearest_items(torch.tensor([[0.4]]), torch.tensor([[0.0], [1.0], [0.5]]), 2)[0]
        tensor([[2, 0]])
    """
    points, items = real_tensor("points", points), real_tensor("items", items)
    count = whole_number("count", count, 1)
    if points.ndim != 2 or items.ndim != 2 or points.shape[1] != items.shape[1] or not count <= len(items):
        raise GradlabError(
            f"nearest items: {count} of items {tuple(items.shape)} to points {tuple(points.shape)}; expected [S, d], "
            "[N, d] and from 1 to N of them"
        )
    points = points if points.is_floating_point() else points.double()
    items = items.to(points)
    indices, distances = [], []
    for some in points.split(max(1, _DISTANCES // len(items))):
        # The short cut by inner products loses half of the digits where points are near.
        apart = torch.cdist(some, items, compute_mode="donot_use_mm_for_euclid_dist")
        kept, order = _smallest(apart, count)
        indices.append(order)
        distances.append(kept)
    return torch.cat(indices), torch.cat(distances)


def _smallest(apart: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` smallest of each row, ascending, the first of equals; topk promises no order among equals."""
    if count == 1:
        least = apart.argmin(1, keepdim=True)
        return apart.gather(1, least), least
    bound = apart.topk(count, largest=False).values[:, -1:]
    rank = torch.where(apart < bound, 0, torch.where(apart == bound, 1, 2))
    # Below the bound all are taken; of those on it the first ones.
    place = torch.arange(apart.shape[1], device=apart.device)
    order = (rank * apart.shape[1] + place).topk(count, largest=False).indices.sort(1).values
    kept, within = apart.gather(1, order).sort(dim=1, stable=True)
    return kept, order.gather(1, within)


def _columns(agent: Agent, coordinates: Sequence[int] | None) -> list[int]:
    size = agent.action_size
    if not (coordinates is None or isinstance(coordinates, (list, tuple, range))):
        raise GradlabError(f"coordinates: {shown(coordinates)}; give a list of action coordinates, or None for all")
    columns = list(range(size)) if coordinates is None else [whole_number("coordinates", c, 0) for c in coordinates]
    if not columns or len(set(columns)) != len(columns) or max(columns) >= size:
        raise GradlabError(f"coordinates: {columns}; expected different action coordinates of 0 to {size - 1}")
    return columns


def _items(items: Any, width: int) -> Tensor:
    table = real_tensor("items", items)
    if table.ndim != 2 or len(table) == 0 or table.shape[1] != width or not bool(torch.isfinite(table).all()):
        raise GradlabError(
            f"items: shape {tuple(table.shape)} or values that are not finite; expected [items, {width}], not empty"
        )
    return table.detach()


def _mapped(proto: Tensor, items: Tensor, columns: list[int]) -> Tensor:
    """Proto-actions [S, p] with items [k, S, d] in the place of some coordinates: [k, S, p]."""
    actions = proto.expand(len(items), *proto.shape).clone()
    actions[..., columns] = items
    return actions


def _best_of_all(
    agent: Agent, states: Tensor, proto: Tensor, items: Tensor, columns: list[int], critic: int | None
) -> tuple[Tensor, Tensor]:
    """The highest Q of all items in each state and its first index, [S] each, in blocks of items."""
    best = proto.new_full((len(states),), -torch.inf)
    which = torch.zeros(len(states), dtype=torch.long, device=proto.device)
    block = max(1, _ROWS // len(states))
    for first in range(0, len(items), block):
        some = items[first : first + block]
        values = agent.q(states, _mapped(proto, some[:, None].expand(-1, len(states), -1), columns), critic=critic)
        if bool(values.isnan().any()):
            raise GradlabError("critic: NaN values at items; has it diverged?")
        highest, index = values.max(0)
        better = highest > best
        best, which = torch.where(better, highest, best), torch.where(better, first + index, which)
    return best, which
