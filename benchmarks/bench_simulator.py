"""Closed-loop steps per second of the simulator, and the time of a reference, on one thread.

The plain loop steps one environment by ``env.step`` and evaluates the same float64 policy one state at a time; the
simulator steps many exact states and evaluates the policy in batch. Both are timed in processor seconds, in turns.

    python benchmarks/bench_simulator.py [--tasks Reacher-v5 HalfCheetah-v5] [--states 32] [--horizon 50]
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.references import SimulatorReference

WIDTHS = (400, 300)  # Stable-Baselines3's TD3 actor.


def actor(inputs: int, outputs: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    sizes = (inputs, *WIDTHS)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs), nn.Tanh())
    with torch.no_grad():
        for parameter in network.parameters():
            bound = parameter.shape[-1] ** -0.5
            parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * bound)
    return network


def plain_loop(env: Any, agent: Agent, steps: int) -> float:
    """Environment steps a second of the obvious loop."""
    double = agent.snapshot(double=True)
    obs, _ = env.reset(seed=0)
    begun = time.process_time()
    with torch.no_grad():
        for _ in range(steps):
            act = double.to_env(double.action(torch.from_numpy(np.asarray(obs, dtype=np.float64))[None]))
            obs, _, terminated, _, _ = env.step(act[0].numpy())
            if terminated:
                obs, _ = env.reset()
    return steps / (time.process_time() - begun)


def measure(task: str, states: int, horizon: int) -> dict[str, Any]:
    reference = SimulatorReference(task, horizon=horizon)
    simulator = reference.simulator
    env = gymnasium.make(task).unwrapped
    unit = np.ones(simulator.action_size)
    body = actor(simulator.obs_size, simulator.action_size)
    agent = Agent(body, [], -unit, unit, env_low=env.action_space.low, env_high=env.action_space.high)
    visited = simulator.visit(agent, states, seed=0, max_steps=200)
    act = agent.action(visited.obs.float()).detach().expand(16, -1, -1)
    plain, batch = [], []
    for _ in range(3):
        plain.append(plain_loop(env, agent, 3000))
        begun = time.process_time()
        rollouts = simulator.rollouts(agent, visited, act, horizon=horizon)
        batch.append(int(rollouts.length.sum()) / (time.process_time() - begun))
    wall, processor = time.perf_counter(), time.process_time()
    found = reference.cotangent(agent, visited)
    return {
        "task": task,
        "states": states,
        "horizon": horizon,
        "plain_loop_steps_per_second": round(max(plain)),
        "simulator_steps_per_second": round(max(batch)),
        "ratio": round(max(batch) / max(plain), 2),
        "reference_seconds": round(time.perf_counter() - wall, 2),
        "reference_processor_seconds": round(time.process_time() - processor, 2),
        "states_with_open_gate": int(found.valid.sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=["Reacher-v5", "Hopper-v5", "HalfCheetah-v5"])
    parser.add_argument("--states", type=int, default=32)
    parser.add_argument("--horizon", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps([measure(task, options.states, options.horizon) for task in options.tasks], indent=1))


if __name__ == "__main__":
    main()
