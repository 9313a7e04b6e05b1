"""A differentiable model of a task: dynamics with its noise made explicit, and the reward."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradlab.errors import GradlabError

#: obs [..., n], act [..., p] → [..., n] or [...].
Function = Callable[[Tensor, Tensor], Tensor]


class Model(ABC):
    """s' = f(s, a, ξ) and r(s, a), differentiable in s and a. Shapes: obs [..., n], act [..., p], noise [..., k].

    Actions are in the critic's own coordinates. A model has no termination: its paths go on.
    """

    def noise_size(self, obs_size: int) -> int:
        """Number k of noise coordinates; n unless a subclass differs."""
        return obs_size

    def noise(self, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
        """Noise ξ that ``next_obs`` expects: standard normal, of ``shape``, with the dtype and device of ``like``."""
        return torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)

    @abstractmethod
    def next_obs(self, obs: Tensor, act: Tensor, noise: Tensor) -> Tensor:
        """The successor s' = f(s, a, ξ), [..., n]."""

    @abstractmethod
    def reward(self, obs: Tensor, act: Tensor) -> Tensor:
        """r(s, a), [...]; where the reward is random or depends on s', its expectation."""

    @abstractmethod
    def log_prob(self, next_obs: Tensor, obs: Tensor, act: Tensor) -> Tensor:
        """Log p(s'|s, a), [...]; s' is a constant here, s and a carry the gradient."""

    @abstractmethod
    def infer_noise(self, obs: Tensor, act: Tensor, next_obs: Tensor) -> Tensor:
        """The ξ, [..., k], that gives a recorded transition: f(s, a, ξ) = s'."""


class GaussianModel(Model):
    """s' = f(s, a) + Σ ξ, ξ ~ N(0, I), for any differentiable mean function f.

    Args:
        mean: f, obs [..., n] and act [..., p] → [..., n].
        reward: r, obs [..., n] and act [..., p] → [...].
        std: Σ: a number or [n] (its diagonal), a constant matrix [n, n], or a function (obs, act) → [..., n], the
            diagonal in each state. Zero is a deterministic model, which has no density.

    Raises:
        GradlabError: a standard deviation is negative, NaN or infinite, or of another shape; on ``log_prob``, when it
            is zero or the matrix singular; on ``infer_noise``, when no noise gives the transition.

    Example:
        >>> model = GaussianModel(lambda s, a: s + a, lambda s, a: -s.square().sum(-1), std=0.5)
        >>> s, a = torch.tensor([[1.0]]), torch.tensor([[2.0]])
        >>> model.next_obs(s, a, torch.tensor([[2.0]])), model.infer_noise(s, a, torch.tensor([[4.0]]))
        (tensor([[4.]]), tensor([[2.]]))
    """

    def __init__(self, mean: Function, reward: Function, std: Any = 0.0) -> None:
        self._mean, self._reward = mean, reward
        self._std: Function | Tensor = std if callable(std) else torch.as_tensor(std).detach().clone()
        if isinstance(self._std, Tensor):
            shape = self._std.shape
            if self._std.ndim > 2 or (self._std.ndim == 2 and shape[0] != shape[1]):
                raise GradlabError(f"model: std has shape {tuple(shape)}; pass a number, [n] or a matrix [n, n]")
            if not bool(torch.isfinite(self._std).all()) or (self._std.ndim < 2 and bool((self._std < 0).any())):
                raise GradlabError("model: std has negative, NaN or infinite values; pass standard deviations")

    def next_obs(self, obs: Tensor, act: Tensor, noise: Tensor) -> Tensor:
        """The mean and the scaled noise."""
        return self._mean(obs, act) + self._scaled(obs, act, noise)

    def reward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The reward function."""
        return self._reward(obs, act)

    def log_prob(self, next_obs: Tensor, obs: Tensor, act: Tensor) -> Tensor:
        """The normal density's logarithm."""
        std, error = self._scale(obs, act), next_obs - self._mean(obs, act)
        if std.ndim == 2 and not callable(self._std):
            sign, log_scale = torch.linalg.slogdet(std)
            singular = bool(sign == 0)
            noise = error if singular else torch.linalg.solve(std, error[..., None])[..., 0]
        else:
            singular = bool((std <= 0).any())
            log_scale, noise = std.log().expand(error.shape).sum(-1), error / std
        if singular:
            raise GradlabError(
                "model: its noise is zero in some direction, so that s' has no density; use the reparameterised way"
            )
        log_prob: Tensor = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(-1) - log_scale
        return log_prob

    def infer_noise(self, obs: Tensor, act: Tensor, next_obs: Tensor) -> Tensor:
        """The whitened error of the mean; zero in directions without noise."""
        with torch.no_grad():
            std, mean = self._scale(obs, act), self._mean(obs, act)
            error = next_obs.to(mean) - mean
            if std.ndim == 2 and not callable(self._std):
                noise: Tensor = error @ torch.linalg.pinv(std).T
            else:
                noise = torch.where(std > 0, error / std.clamp_min(torch.finfo(std.dtype).tiny), 0.0)
            left = (self._scaled(obs, act, noise) - error).abs().amax(-1)
            limit = 100 * torch.finfo(mean.dtype).eps ** 0.5 * (1 + mean.abs().amax(-1))
            wrong = ~(left <= limit)
        if bool(wrong.any()):
            raise GradlabError(
                f"model: no noise gives {int(wrong.sum())} of {wrong.numel()} transitions, first at "
                f"{int(wrong.flatten().nonzero()[0])}, off by {float(left.flatten()[wrong.flatten()][0]):.2g}; "
                "the model is wrong there or its noise too small"
            )
        return noise

    def _scale(self, obs: Tensor, act: Tensor) -> Tensor:
        return self._std(obs, act) if callable(self._std) else self._std.to(obs)

    def _scaled(self, obs: Tensor, act: Tensor, noise: Tensor) -> Tensor:
        std = self._scale(obs, act)
        return noise @ std.T if std.ndim == 2 and not callable(self._std) else std * noise
