"""Whether finite differences of a critic agree over a range of steps, and what they agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, whole_number
from gradlab.estimate import Estimate
from gradlab.hessians.along import first_derivative
from gradlab.hessians.at_actions import SecondDerivatives, second_derivatives
from gradlab.hessians.differences import at_scale
from gradlab.hessians.piecewise import piecewise_linear
from gradlab.hessians.points import Points, points
from gradlab.statistics.state_means import state_share

#: Numbers that the points of a chunk of states may hold (32 MB in float64).
_NUMBERS = 2**22
#: Steps shown of a critic that has no plateau anyway.
_SHOWN = 6
#: What is more than this share from the value at the stated step is another value.
_FAR = 0.1
#: Rounding errors of a gradient, in units of its last place, that differences are taken to have.
_ROUNDING = 16


@dataclass(frozen=True)
class StepPlateau:
    """M = ‖∇²_as Q‖₂ and μ = −λ_max(∇²_aa Q) where differences over a range of steps agree; per state, float64.

    Attributes:
        found: whether there is a plateau, [B], bool.
        mixed_partial: M, extrapolated to a step of zero, [B]; NaN where there is no plateau.
        mixed_partial_error: how far the extrapolation moved at the last step, and rounding, [B].
        curvature: μ, likewise, [B].
        curvature_error: likewise, [B].
        scale: the shortest step δ of the plateau, in the critic's action units, [B]; it begins at 4δ.
        local: whether the plateau's M or λ_max is more than a tenth (of M, of ‖∇²_aa Q‖₂) from that at the stated step,
            as between the kinks of a critic that bends at them and hardly elsewhere, [B], bool.
        tolerance: what differences had to agree to, relative to M and to ‖∇²_aa Q‖₂.
        piecewise_linear: whether the critic is, so that there is no plateau anywhere but at zero, which says nothing.
        ladder: the steps, from the longest to the shortest looked at, [steps].
        mixed_partial_at: M at each of them, [steps, B]; NaN where a plateau had been found before.
        curvature_at: μ, likewise.
        stated: second derivatives at ``stated_scale``, which are there with or without a plateau.
        stated_scale: a step in action units.
    """

    found: Tensor
    mixed_partial: Tensor
    mixed_partial_error: Tensor
    curvature: Tensor
    curvature_error: Tensor
    scale: Tensor
    local: Tensor
    tolerance: float
    piecewise_linear: bool
    ladder: Tensor
    mixed_partial_at: Tensor
    curvature_at: Tensor
    stated: SecondDerivatives
    stated_scale: float

    @property
    def share(self) -> Estimate:
        """The share of states with a plateau."""
        return state_share(self.found)

    @property
    def ratio(self) -> Tensor:
        """M/μ where there is a plateau and μ is above its error, [B]; NaN elsewhere."""
        return torch.where(self.curvature > self.curvature_error, self.mixed_partial / self.curvature, torch.nan)

    @property
    def reason(self) -> str:
        """What there is to say against the plateaus, in one line; empty where all states have one and none is local.

        That is: in how many states there is none, and in how many it is local.
        """
        if self.piecewise_linear:
            return (
                "no plateau: the critic is piecewise linear (as ReLU networks are), so that differences depend on the "
                f"step at every step; what is given is at the stated step {self.stated_scale:g}"
            )
        none, local = int((~self.found).sum()), int(self.local.sum())
        said = []
        if none:
            steps = f"steps from {self.ladder[0]:.3g} to {self.ladder[-1]:.3g}"
            said.append(f"no plateau in {none} of {len(self.found)} states: {steps} do not agree to {self.tolerance:g}")
        if local:
            said.append(
                f"in {local} of {len(self.found)} states the plateau is local: differences at the stated step "
                f"{self.stated_scale:g} see something else"
            )
        return "; ".join(said)


def step_plateau(
    agent: Agent,
    obs: Any,
    *,
    act: Any = None,
    scale: float = 0.1,
    tolerance: float = 1e-3,
    longest: float = 0.2,
    steps: int = 18,
    critic: int | None = None,
    obs_scale: Any = None,
) -> StepPlateau:
    """Second derivatives by central differences of ∇_a Q, with the range of steps that agree on them.

    On the ladder δ, δ/2, δ/4, … the numbers f (M, and λ_max) have a plateau at three successive steps where

        |f(2δ) − f(4δ)| ≤ tol·size,   |f(δ) − f(2δ)| ≤ tol·size   and   |f(δ) − f(2δ)| ≤ |f(2δ) − f(4δ)|/2 + rounding

    for central differences of a smooth Q converge as δ², a quarter a step. The value is Richardson's,
    (4 f(δ) − f(2δ))/3, and its error |(4 f(δ) − f(2δ))/3 − (4 f(2δ) − f(4δ))/3| with rounding added: an estimate, which
    errs on the side of caution where differences have begun to converge. A kink that the steps cross gives differences
    that grow as 1/δ, and none that they do not cross: near one there may be a plateau at steps too short to see it;
    ``scale`` says how short, and ``local`` where the stated step sees something else. A piecewise-linear critic has
    that plateau everywhere, at zero; it is not counted.

    Args:
        agent: the agent; measured on a float64 snapshot.
        obs: observations [B, n].
        act: actions [B, p] in the critic's own coordinates; the actor's own when None.
        scale: a step at which second derivatives are given in any case.
        tolerance: what successive steps must agree to.
        longest: the longest step, in action units; in an observation feature times ``obs_scale``.
        steps: how many steps, at least three, each half of the one before: 18 end at 1.5e-6 for 0.2, where rounding
            takes over. A state is left at its first plateau.
        critic: index of one critic instead of the one the actor follows.
        obs_scale: step in each observation feature relative to that in an action, [n]; ``feature_scale(obs)`` by
            default.

    Raises:
        GradlabError: an argument is none of these, actions are discrete, a shape does not fit, or the critic is not
            finite.

    Example:
        >>> class Critic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return act[:, 0].cos() + 2 * (obs[:, 0] * act[:, 0]).sin()
        >>> agent = Agent(torch.nn.Linear(1, 1), [Critic()], [-1.0], [1.0])
        >>> found = step_plateau(agent, torch.zeros(1, 1), act=torch.zeros(1, 1))
        >>> round(found.curvature.item(), 6), round(found.mixed_partial.item(), 6), found.reason
        (1.0, 2.0, '')
    """
    stated = real_number("scale", scale, above=0.0)
    agree = real_number("tolerance", tolerance, above=0.0)
    first, count = real_number("longest", longest, above=0.0), whole_number("steps", steps, 3)
    at = points(agent, obs, act, critic=critic, obs_scale=obs_scale)
    given = second_derivatives(at.agent, at.obs, at.act, stated, critic=critic, obs_scale=at.obs_scale)
    seen, size_seen = _extremes(given.action, given.with_state())
    kinked = piecewise_linear(at.agent, at.obs, critic)
    ladder = first * 0.5 ** torch.arange(min(count, _SHOWN) if kinked else count, dtype=at.obs.dtype)
    states = len(at.obs)
    values = at.obs.new_full((len(ladder), 2, states), torch.nan)
    fixed, reach = _rounding(at)
    kept = at.obs.new_full((3, 2, states), torch.nan)  # the step, the value and its error
    left = torch.arange(states, device=at.obs.device)
    used = 0
    for k, step in enumerate(ladder.tolist()):
        values[k, :, left], size = _numbers(at, left, step)
        used = k + 1
        if k < 2 or kinked:
            continue
        f, rounding = values[k - 2 : k + 1, :, left], (fixed[:, left] + reach[left] * size) / step
        before, now = (f[1] - f[0]).abs(), (f[2] - f[1]).abs()
        enough = agree * size + rounding
        flat = ((before <= enough) & (now <= enough) & (now <= before / 2 + rounding)).all(0)
        extrapolated = (4 * f[1:] - f[:-1]) / 3
        error = (extrapolated[1] - extrapolated[0]).abs() + rounding
        here = torch.stack([torch.full_like(error, step), extrapolated[1], error])
        kept[..., left[flat]] = here[..., flat]
        left = left[~flat]
        if len(left) == 0:
            break
    return StepPlateau(
        found=~kept[0, 0].isnan(),
        mixed_partial=kept[1, 0],
        mixed_partial_error=kept[2, 0],
        curvature=-kept[1, 1],
        curvature_error=kept[2, 1],
        scale=kept[0, 0],
        local=((kept[1] - seen).abs() > _FAR * size_seen).any(0),
        tolerance=agree,
        piecewise_linear=kinked,
        ladder=ladder[:used],
        mixed_partial_at=values[:used, 0],
        curvature_at=-values[:used, 1],
        stated=given,
        stated_scale=stated,
    )


def _numbers(at: Points, states: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """M and λ_max at some states, and M and ‖∇²_aa Q‖₂ as their sizes, [2, states] each; NaN where Q is not finite."""
    size = at.obs.shape[1] + at.act.shape[1]
    values, sizes = [], []
    for some in states.split(max(1, _NUMBERS // (2 * size * size))):
        hessian, mixed = at_scale(at.agent, at.obs[some], at.act[some], at.critic, step, at.obs_scale)
        found, size_of = _extremes(hessian, mixed)
        values.append(found)
        sizes.append(size_of)
    return torch.cat(values, 1), torch.cat(sizes, 1)


def _extremes(hessian: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
    """M and λ_max, and M and ‖∇²_aa Q‖₂ as their sizes, [2, states] each."""
    finite = torch.isfinite(hessian).all(-1).all(-1) & torch.isfinite(mixed).all(-1).all(-1)
    # Decompositions refuse a batch for one NaN in it.
    eigenvalues = torch.linalg.eigvalsh(hessian.nan_to_num(0.0, 0.0, 0.0))
    strength = torch.linalg.matrix_norm(mixed.nan_to_num(0.0, 0.0, 0.0), ord=2)
    numbers = torch.stack([strength, eigenvalues[:, -1], strength, eigenvalues.abs().amax(-1)])
    numbers = torch.where(finite, numbers, torch.nan)
    return numbers[:2], numbers[2:]


def _rounding(at: Points) -> tuple[Tensor, Tensor]:
    """Rounding of M and λ_max times the step: of the gradient [2, B], and of x ± δ [B], which is times their size."""
    gradient = [first_derivative(at, s, a) for s, a in zip(*(x.split(8_192) for x in (at.obs, at.act)), strict=True)]
    columns = torch.stack([at.obs_scale.reciprocal().norm(), torch.ones_like(at.act[0]).norm()])
    unit = _ROUNDING * torch.finfo(at.obs.dtype).eps
    reach = torch.maximum(at.act.abs().amax(-1), (at.obs.abs() / at.obs_scale).amax(-1))
    return unit * columns[:, None] * torch.cat(gradient).norm(dim=-1), unit * reach
