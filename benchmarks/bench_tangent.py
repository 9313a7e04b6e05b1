"""The tangent kernel layer by layer against the product of materialised Jacobians.

To reach: at least 30 times faster, at most 1/10 of the memory, relative difference at most 1e-5 in float32.

    python benchmarks/bench_tangent.py
"""

from __future__ import annotations

import argparse

import torch
from harness import compare, peak_memory, report_peak, write
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.products import jacobians
from gradlab.tangent import materialised_kernel, tangent_kernel

STATES, OBSERVATIONS, ACTIONS, WIDTH = 256, 17, 6, 256


def make(states: int = STATES) -> tuple[Agent, Tensor]:
    torch.manual_seed(0)
    actor = nn.Sequential(
        nn.Linear(OBSERVATIONS, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, ACTIONS),
        nn.Tanh(),
    )
    return Agent(actor, [], [-1.0] * ACTIONS, [1.0] * ACTIONS), torch.randn(states, OBSERVATIONS)


def materialised_product(agent: Agent, obs: Tensor) -> Tensor:
    """What one would write without gradlab: torch.func's per-sample Jacobians and their products in float32.

    Parameter by parameter, so that the Jacobians are held once and never copied together.
    """
    rows = len(obs) * ACTIONS
    product = torch.zeros(rows, rows)
    for jacobian in jacobians(agent, obs, list(agent.named_parameters())):
        flat = jacobian.reshape(rows, -1)
        product.addmm_(flat, flat.T)
    return product


WAYS = {"layer-wise": lambda agent, obs: tangent_kernel(agent, obs), "materialised": materialised_product}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", choices=WAYS, help="only report the peak memory of one way")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    agent, obs = make()
    if options.memory:
        WAYS[options.memory](*make(4))
        report_peak(lambda: WAYS[options.memory](agent, obs))
        return
    rows = [
        compare(
            "full kernel",
            lambda: tangent_kernel(agent, obs),
            lambda: materialised_product(agent, obs),
            repeats=options.repeats,
            fast_per_slow=10,
            target=30,
        )
    ]
    exact = materialised_kernel(agent, obs).matrix
    kernel = tangent_kernel(agent, obs).matrix
    assert exact is not None
    assert kernel is not None
    memory = {way: peak_memory(__file__, way) for way in WAYS}
    write(
        "tangent",
        rows,
        sizes={"states": STATES, "observations": OBSERVATIONS, "actions": ACTIONS, "width": WIDTH, "dtype": "float32"},
        relative_difference=float((kernel - exact).norm() / exact.norm()),
        largest_relative_difference=float((kernel - exact).abs().max() / exact.abs().max()),
        memory=memory,
        memory_share=memory["layer-wise"]["bytes"] / memory["materialised"]["bytes"],
        targets={"ratio": 30, "relative_difference": 1e-5, "memory_share": 0.1},
    )


if __name__ == "__main__":
    main()
