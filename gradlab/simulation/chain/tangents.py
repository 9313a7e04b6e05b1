"""Tangents of exact states, carried through one environment step at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.simulation.actions import bounds
from gradlab.simulation.chain.displacement import AttributeDisplacement, Displacement
from gradlab.simulation.chain.mujoco import DataDisplacement, RowDisplacement
from gradlab.simulation.lanes.base import Bools, Floats, Lanes
from gradlab.simulation.lanes.mujoco import MujocoSnapshot

#: Last bits by which an action may lie outside the box for want of exact arithmetic.
_ROUNDINGS = 8


def tangent_coordinates(env: Any, snapshot: Any) -> Displacement:
    """The tangent coordinates for snapshots like this one.

    Args:
        env: the bare environment that it is a state of.
        snapshot: any of its snapshots.

    Raises:
        GradlabError: it is of a kind that cannot be moved.

    Example:
        >>> origin = {"x": np.array([1.0, 2.0]), "steps": 3}
        >>> plain = tangent_coordinates(None, origin)
        >>> plain.scale([origin]).tolist()
        [[1.0, 2.0]]
        >>> moved = plain.displaced([origin], np.array([[[0.5, 0.0], [0.0, -1.0]]]))
        >>> [there["x"].tolist() for there in moved], plain.between([origin], moved).tolist()
        ([[1.5, 2.0], [1.0, 1.0]], [[[0.5, 0.0], [0.0, -1.0]]])
    """
    if isinstance(snapshot, MujocoSnapshot):
        return DataDisplacement(env)
    if dataclasses.is_dataclass(snapshot) and hasattr(snapshot, "state") and hasattr(snapshot, "carried"):
        return RowDisplacement(env)
    layers = snapshot if isinstance(snapshot, tuple) else (snapshot,)
    if layers and all(isinstance(layer, dict) for layer in layers):
        held = [type(value) for layer in layers for value in layer.values()]
        engine = next((kind for kind in held if kind.__module__.startswith("mujoco")), None)
        if engine is None:
            return AttributeDisplacement()
        kept = f"attributes with an {engine.__name__} among them"
    else:
        kept = type(snapshot).__name__
    raise GradlabError(
        f"chain rule: a state of this environment is kept as {kept}, which cannot be moved by a little; "
        "use differences of returns alone"
    )


@dataclass(frozen=True)
class After:
    """What one step made of N nominal rollouts and their tangents; zero in rollouts that stood still.

    Attributes:
        obs: [N, n] nominal observations.
        reward: [N] nominal rewards.
        going_on: [N] bool, stepped, finite and not terminated.
        moved_obs: [N, K, D, n], their derivative along D directions, by K step sizes.
        moved_reward: [N, K, D], likewise.
        norm: [N], the longest tangent that went into the step.
    """

    obs: Floats
    reward: Floats
    going_on: Bools
    moved_obs: Floats
    moved_reward: Floats
    norm: Floats


class Tangents:
    """N nominal states and D tangent vectors at each, once for each of K step sizes.

    Args:
        lanes: lanes to step in.
        pilot: the agent as it acts, for its action coordinates.
        space: the environment's action box.
        snapshots: N states to begin from; tangents are zero there.
        steps: K step sizes, lengths of the displacements in the norm of ``Displacement.scale``, in which an
            action counts as a fraction of its box.

    Attributes:
        growth: [N], largest singular value so far of the tangents of the state, per fraction of the first action's box.
        jumps: [N] bool, whether an episode ended on one side of a difference only.
        reward_jumps: [N] bool, whether a reward was of another piece on one side only, where the task tells them.
        broken: [N] bool, whether the simulation was not finite or diverged.
        simulated: environment steps made so far.
    """

    def __init__(
        self, lanes: Lanes, pilot: Agent, space: Any, snapshots: Sequence[Any], steps: Sequence[float]
    ) -> None:
        self._lanes, self._space, self._coordinates = lanes, space, tangent_coordinates(lanes.env, snapshots[0])
        self._at = list(snapshots)
        self._moved: list[Floats | None] = [None] * len(self._at)
        self.pilot, self.steps = pilot, tuple(steps)
        self.growth = np.zeros(len(self._at))
        self.jumps, self.reward_jumps, self.broken = np.zeros((3, len(self._at)), dtype=bool)
        self.simulated = 0

    def step(self, act: Tensor, moved_act: Floats, alive: Bools) -> After:
        """Step the rollouts that are ``alive`` [N] by actions [N, p], whose derivatives are ``moved_act`` [N, K, D, p].

        Actions and derivatives are in the critic's coordinates.
        """
        ids = np.flatnonzero(alive)
        origins = [self._at[i] for i in ids]
        low, high = bounds(self._space)
        width = (self.pilot.env_high - self.pilot.env_low).cpu().numpy()
        raw = self.pilot.to_env(act).cpu().numpy()[ids]
        env_act, moved_act = np.clip(raw, low, high), self._through_the_box(raw, moved_act[ids])
        moved, scale = self._tangents(ids, origins, moved_act.shape[1:3])
        norm = np.sqrt(np.square(moved / scale[:, None, None]).sum(-1) + np.square(moved_act / width).sum(-1))
        unit = np.divide(np.asarray(self.steps)[:, None], norm, out=np.zeros_like(norm), where=norm > 0)
        sides, weights = _sides(env_act[:, None, None], moved_act * unit[..., None], low, high)
        # [n, K, D, 2, …], then the displaced of one rollout in a row.
        along = (sides * unit[..., None])[..., None]
        offsets = (along * moved[..., None, :]).reshape(len(ids), -1, moved.shape[-1])
        acts = env_act[:, None, None, None] + along * moved_act[..., None, :]
        near = self._coordinates.displaced(origins, offsets)
        self._lanes.load([*origins, *near])
        every = np.concatenate([env_act, np.clip(acts, low, high).reshape(len(near), -1)])
        # An action that is not a number is not put to the environment: MuJoCo would take zero for it.
        everyone = np.isfinite(every).all(-1)
        obs, reward, ended = self._lanes.step(every, everyone)
        regimes = self._lanes.regimes()
        diverged = ~everyone | self._lanes.unstable() | ~np.isfinite(obs).all(-1) | ~np.isfinite(reward)
        self.simulated += len(everyone)
        after = [self._lanes.capture(lane) for lane in range(len(everyone))]

        def derivative(nominal: Floats, displaced: Floats) -> Floats:
            apart = displaced.reshape(*sides.shape, -1) - nominal.reshape(len(ids), 1, 1, 1, -1)
            slope = (weights[..., None] * apart).sum(-2)
            return np.asarray(np.divide(slope, unit[..., None], out=np.zeros_like(slope), where=unit[..., None] > 0))

        n, shape = len(ids), sides.shape[:-1]
        here = after[:n]
        apart = self._coordinates.between(here, after[n:])
        self._keep(ids, here, derivative(np.zeros((n, apart.shape[-1])), apart))
        broken = diverged[:n] | diverged[n:].reshape(n, -1).any(-1)
        self.broken[ids] |= broken
        self.jumps[ids] |= (ended[n:].reshape(n, -1) != ended[:n, None]).any(-1)
        if regimes is not None:
            self.reward_jumps[ids] |= (regimes[n:].reshape(n, -1) != regimes[:n, None]).any(-1)
        found = After(
            obs=np.zeros((len(alive), obs.shape[-1])),
            reward=np.zeros(len(alive)),
            going_on=np.zeros(len(alive), dtype=bool),
            moved_obs=np.zeros((len(alive), *shape[1:], obs.shape[-1])),
            moved_reward=np.zeros((len(alive), *shape[1:])),
            norm=np.zeros(len(alive)),
        )
        found.obs[ids], found.reward[ids], found.going_on[ids] = obs[:n], reward[:n], ~(broken | ended[:n])
        found.moved_obs[ids] = derivative(obs[:n], obs[n:])
        found.moved_reward[ids] = derivative(reward[:n], reward[n:])[..., 0]
        found.norm[ids] = norm.reshape(n, -1).max(-1)
        return found

    def _through_the_box(self, raw: Floats, moved_act: Floats) -> Floats:
        """Derivatives of the action that the environment is given, in its units: none where it lies outside the box."""
        pilot, (low, high) = self.pilot, bounds(self._space)
        slack = _ROUNDINGS * np.finfo(np.float64).eps * np.maximum(np.abs(low), np.abs(high))
        inside = (raw >= low - slack) & (raw <= high + slack)
        unit = ((pilot.env_high - pilot.env_low) / (pilot.action_high - pilot.action_low)).cpu().numpy()
        return np.asarray(moved_act * (inside * unit)[:, None, None])

    def _tangents(self, ids: Any, origins: list[Any], shape: tuple[int, ...]) -> tuple[Floats, Floats]:
        scale = self._coordinates.scale(origins)
        moved = np.zeros((len(ids), *shape, scale.shape[-1]))
        for row, i in zip(moved, ids, strict=True):
            if (kept := self._moved[i]) is not None:
                row[..., : kept.shape[-1]] = kept
        return moved, scale

    def _keep(self, ids: Any, here: list[Any], moved: Floats) -> None:
        for i, snapshot, tangent in zip(ids, here, moved, strict=True):
            self._at[i], self._moved[i] = snapshot, tangent
        width = (self.pilot.action_high - self.pilot.action_low).cpu().numpy()
        finest = moved[:, -1] / self._coordinates.scale(here)[:, None] * width[:, None]
        gram = np.nan_to_num(finest @ finest.swapaxes(-1, -2), nan=np.inf, posinf=np.inf, neginf=np.inf)
        bad = ~np.isfinite(gram).all((-1, -2))
        gram[bad] = 0.0
        largest = np.sqrt(np.linalg.eigvalsh(gram)[:, -1].clip(min=0.0))
        self.growth[ids] = np.maximum(self.growth[ids], np.where(bad, np.inf, largest))


def _sides(act: Floats, along: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Where to difference along ``along`` [n, K, D, p] from ``act``, in its units, and the weights: [n, K, D, 2] each.

    At ±1 by (f₊ − f₋)/2, or, where that leaves the box on one side only, at 1 and 2 of the other: (4f₁ − f₂ − 3f₀)/2.
    """
    out = [((act + side * along > high) | (act + side * along < low)).any(-1) for side in (1, -1)]
    inward = np.where(out[0] & ~out[1], -1.0, np.where(out[1] & ~out[0], 1.0, 0.0))
    sides = np.stack([np.where(inward == 0, 1.0, inward), np.where(inward == 0, -1.0, 2 * inward)], -1)
    weights = np.stack([np.where(inward == 0, 0.5, 2 * inward), np.where(inward == 0, -0.5, -0.5 * inward)], -1)
    return sides, weights
