"""Wrappers around an environment: those that change nothing, that are functions of a step, and that keep state."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.simulation.closed_functions import is_closed
from gradlab.simulation.global_randomness import global_randomness_kept

#: Wrappers, with the package they are of, that change neither observations, actions nor rewards until an episode has
#: ended. The time limit is applied by the simulator, and nothing is recorded or shown.
_HARMLESS = frozenset(
    {
        ("gymnasium", "TimeLimit"),
        ("gymnasium", "OrderEnforcing"),
        ("gymnasium", "PassiveEnvChecker"),
        ("gymnasium", "RecordEpisodeStatistics"),
        ("gymnasium", "Autoreset"),
        ("gymnasium", "RecordVideo"),
        ("gymnasium", "RenderCollection"),
        ("gymnasium", "HumanRendering"),
        ("stable_baselines3", "Monitor"),
    }
)

#: gymnasium's wrappers whose function takes many rows as it takes one, because it works number by number.
_BY_NUMBER = frozenset(
    {
        "RescaleObservation",
        "NormalizeObservation",
        "DtypeObservation",
        "ClipReward",
        "NormalizeReward",
        "ClipAction",
        "RescaleAction",
    }
)

#: gymnasium's wrappers that apply a function which their user has written.
_GIVEN_FUNCTIONS = frozenset({"TransformObservation", "TransformReward", "TransformAction"})

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Layer:
    """A wrapper that maps an action, an observation or a reward of a step and keeps nothing from one to the next.

    Attributes:
        wrapper: the wrapper itself.
        act: from the action it is given to the one it passes on, or None.
        obs: from the observation it gets to the one it gives, or None.
        reward: likewise for rewards.
        by_number: whether these functions take rows [N, ...] as they take one.
    """

    wrapper: Any
    act: Function | None = None
    obs: Function | None = None
    reward: Function | None = None
    by_number: bool = False


@dataclass(frozen=True)
class Stack:
    """An environment without the wrappers that change nothing.

    Attributes:
        env: the outermost wrapper that changes something, or the bare environment; relinked, so that stepping it
            passes no time limit and no recorder.
        layers: its wrappers from the innermost outwards, None in place of those that keep state of their own.
        names: their class names.
        time_limit: steps, as the outermost sees them, after which an episode is cut; None where there is no limit.
    """

    env: Any
    layers: tuple[Layer | None, ...]
    names: tuple[str, ...]
    time_limit: int | None

    @property
    def double(self) -> bool:
        """Whether observations are float64, and no layer rounds them on their way, as far as the spaces say."""
        kinds = [getattr(self.env.observation_space, "dtype", None)]
        layer = self.env
        while layer is not layer.unwrapped:
            layer = layer.env
            kinds.append(getattr(layer.observation_space, "dtype", None))
        return kinds[0] == np.float64 and not any(kind in (np.float16, np.float32) for kind in kinds)


def peel(name: str, wrapped: Any) -> Stack:
    """Take the harmless wrappers out of an environment of our own, and say what the others do.

    Raises:
        GradlabError: a wrapper goes on updating statistics, so that the same step pays or shows something else later;
            or how many steps of the time limit an action takes is not constant.
    """
    kept: list[Any] = []
    layer, limit, inside = wrapped, None, 0
    while layer is not layer.unwrapped:
        if _is_harmless(layer):
            if type(layer).__name__ == "TimeLimit":
                steps = int(layer._max_episode_steps)
                limit, inside = (steps, len(kept)) if limit is None or steps < limit else (limit, inside)
        else:
            kept.append(layer)
        layer = layer.env
    for outer, inner in pairwise([*kept, layer]):
        outer.env = inner
    names = tuple(type(outer).__name__ for outer in reversed(kept))
    layers = tuple(_layer(outer) for outer in reversed(kept))
    for outer, found in zip(reversed(kept), layers, strict=True):
        if found is None and getattr(outer, "_update_running_mean", False):
            others = ", ".join(other for other in names if other != type(outer).__name__) or "no other"
            raise GradlabError(
                f"environment {name}: wrapper {type(outer).__name__} goes on updating its statistics, so that the same "
                "step counts differently later; freeze them (update_running_mean = False, with the statistics of the "
                f"training run) or leave it out; honoured: {others}"
            )
    env = kept[0] if kept else layer
    if limit is not None and None in layers[len(layers) - inside :]:
        limit = _in_outer_steps(name, env, limit)
    return Stack(env, layers, names, limit)


def _is_harmless(layer: Any) -> bool:
    kind = type(layer)
    return (kind.__module__.partition(".")[0], kind.__name__) in _HARMLESS


def _layer(wrapper: Any) -> Layer | None:
    """What a wrapper does as a function of one step; None where its own ``step`` or ``reset`` does more than that."""
    gymnasium = sys.modules["gymnasium"]
    kind = type(wrapper)
    # A wrapper of one's own may look into the environment, or keep something: it is stepped as it is.
    if kind.__module__.partition(".")[0] != "gymnasium" or getattr(wrapper, "_update_running_mean", False):
        return None
    if kind.__name__ in _GIVEN_FUNCTIONS and not is_closed(wrapper.func):
        return None
    by_number = kind.__name__ in _BY_NUMBER
    if kind is gymnasium.wrappers.NormalizeReward:
        # Frozen, its running return is still added up, but nothing is made of it.
        return Layer(
            wrapper, reward=lambda reward: reward / np.sqrt(wrapper.return_rms.var + wrapper.epsilon), by_number=True
        )
    doing = kind.step, kind.reset
    if doing == (gymnasium.Wrapper.step, gymnasium.Wrapper.reset):
        return Layer(wrapper, by_number=True)
    if doing == (gymnasium.ObservationWrapper.step, gymnasium.ObservationWrapper.reset):
        return Layer(wrapper, obs=wrapper.observation, by_number=by_number)
    if doing == (gymnasium.RewardWrapper.step, gymnasium.Wrapper.reset):
        return Layer(wrapper, reward=wrapper.reward, by_number=by_number)
    if doing == (gymnasium.ActionWrapper.step, gymnasium.Wrapper.reset):
        return Layer(wrapper, act=wrapper.action, by_number=by_number)
    return None


def _in_outer_steps(name: str, env: Any, limit: int) -> int:
    """A time limit counted by the bare environment, as the outermost wrapper counts: it may take several for one."""
    bare = env.unwrapped
    counts: list[int] = []
    step = bare.step

    def counted(action: Any) -> Any:
        counts[-1] += 1
        return step(action)

    bare.step = counted
    try:
        with global_randomness_kept():
            env.reset(seed=0)
            env.action_space.seed(0)
            ended = False
            while not ended and len(counts) < 8:
                counts.append(0)
                ended = env.step(env.action_space.sample())[2]
    finally:
        del bare.step
    # An episode that ends may cut the last action short.
    if len(set(counts[: -1 if ended and len(counts) > 1 else None])) > 1:
        raise GradlabError(
            f"environment {name}: its wrappers take {min(counts)} to {max(counts)} steps for one action, so its time "
            "limit cannot be counted in actions; put TimeLimit around them"
        )
    return -(-limit // counts[0])
