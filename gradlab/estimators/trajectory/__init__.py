"""Score-function estimators along whole episodes, by what weighs the score."""

from gradlab.estimators.trajectory.advantages import GAE, ActionValue, TDError
from gradlab.estimators.trajectory.baselines import LeaveOneOut, OptimalBaseline
from gradlab.estimators.trajectory.returns import GPOMDP, Reinforce

__all__ = ["GAE", "GPOMDP", "ActionValue", "LeaveOneOut", "OptimalBaseline", "Reinforce", "TDError"]
