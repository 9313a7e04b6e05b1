"""The landscape of Q over actions: local optima, basins, the actor's gap, slices and fields."""

from gradlab.landscape.actors.many_actors import SecondOpinion, SeveralActors, several_actors
from gradlab.landscape.actors.mapped_actions import MappingGap, mapping_gap, nearest_items
from gradlab.landscape.actors.signatures import Signature, failure_signatures, trend
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.lines.exact import ExactOptima, exact_optima
from gradlab.landscape.optima import local_optima
from gradlab.landscape.planes.action_fields import field
from gradlab.landscape.planes.curved_planes import curvature_plane
from gradlab.landscape.planes.optima_planes import optima_plane
from gradlab.landscape.planes.over_states import gradient_field_over_states
from gradlab.landscape.planes.paths import ascent_path
from gradlab.landscape.planes.planes import Plane, coordinate_plane, random_plane
from gradlab.landscape.planes.slices import slice_plane
from gradlab.landscape.planes.state_planes import StatePlane, state_plane
from gradlab.landscape.planes.volatility import gradient_volatility
from gradlab.landscape.searching.certificates import Certificate
from gradlab.landscape.standing.means import GapMeans
from gradlab.landscape.standing.standing import Gap, gap, gap_by_critic
from gradlab.landscape.training.following import Followed, follow
from gradlab.landscape.truncated.from_search import surrogates_of_search
from gradlab.landscape.truncated.learned_surrogates import SurrogateQuality, surrogate_quality
from gradlab.landscape.truncated.successive import SurrogateMeans, Surrogates, surrogates
from gradlab.landscape.truncated.surrogate_agents import function_agent, learned_agent, surrogate_agent
from gradlab.landscape.truncated.surrogate_network import SurrogateNetwork, fit_surrogate
from gradlab.landscape.truth.phantom_means import PhantomMeans
from gradlab.landscape.truth.phantoms import PhantomOptima, phantom_optima
from gradlab.landscape.truth.verdicts import Verdict
from gradlab.landscape.unseen_optima.missed import Unseen, unseen
from gradlab.landscape.unseen_optima.second_look import SecondLook, unseen_share

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
    "surrogates_of_search",
    "trend",
    "unseen",
    "unseen_share",
]
