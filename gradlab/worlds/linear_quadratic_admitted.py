"""Every estimator that makes sense on the linear-quadratic regulator, with its exact mean and variance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradlab.estimators.base import Estimator, TrajectoryEstimator
from gradlab.estimators.deterministic import Deterministic
from gradlab.estimators.model_based import PathwiseReturn, ValueGradient
from gradlab.estimators.reparameterized import Reparameterized
from gradlab.estimators.score_function import ScoreFunction
from gradlab.estimators.trajectory import GPOMDP, LeaveOneOut, Reinforce
from gradlab.estimators.zeroth_order import ZerothOrder
from gradlab.worlds.base import Admitted, GradientMoments
from gradlab.worlds.direction_kinds import KINDS
from gradlab.worlds.linear_paths import backpropagated_gradient, root, value_gradient
from gradlab.worlds.linear_quadratic_episodes import (
    best_constant,
    leave_one_out_gradient,
    return_gradient,
    reward_to_go_gradient,
)
from gradlab.worlds.quadratic_bandit import QuadraticBandit

if TYPE_CHECKING:
    from gradlab.worlds.linear_quadratic import LinearQuadratic

#: Radius of perturbations, and steps above which the moments of whole episodes take too long to be admitted.
_RADIUS, _LONG = 0.1, 12
#: Actions, or episodes, that share a leave-one-out baseline.
_SAMPLES = 4

#: At one state: the decision as a world of its own → mean and trace of the covariance of a draw at the mean action.
_AtState = Callable[[QuadraticBandit], tuple[Tensor, float]]


def sigma_points(second_moment: Tensor) -> Tensor:
    """States [2n, n] whose mean is zero and whose mean square is exactly a given one: ± √n columns of a root.

    Example:
        >>> states = sigma_points(torch.tensor([[4.0, 0.0], [0.0, 1.0]]).double())
        >>> (states.T @ states / len(states)).round(decimals=9)
        tensor([[4., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    columns = root(second_moment).T * len(second_moment) ** 0.5
    return torch.cat([columns, -columns])


def admitted(world: LinearQuadratic) -> list[Admitted]:
    """Estimators at the fixed states and, over a finite horizon that is not long, along episodes."""
    gaussian = bool((world.policy_std > 0).all())
    out = _at_states(world, _gaussian() if gaussian else _deterministic())
    if world.horizon is None:
        return out + _unrolled(world)
    if world.horizon <= _LONG:
        out += (_along_episodes(world) if gaussian else []) + _through_episodes(world)
    return out


def decisions(world: LinearQuadratic) -> list[QuadraticBandit]:
    """The decision in each of ``world.observations()`` as a world of its own: Q is quadratic in the action."""
    obs = world.observations()
    act = -obs @ world.K.detach().T
    slopes, values = world.action_gradient(obs, act).detach(), world.q(obs, act).detach()
    H = world.hessians(obs[:1], act[:1]).action[0].detach()
    std = world.policy_std.detach() if bool((world.policy_std > 0).all()) else None
    return [
        QuadraticBandit(slope, (H + H.T) / 2, float(value), action, std)
        for slope, value, action in zip(slopes, values, act, strict=True)
    ]


def _at_states(world: LinearQuadratic, cases: list[tuple[Estimator, _AtState]]) -> list[Admitted]:
    obs, truth = world.observations(), world.gradient_at_observations().detach().flatten()
    weights = obs.square().sum(-1) / len(obs) ** 2  # a cotangent v has the gradient v sᵀ, of square ‖v‖²‖s‖²
    at_states, out = decisions(world), []
    for estimator, moments in cases:
        means, variances = zip(*(moments(decision) for decision in at_states), strict=True)
        mean = torch.stack(means).T @ obs / len(obs)
        variance = float(weights @ torch.tensor(variances, dtype=torch.float64))
        out.append(Admitted(estimator, mean.flatten(), variance, truth))
    return out


def _exact(decision: QuadraticBandit) -> tuple[Tensor, float]:
    # Through the mode of a Gaussian policy too: the slope of a quadratic at the mean is the mean slope.
    return decision.g, 0.0


def _score(decision: QuadraticBandit, baseline: float, sigma: float | None = None) -> tuple[Tensor, float]:
    moments = decision.score_moments(sigma)
    return moments.gradient, moments.variance(baseline)


def _leave_one_out(decision: QuadraticBandit) -> tuple[Tensor, float]:
    moments = decision.score_moments()
    return moments.gradient, moments.leave_one_out(_SAMPLES)


def _deterministic() -> list[tuple[Estimator, _AtState]]:
    cases: list[tuple[Estimator, _AtState]] = [(Deterministic(), _exact)]
    for directions in KINDS:
        for points in (1, 2, "antithetic"):
            arguments: dict[str, Any] = {"mu": _RADIUS, "points": points, "directions": directions}
            cases.append((ZerothOrder(**arguments), partial(_zeroth_order, arguments=arguments)))
    return [
        *cases,
        (ScoreFunction(_RADIUS), lambda decision: _score(decision, 0.0, _RADIUS)),
        (ScoreFunction(_RADIUS, "value"), lambda decision: _score(decision, decision.q0, _RADIUS)),
    ]


def _zeroth_order(decision: QuadraticBandit, arguments: dict[str, Any]) -> tuple[Tensor, float]:
    mean, variance = decision.zeroth_order_vector(**arguments)
    return mean, variance


def _gaussian() -> list[tuple[Estimator, _AtState]]:
    return [
        (Deterministic(), _exact),
        (Reparameterized(), _reparameterized),
        (ScoreFunction(), lambda decision: _score(decision, 0.0)),
        (ScoreFunction(baseline="value"), lambda decision: _score(decision, decision.q0)),
        (ScoreFunction(baseline="leave-one-out", samples=_SAMPLES), _leave_one_out),
    ]


def _reparameterized(decision: QuadraticBandit) -> tuple[Tensor, float]:
    mean, variance = decision.reparameterized()
    return mean, variance


def _along_episodes(world: LinearQuadratic) -> list[Admitted]:
    best = best_constant(world)
    # One value function for all steps, that of the first: any function of the state leaves the mean as it is.
    cases: list[tuple[TrajectoryEstimator, GradientMoments]] = [
        (Reinforce(), return_gradient(world)),
        (Reinforce(best), return_gradient(world, best)),
        (Reinforce(LeaveOneOut(_SAMPLES)), leave_one_out_gradient(world, _SAMPLES)),
        (GPOMDP(), reward_to_go_gradient(world)),
        (GPOMDP(world.state_value), reward_to_go_gradient(world, value_at=0)),
    ]
    if world.gamma < 1:
        cases.append((GPOMDP(discounted_states=False), reward_to_go_gradient(world, weighted=False)))
    truth = world.true_gradient().detach().flatten()
    return [Admitted(estimator, moments.mean.flatten(), moments.variance, truth) for estimator, moments in cases]


def _unrolled(world: LinearQuadratic) -> list[Admitted]:
    """Value gradients of n steps through the exact model, then the exact critic."""
    from gradlab.worlds.models import linear_quadratic_model  # which is made from this world

    obs, truth = world.observations(), world.gradient_at_observations().detach().flatten()
    out = []
    for steps in (0, 1, 3):
        means, variance = value_gradient(world, obs, steps)
        mean = (means.T @ obs / len(obs)).flatten()
        weight = float(obs.square().sum()) / len(obs) ** 2
        out.append(Admitted(ValueGradient(linear_quadratic_model(world), steps), mean, weight * variance, truth))
    return out


def _through_episodes(world: LinearQuadratic) -> list[Admitted]:
    """Backpropagation through whole episodes with the exact model."""
    from gradlab.worlds.models import linear_quadratic_model  # which is made from this world

    mean, variance = backpropagated_gradient(world)
    estimator = PathwiseReturn(linear_quadratic_model(world))
    return [Admitted(estimator, mean.flatten(), variance, world.true_gradient().detach().flatten())]
