"""Where curvature is measured, of which critic, in which units; and states that Q cannot be differentiated by."""

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.curvature import sensitivity, sensitivity_by_critic
from gradlab.curvature.measured import spectral_norm
from gradlab.errors import GradlabError
from gradlab.hessians import exact as exactly
from gradlab.hessians.exact import exact


class Critic(nn.Module):
    """A smooth critic of two hidden layers, after a layer of one's own."""

    def __init__(self, obs, act, first=None, seed=0, width=24):
        super().__init__()
        self.first = first or nn.Identity()
        self.net = nn.Sequential(
            nn.Linear(obs + act, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)
        )
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.net.parameters():
            nn.init.normal_(parameter, std=0.4, generator=generator)

    def forward(self, obs, act):
        return self.net(torch.cat([self.first(obs), act], -1))


class Blocked(nn.Module):
    """A feature extractor as a library runs it that shares one: without gradients."""

    def __init__(self, size):
        super().__init__()
        self.layer = nn.Linear(size, size)

    def forward(self, obs):
        with torch.no_grad():
            return self.layer(obs)


class Convolution(nn.Module):
    """Images [B, 2, 6, 6] to five features, smooth."""

    def __init__(self, outputs=5):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.SiLU(), nn.Flatten(), nn.Linear(48, outputs))

    def forward(self, images):
        return self.net(images)


def actor(obs=5, act=3):
    net = nn.Sequential(nn.Linear(obs, act), nn.Tanh())
    nn.init.normal_(net[0].weight, std=0.5, generator=torch.Generator().manual_seed(3))
    nn.init.zeros_(net[0].bias)
    return net


def agent_of(critics, act=3, obs=5, **options):
    return Agent(actor(obs, act), critics, [-1.0] * act, [1.0] * act, **options).snapshot(double=True)


