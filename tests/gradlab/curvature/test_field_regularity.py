"""PAVE's terms as measurements: closed forms, the losses in expectation, the loop over states, and intervals."""

import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.curvature import field_regularity, largest_seen
from gradlab.curvature.losses import curvature_hinge_loss, field_consistency_loss, mixed_partial_loss
from gradlab.errors import GradlabError

OBS, ACT = 4, 3


class Net(nn.Module):
    def __init__(self, activation=nn.SiLU, act=ACT):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(OBS + act, 16), activation(), nn.Linear(16, 16), activation(), nn.Linear(16, 1)
        )
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


class Quadratic(nn.Module):
    def __init__(self, hessian, mixed):
        super().__init__()
        self.hessian = nn.Parameter(torch.as_tensor(hessian, dtype=torch.float64))
        self.mixed = nn.Parameter(torch.as_tensor(mixed, dtype=torch.float64))

    def forward(self, obs, act):
        return (act @ self.hessian * act).sum(-1) / 2 + (act @ self.mixed * obs).sum(-1)


def actor(act=ACT):
    made = nn.Sequential(nn.Linear(OBS, act), nn.Tanh())
    nn.init.normal_(made[0].weight, std=0.4, generator=torch.Generator().manual_seed(1))
    nn.init.zeros_(made[0].bias)
    return made


def agent_of(critic, act=ACT):
    return Agent(actor(act), [critic], [-1.0] * act, [1.0] * act)


def states(count, seed=0):
    return torch.randn(count, OBS, generator=torch.Generator().manual_seed(seed))


def test_closed_forms_on_a_quadratic():
    generator = torch.Generator().manual_seed(2)
    hessian = torch.tensor([[1.0, 0.3, 0.0], [0.3, -5.0, 0.2], [0.0, 0.2, -0.5]], dtype=torch.float64)
    mixed = torch.randn(ACT, OBS, generator=generator, dtype=torch.float64)
    obs, after = states(40), states(40, 1)
    act, after_act = torch.zeros(40, ACT), 0.1 * torch.ones(40, ACT)
    agent = agent_of(Quadratic(hessian, mixed))
    found = field_regularity(agent, obs, act=act, next_obs=after, sigma=0.5, delta=4.0, draws=400)
    assert float(found.mixed_partial.mean()) == pytest.approx(0.25 * float(mixed.square().sum()), rel=0.02)
    change = (after - obs).double() @ mixed.T
    torch.testing.assert_close(found.consistency, change.square().sum(-1))
    along = field_regularity(agent, obs, act=act, next_obs=after, next_act=after_act, draws=1)
    torch.testing.assert_close(along.consistency, (change + after_act.double() @ hessian).square().sum(-1))
    # vᵀHv is the trace −4.5 plus 2(±.3 ± .2).
    expected = sum(max(0.0, -0.5 + 2 * (a * 0.3 + b * 0.2)) for a in (1, -1) for b in (1, -1)) / 4
    assert found.curvature_hinge.tolist() == pytest.approx([expected] * 40)
    assert not bool(found.negative_definite.any())
    assert found.mixed_norm.tolist() == pytest.approx([float(torch.linalg.svdvals(mixed)[0])] * 40)
    share = found.means()["negative_definite"]
    assert share.value == 0.0
    assert share.interval()[1] > 0.01


def test_measurements_are_the_losses_in_expectation():
    critic = Net()
    agent, obs, after = agent_of(critic), states(6), states(6, 1)
    act = agent.action(obs).detach()
    found = field_regularity(agent, obs, next_obs=after, sigma=0.2, delta=0.3, draws=800)
    double, s, a = critic.double(), obs.double(), act.double()
    generator = torch.Generator().manual_seed(9)
    draws = [float(mixed_partial_loss(double, s, a, 0.2, generator).detach()) for _ in range(800)]
    assert float(found.mixed_partial.mean()) == pytest.approx(sum(draws) / 800, rel=0.06)
    torch.testing.assert_close(found.consistency.mean(), field_consistency_loss(double, s, a, after.double()).detach())
    hinge = float(curvature_hinge_loss(double, s, a, 0.3, 1000, generator).detach())
    assert float(found.curvature_hinge.mean()) == pytest.approx(hinge, rel=0.05)
    assert hinge > 0
    small = field_regularity(agent_of(critic.float()), obs, sigma=1e-4, draws=4000)
    for i in range(6):
        mixed = torch.autograd.functional.hessian(
            lambda s, a: critic.double()(s, a).sum(), (s[i : i + 1], a[i : i + 1])
        )
        frobenius = float(mixed[1][0].square().sum())
        assert float(small.mixed_partial[i]) / 1e-8 == pytest.approx(frobenius, rel=0.1)


