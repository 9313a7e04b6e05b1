"""Values and gradients of every reduction against those of the agent itself."""

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.landscape.planes.shown import shown_critics, values, values_and_gradients


class Quantiles(nn.Module):
    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(4, 5, generator=generator, dtype=torch.float64))

    def forward(self, obs, act):
        return torch.cat([obs, act], -1) @ self.weight + (4 * act[:, :1]).sin() * self.weight[0]


@pytest.mark.parametrize("reduction", ["first", "min", "mean", "truncated"])
def test_quantile_critics_and_reductions_agree_with_the_agent(reduction):
    actor = nn.Linear(2, 2, dtype=torch.float64)
    agent = Agent(
        actor, [Quantiles(i) for i in range(3)], [-1.0, -1.0], [1.0, 1.0],
        reduction=reduction, quantiles=5, drop_quantiles=2,
    )  # fmt: skip
    rows = 10_000  # more than are evaluated at a time
    generator = torch.Generator().manual_seed(7)
    obs = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    act = 2 * torch.rand(rows, 2, generator=generator, dtype=torch.float64) - 1
    shown = shown_critics(agent, [2, "followed", "min", "mean"])
    q, gradient = values_and_gradients(agent, obs, act, shown)
    torch.testing.assert_close(values(agent, obs, act, shown), q, rtol=0, atol=1e-13)
    for index, asked in enumerate([{"critic": 2}, {}, {"reduction": "min"}, {"reduction": "mean"}]):
        torch.testing.assert_close(q[index], agent.q(obs, act, **asked).detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient[index], agent.action_gradient(obs, act, **asked), rtol=0, atol=1e-12)


def test_a_value_that_is_not_finite_has_no_gradient():
    agent = Agent(nn.Linear(1, 1), [lambda obs, act: act[:, 0].log()], [-1.0], [1.0])
    q, gradient = values_and_gradients(
        agent, torch.zeros(2, 1), torch.tensor([[-0.5], [0.5]]), shown_critics(agent, None)
    )
    assert q.isnan().tolist() == [[True, False]]
    assert gradient.isnan().tolist() == [[[True], [False]]]
    assert gradient[0, 1].item() == 2.0


def test_a_critic_that_ignores_the_action_has_no_slope():
    agent = Agent(nn.Linear(1, 1), [lambda obs, act: obs[:, 0]], [-1.0], [1.0])
    _, gradient = values_and_gradients(agent, torch.zeros(2, 1), torch.zeros(2, 1), shown_critics(agent, [-1]))
    assert gradient.tolist() == [[[0.0], [0.0]]]
