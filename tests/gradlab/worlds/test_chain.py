"""World D against the listed numbers, exact integration, explicit sums over sampled episodes, and the estimators."""

import itertools
import math

import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.estimators import Reparameterized
from gradlab.quadrature import gauss_hermite
from gradlab.worlds import RewardChain

WORLDS = [
    RewardChain(horizon=3, theta=1.0),
    RewardChain(horizon=4, theta=-0.7, std=0.5, gamma=0.8),
    RewardChain(horizon=1, theta=2.0, std=1.7, gamma=0.3),
    RewardChain(horizon=2, theta=0.4, std=2.0, gamma=0.0),
]


def weights_of_psi(world, kind, baseline=0.0, lam=0.0, weighted=True):
    """Ψ_t of one episode from its actions [N, T], by loops over their definitions."""

    def psi(act):
        out, T, gamma = [], world.horizon, world.gamma
        V = [sum(gamma ** (k - t) * world.theta for k in range(t, T)) for t in range(T + 1)]
        b = torch.as_tensor(baseline, dtype=torch.float64).expand(T).tolist()
        for t in range(T):
            if kind == "return":
                value = sum(gamma**k * act[:, k] for k in range(T)) - b[t]
            elif kind == "reward-to-go":
                value = sum(gamma ** (k - t) * act[:, k] for k in range(t, T)) - b[t]
            elif kind == "q":
                value = act[:, t] + gamma * V[t + 1] - b[t]
            else:
                value = sum((gamma * lam) ** (k - t) * (act[:, k] + gamma * V[k + 1] - V[k]) for k in range(t, T))
            out.append(value if kind == "return" or not weighted else gamma**t * value)
        return torch.stack(out, 1)

    return psi


def integrated(world, psi):
    """Mean and variance of Σ_t Ψ_t ε_t/σ over ε ~ N(0, I), by quadrature: exact, the integrand has degree 4."""
    eps, weight = gauss_hermite(world.horizon, 5)
    draws = (psi(world.theta + world.std * eps) * eps / world.std).sum(1)
    mean = weight @ draws
    return mean.item(), (weight @ (draws - mean).square()).item()


def test_listed_numbers():
    world = RewardChain(horizon=10, theta=1.0)
    assert world.value() == 10
    assert world.true_gradient().tolist() == [10.0]
    variances = [world.reinforce(), world.reinforce(None), world.gpomdp(), world.gpomdp(world.state_values[:-1])]
    assert [m.mean for m in variances] == [10.0] * 4
    assert [m.variance for m in variances] == pytest.approx([1200, 200, 450, 65])
    assert world.reinforce(10.0).variance == pytest.approx(200)


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: f"T{w.horizon}-gamma{w.gamma}")
def test_closed_forms_by_quadrature(world):
    per_step = torch.linspace(-1, 2, world.horizon).double()
    values = world.state_values[:-1]
    cases = [(world.reinforce(b), weights_of_psi(world, "return", b)) for b in (0.0, 1.3)]
    cases.append((world.reinforce(None), weights_of_psi(world, "return", world.value())))
    for b in (0.0, 1.3, per_step, values):
        cases.append((world.gpomdp(b), weights_of_psi(world, "reward-to-go", b)))
        cases.append((world.action_value(b), weights_of_psi(world, "q", b)))
    cases += [(world.gae(lam), weights_of_psi(world, "gae", lam=lam)) for lam in (0.0, 0.4, 1.0)]
    biased = world.gpomdp(per_step, discounted_states=False)
    assert biased.mean == pytest.approx(world.horizon)
    cases.append((biased, weights_of_psi(world, "reward-to-go", per_step, weighted=False)))
    for got, psi in cases:
        mean, variance = integrated(world, psi)
        assert got.mean == pytest.approx(mean, rel=1e-9)
        assert got is biased or got.mean == pytest.approx(world.true_gradient().item())
        assert got.variance == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize(("horizon", "episodes"), [(1, 2), (2, 2), (1, 4)])
def test_leave_one_out_by_quadrature(horizon, episodes):
    world = RewardChain(horizon, theta=-0.7, std=0.5, gamma=0.8)
    eps, weight = gauss_hermite(horizon * episodes, 4)
    eps = eps.reshape(-1, episodes, horizon)
    total = (world.theta + world.std * eps) @ world.weights
    others = (total.sum(1, keepdim=True) - total) / (episodes - 1)
    draws = ((total - others) * eps.sum(2) / world.std).mean(1)
    mean = weight @ draws
    got = world.reinforce_leave_one_out(episodes)
    assert got.mean == pytest.approx(mean.item(), rel=1e-9)
    assert got.variance == pytest.approx((weight @ (draws - mean).square()).item(), rel=1e-9)


