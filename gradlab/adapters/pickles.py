"""Pickles read without running code: names in one are looked up in a list here, never imported.

What a name outside the list stands for is refused, or represented by an object that only keeps what it is given.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlab.adapters.damage import DAMAGE
from gradlab.errors import GradlabError


@dataclass(frozen=True)
class Pickled:
    """What a pickle holds.

    Attributes:
        content: the object in it: plain values, dictionaries and arrays.
        beside: what the pickle of its constructor's arguments in the same folder holds, where there is one, with
            ``StandIn`` for every object that is not plain.
    """

    content: Any
    beside: Any = None


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins so is a pickle of protocol 2 or later.

    Example:
        >>> is_pickle(pickle.dumps([])), is_pickle(b"PK")
        (True, False)
    """
    return len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5


def plain(data: bytes, where: str) -> Any:
    """A pickle of plain values, dictionaries and arrays of numbers.

    Args:
        data: the pickle.
        where: the file, for the message.

    Raises:
        GradlabError: it is damaged, or names anything else.

    Example:
        >>> plain(pickle.dumps({"a": np.arange(2)}), "checkpoint a.pkl")
        {'a': array([0, 1])}
        >>> plain(pickle.dumps(print), "checkpoint a.pkl")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: checkpoint a.pkl: a pickle that names builtins.print, which only its code could ...
    """
    return _load(_Unpickler(io.BytesIO(data), _refused), where)


def represented(data: bytes, where: str) -> Any:
    """A pickle of any objects, each of which only keeps what the pickle gives it.

    Args:
        data: the pickle.
        where: the file, for the message.

    Raises:
        GradlabError: it is damaged.

    Example:
        >>> from pathlib import PurePosixPath
        >>> found = represented(pickle.dumps(PurePosixPath("a", "b")), "checkpoint a.pkl")
        >>> found.name, found.given
        ('pathlib.PurePosixPath', ('a', 'b'))
    """
    return _load(_Unpickler(io.BytesIO(data), _standing_in), where)


class StandIn:
    """An object of a class that was not looked up.

    Attributes:
        name: the full name of the class or function.
        given: what it was made with.
        state: what it was then set to; None for nothing.
    """

    name = ""

    def __new__(cls, *given: Any, **_: Any) -> StandIn:
        """Keep what it is made with."""
        made = super().__new__(cls)
        made.given = given
        made.state = None
        return made

    given: tuple[Any, ...]
    state: Any

    def __setstate__(self, state: Any) -> None:
        """Keep what it is set to."""
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take an item, which is of no interest."""

    def extend(self, items: Any) -> None:
        """Likewise."""

    append = add = extend


def _refused(name: str) -> Any:
    raise GradlabError(name)


def _standing_in(name: str) -> type[StandIn]:
    return type("StandIn", (StandIn,), {"name": name})


class _Type:
    """A dtype as pickles spell it: a code, and then an order of bytes."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])

    def array(self, data: Any, shape: Any, order: str) -> NDArray[Any]:
        kind = np.dtype(self.code)
        if kind.kind not in "fiub" or kind.fields is not None or kind.subdtype is not None:
            raise ValueError("no numbers")
        order_of_bytes = self.order if self.order in "<>" else "="
        found = np.frombuffer(bytes(data), kind.newbyteorder(order_of_bytes))  # type: ignore[arg-type]
        return found.reshape(shape, order="F" if order == "F" else "C").astype(kind)


class _Array:
    """An array that is made empty and filled afterwards, as protocols before 5 do."""

    value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.value = kind.array(data, shape, "F" if fortran else "C")


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any, *_: Any) -> NDArray[Any]:
    found: NDArray[Any] = kind.array(data, shape, order)
    return found


def _scalar(kind: Any, data: Any) -> Any:
    return kind.array(data, (), "C")[()]


def _reconstruct(*_: Any) -> _Array:
    return _Array()


_ADMITTED: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "numpy.dtype": _Type,
    "numpy.ndarray": _Array,
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, other: Callable[[str], Any]) -> None:
        super().__init__(file)
        self._other = other

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        return _ADMITTED[full] if full in _ADMITTED else self._other(full)


def _load(unpickler: _Unpickler, where: str) -> Any:
    try:
        return _filled(unpickler.load())
    except GradlabError as error:
        raise GradlabError(
            f"{where}: a pickle that names {error}, which only its code could read; load it yourself and describe it "
            "with gradlab.Agent(...)"
        ) from None
    except DAMAGE as error:
        raise GradlabError(f"{where}: a pickle that is damaged or cut short; copy the file again") from error


def _filled(value: Any) -> Any:
    """The value with its arrays in place of what they were read as."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(item) for item in value)
    if isinstance(value, StandIn):
        value.state = _filled(value.state)
    return value
