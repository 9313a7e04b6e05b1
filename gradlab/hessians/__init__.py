"""Second derivatives of Q: exact, at a stated scale or over a range of scales, smoothed, and matrix-free."""

from gradlab.hessians.at_actions import second_derivatives
from gradlab.hessians.extremes import ExtremeEigenvalues, SpectralNorms, extreme_eigenvalues, spectral_norms
from gradlab.hessians.hutchinson import (
    hutchinson_frobenius,
    hutchinson_trace,
    hutchinson_variance,
    hutchplusplus_trace,
)
from gradlab.hessians.piecewise import piecewise_linear
from gradlab.hessians.plateau import StepPlateau, step_plateau
from gradlab.hessians.probing import Probed, squared_frobenius, traces
from gradlab.hessians.products import HessianProducts, hessian_products, matrix_products
from gradlab.hessians.smoothing import SmoothedDerivatives, smoothed_second_derivatives

__all__ = [
    "ExtremeEigenvalues",
    "HessianProducts",
    "Probed",
    "SmoothedDerivatives",
    "SpectralNorms",
    "StepPlateau",
    "extreme_eigenvalues",
    "hessian_products",
    "hutchinson_frobenius",
    "hutchinson_trace",
    "hutchinson_variance",
    "hutchplusplus_trace",
    "matrix_products",
    "piecewise_linear",
    "second_derivatives",
    "smoothed_second_derivatives",
    "spectral_norms",
    "squared_frobenius",
    "step_plateau",
    "traces",
]