def test_the_best_constant_and_the_value_function_are_best():
    world = WORLDS[1]
    best = world.reinforce(None).variance
    assert all(best < world.reinforce(world.value() + shift).variance for shift in (-0.1, 0.1))
    V = world.state_values[:-1]
    for shift in torch.eye(world.horizon).double() * 0.1:
        assert world.gpomdp(V).variance < min(world.gpomdp(V + shift).variance, world.gpomdp(V - shift).variance)


def test_the_orders_of_the_estimators():
    """GAE from TD to the reward-to-go, and Q − V is TD here: rewards have no other randomness than the action."""
    world = WORLDS[1]
    along = [world.gae(lam).variance for lam in (0.0, 0.3, 0.6, 1.0)]
    assert all(sooner < later for sooner, later in itertools.pairwise(along))
    V = world.state_values[:-1]
    assert along[0] == pytest.approx(world.action_value(V).variance)
    assert along[-1] == pytest.approx(world.gpomdp(V).variance)


@pytest.mark.parametrize("world", [RewardChain(), WORLDS[1]], ids=["listed", "discounted"])
def test_every_admitted_estimator(world):
    """Through the agent: cotangents of the mean, added up over an episode, since the actor is its own Jacobian."""
    count, agent = 40_000, world.agent()
    runs = world.trajectories(count, torch.Generator().manual_seed(3))
    admitted = world.admitted()
    assert len({str(each.estimator) for each in admitted}) == len(admitted)
    for each in admitted:
        draws = runs.total(each.estimator.cotangents(agent, runs)[:, :1])[:, 0]
        draws = draws.reshape(-1, each.estimator.group).mean(1)  # episodes that share a baseline are one sample
        error = draws.mean() - each.mean
        assert error.abs() < 4 * math.sqrt(each.variance / len(draws)), each.estimator
        squares = (draws - each.mean).square()
        assert abs(squares.mean() - each.variance) < 4.5 * squares.std() / math.sqrt(len(draws)), each.estimator
        assert torch.equal(each.mean, each.truth) == ("undiscounted" not in str(each.estimator))


def test_a_wrong_variance_would_be_seen():
    """Negative control: the standard error of this variance is 1.2 %, so 4.5 of them and as many again are seen."""
    world = RewardChain()
    runs = world.trajectories(40_000, torch.Generator().manual_seed(3))
    plain = world.admitted()[0]
    draws = runs.total(plain.estimator.cotangents(world.agent(), runs)[:, :1])[:, 0]
    squares = (draws - plain.mean).square()
    assert abs(squares.mean() - 1.12 * plain.variance) > 4.5 * squares.std() / math.sqrt(40_000)


def test_episodes_and_critic():
    world = WORLDS[1]
    agent, obs = world.agent(), world.observations()
    runs = world.trajectories(5, torch.Generator().manual_seed(0))
    assert runs.terminated.reshape(5, 4).tolist() == [[False, False, False, True]] * 5
    assert torch.equal(runs.obs.reshape(5, 4, 1)[0], obs)
    assert torch.allclose(runs.act, world.theta + world.std * runs.noise)
    assert torch.equal(runs.act[:, 0], runs.reward)
    act = torch.tensor([[0.3], [1.0], [-2.0], [0.0]]).double()
    tail = [sum(world.gamma ** (k - t) * world.theta for k in range(t + 1, 4)) for t in range(4)]
    assert torch.allclose(agent.q(obs, act), act[:, 0] + torch.tensor(tail).double())
    assert torch.equal(agent.action_gradient(obs, act), world.action_gradient(obs, act))
    assert not world.hessians(obs, act).action.any()
    assert world.hessians(obs, act).mixed.shape == (4, 1, 1)
    # Differentiating through the action has no noise at all here.
    assert torch.equal(Reparameterized().draw(agent, obs, 3)[..., 0], torch.ones(3, 4).double())


def test_wrong_input():
    with pytest.raises(GradlabError, match="at least two"):
        RewardChain().reinforce_leave_one_out(1)
    for changes, match in (({"horizon": 0}, "horizon"), ({"std": 0.0}, "std"), ({"gamma": 1.1}, "gamma")):
        with pytest.raises(GradlabError, match=match):
            RewardChain(**changes)
