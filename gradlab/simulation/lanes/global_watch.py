"""Whether somebody draws from Python's, numpy's or torch's global generators."""

from __future__ import annotations

import ctypes
import random
from typing import Any

import numpy as np
import torch

#: Words of the Mersenne Twister that numpy's global generator is; how far it has got lies behind them.
_WORDS = 624


class GlobalWatch:
    """The global generators, between two looks at them.

    Example:
        >>> from gradlab.simulation.global_randomness import global_randomness_kept
        >>> watch = GlobalWatch()
        >>> with global_randomness_kept():
        ...     watch.look()
        ...     before = watch.drew()
        ...     _ = np.random.normal()
        ...     after = watch.drew()
        >>> before, after, watch.look(), watch.drew()
        (False, True, None, False)
    """

    def __init__(self) -> None:
        self._seen: Any = None

    def look(self) -> None:
        """Remember where they are."""
        self._seen = self._where()

    def drew(self) -> bool:
        """Whether any is elsewhere than at the last look, which this is one of."""
        before, self._seen = self._seen, self._where()
        return bool(before != self._seen)

    def _where(self) -> Any:
        return random.getstate(), _numpy(), torch.get_rng_state().numpy().tobytes()


def _numpy() -> Any:
    generator = getattr(np.random, "get_bit_generator")()  # noqa: B009 - numpy's own stubs leave it out
    if not isinstance(generator, np.random.MT19937):
        return repr(generator.state)
    # Its state as a dictionary takes as long as many an environment's step; the position moves with every draw.
    words = (ctypes.c_uint32 * (_WORDS + 1)).from_address(generator.ctypes.state_address)
    return words[0], words[_WORDS]
