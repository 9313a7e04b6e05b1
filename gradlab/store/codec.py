"""Labelled arrays to rows of the table ``arrays`` and back, exactly."""

from __future__ import annotations

import json
import zlib
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from gradlab.errors import GradlabError

#: Types whose bytes are the number: bool, integers, floats, complex, times and fixed-length text.
_KINDS = "biufcmMSU"
#: Compression that saves less than this part of the bytes is not worth its time at reading.
_SAVING = 0.1
_SMALLEST = 256


def encode(name: str, array: xr.DataArray) -> dict[str, Any]:
    """A labelled array as a row: dtype, shape, dims, coords, attrs, codec, data.

    Coordinates may be numbers, text or times; attributes are what JSON can say (numpy's numbers become Python's,
    tuples become lists).

    Raises:
        GradlabError: the array, a coordinate or an attribute cannot be stored.

    Example:
        >>> field = xr.DataArray(np.zeros((2, 3), "f4"), dims=("state", "x"), coords={"x": [0.0, 0.5, 1.0]})
        >>> row = encode("q", field)
        >>> row["dtype"], row["shape"], row["codec"]
        ('<f4', '[2, 3]', 'raw')
        >>> decode(row).identical(field)
        True
    """
    if not isinstance(array, xr.DataArray):
        raise GradlabError(f"array {name!r}: is a {type(array).__name__}; give an xarray.DataArray with named dims")
    if array.name is not None and not isinstance(array.name, str):
        raise GradlabError(f"array {name!r}: its DataArray is named {array.name!r}; names are text")
    values = np.asarray(array.values)
    _check_kind(values.dtype, f"array {name!r}")
    codec, data = _pack(values)
    coords = [
        _encode_coordinate(f"array {name!r}, coordinate {key!r}", key, c) for key, c in array.coords.variables.items()
    ]
    return {
        "name": name,
        "label": array.name,
        "dtype": values.dtype.str,
        "shape": json.dumps(values.shape),
        "dims": json.dumps(_names(array.dims, f"array {name!r}")),
        "coords": json.dumps(coords),
        "attrs": _encode_attributes(f"array {name!r}", array.attrs),
        "codec": codec,
        "data": data,
    }


def decode(row: Mapping[str, Any]) -> xr.DataArray:
    """The array that ``encode`` was given; its values may be written to.

    Raises:
        GradlabError: the bytes do not fit what the row says about them.
    """
    try:
        values = _unpack(row["codec"], bytes(row["data"]), np.dtype(row["dtype"]))
        values = values.reshape(json.loads(row["shape"]))
    except (ValueError, zlib.error) as error:
        raise GradlabError(
            f"array {row['name']!r}: its stored bytes are damaged ({error}); measure it again"
        ) from error
    coords = {coordinate["name"]: _decode_coordinate(coordinate) for coordinate in json.loads(row["coords"])}
    dims = json.loads(row["dims"])
    return xr.DataArray(values, coords=coords, dims=dims, name=row["label"], attrs=json.loads(row["attrs"]))


def _encode_coordinate(place: str, name: Hashable, coordinate: xr.Variable) -> dict[str, Any]:
    values = np.asarray(coordinate.values)
    dtype = values.dtype
    if dtype.kind != "O" or not all(isinstance(value, str) for value in values.flat):
        _check_kind(dtype, place)
    # What JSON has no word for travels as its bytes.
    listed: str | list[Any] = values.tobytes().hex() if dtype.kind in "cSmM" else values.ravel().tolist()
    return {
        "name": _names([name], place)[0],
        "dims": _names(coordinate.dims, place),
        "dtype": dtype.str,
        "shape": values.shape,
        "values": listed,
        "attrs": json.loads(_encode_attributes(place, coordinate.attrs)) if coordinate.attrs else {},
    }


def _decode_coordinate(coordinate: Mapping[str, Any]) -> xr.Variable:
    dtype = np.dtype(coordinate["dtype"])
    listed = coordinate["values"]
    values: NDArray[Any] = (
        np.frombuffer(bytes.fromhex(listed), dtype) if isinstance(listed, str) else np.array(listed, dtype)
    )
    return xr.Variable(coordinate["dims"], values.reshape(coordinate["shape"]), coordinate["attrs"])


def _encode_attributes(place: str, attributes: Mapping[Any, Any]) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(f"a {type(value).__name__}")

    if not attributes:
        return "{}"
    _names(attributes, place)
    try:
        return json.dumps(dict(attributes), default=plain)
    except (TypeError, ValueError) as error:
        raise GradlabError(
            f"{place}: an attribute is or holds {error}; attributes are text, numbers and lists of them"
        ) from error


def _names(names: Any, place: str) -> list[str]:
    """Names of dims, coordinates and attributes, which JSON can only say as text."""
    for name in names:
        if not isinstance(name, str):
            raise GradlabError(f"{place}: {name!r} is used as a name; names are text")
    return list(names)


def _check_kind(dtype: np.dtype[Any], place: str) -> None:
    if dtype.kind not in _KINDS:
        raise GradlabError(f"{place}: has dtype {dtype}; store numbers, booleans, times or text")


def _pack(values: NDArray[Any]) -> tuple[str, bytes]:
    raw = values.tobytes()
    if len(raw) < _SMALLEST:
        return "raw", raw
    # Bytes of equal significance side by side: smooth fields of floats compress better and faster so.
    planes = np.frombuffer(raw, np.uint8).reshape(-1, values.dtype.itemsize).T.tobytes()
    # On critics' fields a search for repeated strings takes twice the time of run lengths and saves 3 % more.
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    packed = packer.compress(planes) + packer.flush()
    return ("shuffle-zlib", packed) if len(packed) <= (1 - _SAVING) * len(raw) else ("raw", raw)


def _unpack(codec: str, data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    if codec == "shuffle-zlib":
        planes = np.frombuffer(zlib.decompress(data), np.uint8).reshape(dtype.itemsize, -1)
        data = planes.T.tobytes()
    elif codec != "raw":
        raise ValueError(f"unknown codec {codec}")
    return np.frombuffer(bytearray(data), dtype)
