"""The random number generators an environment holds."""

from __future__ import annotations

import pickle
import random
from typing import Any

import numpy as np


def generator_state(env: Any) -> bytes:
    """What the generators are at that an environment and its wrappers hold as attributes."""
    layers = [env]
    while layers[-1] is not env.unwrapped:
        layers.append(layers[-1].env)
    held = [value for layer in layers for value in vars(layer).values()]
    return pickle.dumps(
        [value.bit_generator.state for value in held if isinstance(value, np.random.Generator)]
        + [value.get_state() for value in held if isinstance(value, np.random.RandomState)]
        + [value.getstate() for value in held if isinstance(value, random.Random)]
    )
