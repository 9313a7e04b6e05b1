"""Policy-gradient estimators, one file per family: each draws cotangents [draws, states, m] at the head."""

from gradlab.agent import Agent
from gradlab.estimators.action_baselines import StateAction, Taylor
from gradlab.estimators.base import Estimator, TrajectoryEstimator
from gradlab.estimators.baselines import Baseline, LeaveOneOut, Optimal
from gradlab.estimators.compatibility_gap import Compatibility, compatibility
from gradlab.estimators.compatible import Compatible
from gradlab.estimators.deterministic import Deterministic
from gradlab.estimators.directions import ClippedGaussian, Direction
from gradlab.estimators.gumbel_softmax import GumbelSoftmax
from gradlab.estimators.mixed import Mixed
from gradlab.estimators.model_based import (
    GaussianModel,
    Model,
    OneStepReparameterized,
    OneStepScoreFunction,
    PathwiseReturn,
    ValueGradient,
)
from gradlab.estimators.naive import Naive
from gradlab.estimators.reparameterized import Reparameterized
from gradlab.estimators.score_function import ScoreFunction
from gradlab.estimators.trajectory import GAE, GPOMDP, ActionValue, Reinforce, TDError
from gradlab.estimators.zeroth_order import ZerothOrder

#: Every family; a new one is its file and a line here.
ESTIMATORS: tuple[type[Estimator], ...] = (
    Deterministic,
    ZerothOrder,
    ScoreFunction,
    Reparameterized,
    GumbelSoftmax,
    Naive,
    Mixed,
    Compatible,
    ValueGradient,
)

#: Those made of whole episodes; a new one is its file and a line here.
TRAJECTORY_ESTIMATORS: tuple[type[TrajectoryEstimator], ...] = (
    Reinforce,
    GPOMDP,
    ActionValue,
    TDError,
    GAE,
    PathwiseReturn,
)


def default_estimators(agent: Agent) -> tuple[Estimator, ...]:
    """The estimators worth comparing for an agent: unbiased, up to smoothing, for its kind of policy.

    Example:
        >>> from torch import nn
        >>> agent = Agent(nn.Linear(2, 1), [nn.Bilinear(2, 1, 1)], action_low=-1, action_high=1)
        >>> [str(estimator) for estimator in default_estimators(agent)]
        ['deterministic', 'zeroth-order-2', 'zeroth-order-antithetic', 'score-function', 'score-function-baseline']
    """
    scores = (ScoreFunction(), ScoreFunction(baseline="value"))
    if not agent.policy.continuous:
        return scores
    if agent.policy.stochastic:
        return (Reparameterized(), *scores)
    return (Deterministic(), ZerothOrder(mu=0.1, points=2), ZerothOrder(mu=0.1, points="antithetic"), *scores)


__all__ = [
    "ESTIMATORS",
    "GAE",
    "GPOMDP",
    "TRAJECTORY_ESTIMATORS",
    "ActionValue",
    "Baseline",
    "ClippedGaussian",
    "Compatibility",
    "Compatible",
    "Deterministic",
    "Direction",
    "Estimator",
    "GaussianModel",
    "GumbelSoftmax",
    "LeaveOneOut",
    "Mixed",
    "Model",
    "Naive",
    "OneStepReparameterized",
    "OneStepScoreFunction",
    "Optimal",
    "PathwiseReturn",
    "Reinforce",
    "Reparameterized",
    "ScoreFunction",
    "StateAction",
    "TDError",
    "Taylor",
    "TrajectoryEstimator",
    "ValueGradient",
    "ZerothOrder",
    "compatibility",
    "default_estimators",
]
