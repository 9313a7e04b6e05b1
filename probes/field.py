"""Probe: the Q-gradient field over the action plane, with the actor in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.landscape import LocalOptima, ascent_path, field, local_optima
from gradlab.measurement import Measurement
from probes.field_planes import more_planes
from probes.field_simulation import looks, simulated
from probes.field_states import over_states
from probes.probe import Probe
from probes.schedule import Every

#: Points along each side of the field over states, and of the simulated field.
_STATE_POINTS = 21
_SIMULATED_POINTS = 11
#: Seconds after which no further state is simulated.
_SIMULATED_SECONDS = 4.0


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
        planes: most planes of two actions, of an agent with more than two; one through the optima is added to them.
        seen: observations that the plane of states is laid through.
        environment: gymnasium identifier of the task; without it states are shown by their coordinates alone.
        simulated: at every so many pictures the true Q is simulated beside the first plane; 0 for never.
        simulated_states: states at which it is.
        horizon: number of rewards in it.
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
        planes: int = 3,
        seen: int = 256,
        environment: str = "",
        simulated: int = 8,
        simulated_states: int = 2,
        horizon: int = 50,
    ) -> None:
        super().__init__(every=every, states=states)
        self.resolution = resolution
        self.arrows = arrows
        self.starts = starts
        self.search_steps = search_steps
        self.ascent_steps = ascent_steps
        self.planes = planes
        self.seen = seen
        self.environment = environment
        self.simulated = simulated
        self.simulated_states = simulated_states
        self.horizon = horizon
        self._kept: Any = None
        self._pictures = 0
        self._seconds = _SIMULATED_SECONDS

    @property
    def offered(self) -> int:
        """Of these the first are looked at; the plane of states is laid through all of them."""
        return max(self.states, self.seen)

    def stand_alone(self, place: int) -> None:
        """Whether the true Q is simulated goes by the place; where nobody waits, no clock cuts it short."""
        self._pictures = place
        self._seconds = math.inf

    def stay_apart(self) -> None:
        """States are not the environment's own: they are neither simulated nor drawn."""
        self.environment = ""

    def refusal(self, agent: Agent) -> str | None:
        """Needs a critic and continuous actions."""
        if not agent.policy.continuous:
            return "the agent's actions are discrete; there is no action plane"
        return super().refusal(agent)

    def choose(self, obs: Any) -> Any:
        """The states of the first measurement, ever after; and with them what else was seen."""
        if self._kept is None:
            self._kept = obs
        elif len(self._kept) < self.offered and len(obs) > len(self._kept):
            # There were hardly any at first: the states stay, and the plane is laid through more of them once.
            join = torch.cat if isinstance(obs, Tensor) else np.concatenate
            self._kept = join([self._kept[: self.states], obs])[: self.offered]
        self._pictures += 1
        return self._kept

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Arrays of the picture, in the order in which the modules beside this one and this method add them.

        Always ``q``, ``gradient``, ``actor``, ``optima``, ``optima_value``, ``optima_persistence`` (a share of the
        value range), ``ascent`` and ``obs``; where there are, further planes, the field over states, bodies and the
        simulated field.
        """
        seen, obs = obs, obs[: self.states]
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
        actions, values, persistence = padded(optima)
        arrays = {
            "q": plane["q"].astype(np.float32),
            "gradient": plane["gradient"].astype(np.float32),
            "actor": plane["actor"].astype(np.float32),
            "optima": xr.DataArray(actions, dims=("critic", "state", "optimum", "action"), coords={"critic": labels}),
            "optima_value": xr.DataArray(values, dims=("critic", "state", "optimum"), coords={"critic": labels}),
            "optima_persistence": xr.DataArray(
                persistence, dims=("critic", "state", "optimum"), coords={"critic": labels}
            ),
            "ascent": xr.DataArray(
                paths.float().cpu().numpy(),
                dims=("critic", "state", "ascent_step", "action"),
                coords={"critic": labels},
            ),
            "obs": xr.DataArray(obs.float().cpu().numpy(), dims=("state", "feature")),
        }
        # The actor follows the first of several, or what is made of them all, which comes last.
        followed = 0 if agent.reduction == "first" else -1
        arrays["q"].attrs |= {"plane": list(plane.attrs["plane"]), "followed": labels[followed]}
        arrays |= more_planes(
            agent, obs, optima[followed], generator, most=self.planes, resolution=self.resolution, arrows=self.arrows
        )
        arrays |= over_states(agent, obs, seen, _STATE_POINTS)
        pictures, note = looks(self.environment, obs)
        arrays |= pictures
        notes = [note]
        # The first one is left to training, which has hardly begun.
        if self.environment and self.simulated and self._pictures % self.simulated == 2 % self.simulated:
            truth, note = simulated(
                agent,
                self.environment,
                obs,
                states=min(self.simulated_states, self.states),
                resolution=_SIMULATED_POINTS,
                horizon=self.horizon,
                seconds=self._seconds,
            )
            arrays |= truth
            notes.append(note)
        return Measurement(arrays=arrays, notes=tuple(one for one in notes if one))


def padded(optima: Sequence[LocalOptima]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ragged optima as actions [critics, states, most, p], values and relative persistence [critics, states, most].

    NaN where there is none.
    """
    rows = [(c, s, found) for c, each in enumerate(optima) for s, found in enumerate(each.actions)]
    most = max(1, *(len(found) for _, _, found in rows))
    states, size = len(optima[0].actions), rows[0][2].shape[-1]
    actions = np.full((len(optima), states, most, size), np.nan, dtype=np.float32)
    values = np.full((len(optima), states, most), np.nan, dtype=np.float32)
    persistence = values.copy()
    for c, s, found in rows:
        actions[c, s, : len(found)] = found.cpu().numpy()
        values[c, s, : len(found)] = optima[c].values[s].cpu().numpy()
        share = optima[c].persistence[s].double() / optima[c].value_range[s].double().clamp_min(1e-300)
        persistence[c, s, : len(found)] = share.cpu().numpy()
    return actions, values, persistence
