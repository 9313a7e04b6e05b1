"""The door to an environment's exact states: the fastest that holds what it promises."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.simulation.environments import Environment
from gradlab.simulation.global_randomness import global_randomness_kept
from gradlab.simulation.lanes.agreement import TOLERANCE, departure, random_actions
from gradlab.simulation.lanes.alone import NotAloneError, held_alone
from gradlab.simulation.lanes.base import Lanes
from gradlab.simulation.lanes.copied import CopiedLanes
from gradlab.simulation.lanes.exactness import NotRestorableError, open_lanes, verified, verify
from gradlab.simulation.lanes.replay import ReplayLanes
from gradlab.simulation.lanes.wrapped import WrappedLanes
from gradlab.simulation.workers import cores
from gradlab.simulation.wrappers import Stack


def open_door(environment: Environment, *, random: bool = False) -> tuple[Lanes, bool]:
    """Lanes for an environment, checked; and whether a step draws random numbers.

    In this order, and the first that goes on from a restored state as the environment does:

    1. the bare environment's own lanes, with gymnasium's wrappers that keep no state applied to their numbers;
    2. a deep copy of the attributes of the environment and all its wrappers;
    3. seed and actions repeated in worker processes.

    All but gymnasium's own tasks are also held side by side against environments of their kind that are newly made and
    run alone.

    Args:
        environment: what to open.
        random: declare that steps draw random numbers, though the first ones of an episode may not.

    ``Lanes.promise`` says what is promised then. The global random states are as they were afterwards.

    Raises:
        GradlabError: none of them does; it names the wrappers that were honoured and the first that cannot be.
    """
    # Environments complain of being stepped beyond their end, which finding out about them may do.
    with global_randomness_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            lanes, draws = _open(environment)
            lanes.reseedable = (draws or random) and _reseeds(lanes, seen=draws)
            draws |= random and lanes.can_draw
            lanes.declare(draws)
            return lanes, draws
        except NotAloneError as error:
            raise GradlabError(str(error)) from error
        except NotRestorableError as error:
            raise GradlabError(str(error) + _blame(environment)) from error


def _open(environment: Environment) -> tuple[Lanes, bool]:
    name, stack = environment.name, environment.stack
    try:
        if (found := _outside(environment, stack)) is not None:
            return found
        lanes: Lanes = CopiedLanes(stack.env)
        draws = verified(name, lanes)
        held_alone(name, lanes, environment.another)
        return lanes, draws | lanes.draws
    except NotRestorableError as copying:
        return _repeated(environment, copying)


def _reseeds(lanes: Lanes, steps: int = 8, *, seen: bool = True) -> bool:
    """Whether seeds decide the random numbers of steps: equal ones alike, others otherwise where any are ``seen``."""
    acts = random_actions(lanes.env.action_space, (steps, 2))
    lanes.reset([0])
    snapshot = lanes.capture(0)
    paths: list[list[Any]] = []
    for seed in (1, 1, 2):
        lanes.load([snapshot, snapshot])
        if not lanes.reseed([seed, 3]):
            return False
        # The other lane stands still now and then: what is drawn in one must not come out of the other's.
        moves = ((act, np.array([True, t % 2 + len(paths) != 1])) for t, act in enumerate(acts))
        outcomes = [lanes.step(act, running) for act, running in moves]
        paths.append([np.append(obs[0], reward[0]) for obs, reward, _ in outcomes])
    same, other = (all(np.array_equal(*pair) for pair in zip(paths[0], path, strict=True)) for path in paths[1:])
    return same and not (other and seen)


def _outside(environment: Environment, stack: Stack, *, alone: bool = True) -> tuple[Lanes, bool] | None:
    """The bare environment's lanes, through wrappers that are functions of a step; None where these are not."""
    name, bare = environment.name, stack.env.unwrapped
    if not stack.layers:
        inner, draws = open_lanes(name, bare)
        if inner.can_draw and alone:
            held_alone(name, inner, environment.another)
        return inner, draws | inner.draws
    if None in stack.layers or getattr(bare.observation_space, "shape", None) is None:
        return None
    try:
        inner, draws = open_lanes(name, bare)
        lanes = WrappedLanes(inner, stack)
        apart = departure(lanes, env=stack.env)
        if apart > TOLERANCE:
            return None
        if lanes.can_draw and alone:
            held_alone(name, lanes, environment.another)
    except (NotRestorableError, TypeError, ValueError):
        return None
    exactly = "to the last bit" if apart == 0 else f"to {TOLERANCE:g}"
    lanes.promise = (
        f"equal to env.step through {', '.join(stack.names)} {exactly}, held against it when the simulator was opened"
    )
    return lanes, draws


def _repeated(environment: Environment, copying: NotRestorableError) -> tuple[Lanes, bool]:
    """Lanes that repeat seed and actions, in environments that are reset or, failing that, made anew each time."""
    try:
        lanes = ReplayLanes(environment.name, environment.env, environment.source)
        # In one process, where environments that share something would get into each other's way.
        lanes.processes = 1
        for lanes.fresh in (False, True):
            if (draws := verify(lanes)) is None:
                continue
            with suppress(NotAloneError):
                held_alone(environment.name, lanes, None)
                lanes.processes = cores()
                return lanes, draws or lanes.draws
        lanes.close()
    except GradlabError as error:
        raise type(copying)(f"{copying}; nor can it be repeated: {error}") from error
    raise type(copying)(f"{copying}; nor do its seed and actions, repeated, lead to the same") from copying


def _blame(environment: Environment) -> str:
    """Which wrapper stands in the way, found by leaving out the outer ones; which are honoured."""
    stack, layer = environment.stack, environment.env
    outwards: list[Any] = []
    while layer is not layer.unwrapped:
        outwards.insert(0, layer)
        layer = layer.env
    for count in range(len(outwards)):
        env = outwards[count - 1] if count else layer
        part = replace(stack, env=env, layers=stack.layers[:count], names=stack.names[:count])
        try:
            if _outside(environment, part, alone=False) is None:
                verified(environment.name, CopiedLanes(env))
        except NotRestorableError:
            break
    else:
        count = len(outwards)
    if not count:
        return ""
    honoured = ", ".join(stack.names[: count - 1]) or "no other"
    return f"; without its wrapper {stack.names[count - 1]} it can be copied; honoured: {honoured}"
