"""What the field probe stores of the task itself: what its states look like, and now and then the simulated field."""

from __future__ import annotations

import time

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError, first_line
from gradlab.references import SimulatorReference
from gradlab.simulation.bodies import bodies
from gradlab.simulation.from_observations import states_at
from probes.task import task_simulator

#: Noises that a stochastic policy's returns are the mean of; all actions share them.
_NOISES = 4


def looks(environment: str, obs: Tensor) -> tuple[dict[str, xr.DataArray], str]:
    """The body in each of the states [S, n], as arrays ``body_…``; or none, and why."""
    if not environment:
        return {}, ""
    try:
        found = bodies(environment, obs.detach().cpu().double().numpy())
    except Exception as error:  # noqa: BLE001 - somebody else's environment; a picture is no reason to fail
        return {}, f"states are shown by their coordinates: {first_line(error)}"
    return {str(name): found[name] for name in found.data_vars}, ""


def simulated(
    agent: Agent, environment: str, obs: Tensor, *, states: int, resolution: int, horizon: int, seconds: float
) -> tuple[dict[str, xr.DataArray], str]:
    """The true Q^π of ``horizon`` rewards on the first plane of actions, at the first states; or why there is none.

    Args:
        agent: the agent, whose policy is followed after the first action.
        environment: gymnasium identifier of the task.
        obs: the states [S, n].
        states: of how many it is simulated.
        resolution: points along each side.
        horizon: number of rewards.
        seconds: when so many have passed, no further state is begun.

    Returns:
        Arrays ``simulated_q`` and ``simulated_stderr`` [state, (y,) x], not a number where it was not simulated.
    """
    started = time.perf_counter()
    try:
        simulator = task_simulator(environment)
        reference = SimulatorReference(simulator, horizon=horizon, noise_seeds=_NOISES)
        with torch.no_grad():
            actor = agent.action(obs[:states]).detach().cpu().double()
        axes = [0, 1][: agent.action_size]
        low, high = agent.action_low.cpu().double(), agent.action_high.cpu().double()
        sides = [torch.linspace(float(low[axis]), float(high[axis]), resolution).double() for axis in axes]
        grid = torch.meshgrid(*sides[::-1], indexing="ij")
        actions = actor.repeat(*grid[0].shape, 1, 1)
        for axis, side in zip(axes[::-1], grid, strict=True):
            actions[..., axis] = side[..., None]
        shape = (len(obs), *grid[0].shape)
        mean, stderr = (torch.full(shape, torch.nan, dtype=torch.float64) for _ in range(2))
        objective, reason, noises = "", "", 0
        for state in range(min(states, len(obs))):
            if time.perf_counter() - started > seconds:
                break
            try:
                at = states_at(simulator, obs[state : state + 1])
            except GradlabError as error:
                reason = first_line(error)
                continue
            flat = actions[..., state, :].reshape(-1, 1, agent.action_size)
            found = reference.values(agent, at, flat)
            mean[state] = found.mean.cpu().reshape(shape[1:])
            stderr[state] = found.stderr.cpu().reshape(shape[1:])
            objective, noises = str(found.objective), int(found.samples)
    except Exception as error:  # noqa: BLE001 - somebody else's environment; without it there is the learned field still
        return {}, f"no simulated field: {first_line(error)}"
    if not objective:
        return {}, f"no simulated field: {reason}"
    names = ["x", "y"][: len(axes)]
    coords = {name: side.numpy() for name, side in zip(names, sides, strict=True)}
    dims = ("state", *names[::-1])
    attrs = {"horizon": horizon, "objective": objective, "noises": noises}
    return {
        "simulated_q": xr.DataArray(mean.numpy().astype(np.float32), dims=dims, coords=coords, attrs=attrs),
        "simulated_stderr": xr.DataArray(stderr.numpy().astype(np.float32), dims=dims, coords=coords),
    }, ""
