"""Every estimator that makes sense on a tabular decision process, with its exact mean and variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimators.base import TrajectoryEstimator
from gradlab.estimators.score_function import ScoreFunction
from gradlab.estimators.trajectory import GAE, GPOMDP, ActionValue, LeaveOneOut, Reinforce, TDError
from gradlab.worlds.base import Admitted, GradientMoments
from gradlab.worlds.tabular_moments import advantage_gradient, return_moments

if TYPE_CHECKING:
    from gradlab.worlds.tabular import TabularMDP


#: Actions, or episodes, that share a leave-one-out baseline.
_SAMPLES = 4


def admitted(world: TabularMDP) -> list[Admitted]:
    """Score functions at every state, and trajectory estimators on whole episodes."""
    return [*_at_states(world), *_along_episodes(world)]


def _at_states(world: TabularMDP) -> list[Admitted]:
    # The truth at fixed states is the gradient of the mean over the states of E_a[Q(s, a) − τ log π].
    truth = world.flat(world.policy * world.advantages() / len(world.P))
    greedy = world.q_values().gather(1, world.theta.argmax(-1, keepdim=True)).squeeze(-1)
    leave_one_out = ScoreFunction(baseline="leave-one-out", samples=_SAMPLES)
    cases: tuple[tuple[ScoreFunction, Tensor | float], ...] = (
        (ScoreFunction(), 0.0),
        (ScoreFunction(baseline="value"), greedy),
        (_with_table(world.state_values(), "score-function-true-value"), world.state_values()),
        (_with_table(world.optimal_baseline(), "score-function-optimal"), world.optimal_baseline()),
    )
    out = []
    for estimator, baseline in cases:
        moments = world.score_function(baseline)
        out.append(Admitted(estimator, world.flat(moments.mean), moments.variance, truth))
    each = [state.leave_one_out(_SAMPLES) for state in world.score_moments()]
    return [*out, Admitted(leave_one_out, truth, sum(each) / len(each) ** 2, truth)]


def _along_episodes(world: TabularMDP) -> list[Admitted]:
    process, g = world.process(), world.gamma
    v, zero = world.state_values().detach(), torch.zeros(len(world.P)).double()
    whole = return_moments(process)
    cases: list[tuple[TrajectoryEstimator, GradientMoments]] = [
        (Reinforce(), whole.gradient()),
        (Reinforce(whole.best_constant), whole.gradient(whole.best_constant)),
        (Reinforce(LeaveOneOut(_SAMPLES)), whole.leave_one_out(_SAMPLES)),
        (GPOMDP(), advantage_gradient(process, zero, zero, g, g)),
        (GPOMDP(world.state_value), advantage_gradient(process, v, v, g, g)),
    ]
    if world.horizon is not None and g < 1:
        left_out = GPOMDP(discounted_states=False)
        cases.append((left_out, advantage_gradient(process, zero, zero, g, 1.0)))
    if world.horizon is None:
        # A stationary Q and v are those of every step only where there is no last one.
        own = (world.q_values() + world.bonus).detach()
        cases += [
            (ActionValue(), advantage_gradient(process, zero, zero, 0.0, g, own=own)),
            (ActionValue(world.state_value), advantage_gradient(process, zero, zero, 0.0, g, own=own - v[:, None])),
            (TDError(world.state_value), advantage_gradient(process, v, v, 0.0, g, bootstrap=True)),
            (GAE(0.5, world.state_value), advantage_gradient(process, v, v, 0.5 * g, g, bootstrap=True)),
        ]
    truth = world.flat(world.true_gradient()).detach()
    return [Admitted(estimator, world.flat(moments.mean), moments.variance, truth) for estimator, moments in cases]


def _with_table(table: Tensor, name: str) -> ScoreFunction:
    """The score function with baseline b(s) from a table [S]."""

    def baseline(_: Agent, obs: Tensor) -> Tensor:
        return obs @ table.to(obs)

    estimator = ScoreFunction(baseline=baseline)
    estimator.name = name
    return estimator
