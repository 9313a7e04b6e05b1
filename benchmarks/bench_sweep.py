"""A sweep over 16 smoothing radii of 256 draws each against a backward pass for every draw.

To reach: at most 60 backward passes, the tangent kernel's own included.

    python benchmarks/bench_sweep.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from bench_tangent import ACTIONS, OBSERVATIONS, STATES, WIDTH, make
from harness import compare, write
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.estimators import ZerothOrder
from gradlab.references import CriticReference
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.curve import sweep

DRAWS, RADII = 256, torch.logspace(-2, 0, 16).tolist()


class Critic(nn.Module):
    """A network of the actor's width."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(OBSERVATIONS + ACTIONS, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1)
        )

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """Q(s, a), [B]."""
        return self.layers(torch.cat([obs, act], -1)).squeeze(-1)


def obvious(agent: Agent, obs: Tensor, ref: ReferenceCotangent) -> list[float]:
    """What one would write without gradlab: the gradient of every draw, and its squared distance from the truth."""
    parameters = list(agent.named_parameters().values())

    def gradient(v: Tensor) -> Tensor:
        parts = torch.autograd.grad(agent.head(obs), parameters, v / len(obs))
        return torch.cat([part.flatten() for part in parts])

    truth = gradient(ref.mean.to(obs))
    errors = []
    for mu in RADII:
        v = ZerothOrder(mu).draw(agent, obs, DRAWS, torch.Generator().manual_seed(7))
        errors.append(sum(float((gradient(draw) - truth).double().square().sum()) for draw in v) / DRAWS)
    return errors


def passes(call: Callable[[], Any]) -> int:
    """How many backward passes a call takes."""
    count = 0
    grad, backward = torch.autograd.grad, torch.autograd.backward

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            return function(*args, **kwargs)

        return inner

    with patch("torch.autograd.grad", counting(grad)), patch("torch.autograd.backward", counting(backward)):
        call()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    plain, obs = make()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = Critic()
    agent = Agent(plain.actor, [critic], plain.action_low, plain.action_high)
    ref = CriticReference().cotangent(agent, obs)

    def ours() -> Any:
        return sweep(ZerothOrder, RADII, agent, obs, ref, DRAWS, torch.Generator().manual_seed(7))

    rows = [
        compare(
            "16 radii of 256 draws",
            ours,
            lambda: obvious(agent, obs, ref),
            repeats=options.repeats,
            fast_per_slow=2,
        )
    ]
    seed = int(torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(7)))
    # The same draws, for the same numbers: of one radius.
    v = ZerothOrder(RADII[8]).draw(agent, obs, DRAWS, torch.Generator().manual_seed(seed))
    parameters = list(agent.named_parameters().values())
    squared = 0.0
    for draw in v - ref.mean.to(v):
        parts = torch.autograd.grad(agent.head(obs), parameters, draw / len(obs))
        squared += sum(float(part.double().square().sum()) for part in parts) / DRAWS
    write(
        "sweep",
        rows,
        sizes={
            "radii": len(RADII),
            "draws": DRAWS,
            "states": STATES,
            "observations": OBSERVATIONS,
            "actions": ACTIONS,
            "width": WIDTH,
            "dtype": "float32",
        },
        backward_passes={"gradlab": passes(ours), "obvious": passes(lambda: obvious(agent, obs, ref))},
        relative_difference_of_mse=abs(ours().mse[8].value / squared - 1),
        targets={"backward_passes": 60},
    )


if __name__ == "__main__":
    main()
