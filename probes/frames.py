"""Length-prefixed pickles over a pipe: how the training process and its worker talk."""

from __future__ import annotations

import contextlib
import pickle
import struct
import sys
from collections.abc import Iterator
from typing import IO, Any

import cloudpickle

#: What is before a message: how many bytes it has.
LENGTH = struct.Struct(">Q")


def pack(message: Any) -> bytes:
    """One frame. cloudpickle carries classes of the user's own script by value, which pickle cannot.

    Example:
        >>> import io
        >>> receive(io.BytesIO(pack({"step": 500})))
        {'step': 500}
    """
    with main_by_value():
        body: bytes = cloudpickle.dumps(message)
    return LENGTH.pack(len(body)) + body


@contextlib.contextmanager
def main_by_value() -> Iterator[None]:
    """In a child that multiprocessing has spawned, the user's script has a name that means another module elsewhere."""
    script = sys.modules.get("__mp_main__")
    if (
        script is None
        or script.__name__ != "__mp_main__"
        or "__mp_main__" in cloudpickle.list_registry_pickle_by_value()
    ):
        yield
        return
    cloudpickle.register_pickle_by_value(script)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(script)


def receive(stream: IO[bytes]) -> Any:
    """The next frame's message.

    Raises:
        EOFError: the other side is gone.
    """
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        raise EOFError("the other end of the pipe is closed")
    (length,) = LENGTH.unpack(header)
    body = stream.read(length)
    if len(body) < length:
        raise EOFError("the other end of the pipe closed in the middle of a message")
    # Both ends are this program, over an anonymous pipe; nothing from outside is unpickled here.
    return pickle.loads(body)  # noqa: S301
