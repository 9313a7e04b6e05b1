"""Reparameterised estimators against differences along the path, and relaxations against exact sums."""

import math

import pytest
import torch
from scipy import integrate
from torch import nn

from gradlab.agent import Agent
from gradlab.error import gradient_error
from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, GumbelSoftmax, Reparameterized, ScoreFunction
from gradlab.objective import Objective
from gradlab.policies import Gaussian, Kumaraswamy, Softmax, SquashedGaussian, TruncatedNormal
from gradlab.references import CriticReference
from gradlab.statistics.variance import gradient_variance

N, B = 3, 4


class Critic(nn.Module):
    def __init__(self, actions):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(N + actions, 24), nn.Tanh(), nn.Linear(24, 1)).double()

    def forward(self, obs, act):
        return 2 + 3 * self.net(torch.cat([obs, act], -1))


class Function(nn.Module):
    """A critic given by a function of the action alone."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, obs, act):
        return self.function(act)


def make(policy=None, *, actions=2, entropy=0.0, critic=None):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        size = policy.head_size(actions) if policy else actions
        actor = nn.Sequential(nn.Linear(N, 12), nn.Tanh(), nn.Linear(12, size)).double()
        critics = [critic or Critic(actions)]
    head = lambda actor, obs: 0.5 * actor(obs)  # noqa: E731
    return Agent(actor, critics, [-1] * actions, [1] * actions, policy=policy, entropy=entropy, head=head)


@pytest.fixture
def obs():
    return torch.randn(B, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


CONTINUOUS = [Gaussian(), SquashedGaussian(1e-6), TruncatedNormal(), Kumaraswamy()]


# The path ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", CONTINUOUS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_against_differences_along_the_path(obs, policy, entropy):
    agent = make(policy, entropy=entropy)
    noise = torch.randn(4, B, 2, generator=generator(7), dtype=torch.float64)
    got = Reparameterized().at_noise(agent, obs, noise)
    assert torch.equal(got, Reparameterized().draw(agent, obs, 4, generator(7)))
    head = agent.head(obs).detach()

    def value(at):
        act, log_prob = policy.sample(at, noise)
        return agent.q(obs, act) - entropy * log_prob

    for k in range(head.shape[1]):
        step = torch.zeros_like(head)
        step[:, k] = 1e-5
        difference = (value(head + step) - value(head - step)) / 2e-5
        assert torch.allclose(got[..., k], difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("policy", CONTINUOUS, ids=lambda p: type(p).__name__)
def test_without_the_score_term_against_a_detached_density(obs, policy):
    """Only the action carries the gradient of log π: its parameters are held fixed, as Roeder et al. write it."""
    agent = make(policy, entropy=0.3)
    noise = torch.randn(4, B, 2, generator=generator(7), dtype=torch.float64)
    got = Reparameterized(score_term=False).at_noise(agent, obs, noise)
    at = agent.head(obs).detach().expand(4, -1, -1).clone().requires_grad_()
    act = policy.sample(at, noise)[0]
    objective = agent.q(obs, act) - 0.3 * policy.log_prob(at.detach(), act)
    (truth,) = torch.autograd.grad(objective.sum(), at)
    assert torch.allclose(got, truth, rtol=1e-7, atol=1e-9)
    assert not torch.allclose(got, Reparameterized().at_noise(agent, obs, noise), rtol=1e-2)


def test_without_the_score_term_nothing_varies_at_the_optimum(obs):
    """π ∝ exp(Q/α): the whole gradient vanishes draw by draw; with the score term it vanishes only on average."""
    alpha, mean, std = 0.4, 0.3, 0.7
    critic = Function(lambda act: -alpha * (act - mean).square().sum(-1) / (2 * std**2))
    agent = make(Gaussian(), entropy=alpha, critic=critic)
    best = torch.tensor([[mean, mean, math.log(std), math.log(std)]], dtype=torch.float64)
    agent._head = lambda actor, obs: best.expand(B, -1)
    without = Reparameterized(score_term=False).draw(agent, obs, 2000, generator())
    assert without.abs().max() < 1e-12
    with_score = Reparameterized().draw(agent, obs, 2000, generator())
    assert ((with_score.mean(0)).abs() < 4.5 * with_score.std(0) / math.sqrt(2000)).all()
    # −α times the score (ε/σ, ε² − 1): variances α²/σ² and 2α².
    assert with_score.var(0)[:, :2].mean().item() == pytest.approx(alpha**2 / std**2, rel=0.1)
    assert with_score.var(0)[:, 2:].mean().item() == pytest.approx(2 * alpha**2, rel=0.15)
    # Elsewhere it need not be the smaller of the two.
    narrow = torch.tensor([[mean, mean, -2.0, -2.0]], dtype=torch.float64)
    agent._head = lambda actor, obs: narrow.expand(B, -1)
    variances = [
        Reparameterized(score_term=s).draw(agent, obs, 2000, generator())[..., :2].var() for s in (True, False)
    ]
    assert variances[1] > 2 * variances[0]


@pytest.mark.parametrize("policy", CONTINUOUS, ids=lambda p: type(p).__name__)
def test_all_ways_agree_on_average(obs, policy):
    agent, count = make(policy, entropy=0.2), 40_000
    path = Reparameterized().draw(agent, obs, count, generator(1))
    stuck = Reparameterized(score_term=False).draw(agent, obs, count, generator(2))
    score = ScoreFunction(baseline="leave-one-out", samples=2).draw(agent, obs, count, generator(3))
    for other in (stuck, score):
        error = path.mean(0) - other.mean(0)
        assert (error.abs() < 4.5 * ((path.var(0) + other.var(0)) / count).sqrt()).all()


def test_actions_on_a_face_keep_their_path_gradient_of_the_entropy():
    """Single precision, tanh(12) = 1: without the score term there is no artanh of a rounded action."""
    agent = Agent(
        nn.Linear(N, 4), [Function(lambda act: act.sum(-1))], [-1, -1], [1, 1], policy=SquashedGaussian(), entropy=0.2,
        head=lambda actor, obs: torch.tensor([[12.0, -12.0, -1.0, -1.0]]).to(obs).expand(len(obs), -1),
    )  # fmt: skip
    noise = torch.randn(50, 1, 2, generator=generator())
    single = Reparameterized(score_term=False).at_noise(agent, torch.zeros(1, N), noise)
    double = Reparameterized(score_term=False).at_noise(agent, torch.zeros(1, N).double(), noise.double())
    assert torch.allclose(single.double(), double, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("policy", [*CONTINUOUS, Softmax()], ids=lambda p: type(p).__name__)
def test_a_critic_that_ignores_the_action_has_no_gradient(obs, policy):
    agent = make(policy, critic=Function(lambda act: torch.ones(len(act)).double()))
    estimator = Reparameterized() if policy.continuous else GumbelSoftmax()
    assert not estimator.draw(agent, obs, 2, generator()).any()


@pytest.mark.parametrize("policy", [Gaussian(), Softmax()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_critic_that_is_not_finite_is_found_though_its_derivative_is(obs, policy, bad):
    """torch.where hands back a zero derivative for a NaN value: the draw is NaN at that state, and is located."""

    class Broken(Critic):
        def forward(self, obs, act):
            value = super().forward(obs, act).squeeze(-1)
            return torch.where(obs[:, 0] == where, bad, value)

    where = obs[2, 0].item()
    agent = make(policy, critic=Broken(2))
    estimators = [ScoreFunction(), ScoreFunction(baseline="leave-one-out"), ScoreFunction(baseline="optimal")]
    if policy.continuous:
        estimators += [Reparameterized(), ScoreFunction(baseline="taylor")]
    else:
        estimators += [GumbelSoftmax(relaxation=relaxation) for relaxation in ALL]
    for estimator in estimators:
        draws = estimator.draw(agent, obs, 3, generator())
        assert torch.isfinite(draws).all(-1).all(0).tolist() == [True, True, False, True]
        with pytest.raises(GradlabError, match=r"in 3 of 3 draws at 1 of 4 states, first in draw 0, state 2"):
            gradient_variance(agent, obs, draws)


def test_names_and_objectives(obs):
    stochastic, deterministic = make(Gaussian(), entropy=0.2), make(entropy=0.2)
    assert Reparameterized().objective(stochastic) == Objective(0.99, entropy=0.2)
    assert Reparameterized(entropy=False).objective(stochastic) == Objective(0.99)
    assert Reparameterized().objective(deterministic) == Objective(0.99)
    assert Reparameterized(score_term=False).name == "reparameterized-without-score-term"
    assert Reparameterized(entropy=False, score_term=False).name == "reparameterized-without-entropy"
    assert torch.equal(
        Reparameterized(score_term=False).draw(deterministic, obs, 2), Deterministic().draw(deterministic, obs, 2)
    )


# Relaxations -------------------------------------------------------------------------------------------------

ALL = ["gumbel-softmax", "straight-through-gumbel", "straight-through"]


@pytest.mark.parametrize("relaxation", ALL)
@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_relaxations_against_a_loop(obs, relaxation, temperature):
    """Every Jacobian of a softmax written out, entropy's gradient −π (log π + H)."""
    agent = make(Softmax(), actions=3, entropy=0.2)
    noise = Softmax().noise((4, B, 3), generator(7), obs)
    got = GumbelSoftmax(temperature, relaxation).at_noise(agent, obs, noise)
    head = agent.head(obs).detach()
    for d in range(4):
        for i in range(B):
            y = ((head[i] + noise[d, i]) / temperature).softmax(-1)
            pi = head[i].softmax(-1)
            hard = torch.zeros(3).double()
            hard[(head[i] + noise[d, i]).argmax()] = 1.0
            asked = {"gumbel-softmax": y}.get(relaxation, hard).clone().requires_grad_()
            (slope,) = torch.autograd.grad(agent.q(obs[i : i + 1], asked[None]).sum(), asked)
            if relaxation == "straight-through":
                jacobian = pi.diag() - torch.outer(pi, pi)
            else:
                jacobian = (y.diag() - torch.outer(y, y)) / temperature
            entropy = -(pi * pi.log()).sum()
            truth = jacobian @ slope - 0.2 * pi * (pi.log() + entropy)
            assert torch.allclose(got[d, i], truth, rtol=1e-9, atol=1e-12)


