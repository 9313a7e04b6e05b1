"""A Gaussian policy that is the same in every state, its standard deviations themselves parameters or fixed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.policies import Gaussian

#: Half-width of the stated action box, in standard deviations; actions are not clipped.
_WIDTH = 20.0


class GaussianActor(nn.Module):
    """The head (mean, log σ) [B, 2p] of N(mean, diag σ²); parameters ``mean`` and, where learnt, ``std``, float64.

    The parameter is σ and not its logarithm, so that gradients are ∂J/∂σ.

    Args:
        mean: [p].
        std: σ, [p], positive.
        learn_std: whether σ is a parameter; a buffer otherwise.

    Example:
        >>> actor = GaussianActor(torch.zeros(1), torch.ones(1), learn_std=True)
        >>> [name for name, _ in actor.named_parameters()], actor(torch.zeros(2, 1)).tolist()
        (['mean', 'std'], [[0.0, 0.0], [0.0, 0.0]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, *, learn_std: bool = False) -> None:
        super().__init__()
        self.mean = nn.Parameter(mean.detach().double().clone())
        spread = std.detach().double().clone()
        if learn_std:
            self.std = nn.Parameter(spread)
        else:
            self.register_buffer("std", spread)

    def forward(self, obs: Tensor) -> Tensor:
        """Observations [B, n] → [B, 2p]."""
        return torch.cat([self.mean, self.std.log()]).expand(len(obs), -1)


def gaussian_agent(actor: GaussianActor, critic: nn.Module, name: str) -> Agent:
    """The agent of a single decision under a Gaussian policy; its action box is 20 σ to either side of the mean.

    Example:
        >>> agent = gaussian_agent(GaussianActor(torch.zeros(1), torch.ones(1)), nn.Bilinear(1, 1, 1), "example")
        >>> agent.action_low, agent.action(torch.zeros(1, 1).double()).tolist()
        (tensor([-20.], dtype=torch.float64), [[0.0]])
    """
    mean, std = actor.mean.detach(), actor.std.detach()
    return Agent(
        actor,
        [critic],
        action_low=mean - _WIDTH * std,
        action_high=mean + _WIDTH * std,
        discount=1.0,
        policy=Gaussian(),
        algorithm=name,
    )
