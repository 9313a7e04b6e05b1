"""Exact local optima of a piecewise-linear critic along one action coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor, shown
from gradlab.errors import GradlabError
from gradlab.landscape.entrance import measured_agent
from gradlab.landscape.lines.breakpoints import segment_breakpoints
from gradlab.landscape.surface import check_critic

#: Pieces that are shorter than this share of the segment are one point: their ends differ by rounding.
_SHORTEST = 1e-10
#: Entries of a table of lowest values between nodes held at once.
_ENTRIES = 1 << 22


@dataclass(frozen=True)
class ExactOptima:
    """All strict local maxima along a line at each of S states; float64, highest first.

    Attributes:
        actions: the coordinate's value there, [k_s], in the critic's action units.
        values: Q there, [k_s].
        persistence: height over the higher of the passes to a higher point on either side, [k_s]; the highest one's
            is the value range.
        basin_share: share of uniform starts on the line whose steepest ascent ends there, [k_s]; they sum to one less
            the share that plateaus and the slopes up to them take.
        on_boundary: whether it is an end of the line, [k_s].
        value_range: highest less lowest value on the line, [S].
        best_value: the highest value, [S], be it of an optimum or of a plateau.
        pieces: number of straight pieces of each state's line, [S], integers.
    """

    actions: list[Tensor]
    values: list[Tensor]
    persistence: list[Tensor]
    basin_share: list[Tensor]
    on_boundary: list[Tensor]
    value_range: Tensor
    best_value: Tensor
    pieces: Tensor

    def count(self, threshold: float = 0.01) -> Tensor:
        """Number of optima with persistence of at least ``threshold`` times the value range, [S], integers."""
        at_least = [
            int((p >= threshold * r).sum()) for p, r in zip(self.persistence, self.value_range.tolist(), strict=True)
        ]
        return torch.tensor(at_least, device=self.value_range.device)


def exact_optima(
    agent: Agent, obs: Tensor, *, act: Tensor | None = None, coordinate: int = 0, critic: int | None = None
) -> ExactOptima:
    """All local optima of a ReLU critic along one action coordinate, by enumerating its breakpoints.

    Nothing is searched for, so that none is missed: between breakpoints Q is a straight line, hence every strict
    maximum is a breakpoint or an end of the action box. A level piece is no maximum. What it gives is the truth for
    one action and ReLU critics, and what ``local_optima`` is tested against.

    Args:
        agent: the agent; its critic is measured in float64.
        obs: observations [S, n].
        act: actions [S, p] whose other coordinates stay as they are; the actor's own when None.
        coordinate: index of the coordinate that moves over its whole range.
        critic: index of one critic instead of the one that the actor follows (the least of several counts too).

    Returns:
        The optima of every state, with exact persistence and basins.

    Raises:
        GradlabError: the critic is not piecewise linear with bends where its linear layers give zero, values are not
            finite, or there is no such coordinate or critic.

    Example:
        >>> from torch import nn
        >>> class Tents(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = nn.Linear(1, 3)
        ...         self.layer.weight.data = torch.ones(3, 1)
        ...         self.layer.bias.data = torch.tensor([0.5, 0.0, -0.5])
        ...     def forward(self, obs, act):
        ...         left, middle, right = self.layer(act).relu().unbind(-1)
        ...         return act[:, 0] - 2 * left + 3 * middle - 4 * right  # up to −½, down to 0, up to ½, down
        >>> agent = Agent(nn.Linear(3, 1), [Tents()], [-1.0], [1.0])
        >>> found = exact_optima(agent, torch.zeros(1, 3))
        >>> found.actions, found.values, found.basin_share
        ([tensor([ 0.5000, -0.5000], dtype=torch.float64)], [tensor([ 0.0000, -0.5000], dtype=torch.float64)],
         [tensor([0.5000, 0.5000], dtype=torch.float64)])
    """
    agent = measured_agent(agent)
    check_critic(agent, critic)
    if isinstance(coordinate, bool) or not isinstance(coordinate, int) or not 0 <= coordinate < agent.action_size:
        raise GradlabError(
            f"coordinate: {shown(coordinate)}; this agent's actions have coordinates 0 to {agent.action_size - 1}"
        )
    states = agent.observations(obs)
    if act is None:
        with torch.no_grad():
            act = agent.action(states)
    act = real_tensor("act", act).detach().to(states.device).double()
    if act.shape != (len(states), agent.action_size):
        raise GradlabError(f"act: shape {tuple(act.shape)}; expected [{len(states)}, {agent.action_size}]")
    low, high = (corner.double()[coordinate] for corner in (agent.action_low, agent.action_high))
    start, end = act.clone(), act.clone()
    start[:, coordinate], end[:, coordinate] = low, high
    share, value = segment_breakpoints(agent, states, start, end, critic)
    return peaks_between(share, value, low, high)


def peaks_between(share: Tensor, value: Tensor, low: Tensor, high: Tensor) -> ExactOptima:
    """The strict maxima of straight pieces between points [S, K] with values [S, K]; shares ascend from 0 to 1.

    Example:
        >>> share = torch.tensor([[0.0, 0.25, 0.5, 1.0]], dtype=torch.float64)
        >>> height = torch.tensor([[1.0, 0.0, 2.0, 1.5]], dtype=torch.float64)
        >>> found = peaks_between(share, height, torch.tensor(0.0), torch.tensor(4.0))
        >>> found.actions[0].tolist(), found.persistence[0].tolist(), found.basin_share[0].tolist()
        ([2.0, 0.0], [2.0, 1.0], [0.75, 0.25])
    """
    rounding = 64 * torch.finfo(value.dtype).eps * value.abs().amax(-1, keepdim=True)
    width, rise = share.diff(dim=-1), value.diff(dim=-1)
    sign = torch.where(rise.abs() > rounding, rise.sign(), 0.0)
    real = (sign != 0) | (width > _SHORTEST)
    # Runs of pieces that all rise, all fall or are all level; what is left out is a point.
    sign, left, width = _packed(real, sign, torch.arange(share.shape[1] - 1).expand_as(sign), width)
    pieces = real.sum(-1)
    within = torch.arange(sign.shape[1], device=sign.device) < pieces[:, None]
    first = within & torch.cat([torch.ones_like(within[:, :1]), sign[:, 1:] != sign[:, :-1]], 1)
    run = (first.cumsum(1) - 1).clamp_min(0)
    runs = first.sum(-1)
    length = torch.zeros_like(width).scatter_add_(1, run, width.masked_fill(~within, 0.0))
    sign, begins = _packed(first, sign, left)

    # Nodes are the ends of runs: the node after the last run is the segment's end, repeated.
    last = torch.full_like(begins[:, :1], share.shape[1] - 1)
    place = torch.arange(sign.shape[1] + 1, device=sign.device)
    node = torch.where(place < runs[:, None], torch.cat([begins, last], 1), last)
    at, height = share.gather(1, node), value.gather(1, node)
    beyond = place[:-1] >= runs[:, None]
    up, down = (sign > 0) & ~beyond, (sign < 0) & ~beyond
    none = torch.zeros_like(up[:, :1])
    before, after = torch.cat([none, up], 1), torch.cat([down, none], 1)
    first_node, last_node = place == 0, place == runs[:, None]
    peak = (before | first_node) & (after | last_node) & (runs > 0)[:, None]
    basin = torch.cat([torch.zeros_like(at[:, :1]), torch.where(up, length, 0.0)], 1)
    basin = basin + torch.cat([torch.where(down, length, 0.0), torch.zeros_like(at[:, :1])], 1)
    persistence = _persistence(height)

    order = torch.argsort(height.masked_fill(~peak, -torch.inf), dim=-1, descending=True, stable=True)
    sizes = peak.sum(-1).tolist()

    def split(table: Tensor) -> list[Tensor]:
        return [row[:size] for row, size in zip(table.gather(1, order), sizes, strict=True)]

    action = torch.where(at == 1, high, low + at * (high - low))
    return ExactOptima(
        actions=split(action),
        values=split(height),
        persistence=split(persistence),
        basin_share=split(basin),
        on_boundary=split((at <= _SHORTEST) | (at >= 1 - _SHORTEST)),
        value_range=value.amax(-1) - value.amin(-1),
        best_value=value.amax(-1),
        pieces=pieces,
    )


def _packed(keep: Tensor, *tables: Tensor) -> list[Tensor]:
    """The entries of tables [S, K] that are kept, moved to the left; what follows them is of no meaning."""
    order = torch.argsort((~keep).to(torch.uint8), dim=-1, stable=True)
    return [table.gather(1, order) for table in tables]


def _persistence(height: Tensor) -> Tensor:
    """Of every node [S, N] its height over the best pass to a higher node, or over the lowest where there is none.

    On a line there is one path between two nodes, and the pass is the lowest node on it. Of equals the first is the
    higher.
    """
    nodes = height.shape[1]
    later = torch.ones(nodes, nodes, dtype=torch.bool, device=height.device).triu()
    parts = []
    for block in height.split(max(1, _ENTRIES // nodes**2)):
        ahead = block[:, None].expand(-1, nodes, -1).masked_fill(~later, torch.inf).cummin(-1).values
        passes = torch.where(later, ahead, ahead.mT)  # the lowest between i and j, either way
        here, there = block[:, :, None], block[:, None, :]
        higher = (there > here) | (
            (there == here) & later.T.logical_and(~torch.eye(nodes, dtype=torch.bool, device=height.device))
        )
        best = passes.masked_fill(~higher, -torch.inf).amax(-1)
        parts.append(block - torch.maximum(best, block.amin(-1, keepdim=True)))
    return torch.cat(parts)
