"""The critic reference against closed forms and large samples."""

import math

import pytest
import torch
from scipy.stats import t as student_t
from scipy.stats import truncnorm
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, Reparameterized, ScoreFunction, ZerothOrder, default_estimators
from gradlab.objective import Objective
from gradlab.policies import Around, Gaussian, Kumaraswamy, Softmax, SquashedGaussian, TruncatedNormal
from gradlab.quadrature import gauss_hermite, gauss_legendre
from gradlab.references import CriticReference

N, B = 4, 6


class Critic(nn.Module):
    def __init__(self, actions, activation):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(N + actions, 48), activation(), nn.Linear(48, 48), activation(), nn.Linear(48, 1)
        )

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def make(policy=None, *, actions=2, activation=nn.Tanh, entropy=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        size = policy.head_size(actions) if policy else actions
        actor = nn.Sequential(nn.Linear(N, 16), nn.ReLU(), nn.Linear(16, size))
        critics = [Critic(actions, activation), Critic(actions, activation)]
    return Agent(actor, critics, [-1] * actions, [1] * actions, policy=policy, reduction="mean", entropy=entropy)


@pytest.fixture
def obs():
    return torch.randn(B, N, generator=torch.Generator().manual_seed(1))


def z_scores(draws, reference):
    """Of the mean over draws less the reference, per component."""
    stderr = (draws.var(0) / len(draws) + reference.stderr**2).sqrt()
    return (draws.mean(0) - reference.mean) / stderr


def test_gauss_hermite_gives_normal_moments():
    points, weights = gauss_hermite(2, 6)
    assert weights.sum().item() == pytest.approx(1.0)
    for order, moment in ((2, 1), (4, 3), (6, 15), (8, 105), (10, 945)):
        assert (weights @ points[:, 0] ** order).item() == pytest.approx(moment)
    assert (weights @ (points[:, 0] ** 4 * points[:, 1] ** 2)).item() == pytest.approx(3.0)


def test_gauss_legendre_gives_uniform_moments():
    points, weights = gauss_legendre(2, 6)
    u = torch.special.ndtr(points)
    assert weights.sum().item() == pytest.approx(1.0, rel=1e-14)
    for first, second in ((1, 0), (3, 2), (10, 11)):
        moment = (weights @ (u[:, 0] ** first * u[:, 1] ** second)).item()
        assert moment == pytest.approx(1 / (first + 1) / (second + 1), rel=1e-12)


def test_deterministic_policy_is_exact_and_float64(obs):
    agent = make(entropy=0.0)
    reference = CriticReference().cotangent(agent, obs)
    assert reference.mean.dtype == reference.stderr.dtype == torch.float64
    assert torch.equal(reference.stderr, torch.zeros(B, 2).double())
    assert torch.equal(reference.mean, Deterministic().draw(agent.snapshot(double=True), obs)[0])
    assert torch.allclose(reference.mean.float(), Deterministic().draw(agent, obs)[0], rtol=1e-4, atol=1e-6)
    assert reference.name == "critic"
    assert reference.samples == 0
    assert reference.valid.all()
    assert next(agent.actor.parameters()).dtype == torch.float32


@pytest.mark.parametrize("policy", [Gaussian(), SquashedGaussian(1e-6)], ids=["gauss", "squashed"])
@pytest.mark.parametrize("actions", [1, 2])
def test_quadrature_of_a_smooth_critic(obs, policy, actions):
    agent = make(policy, actions=actions, entropy=0.2)
    # Heads of moderate width, where tanh is resolved by a few nodes.
    agent._head = lambda actor, obs: 0.3 * actor(obs) - 0.5
    reference = CriticReference(nodes=32).cotangent(agent, obs)
    assert reference.diagnostics["method"] == "quadrature"
    assert str(reference.objective) == "γ=0.99, entropy α=0.2"
    double = agent.snapshot(double=True)
    at = double.observations(obs)
    draws = Reparameterized().draw(double, at, 40_000, torch.Generator().manual_seed(2))
    assert z_scores(draws, reference).abs().max() < 4.5
    finer = CriticReference(nodes=64).cotangent(agent, obs)
    assert ((finer.mean - reference.mean).abs() <= reference.stderr + 1e-9).all()


@pytest.mark.parametrize(("actions", "activation"), [(3, nn.Tanh), (2, nn.ReLU)], ids=["three", "relu"])
def test_sampling_where_quadrature_does_not_do(obs, actions, activation):
    agent = make(Gaussian(), actions=actions, activation=activation)
    # Enough replicates for Student's t to be near the normal that z-scores are held against.
    reference = CriticReference(tolerance=1e-4, replicates=64).cotangent(agent, obs)
    assert reference.diagnostics["method"] == "sampling"
    assert reference.samples == 64
    assert (reference.stderr > 0).any()
    at = obs.double()
    for estimator, draws in ((Reparameterized(), 20_000), (ScoreFunction(baseline="value"), 40_000)):
        got = estimator.draw(agent.snapshot(double=True), at, draws, torch.Generator().manual_seed(2))
        assert z_scores(got, reference).abs().max() < 4.5
    again = CriticReference(tolerance=1e-4, replicates=64).cotangent(agent, obs)
    assert torch.equal(again.mean, reference.mean)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU], ids=["tanh", "relu"])
