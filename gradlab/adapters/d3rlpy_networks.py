"""d3rlpy's networks as small modules that share its layers, under its parameter names.

The library scales observations before its networks get them. Here that is a part of each network, so that an Agent
takes observations as the environment and the dataset give them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Affine(nn.Module):
    """(x − shift)/width · factor + offset: what d3rlpy's observation scalers do, in their order of operations.

    Args:
        shift: the mean, or the smallest of each number, [n].
        width: the standard deviation, or the largest less the smallest, [n].
        factor: 2 for a scaler to [−1, 1].
        offset: −1 for that.

    Example:
        >>> Affine(torch.tensor([1.0]), torch.tensor([4.0]), 2.0, -1.0)(torch.tensor([[1.0], [5.0]])).flatten()
        tensor([-1.,  1.])
    """

    shift: Tensor
    width: Tensor

    def __init__(self, shift: Tensor, width: Tensor, factor: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("width", width)
        self.factor, self.offset = factor, offset

    def forward(self, x: Tensor) -> Tensor:
        """The scaled numbers, [..., n]."""
        return (x - self.shift) / self.width * self.factor + self.offset


class Layers(nn.Module):
    """Layers that are called ``_layers``, as in the library's encoders: [B, n] → [B, outputs].

    Args:
        layers: the layers.

    Example:
        >>> list(dict(Layers(nn.Sequential(nn.Linear(3, 2))).named_parameters()))
        ['_layers.0.weight', '_layers.0.bias']
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self._layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """What the layers give, [B, outputs]."""
        out: Tensor = self._layers(x)
        return out


class _Scaled(nn.Module):
    """A network whose observations are scaled first, where there is a scaler."""

    def __init__(self, encoder: nn.Module, scaler: nn.Module | None) -> None:
        super().__init__()
        self._encoder = encoder
        self.scaler = scaler

    def scaled(self, obs: Tensor) -> Tensor:
        """The observations as the library's networks get them."""
        if self.scaler is None:
            return obs
        found: Tensor = self.scaler(obs)
        return found


class DeterministicActor(_Scaled):
    """h = tanh(fc(encoder(s))): the head is the action, [B, n] → [B, p].

    Args:
        encoder: first layers.
        fc: the last.
        scaler: what observations go through first.

    Example:
        >>> DeterministicActor(nn.ReLU(), nn.Linear(3, 2))(torch.zeros(4, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(self, encoder: nn.Module, fc: nn.Module, scaler: nn.Module | None = None) -> None:
        super().__init__(encoder, scaler)
        self._fc = fc

    def forward(self, obs: Tensor) -> Tensor:
        """The action [B, p]."""
        return torch.tanh(self._fc(self._encoder(self.scaled(obs))))


class GaussianActor(_Scaled):
    """h = (mean, log σ): [B, n] → [B, 2p].

    Args:
        encoder: first layers.
        mu: last layer of the mean.
        logstd: last layer of log σ, which is clamped to ``bounds``; or one parameter [1, p], whose sigmoid goes from
            one bound to the other.
        bounds: the smallest and the largest log σ.
        squashed_mean: whether the mean is a tanh of ``mu`` (IQL), not the draw (SAC).
        scaler: what observations go through first.

    Example:
        >>> GaussianActor(nn.ReLU(), nn.Linear(3, 2), nn.Linear(3, 2), (-20.0, 2.0))(torch.zeros(4, 3)).shape
        torch.Size([4, 4])
    """

    def __init__(
        self,
        encoder: nn.Module,
        mu: nn.Module,
        logstd: nn.Module | nn.Parameter,
        bounds: tuple[float, float],
        *,
        squashed_mean: bool = False,
        scaler: nn.Module | None = None,
    ) -> None:
        super().__init__(encoder, scaler)
        self._mu = mu
        self._logstd = logstd
        self.bounds = bounds
        self.squashed_mean = squashed_mean

    def forward(self, obs: Tensor) -> Tensor:
        """The head [B, 2p]."""
        features = self._encoder(self.scaled(obs))
        mean = self._mu(features)
        low, high = self.bounds
        # Not asked of nn.Parameter, in whose place a functional call puts a plain tensor.
        if isinstance(self._logstd, nn.Module):
            log_std = self._logstd(features).clamp(low, high)
        else:
            log_std = (low + torch.sigmoid(self._logstd) * (high - low)).expand_as(mean)
        return torch.cat([torch.tanh(mean) if self.squashed_mean else mean, log_std], dim=-1)


class Critic(_Scaled):
    """Q(s, a): [B, n], [B, p] → [B].

    Args:
        encoder: first layers, of the observation and the action side by side.
        fc: the last, to one number.
        scaler: what observations go through first.

    Example:
        >>> Critic(nn.ReLU(), nn.Linear(5, 1))(torch.zeros(4, 3), torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    def __init__(self, encoder: nn.Module, fc: nn.Module, scaler: nn.Module | None = None) -> None:
        super().__init__(encoder, scaler)
        self._fc = fc

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The value [B]."""
        value: Tensor = self._fc(self._encoder(torch.cat([self.scaled(obs), act], dim=-1)))
        return value.squeeze(-1)


class Value(_Scaled):
    """V(s): [B, n] → [B].

    Args:
        encoder: first layers.
        fc: the last, to one number.
        scaler: what observations go through first.

    Example:
        >>> Value(nn.ReLU(), nn.Linear(3, 1))(torch.zeros(4, 3)).shape
        torch.Size([4])
    """

    def __init__(self, encoder: nn.Module, fc: nn.Module, scaler: nn.Module | None = None) -> None:
        super().__init__(encoder, scaler)
        self._fc = fc

    def forward(self, obs: Tensor) -> Tensor:
        """The value [B]."""
        value: Tensor = self._fc(self._encoder(self.scaled(obs)))
        return value.squeeze(-1)
