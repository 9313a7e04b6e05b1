"""Worlds with known answers as gymnasium environments, to hold the simulator against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.errors import GradlabError
from gradlab.worlds import LinearQuadratic, TabularMDP
from gradlab.worlds.linear_paths import root

try:
    import gymnasium
    from gymnasium import spaces
except ModuleNotFoundError as error:
    raise GradlabError("gymnasium is not installed; run: pip install 'gradlab[mujoco]'") from error


class LinearQuadraticEnvironment(gymnasium.Env):  # type: ignore[misc]
    """s' = As + Ba + w, reward −(sᵀQs + aᵀRa), first state N(0, Σ₀), w ~ N(0, W); it never ends.

    Observations are the state in float64, actions are clipped by nobody: keep them inside the box of half-width
    ``action_bound``, which is the one of ``world.agent(action_bound=...)``. The environment's own generator draws
    the first state and, where W is not zero, w; a step draws nothing where it is.

    Args:
        world: the regulator, whose gain, policy and horizon play no part here.
        action_bound: half-width of the action box.

    Example:
        >>> from gradlab.references import SimulatorReference
        >>> world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4, horizon=20)
        >>> reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world), horizon=20)
        >>> states = reference.simulator.visit(world.agent(), 2, seed=0, episodes=1, max_steps=5)
        >>> found = reference.cotangent(world.agent(), states).mean
        >>> bool((found - world.action_gradient(states.obs, -0.4 * states.obs)).abs().max() < 1e-6)
        True
    """

    def __init__(self, world: LinearQuadratic, action_bound: float = 10.0) -> None:
        parts = (world.A, world.B, world.Q, world.R, root(world.sigma0), root(world.noise))
        self.A, self.B, self.Q, self.R, self._first, self._noise = (part.detach().numpy().copy() for part in parts)
        n, p = self.B.shape
        self.observation_space = spaces.Box(-np.inf, np.inf, (n,), np.float64)
        self.action_space = spaces.Box(-action_bound, action_bound, (p,), np.float64)
        self.state = np.zeros(n)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A first state from N(0, Σ₀)."""
        super().reset(seed=seed)
        self.state = self._first @ self.np_random.standard_normal(len(self.A))
        return self.state.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; the reward is of the state before it."""
        act = np.asarray(action, dtype=np.float64)
        reward = -float(self.state @ self.Q @ self.state + act @ self.R @ act)
        self.state = self.A @ self.state + self.B @ act
        if self._noise.any():
            self.state = self.state + self._noise @ self.np_random.standard_normal(len(self.A))
        return self.state.copy(), reward, False, False, {}


class TabularEnvironment(gymnasium.Env):  # type: ignore[misc]
    """A tabular decision process: one-hot observations in float64, actions 0 … A−1, reward r(s, a, s').

    Where every P(· | s, a) is a point mass a step draws no random number. It ends only in ``terminal`` states, in
    which nothing is earned: there P must stay where it is and r be zero, so that the world's values know of the end.

    Args:
        world: the process, whose policy and horizon play no part here.
        terminal: states that end the episode when they are entered.

    Raises:
        GradlabError: a terminal state is left again, or something is earned in it.

    Example:
        >>> there_and_back = [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]
        >>> world = TabularMDP(there_and_back, [[1.0, 0.0], [0.0, 2.0]], gamma=0.9, alpha=[1.0, 0.0])
        >>> environment = TabularEnvironment(world)
        >>> environment.reset(seed=0)[0], environment.step(0)[:3]
        (array([1., 0.]), (array([0., 1.]), 1.0, False))
    """

    def __init__(self, world: TabularMDP, terminal: tuple[int, ...] = ()) -> None:
        self.P, self.r, self.alpha = (part.detach().numpy().copy() for part in (world.P, world.reward, world.alpha))
        states, actions, _ = self.P.shape
        for state in terminal:
            if (self.P[state, :, state] != 1).any() or self.r[state, :, state].any():
                raise GradlabError(f"tabular environment: terminal state {state} must lead to itself and earn nothing")
        self.terminal = frozenset(terminal)
        self.observation_space = spaces.Box(0.0, 1.0, (states,), np.float64)
        self.action_space = spaces.Discrete(actions)
        self.state = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A first state from alpha."""
        super().reset(seed=seed)
        self.state = self._draw(self.alpha)
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One transition."""
        before, act = self.state, int(action)
        self.state = self._draw(self.P[before, act])
        return self._obs(), float(self.r[before, act, self.state]), self.state in self.terminal, False, {}

    def _draw(self, distribution: Any) -> int:
        sure = np.flatnonzero(distribution == 1)
        if len(sure):
            return int(sure[0])
        return int(self.np_random.choice(len(distribution), p=distribution))

    def _obs(self) -> Any:
        return np.eye(len(self.P))[self.state]
