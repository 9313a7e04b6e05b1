"""Length-prefixed pickles over a pipe: how the training process and its worker talk."""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any

import cloudpickle

_LENGTH = struct.Struct(">Q")


def pack(message: Any) -> bytes:
    """One frame. cloudpickle carries classes of the user's own script by value, which pickle cannot.

    Example:
        >>> import io
        >>> receive(io.BytesIO(pack({"step": 500})))
        {'step': 500}
    """
    body: bytes = cloudpickle.dumps(message)
    return _LENGTH.pack(len(body)) + body


def receive(stream: IO[bytes]) -> Any:
    """The next frame's message.

    Raises:
        EOFError: the other side is gone.
    """
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError("the other end of the pipe is closed")
    (length,) = _LENGTH.unpack(header)
    body = stream.read(length)
    if len(body) < length:
        raise EOFError("the other end of the pipe closed in the middle of a message")
    # Both ends are this program, over an anonymous pipe; nothing from outside is unpickled here.
    return pickle.loads(body)  # noqa: S301
