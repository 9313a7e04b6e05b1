"""Processor time of the landscape and curvature measurements, and of plain ascent from the same starts.

Critics are untrained 256×256 ReLU networks, which have more local optima than trained ones; float32, one thread.

    python benchmarks/bench_landscape.py [--states 16] [--starts 32]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.curvature import sensitivity
from gradlab.landscape import ascent_path, field, gap, local_optima


class Critic(nn.Module):
    """Q of two hidden layers of 256."""

    def __init__(self, inputs: int, activation: type[nn.Module], seed: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputs, 256), activation(), nn.Linear(256, 256), activation(), nn.Linear(256, 1)
        )
        generator = torch.Generator().manual_seed(seed)
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=(2 / layer.in_features) ** 0.5, generator=generator)
                nn.init.normal_(layer.bias, std=0.3, generator=generator)

    def forward(self, obs: torch.Tensor, act: torch.Tensor) -> torch.Tensor:
        """Observations [B, n] and actions [B, p] → [B, 1]."""
        return self.net(torch.cat([obs, act], -1))


def agent_of(obs: int, act: int, activation: type[nn.Module] = nn.ReLU) -> Agent:
    actor = nn.Sequential(nn.Linear(obs, 64), nn.ReLU(), nn.Linear(64, act), nn.Tanh())
    critics = [Critic(obs + act, activation, seed) for seed in range(2)]
    return Agent(actor, critics, [-1.0] * act, [1.0] * act)


def milliseconds(call: Callable[[], object], repeats: int = 5) -> float:
    """The best processor time of a few calls: what the work costs when nothing else interferes."""
    call()
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return 1e3 * min(times)


def plain_ascent(agent: Agent, obs: torch.Tensor, starts: int, steps: int = 100, rate: float = 0.02) -> torch.Tensor:
    """The best value per state of projected gradient ascent with one fixed step length from Sobol starts."""
    sobol = torch.quasirandom.SobolEngine(agent.action_size, scramble=True, seed=0).draw(starts)
    act = (2 * sobol - 1)[:, None].expand(-1, len(obs), -1)
    for _ in range(steps):
        slope = agent.action_gradient(obs, act)
        act = (act + rate * nn.functional.normalize(slope, dim=-1)).clamp(-1, 1)
    with torch.no_grad():
        return agent.q(obs, act).amax(0)


def measure(n: int, p: int, states: int, starts: int) -> dict[str, float]:
    agent, smooth = agent_of(n, p), agent_of(n, p, nn.SiLU)
    obs = torch.randn(256, n, generator=torch.Generator().manual_seed(0))
    few = obs[:states]
    found = local_optima(agent, few, starts=starts)
    beyond = (plain_ascent(agent, few, starts) - found.best_value) / found.value_range
    calls: dict[str, Callable[[], object]] = {
        f"local_optima, {states} states, {starts} starts": lambda: local_optima(agent, few, starts=starts),
        "local_optima, 64 states, 64 starts": lambda: local_optima(agent, obs[:64], starts=64),
        "plain ascent of 100 steps from the same starts": lambda: plain_ascent(agent, few, starts),
        "gap, optima given": lambda: gap(agent, few, found),
        "field 33×33, 17 arrows, 4 states, 2 critics": lambda: field(agent, obs[:4], resolution=33, arrows=17),
        "field 41×41, 21 arrows, 1 state, 1 critic": lambda: field(agent, obs[:1], critics=[0]),
        "ascent_path, 4 states, 30 steps": lambda: ascent_path(agent, obs[:4]),
        "sensitivity at a scale, 64 states": lambda: sensitivity(agent, obs[:64], 0.1),
        "sensitivity exact (SiLU), 256 states": lambda: sensitivity(smooth, obs),
    }
    return {
        **{what: round(milliseconds(call), 2) for what, call in calls.items()},
        "rows evaluated per start, merging included (plain ascent: 100)": found.evaluations / states / starts,
        "share of states where plain ascent ends lower by 0.1 % of the range": float((beyond < -1e-3).float().mean()),
        "share of states where it ends higher by as much": float((beyond > 1e-3).float().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=16)
    parser.add_argument("--starts", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = {
        f"{n} observations, {p} actions": measure(n, p, options.states, options.starts) for n, p in ((10, 2), (17, 6))
    }
    for name, rows in report.items():
        print(name)
        for what, number in rows.items():
            print(f"  {what:<70} {number:10.2f}")
    out = Path(__file__).parent / "results" / "landscape.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"unit": "milliseconds of processor time unless named", **report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
