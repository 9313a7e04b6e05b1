"""The random number generators an environment holds."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
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


def reseed(holders: Sequence[dict[str, Any]], seed: int) -> bool:
    """Put generators of one's own, begun from ``seed``, in place of those held by name; whether there were any.

    One that is held twice is replaced by one. Generators inside other objects are not looked for.

    Example:
        >>> held = {"rng": np.random.default_rng(5), "x": 1.0}
        >>> reseed([held], 0), held["rng"].bit_generator.state == np.random.default_rng([0, 0]).bit_generator.state
        (True, True)
    """
    replaced: dict[int, Any] = {}
    for holder in holders:
        for name, value in holder.items():
            if not isinstance(value, np.random.Generator | np.random.RandomState | random.Random):
                continue
            if id(value) not in replaced:
                replaced[id(value)] = _begun(value, np.random.SeedSequence([seed, len(replaced)]))
            holder[name] = replaced[id(value)]
    return bool(replaced)


def _begun(generator: Any, seeds: np.random.SeedSequence) -> Any:
    """Another generator of that kind."""
    if isinstance(generator, np.random.Generator):
        return np.random.Generator(type(generator.bit_generator)(seeds))
    if isinstance(generator, np.random.RandomState):
        return np.random.RandomState(np.random.MT19937(seeds))
    return random.Random(int(seeds.generate_state(1, np.uint64)[0]))  # noqa: S311 - what the environment itself uses
