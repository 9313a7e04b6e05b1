"""Fields of curvature against second derivatives taken one point at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.curvature import curvature_field, curvature_field_over_states, sensitivity
from gradlab.errors import GradlabError
from gradlab.landscape import Plane, state_plane


class Waves(nn.Module):
    """sin(W(s, a)) summed: smooth, curved both ways."""

    def __init__(self, inputs, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(inputs, 7, generator=generator, dtype=torch.float64))

    def forward(self, obs, act):
        return (torch.cat([obs, act], -1) @ self.weight).sin().sum(-1)


def agent_of(act=3, obs=4, kind=Waves):
    actor = nn.Sequential(nn.Linear(obs, act, dtype=torch.float64), nn.Tanh())
    return Agent(actor, [kind(obs + act, seed=i) for i in range(2)], [-1.0] * act, [2.0] * act, reduction="min")


def one(agent, s, a, critic):
    blocks = torch.autograd.functional.hessian(lambda s, a: agent.q(s[None], a[None], critic=critic)[0], (s, a))
    return torch.linalg.svdvals(blocks[1][0])[0].item(), -torch.linalg.eigvalsh(blocks[1][1])[-1].item()


@pytest.mark.parametrize("critic", [None, 1])
def test_a_field_over_actions_is_the_textbook_at_every_point(critic):
    agent = agent_of()
    obs = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tilted = torch.tensor([[0.6, 0.8, 0.0], [-0.48, 0.36, 0.8]], dtype=torch.float64).expand(2, 2, 3)
    plane = Plane(torch.full((2, 3), 0.5, dtype=torch.float64), tilted)
    found = curvature_field(agent, obs, plane, critic=critic, resolution=5)
    assert found.mixed_partial.dims == ("state", "y", "x")
    inside = found.inside.values
    assert inside.any()
    assert not inside.all()
    assert np.isnan(found.mixed_partial.values[~inside]).all()
    for state, y, x in np.argwhere(inside):
        act = plane.origin[state] + float(found.x[x]) * tilted[state, 0] + float(found.y[y]) * tilted[state, 1]
        act = act.clamp(-1, 2)
        strength, curvature = one(agent, obs[state], act, critic)
        here = found.isel(state=state, y=y, x=x)
        assert here.mixed_partial.item() == pytest.approx(strength)
        assert here.curvature.item() == pytest.approx(curvature)
        assert here.valid.item() == (curvature > 0)
        assert here.ratio.item() == pytest.approx(strength / curvature if curvature > 0 else np.nan, nan_ok=True)


def test_one_action_has_a_field_along_a_line():
    agent = agent_of(act=1)
    obs = torch.zeros(1, 4, dtype=torch.float64)
    found = curvature_field(agent, obs, resolution=7)
    assert found.mixed_partial.dims == ("state", "x")
    expected = [one(agent, obs[0], torch.tensor([float(x)], dtype=torch.float64), None)[0] for x in found.x]
    assert found.mixed_partial.values[0] == pytest.approx(expected)


@pytest.mark.parametrize("act", [None, "optimum", [0.1, 0.2, 0.3]])
def test_a_field_over_states_is_that_of_its_states(act):
    agent = agent_of()
    plane = state_plane([0.0, 1.0, 0.0, 0.0], (0, 2), x=(-1.0, 1.0), y=(0.0, 2.0), resolution=4)
    found = curvature_field_over_states(agent, plane, act=act)
    obs = plane.observations()
    given = torch.tensor(act, dtype=torch.float64).expand(16, 3) if isinstance(act, list) else act
    direct = sensitivity(agent, obs, act=given)
    for name in ("mixed_partial", "curvature", "ratio", "policy_jacobian"):
        assert found[name].values.ravel() == pytest.approx(getattr(direct, name).numpy(), nan_ok=True)
    assert found.gradient.shape == (1, 4, 4, 3)
    corner = direct.actions[0]
    assert found.mixed_partial.values[0, 0] == pytest.approx(one(agent, obs[0], corner, None)[0])


def test_piecewise_linear_critics_have_a_field_at_a_scale_only():
    class Net(nn.Module):
        def __init__(self, inputs, seed=0):
            super().__init__()
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 1)).double()

        def forward(self, obs, act):
            return self.net(torch.cat([obs, act], -1))

    agent = agent_of(kind=Net)
    obs = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with pytest.raises(GradlabError, match="piecewise linear"):
        curvature_field(agent, obs, resolution=3)
    found = curvature_field(agent, obs, scale=0.3, resolution=3)
    rows = torch.tensor([[-1.0, -1.0], [0.5, -1.0], [2.0, -1.0]], dtype=torch.float64)
    act = torch.cat([rows, torch.full((3, 1), float(found.origin[0, 2]))], -1)
    steps = obs.std(0).clamp_min(0.1 * obs.std(0).median())
    direct = sensitivity(agent, obs[:1].expand(3, -1), 0.3, act=act, obs_scale=steps)
    assert found.mixed_partial.values[0, 0] == pytest.approx(direct.mixed_partial.numpy())
    assert found.curvature.values[0, 0] == pytest.approx(direct.curvature.numpy())
