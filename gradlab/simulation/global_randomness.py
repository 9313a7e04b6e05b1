"""The global random states, which are the caller's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def global_randomness_kept() -> Iterator[None]:
    """Afterwards Python's, numpy's and torch's global generators are as they were.

    An environment's own code may draw from them while something is found out about it.

    Example:
        >>> _ = random.seed(0)
        >>> with global_randomness_kept():
        ...     inside = random.random()
        >>> random.random() == inside
        True
    """
    # Here, so that a worker process that only steps environments need not load it.
    import torch

    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(pytorch)
