"""Processor time of curvature, against gradient steps of the training run and against loops over points.

A critic of 256×256 SiLU, 17 observations and 6 actions, float32, one thread. A gradient step is
Stable-Baselines3's own ``TD3.train`` of such networks at a batch of 256, the delayed actor step included on average.

    python benchmarks/bench_curvature.py [--repeats 7]
"""

from __future__ import annotations

import argparse

import gymnasium
import numpy as np
import torch
from bench_landscape import agent_of
from harness import compare, write
from stable_baselines3 import TD3
from torch import nn

from gradlab.adapters import view
from gradlab.agent import Agent
from gradlab.curvature import curvature_field, sensitivity
from gradlab.curvature.measured import spectral_norm
from gradlab.hessians.exact import exact


def learner() -> TD3:
    """A TD3 learner whose buffer is full of random numbers."""
    model = TD3(
        "MlpPolicy",
        gymnasium.make("HalfCheetah-v5"),
        policy_kwargs={"net_arch": [256, 256], "activation_fn": nn.SiLU},
        buffer_size=1_000,
        batch_size=256,
        learning_starts=300,
        seed=0,
        device="cpu",
    )
    model.learn(400)
    return model


def mixed_and_spectrum(agent: Agent, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """M and all eigenvalues of the action Hessian at the actor's actions."""
    with torch.no_grad():
        act = agent.action(obs)
    hessian, mixed = exact(agent, obs, act, None)
    return spectral_norm(mixed.double()), torch.linalg.eigvalsh(hessian.double())


def by_functorch(agent: Agent, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by ``torch.func``: forward over reverse, mapped over states."""
    with torch.no_grad():
        act = agent.action(obs)

    def gradient(s: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda a: agent.q(s[None], a[None], critic=0)[0])(a)

    mixed, hessian = torch.func.vmap(torch.func.jacfwd(gradient, argnums=(0, 1)))(obs, act)
    return torch.linalg.matrix_norm(mixed.double(), ord=2), torch.linalg.eigvalsh(hessian.double())


def point_by_point(agent: Agent, obs: torch.Tensor, act: torch.Tensor) -> list[float]:
    """‖∇²_as Q‖₂ at rows [N, n] and [N, p], one row after another by autograd."""
    found = []
    for s, a in zip(obs, act, strict=True):
        at, where = a.clone().requires_grad_(), s.clone().requires_grad_()
        value = agent.q(where[None], at[None], critic=0)
        (gradient,) = torch.autograd.grad(value.sum(), at, create_graph=True)
        rows = [torch.autograd.grad(one, where, retain_graph=True)[0] for one in gradient]
        found.append(float(torch.linalg.matrix_norm(torch.stack(rows), ord=2)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    model = learner()
    agent = view(model)
    obs = torch.as_tensor(np.random.default_rng(0).normal(size=(256, 17)), dtype=torch.float32)
    mixed_and_spectrum(agent, obs)
    one = [mixed_and_spectrum(agent, obs), by_functorch(agent, obs)]
    torch.testing.assert_close(one[0], one[1], rtol=1e-4, atol=1e-6)

    smooth = agent_of(17, 6, nn.SiLU)
    corner = np.linspace(-1, 1, 50)
    grid = torch.zeros(2500, 6)
    grid[:, 0], grid[:, 1] = (torch.as_tensor(side.ravel()) for side in np.meshgrid(corner, corner))
    write(
        "curvature",
        [
            compare(
                "M and all eigenvalues, 256 states, in units of two gradient steps of TD3",
                lambda: mixed_and_spectrum(agent, obs),
                lambda: model.train(2, 256),
                repeats=repeats,
                target=1.0,
            ),
            compare(
                "sensitivity, checks and the actor's Jacobian included, in units of two gradient steps",
                lambda: sensitivity(agent, obs),
                lambda: model.train(2, 256),
                repeats=repeats,
            ),
            compare(
                "M and all eigenvalues, 256 states, against torch.func",
                lambda: mixed_and_spectrum(agent, obs),
                lambda: by_functorch(agent, obs),
                repeats=repeats,
            ),
            compare(
                "50×50 field of ‖∇²_as Q‖ against a loop of autograd calls a point",
                lambda: curvature_field(smooth, obs[:1], resolution=50),
                lambda: point_by_point(smooth, obs[:1].expand(2500, -1), grid),
                repeats=min(repeats, 3),
                target=30.0,
            ),
        ],
    )


if __name__ == "__main__":
    main()