def test_intervals_of_sampling_cover(obs, activation):
    """A 95 % interval by Student's t holds the truth in 93–97 % of 200 × 36 cases (correlated within a state)."""
    agent = make(SquashedGaussian(1e-6), actions=3, activation=activation)
    truth = CriticReference(replicates=64, points=1024, seed=1).cotangent(agent, obs).mean
    runs = [CriticReference(seed=seed).cotangent(agent, obs) for seed in range(1000, 1200)]
    scores = torch.stack([(run.mean - truth) / run.stderr for run in runs])
    coverage = (scores.abs() < student_t.ppf(0.975, runs[0].samples - 1)).double().mean().item()
    assert 0.93 < coverage < 0.97


def test_shifted_sequences_beat_as_many_independent_draws(obs):
    agent = make(SquashedGaussian(1e-6), actions=3, activation=nn.ReLU)
    draws = Reparameterized().draw(agent, obs, 4096, torch.Generator().manual_seed(2))
    reference = CriticReference().cotangent(agent, obs)
    assert reference.stderr.square().mean() < 0.3 * (draws.var(0) / 256).mean()


def test_errors_are_independent_over_states():
    agent = make(Gaussian(), actions=3)
    same = torch.zeros(2, N)
    means = torch.stack([CriticReference(seed=seed).cotangent(agent, same).mean for seed in range(150)])
    for component in range(means.shape[-1]):
        correlation = torch.corrcoef(means[..., component].T)[0, 1].item()
        assert abs(correlation) < 4 / math.sqrt(150)


def test_smoothed_critic_in_closed_form():
    class Cubic(nn.Module):
        def forward(self, obs, act):
            return (act**3).sum(-1) + (3 * act).sin().sum(-1)

    actor = nn.Linear(N, 2)
    nn.init.zeros_(actor.weight)
    nn.init.constant_(actor.bias, 0.5)
    agent = Agent(actor, [Cubic()], [-1, -1], [1, 1])
    sigma = 0.1
    reference = CriticReference(smoothing=sigma).cotangent(agent, torch.zeros(1, N))
    truth = 3 * 0.25 + 3 * sigma**2 + 3 * math.cos(1.5) * math.exp(-9 * sigma**2 / 2)
    assert reference.diagnostics["method"] == "quadrature"
    assert reference.mean.flatten().tolist() == pytest.approx([truth] * 2, rel=1e-12)
    assert reference.objective.smoothing == sigma


@pytest.mark.parametrize("actions", [2, 3])
def test_zeroth_order_is_unbiased_for_the_smoothed_critic(obs, actions):
    agent, sigma, n = make(actions=actions), 0.8, 40_000
    reference = CriticReference(smoothing=sigma, replicates=64, points=64).cotangent(agent, obs)
    assert reference.diagnostics["method"] == ("quadrature" if actions == 2 else "sampling")
    double = agent.snapshot(double=True)
    for points in (2, "antithetic"):
        draws = ZerothOrder(sigma, points).draw(double, obs, n, torch.Generator().manual_seed(5))
        assert z_scores(draws, reference).abs().max() < 4.5
        unsmoothed = CriticReference().cotangent(agent, obs)
        assert z_scores(draws, unsmoothed).abs().max() > 6  # this radius is large enough to tell them apart


def test_softmax_is_summed_exactly(obs):
    agent = make(Softmax(), actions=3, entropy=0.3)
    reference = CriticReference().cotangent(agent, obs)
    assert reference.diagnostics["method"] == "sum over actions"
    draws = ScoreFunction(baseline="value").draw(
        agent.snapshot(double=True), obs, 40_000, torch.Generator().manual_seed(3)
    )
    assert z_scores(draws, reference).abs().max() < 4.5
    # F does not change when all logits move together.
    assert reference.mean.sum(-1).abs().max() < 1e-12


