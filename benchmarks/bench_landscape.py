"""Processor time of the landscape and curvature measurements, and of plain ascent from the same starts.

Times are of untrained 256×256 ReLU networks, which have more local optima than trained ones; float32, one thread.
Optima are also compared on the trained critics of the tests, at observations drawn from a standard normal.

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

from gradlab.adapters import load
from gradlab.agent import Agent
from gradlab.curvature import sensitivity
from gradlab.landscape import ascent_path, field, gap, local_optima
from gradlab.landscape.searching import ascent
from gradlab.landscape.searching.ascent import feasible
from gradlab.landscape.searching.merging import nearby
from gradlab.landscape.searching.search import merge
from gradlab.landscape.surface import Surface, agent_surface

CHECKPOINTS = Path(__file__).parents[1] / "tests" / "checkpoints"


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


def plain_ascent(surface: Surface, starts: int, steps: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    """State and end of projected gradient ascent from the search's own starts, one gradient a step.

    Steps of a given length along the gradient, from 5 % to 0.1 % of the box's diagonal: constant ones would end
    around kinks instead of on them.
    """
    sobol = torch.quasirandom.SobolEngine(surface.size, scramble=True, seed=0).draw(starts)
    point = sobol.expand(surface.states, -1, -1).reshape(-1, surface.size)
    state = torch.arange(surface.states).repeat_interleave(starts)
    for step in range(steps):
        _, slope = surface.climb(state, point)
        length = 0.05 * 0.02 ** (step / (steps - 1)) * surface.size**0.5
        point = (point + length * nn.functional.normalize(feasible(point, slope), dim=-1)).clamp(0, 1)
    return state, point


def compare(agent: Agent, obs: torch.Tensor, starts: int, tries: tuple[int, ...]) -> dict[str, float]:
    """Rows of Q that the search takes, and which optima of at least 1 % persistence it and plain ascent find.

    The ends of both are merged together, as the search merges its own, so that an optimum is the same for both.
    """
    surface = agent_surface(agent, obs, None)
    state, point = plain_ascent(surface, starts)
    value, gradient = surface.climb(state, point)
    ends = nearby(state, point, value, gradient, surface.states, 5e-3).unique()
    report: dict[str, float] = {}
    for number in tries:
        found = local_optima(agent, obs, starts=number)
        counts = torch.tensor([len(values) for values in found.values])
        states = torch.cat([state[ends], torch.arange(len(obs)).repeat_interleave(counts)])
        points = torch.cat([point[ends], surface.unit(torch.cat(found.actions))])
        values, gradients = surface.climb(states, points)
        climb = ascent.Climb(states, points, values, gradients, gradients, values)
        peak, persistence = merge(surface, climb, 1e-3 * found.value_range)
        tops = peak.unique()
        tops = tops[persistence[tops] >= 0.01 * found.value_range[states[tops]]]
        mine = torch.isin(tops, peak[len(ends) :])
        plain = torch.isin(tops, peak[: len(ends)])
        rows, certifying = (rows / len(obs) / starts for rows in (found.evaluations, found.certifying))
        recall, kinds = float(mine[plain].float().mean()), torch.cat(found.certificate)
        stderr = (recall * (1 - recall) / int(plain.sum())) ** 0.5
        report |= {
            f"{number} starts: rows for each of plain ascent's {starts} starts (it takes 100)": round(rows, 2),
            f"{number} starts: rows for certificates beyond those": round(certifying, 2),
            f"{number} starts: optima of plain ascent": int(plain.sum()),
            f"{number} starts: share of these found": round(recall, 4),
            f"{number} starts: standard error of that share": round(stderr, 4),
            f"{number} starts: optima found that plain ascent missed": int((mine & ~plain).sum()),
            f"{number} starts: share of optima certified": round(float((kinds > 0).float().mean()), 4),
        }
    return report


def measure(n: int, p: int, states: int, starts: int) -> dict[str, float]:
    agent, smooth = agent_of(n, p), agent_of(n, p, nn.SiLU)
    obs = torch.randn(256, n, generator=torch.Generator().manual_seed(0))
    few = obs[:states]
    found = local_optima(agent, few, starts=starts)
    calls: dict[str, Callable[[], object]] = {
        f"local_optima, {states} states, {starts} starts": lambda: local_optima(agent, few, starts=starts),
        "local_optima, 64 states, 64 starts": lambda: local_optima(agent, obs[:64], starts=64),
        "plain ascent of 100 steps from the same starts": lambda: plain_ascent(agent_surface(agent, few, None), starts),
        "gap, optima given": lambda: gap(agent, few, found),
        "field 33×33, 17 arrows, 4 states, 2 critics": lambda: field(agent, obs[:4], resolution=33, arrows=17),
        "field 41×41, 21 arrows, 1 state, 1 critic": lambda: field(agent, obs[:1], critics=[0]),
        "ascent_path, 4 states, 30 steps": lambda: ascent_path(agent, obs[:4]),
        "sensitivity at a scale, 64 states": lambda: sensitivity(agent, obs[:64], 0.1),
        "sensitivity exact (SiLU), 256 states": lambda: sensitivity(smooth, obs),
    }
    return {what: round(milliseconds(call), 2) for what, call in calls.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=16)
    parser.add_argument("--starts", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, dict[str, float]] = {}
    generator = torch.Generator().manual_seed(0)
    cases = {"random, 2 actions": (agent_of(10, 2), 10), "random, 6 actions": (agent_of(17, 6), 17)}
    for path in sorted(CHECKPOINTS.glob("*.zip")):
        trained = load(path)
        cases[path.stem] = trained, int(trained.obs_size or 0)
    for name, (agent, size) in cases.items():
        obs = torch.randn(options.states, size, generator=generator)
        report[f"against plain ascent: {name}"] = compare(agent, obs, 64, (64, 32, 16))
        show(f"against plain ascent: {name}", report)
    for n, p in ((10, 2), (17, 6)):
        report[f"milliseconds: {n} observations, {p} actions"] = measure(n, p, options.states, options.starts)
        show(f"milliseconds: {n} observations, {p} actions", report)
    out = Path(__file__).parent / "results" / "landscape.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"unit": "milliseconds of processor time unless named", **report}, indent=1) + "\n")


def show(name: str, report: dict[str, dict[str, float]]) -> None:
    print(name, flush=True)
    for what, number in report[name].items():
        print(f"  {what:<80} {number:10.2f}", flush=True)


if __name__ == "__main__":
    main()
