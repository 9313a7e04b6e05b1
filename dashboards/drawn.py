"""A figure that stays as it was drawn until somebody asks plotly something about it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

#: numpy's names of the types that plotly.js reads as bytes → its own.
_TYPES = {
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4",
    "float64": "f8",
}  # fmt: skip
_WHOLE = {"i": (np.int8, np.int16, np.int32), "u": (np.uint8, np.uint16, np.uint32)}


class Drawn(go.Figure):
    """A plotly figure of ``data`` and ``layout`` as they are, unchecked; the tests check what the figures make.

    Plotly copies all of a figure when it is made and again when it is sent, which takes longer than drawing it. The
    dashboard takes ``spec`` and sends it; whoever uses the figure as one gets plotly's own, made at that moment.

    Attributes:
        spec: the figure as a dict, with numpy arrays in it; not to be changed.

    Example:
        >>> figure = Drawn({"data": [{"type": "scatter", "y": np.arange(3)}], "layout": {}})
        >>> sorted(vars(figure))
        ['spec']
        >>> figure.data[0].y.tolist(), isinstance(figure, go.Figure)
        ([0, 1, 2], True)
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        # Plotly's own __setattr__ asks a figure that is not there yet.
        self.__dict__["spec"] = spec

    def __getattr__(self, name: str) -> Any:
        """What plotly keeps of a figure, once it is one."""
        if "spec" not in self.__dict__ or "_data_objs" in self.__dict__ or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        super().__init__(self.__dict__.pop("spec"), _validate=False)
        return getattr(self, name)


def plain(figure: go.Figure) -> dict[str, Any]:
    """A figure as a dict of ``data`` and ``layout``, in which arrays may be numpy's; not to be changed."""
    spec = vars(figure).get("spec")
    return spec if spec is not None else figure.to_dict()


def sent(value: Any) -> Any:
    """What plotly sends of a part of a figure: arrays of numbers as their bytes in base64, everything else as it is.

    Example:
        >>> sent({"x": np.array([1, 2]), "name": "a"})
        {'x': {'dtype': 'i1', 'bdata': 'AQI='}, 'name': 'a'}
    """
    if isinstance(value, dict):
        return {name: sent(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return _bytes(value)
    # Lists hold numbers and words, or parts of a figure.
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict | np.ndarray):
        return [sent(one) for one in value]
    return value


def _bytes(array: NDArray[Any]) -> Any:
    if array.dtype in (np.int64, np.uint64) and array.size:
        least, largest = array.min(), array.max()
        ends = [(kind, np.iinfo(kind)) for kind in _WHOLE[array.dtype.kind]]
        fits = [kind for kind, end in ends if end.min <= least and largest <= end.max]
        array = array.astype(fits[0]) if fits else array
    kind = _TYPES.get(array.dtype.name)
    if kind is None or not array.size:
        return array.tolist()
    shape = {"shape": str(array.shape)[1:-1]} if array.ndim > 1 else {}
    return {"dtype": kind, "bdata": base64.b64encode(np.ascontiguousarray(array)).decode("ascii"), **shape}