@pytest.mark.parametrize("policy", [TruncatedNormal(), Kumaraswamy(), Around(0.4)], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("actions", [2, 3])
def test_every_policy_has_its_reference(obs, policy, actions):
    """Against score functions, which do not differentiate the path that the reference differentiates."""
    agent = make(policy, actions=actions, entropy=0.2)
    agent._head = lambda actor, obs: 0.3 * actor(obs)
    reference = CriticReference(replicates=64).cotangent(agent, obs)
    assert reference.diagnostics["method"] == ("quadrature" if actions == 2 else "sampling")
    double = agent.snapshot(double=True)
    for estimator in default_estimators(agent):
        draws = estimator.draw(double, obs.double(), 40_000, torch.Generator().manual_seed(2))
        assert z_scores(draws, reference).abs().max() < 4.5
        assert estimator.objective(agent) == reference.objective


@pytest.mark.parametrize("policy", [None, Gaussian(), SquashedGaussian(), TruncatedNormal(), Kumaraswamy(), Softmax()])
def test_default_estimators_fit_the_policy(obs, policy):
    agent = make(policy)
    names = [estimator.name for estimator in default_estimators(agent)]
    first = "deterministic" if policy is None else "reparameterized" if policy.continuous else "score-function"
    assert names[0] == first
    assert len(set(names)) == len(names)


def test_a_truncated_normal_with_a_linear_critic_in_closed_form():
    """∂E[a]/∂mean = 1 + (αφ(α) − βφ(β))/Z − ((φ(α) − φ(β))/Z)², far outside the box as well."""

    class Slope(nn.Module):
        def forward(self, obs, act):
            return 3 * act.sum(-1)

    for mean in (0.2, -2.5, 8.0):
        actor = nn.Linear(1, 2)
        head = torch.tensor([[mean, math.log(0.5)]], dtype=torch.float64)
        agent = Agent(
            actor, [Slope()], -1, 1, policy=TruncatedNormal(), head=lambda actor, obs, head=head: head.to(obs)
        )  # fmt: skip
        a, b = (-1 - mean) / 0.5, (1 - mean) / 0.5
        truth = truncnorm(a, b).var()  # by symmetry of the two formulas: ∂E[x]/∂mean is the variance of x
        got = CriticReference(nodes=40).cotangent(agent, torch.zeros(1, 1))
        assert got.mean[0, 0].item() == pytest.approx(3 * truth, rel=1e-5)


def test_a_critic_that_is_not_finite_somewhere_leaves_the_other_states_alone(obs):
    class Broken(Critic):
        def forward(self, obs, act):
            value = super().forward(obs, act).squeeze(-1)
            return torch.where(obs[:, 0] == bad, torch.nan, value)

    bad = obs[2, 0].item()
    for policy, method in ((Gaussian(), "quadrature"), (Softmax(), "sum over actions"), (None, "exact")):
        whole = make(policy)
        whole._head = lambda actor, obs: 0.3 * actor(obs)
        truth = CriticReference().cotangent(whole, obs)
        broken = whole.snapshot()
        for critic in broken.critics:
            critic.__class__ = Broken
        got = CriticReference().cotangent(broken, obs)
        assert got.diagnostics["method"] == method
        assert got.valid.tolist() == [i != 2 for i in range(B)]
        assert torch.equal(got.mean[got.valid], truth.mean[got.valid])


def test_a_deterministic_policy_has_no_entropy(obs):
    agent = make(entropy=0.2)
    assert CriticReference().cotangent(agent, obs).objective == Objective(0.99)
    assert CriticReference(smoothing=0.1).cotangent(agent, obs).objective == Objective(0.99, smoothing=0.1)


def test_entropy_can_be_left_out(obs):
    agent = make(Gaussian(), entropy=0.2)
    with_entropy = CriticReference().cotangent(agent, obs)
    without = CriticReference(entropy=False).cotangent(agent, obs)
    assert without.objective.entropy == 0.0
    difference = (with_entropy.mean - without.mean)[:, 2:]
    # The entropy of a Gaussian is Σ log σ + constant, so its gradient is α in every log-std and 0 in the mean.
    assert torch.allclose(difference, torch.full((B, 2), 0.2).double(), atol=1e-9)


def test_a_critic_that_is_a_bare_function_keeps_the_agents_type(obs):
    weight = torch.tensor([[1.0], [2.0]])
    agent = Agent(nn.Linear(N, 2), [lambda obs, act: act @ weight], [-1, -1], [1, 1])
    reference = CriticReference().cotangent(agent, obs)
    assert reference.mean.dtype == torch.float64
    assert torch.equal(reference.mean, torch.tensor([[1.0, 2.0]]).double().expand(B, -1))


def test_global_randomness_and_the_agent_are_left_alone(obs):
    agent = make(Gaussian(), actions=3)
    state = torch.get_rng_state()
    before = {name: p.clone() for name, p in agent.actor.named_parameters()}
    with torch.no_grad():
        CriticReference(replicates=2).cotangent(agent, obs)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in agent.actor.named_parameters())


def test_wrong_input(obs):
    with pytest.raises(GradlabError, match="smoothing is -1"):
        CriticReference(smoothing=-1)
    with pytest.raises(GradlabError, match="nodes"):
        CriticReference(nodes=1)
    with pytest.raises(GradlabError, match="power of two"):
        CriticReference(points=12)
    with pytest.raises(GradlabError, match="smooths the critic already"):
        CriticReference(smoothing=0.1).cotangent(make(Gaussian()), obs)
    with pytest.raises(GradlabError, match="no critic"):
        CriticReference().cotangent(Agent(make().actor, [], [-1, -1], [1, 1]), obs)
