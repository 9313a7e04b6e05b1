"""The variance of an estimator over 1,000 draws against 1,000 backward passes, and against per-sample gradients.

To reach: at least 30 times faster than either, the kernel's own time included, in at most two backward passes.

    python benchmarks/bench_variance.py
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import torch
from bench_tangent import ACTIONS, OBSERVATIONS, STATES, WIDTH, make
from harness import compare, write
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

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


def per_sample_gradients(agent: Agent, obs: Tensor, v: Tensor) -> float:
    """The other way without gradlab: every state's Jacobian, materialised by ``vmap(jacrev)``, and Σ tr(J Cov v Jᵀ)."""
    parameters = {name: p.detach() for name, p in agent.actor.named_parameters()}

    def head(values: dict[str, Tensor], one: Tensor) -> Tensor:
        return functional_call(agent.actor, values, (one[None],))[0]

    jacobians = vmap(jacrev(head), in_dims=(None, 0))(parameters, obs)
    jacobian = torch.cat([part.flatten(2) for part in jacobians.values()], 2)
    centred = (v - v.mean(0)).transpose(0, 1)
    covariance = centred.transpose(1, 2) @ centred / (len(v) - 1)
    return float((covariance * (jacobian @ jacobian.mT)).sum()) / len(obs) ** 2


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
    rows.append(
        compare(
            "variance, against per-sample gradients",
            lambda: gradient_variance(agent, obs, v),
            lambda: per_sample_gradients(agent, obs, v),
            repeats=options.repeats,
            target=30,
        )
    )
    obvious = backward_passes(agent, obs, v)
    with patch("torch.autograd.grad", wraps=torch.autograd.grad) as counted:
        gradient_variance(agent, obs, v)
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
        relative_difference_per_sample=abs(per_sample_gradients(agent, obs, v) / blocks.value - 1),
        backward_passes=counted.call_count,
        relative_standard_error=full.stderr / full.value,
        targets={"ratio": 30, "backward_passes": 2},
    )


if __name__ == "__main__":
    main()
