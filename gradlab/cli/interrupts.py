"""How commands that go on until Ctrl-C end: whole, whichever way they were asked to."""

from __future__ import annotations

import signal
from types import FrameType


def end_like_an_interrupt() -> None:
    """A request to end, or a terminal that closes, is taken like Ctrl-C; not one that nohup has taken away."""
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _as_interrupt)


def ignore_interrupts() -> None:
    """Impatience must not cut short the few seconds in which the run is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