def test_on_a_linear_critic_straight_through_is_exact_and_the_others_have_their_known_bias(obs):
    """Two actions, Q = q·a: with d = h₁ − h₂ the relaxed mean is ∂/∂d E[σ((d + L)/τ)] (q₁ − q₂), L logistic."""
    q = torch.tensor([1.5, -0.5]).double()
    agent = make(Softmax(), critic=Function(lambda act: act @ q))
    truth = CriticReference().cotangent(agent, obs).mean
    exact = GumbelSoftmax(relaxation="straight-through").draw(agent, obs, 20, generator())
    assert torch.allclose(exact, truth.expand_as(exact), atol=1e-14)
    tau, count = 0.5, 100_000
    soft, hard = (GumbelSoftmax(tau, r).draw(agent, obs, count, generator(3)) for r in ALL[:2])
    assert torch.allclose(soft, hard, rtol=1e-12)  # the slope of a linear critic is the same everywhere
    gaps = agent.head(obs).detach()
    for i in range(B):
        d = (gaps[i, 0] - gaps[i, 1]).item()

        def integrand(x, d=d):
            y = 1 / (1 + math.exp(-(d + x) / tau))
            return y * (1 - y) / tau * math.exp(-x) / (1 + math.exp(-x)) ** 2

        mean = 2.0 * integrate.quad(integrand, -40, 40, limit=400)[0]
        stderr = soft[:, i, 0].std().item() / math.sqrt(count)
        assert abs(soft[:, i, 0].mean().item() - mean) < 4 * stderr
        assert abs(mean - truth[i, 0].item()) > 6 * stderr  # this temperature's bias is there to be seen


