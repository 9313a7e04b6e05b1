"""Estimators through a differentiable model: value gradients of n steps, one-step expansions, backpropagation."""

from gradlab.estimators.model_based.expansions import (
    Expansion,
    OneStepExpansion,
    OneStepReparameterized,
    OneStepScoreFunction,
)
from gradlab.estimators.model_based.model import GaussianModel, Model
from gradlab.estimators.model_based.pathwise import PathwiseReturn
from gradlab.estimators.model_based.unroll import infer_action_noise
from gradlab.estimators.model_based.value_gradient import ValueGradient

__all__ = [
    "Expansion",
    "GaussianModel",
    "Model",
    "OneStepExpansion",
    "OneStepReparameterized",
    "OneStepScoreFunction",
    "PathwiseReturn",
    "ValueGradient",
    "infer_action_noise",
]
