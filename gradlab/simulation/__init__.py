"""Tasks with exact state: capture, restore, and closed-loop returns."""

from gradlab.simulation.simulator import Rollouts, Simulator
from gradlab.simulation.states import States

__all__ = ["Rollouts", "Simulator", "States"]
