"""What of the process itself a measurement must leave as it was, and must not be subject to."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Measure inside: whatever is drawn from global random states there, they are put back as they were.

    gradlab's own probes never draw from them; the user's samplers and probes may. Gradients are on inside, and
    autocasting and inference mode off, wherever the training loop calls from.

    Example:
        >>> before = torch.get_rng_state()
        >>> with torch.no_grad(), quiet():
        ...     _, enabled = torch.rand(1), torch.is_grad_enabled()
        >>> enabled, bool((torch.get_rng_state() == before).all())
        (True, True)
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        for number, state in enumerate(devices):
            torch.cuda.set_rng_state(state, number)
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
