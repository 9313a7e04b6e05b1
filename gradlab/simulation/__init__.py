"""Tasks with exact state: capture, restore, and closed-loop returns."""

from gradlab.simulation.discounted import DiscountedStates, visit_discounted
from gradlab.simulation.simulator import Rollouts, Simulator
from gradlab.simulation.states import States

__all__ = ["DiscountedStates", "Rollouts", "Simulator", "States", "visit_discounted"]
