"""Families of random landscapes with known maxima, to state how many of them a search finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gradlab.errors import GradlabError
from gradlab.worlds.landscapes.base import Landscape
from gradlab.worlds.landscapes.bumps import Islands
from gradlab.worlds.landscapes.kinked import Cones, Facets, Ring, Roof
from gradlab.worlds.landscapes.lines import Parabola
from gradlab.worlds.landscapes.mixtures import GaussianMixture
from gradlab.worlds.landscapes.separable import SeparableSum
from gradlab.worlds.landscapes.waves import CosineBowl, Trigonometric


class Family(NamedTuple):
    """Random landscapes of one kind.

    Attributes:
        draw: makes one from a generator.
        starts: uniform starts that a search is given for one; about ten to each basin.
    """

    draw: Callable[[Generator], Landscape]
    starts: int


def random_landscape(family: str, seed: int) -> Landscape:
    """One landscape of a family, of which ``FAMILIES`` lists the names; equal seeds give equal ones.

    Raises:
        GradlabError: there is no such family.

    Example:
        >>> len(random_landscape("roof, 6", seed=0).optima().values)
        1
    """
    if family not in FAMILIES:
        raise GradlabError(f"family: {family!r} is none of {', '.join(FAMILIES)}")
    # The family's place is part of the seed, so that families do not share their numbers.
    return FAMILIES[family].draw(np.random.default_rng([seed, list(FAMILIES).index(family)]))


def _points(rng: Generator, count: int, size: int, apart: float, within: float) -> NDArray[np.float64]:
    """Up to ``count`` points at least ``apart`` from each other, as many as fit by rejection."""
    points = np.zeros((0, size))
    for _ in range(400):
        trial = rng.uniform(-within, within, (1, size))
        if len(points) < count and (np.linalg.norm(points - trial, axis=-1) >= apart).all():
            points = np.concatenate([points, trial])
    return points


def _mixture(size: int, count: int, width: float) -> Callable[[Generator], Landscape]:
    def draw(rng: Generator) -> Landscape:
        centres = _points(rng, count, size, 4 * width, 0.9)
        return GaussianMixture(centres, rng.uniform(1, 2, len(centres)), width)

    return draw


def _waves(size: int, harmonics: int) -> Callable[[Generator], Landscape]:
    def draw(rng: Generator) -> Landscape:
        return SeparableSum(
            [
                Trigonometric(rng.normal(size=harmonics), rng.uniform(0, 2 * math.pi, harmonics), rng.uniform(1.5, 2.5))
                for _ in range(size)
            ]
        )

    return draw


def _shubert(rng: Generator) -> Landscape:
    return SeparableSum([Trigonometric.shubert(2.0, shift=rng.uniform(0, 2 * math.pi)) for _ in range(2)])


def _rastrigin(size: int, frequency: float) -> Callable[[Generator], Landscape]:
    def draw(rng: Generator) -> Landscape:
        return SeparableSum([CosineBowl(5.0, 1.0, frequency, centre) for centre in rng.uniform(-0.2, 0.2, size)])

    return draw


def _faces(rng: Generator) -> Landscape:
    # A hill, two valleys and a wave: maxima on faces and edges, none of them inside or, as a rule, in a corner.
    lines: list[Any] = [Parabola(-1.0, rng.uniform(-0.8, 0.8)), *(Parabola(1.0, c) for c in rng.uniform(-0.5, 0.5, 2))]
    return SeparableSum([*lines, Trigonometric(rng.normal(size=2), rng.uniform(0, 6, 2), 2.0)])


def _islands(rng: Generator) -> Landscape:
    centres = _points(rng, 4, 2, 0.75, 0.6)
    return Islands(centres, rng.uniform(1, 2, len(centres)), 0.35)


def _cones(size: int, count: int, apart: float, floor: float | None) -> Callable[[Generator], Landscape]:
    def draw(rng: Generator) -> Landscape:
        centres = _points(rng, count, size, apart, 0.9)
        return Cones(centres, rng.uniform(1, 1.5, len(centres)), slope=2.0, floor=floor)

    return draw


def _ring(size: int) -> Callable[[Generator], Landscape]:
    def draw(rng: Generator) -> Landscape:
        tilt = rng.normal(size=size)
        return Ring(tilt / np.linalg.norm(tilt), radius=rng.uniform(0.4, 0.9), steepness=4.0)

    return draw


def _facets(size: int, count: int) -> Callable[[Generator], Landscape]:
    return lambda rng: Facets(rng.normal(size=(count, size)), 0.3 * rng.normal(size=count))


def _roof(size: int, count: int) -> Callable[[Generator], Landscape]:
    # Planes of random slope, tangent near the middle: some hold the top and others are far above it.
    return lambda rng: Roof(rng.normal(size=(count, size)), rng.uniform(0, 0.3, count))


#: By name: what it is like and its number of coordinates.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "waves, 1": Family(_waves(1, 6), 64),
        "waves, 2": Family(_waves(2, 3), 256),
        "shubert, 2": Family(_shubert, 512),
        "rastrigin, 1": Family(_rastrigin(1, 5 * math.pi), 64),
        "rastrigin, 2": Family(_rastrigin(2, 4 * math.pi), 512),
        "rastrigin, 4": Family(_rastrigin(4, 2 * math.pi), 512),
        "gaussian mixture, 1": Family(_mixture(1, 4, 0.08), 64),
        "gaussian mixture, 2": Family(_mixture(2, 6, 0.15), 128),
        "gaussian mixture, 4": Family(_mixture(4, 6, 0.25), 256),
        "gaussian mixture, 8": Family(_mixture(8, 6, 0.4), 256),
        "islands in a sea, 2": Family(_islands, 128),
        "cones, 2": Family(_cones(2, 6, 0.4, None), 128),
        "cones on a plateau, 2": Family(_cones(2, 4, 0.6, 0.2), 128),
        "cones, 6": Family(_cones(6, 6, 0.8, None), 256),
        "ridge around a sphere, 2": Family(_ring(2), 32),
        "ridge around a sphere, 4": Family(_ring(4), 32),
        "corners, 3": Family(_facets(3, 12), 128),
        "corners, 6": Family(_facets(6, 24), 512),
        "faces, 4": Family(_faces, 256),
        "roof, 2": Family(_roof(2, 8), 32),
        "roof, 6": Family(_roof(6, 24), 32),
    }
)
