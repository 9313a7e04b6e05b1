"""World C against the listed numbers, long sums, automatic differentiation and gradlab's estimators."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, Estimator, Reparameterized, ScoreFunction, ZerothOrder
from gradlab.policies import Gaussian
from gradlab.quadrature import gauss_hermite
from gradlab.references import CriticReference
from gradlab.worlds import LinearQuadratic
from gradlab.worlds.linear_paths import backpropagated_gradient, value_gradient
from gradlab.worlds.linear_quadratic_episodes import (
    best_constant,
    leave_one_out_gradient,
    return_gradient,
    reward_to_go_gradient,
)

SCALAR = {"A": 0.9, "B": 0.5, "Q": 1.0, "R": 0.1, "gamma": 0.95, "K": 0.4, "sigma0": 1.0}
ONE = torch.ones(1, 1).double()


def matrices(**changes):
    """A problem with three states and two actions, noise and exploration: nothing scalar, nothing symmetric in A."""
    parts = {
        "A": [[0.8, 0.3, 0.0], [-0.2, 0.7, 0.1], [0.1, 0.0, 0.9]],
        "B": [[0.5, 0.0], [0.1, 0.4], [-0.3, 0.2]],
        "Q": [[1.0, 0.2, 0.0], [0.2, 0.5, 0.1], [0.0, 0.1, 0.8]],
        "R": [[0.2, 0.05], [0.05, 0.3]],
        "gamma": 0.9,
        "K": [[0.3, -0.1, 0.2], [0.1, 0.4, -0.2]],
        "sigma0": [[1.0, 0.3, 0.0], [0.3, 0.6, -0.1], [0.0, -0.1, 0.4]],
        "noise": [[0.10, 0.02, 0.0], [0.02, 0.20, 0.01], [0.0, 0.01, 0.05]],
        "policy_std": [0.3, 0.7],
    }
    return {name: torch.tensor(v).double() if isinstance(v, list) else v for name, v in (parts | changes).items()}


def long_sum(parts, steps):
    """The cost by carrying E[s sᵀ] forward, step by step, knowing nothing of P, E or Σ."""
    get = {name: torch.as_tensor(v, dtype=torch.float64) for name, v in parts.items()}
    explore = torch.diag(get["policy_std"] ** 2)
    L = get["A"] - get["B"] @ get["K"]
    moment, total = get["sigma0"], torch.zeros(()).double()
    for t in range(steps):
        action = get["K"] @ moment @ get["K"].T + explore
        total = total + get["gamma"] ** t * (torch.trace(get["Q"] @ moment) + torch.trace(get["R"] @ action))
        moment = L @ moment @ L.T + get["B"] @ explore @ get["B"].T + get["noise"]
    return total


def sigma_points(second_moment):
    """States whose mean square is exactly the given one: ± √n columns of a root."""
    n = len(second_moment)
    root = torch.linalg.cholesky(second_moment) * math.sqrt(n)
    return torch.cat([root.T, -root.T])


def weight_gradient(cotangents, obs):
    """Oracle for a linear actor without bias: (1/B) Σ_i v_i s_iᵀ, [D, p, n]."""
    return torch.einsum("dbp,bn->dpn", cotangents, obs) / len(obs)


# The listed numbers ------------------------------------------------------------------------------------------


def test_listed_numbers():
    world = LinearQuadratic(**SCALAR)
    assert world.value() == pytest.approx(1.900841908, abs=5e-10)
    assert world.cost_to_go().item() == pytest.approx(1.900841908, abs=5e-10)
    assert world.true_gradient().item() == pytest.approx(-2.215266359, abs=5e-10)
    assert world.action_gradient(ONE, -0.4 * ONE).item() == pytest.approx(-1.184059869, abs=5e-10)
    hessians = world.hessians(ONE, ONE)
    assert hessians.action.item() == pytest.approx(-1.102899906, abs=5e-10)
    assert hessians.mixed.item() == pytest.approx(-1.625219832, abs=5e-10)
    assert world.sensitivity_ratio() == pytest.approx(1.473587786, abs=5e-10)
    assert world.improved_gain().item() == pytest.approx(1.473587786, abs=5e-10)


def test_listed_gaussian_policy():
    assert LinearQuadratic(**SCALAR, policy_std=0.5).true_gradient().item() == pytest.approx(-4.845895, abs=5e-7)


@pytest.mark.parametrize(("horizon", "gradient"), [(5, -1.870079), (10, -2.201235), (20, -2.215253)])
def test_listed_truncations(horizon, gradient):
    assert LinearQuadratic(**SCALAR, horizon=horizon).true_gradient().item() == pytest.approx(gradient, abs=5e-7)


# Closed forms against independent ways -----------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [None, 1, 7])
def test_value_and_gradient_against_a_long_sum(horizon):
    parts = matrices()
    world = LinearQuadratic(**parts, horizon=horizon)
    K = parts["K"].clone().requires_grad_()
    total = long_sum(parts | {"K": K}, horizon or 400)
    (gradient,) = torch.autograd.grad(total, K)
    assert world.value() == pytest.approx(total.item(), rel=1e-11)
    assert torch.allclose(world.true_gradient(), gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("horizon", [None, 6])
def test_gradient_against_automatic_differentiation_of_the_fixed_point(horizon):
    K = matrices()["K"].clone().requires_grad_()
    world = LinearQuadratic(**matrices(K=K), horizon=horizon)
    (gradient,) = torch.autograd.grad(world.cost(), K)
    assert torch.allclose(world.true_gradient(), gradient, rtol=1e-10)


@pytest.mark.parametrize("horizon", [None, 6])
def test_q_satisfies_the_bellman_equation(horizon):
    """Q(s, a) = −cost + γ E[Q₊(s', π(s'))], expectations by sigma points: exact for a quadratic."""
    world = LinearQuadratic(**matrices(), horizon=horizon)
    generator = torch.Generator().manual_seed(1)
    obs = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    act = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    step = sigma_points(world.noise)
    explore = sigma_points(torch.diag(world.policy_std**2))
    following = (obs @ world.A.T + act @ world.B.T).unsqueeze(1) + step
    actions = (-(following @ world.K.T)).unsqueeze(-2) + explore
    later = world.q(following.unsqueeze(-2).expand(*actions.shape[:-1], 3), actions, 1).mean((1, 2))
    cost = torch.einsum("bi,ij,bj->b", obs, world.Q, obs) + torch.einsum("bi,ij,bj->b", act, world.R, act)
    assert torch.allclose(world.q(obs, act), -cost + world.gamma * later)


@pytest.mark.parametrize("horizon", [None, 6])
def test_critic_and_derivatives_of_q(horizon):
    world = LinearQuadratic(**matrices(), horizon=horizon)
    for step in (0, 3):
        agent = world.agent(step)
        generator = torch.Generator().manual_seed(2)
        obs = torch.randn(4, 3, generator=generator, dtype=torch.float64)
        act = torch.randn(4, 2, generator=generator, dtype=torch.float64)
        assert torch.allclose(agent.q(obs, act), world.q(obs, act, step))
        assert torch.allclose(agent.action_gradient(obs, act), world.action_gradient(obs, act, step))
        (aa, _), (_, _) = torch.autograd.functional.hessian(lambda a, s, t=step: world.q(s, a, t), (act[0], obs[0]))
        mixed = torch.autograd.functional.jacobian(
            lambda s, a=act, t=step: world.action_gradient(s.unsqueeze(0), a[:1], t)[0], obs[0]
        )
        got = world.hessians(obs, act, step)
        assert torch.allclose(aa, got.action[0])
        assert torch.allclose(mixed, got.mixed[0])


def test_improvement_lowers_the_cost_until_nothing_is_left():
    world = LinearQuadratic(**matrices(policy_std=0.0))
    costs = [world.value()]
    for _ in range(8):
        world = LinearQuadratic(**matrices(policy_std=0.0, K=world.improved_gain()))
        costs.append(world.value())
    assert all(later <= sooner + 1e-12 for sooner, later in itertools.pairwise(costs))
    assert world.true_gradient().abs().max() < 1e-9


def test_states_follow_the_discounted_distribution():
    for horizon in (None, 5):
        world = LinearQuadratic(**matrices(), horizon=horizon)
        n = 200_000
        states = world.states(n, torch.Generator().manual_seed(6))
        products = torch.einsum("bi,bj->bij", states, states)
        error = world.mass * products.mean(0) - world.state_moments()
        assert (error.abs() < 4.5 * world.mass * products.std(0) / math.sqrt(n)).all()
        assert (states.mean(0).abs() < 4.5 * states.std(0) / math.sqrt(n)).all()


# Through the estimators --------------------------------------------------------------------------------------


def test_deterministic_gradient_is_exact():
    world = LinearQuadratic(**matrices(policy_std=0.0))
    obs = sigma_points(world.state_moments())
    gradient = weight_gradient(Deterministic().draw(world.agent(), obs), obs)[0]
    assert torch.allclose(gradient, world.true_gradient(), rtol=1e-10)


def test_finite_horizon_gradient_is_exact():
    world = LinearQuadratic(**matrices(policy_std=0.0), horizon=6)
    total = torch.zeros_like(world.K)
    for t, moment in enumerate(world._moments(6)):
        obs = sigma_points(moment)
        total += world.gamma**t * weight_gradient(Deterministic().draw(world.agent(t), obs), obs)[0]
    assert torch.allclose(total, world.true_gradient(), rtol=1e-10)


@pytest.mark.parametrize(
    "estimator",
    [ZerothOrder(0.1, 1), ZerothOrder(0.1, 2), ZerothOrder(0.5, "antithetic", "sphere"), ScoreFunction(0.2, "value")],
    ids=str,
)
def test_random_estimators_of_a_deterministic_policy(estimator):
    world, draws = LinearQuadratic(**SCALAR), 100_000
    obs = sigma_points(world.state_moments())
    gradients = weight_gradient(estimator.draw(world.agent(), obs, draws, torch.Generator().manual_seed(9)), obs)
    error = gradients.mean(0) - world.true_gradient()
    assert (error.abs() <= 4 * gradients.std(0) / math.sqrt(draws) + 1e-9).all()


@pytest.mark.parametrize("estimator", [Reparameterized(), ScoreFunction(), ScoreFunction(baseline="value")], ids=str)
def test_estimators_of_a_gaussian_policy(estimator):
    for world in (LinearQuadratic(**SCALAR, policy_std=0.5), LinearQuadratic(**matrices())):
        agent, draws = world.agent(), 60_000
        assert isinstance(agent.policy, Gaussian)
        obs, p = sigma_points(world.state_moments()), len(world.R)
        cotangents = estimator.draw(agent, obs, draws, torch.Generator().manual_seed(10))
        gradients = weight_gradient(cotangents[..., :p], obs)
        error = gradients.mean(0) - world.true_gradient()
        assert (error.abs() < 4.5 * gradients.std(0) / math.sqrt(draws)).all()
        # ∂F/∂log σ_i = σ_i² H_aa,ii: the same in every state.
        wide = cotangents[..., p:].mean(1)
        truth = world.policy_std**2 * world.hessians(obs, obs[:, :p]).action[0].diagonal()
        assert ((wide.mean(0) - truth).abs() < 4.5 * wide.std(0) / math.sqrt(draws)).all()


def test_states_sampled_on_policy_give_the_gradient():
    world, n = LinearQuadratic(**matrices(policy_std=0.0)), 100_000
    obs = world.states(n, torch.Generator().manual_seed(12))
    cotangents = Deterministic().draw(world.agent(), obs)[0]
    per_state = world.mass * torch.einsum("bp,bn->bpn", cotangents, obs)
    error = per_state.mean(0) - world.true_gradient()
    assert (error.abs() < 4.5 * per_state.std(0) / math.sqrt(n)).all()


def test_critic_reference_is_exact():
    world = LinearQuadratic(**matrices())
    obs = sigma_points(world.state_moments())
    reference = CriticReference().cotangent(world.agent(), obs)
    mean = world.action_gradient(obs, -(obs @ world.K.T))
    wide = world.policy_std**2 * world.hessians(obs, obs[:, :2]).action[0].diagonal()
    assert reference.diagnostics["method"] == "quadrature"
    assert torch.allclose(reference.mean, torch.cat([mean, wide.expand_as(mean)], -1), rtol=1e-10)


# Episodes ----------------------------------------------------------------------------------------------------


def test_state_value_is_the_mean_of_q():
    for horizon in (None, 5):
        world = LinearQuadratic(**matrices(), horizon=horizon)
        obs = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        explore = sigma_points(torch.diag(world.policy_std**2))
        for step in (0, 2):
            actions = -(obs @ world.K.T) + explore.unsqueeze(1)
            assert torch.allclose(world.state_value(obs, step), world.q(obs, actions, step).mean(0))
        start = sigma_points(world.sigma0)
        assert world.state_value(start).mean().item() == pytest.approx(-world.value())


@pytest.mark.parametrize(("horizon", "std"), [(None, [0.3, 0.7]), (6, [0.3, 0.7]), (6, 0.0)])
def test_episodes(horizon, std):
    world = LinearQuadratic(**matrices(policy_std=torch.tensor(std)), horizon=horizon)
    count = 4_000
    runs = world.trajectories(count, torch.Generator().manual_seed(20))
    T = math.ceil(math.log(1e-12) / math.log(0.9)) if horizon is None else horizon
    assert runs.lengths.unique().tolist() == [T]
    assert runs.discount == world.gamma
    last = torch.arange(T).repeat(count) == T - 1
    assert torch.equal(runs.terminated, last & (horizon is not None))
    assert torch.equal(runs.next_obs[~last], runs.obs[1:][~last[:-1]])
    returns = runs.returns()
    assert abs(returns.mean() + world.value()) < 4 * returns.std() / math.sqrt(count)
    moments = runs.total(runs.weights[:, None, None] * torch.einsum("ni,nj->nij", runs.obs, runs.obs))
    error = moments.mean(0) - world.state_moments()
    assert (error.abs() < 4.5 * moments.std(0) / math.sqrt(count)).all()
    driven = runs.next_obs - runs.obs @ world.A.T - runs.act @ world.B.T
    products = torch.einsum("ni,nj->nij", driven, driven)
    assert ((products.mean(0) - world.noise).abs() < 4.5 * products.std(0) / math.sqrt(len(driven)) + 1e-12).all()
    mean = -(runs.obs @ world.K.T)
    if std == 0.0:
        assert runs.noise is None
        assert torch.allclose(runs.act, mean)
    else:
        assert torch.allclose(runs.act, mean + world.policy_std * runs.noise)


def test_gradient_through_the_unrolled_cost():
    """Brute force: the same noise, the cost differentiated through every step, averaged over episodes."""
    world, count = LinearQuadratic(**matrices(), horizon=5), 20_000
    runs = world.trajectories(count, torch.Generator().manual_seed(21))
    table = [part.reshape(count, 5, -1) for part in (runs.obs, runs.noise, runs.next_obs, runs.act)]
    obs, noise = table[:2]
    disturbance = table[2] - obs @ world.A.T - table[3] @ world.B.T
    K = world.K.expand(count, 2, 3).clone().requires_grad_()
    state, cost = obs[:, 0], torch.zeros(count).double()
    for t in range(5):
        act = world.policy_std * noise[:, t] - torch.einsum("bpn,bn->bp", K, state)
        quadratic = torch.einsum("bi,ij,bj->b", state, world.Q, state) + torch.einsum("bi,ij,bj->b", act, world.R, act)
        cost = cost + world.gamma**t * quadratic
        state = state @ world.A.T + act @ world.B.T + disturbance[:, t]
    assert torch.allclose(-cost, runs.returns())
    (gradients,) = torch.autograd.grad(cost.sum(), K)
    error = gradients.mean(0) - world.true_gradient()
    assert (error.abs() < 4.5 * gradients.std(0) / math.sqrt(count)).all()


def scores_of(world, runs):
    """∇log π(a | s) to the weight −K, by its definition."""
    noise = (runs.act + runs.obs @ world.K.T) / world.policy_std**2
    return torch.einsum("np,ns->nps", noise, runs.obs)


def check(gradients, mean, variance):
    gradients, mean, count = gradients.flatten(1), mean.flatten(), len(gradients)
    error = gradients.mean(0) - mean
    assert (error.abs() < 4.5 * gradients.std(0) / math.sqrt(count) + 1e-9).all()
    squares = (gradients - mean).square().sum(1)
    assert abs(squares.mean() - variance) < 4.5 * squares.std() / math.sqrt(count) + 1e-9


def small(**changes):
    parts = {"A": 0.9, "B": 0.5, "Q": 1.0, "R": 0.1, "gamma": 0.8, "K": 0.4, "policy_std": 0.5, "noise": 0.2}
    return LinearQuadratic(**(parts | {"horizon": 3} | changes))


def test_moments_of_episodes_by_quadrature():
    """Two steps of the scalar problem are four normal numbers: every episode on a grid, exactly."""
    world = small(horizon=2, noise=0.3)
    xi, weight = gauss_hermite(3, 6)  # s_0, ε_0, and what reaches s_1 of w_0; ε_1 by its own rule
    eps1, weight1 = gauss_hermite(1, 6)
    xi, weight = (
        torch.cat([xi.repeat_interleave(6, 0), eps1.repeat(len(xi), 1)], 1),
        weight.repeat_interleave(6) * weight1.repeat(len(weight)),
    )
    s0, e0, w0, e1 = xi.T
    a0 = -0.4 * s0 + 0.5 * e0
    s1 = 0.9 * s0 + 0.5 * a0 + math.sqrt(0.3) * w0
    a1 = -0.4 * s1 + 0.5 * e1
    r0, r1 = -(s0**2 + 0.1 * a0**2), -(s1**2 + 0.1 * a1**2)
    z0, z1 = e0 * s0 / 0.5, e1 * s1 / 0.5
    v = world.state_value
    cases = (
        ((r0 + 0.8 * r1 - 0.7) * (z0 + z1), return_gradient(world, 0.7)),
        ((r0 + 0.8 * r1) * z0 + 0.8 * r1 * z1, reward_to_go_gradient(world)),
        ((r0 + 0.8 * r1 + 0.5) * z0 + 0.8 * (r1 + 0.5) * z1, reward_to_go_gradient(world, -0.5)),
        ((r0 + 0.8 * r1) * z0 + r1 * z1, reward_to_go_gradient(world, weighted=False)),
        (
            (r0 + 0.8 * r1 - v(s0[:, None])) * z0 + 0.8 * (r1 - v(s1[:, None])) * z1,
            reward_to_go_gradient(world, value_at=0),
        ),
    )
    for draws, got in cases:
        mean = weight @ draws
        assert got.mean.item() == pytest.approx(mean.item(), rel=1e-10)
        assert got.variance == pytest.approx((weight @ (draws - mean).square()).item(), rel=1e-9)


def test_leave_one_out_by_quadrature():
    """Two episodes of one step: four normal numbers."""
    world = small(horizon=1)
    xi, weight = gauss_hermite(4, 6)
    s, eps = xi[:, :2], xi[:, 2:]
    total = -(s**2 + 0.1 * (-0.4 * s + 0.5 * eps) ** 2)
    draws = ((total - total.flip(1)) * eps * s / 0.5).mean(1)
    mean = weight @ draws
    got = leave_one_out_gradient(world, 2)
    assert got.mean.item() == pytest.approx(mean.item(), rel=1e-10)
    assert got.mean.item() == pytest.approx(world.true_gradient().item(), rel=1e-10)
    assert got.variance == pytest.approx((weight @ (draws - mean).square()).item(), rel=1e-9)


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (3, "zeroth-order-1"),
        (3, "zeroth-order-2"),
        (3, "zeroth-order-antithetic"),
        (3, "score-function"),
        (3, "score-function-baseline"),
        (2, "reparameterized"),
        (2, "score-function"),
        (2, "score-function-baseline"),
    ],
)
def test_variances_at_the_states_by_quadrature(index, name):
    """The estimator's own draws at every node of a rule that is exact for them; states are independent."""
    world = ADMITTING[index]
    (each,) = [case for case in world.admitted() if str(case.estimator) == name]
    agent, obs, p = world.agent(), world.observations(), len(world.R)
    grid, weight = gauss_hermite(p, 8)
    noise = grid.unsqueeze(1).expand(-1, len(obs), -1)
    draws = each.estimator.at_noise(agent, obs, noise)[..., :p]
    mean = torch.einsum("d,dbp->bp", weight, draws)
    spread = torch.einsum("d,dbp->b", weight, (draws - mean).square())
    assert torch.allclose((mean.T @ obs / len(obs)).flatten(), each.mean, rtol=1e-9)
    assert (spread @ obs.square().sum(1)).item() / len(obs) ** 2 == pytest.approx(each.variance, rel=1e-9)


