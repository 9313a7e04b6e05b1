"""Lanes that do not call ``env.step`` are held against it before they are trusted."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.simulation.actions import is_discrete
from gradlab.simulation.lanes.base import Actions, Lanes

#: Largest difference from ``env.step``, relative to numbers above one, with which lanes may stand in for it.
TOLERANCE = 1e-12


def departure(lanes: Lanes, steps: int = 24, *, env: Any = None) -> float:
    """How far the lanes' numbers depart from ``env.step``'s: the largest |difference| / max(1, |number|).

    The environment is stepped through the beginning of an episode. One lane goes along for half of it, is captured,
    and goes on from the snapshot, while a second one is led astray beside it, both of them standing still at times.

    Args:
        lanes: lanes of an environment; afterwards in some state of their own.
        steps: of the environment.
        env: another environment than the lanes' own to hold them against, such as it is with wrappers around it.

    Returns:
        Zero when every bit agrees, infinity when a termination, or what is not a number, does not.

    Example:
        >>> import gymnasium
        >>> from gradlab.simulation.lanes.batch import BatchLanes
        >>> from gradlab.simulation.tasks import task_of
        >>> env = gymnasium.make("Hopper-v5").unwrapped
        >>> departure(BatchLanes(env, task_of(env))) <= TOLERANCE
        True
    """
    env = lanes.env if env is None else env
    acts = random_actions(env.action_space, (steps, 2))
    path: list[tuple[Any, ...]] = [(env.reset(seed=0)[0],)]
    path += [env.step(act)[:3] for act in acts[:, 0]]
    found = [apart(lanes.reset([0, 1])[0], path[0][0])]
    half = steps // 2
    for t, act in enumerate(acts):
        if t == half:
            snapshot = lanes.capture(0)
            lanes.load([snapshot, snapshot])
        # The lane in question changes places with the other, and stands still beside it now and then.
        mine = 0 if t < half else 1
        both, other = np.array([True, True]), np.arange(2) != mine
        ordered = act if mine == 0 else act[::-1]
        if t % 4 == 1:
            lanes.step(ordered, other)
        outcome = lanes.step(ordered, both if t % 3 else ~other)
        found += [apart(ours[mine], theirs) for ours, theirs in zip(outcome[:2], path[t + 1][:2], strict=True)]
        if bool(outcome[2][mine]) != bool(path[t + 1][2]):
            return float("inf")
    return max(found)


def random_actions(space: Any, shape: tuple[int, ...]) -> Actions:
    """Actions of a space [*shape, p], or numbers of discrete ones [*shape]: the same at every call."""
    rng = np.random.default_rng(0)
    if is_discrete(space):
        return np.asarray(space.start + rng.integers(space.n, size=shape), dtype=np.int64)
    low, high = (np.nan_to_num(bound, neginf=-1, posinf=1) for bound in (space.low, space.high))
    return rng.uniform(low, high, (*shape, len(low)))


def apart(ours: Any, theirs: Any) -> float:
    """The largest |difference| / max(1, |number|); infinite where shapes, or what is not finite, differ.

    Example:
        >>> apart([1.0, float("nan")], [0.5, float("nan")]), apart([1.0], [float("inf")])
        (0.5, inf)
    """
    one, other = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return float("inf")
    finite = np.isfinite(one)
    differences = np.abs(one[finite] - other[finite]) / np.maximum(1.0, np.abs(other[finite]))
    return float(differences.max(initial=0.0))
