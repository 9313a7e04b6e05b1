"""What skrl's ``RunningStandardScaler`` does with the statistics in a checkpoint, at its default ε and threshold."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SMALL, _THRESHOLD = 1e-8, 5.0


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
