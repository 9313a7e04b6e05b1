"""Local optima of Q(s, ·) on the action box, of many states at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, real_tensor, whole_number
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.landscape.entrance import random_source
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.searching.certificates import certify
from gradlab.landscape.searching.search import Effort, Ends, search
from gradlab.landscape.surface import Surface, agent_surface, callable_surface

#: Scale of the certificates, in units of the merging radius.
_SCALE = 2.0


@overload
def local_optima(
    q: Agent,
    low: Any,
    high: None = None,
    *,
    critic: int | None = None,
    starts: int = 64,
    steps: int = 60,
    tolerance: float = 1e-3,
    radius: float = 5e-3,
    value_range: Tensor | None = None,
    replay: Any = None,
    generator: torch.Generator | None = None,
) -> LocalOptima: ...
@overload
def local_optima(
    q: Callable[[Tensor], Tensor],
    low: Any,
    high: Any,
    *,
    states: int = 1,
    starts: int = 64,
    steps: int = 60,
    tolerance: float = 1e-3,
    radius: float = 5e-3,
    value_range: Tensor | None = None,
    replay: Any = None,
    generator: torch.Generator | None = None,
) -> LocalOptima: ...
def local_optima(
    q: Agent | Callable[[Tensor], Tensor],
    low: Any,
    high: Any = None,
    *,
    states: int = 1,
    critic: int | None = None,
    starts: int = 64,
    steps: int = 60,
    tolerance: float = 1e-3,
    radius: float = 5e-3,
    value_range: Tensor | None = None,
    replay: Any = None,
    generator: torch.Generator | None = None,
) -> LocalOptima:
    """The local optima of Q(s, ·) on the action box, at many states at once.

    Two forms: ``local_optima(agent, obs)``, or ``local_optima(q, low, high, states=S)`` for any function of actions.

    Scrambled Sobol starts, the actor's action in the agent form, and the replay action where it is given, climb by
    projected ascent that follows kinks, so that piecewise-linear critics are no exception. A start from which the
    values rise to a higher place, where another one is or was, on the straight way there is linked to that one and
    climbs no further; the actor's and the replay action always climb themselves. The last stretch is Goldstein ascent,
    along hulls of gradients, without second derivatives. Ends that are near and uphill of each other, or joined by a
    path that dips by no more than ``tolerance`` times the value range, are one optimum. Optima on faces of the box
    count. A plateau is not a maximum: an optimum whose top is level in every direction is left out, so a constant
    critic has none. Values are in the critic's own dtype; rises within rounding of it are level.

    An optimum may be missed; ``unseen`` estimates how many are. Beside those that no start climbs to, links pass over
    dips that no value or slope on the way tells of, and an end may stop short of the top of a ridge that is nearly
    level: of 134 optima of at least 1 % persistence that flooded grids have of random critics of two actions, 64 starts
    missed 5 or ended more than .05 from them, all of piecewise-linear critics.

    Args:
        q: an Agent; or a function of actions [S, k, p] → values [S, k], differentiable, for any k. It is given actions
            in the box's dtype, and answers in float32 or float64; where the two differ the search is in float32.
        low: observations [S, n] in the agent form; otherwise the lower corner of the action box, [p].
        high: upper corner of the action box, [p]; only with a function.
        states: number S of states that the function's first dimension stands for; only with a function.
        critic: index of one critic instead of the one the actor follows; only with an agent.
        starts: number of uniform starts a state.
        steps: most ascent steps a point; each costs one value and gradient, and points that met climb as one.
        tolerance: dip, as a share of the value range, up to which two ends are one optimum.
        radius: distance, as a share of the box's width, under which ends that climb to each other are one.
        value_range: range [S] that ``tolerance`` and ``count`` refer to, the one seen by default. Give the original
            critic's when q is a surrogate cut out of it.
        replay: an action per state [S, p] in the critic's units, such as the replay buffer's, to climb from as well.
        generator: source of the scrambling; one with seed 0 when None, so that equal calls give equal answers.

    Returns:
        The optima, sorted, with their persistence and basins.

    Raises:
        GradlabError: an argument is out of its range, the box is unbounded or empty, values or gradients are not
            finite, shapes do not fit, or the dtype is integer, complex or of half precision.

    Example:
        >>> found = local_optima(lambda a: (9 * a).sin().sum(-1) + 0.4 * a.sum(-1), [-1.0], [1.0])
        >>> found.count(), [round(v, 2) for v in found.values[0].tolist()]
        (tensor([4]), [1.35, 1.07, 0.79, -0.81])
    """
    starts, steps = whole_number("starts", starts, 1), whole_number("steps", steps, 1)
    states = whole_number("states", states, 1)
    tolerance, radius = real_number("tolerance", tolerance, 0.0), real_number("radius", radius, above=0.0)
    known: dict[str, Tensor] = {}
    q = in_evaluation(q)
    if isinstance(q, Agent):
        if high is not None:
            raise GradlabError("local_optima: an agent brings its own action box; call local_optima(agent, obs)")
        obs = q.observations(low)
        surface = agent_surface(q, obs, critic)
        with torch.no_grad():
            known["actor"] = surface.unit(q.action(obs).cpu())
    else:
        if high is None:
            raise GradlabError("local_optima: high is missing; call local_optima(q, low, high) or (agent, obs)")
        if critic is not None:
            raise GradlabError("critic: only an agent has several; pass the function of the one you mean")
        surface = callable_surface(q, states, low, high)
    if replay is not None:
        known["replay"] = surface.unit(_replayed(replay, surface))
    seed = 0
    if generator is not None:
        source = random_source(generator)
        seed = int(torch.randint(2**31, (1,), generator=source, device=source.device))
    span = None if value_range is None else _spanned(value_range, surface)
    ends = search(surface, list(known.values()), Effort(starts, steps, tolerance, radius, seed), span)
    device = q.device if isinstance(q, Agent) else torch.device("cpu")
    return _collect(surface, ends, starts, list(known), radius, device)


def _replayed(replay: Any, surface: Surface) -> Tensor:
    act = real_tensor("replay", replay).detach().cpu()
    expected = (surface.states, surface.size)
    if act.shape != expected or not bool(torch.isfinite(act).all()):
        raise GradlabError(
            f"replay: shape {tuple(act.shape)} or a NaN; give one finite action per state, shape {expected}"
        )
    return act


def _spanned(value_range: Any, surface: Surface) -> Tensor:
    span = real_tensor("value_range", value_range).detach().cpu()
    # A range of NaN must fail too; one of zero is that of a constant critic.
    if span.shape not in ((), (surface.states,)) or not bool(((span >= 0) & torch.isfinite(span)).all()):
        raise GradlabError(
            f"value_range: shape {tuple(span.shape)}, or NaN or below zero; give one finite range per state, "
            f"({surface.states},)"
        )
    return span


def _collect(
    surface: Surface, ends: Ends, starts: int, known: list[str], radius: float, device: torch.device
) -> LocalOptima:
    order = torch.argsort(ends.value, descending=True, stable=True)
    order = order[torch.argsort(ends.state[order], stable=True)]
    best = order[torch.searchsorted(ends.state[order], torch.arange(surface.states))]
    kept = order[ends.optimum[order]]
    counts = torch.bincount(ends.state[kept], minlength=surface.states)
    rank = torch.full_like(ends.state, -1)
    rank[kept] = torch.arange(len(kept)) - (counts.cumsum(0) - counts)[ends.state[kept]]
    climbed = torch.bincount(ends.owner[:, :starts].reshape(-1), minlength=len(ends.state))
    index = {name: rank[ends.owner[:, starts + place]].to(device) for place, name in enumerate(known)}
    unit = ends.point[kept]
    searched = surface.evaluations
    kind, residual = certify(surface, ends.state[kept], unit, scale=_SCALE * radius)

    def split(rows: Tensor) -> list[Tensor]:
        return list(rows.to(device).split(counts.tolist()))

    return LocalOptima(
        actions=split(surface.actions(unit)),
        values=split(ends.value[kept]),
        persistence=split(ends.persistence[kept]),
        basin_share=split(climbed[kept].to(ends.value) / starts),
        on_boundary=split(((unit <= 0) | (unit >= 1)).any(-1)),
        value_range=ends.span.to(device),
        best_action=surface.actions(ends.point[best]).to(device),
        best_value=ends.highest.to(device),
        actor=index.get("actor"),
        reached=ends.value[ends.owner[:, starts]].to(device) if "actor" in known else None,
        replay=index.get("replay"),
        visits=split(climbed[kept]),
        certificate=split(kind),
        residual=split(residual),
        width=surface.width.to(device),
        starts=starts,
        evaluations=searched,
        certifying=surface.evaluations - searched,
    )
