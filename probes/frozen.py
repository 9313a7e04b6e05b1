"""Frozen: an agent as it is at this moment, in the least time that the training process can spare for it."""

from __future__ import annotations

import io
import pickle
import threading
from collections import OrderedDict
from copyreg import __newobj__  # type: ignore[attr-defined]
from dataclasses import dataclass
from typing import Any

import cloudpickle
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gradlab.modules import uncompiled
from probes.frames import main_by_value

_PLAIN = (Tensor, nn.Parameter, nn.Buffer)
_thawing = threading.local()


@dataclass(frozen=True)
class Frozen:
    """Something made of modules, taken apart: what pickles small, and copies of its tensors.

    Freezing copies tensors and nothing else of size; to turn it into bytes, and on a GPU to wait for the copies, is
    for another thread.

    Attributes:
        form: the pickle of everything but the tensors.
        tensors: the tensors' copies, on their own devices.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> frozen = freeze(layer)
        >>> with torch.no_grad():
        ...     _ = layer.weight.zero_()
        >>> bool((thaw(frozen.carried()).weight == 0).any()), thaw(frozen.carried()).weight.requires_grad
        (False, True)
    """

    form: bytes
    tensors: list[Tensor]

    def carried(self) -> Carried:
        """As plain bytes and arrays, which travel; waits for copies that a GPU has not made yet."""
        return Carried(self.form, [_bytes(tensor) for tensor in self.tensors])


@dataclass(frozen=True)
class Carried:
    """A ``Frozen`` that pickles: each tensor as its device, dtype, shape and bytes."""

    form: bytes
    tensors: list[tuple[str, torch.dtype, tuple[int, ...], NDArray[np.uint8]]]


def freeze(value: Any) -> Frozen:
    """Take a copy of ``value`` as it is now; gradients are left behind, shared tensors stay shared.

    Raises:
        Exception: a part of it cannot be pickled.
    """
    stream = io.BytesIO()
    pickler = _Freezer(stream)
    with torch.no_grad(), main_by_value():
        pickler.dump(value)
    return Frozen(stream.getvalue(), pickler.tensors)


def thaw(carried: Carried) -> Any:
    """The value again, of tensors of its own."""
    _thawing.tensors = [_tensor(*parts) for parts in carried.tensors]
    try:
        # It was frozen by this program; nothing from outside is unpickled here.
        return pickle.loads(carried.form)  # noqa: S301
    finally:
        del _thawing.tensors


class _Freezer(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.tensors: list[Tensor] = []

    def reducer_override(self, value: Any) -> Any:
        if type(value) is OrderedDict and not value and not vars(value):
            # Eight of ten objects are a module's dictionaries of hooks that it does not have: the short way for them.
            return OrderedDict, ()
        if (inner := uncompiled(value)) is not value:
            return _itself, (inner,)
        if type(value) in _PLAIN and value.layout is torch.strided:
            self.tensors.append(value.detach().clone(memory_format=torch.contiguous_format))
            number = len(self.tensors) - 1
            if type(value) is nn.Buffer:
                return _buffer, (number, value.persistent)
            return (_parameter if type(value) is nn.Parameter else _plain), (
                number,
                # What a module keeps of its last pass is a number here.
                value.requires_grad and value.is_leaf,
            )
        if isinstance(value, nn.Module) and is_parametrized(value):
            # torch refuses to pickle these, since its own classes of them have no name to be found by again; by value
            # they need none.
            return __newobj__, (type(value),), vars(value)
        return super().reducer_override(value)


def _itself(value: Any) -> Any:
    return value


def _plain(number: int, requires_grad: bool) -> Tensor:
    tensor: Tensor = _thawing.tensors[number]
    return tensor.requires_grad_() if requires_grad else tensor


def _parameter(number: int, requires_grad: bool) -> nn.Parameter:
    return nn.Parameter(_thawing.tensors[number], requires_grad)


def _buffer(number: int, persistent: bool) -> nn.Buffer:
    return nn.Buffer(_thawing.tensors[number], persistent=persistent)


def _bytes(tensor: Tensor) -> tuple[str, torch.dtype, tuple[int, ...], NDArray[np.uint8]]:
    here = tensor.cpu()
    return str(tensor.device), here.dtype, tuple(here.shape), here.reshape(-1).view(torch.uint8).numpy()


def _tensor(device: str, dtype: torch.dtype, shape: tuple[int, ...], data: NDArray[np.uint8]) -> Tensor:
    # An array out of a pickle cannot be written to; and an empty one has no dtype to be viewed as.
    flat = torch.from_numpy(data.copy()).view(dtype) if data.size else torch.empty(0, dtype=dtype)
    return flat.reshape(shape).to(device)
