"""Checks of the agents and states that are handed to a simulator, before anything is simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.simulation.states import States

if TYPE_CHECKING:
    from gradlab.simulation.simulator import Simulator


def check_agent(agent: object) -> None:
    """Refuses what is no agent, such as a bare network.

    Raises:
        GradlabError: it is none.
    """
    if isinstance(agent, Agent):
        return
    what = "None" if agent is None else type(agent).__name__
    raise GradlabError(
        f"agent: {what}, but what its outputs mean must be known; take gradlab.Agent(actor, critics, action_low, "
        "action_high), or gradlab.view(model)"
    )


def check_states(states: object, simulator: Simulator | None = None) -> None:
    """Refuses what are no states, or none at all, and those of another environment than the simulator's.

    States say which environment they were visited in (``States.origin``); of those made by hand only the name counts.

    Raises:
        GradlabError: they are observations alone, something else, empty, of another environment, or their observations
            have another length.
    """
    if not isinstance(states, States):
        raise GradlabError(
            f"states: {type(states).__name__}, but an observation is not all of a state to go on from; "
            "take States from simulator.visit(agent, count)"
        )
    if not len(states):
        raise GradlabError("states: there are none; select at least one, or visit some")
    if simulator is None:
        return
    if states.environment != simulator.name:
        raise GradlabError(
            f"states: of environment {states.environment!r}, but this simulator is of {simulator.name!r}"
        )
    if states.origin and states.origin != simulator.origin:
        raise GradlabError(
            f"states: visited in another environment {simulator.name!r}, of another model, other options or other "
            "wrappers than this simulator's; visit states anew with this one"
        )
    if tuple(states.obs.shape) != (len(states), simulator.obs_size):
        raise GradlabError(
            f"states: their observations have shape {tuple(states.obs.shape)}, but this environment's are "
            f"[{len(states)}, {simulator.obs_size}]; take States from simulator.visit(agent, count)"
        )


def check_radius(name: str, radius: float, agent: Agent) -> None:
    """Refuses smoothing over more than the action box is wide: nearly every move would be clipped at its edge.

    Raises:
        GradlabError: it is wider.
    """
    widest = float((agent.action_high - agent.action_low).max())
    if radius > widest:
        raise GradlabError(
            f"{name}: {radius:g} is wider than the agent's box of actions, {widest:g}; the environment would clip "
            "nearly every move"
        )
