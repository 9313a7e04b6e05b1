"""One search for local optima and the actor's standing in it as numbers over states, each with its interval."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.estimate import Estimate
from gradlab.inference.bounded import bounded_mean
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.standing.standing import Gap
from gradlab.landscape.unseen_optima.missed import unseen
from gradlab.statistics.state_means import episode_numbers, optima_mean, state_mean, state_share


def landscape_numbers(
    optima: LocalOptima, standing: Gap, episode: Tensor | None = None, *, threshold: float = 0.01
) -> dict[str, Estimate]:
    """What a landscape over the action box comes to over states, name by name.

    ``optima`` is the number of optima whose persistence is at least ``threshold`` of Q's range, and ``one_optimum`` the
    share of states with no second; ``gap`` = ``own_fit`` + ``basin_choice`` are in units of Q, and the same after
    ``relative_`` in parts of each state's own range, which compare over training, as the range grows with the critic;
    ``best_basin_share`` is the share of states where ascent from the actor's action reaches the best optimum,
    ``boundary_share`` that of states whose best optimum lies on a face of the box, ``best_distance`` the distance from
    the actor's action to it as a share of the box's diagonal, and ``value_range`` the range itself. ``level_share`` is
    the share of states where Q is level on the whole box: there is no best action there, so that they do not count in
    ``best_basin_share``, which is of no samples for a constant critic. ``missed`` and
    ``coverage`` are what ``unseen`` tells of the search: how many optima no start reached, and the chance that one more
    start would end at one that is known.

    Args:
        optima: of S states.
        standing: ``gap(agent, obs, optima)`` at the same states.
        episode: which episode a state is from, [S]; every state is its own sample when None.
        threshold: persistence from which an optimum counts, as a share of the value range.

    Example:
        >>> from gradlab.agent import Agent
        >>> from gradlab.landscape import gap, local_optima
        >>> actor = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [lambda obs, act: -(act - 0.5).square().sum(-1)], [-1.0], [1.0])
        >>> obs = torch.zeros(3, 1)
        >>> optima = local_optima(agent, obs)
        >>> numbers = landscape_numbers(optima, gap(agent, obs, optima))
        >>> numbers["optima"].value, round(numbers["gap"].value, 4), round(numbers["relative_gap"].value, 4)
        (1.0, 0.25, 0.1111)
    """
    objective, episode = standing.objective, episode_numbers(episode, len(standing.gap))
    count = optima.count(threshold)
    on_face = torch.stack([found[:1].any() for found in optima.on_boundary])
    means = standing.over_states(episode)
    span = standing.value_range.double()
    parts = torch.stack([standing.own_fit, standing.basin_choice], -1).double()
    # A level critic has no range and no gap.
    parts = torch.where(span[:, None] > 0, parts / span[:, None], torch.zeros_like(parts)).clamp(max=1.0)
    mean, stderr, ends, samples = bounded_mean(parts, torch.zeros(2), torch.ones(2), episode)
    own_fit, basin_choice = (
        Estimate(
            float(mean[i]), float(stderr[i]), samples, objective=objective, ends=(float(ends[0, i]), float(ends[1, i]))
        )
        for i in range(2)
    )
    left = unseen(optima, threshold)
    return {
        "optima": optima_mean(count, episode, objective=objective),
        "one_optimum": state_share(count <= 1, episode, objective=objective),
        "gap": means.gap,
        "own_fit": means.own_fit,
        "basin_choice": means.basin_choice,
        "relative_gap": means.relative,
        "relative_own_fit": own_fit,
        "relative_basin_choice": basin_choice,
        "best_basin_share": means.reaches_best,
        "level_share": means.level,
        "boundary_share": state_share(on_face, episode, objective=objective),
        "best_distance": means.distance_share,
        "value_range": state_mean(standing.value_range, episode, objective=objective, least=0),
        "missed": left.mean_missed(episode),
        "coverage": left.mean_coverage(episode),
    }
