"""Worlds: problems whose gradients, values and variances are known in closed form."""

from gradlab.worlds.base import Admitted, GradientMoments, Hessians, Moments, World
from gradlab.worlds.gaussian_polynomial import GaussianPolynomial
from gradlab.worlds.linear_quadratic import LinearQuadratic
from gradlab.worlds.quadratic_bandit import QuadraticBandit, expected_absolute_cosine
from gradlab.worlds.smoothing import smoothed_gradient, smoothing_bias
from gradlab.worlds.tabular import TabularMDP

#: Every world; a new one is its file and a line here.
WORLDS: tuple[type[World], ...] = (GaussianPolynomial, QuadraticBandit, LinearQuadratic, TabularMDP)

__all__ = [
    "WORLDS",
    "Admitted",
    "GaussianPolynomial",
    "GradientMoments",
    "Hessians",
    "LinearQuadratic",
    "Moments",
    "QuadraticBandit",
    "TabularMDP",
    "World",
    "expected_absolute_cosine",
    "smoothed_gradient",
    "smoothing_bias",
]