def test_moments_of_episodes_have_the_true_mean():
    world = LinearQuadratic(**matrices(), horizon=3)
    for moments in (
        return_gradient(world),
        return_gradient(world, 2.0),
        reward_to_go_gradient(world),
        reward_to_go_gradient(world, value_at=0),
    ):
        assert torch.allclose(moments.mean, world.true_gradient(), rtol=1e-10)
    # Without the weights γᵗ: Σ_t 2 E_t Σ_t, which is no gradient of the discounted cost.
    biased = sum(2 * world.advantage_matrix(t) @ moment for t, moment in enumerate(world._moments(3)))
    left_out = reward_to_go_gradient(world, weighted=False).mean
    assert torch.allclose(left_out, biased)
    assert not torch.allclose(biased, world.true_gradient(), rtol=0.02)


@pytest.mark.parametrize("std", [0.0, 0.5])
def test_backpropagated_gradients_by_quadrature(std):
    """Two steps of the scalar problem by automatic differentiation at every point of a grid of all noise."""
    world = small(horizon=2, noise=0.3, policy_std=std)
    xi, weight = gauss_hermite(4, 4)
    s0, e0, w0, e1 = xi.T
    K = torch.full_like(s0, 0.4).requires_grad_()
    a0 = -K * s0 + std * e0
    s1 = 0.9 * s0 + 0.5 * a0 + math.sqrt(0.3) * w0
    a1 = -K * s1 + std * e1
    total = -(s0**2 + 0.1 * a0**2) - 0.8 * (s1**2 + 0.1 * a1**2)
    (by_gain,) = torch.autograd.grad(total.sum(), K)
    draws = -by_gain  # the weight is −K
    mean = weight @ draws
    got = backpropagated_gradient(world)
    assert got.mean.item() == pytest.approx(mean.item(), rel=1e-10)
    assert got.mean.item() == pytest.approx(world.true_gradient().item(), rel=1e-10)
    assert got.variance == pytest.approx((weight @ (draws - mean).square()).item(), rel=1e-9)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_value_gradients_against_automatic_differentiation(steps):
    """Explicitly unrolled; the derivative is affine in the noise, so that its Jacobian is the variance."""
    world = LinearQuadratic(**matrices())
    obs = torch.randn(3, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    root = torch.linalg.cholesky(world.noise)

    def by_first_action(noise, state):
        noise = noise.reshape(steps + 1, 5)
        first = act = -world.K @ state + world.policy_std * noise[0, :2]
        total = torch.zeros(()).double()
        for t in range(steps):
            total = total - world.gamma**t * (state @ world.Q @ state + act @ world.R @ act)
            state = world.A @ state + world.B @ act + root @ noise[t, 2:]
            act = -world.K @ state + world.policy_std * noise[t + 1, :2]
        total = total + world.gamma**steps * world.q(state, act)
        return torch.autograd.grad(total, first, create_graph=True)[0]

    means, variance = value_gradient(world, obs, steps)
    for state, mean in zip(obs, means, strict=True):
        zero = torch.zeros((steps + 1) * 5, dtype=torch.float64, requires_grad=True)
        jacobian = torch.autograd.functional.jacobian(lambda noise, s=state: by_first_action(noise, s), zero)
        assert torch.allclose(by_first_action(zero, state), mean)
        assert variance == pytest.approx(jacobian.square().sum().item(), rel=1e-10)


def test_moments_of_episodes_by_sampling():
    world, count = LinearQuadratic(**matrices(), horizon=3), 60_000
    runs = world.trajectories(count, torch.Generator().manual_seed(22))
    scores = scores_of(world, runs)
    whole = return_gradient(world, -3.0)
    check((runs.returns() + 3)[:, None, None] * runs.total(scores), whole.mean, whole.variance)
    left = runs.weights * (runs.rewards_to_go() - world.state_value(runs.obs))
    with_value = reward_to_go_gradient(world, value_at=0)
    check(runs.total(left[:, None, None] * scores), with_value.mean, with_value.variance)


def test_the_best_constant_is_best_and_not_the_value():
    world = small()
    best = best_constant(world)
    variances = [return_gradient(world, best + shift).variance for shift in (-0.05, 0.0, 0.05)]
    assert variances[1] < min(variances[0], variances[2])
    assert variances[1] < return_gradient(world, -world.value()).variance * 0.99
    assert reward_to_go_gradient(world, value_at=0).variance < reward_to_go_gradient(world).variance


#: E clip(x, −.5, .5)² for x ~ N(0, .2²).
CLIPPED = 2 * (quad(lambda x: x**2 * norm(0, 0.2).pdf(x), 0, 0.5)[0] + 0.25 * norm.sf(2.5))

ADMITTING = [
    small(horizon=None, policy_std=0.0),
    small(),
    LinearQuadratic(**matrices()),
    LinearQuadratic(**matrices(policy_std=0.0)),
    LinearQuadratic(**matrices(), horizon=3),
    LinearQuadratic(**matrices(policy_std=0.0), horizon=3),
]


@pytest.mark.parametrize(
    "world", ADMITTING, ids=["scalar", "scalar-episodes", "gaussian", "deterministic", "episodes", "through"]
)
def test_every_admitted_estimator(world):
    agent, obs, count, p = world.agent(), world.observations(), 20_000, len(world.R)
    admitted = world.admitted()
    assert len({str(each.estimator) for each in admitted}) == len(admitted)
    runs = None if world.horizon is None else world.trajectories(count, torch.Generator().manual_seed(23))
    for each in admitted:
        if isinstance(each.estimator, Estimator):
            draws = each.estimator.draw(agent, obs, count, torch.Generator().manual_seed(24))
            gradients = weight_gradient(draws[..., :p], obs)
            # A quadratic has no smoothing bias; the noise of TD3 has a scale, and no other error.
            scale = CLIPPED if "clipped" in str(each.estimator) else 1.0
            assert torch.allclose(each.mean, scale * each.truth, rtol=1e-9)
        else:
            v = each.estimator.cotangents(agent, runs)[:, :p]
            gradients = runs.total(torch.einsum("np,ns->nps", v, runs.obs))
            # Episodes that share a baseline are one sample.
            gradients = gradients.unflatten(0, (-1, getattr(each.estimator, "group", 1))).mean(1)
            assert torch.allclose(each.truth, world.true_gradient().flatten())
            assert torch.allclose(each.mean, each.truth, rtol=1e-9) == ("undiscounted" not in str(each.estimator))
        check(gradients, each.mean, each.variance)
    if world.horizon is None:
        assert torch.allclose(admitted[0].truth, world.true_gradient().flatten(), rtol=1e-9)


def test_wrong_input():
    with pytest.raises(GradlabError, match="spectral radius"):
        LinearQuadratic(**(SCALAR | {"A": 1.5, "K": 0.0}))
    with pytest.raises(GradlabError, match="must be"):
        LinearQuadratic(**matrices(K=[[1.0, 0.0, 0.0]]))
    with pytest.raises(GradlabError, match="gamma"):
        LinearQuadratic(**(SCALAR | {"gamma": 1.0}))
    with pytest.raises(GradlabError, match="symmetric"):
        LinearQuadratic(**matrices(R=[[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(GradlabError, match="negative"):
        LinearQuadratic(**SCALAR, policy_std=-1.0)
    with pytest.raises(GradlabError, match="sigma0 has a negative eigenvalue"):
        LinearQuadratic(**matrices(sigma0=[[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    with pytest.raises(GradlabError, match="K has NaN"):
        LinearQuadratic(**(SCALAR | {"K": math.nan}))
    with pytest.raises(GradlabError, match="policy_std has NaN"):
        LinearQuadratic(**SCALAR, policy_std=math.inf)
    with pytest.raises(GradlabError, match="all or none"):
        LinearQuadratic(**matrices(policy_std=[0.0, 1.0])).agent()
    with pytest.raises(GradlabError, match="outside"):
        LinearQuadratic(**SCALAR, horizon=3).agent(step=3)
    with pytest.raises(GradlabError, match="steps"):
        LinearQuadratic(**SCALAR, horizon=3).trajectories(2, torch.Generator(), steps=2)
    with pytest.raises(GradlabError, match="finite horizon"):
        return_gradient(LinearQuadratic(**SCALAR, policy_std=0.5))
    with pytest.raises(GradlabError, match="Gaussian"):
        reward_to_go_gradient(LinearQuadratic(**SCALAR, horizon=3))
    assert LinearQuadratic(**(SCALAR | {"A": 1.5, "K": 0.0}), horizon=3).value() > 0
