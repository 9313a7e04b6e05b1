"""Probe: the Q-gradient field over the action plane, with the actor in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.landscape import LocalOptima, ascent_path, field, local_optima
from gradlab.measurement import Measurement
from probes.probe import Probe
from probes.schedule import Every


class Field(Probe):
    """Q and ∇_a Q on a plane of actions at a few states, the local optima, the actor's action and its ascent.

    The states are chosen at the first measurement and kept, so that a slider over training steps shows the same
    states change. The search for optima takes too long for the training process, so it runs in one of its own.

    Args:
        every: training steps between two measurements.
        states: number of states kept.
        resolution: points along each side of the heat map.
        arrows: arrows along each side.
        starts: starts of the search for optima.
        search_steps: most steps of that search.
        ascent_steps: points of the drawn ascent path.
    """

    name = "field"
    background = True

    def __init__(
        self,
        *,
        every: Every = 500,
        states: int = 4,
        resolution: int = 33,
        arrows: int = 17,
        starts: int = 16,
        search_steps: int = 30,
        ascent_steps: int = 20,
    ) -> None:
        super().__init__(every=every, states=states)
        self.resolution = resolution
        self.arrows = arrows
        self.starts = starts
        self.search_steps = search_steps
        self.ascent_steps = ascent_steps
        self._kept: Any = None

    def refusal(self, agent: Agent) -> str | None:
        """Needs a critic and continuous actions."""
        if not agent.policy.continuous:
            return "the agent's actions are discrete; there is no action plane"
        return super().refusal(agent)

    def choose(self, obs: Any) -> Any:
        """The states of the first measurement, ever after."""
        if self._kept is None:
            self._kept = obs
        return self._kept

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Arrays ``q``, ``gradient``, ``actor``, ``optima``, ``optima_value``, ``ascent`` and ``obs``."""
        plane = field(agent, obs, resolution=self.resolution, arrows=self.arrows)
        labels = [str(label) for label in plane["q"]["critic"].values]
        # A label names one critic by its number, or is the reduction that the actor follows.
        critics = [int(label.split()[-1]) - 1 if label.startswith("critic ") else None for label in labels]
        optima = [
            local_optima(agent, obs, critic=critic, starts=self.starts, steps=self.search_steps, generator=generator)
            for critic in critics
        ]
        paths = torch.stack(
            [ascent_path(agent, obs, steps=self.ascent_steps, critic=critic).transpose(0, 1) for critic in critics]
        )
        actions, values = padded(optima)
        arrays = {
            "q": plane["q"].astype(np.float32),
            "gradient": plane["gradient"].astype(np.float32),
            "actor": plane["actor"].astype(np.float32),
            "optima": xr.DataArray(actions, dims=("critic", "state", "optimum", "action"), coords={"critic": labels}),
            "optima_value": xr.DataArray(values, dims=("critic", "state", "optimum"), coords={"critic": labels}),
            "ascent": xr.DataArray(
                paths.float().cpu().numpy(),
                dims=("critic", "state", "ascent_step", "action"),
                coords={"critic": labels},
            ),
            "obs": xr.DataArray(obs.float().cpu().numpy(), dims=("state", "feature")),
        }
        arrays["q"].attrs["plane"] = list(plane.attrs["plane"])
        return Measurement(arrays=arrays)


def padded(optima: Sequence[LocalOptima]) -> tuple[np.ndarray, np.ndarray]:
    """Ragged optima as arrays [critics, states, most, p] and [critics, states, most], NaN where there is none."""
    rows = [(c, s, found) for c, each in enumerate(optima) for s, found in enumerate(each.actions)]
    most = max(1, *(len(found) for _, _, found in rows))
    states, size = len(optima[0].actions), rows[0][2].shape[-1]
    actions = np.full((len(optima), states, most, size), np.nan, dtype=np.float32)
    values = np.full((len(optima), states, most), np.nan, dtype=np.float32)
    for c, s, found in rows:
        actions[c, s, : len(found)] = found.cpu().numpy()
        values[c, s, : len(found)] = optima[c].values[s].cpu().numpy()
    return actions, values
