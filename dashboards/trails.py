"""Where the actor was in the pictures before one, and which of them have a simulated field: read once, kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from dashboards.figures.field_panel import Trail
from dashboards.records import Records

#: Pictures before one that a trail may go through; of more, every second, fourth, … is taken.
_MOST = 60
#: How far back a simulated field is looked for, in pictures.
_BACK = 24

Arrays = Mapping[str, xr.DataArray]


class Trails:
    """What is read of many pictures: the actor's actions and the states they are of.

    Args:
        records: what is known of the store.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._actors: dict[tuple[str, int], Arrays] = {}
        self._simulated: dict[tuple[str, int], Arrays] = {}

    def trail(self, run: int | None, measurement_id: int, state: int, obs: xr.DataArray | None) -> Trail | None:
        """The actor's actions up to a picture, in the state that it has; None where nothing is known of it.

        Args:
            run: the run.
            measurement_id: of the picture.
            state: which of its states.
            obs: its states [state, feature]: of pictures of other states nothing is taken.
        """
        fields = self._records.fields(run)
        place = next((number for number, (_, one) in enumerate(fields) if one == measurement_id), -1)
        if obs is None or place < 1 or state >= obs.sizes["state"]:
            return None
        stride = 1
        while place / stride > _MOST:
            stride *= 2
        # Multiples of the stride, so that the next picture asks for the same ones.
        steps, actions = [], []
        for step, number in [*fields[: place + 1 : stride], *([fields[place]] if place % stride else [])]:
            found = self._kept(self._actors, number, ("actor", "obs"))
            if found and found["obs"].shape == obs.shape and np.array_equal(found["obs"][state], obs[state]):
                steps.append(step)
                actions.append(found["actor"].values[state].astype(np.float64))
        return Trail(np.array(steps, dtype=np.int64), np.stack(actions)) if len(steps) > 1 else None

    def simulated(self, run: int | None, measurement_id: int) -> tuple[int, int] | None:
        """Step and id of the last picture, up to this one, that has a simulated field; None where none near has."""
        fields = self._records.fields(run)
        place = next((number for number, (_, one) in enumerate(fields) if one == measurement_id), -1)
        for step, number in reversed(fields[max(0, place + 1 - _BACK) : place + 1]):
            if self._kept(self._simulated, number, ("simulated_stderr",)):
                return step, number
        return None

    def _kept(self, known: dict[tuple[str, int], Arrays], number: int, names: Sequence[str]) -> Arrays:
        key = (self._records.epoch, number)
        if key not in known:
            if len(known) > 4096:
                known.clear()
            known[key] = self._records.some_arrays(number, names)
        return known[key]
