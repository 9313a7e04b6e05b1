"""Worlds: problems whose gradients, values and variances are known in closed form."""

from gradlab.worlds.ball_over_wall import BallOverWall
from gradlab.worlds.base import Admitted, GradientMoments, Hessians, Moments, World
from gradlab.worlds.chain import RewardChain
from gradlab.worlds.cubic_bandit import CubicBandit
from gradlab.worlds.first_decision import FirstDecision
from gradlab.worlds.gaussian_polynomial import GaussianPolynomial
from gradlab.worlds.landscapes import LANDSCAPES, Landscape
from gradlab.worlds.linear_quadratic import LinearQuadratic
from gradlab.worlds.polynomial_bandit import PolynomialBandit
from gradlab.worlds.polynomials import Polynomial
from gradlab.worlds.quadratic_bandit import QuadraticBandit, expected_absolute_cosine
from gradlab.worlds.smoothing import smoothed_gradient, smoothing_bias
from gradlab.worlds.step import Step
from gradlab.worlds.tabular import TabularMDP

#: Every world; a new one is its file and a line here.
WORLDS: tuple[type[World], ...] = (
    GaussianPolynomial,
    QuadraticBandit,
    CubicBandit,
    Step,
    BallOverWall,
    LinearQuadratic,
    TabularMDP,
    RewardChain,
    FirstDecision,
)

__all__ = [
    "LANDSCAPES",
    "WORLDS",
    "Admitted",
    "BallOverWall",
    "CubicBandit",
    "FirstDecision",
    "GaussianPolynomial",
    "GradientMoments",
    "Hessians",
    "Landscape",
    "LinearQuadratic",
    "Moments",
    "Polynomial",
    "PolynomialBandit",
    "QuadraticBandit",
    "RewardChain",
    "Step",
    "TabularMDP",
    "World",
    "expected_absolute_cosine",
    "smoothed_gradient",
    "smoothing_bias",
]
