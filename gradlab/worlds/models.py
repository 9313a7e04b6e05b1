"""Exact differentiable models of worlds, for the estimators that go through a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradlab.estimators.model_based import GaussianModel
from gradlab.worlds.modules import quadratic_form

if TYPE_CHECKING:
    from gradlab.worlds.linear_quadratic import LinearQuadratic


def linear_quadratic_model(world: LinearQuadratic) -> GaussianModel:
    """The exact model of a linear-quadratic world: s' = As + Ba + W^{1/2} ξ and r = −(sᵀQs + aᵀRa).

    Args:
        world: its noise covariance W may be singular: directions without noise have none.

    Example:
        >>> from gradlab.worlds import LinearQuadratic
        >>> world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4, noise=0.04)
        >>> model, one = linear_quadratic_model(world), torch.ones(1, 1, dtype=torch.float64)
        >>> round(model.next_obs(one, one, one).item(), 6), round(model.reward(one, one).item(), 6)
        (1.6, -1.1)
    """
    values, vectors = torch.linalg.eigh(world.noise.detach())
    root = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
    A, B, Q, R = (part.detach() for part in (world.A, world.B, world.Q, world.R))

    def mean(obs: Tensor, act: Tensor) -> Tensor:
        return obs @ A.to(obs).T + act @ B.to(act).T

    def reward(obs: Tensor, act: Tensor) -> Tensor:
        return -(quadratic_form(obs, Q.to(obs)) + quadratic_form(act, R.to(act)))

    return GaussianModel(mean, reward, root)
