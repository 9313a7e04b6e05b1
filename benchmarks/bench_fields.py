"""Processor time of slices and fields, and their ratio to the obvious loop over points.

Critics are untrained 256×256 ReLU networks, 17 observations and 6 actions; float32, one thread.

    python benchmarks/bench_fields.py [--repeats 5]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from bench_landscape import agent_of, milliseconds
from harness import compare, write

from gradlab.agent import Agent
from gradlab.landscape import (
    curvature_plane,
    field,
    gradient_field_over_states,
    local_optima,
    optima_plane,
    random_plane,
    slice_plane,
    state_plane,
)

#: Milliseconds that a 41×41 field with gradients at one state may take.
_BUDGET = 30.0


def point_by_point(agent: Agent, obs: torch.Tensor, act: torch.Tensor, critic: int | None = None) -> None:
    """Q and its gradient, each by an evaluation of its own, at rows [N, n] and [N, p], one row after another."""
    for row in range(len(obs)):
        with torch.no_grad():
            agent.q(obs[row : row + 1], act[row : row + 1], critic=critic)
        agent.action_gradient(obs[row : row + 1], act[row : row + 1], critic=critic)


def twice(agent: Agent, obs: torch.Tensor, act: torch.Tensor) -> None:
    """Values and gradients of every critic at all rows in two passes, batched."""
    for critic in range(len(agent.critics)):
        with torch.no_grad():
            agent.q(obs, act, critic=critic)
        agent.action_gradient(obs, act, critic=critic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    agent = agent_of(17, 6)
    obs = torch.randn(256, 17, generator=torch.Generator().manual_seed(0))
    one = obs[:1]
    grid = 2 * torch.rand(41 * 41, 6, generator=torch.Generator().manual_seed(1)) - 1
    same = one.expand(len(grid), -1)
    random = random_plane(agent, one)
    optima = optima_plane(agent, one, local_optima(agent, one))
    plane = state_plane(obs[0], data=obs)
    rows = plane.observations().float()
    at = agent.action(rows).detach()

    calls: dict[str, Callable[[], object]] = {
        "field 41×41, 21 arrows, 1 critic": lambda: field(agent, one, critics=[0]),
        "field 41×41, 41 arrows, 1 critic": lambda: field(agent, one, critics=[0], arrows=41),
        "slice 41×41 with gradients, 1 critic": lambda: slice_plane(agent, one, critics=[0]),
        "slice 41×41 with gradients, 2 critics, min, spread": lambda: slice_plane(agent, one),
        "slice through optima, 41×41 with gradients, 1 critic": lambda: slice_plane(agent, one, optima, critics=[0]),
        "slice along random directions, likewise": lambda: slice_plane(agent, one, random, critics=[0]),
        "curvature_plane at a scale": lambda: curvature_plane(agent, one, 0.1),
        "field over 41×41 states, 1 critic": lambda: gradient_field_over_states(agent, plane, critics=[0]),
        "field along 256 steps, 1 critic": lambda: gradient_field_over_states(agent, obs, critics=[0]),
    }
    times = {}
    for name, call in calls.items():
        times[name] = round(milliseconds(call, 4 * repeats), 2)
    comparisons = [
        compare(
            "slice 41×41, 1 critic, against a loop over points",
            lambda: slice_plane(agent, one, critics=[0]),
            lambda: point_by_point(agent, same, grid, 0),
            repeats=repeats,
        ),
        compare(
            "slice 41×41, 2 critics, against two batched passes",
            lambda: slice_plane(agent, one),
            lambda: twice(agent, same, grid),
            repeats=repeats,
        ),
        compare(
            "field over 41×41 states, against a loop over states",
            lambda: gradient_field_over_states(agent, plane, critics=[0]),
            lambda: point_by_point(agent, rows, at, 0),
            repeats=repeats,
        ),
    ]
    budget = "slice 41×41 with gradients, 1 critic"
    within = times[budget] <= _BUDGET
    write("fields", comparisons, processor_milliseconds=times, budget_milliseconds=_BUDGET, within_budget=within)


if __name__ == "__main__":
    main()
