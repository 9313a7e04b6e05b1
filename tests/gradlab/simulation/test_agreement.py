"""Lanes that do not do as env.step does are found out, whatever it is that they do."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gradlab.simulation.lanes.agreement import departure
from gradlab.simulation.lanes.base import Lanes


class Spring(gymnasium.Env):
    """A place and a velocity, x ← x + v, v ← 0.9 v − 0.1 x + a; it ends beyond 3, and says so."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 2)
        return self.state.copy(), {}

    def step(self, action):
        x, v = self.state
        self.state = np.array([x + v, 0.9 * v - 0.1 * x + action[0]])
        return self.state.copy(), float(-(x**2)), bool(abs(self.state[0]) > 3), False, {}


class Springs(Lanes):
    """Springs by arithmetic, with one thing wrong or none."""

    promise = "springs"

    def __init__(self, wrong: str = "") -> None:
        super().__init__(Spring())
        self.wrong = wrong
        self.state = np.empty((0, 2))

    def load(self, snapshots):
        self.state, self.size = np.array(snapshots), len(snapshots)

    def reset(self, seeds):
        self.load([self.env.reset(seed=seed)[0] + (self.wrong == "reset") for seed in seeds])
        return self.state.copy()

    def capture(self, lane):
        kept = self.state[lane].copy()
        if self.wrong == "forgets the velocity":
            kept[1] = 0.0
        return kept

    def step(self, act, running):
        x, v = self.state.T.copy()
        if self.wrong == "looks at its neighbour":
            v = v + 1e-9 * v[::-1]
        moved = np.stack([x + v, 0.9 * v - 0.1 * x + act[:, 0]], -1)
        if self.wrong == "moves those that stand still":
            running = running | True
        self.state = np.where(running[:, None], moved, self.state)
        reward = np.where(running, -(x**2), 0.0) * (1 + 1e-8 * (self.wrong == "reward"))
        ended = running & (np.abs(self.state[:, 0]) > (2 if self.wrong == "ends early" else 3))
        obs = np.where(running[:, None], self.state, 0.0)
        if self.wrong == "loses sight":
            obs[np.abs(obs) > 3] = np.nan
        return obs, reward, ended


def test_equal_numbers_depart_by_nothing():
    assert departure(Springs(), 40) == 0
    assert departure(Springs(), 40, env=Spring()) == 0


@pytest.mark.parametrize(
    ("wrong", "least"),
    [
        ("reset", 0.5),
        ("forgets the velocity", 1e-3),
        ("looks at its neighbour", 1e-11),
        ("moves those that stand still", 1e-3),
        ("reward", 1e-10),
        ("ends early", np.inf),
        ("loses sight", np.inf),
    ],
)
def test_what_is_wrong_is_seen(wrong, least):
    assert departure(Springs(wrong), 40) >= least
