"""The curvature probe: its numbers are the science's, and what there is not is left out with a reason."""

import math

import pytest
import torch
from torch import nn

import gradlab
import probes
from dashboards.words import CURVATURE
from gradlab.curvature import field_regularity, sensitivity
from gradlab.errors import GradlabError
from gradlab.testing.conformance import differences, digest
from gradlab.worlds import LinearQuadratic

AT_SCALE = {
    "mixed_partial", "mixed_frobenius", "curvature", "ratio", "ratio_interior", "ratio_saturated", "condition",
    "policy_jacobian", "valid_share", "valid_share_interior", "valid_share_saturated", "interior_share",
}  # fmt: skip
PAVE = {"mixed_regulariser", "hinge"}
EXACT = {"exact_mixed_partial", "exact_curvature", "exact_ratio"}


class Critic(nn.Module):
    def __init__(self, activation, obs=4, act=2):
        super().__init__()
        self.activation = activation()
        self.net = nn.Sequential(nn.Linear(obs + act, 24), self.activation, nn.Linear(24, 1))
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)

    def forward(self, obs, act):
        # A hill at zero, so that some states have a negative definite action Hessian.
        hill = self.activation(act) + self.activation(-act)
        return self.net(torch.cat([obs, act], -1)).squeeze(-1) - 2 * hill.sum(-1)


class Blocked(nn.Module):
    """Features of the state that no gradient passes, as an extractor's shared with the actor."""

    def forward(self, obs, act):
        with torch.no_grad():
            features = obs.sin()
        return -(act - 0.5 * features[:, :2]).square().sum(-1)


class Pixels(nn.Module):
    def forward(self, images, act):
        return -(act - images.flatten(1)[:, :2]).square().sum(-1)


def agent_of(critic, obs=4):
    actor = nn.Sequential(nn.Linear(obs, 2), nn.Tanh())
    nn.init.normal_(actor[0].weight, std=0.4, generator=torch.Generator().manual_seed(1))
    nn.init.zeros_(actor[0].bias)
    return gradlab.Agent(actor, [critic], action_low=[-1.0] * 2, action_high=[1.0] * 2)


def observations(count=16):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("activation", [nn.SiLU, nn.ReLU])
def test_numbers_are_those_of_the_library(activation):
    agent, obs = agent_of(Critic(activation)), observations()
    found = probes.Curvature(states=16, scale=0.2).measure(agent, obs, generator())
    assert 0 < found.scalars["valid_share"].value <= 1
    smooth = activation is nn.SiLU
    spectrum = {name for name in found.scalars if name.startswith("eigenvalue/")}
    assert spectrum == {"eigenvalue/1", "eigenvalue/2"}
    # The highest eigenvalue is μ's negative.
    assert found.scalars["eigenvalue/1"].value == pytest.approx(-found.scalars["curvature"].value)
    assert set(found.scalars) - spectrum == AT_SCALE | PAVE | (EXACT if smooth else set())
    assert found.notes == ()
    geometry = sensitivity(agent, obs, 0.2).summary()
    for name in AT_SCALE:
        assert found.scalars[name].value == pytest.approx(geometry[name].value, nan_ok=True)
        assert found.scalars[name].stderr == pytest.approx(geometry[name].stderr, nan_ok=True)
    if smooth:
        exact = sensitivity(agent, obs).summary()
        for name in EXACT:
            assert found.scalars[name].value == pytest.approx(
                exact[name.removeprefix("exact_")].value, nan_ok=True, rel=1e-5
            )  # fmt: skip
    seed = int(torch.randint(2**31, (1,), generator=generator()))
    means = field_regularity(agent, obs, 0.2, draws=8, seed=seed).means()
    assert found.scalars["mixed_regulariser"].interval() == pytest.approx(means["mixed_partial"].interval())
    assert found.scalars["hinge"].interval() == pytest.approx(means["curvature_hinge"].interval())
    assert found.scalars["hinge"].value == pytest.approx(means["curvature_hinge"].value)
    # All have an objective, and a word on the dashboard.
    assert {each.objective for each in found.scalars.values()} == {"γ=0.99"}
    assert set(found.scalars) - spectrum <= set(CURVATURE)


