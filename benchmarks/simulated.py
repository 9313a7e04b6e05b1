"""What the simulator's benchmarks share: an agent, its states, and the ways to step them.

No more than numpy, torch, mujoco and gymnasium is needed, so that they run on any machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.simulation import Simulator, States

WIDTHS = (400, 300)  # Stable-Baselines3's TD3 actor; its SAC actor has (256, 256).


def actor(inputs: int, outputs: int, widths: Sequence[int] = WIDTHS) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    sizes = (inputs, *widths)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs), nn.Tanh())
    with torch.no_grad():
        for parameter in network.parameters():
            bound = parameter.shape[-1] ** -0.5
            parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * bound)
    return network


class Problem:
    """Rollouts of one agent from visited states of one task.

    Args:
        task: gymnasium identifier.
        states: how many states.
        rollouts: how many rollouts, a multiple of the states.
        horizon: steps of each, fewer where the task ends.
        threads: of the simulator.
        widths: of the actor's hidden layers.
    """

    def __init__(
        self,
        task: str,
        states: int,
        rollouts: int,
        horizon: int,
        threads: int | None = None,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        self.simulator = Simulator(task, threads=threads)
        self.horizon = horizon
        size = self.simulator.action_size
        space = self.simulator._env.action_space
        body = actor(self.simulator.obs_size, size, widths)
        self.agent = Agent(body, [], -np.ones(size), np.ones(size), env_low=space.low, env_high=space.high)
        self.states: States = self.simulator.visit(self.agent, states, seed=0, max_steps=200)
        generator = torch.Generator().manual_seed(1)
        each = rollouts // states
        nominal = self.agent.action(self.states.obs.float()).detach()
        spread = 0.1 * (2 * torch.rand(each, *nominal.shape, generator=generator) - 1)
        self.first: Tensor = (nominal + spread).clamp(-1, 1)

    def closed_loop(self) -> int:
        """The simulator, policy included; how many steps it took."""
        return int(self.simulator.rollouts(self.agent, self.states, self.first, horizon=self.horizon).length.sum())

    def plain_loop(self, steps: int) -> int:
        """``env.step`` and the same float64 policy, one state after another."""
        env, double = self.simulator._env, self.agent.snapshot(double=True)
        obs, _ = env.reset(seed=0)
        with torch.no_grad():
            for step in range(steps):
                act = double.to_env(double.action(torch.from_numpy(np.asarray(obs, dtype=np.float64))[None]))
                obs, _, terminated, _, _ = env.step(act[0].numpy())
                if terminated or (step + 1) % self.horizon == 0:
                    obs, _ = env.reset()
        return steps

    def physics(self, threads: int) -> Physics:
        """The same steps as ``closed_loop`` takes, without policy, observation and reward."""
        return Physics(self, threads)


class Physics:
    """``mujoco.batch`` on the controls that the closed loop chose, in the states that it came by.

    Args:
        problem: the rollouts.
        threads: of the batch, or of Python with a batch of one thread each.
    """

    def __init__(self, problem: Problem, threads: int) -> None:
        from mujoco.batch import Batch

        self._batch_of, self._model = Batch, problem.simulator._env.model
        self._substeps, self._threads = problem.simulator._env.frame_skip, threads
        rows = np.repeat(np.arange(len(problem.states)), len(problem.first))
        self._rows = np.stack([problem.states.snapshots[i].state for i in rows])
        self._controls, self._ids = self._recorded(problem, rows)

    def _recorded(self, problem: Problem, rows: Any) -> tuple[list[Any], list[Any]]:
        lanes, pilot = problem.simulator._lanes, problem.simulator.pilot(problem.agent)
        lanes.load([problem.states.snapshots[i] for i in rows.tolist()])
        act = problem.first.movedim(1, 0).reshape(len(rows), -1).double()
        running, controls, ids = np.ones(len(rows), dtype=bool), [], []
        with torch.no_grad():
            for _ in range(problem.horizon):
                if not running.any():
                    break
                taken = problem.simulator._to_env(pilot, act)
                controls.append(taken)
                ids.append(np.flatnonzero(running).astype(np.int32))
                obs, _, terminated = lanes.step(taken, running)
                running = running & ~terminated & np.isfinite(obs).all(-1)
                act = pilot.action(torch.from_numpy(np.where(running[:, None], obs, 0.0)))
        return controls, ids

    def one_batch(self) -> int:
        """One batch of all rows, which shares them between its threads."""
        return self._run(slice(0, len(self._rows)), self._threads)

    def batch_a_thread(self) -> int:
        """A batch of one thread for each part of the rows, in Python threads."""
        edges = [len(self._rows) * i // self._threads for i in range(self._threads + 1)]
        with ThreadPoolExecutor(self._threads) as pool:
            return sum(pool.map(lambda ends: self._run(slice(*ends), 1), pairwise(edges)))

    def _run(self, part: slice, threads: int) -> int:
        batch = self._batch_of(self._model, part.stop - part.start, nthread=threads)
        batch.state[:] = self._rows[part]
        controls, steps = batch.bind("ctrl"), 0
        for taken, ids in zip(self._controls, self._ids, strict=True):
            mine = ids[(ids >= part.start) & (ids < part.stop)] - part.start
            if not len(mine):
                break
            controls[mine] = taken[part][mine]
            batch.step(None if len(mine) == len(controls) else mine, self._substeps)
            steps += len(mine)
        return steps


class Rates(NamedTuple):
    """Steps a second of one way, in each round.

    Attributes:
        wall: by the clock.
        processor: by the processor's time of all threads; other programs on the machine change it less.
    """

    wall: list[float]
    processor: list[float]


def rates(ways: dict[str, Callable[[], int]], repeats: int) -> dict[str, Rates]:
    """Each way in each round; the ways take turns, so that a busy machine slows all of them."""
    found = {name: Rates([], []) for name in ways}
    for round_ in range(repeats + 1):
        for name, way in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            steps = way()
            # The first round warms up: threads, caches, memory.
            if round_:
                found[name].wall.append(steps / (time.perf_counter() - clock))
                found[name].processor.append(steps / (time.process_time() - processor))
    return found


def ratio(name: str, found: dict[str, Rates], over: str, under: str, target: float | None) -> dict[str, Any]:
    """A row of the harness's table, in seconds for ten thousand steps: ``over`` is so many times as fast."""
    fast, slow = (statistics.median(found[way].wall) for way in (over, under))
    rounds = [a / b for a, b in zip(found[over].wall, found[under].wall, strict=True)]
    return {
        "name": name,
        "fast_seconds": 1e4 / fast,
        "slow_seconds": 1e4 / slow,
        "ratio": statistics.median(rounds),
        "ratio_range": [min(rounds), max(rounds)],
        "processor_ratio": statistics.median(
            a / b for a, b in zip(found[over].processor, found[under].processor, strict=True)
        ),
        "target": target,
    }
