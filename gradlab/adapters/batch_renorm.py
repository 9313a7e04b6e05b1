"""Batch renormalisation as CrossQ's networks have it, to be measured and never trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Bounds of r and d where the library does not say otherwise (``sb3_contrib/common/torch_layers.py``).
RMAX, DMAX = 3.0, 5.0


class BatchRenorm(nn.Module):
    """γ (x − m)/√(v + ε) + β, [B, n] → [B, n].

    In evaluation mode m and v are the running mean and variance. In training mode they are the batch's own, μ and σ²,
    until ``steps`` exceeds ``warmup_steps``, and then m = μ − d σ/r and v = σ²/r², with r = σ/σ_run clamped to
    [1/r_max, r_max] and d = (μ − μ_run)/σ_run clamped to [−d_max, d_max], both without gradient, so that the batch is
    normalised as if by the running statistics (Ioffe 2017, arXiv 1702.03275).

    Unlike the library's layer it only reads the running statistics: measuring in training mode changes nothing.

    Args:
        scale: γ, [n].
        bias: β, [n].
        mean: running mean, [n].
        variance: running variance, [n].
        steps: batches seen so far, [].
        eps: ε.
        warmup_steps: batches before the running statistics take part in training mode.
        rmax: r_max.
        dmax: d_max.

    Example:
        >>> one, zero = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
        >>> layer = BatchRenorm(one, zero, torch.tensor([1.0]), torch.tensor([4.0]), torch.tensor(0), eps=0.0)
        >>> layer.eval()(torch.tensor([[1.0], [3.0]])).flatten().tolist()
        [0.0, 1.0]
    """

    ra_mean: Tensor
    ra_var: Tensor
    steps: Tensor

    def __init__(
        self,
        scale: nn.Parameter,
        bias: nn.Parameter,
        mean: Tensor,
        variance: Tensor,
        steps: Tensor,
        *,
        eps: float = 0.001,
        warmup_steps: int = 100_000,
        rmax: float = RMAX,
        dmax: float = DMAX,
    ) -> None:
        super().__init__()
        self.scale, self.bias = scale, bias
        # The library's names, and the very tensors given: what training changes in place is seen here.
        for name, tensor in (("ra_mean", mean), ("ra_var", variance), ("steps", steps)):
            self.register_buffer(name, tensor)
        self.eps, self.warmup_steps, self.rmax, self.dmax = eps, warmup_steps, rmax, dmax

    def forward(self, x: Tensor) -> Tensor:
        """The normalised rows [B, n]; NaN in training mode for a batch of one, whose variance is not defined."""
        mean, variance = self._batch(x) if self.training else (self.ra_mean, self.ra_var)
        return self.scale * ((x - mean) / (variance + self.eps).sqrt()) + self.bias

    def _batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = x.mean(0), x.var(0)
        if self.steps <= self.warmup_steps:
            return mean, variance
        running = (self.ra_var + self.eps).sqrt()
        with torch.no_grad():
            r = ((variance + self.eps).sqrt() / running).clamp(1 / self.rmax, self.rmax)
            d = ((mean - self.ra_mean) / running).clamp(-self.dmax, self.dmax)
        return mean - d * variance.sqrt() / r, variance / r.square()
