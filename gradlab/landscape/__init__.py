"""The landscape of Q over actions: local optima, basins, the actor's gap, slices and fields."""

from gradlab.landscape.action_fields import field
from gradlab.landscape.curved_planes import curvature_plane
from gradlab.landscape.exact import ExactOptima, exact_optima
from gradlab.landscape.following import Followed, follow
from gradlab.landscape.optima import LocalOptima, local_optima
from gradlab.landscape.optima_planes import optima_plane
from gradlab.landscape.paths import ascent_path
from gradlab.landscape.planes import Plane, coordinate_plane, random_plane
from gradlab.landscape.slices import slice_plane
from gradlab.landscape.standing import Gap, gap
from gradlab.landscape.successive import SurrogateMeans, Surrogates, surrogates
from gradlab.landscape.surrogate_agents import function_agent, learned_agent, surrogate_agent

__all__ = [
    "ExactOptima",
    "Followed",
    "Gap",
    "LocalOptima",
    "Plane",
    "SurrogateMeans",
    "Surrogates",
    "ascent_path",
    "coordinate_plane",
    "curvature_plane",
    "exact_optima",
    "field",
    "follow",
    "function_agent",
    "gap",
    "learned_agent",
    "local_optima",
    "optima_plane",
    "random_plane",
    "slice_plane",
    "surrogate_agent",
    "surrogates",
]