@pytest.mark.parametrize("relaxation", ALL)
def test_bias_against_the_exact_sum_is_measured(obs, relaxation):
    """On a curved critic all three are biased; the score function, measured the same way, is not."""
    agent = make(Softmax(), actions=3, critic=Function(lambda act: 4 * act[..., 0].square() - 2 * act[..., 1] ** 3))
    reference = CriticReference().cotangent(agent, obs)
    draws = GumbelSoftmax(1.0, relaxation).draw(agent, obs, 4000, generator(4))
    biased = gradient_error(agent, obs, draws, reference)
    assert biased.bias_squared.resolved
    assert biased.bias_squared.value > 0
    fair = gradient_error(
        agent, obs, ScoreFunction(baseline="value").draw(agent, obs, 4000, generator(4)), reference
    ).bias_squared
    assert abs(fair.value) < 4 * fair.stderr


def test_a_lower_temperature_has_less_bias_and_more_variance(obs):
    agent = make(Softmax(), actions=3)
    reference = CriticReference().cotangent(agent, obs)
    errors = [
        gradient_error(agent, obs, GumbelSoftmax(tau).draw(agent, obs, 5000, generator(5)), reference)
        for tau in (0.2, 1.0, 5.0)
    ]
    bias, variance = ([getattr(error, name) for error in errors] for name in ("bias_squared", "variance"))
    assert bias[0].interval()[1] < bias[1].interval()[0]
    assert bias[1].interval()[1] < bias[2].interval()[0]
    assert variance[0].interval()[0] > variance[1].interval()[1]
    assert variance[1].interval()[0] > variance[2].interval()[1]


def test_relaxations_are_named_and_refuse_what_they_cannot_do(obs):
    agent = make(Softmax(), entropy=0.2)
    assert [GumbelSoftmax(relaxation=r).name for r in ALL] == ALL
    assert GumbelSoftmax(entropy=False).name == "gumbel-softmax-without-entropy"
    assert GumbelSoftmax().objective(agent) == Objective(0.99, entropy=0.2)
    assert GumbelSoftmax(entropy=False).objective(agent) == Objective(0.99)
    with pytest.raises(GradlabError, match="needs a Softmax policy"):
        GumbelSoftmax().draw(make(Gaussian()), obs)
    with pytest.raises(GradlabError, match="temperature is -1"):
        GumbelSoftmax(-1.0)
    with pytest.raises(GradlabError, match="relaxation is 'hard'"):
        GumbelSoftmax(relaxation="hard")
    with pytest.raises(GradlabError, match="continuous actions"):
        Reparameterized().draw(agent, obs)
    state = torch.get_rng_state()
    with torch.no_grad():
        GumbelSoftmax().draw(agent, obs, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in agent.actor.parameters())