def test_of_a_regulator_they_are_the_closed_form():
    world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4)
    found = probes.Curvature(states=32).measure(world.agent(), observations(32)[:, :1], generator()).scalars
    hessian, mixed = (float(part.squeeze()) for part in world.hessians(torch.zeros(1, 1), torch.zeros(1, 1)))
    for prefix in ("", "exact_"):
        assert found[f"{prefix}mixed_partial"].value == pytest.approx(abs(mixed))
        assert found[f"{prefix}curvature"].value == pytest.approx(-hessian)
        assert found[f"{prefix}ratio"].value == pytest.approx(world.sensitivity_ratio())
    assert found["policy_jacobian"].value == pytest.approx(0.4)
    assert found["hinge"].value == pytest.approx(max(0.0, hessian + 1))
    low, high = found["mixed_regulariser"].interval()
    assert low < 1e-4 * mixed**2 < high


def test_the_generator_decides_and_nothing_else_does():
    agent, obs = agent_of(Critic(nn.SiLU)), observations()
    state = torch.get_rng_state()
    for part in (agent.actor, *agent.critics):
        part.train()
    before = digest(agent=agent)
    one, same, other = (
        probes.Curvature(states=16).measure(agent, obs, generator(seed)).scalars for seed in (0, 0, 1)
    )  # fmt: skip
    assert not differences(before, digest(agent=agent))
    assert torch.equal(torch.get_rng_state(), state)
    assert repr(one) == repr(same)
    assert one["mixed_regulariser"].value != other["mixed_regulariser"].value
    assert one["ratio"].value == other["ratio"].value


def test_a_critic_that_no_state_gradient_passes_has_no_exact_ratio():
    found = probes.Curvature(states=16).measure(agent_of(Blocked()), observations(), generator())
    # Differences do not need the graph.
    assert set(found.scalars) == AT_SCALE | PAVE | {"exact_curvature", "eigenvalue/1", "eigenvalue/2"}
    assert found.scalars["exact_curvature"].value == pytest.approx(2.0)
    (note,) = found.notes
    assert note.startswith("exact M and M/μ are left out: critic: no gradient reaches the state")
    assert "\n" not in note


def test_of_images_the_actions_part_is_given_and_the_reason_why_no_more():
    images = torch.rand(12, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    actor = nn.Sequential(nn.Flatten(), nn.Linear(9, 2), nn.Tanh())
    agent = gradlab.Agent(actor, [Pixels()], action_low=[-1.0] * 2, action_high=[1.0] * 2)
    found = probes.Curvature(states=12).measure(agent, images, generator())
    assert set(found.scalars) == {
        "curvature", "condition", "valid_share", "valid_share_interior", "valid_share_saturated", "interior_share",
        "exact_curvature", "eigenvalue/1", "eigenvalue/2",
    }  # fmt: skip
    assert found.scalars["curvature"].value == pytest.approx(2.0)
    (note,) = found.notes
    assert note.startswith("M, M/μ and the mixed regulariser are left out: observations: of shape (1, 3, 3)")


def test_a_measurement_given_to_pave_is_not_made_again(monkeypatch):
    agent, obs = agent_of(Critic(nn.SiLU)), observations()
    geometry = sensitivity(agent, obs, 0.2)
    expected = field_regularity(agent, obs, 0.2, draws=4)
    monkeypatch.setattr("gradlab.curvature.regularity.sensitivity", None)
    found = field_regularity(agent, obs, draws=4, geometry=geometry)
    for name in ("mixed_partial", "curvature_hinge", "mixed_norm", "negative_definite"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    assert found.scale == 0.2
    with pytest.raises(GradlabError, match=r"geometry: shape \(16, 2\); expected \(5, 2\)"):
        field_regularity(agent, obs[:5], geometry=geometry)


def test_what_it_refuses():
    agent = gradlab.Agent(nn.Linear(4, 2), [], action_low=[-1.0] * 2, action_high=[1.0] * 2)
    assert probes.Curvature().refusal(agent) == "the agent has no critic of (obs, act)"
    assert probes.Curvature().refusal(agent_of(Critic(nn.SiLU))) is None
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(GradlabError, match="probe curvature: scale"):
            probes.Curvature(scale=scale)
    with pytest.raises(GradlabError, match="probe curvature"):
        probes.Curvature(states=0)
