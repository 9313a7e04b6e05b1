"""Quadrature for expectations over standard normal noise."""

from __future__ import annotations

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
    return _product(torch.from_numpy(at), torch.from_numpy(mass) / math.sqrt(2 * math.pi), size)


def gauss_legendre(size: int, nodes: int) -> tuple[Tensor, Tensor]:
    """The tensor-product rule for E[f(ε)] = ∫ f(Φ⁻¹(u)) du over the unit cube, ε ~ N(0, I) in ``size`` dimensions.

    For an f that is smooth in u = Φ(ε), as the draw of a distribution on a box is; poor for polynomials of ε, which
    are infinite at the cube's faces.

    Args:
        size: number of coordinates; the rule has nodes**size points.
        nodes: points in each coordinate.

    Returns:
        Points ε [nodes**size, size] and weights [nodes**size] that add up to one, float64.

    Example:
        >>> points, weights = gauss_legendre(1, 8)
        >>> third_of_uniform = weights @ torch.special.ndtr(points[:, 0]) ** 3
        >>> bool(torch.isclose(third_of_uniform, torch.tensor(0.25, dtype=torch.float64)))
        True
    """
    at, mass = np.polynomial.legendre.leggauss(nodes)
    uniform = torch.from_numpy((at + 1) / 2)
    return _product(torch.special.ndtri(uniform), torch.from_numpy(mass / 2), size)


def _product(at: Tensor, mass: Tensor, size: int) -> tuple[Tensor, Tensor]:
    points = torch.cartesian_prod(*[at] * size).reshape(-1, size)
    return points, torch.cartesian_prod(*[mass] * size).reshape(-1, size).prod(-1)
