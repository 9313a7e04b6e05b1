"""The landscape of Q over actions: local optima, basins, the actor's gap, slices and fields."""

from gradlab.landscape.action_fields import field
from gradlab.landscape.certificates import Certificate
from gradlab.landscape.curved_planes import curvature_plane
from gradlab.landscape.exact import ExactOptima, exact_optima
from gradlab.landscape.following import Followed, follow
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.learned_surrogates import SurrogateQuality, surrogate_quality
from gradlab.landscape.many_actors import SecondOpinion, SeveralActors, several_actors
from gradlab.landscape.mapped_actions import MappingGap, mapping_gap, nearest_items
from gradlab.landscape.means import GapMeans
from gradlab.landscape.missed import Unseen, unseen
from gradlab.landscape.optima import local_optima
from gradlab.landscape.optima_planes import optima_plane
from gradlab.landscape.over_states import gradient_field_over_states
from gradlab.landscape.paths import ascent_path
from gradlab.landscape.phantom_means import PhantomMeans
from gradlab.landscape.phantoms import PhantomOptima, phantom_optima
from gradlab.landscape.planes import Plane, coordinate_plane, random_plane
from gradlab.landscape.second_look import SecondLook, unseen_share
from gradlab.landscape.signatures import Signature, failure_signatures, trend
from gradlab.landscape.slices import slice_plane
from gradlab.landscape.standing import Gap, gap, gap_by_critic
from gradlab.landscape.state_planes import StatePlane, state_plane
from gradlab.landscape.successive import SurrogateMeans, Surrogates, surrogates
from gradlab.landscape.surrogate_agents import function_agent, learned_agent, surrogate_agent
from gradlab.landscape.surrogate_network import SurrogateNetwork, fit_surrogate
from gradlab.landscape.verdicts import Verdict
from gradlab.landscape.volatility import gradient_volatility

__all__ = [
    "Certificate",
    "ExactOptima",
    "Followed",
    "Gap",
    "GapMeans",
    "LocalOptima",
    "MappingGap",
    "PhantomMeans",
    "PhantomOptima",
    "Plane",
    "SecondLook",
    "SecondOpinion",
    "SeveralActors",
    "Signature",
    "StatePlane",
    "SurrogateMeans",
    "SurrogateNetwork",
    "SurrogateQuality",
    "Surrogates",
    "Unseen",
    "Verdict",
    "ascent_path",
    "coordinate_plane",
    "curvature_plane",
    "exact_optima",
    "failure_signatures",
    "field",
    "fit_surrogate",
    "follow",
    "function_agent",
    "gap",
    "gap_by_critic",
    "gradient_field_over_states",
    "gradient_volatility",
    "learned_agent",
    "local_optima",
    "mapping_gap",
    "nearest_items",
    "optima_plane",
    "phantom_optima",
    "random_plane",
    "several_actors",
    "slice_plane",
    "state_plane",
    "surrogate_agent",
    "surrogate_quality",
    "surrogates",
    "trend",
    "unseen",
    "unseen_share",
]
