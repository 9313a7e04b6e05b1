"""Tangent coordinates of exact states: how to move a snapshot a little, and by how much two of them differ.

Everything real that a snapshot holds is a coordinate, whether the next step reads it or not: what it does not read
gets a derivative of zero. Integers, booleans and generators are no coordinates and stay as they are.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gradlab.simulation.lanes.base import Floats

_SEQUENCES = (list, tuple, deque)


class Displacement(ABC):
    """Tangent coordinates of one environment's snapshots; N origins, L snapshots near each."""

    @abstractmethod
    def scale(self, origins: Sequence[Any]) -> Floats:
        """Unit of each coordinate [N, d] in the norm of a displacement; infinite where it does not count there.

        In MuJoCo the engine's own units of positions, velocities, activations and carried quantities; warm starts and
        derived quantities follow from these and do not count. In other environments max(1, |value|).
        """

    @abstractmethod
    def displaced(self, origins: Sequence[Any], offsets: Floats) -> list[Any]:
        """Snapshots [N · L], those of an origin together, moved by ``offsets`` [N, L, d]; the origins stay."""

    @abstractmethod
    def between(self, origins: Sequence[Any], snapshots: Sequence[Any]) -> Floats:
        """Offsets [N, L, d] that lead from each origin to its L ``snapshots`` [N · L]."""


class AttributeDisplacement(Displacement):
    """Of states kept as Python attributes: every finite float, and every element of an array of floats.

    Lists, tuples, queues and dictionaries are looked into, other objects are not: an environment that keeps reals in
    objects of its own has a chain rule that misses them, which the comparison with differences brings to light.
    Coordinates keep their places: what turns up later (an attribute that a first step makes) is added at the end.
    """

    def __init__(self) -> None:
        self._places: dict[tuple[tuple[Any, ...], int], int] = {}
        self._size = 0

    def scale(self, origins: Sequence[Any]) -> Floats:
        """max(1, |value|)."""
        return np.maximum(1.0, np.abs(np.nan_to_num(self._values(origins))))

    def displaced(self, origins: Sequence[Any], offsets: Floats) -> list[Any]:
        """Snapshots that share with their origins whatever is no coordinate; lanes start from copies anyway."""
        many, moved = offsets.shape[1], []
        for i, offset in enumerate(flat(offsets)):
            origin = snapshot = origins[i // many]
            for path, value in _reals(origin):
                size = int(np.size(value))
                begin = self._places.get((path, size), len(offset))
                if begin + size <= len(offset):
                    snapshot = _replaced(snapshot, path, value + _like(value, offset[begin : begin + size]))
            moved.append(snapshot)
        return moved

    def between(self, origins: Sequence[Any], snapshots: Sequence[Any]) -> Floats:
        """Differences, zero for what only one of the two has."""
        values = self._values([*origins, *snapshots])
        here, there = values[: len(origins)], values[len(origins) :]
        many = len(snapshots) // len(origins)
        apart = there.reshape(len(origins), many, there.shape[-1]) - here[:, None]
        return np.nan_to_num(apart, nan=0.0, posinf=np.inf, neginf=-np.inf)

    def _values(self, snapshots: Sequence[Any]) -> Floats:
        found = [list(_reals(snapshot)) for snapshot in snapshots]
        for reals in found:
            for path, value in reals:
                size = int(np.size(value))
                if (path, size) not in self._places:
                    self._places[path, size] = self._size
                    self._size += size
        values = np.full((len(snapshots), self._size), np.nan)
        for row, reals in zip(values, found, strict=True):
            for path, value in reals:
                begin = self._places[path, int(np.size(value))]
                row[begin : begin + int(np.size(value))] = np.ravel(value)
        return values


def _reals(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every finite float and array of floats inside, by the keys that lead to it."""
    if isinstance(value, dict):
        for key in value:
            yield from _reals(value[key], (*path, key))
    elif type(value) in _SEQUENCES:
        for index, item in enumerate(value):
            yield from _reals(item, (*path, index))
    elif isinstance(value, (float, np.floating)):
        if math.isfinite(value):
            yield path, value
    elif isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating) and np.isfinite(value).all():
        yield path, value


def _replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """A copy with one entry replaced; what does not lead there is shared."""
    if not path:
        return by
    new = _replaced(value[path[0]], path[1:], by)
    if isinstance(value, tuple):
        return (*value[: path[0]], new, *value[path[0] + 1 :])
    changed = copy.copy(value)
    changed[path[0]] = new
    return changed


def _like(value: Any, offset: Floats) -> Any:
    return offset.reshape(value.shape).astype(value.dtype) if isinstance(value, np.ndarray) else type(value)(offset[0])


def flat(offsets: Floats) -> Floats:
    """[N, L, d] → [N · L, d], also where d is zero."""
    return offsets.reshape(offsets.shape[0] * offsets.shape[1], offsets.shape[-1])
