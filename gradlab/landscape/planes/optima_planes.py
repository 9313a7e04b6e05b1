"""The plane of actions through the actor's action and the two best local optima."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number
from gradlab.errors import GradlabError
from gradlab.landscape.entrance import given_optima, measured_agent
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.planes.plane_geometry import frame, inward
from gradlab.landscape.planes.planes import SATURATED, Plane, actors_action, normal_pair
from gradlab.landscape.surface import check_critic

#: Points nearer than this share of the box's diagonal give no direction; the search for optima is no finer.
SAME = 5e-3


def optima_plane(
    agent: Agent,
    obs: Any,
    optima: LocalOptima,
    *,
    threshold: float = 0.01,
    generator: torch.Generator | None = None,
) -> Plane:
    """The plane through the actor's action, the best local optimum and the second best.

    The actor's action is the origin, x points to the best optimum, and the second best lies at y > 0. Where the actor
    is at the best optimum, or there is no second, nothing determines a direction: it is random then, and
    ``determined`` says so. Points nearer than 0.5 % of the box's diagonal give no direction.

    Args:
        agent: the agent.
        obs: observations [S, n].
        optima: of the same states, from ``local_optima``.
        threshold: persistence, as a share of the value range, from which an optimum may be the second best.
        generator: source of directions that nothing determines; one with seed 0 when None.

    Raises:
        GradlabError: the optima are of another number of states or of another box.

    Example:
        >>> from gradlab.landscape import local_optima
        >>> q = lambda obs, act: -(act[:, 0].abs() - 0.5).abs() + 0.2 * act[:, 0] - act[:, 1].square()
        >>> actor = torch.nn.Linear(1, 2)
        >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [q], [-1.0, -1.0], [1.0, 1.0])
        >>> plane = optima_plane(agent, torch.zeros(1, 1), local_optima(agent, torch.zeros(1, 1)))
        >>> plane.marks["best optimum"].round(decimals=2).abs(), plane.determined.tolist()  # all three on one line
        (tensor([[0.5000, 0.0000]], dtype=torch.float64), [[True, False]])
    """
    agent = measured_agent(agent)
    check_critic(agent, None)
    actor = actors_action(agent, obs)
    states, size = actor.shape
    threshold, optima = real_number("threshold", threshold, 0.0), given_optima("optima", optima)
    check_states(optima, states, size)
    best, second = (point.to(actor) for point in two_best(optima, threshold))
    words = ("towards the best optimum", "towards the second best")
    marks = {"actor": actor, "best optimum": best, "second best": second}
    kind = "through actor, best and second best optimum"
    if size == 1:
        return Plane(torch.zeros_like(actor), torch.ones_like(actor)[:, None], ("action 1",), kind, marks)
    low, high = agent.action_low.double(), agent.action_high.double()
    toward = torch.stack([best - actor, torch.nan_to_num(second - actor)], 1)
    drawn = inward(normal_pair(states, size, generator).to(actor), actor, low, high, SATURATED)
    directions, determined = frame(toward, drawn, SAME * float((high - low).norm()))
    return Plane(actor, directions, words, kind, marks, determined)


def check_states(optima: LocalOptima, states: int, size: int) -> None:
    """Raise one line unless optima are of so many states and action coordinates."""
    if len(optima.actions) != states or optima.best_action.shape[-1] != size:
        found = (len(optima.actions), optima.best_action.shape[-1])
        raise GradlabError(
            f"optima: of {found[0]} states with {found[1]} actions, but there are {states} with {size}; give those of "
            "the same observations"
        )


def two_best(optima: LocalOptima, threshold: float) -> tuple[Tensor, Tensor]:
    """The best optimum and the second best of persistence ``threshold``·range, [S, p]; NaN where there is no second.

    Where a state has no strict optimum (a plateau is highest), the best is the highest point seen.
    """
    counts = torch.tensor([len(value) for value in optima.values])
    state = torch.repeat_interleave(torch.arange(len(counts)), counts)
    first = counts.cumsum(0) - counts
    actions, persistence = torch.cat(optima.actions), torch.cat(optima.persistence)
    state, first = state.to(actions.device), first.to(actions.device)
    best = optima.best_action.clone()
    some = (counts > 0).to(actions.device)
    best[some] = actions[first[some]].to(best)
    place = torch.arange(len(state), device=actions.device)
    eligible = (place > first[state]) & (persistence >= threshold * optima.value_range.to(persistence)[state])
    # Optima are sorted, so that the first that is left of each state is its second best.
    earliest = torch.full_like(first, len(state)).scatter_reduce(0, state[eligible], place[eligible], "amin")
    second = torch.full_like(best, torch.nan)
    there = earliest < len(state)
    second[there] = actions[earliest[there]].to(best)
    return best, second
