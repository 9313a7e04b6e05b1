"""The gradients of a pool's units, in one mapped product or one after the other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.ledger.pools import unit_gradients
from gradlab.products import jacobians_by_loop

#: Units of three, two, one and four states, in no order.
UNIT = torch.tensor([0, 3, 1, 3, 0, 2, 3, 1, 0, 3])


class Branching(nn.Module):
    """Control flow on values, which no product can be mapped over."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.unused = body, nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, obs: Tensor) -> Tensor:
        return 2 * self.body(obs) if float(obs.sum()) > 1e9 else self.body(obs)


def make(branching: bool) -> tuple[Agent, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    actor: nn.Module = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    agent = Agent(Branching(actor) if branching else actor, [], [-1.0] * 2, [1.0] * 2)
    obs, v = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((10, 3), (3, 10, 2)))
    return agent, obs, v


@pytest.mark.parametrize("branching", [False, True])
@pytest.mark.parametrize("at_a_time", [4096, 5])
def test_against_explicit_jacobians(branching: bool, at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlab.ledger.pools._STATES", at_a_time)
    agent, obs, v = make(branching)
    jacobian = jacobians_by_loop(agent, obs, list(agent.named_parameters()))
    rows = torch.einsum("bmp,kbm->bkp", jacobian, v)
    expected = torch.zeros(4, *rows.shape[1:], dtype=torch.float64).index_add_(0, UNIT, rows)
    found = unit_gradients(agent, obs, v, UNIT)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_what_is_not_finite_is_located() -> None:
    agent, obs, v = make(branching=False)
    v[1, 6, 0] = math.nan
    with pytest.raises(GradlabError, match=r"in 1 of 3 draws at 1 of 10 states, first in draw 1, state 6"):
        unit_gradients(agent, obs, v, UNIT)
