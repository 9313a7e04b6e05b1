"""Where the actor was in the pictures before one, and which of them have a simulated field: read once, kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dashboards.figures.field_panel import Trail
from dashboards.records import Records

T = TypeVar("T")

#: Pictures before one that a trail may go through; of more, every second, fourth, … is taken.
_MOST = 60
#: How far back a simulated field is looked for, in pictures.
_BACK = 24
#: Pictures of which something is kept: those of the trails of several runs.
_KEPT = 1024


class Trails:
    """What is read of many pictures: the actor's actions and the states they are of.

    Args:
        records: what is known of the store.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = threading.Lock()
        # Of each picture the marks of its states and the actor's actions [state, action]; None where it has none.
        self._actors: OrderedDict[tuple[str, int], tuple[list[bytes], NDArray[Any]] | None] = OrderedDict()
        self._simulated: OrderedDict[tuple[str, int], bool] = OrderedDict()

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
        marks = _marks(obs)
        # Multiples of the stride, so that the next picture asks for the same ones.
        steps, actions = [], []
        for step, number in [*fields[: place + 1 : stride], *([fields[place]] if place % stride else [])]:
            found = self._kept(self._actors, number, self._read_actors)
            if found and len(found[0]) == len(marks) and found[0][state] == marks[state]:
                steps.append(step)
                actions.append(found[1][state])
        if len(steps) < 2:
            return None
        return Trail(np.array(steps, dtype=np.int64), np.stack(actions).astype(np.float64))

    def simulated(self, run: int | None, measurement_id: int) -> tuple[int, int] | None:
        """Step and id of the last picture, up to this one, that has a simulated field; None where none near has."""
        fields = self._records.fields(run)
        place = next((number for number, (_, one) in enumerate(fields) if one == measurement_id), -1)
        for step, number in reversed(fields[max(0, place + 1 - _BACK) : place + 1]):
            if self._kept(self._simulated, number, self._read_simulated):
                return step, number
        return None

    def _read_actors(self, number: int) -> tuple[list[bytes], NDArray[Any]] | None:
        found = self._records.some_arrays(number, ("actor", "obs"))
        return (_marks(found["obs"]), found["actor"].values) if found else None

    def _read_simulated(self, number: int) -> bool:
        return bool(self._records.some_arrays(number, ("simulated_stderr",)))

    def _kept(self, known: OrderedDict[tuple[str, int], T], number: int, read: Callable[[int], T]) -> T:
        key = (self._records.epoch, number)
        with self._lock:
            if key in known:
                known.move_to_end(key)
                return known[key]
        found = read(number)
        with self._lock:
            known[key] = found
            while len(known) > _KEPT:
                known.popitem(last=False)
        return found


def _marks(obs: xr.DataArray) -> list[bytes]:
    """What tells states [state, feature] apart."""
    return [blake2b(np.ascontiguousarray(row).tobytes(), digest_size=12).digest() for row in obs.values]