def states(count=6, size=5, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def textbook(agent, obs, act, critic=None):
    """Both Hessians by ``torch.autograd.functional``, one state at a time."""
    blocks = [
        torch.autograd.functional.hessian(lambda s, a: agent.q(s[None], a[None], critic=critic)[0], (s, a))
        for s, a in zip(obs, act, strict=True)
    ]
    return torch.stack([b[1][1] for b in blocks]), torch.stack([b[1][0] for b in blocks])


def test_at_the_optimum_the_gradient_vanishes_and_the_hessian_is_that_of_the_place():
    agent, obs = agent_of([Critic(5, 3)]), states()
    found = sensitivity(agent, obs, act="optimum")
    assert found.at == "optimum"
    slope = agent.action_gradient(obs, found.actions)
    inside = (found.actions.abs() < 1).all(-1)
    assert float(slope[inside].norm(dim=-1).sum()) < 1e-3
    hessian, mixed = textbook(agent, obs, found.actions)
    torch.testing.assert_close(found.action_hessian, hessian)
    torch.testing.assert_close(found.mixed_hessian, mixed)
    # Where it is an interior maximum, the Hessian is that of one.
    assert bool(found.valid[inside].all())


def test_at_given_actions():
    agent, obs = agent_of([Critic(5, 3)]), states()
    act = torch.rand(6, 3, dtype=torch.float64) - 0.5
    found = sensitivity(agent, obs, act=act)
    assert found.at == "given actions"
    torch.testing.assert_close(found.actions, act)
    torch.testing.assert_close(found.mixed_hessian, textbook(agent, obs, act)[1])


@pytest.mark.parametrize("reduction", ["first", "min", "mean"])
def test_every_critic_and_the_one_followed(reduction):
    agent, obs = agent_of([Critic(5, 3, seed=i) for i in range(2)], reduction=reduction), states()
    act = agent.action(obs).detach()
    found = sensitivity_by_critic(agent, obs)
    assert list(found) == ["followed", "critic 0", "critic 1"]
    for name, critic in (("followed", None), ("critic 0", 0), ("critic 1", 1)):
        torch.testing.assert_close(found[name].action_hessian, textbook(agent, obs, act, critic)[0])
    if reduction == "mean":
        middle = (found["critic 0"].mixed_hessian + found["critic 1"].mixed_hessian) / 2
        torch.testing.assert_close(found["followed"].mixed_hessian, middle)


def test_other_units_are_those_of_an_agent_that_takes_them():
    """An agent of rescaled inputs, measured itself, is the oracle of the change of units."""
    critic, obs = Critic(5, 3), states()
    agent = agent_of([critic])
    u_s = torch.tensor([0.5, 2.0, 0.0, 1.0, 10.0], dtype=torch.float64)
    u_a = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
    base = obs

    def rescaled(z, b):
        return agent.critics[0](base + u_s * z, u_a * b)

    double = agent.action(obs).detach()
    hessians = [
        torch.autograd.functional.hessian(
            lambda z, b, i=i: agent.critics[0]((base[i] + u_s * z)[None], (u_a * b)[None])[0, 0],
            (torch.zeros(5, dtype=torch.float64), double[i] / u_a),
        )
        for i in range(len(obs))
    ]
    found = sensitivity(agent, obs).in_units(obs=u_s, act=u_a, name="other units")
    torch.testing.assert_close(found.action_hessian, torch.stack([h[1][1] for h in hessians]))
    torch.testing.assert_close(found.mixed_hessian, torch.stack([h[1][0] for h in hessians]))
    torch.testing.assert_close(found.curvature, -torch.linalg.eigvalsh(found.action_hessian)[:, -1])
    jacobian = torch.stack(
        [
            torch.autograd.functional.jacobian(
                lambda z, i=i: agent.action((base[i] + u_s * z)[None])[0] / u_a, torch.zeros(5, dtype=torch.float64)
            )
            for i in range(len(obs))
        ]
    )
    torch.testing.assert_close(found.policy_jacobian, torch.linalg.matrix_norm(jacobian, ord=2))
    assert found.coordinates == "other units"
    assert rescaled(torch.zeros_like(obs), double / u_a).shape == (6, 1)


def test_directions_are_the_first_singular_vectors():
    agent, obs = agent_of([Critic(5, 3)]), states()
    found = sensitivity(agent, obs)
    action, state = found.directions()
    along = torch.einsum("bp,bpn,bn->b", action, found.mixed_hessian, state)
    torch.testing.assert_close(along, found.mixed_partial)
    assert bool((state.gather(1, state.abs().argmax(-1, keepdim=True)) > 0).all())


@pytest.mark.parametrize("shape", [(6, 3, 5), (6, 5, 3), (4, 1, 1), (2, 3, 0)])
def test_spectral_norm_is_the_largest_singular_value(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.linalg.svdvals(matrix)[:, 0] if shape[-1] else torch.zeros(shape[0], dtype=torch.float64)
    torch.testing.assert_close(spectral_norm(matrix), expected)
    torch.testing.assert_close(spectral_norm(1e200 * matrix), 1e200 * expected, rtol=1e-10, atol=0)


def test_condition_is_that_of_the_matrix():
    found = sensitivity(agent_of([lambda s, a: -(a.square() * torch.tensor([1.0, 2, 8])).sum(-1)]), states())
    assert found.condition.tolist() == pytest.approx([8.0] * 6)


def test_in_the_models_own_dtype():
    agent = Agent(actor(), [Critic(5, 3)], [-1.0] * 3, [1.0] * 3)
    found, double = sensitivity(agent, states().float()), sensitivity(agent.snapshot(double=True), states().float())
    for name in ("action_hessian", "mixed_hessian", "mixed_partial", "curvature", "policy_jacobian"):
        assert getattr(found, name).dtype == torch.float64
        torch.testing.assert_close(getattr(found, name), getattr(double, name), rtol=1e-4, atol=1e-5)


def test_chunks_change_nothing(monkeypatch):
    agent, obs = agent_of([Critic(5, 3)]), states(50)
    act = agent.action(obs).detach()
    whole = exact(agent, obs, act, None)
    monkeypatch.setattr(exactly, "_MEMORY", 100_000)
    rows = exactly._rows(agent, obs, act, None)
    assert 1 <= rows < 50
    for one, other in zip(whole, exact(agent, obs, act, None), strict=True):
        torch.testing.assert_close(one, other)


def test_blocked_state_gradients_are_refused_and_differences_are_not():
    agent, obs = agent_of([Critic(5, 3, Blocked(5))]), states()
    found = sensitivity(agent, obs)
    assert "no gradient reaches the state" in found.refused
    assert found.mixed_hessian is None
    assert bool(found.mixed_partial.isnan().all())
    assert bool(found.ratio.isnan().all())
    summary = found.summary()
    assert "mixed_partial" not in summary
    assert "ratio" not in summary
    assert "curvature" in summary
    with pytest.raises(GradlabError, match="no ∂/∂s"):
        found.directions()
    # The same layer with gradients is the truth.
    free = agent_of([Critic(5, 3, agent.critics[0].first.layer)])
    truth = sensitivity(free, obs)
    torch.testing.assert_close(found.action_hessian, truth.action_hessian)
    near = sensitivity(agent, obs, 1e-4)
    assert near.refused == ""
    torch.testing.assert_close(near.mixed_hessian, truth.mixed_hessian, rtol=1e-5, atol=1e-7)


def test_one_blocked_state_is_noticed_and_a_critic_without_the_state_is_none():
    assert sensitivity(agent_of([Critic(5, 3, Blocked(5))]), states(1)).refused
    found = sensitivity(agent_of([lambda s, a: -a.square().sum(-1)]), states())
    assert found.refused == ""
    assert found.ratio.tolist() == [0.0] * 6


@pytest.mark.parametrize("scale", [None, 0.05])
def test_of_images_the_actions_part_is_given(scale):
    net = nn.Sequential(Convolution(3), nn.Tanh())
    agent = Agent(net, [Critic(5, 3, Convolution())], [-1.0] * 3, [1.0] * 3).snapshot(double=True)
    images = torch.rand(4, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = sensitivity(agent, images, scale)
    assert "images" in found.refused
    assert found.mixed_hessian is None
    assert bool(found.policy_jacobian.isnan().all())
    act = agent.action(images).detach()
    truth, _ = textbook(agent, images, act)
    torch.testing.assert_close(found.action_hessian, truth, rtol=1e-6 if scale is None else 1e-2, atol=1e-4)
    assert set(found.summary()) == {
        "curvature", "condition", "valid_share", "valid_share_interior", "valid_share_saturated", "interior_share"
    }  # fmt: skip


def test_batch_normalisation_is_measured_in_evaluation_mode_and_left_alone():
    agent = Agent(actor(), [Critic(5, 3, nn.BatchNorm1d(5))], [-1.0] * 3, [1.0] * 3)
    layer = agent.critics[0].first
    with torch.no_grad():
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    agent.critics[0].train()
    before = {name: value.clone() for name, value in agent.critics[0].state_dict().items()}
    obs = states()
    found = sensitivity(agent, obs, 1e-4)
    assert layer.training
    assert all(torch.equal(value, before[name]) for name, value in agent.critics[0].state_dict().items())
    evaluated = agent.snapshot(double=True)
    evaluated.critics[0].eval()
    truth, mixed = textbook(evaluated, obs, evaluated.action(obs).detach())
    torch.testing.assert_close(found.action_hessian, truth, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.mixed_hessian, mixed, rtol=1e-5, atol=1e-7)


def test_a_layer_that_normalises_over_the_batch_is_refused():
    agent = agent_of([Critic(5, 3, nn.BatchNorm1d(5, track_running_stats=False))])
    for scale in (None, 0.1):
        with pytest.raises(GradlabError, match="interact") as caught:
            sensitivity(agent, states(), scale)
        assert "\n" not in str(caught.value)


def test_wrong_places_and_units_are_refused_in_one_line():
    agent, obs = agent_of([Critic(5, 3)]), states()
    found = sensitivity(agent, obs)
    calls = {
        "act": lambda: sensitivity(agent, obs, act="best"),
        "finite action": lambda: sensitivity(agent, obs, act=torch.zeros(2, 3)),
        "a NaN": lambda: sensitivity(agent, obs, act=torch.full((6, 3), torch.nan)),
        "obs: shape": lambda: found.in_units(obs=[1.0], name="x"),
        "negative or NaN": lambda: found.in_units(obs=[-1.0] * 5, name="x"),
        "unit of zero": lambda: found.in_units(act=[0.0] * 3, name="x"),
        "critic: 7": lambda: sensitivity(agent, obs, critic=7),
    }
    for match, call in calls.items():
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_of_many_actions_no_matrices_are_formed():
    agent, obs = agent_of([Critic(5, 70, width=40)], act=70), states(4)
    found, formed = sensitivity(agent, obs), sensitivity(agent, obs, matrices=True)
    assert found.action_hessian is None
    assert found.mixed_hessian is None
    assert formed.action_hessian.shape == (4, 70, 70)
    for name in ("mixed_partial", "curvature", "policy_jacobian", "ratio"):
        torch.testing.assert_close(getattr(found, name), getattr(formed, name), equal_nan=True, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.eigenvalues, formed.eigenvalues[:, [0, -1]], rtol=1e-6, atol=1e-9)
    assert torch.equal(found.valid, formed.valid)
    for call in (found.matrices, found.directions, lambda: found.in_units(name="x")):
        with pytest.raises(GradlabError, match="no matrices are formed"):
            call()
    # Differences at a scale are matrices anyway, and few actions may be asked for without them.
    assert sensitivity(agent, obs, 0.1).action_hessian is not None
    few = agent_of([Critic(5, 3)])
    torch.testing.assert_close(
        sensitivity(few, obs, matrices=False).mixed_partial, sensitivity(few, obs).mixed_partial, rtol=1e-6, atol=1e-9
    )


def test_a_negative_definite_hessian_of_many_actions_is_told():
    weights = torch.linspace(1, 3, 70, dtype=torch.float64)
    agent = agent_of([lambda s, a: -(a.square() * weights).sum(-1) + (a[:, :5] * s).sum(-1)], act=70)
    found = sensitivity(agent, states(3))
    assert bool(found.valid.all())
    assert found.curvature.tolist() == pytest.approx([2.0] * 3)
    assert found.condition.tolist() == pytest.approx([3.0] * 3)
    assert found.ratio.tolist() == pytest.approx([0.5] * 3)
