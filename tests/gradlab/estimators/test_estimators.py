"""Estimators against slow loops in float64, one state and one draw at a time."""

import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import (
    ESTIMATORS,
    Deterministic,
    Estimator,
    Reparameterized,
    ScoreFunction,
    ZerothOrder,
    default_estimators,
    heads,
)
from gradlab.policies import Gaussian, Softmax, SquashedGaussian

N, P, B = 4, 3, 5


class Critic(nn.Module):
    def __init__(self, actions=P, dtype=torch.float64):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(N + actions, 32), nn.Tanh(), nn.Linear(32, 1)).to(dtype)

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def make(policy=None, *, entropy=0.0, reduction="min", dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if policy is None:
            actor = nn.Sequential(nn.Linear(N, 16), nn.Tanh(), nn.Linear(16, P), nn.Tanh()).to(dtype)
        else:
            actor = nn.Sequential(nn.Linear(N, 16), nn.Tanh(), nn.Linear(16, policy.head_size(P))).to(dtype)
        critics = [Critic(dtype=dtype), Critic(dtype=dtype)]
    return Agent(actor, critics, [-1] * P, [1] * P, policy=policy, entropy=entropy, reduction=reduction, obs_size=N)


@pytest.fixture
def obs():
    return torch.randn(B, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


ALL = [
    Deterministic(),
    *(ZerothOrder(0.1, points, d) for points in (1, 2, "antithetic") for d in ("gaussian", "sphere")),
    ScoreFunction(),
    ScoreFunction(baseline="value"),
    Reparameterized(),
]


# What holds for every estimator ------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ALL, ids=str)
@pytest.mark.parametrize("policy", [None, Gaussian(), SquashedGaussian(1e-6)], ids=["det", "gauss", "squashed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_seed_and_no_side_effects(estimator, policy, dtype, obs):
    agent = make(policy, dtype=dtype)
    state = torch.get_rng_state()
    with torch.no_grad():  # as inside a training callback
        draws = estimator.draw(agent, obs, 7, generator(2))
    assert draws.shape == (7, B, 2 * P if policy else P)
    assert draws.dtype == dtype
    assert not draws.requires_grad
    assert torch.isfinite(draws).all()
    assert torch.equal(draws, estimator.draw(agent, obs, 7, generator(2)))
    assert torch.equal(torch.get_rng_state(), state)
    modules = (agent.actor, *agent.critics)
    assert all(p.grad is None for module in modules for p in module.parameters())


@pytest.mark.parametrize("estimator", [e for e in ALL if e.name != "deterministic"], ids=str)
def test_chunks_do_not_change_the_draws(estimator, obs, monkeypatch):
    agent = make(Gaussian())
    whole = estimator.draw(agent, obs, 11, generator())
    monkeypatch.setattr(heads.in_chunks, "__defaults__", (2 * B,))
    assert torch.allclose(estimator.draw(agent, obs, 11, generator()), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("estimator", [e for e in ALL if e.name != "deterministic"], ids=str)
def test_draws_differ_over_draws_and_states(estimator, obs):
    same = obs[:1].expand(B, -1)
    draws = estimator.draw(make(Gaussian()), same, 6, generator())
    assert len(draws.flatten(0, 1).unique(dim=0)) == 6 * B


def test_listed_families():
    assert len(set(ESTIMATORS)) == len(ESTIMATORS)
    assert {Deterministic, ZerothOrder, ScoreFunction, Reparameterized} <= set(ESTIMATORS)
    for policy in (None, Gaussian(), Softmax()):
        agent = make(policy)
        chosen = default_estimators(agent)
        assert len({e.name for e in chosen}) == len(chosen)
        for estimator in chosen:
            assert isinstance(estimator, Estimator)
            assert estimator.draw(agent, torch.zeros(2, N), 2).shape[:2] == (2, 2)


def test_names():
    assert [str(e) for e in ALL] == [
        "deterministic",
        "zeroth-order-1",
        "zeroth-order-1-sphere",
        "zeroth-order-2",
        "zeroth-order-2-sphere",
        "zeroth-order-antithetic",
        "zeroth-order-antithetic-sphere",
        "score-function",
        "score-function-baseline",
        "reparameterized",
    ]
    assert Deterministic(critic=1).name == "deterministic-critic-1"
    assert Reparameterized(entropy=False).name == "reparameterized-without-entropy"
    assert ScoreFunction(entropy=False).name == "score-function-without-entropy"


# Deterministic -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["first", "min", "mean"])
def test_deterministic_is_the_gradient_of_q(obs, reduction):
    agent = make(reduction=reduction)
    draws = Deterministic().draw(agent, obs, 3)
    for i in range(B):
        act = agent.action(obs[i : i + 1]).detach().requires_grad_()
        values = [critic(obs[i : i + 1], act).squeeze() for critic in agent.critics]
        value = {"first": values[0], "min": min(values), "mean": sum(values) / 2}[reduction]
        (gradient,) = torch.autograd.grad(value, act)
        assert torch.allclose(draws[:, i], gradient.expand(3, -1), rtol=1e-12)


def test_deterministic_of_one_critic(obs):
    agent = make(reduction="first")
    second = Deterministic(critic=1).draw(agent, obs)
    assert torch.equal(second[0], agent.action_gradient(obs, agent.action(obs), critic=1))
    assert not torch.allclose(second, Deterministic().draw(agent, obs))
    with pytest.raises(GradlabError, match="2 critics"):
        Deterministic(critic=2).draw(agent, obs)


def test_deterministic_carries_the_mode_to_the_head(obs):
    agent = make(SquashedGaussian())
    got = Deterministic().draw(agent, obs)[0]
    head = agent.head(obs).detach().requires_grad_()
    (truth,) = torch.autograd.grad(agent.q(obs, agent.policy.mode(head)).sum(), head)
    assert torch.allclose(got, truth, rtol=1e-12)
    assert not got[:, P:].any()


# Zeroth order ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [1, 2, "antithetic"])
@pytest.mark.parametrize("policy", [None, SquashedGaussian()], ids=["det", "squashed"])
def test_zeroth_order_against_a_loop(obs, points, policy):
    agent, mu, draws = make(policy), 0.3, 4
    noise = torch.randn(draws, B, P, generator=generator(7), dtype=torch.float64)
    got = ZerothOrder(mu, points).at_noise(agent, obs, noise)
    assert torch.equal(got, ZerothOrder(mu, points).draw(agent, obs, draws, generator(7)))
    for d in range(draws):
        for i in range(B):
            s, u, head = obs[i : i + 1], noise[d, i], agent.head(obs[i : i + 1]).detach()[0]
            a = agent.policy.mode(head)
            plus, centre, minus = (agent.q(s, (a + sign * mu * u)[None]).item() for sign in (1, 0, -1))
            slope = {1: plus / mu, 2: (plus - centre) / mu, "antithetic": (plus - minus) / (2 * mu)}[points]
            jacobian = torch.autograd.functional.jacobian(agent.policy.mode, head)
            assert torch.allclose(got[d, i], jacobian.T @ (slope * u), rtol=1e-9, atol=1e-12)


def test_sphere_directions_have_unit_covariance():
    class Reveal(nn.Module):
        def forward(self, obs, act):
            return torch.ones(len(obs), dtype=act.dtype)

    agent = Agent(make().actor, [Reveal()], [-1] * P, [1] * P)
    n = 100_000
    # With Q = 1 a one-point draw of radius 1 is the direction itself.
    u = ZerothOrder(1.0, 1, "sphere").draw(agent, torch.zeros(1, N), n, generator())[:, 0]
    assert torch.allclose(u.norm(dim=-1), torch.full((n,), math.sqrt(P)).double())
    products = torch.einsum("di,dj->dij", u, u)
    error = products.mean(0) - torch.eye(P)
    assert (error.abs() < 4.5 * products.std(0) / math.sqrt(n)).all()


def test_small_radius_tends_to_the_directional_derivative(obs):
    agent = make()
    noise = torch.randn(6, B, P, generator=generator(), dtype=torch.float64)
    gradient = Deterministic().draw(agent, obs)[0]
    truth = (gradient * noise).sum(-1, keepdim=True) * noise
    got = ZerothOrder(1e-5, "antithetic").at_noise(agent, obs, noise)
    assert torch.allclose(got, truth, rtol=1e-6, atol=1e-8)


# Score function ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("points", "baseline"), [(1, "none"), (2, "value")])
def test_zeroth_order_is_the_score_function_draw_by_draw(obs, points, baseline):
    agent = make()
    zeroth = ZerothOrder(0.1, points).draw(agent, obs, 64, generator(3))
    score = ScoreFunction(0.1, baseline).draw(agent, obs, 64, generator(3))
    assert torch.allclose(zeroth, score, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("baseline", ["none", "value", "callable"])
@pytest.mark.parametrize("policy", [Gaussian(), SquashedGaussian()], ids=["gauss", "squashed"])
def test_score_function_against_a_loop(obs, policy, baseline):
    agent, draws = make(policy, entropy=0.2), 4
    noise = torch.randn(draws, B, P, generator=generator(7), dtype=torch.float64)
    chosen = (lambda agent, obs: obs[:, 0]) if baseline == "callable" else baseline
    got = ScoreFunction(baseline=chosen).at_noise(agent, obs, noise)
    for d in range(draws):
        for i in range(B):
            s = obs[i : i + 1]
            head = agent.head(s).detach()[0].requires_grad_()
            act = policy.sample(head, noise[d, i])[0].detach()
            log_prob = policy.log_prob(head, act)
            (score,) = torch.autograd.grad(log_prob, head)
            b = {"none": 0.0, "value": agent.q(s, agent.action(s)).item(), "callable": s[0, 0].item()}[baseline]
            weight = agent.q(s, act[None]).item() - 0.2 * log_prob.item() - b
            assert torch.allclose(got[d, i], weight * score, rtol=1e-7, atol=1e-9)


def test_score_stays_finite_and_right_where_the_action_saturates():
    """In float32 tanh(12) is 1; the score is still (ε/σ, ε² − 1)."""
    agent = make(SquashedGaussian(1e-6), dtype=torch.float32)
    agent._head = lambda actor, obs: torch.tensor([[12.0, -12.0, 0.0, -1.0, -1.0, -1.0]]).expand(len(obs), -1)
    noise = torch.randn(50, 1, P, generator=generator())
    one = ScoreFunction(baseline=lambda a, s: torch.zeros(1))
    agent.critics = (lambda obs, act: torch.ones(len(obs)),)
    got = one.at_noise(agent, torch.zeros(1, N), noise)
    truth = torch.cat([noise / math.exp(-1.0), noise.square() - 1], -1)
    assert torch.allclose(got, truth, rtol=1e-3, atol=1e-3)


def test_score_function_of_softmax_is_unbiased(obs):
    agent, n = make(Softmax(), entropy=0.3), 40_000
    head = agent.head(obs).detach().requires_grad_()
    actions = torch.eye(P).double().unsqueeze(1).expand(-1, B, -1)
    log_prob = head.log_softmax(-1)
    value = (log_prob.exp() * (agent.q(obs, actions).T - 0.3 * log_prob)).sum()
    (truth,) = torch.autograd.grad(value, head)
    for baseline in ("none", "value"):
        draws = ScoreFunction(baseline=baseline).draw(agent, obs, n, generator(5))
        error = draws.mean(0) - truth
        assert (error.abs() < 4.5 * draws.std(0) / math.sqrt(n)).all()


# Reparameterised ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entropy", [True, False])
@pytest.mark.parametrize("policy", [Gaussian(), SquashedGaussian(1e-6)], ids=["gauss", "squashed"])
def test_reparameterized_against_a_loop(obs, policy, entropy):
    agent, draws = make(policy, entropy=0.2), 4
    noise = torch.randn(draws, B, P, generator=generator(7), dtype=torch.float64)
    estimator = Reparameterized(entropy=entropy)
    got = estimator.at_noise(agent, obs, noise)
    assert torch.equal(got, estimator.draw(agent, obs, draws, generator(7)))
    for d in range(draws):
        for i in range(B):
            head = agent.head(obs[i : i + 1]).detach()[0].requires_grad_()
            act, log_prob = policy.sample(head, noise[d, i])
            objective = agent.q(obs[i : i + 1], act[None])[0] - (0.2 * log_prob if entropy else 0.0)
            (gradient,) = torch.autograd.grad(objective, head)
            assert torch.allclose(got[d, i], gradient, rtol=1e-10, atol=1e-12)


def test_reparameterized_of_a_deterministic_policy_is_deterministic(obs):
    agent = make(entropy=0.2)
    assert torch.equal(Reparameterized().draw(agent, obs, 3), Deterministic().draw(agent, obs, 3))
    noise = torch.zeros(3, B, P).double()
    assert torch.allclose(Reparameterized().at_noise(agent, obs, noise), Deterministic().draw(agent, obs, 3))


@pytest.mark.parametrize("policy", [Gaussian(), SquashedGaussian()], ids=["gauss", "squashed"])
def test_score_function_and_reparameterized_agree_on_average(obs, policy):
    agent, n = make(policy, entropy=0.2), 40_000
    path = Reparameterized().draw(agent, obs, n, generator(1))
    score = ScoreFunction(baseline="value").draw(agent, obs, n, generator(2))
    error = path.mean(0) - score.mean(0)
    assert (error.abs() < 4.5 * ((path.var(0) + score.var(0)) / n).sqrt()).all()


# Wrong input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [Deterministic(), ZerothOrder(), Reparameterized()], ids=str)
def test_discrete_actions_are_refused(estimator, obs):
    with pytest.raises(GradlabError, match="continuous actions"):
        estimator.draw(make(Softmax()), obs)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ZerothOrder(mu=0.0), "mu"),
        (lambda: ZerothOrder(mu=math.nan), "mu"),
        (lambda: ZerothOrder(points=3), "points"),
        (lambda: ZerothOrder(directions="cube"), "directions"),
        (lambda: ScoreFunction(sigma=-1.0), "sigma"),
        (lambda: ScoreFunction(baseline="best"), "baseline"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(GradlabError, match=message):
        build()


def test_no_critic(obs):
    agent = Agent(make().actor, [], [-1] * P, [1] * P)
    for estimator in ALL:
        with pytest.raises(GradlabError, match="no critic"):
            estimator.draw(agent, obs)
