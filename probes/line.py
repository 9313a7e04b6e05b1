"""Line: both directions of a worker's pipes, on which the training process never waits for longer than it says."""

from __future__ import annotations

import os
import pickle
import selectors
import socket
import subprocess
import time
from typing import Any

from probes.frames import LENGTH

#: Seconds between looks whether the worker lives, where a child of its own holds its pipes open.
_LOOK = 1.0
#: Bytes read or written at a time.
_CHUNK = 1 << 18


class Line:
    """Messages to and from one worker.

    Args:
        process: the worker, with unbuffered pipes.
        ear: becomes readable when somebody wants the attention of the thread that rests on the line.
    """

    def __init__(self, process: subprocess.Popen[bytes], ear: socket.socket) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._ear = ear
        self._to, self._from = process.stdin.fileno(), process.stdout.fileno()
        for end in (self._to, self._from):
            os.set_blocking(end, False)

    def send(self, frame: bytes, deadline: float) -> None:
        """Send one packed message.

        Raises:
            TimeoutError: the worker has not read it by then, on the monotonic clock.
            OSError, EOFError: the worker is gone.
        """
        rest = memoryview(frame)
        while rest:
            self._wait(self._to, selectors.EVENT_WRITE, deadline)
            try:
                rest = rest[os.write(self._to, rest[:_CHUNK]) :]
            except BlockingIOError:
                continue

    def receive(self, deadline: float) -> Any:
        """The next message.

        Raises:
            TimeoutError: it is not complete by then, on the monotonic clock.
            OSError, EOFError: the worker is gone.
        """
        (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline))
        # Both ends are this program, over an anonymous pipe; nothing from outside is unpickled here.
        return pickle.loads(self._read(length, deadline))  # noqa: S301

    def rest(self) -> None:
        """Wait until somebody wants attention.

        Raises:
            EOFError: the worker is gone.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            selector.register(self._ear, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(_LOOK)}
                # A worker has nothing to say before it is asked.
                if self._from in ready or self._process.poll() is not None:
                    raise EOFError("the worker is gone")
                if ready:
                    self._ear.recv(_CHUNK)
                    return

    def _read(self, size: int, deadline: float) -> bytes:
        found = bytearray()
        while len(found) < size:
            self._wait(self._from, selectors.EVENT_READ, deadline)
            try:
                part = os.read(self._from, min(size - len(found), _CHUNK))
            except BlockingIOError:
                continue
            if not part:
                raise EOFError("the other end of the pipe is closed")
            found += part
        return bytes(found)

    def _wait(self, end: int, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(end, event)
            while not selector.select(min(_LOOK, max(deadline - time.monotonic(), 0.0))):
                if self._process.poll() is not None:
                    raise EOFError("the worker is gone")
                if time.monotonic() >= deadline:
                    raise TimeoutError
