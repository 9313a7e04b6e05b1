"""Q-landscapes whose local maxima, basins and gaps are known in closed form."""

import math

from gradlab.worlds.landscapes.base import Landscape, Optima
from gradlab.worlds.landscapes.bumps import GaussianBumps, Islands, Mesa
from gradlab.worlds.landscapes.families import FAMILIES, Family, random_landscape
from gradlab.worlds.landscapes.kinked import Cones, Facets, Ring, Roof
from gradlab.worlds.landscapes.lines import Line, Parabola, SineRamp
from gradlab.worlds.landscapes.mixtures import GaussianMixture
from gradlab.worlds.landscapes.scores import Found, Score, false_share, recall, score
from gradlab.worlds.landscapes.separable import SeparableProduct, SeparableSum
from gradlab.worlds.landscapes.waves import CosineBowl, Trigonometric

#: One of each kind, in one to three coordinates, to hold a search of local optima against.
LANDSCAPES: tuple[Landscape, ...] = (
    SineRamp(),
    Parabola(curvature=2.0, centre=0.3),
    Parabola(curvature=-2.0, centre=0.3),
    SeparableSum([SineRamp(), SineRamp(frequency=2 * math.pi, slope=-0.5)]),
    SeparableSum([Parabola(1.0, 0.2), Parabola(2.0, -0.1), Parabola(1.5)]),
    SeparableSum([SineRamp(frequency=5.0, slope=0.5), Parabola(-1.0), Parabola(1.0, 0.2)]),
    SeparableProduct([SineRamp(frequency=5.0, slope=0.5), SineRamp(frequency=6.0, slope=-0.3)]),
    GaussianBumps([[-0.7], [0.0], [0.6]], [0.6, 1.0, 0.8], width=0.25),
    GaussianBumps([[-0.6, -0.5], [0.5, -0.6], [0.1, 0.7], [1.0, 0.2]], [1.0, 0.7, 0.9, 0.8], width=0.35),
    Islands([[-0.5, -0.5], [0.5, 0.4]], [1.0, 2.0], [0.4, 0.3]),
    Mesa(),
)

__all__ = [
    "FAMILIES",
    "LANDSCAPES",
    "Cones",
    "CosineBowl",
    "Facets",
    "Family",
    "Found",
    "GaussianBumps",
    "GaussianMixture",
    "Islands",
    "Landscape",
    "Line",
    "Mesa",
    "Optima",
    "Parabola",
    "Ring",
    "Roof",
    "Score",
    "SeparableProduct",
    "SeparableSum",
    "SineRamp",
    "Trigonometric",
    "false_share",
    "random_landscape",
    "recall",
    "score",
]