def test_many_coordinates_draw_their_signs():
    agent = agent_of(Quadratic(-torch.eye(12).double(), torch.zeros(12, OBS).double()), 12)
    found = field_regularity(agent, states(3), delta=13.0, draws=1)
    assert found.curvature_hinge.tolist() == pytest.approx([1.0] * 3)
    assert bool(found.negative_definite.all())


def test_piecewise_linear_critics_are_measured_at_a_scale_only():
    agent = agent_of(Net(nn.ReLU))
    with pytest.raises(GradlabError, match="piecewise linear"):
        field_regularity(agent, states(8))
    found = field_regularity(agent, states(8), 0.2)
    assert float(found.mixed_partial.max()) >= 0.0
    assert bool((found.curvature_hinge >= 0).all())
    assert found.scale == 0.2


def test_episodes_are_the_samples_and_ends_have_no_next_state():
    agent, obs = agent_of(Net()), states(40)
    after = states(40, 1)
    after[4::5] = math.nan
    episode = torch.arange(8).repeat_interleave(5)
    found = field_regularity(agent, obs, next_obs=after, episode=episode)
    assert bool(found.consistency[4::5].isnan().all())
    assert int(found.consistency.isnan().sum()) == 8
    means = found.means()
    assert {name: mean.samples for name, mean in means.items()} == dict.fromkeys(means, 8)
    assert means["consistency"].value == pytest.approx(float(found.consistency.nanmean()))
    largest = found.largest_mixed_norm()
    assert largest.samples == 8
    assert largest.largest == float(found.mixed_norm.max())
    assert largest.state == int(found.mixed_norm.argmax())


def test_the_live_agent_and_the_global_random_state_are_untouched():
    agent = agent_of(Net())
    before = torch.random.get_rng_state()
    one = field_regularity(agent, states(5), seed=3)
    assert torch.equal(one.mixed_partial, field_regularity(agent, states(5), seed=3).mixed_partial)
    assert not torch.equal(one.mixed_partial, field_regularity(agent, states(5), seed=4).mixed_partial)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(
        p.grad is None and p.dtype == torch.float32 for m in (agent.actor, *agent.critics) for p in m.parameters()
    )


def test_a_share_of_exceedances_is_what_is_said_of_the_unseen():
    """In 95 % of samples no more than ``unseen`` of all independent states lie above the largest seen."""
    uniform = torch.rand(2000, 30, generator=torch.Generator().manual_seed(0))
    unseen = largest_seen(uniform[0]).unseen
    held = float(((1 - uniform.amax(1)) <= unseen).double().mean())
    assert held == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("match", "options"),
    [
        ("act: shape", {"act": torch.zeros(8, 2)}),
        ("next_obs: shape", {"next_obs": torch.zeros(7, OBS)}),
        ("next_act: given without", {"next_act": torch.zeros(8, ACT)}),
        ("episode", {"episode": [0, 1]}),
        ("sigma", {"sigma": -1.0}),
        ("draws", {"draws": 0}),
        ("delta", {"delta": math.inf}),
    ],
)
def test_wrong_input_is_refused_in_one_line(match, options):
    with pytest.raises(GradlabError, match=match) as caught:
        field_regularity(agent_of(Net()), states(8), **options)
    assert "\n" not in str(caught.value)
    with pytest.raises(GradlabError, match="values"):
        largest_seen(torch.full((3,), math.nan))
