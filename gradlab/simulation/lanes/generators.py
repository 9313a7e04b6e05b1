"""The random number generators an environment holds."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gradlab.simulation.lanes.base import SHARED

#: How deep generators are looked for in what an environment holds.
_DEPTH = 6

Generator = np.random.Generator | np.random.RandomState | random.Random


def generators(held: Any) -> list[Generator]:
    """Every generator in what is held, each once: in attributes of objects, in dictionaries, lists and tuples.

    Spaces are left aside, whose generators serve those who sample from them.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> [found is rng for found in generators({"a": [rng], "b": {"c": rng}, "d": 1.0})]
        [True]
    """
    found: dict[int, Generator] = {}
    seen: set[int] = set()
    level = [held]
    for _ in range(_DEPTH + 1):
        following: list[Any] = []
        for value in level:
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Generator):
                found[id(value)] = value
            else:
                following.extend(_inside(value))
        level = following
    return list(found.values())


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return [item for name, item in value.items() if name not in SHARED]
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, type) or not hasattr(value, "__dict__") or callable(value):
        return ()
    return [item for name, item in vars(value).items() if name not in SHARED and name != "_observation_space"]


class Watch:
    """Whether the generators that an environment and its wrappers hold are drawn from, told after each step.

    They are looked for once; a generator that replaces an environment's ``np_random`` is noticed, others are not.

    Args:
        env: in the state that it is going to be stepped in.

    Example:
        >>> class Held:
        ...     pass
        >>> held = Held()
        >>> held.rng = np.random.default_rng(0)
        >>> watch = Watch(held)
        >>> watch.drew(held), bool(held.rng.random() < 1), watch.drew(held), watch.drew(held)
        (False, True, True, False)
    """

    def __init__(self, env: Any) -> None:
        self._begin(env)

    def _begin(self, env: Any) -> None:
        self._generators = generators(env)
        self._usual = _usual(env)
        self._states = [_state(generator) for generator in self._generators]

    def drew(self, env: Any) -> bool:
        """Whether any is further on than when this was last asked."""
        if _usual(env) is not self._usual:
            self._begin(env)
            return True
        before, self._states = self._states, [_state(generator) for generator in self._generators]
        return before != self._states


def _usual(env: Any) -> Any:
    return getattr(getattr(env, "unwrapped", env), "_np_random", None)


def generator_state(env: Any) -> bytes:
    """What the generators are at that an environment and its wrappers hold."""
    return pickle.dumps([_state(generator) for generator in generators(env)])


def _state(generator: Generator) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        kind, words, *rest = generator.get_state()
        return kind, np.asarray(words).tobytes(), *rest
    state = generator.bit_generator.state
    # Some kinds keep arrays of words, which do not compare to one truth.
    inner = state["state"]
    if isinstance(inner, dict):
        inner = {name: word.tobytes() if isinstance(word, np.ndarray) else word for name, word in inner.items()}
    return {name: word.tobytes() if isinstance(word, np.ndarray) else word for name, word in state.items()} | {
        "state": inner
    }


def reseed(held: Any, seed: int) -> bool:
    """Begin every generator in what is held anew, each from numbers of its own; whether there was any.

    Example:
        >>> held = {"rng": np.random.default_rng(5), "x": 1.0}
        >>> reseed(held, 0), held["rng"].bit_generator.state == np.random.default_rng([0, 0]).bit_generator.state
        (True, True)
    """
    found = generators(held)
    for i, generator in enumerate(found):
        words = np.random.SeedSequence([seed, i])
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = type(generator.bit_generator)(words).state
        elif isinstance(generator, np.random.RandomState):
            generator.set_state(np.random.RandomState(np.random.MT19937(words)).get_state())
        else:
            generator.seed(int(words.generate_state(1, np.uint64)[0]))
    return bool(found)
