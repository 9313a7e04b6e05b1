"""The quadrature rule, under the name that references know it by."""

from gradlab.quadrature import gauss_hermite

__all__ = ["gauss_hermite"]
