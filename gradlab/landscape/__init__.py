"""The landscape of Q over actions: local optima, basins, the actor's gap, slices and fields."""

from gradlab.landscape.action_fields import field
from gradlab.landscape.optima import LocalOptima, local_optima
from gradlab.landscape.paths import ascent_path
from gradlab.landscape.standing import Gap, gap

__all__ = ["Gap", "LocalOptima", "ascent_path", "field", "gap", "local_optima"]
