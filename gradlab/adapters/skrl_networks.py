"""Networks rebuilt from skrl's checkpoints, and what its ``RunningStandardScaler`` does with the statistics there.

Mixins and scalers are taken with their default options.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SMALL, _THRESHOLD = 1e-8, 5.0
_LOG_STD_MIN, _LOG_STD_MAX = -20.0, 2.0


class Standardised(nn.Module):
    """(x − mean)/(σ + 1e-8), clipped to [−5, 5] (``skrl/resources/preprocessors/torch/running_standard_scaler.py``).

    Args:
        mean: of each number, [n].
        variance: likewise.

    Example:
        >>> Standardised(torch.tensor([1.0]), torch.tensor([4.0]))(torch.tensor([[3.0], [99.0]])).flatten()
        tensor([1., 5.])
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)

    def forward(self, x: Tensor) -> Tensor:
        """The standardised numbers, [..., n]."""
        return torch.clamp((x - self.mean) / (self.variance.sqrt() + _SMALL), -_THRESHOLD, _THRESHOLD)


class Unstandardised(Standardised):
    """σ x + mean with x clipped to [−5, 5]: the inverse, for values.

    Example:
        >>> Unstandardised(torch.tensor([1.0]), torch.tensor([4.0]))(torch.tensor([[1.0]]))
        tensor([[3.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The numbers in their own units, [..., n]."""
        return self.variance.sqrt() * torch.clamp(x, -_THRESHOLD, _THRESHOLD) + self.mean


class GaussianActor(nn.Module):
    """h = (mean, log σ) with a log σ that does not depend on the state: [B, n] → [B, 2p].

    Args:
        net: from observation to mean.
        log_std_parameter: log σ, [p].

    Example:
        >>> GaussianActor(nn.Linear(3, 2), nn.Parameter(torch.zeros(2)))(torch.zeros(4, 3)).shape
        torch.Size([4, 4])
    """

    def __init__(self, net: nn.Module, log_std_parameter: nn.Parameter) -> None:
        super().__init__()
        self.net = net
        self.log_std_parameter = log_std_parameter

    def forward(self, obs: Tensor) -> Tensor:
        """The head [B, 2p]."""
        mean = self.net(obs)
        return torch.cat([mean, self.log_std_parameter.clamp(_LOG_STD_MIN, _LOG_STD_MAX).expand_as(mean)], dim=-1)


class Stretched(nn.Module):
    """From [−1, 1] to the action box, affinely.

    Args:
        low: lower corner, [p].
        high: upper corner, [p].

    Example:
        >>> Stretched(torch.tensor([0.0]), torch.tensor([4.0]))(torch.tensor([[0.5]]))
        tensor([[3.]])
    """

    low: Tensor
    high: Tensor

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, act: Tensor) -> Tensor:
        """The action [B, p]."""
        return self.low + (act + 1) * ((self.high - self.low) / 2)


class OfScaled(nn.Module):
    """Q of the standardised observation: [B, n], [B, p] → [B].

    Args:
        scaler: standardises observations.
        network: Q, of observations so made.
    """

    def __init__(self, scaler: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.scaler = scaler
        self.network = network

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The value [B]."""
        value: Tensor = self.network(self.scaler(obs), act)
        return value
