"""Lanes side by side go as each environment does alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.simulation.lanes.agreement import TOLERANCE, apart, random_actions
from gradlab.simulation.lanes.base import Actions, Lanes, NotRestorableError

#: Steps that lanes are held against environments alone, half of them after states have been restored.
_STEPS = 24
_SEEDS = (11, 12)

#: Observation, reward and termination after each action, up to a termination; the reset's observation first.
Path = list[tuple[Any, ...]]


class NotAloneError(NotRestorableError):
    """An episode's own constants are kept where other episodes find them, too."""


def held_alone(name: str, lanes: Lanes, make: Callable[[], Any] | None) -> None:
    """Hold two lanes side by side against environments newly made, each reset with its lane's seed and run alone.

    Halfway both lanes are captured, other episodes are begun in their place, and they go on from the snapshots, having
    changed places: what a reset decides, and what is kept outside the snapshots (in the class, a module, a closure,
    an object that all lanes share), is then another episode's. Where two new environments do not go alike from the
    same seed, there is nothing to hold the lanes against but the same lanes, one at a time.

    Args:
        name: of the environment, for messages.
        lanes: of it; afterwards in some state of their own.
        make: makes another of its kind; None: hold the lanes against themselves, one at a time.

    Raises:
        NotRestorableError: they depart from one another, or no other environment can be made.
    """
    acts = random_actions(lanes.env.action_space, (_STEPS, 2))
    if make is None:
        _held_one_by_one(name, lanes, acts)
        return
    alone = [_run(make, seed, acts[:, i]) for i, seed in enumerate(_SEEDS)]
    if _departs(alone[0], _run(make, _SEEDS[0], acts[:, 0])):
        _held_one_by_one(name, lanes, acts)
        lanes.promise += "; two environments newly made do not go alike from one seed"
        return
    obs = lanes.reset(_SEEDS)
    beside: list[Path] = [[(obs[i],)] for i in range(2)]
    half = _STEPS // 2
    _advance(lanes, acts[:half], beside, [0, 1])
    middle = [lanes.capture(i) for i in range(2)]
    lanes.reset([13, 14, 15])
    lanes.step(np.stack([acts[0, 0]] * 3), np.array([True, False, True]))
    lanes.load(middle[::-1])
    _advance(lanes, acts[half:, ::-1], beside, [1, 0])
    _compare(name, beside, alone)


def _held_one_by_one(name: str, lanes: Lanes, acts: Actions) -> None:
    snapshots, alone = [], list[Path]()
    for i, seed in enumerate(_SEEDS):
        obs = lanes.reset([seed])
        snapshots.append(lanes.capture(0))
        alone.append([(obs[0],)])
        _advance(lanes, acts[:, i : i + 1], [alone[-1]], [0])
    beside: list[Path] = [[alone[i][0]] for i in range(2)]
    lanes.load(snapshots)
    _advance(lanes, acts, beside, [0, 1])
    _compare(name, beside, alone)


def _compare(name: str, beside: Sequence[Path], alone: Sequence[Path]) -> None:
    if any(_departs(*pair) for pair in zip(beside, alone, strict=True)):
        raise NotAloneError(
            f"environment {name}: side by side its episodes do not go as each does alone, so it keeps something of an "
            "episode where all of them find it (its class, a module, a closure, an object they share); keep it in "
            "attributes of self"
        )


def _run(make: Callable[[], Any], seed: int, acts: Actions) -> Path:
    """An environment newly made, from its reset to its end or to the last action."""
    try:
        env = make()
        path: Path = [(env.reset(seed=seed)[0],)]
        for act in acts:
            path.append(env.step(act)[:3])
            if path[-1][2]:
                break
    except GradlabError as error:
        raise NotRestorableError(str(error)) from error
    return path


def _advance(lanes: Lanes, acts: Actions, paths: Sequence[Path], order: Sequence[int]) -> None:
    """Go on with lane i for ``paths[order[i]]``, those that have not ended."""
    for act in acts:
        running = np.array([len(paths[i][-1]) == 1 or not paths[i][-1][2] for i in order])
        outcome = lanes.step(act, running)
        for lane in np.flatnonzero(running).tolist():
            paths[order[lane]].append(tuple(part[lane] for part in outcome))


def _departs(ours: Path, theirs: Path) -> bool:
    if len(ours) != len(theirs):
        return True
    return any(
        len(one) != len(other) or any(apart(a, b) > TOLERANCE for a, b in zip(one, other, strict=True))
        for one, other in zip(ours, theirs, strict=True)
    )
