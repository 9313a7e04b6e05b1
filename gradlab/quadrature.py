"""Gauss–Hermite quadrature for expectations over standard normal noise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor


def gauss_hermite(size: int, nodes: int) -> tuple[Tensor, Tensor]:
    """The tensor-product rule for E[f(ε)], ε ~ N(0, I) in ``size`` dimensions.

    Exact for polynomials of degree at most 2·nodes − 1 in each coordinate (Golub & Welsch 1969).

    Args:
        size: number of coordinates; the rule has nodes**size points.
        nodes: points in each coordinate.

    Returns:
        Points [nodes**size, size] and weights [nodes**size] that add up to one, float64.

    Example:
        >>> points, weights = gauss_hermite(2, 3)
        >>> bool(torch.isclose(weights @ (points**4).sum(-1), torch.tensor(6.0, dtype=torch.float64)))
        True
    """
    at, mass = np.polynomial.hermite_e.hermegauss(nodes)
    points = torch.tensor(list(itertools.product(at.tolist(), repeat=size)), dtype=torch.float64)
    masses = torch.tensor(list(itertools.product(mass.tolist(), repeat=size)), dtype=torch.float64)
    return points, masses.prod(-1) / math.sqrt(2 * math.pi) ** size
