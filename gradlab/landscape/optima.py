"""Local optima of Q(s, ·) on the action box, of many states at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape.search import Effort, Ends, search
from gradlab.landscape.surface import Surface, agent_surface, callable_surface


@dataclass(frozen=True)
class LocalOptima:
    """The local optima found at each of S states; lists have one tensor a state, highest optimum first.

    Attributes:
        actions: where they are, [k_s, p], in the critic's action units.
        values: Q there, [k_s], descending.
        persistence: height over the best known pass to a higher optimum, [k_s]; the highest optimum's is its height
            over the lowest value seen, which is the value range. Passes are found on straight segments between the
            points the search ended at, so a persistence is an upper bound of the true one.
        basin_share: share of the uniform starts that climbed to it, [k_s]; they sum to one less the share that ended
            on plateaus.
        on_boundary: whether it lies on a face of the box, [k_s].
        value_range: highest less lowest value seen, [S], unless given.
        best_action: where the highest value was seen, [S, p], be it an optimum or a plateau.
        best_value: that value, [S].
        actor: index of the optimum that the actor's own ascent reaches, [S], −1 where it ends on a plateau; None
            without an actor.
        reached: Q where the actor's own ascent ends, [S], be it an optimum or a plateau; None without an actor.
        starts: number of uniform starts a state.
        evaluations: rows of Q evaluated for all states together.
    """

    actions: list[Tensor]
    values: list[Tensor]
    persistence: list[Tensor]
    basin_share: list[Tensor]
    on_boundary: list[Tensor]
    value_range: Tensor
    best_action: Tensor
    best_value: Tensor
    actor: Tensor | None
    reached: Tensor | None
    starts: int
    evaluations: int

    def count(self, threshold: float = 0.01) -> Tensor:
        """Number of optima with persistence of at least ``threshold`` times the value range, [S], integers."""
        ranges = self.value_range.tolist()
        counts = [int((p >= threshold * r).sum()) for p, r in zip(self.persistence, ranges, strict=True)]
        return torch.tensor(counts, device=self.value_range.device)

    def mean_gap(self) -> Tensor:
        """Mean over the uniform starts of highest value − value of the optimum climbed to, [S].

        What ascent from a random action leaves on the table; starts that ended on plateaus are left out;
        NaN where all did.
        """
        gaps = [
            ((best - v) * share).sum() / share.sum()
            for best, v, share in zip(self.best_value, self.values, self.basin_share, strict=True)
        ]
        return torch.stack(gaps)

    def __repr__(self) -> str:
        counts = [len(v) for v in self.values]
        return f"<LocalOptima: {len(counts)} states, {min(counts)} to {max(counts)} optima each>"


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
    generator: torch.Generator | None = None,
) -> LocalOptima:
    """The local optima of Q(s, ·) on the action box, at many states at once.

    Two forms: ``local_optima(agent, obs)``, or ``local_optima(q, low, high, states=S)`` for any function of actions.

    Scrambled Sobol starts, and the actor's action in the agent form, climb by projected ascent that follows kinks,
    so that piecewise-linear critics are no exception; what is left is polished by a compass search without
    derivatives. Ends that are near and uphill of each other, or joined by a path that dips by no more than
    ``tolerance``, are one optimum. Optima on faces of the box count. A plateau is not a maximum: an optimum whose
    top is level in every direction is left out, so a constant critic has none. Values are in the critic's own dtype;
    rises within rounding of it are level.

    Args:
        q: an Agent; or a function of actions [S, k, p] → values [S, k], differentiable, for any k.
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
        generator: source of the scrambling; one with seed 0 when None, so that equal calls give equal answers.

    Returns:
        The optima, sorted, with their persistence and basins.

    Raises:
        GradlabError: the box is unbounded or empty, values or gradients are not finite, or shapes do not fit.

    Example:
        >>> found = local_optima(lambda a: (9 * a).sin().sum(-1) + 0.4 * a.sum(-1), [-1.0], [1.0])
        >>> found.count(), [round(v, 2) for v in found.values[0].tolist()]
        (tensor([4]), [1.35, 1.07, 0.79, -0.81])
    """
    if starts < 1 or steps < 1:
        raise GradlabError(f"starts and steps: {starts} and {steps}; expected at least one of each")
    actor = None
    if isinstance(q, Agent):
        if high is not None:
            raise GradlabError("local_optima: an agent brings its own action box; call local_optima(agent, obs)")
        obs = q.observations(low)
        surface = agent_surface(q, obs, critic)
        with torch.no_grad():
            actor = surface.unit(q.action(obs).cpu())
    else:
        if high is None:
            raise GradlabError("local_optima: high is missing; call local_optima(q, low, high) or (agent, obs)")
        if critic is not None:
            raise GradlabError("critic: only an agent has several; pass the function of the one you mean")
        surface = callable_surface(q, states, low, high)
    seed = 0 if generator is None else int(torch.randint(2**31, (1,), generator=generator, device=generator.device))
    ends = search(surface, actor, Effort(starts, steps, tolerance, radius, seed), value_range)
    return _collect(surface, ends, starts, q.device if isinstance(q, Agent) else torch.device("cpu"))


def _collect(surface: Surface, ends: Ends, starts: int, device: torch.device) -> LocalOptima:
    order = torch.argsort(ends.value, descending=True, stable=True)
    order = order[torch.argsort(ends.state[order], stable=True)]
    best = order[torch.searchsorted(ends.state[order], torch.arange(surface.states))]
    kept = order[ends.optimum[order]]
    counts = torch.bincount(ends.state[kept], minlength=surface.states)
    rank = torch.full_like(ends.state, -1)
    rank[kept] = torch.arange(len(kept)) - (counts.cumsum(0) - counts)[ends.state[kept]]
    climbed = torch.bincount(ends.owner[:, :starts].reshape(-1), minlength=len(ends.state)).to(ends.value)
    unit = ends.point[kept]

    def split(rows: Tensor) -> list[Tensor]:
        return list(rows.to(device).split(counts.tolist()))

    return LocalOptima(
        actions=split(surface.actions(unit)),
        values=split(ends.value[kept]),
        persistence=split(ends.persistence[kept]),
        basin_share=split(climbed[kept] / starts),
        on_boundary=split(((unit <= 0) | (unit >= 1)).any(-1)),
        value_range=ends.span.to(device),
        best_action=surface.actions(ends.point[best]).to(device),
        best_value=ends.highest.to(device),
        actor=rank[ends.owner[:, starts]].to(device) if ends.owner.shape[1] > starts else None,
        reached=ends.value[ends.owner[:, starts]].to(device) if ends.owner.shape[1] > starts else None,
        starts=starts,
        evaluations=surface.evaluations,
    )
