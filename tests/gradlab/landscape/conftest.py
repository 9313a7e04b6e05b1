"""A smooth agent in float64 with actions of unequal ranges."""

import pytest
import torch
from torch import nn

from gradlab.agent import Agent


class Waves(nn.Module):
    """Q(s, a) = Σ sin(3Wa + s), for observations of three numbers."""

    def __init__(self, seed, size):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(size, 3, generator=generator, dtype=torch.float64))

    def forward(self, obs, act):
        return (3 * act @ self.weight + obs).sin().sum(-1, keepdim=True)


def build(size, reduction="first", critics=2):
    actor = nn.Sequential(nn.Linear(3, size, dtype=torch.float64), nn.Tanh())
    generator = torch.Generator().manual_seed(0)
    nn.init.normal_(actor[0].weight, generator=generator)
    nn.init.zeros_(actor[0].bias)
    low = [-1.0 - 0.5 * i for i in range(size)]
    return Agent(actor, [Waves(i, size) for i in range(critics)], low, [2.0] * size, reduction=reduction)


@pytest.fixture
def agent_of():
    """Makes an agent: agent_of(actions, reduction, number of critics)."""
    return build


@pytest.fixture
def obs():
    return torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
