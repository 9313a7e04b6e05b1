"""Every estimator that makes sense on a tabular decision process, with its exact mean and variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimators.score_function import ScoreFunction
from gradlab.worlds.base import Admitted

if TYPE_CHECKING:
    from gradlab.worlds.tabular import TabularMDP


def admitted(world: TabularMDP) -> list[Admitted]:
    """Score functions at every state, and trajectory estimators on whole episodes."""
    return _at_states(world)


def _at_states(world: TabularMDP) -> list[Admitted]:
    # The truth at fixed states is the gradient of the mean over the states of E_a[Q(s, a) − τ log π].
    truth = world.flat(world.policy * world.advantages() / len(world.P))
    greedy = world.q_values().gather(1, world.theta.argmax(-1, keepdim=True)).squeeze(-1)
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
    return out


def _with_table(table: Tensor, name: str) -> ScoreFunction:
    """The score function with baseline b(s) from a table [S]."""

    def baseline(_: Agent, obs: Tensor) -> Tensor:
        return obs @ table.to(obs)

    estimator = ScoreFunction(baseline=baseline)
    estimator.name = name
    return estimator
