"""The worlds a calibration runs: every class of world, with several settings each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from gradlab.worlds import (
    BallOverWall,
    CubicBandit,
    FirstDecision,
    GaussianPolynomial,
    LinearQuadratic,
    QuadraticBandit,
    RewardChain,
    Step,
    TabularMDP,
    World,
)

#: A world and what tells its instance from others of the same name.
Instance = tuple[str, World]

#: A problem with three states and two actions, of which nothing is scalar and A is not symmetric.
_MATRICES: dict[str, Any] = {
    "A": [[0.8, 0.3, 0.0], [-0.2, 0.7, 0.1], [0.1, 0.0, 0.9]],
    "B": [[0.5, 0.0], [0.1, 0.4], [-0.3, 0.2]],
    "Q": [[1.0, 0.2, 0.0], [0.2, 0.5, 0.1], [0.0, 0.1, 0.8]],
    "R": [[0.2, 0.05], [0.05, 0.3]],
    "K": [[0.3, -0.1, 0.2], [0.1, 0.4, -0.2]],
    "sigma0": [[1.0, 0.3, 0.0], [0.3, 0.6, -0.1], [0.0, -0.1, 0.4]],
    "noise": [[0.10, 0.02, 0.0], [0.02, 0.20, 0.01], [0.0, 0.01, 0.05]],
}
_SCALAR: dict[str, Any] = {"A": 0.9, "B": 0.5, "Q": 1.0, "R": 0.1, "gamma": 0.95, "K": 0.4, "sigma0": 1.0}
_G = [1.0, -2.0, 0.5, 0.0, 1.5, -1.0]
_H = torch.diag(torch.tensor([-1.0, -2.0, -0.5, 1.0, -3.0, 0.25], dtype=torch.float64))
_CROSSED = [[-1.0, 0.5], [0.5, -2.0]]
_TRANSITIONS = [[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.1, 0.9]]]
_REWARDS = [[1.0, 0.0], [0.0, 2.0]]


def calibrated_worlds() -> tuple[Instance, ...]:
    """Every world that is calibrated, with its setting in words.

    Settings of one class differ in what a formula can get wrong: dimension, curvature, noise, horizon.

    Example:
        >>> from gradlab.worlds import WORLDS
        >>> {type(world) for _, world in calibrated_worlds()} >= set(WORLDS)
        True
    """
    return (*_polynomials(), *_bandits(), *_cliffs(), *_linear_quadratic(), *_tabular(), *_chains())


def _polynomials() -> Iterator[Instance]:
    yield "x², θ=1", GaussianPolynomial(power=2, theta=1.0)
    yield "x², θ=2", GaussianPolynomial(power=2, theta=2.0)
    yield "x³, θ=1.3, σ=0.6 learnt", GaussianPolynomial(power=3, theta=1.3, std=0.6, learn_std=True)


def _bandits() -> Iterator[Instance]:
    yield "p=6", QuadraticBandit(_G, _H, q0=3.0)
    yield "p=2, σ=(0.5, 1) learnt", QuadraticBandit(_G[:2], _CROSSED, q0=1.0, std=[0.5, 1.0], learn_std=True)
    yield "a³", CubicBandit(g=[0.0], T=[[[6.0]]])
    yield "p=2", CubicBandit(_G[:2], _CROSSED, _third_derivatives(), q0=1.0)
    yield "p=2, σ=0.5", CubicBandit(_G[:2], _CROSSED, _third_derivatives(), q0=1.0, std=0.5)


def _third_derivatives() -> torch.Tensor:
    """All third derivatives of 20 (x³/6 + x²y/4 − y³/12): smoothing at μ = 0.1 moves the gradient by a tenth."""
    T = torch.zeros(2, 2, 2, dtype=torch.float64)
    T[0, 0, 0], T[1, 1, 1] = 20.0, -10.0
    T[0, 0, 1] = T[0, 1, 0] = T[1, 0, 0] = 10.0
    return T


def _cliffs() -> Iterator[Instance]:
    yield "at the edge", Step()
    yield (
        "p=2, off the edge",
        Step(mean=[0.3, -0.2], std=[0.5, 0.8], normal=[1.0, 2.0], threshold=0.4, height=3.0, low=1.0),
    )
    yield "θ=0.6, σ=0.1", BallOverWall()


def _linear_quadratic() -> Iterator[Instance]:
    yield "scalar", LinearQuadratic(**_SCALAR)
    yield "scalar, σ=0.5", LinearQuadratic(**_SCALAR, policy_std=0.5)
    yield "scalar, T=10", LinearQuadratic(**_SCALAR, horizon=10)
    yield "matrices, σ=(0.3, 0.7)", LinearQuadratic(**_MATRICES, gamma=0.9, policy_std=[0.3, 0.7])
    yield "T=3", FirstDecision(LinearQuadratic(0.9, 0.5, 1.0, 0.1, 0.9, 0.4, policy_std=0.5, noise=0.1, horizon=3))


def _tabular() -> Iterator[Instance]:
    yield "2 states", TabularMDP(_TRANSITIONS, _REWARDS, gamma=0.9, alpha=[1.0, 0.0])
    yield (
        "2 states, T=6, entropy",
        TabularMDP(
            _TRANSITIONS,
            _REWARDS,
            gamma=0.9,
            alpha=[0.3, 0.7],
            theta=[[0.5, -0.5], [0.0, 1.0]],
            entropy=0.2,
            horizon=6,
        ),
    )


def _chains() -> Iterator[Instance]:
    yield "T=10", RewardChain(horizon=10, theta=1.0)
    yield "T=5, γ=0.8, σ=0.7", RewardChain(horizon=5, theta=-0.5, std=0.7, gamma=0.8)
