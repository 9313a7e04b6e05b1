"""The variance of an estimator over 1,000 draws against 1,000 backward passes.

To reach: at least 30 times faster, the kernel's own time included.

    python benchmarks/bench_variance.py
"""

from __future__ import annotations

import argparse

import torch
from bench_tangent import ACTIONS, OBSERVATIONS, STATES, WIDTH, make
from harness import compare, write
from torch import Tensor

from gradlab.agent import Agent
from gradlab.error import gradient_error, gradient_variance
from gradlab.objective import Objective
from gradlab.references.base import ReferenceCotangent
from gradlab.tangent import tangent_kernel

DRAWS = 1000


def backward_passes(agent: Agent, obs: Tensor, v: Tensor) -> float:
    """What one would write without gradlab: a backward pass a draw, sums of g and of ‖g‖² along the way."""
    parameters = list(agent.named_parameters().values())
    head = agent.head(obs)
    total = [torch.zeros_like(p) for p in parameters]
    squared = 0.0
    for draw in v:
        gradient = torch.autograd.grad(head, parameters, draw / len(obs), retain_graph=True)
        for accumulated, g in zip(total, gradient, strict=True):
            accumulated += g
            squared += float(g.square().sum())
    mean_squared = sum(float((g / len(v)).square().sum()) for g in total)
    return (squared / len(v) - mean_squared) * len(v) / (len(v) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    agent, obs = make()
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(STATES, ACTIONS, generator=generator)
    v = mean + torch.randn(DRAWS, STATES, ACTIONS, generator=generator)
    exact = ReferenceCotangent(mean.double(), torch.zeros_like(mean).double(), "truth", Objective())
    kernel = tangent_kernel(agent, obs)

    ways = {
        "variance, from the blocks": (lambda: gradient_variance(agent, obs, v), 30),
        "all of gradient_error, 1000 draws": (lambda: gradient_error(agent, obs, v, exact), None),
        "all of gradient_error, kernel shared": (lambda: gradient_error(agent, obs, v, exact, kernel=kernel), None),
    }
    rows = [
        compare(name, way, lambda: backward_passes(agent, obs, v), repeats=options.repeats, target=target)
        for name, (way, target) in ways.items()
    ]
    obvious = backward_passes(agent, obs, v)
    blocks, full = gradient_variance(agent, obs, v), gradient_error(agent, obs, v, exact).variance
    write(
        "variance",
        rows,
        sizes={
            "draws": DRAWS,
            "states": STATES,
            "observations": OBSERVATIONS,
            "actions": ACTIONS,
            "width": WIDTH,
            "dtype": "float32",
        },
        relative_difference_full=abs(full.value / obvious - 1),
        relative_difference_blocks=abs(blocks.value / obvious - 1),
        relative_standard_error=full.stderr / full.value,
        targets={"ratio": 30},
    )


if __name__ == "__main__":
    main()
