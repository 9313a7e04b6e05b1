"""The parts of a variance against quadrature, nested sampling by loops, and the law of total variance."""

import math

import pytest
import torch

from gradlab import variance_split
from gradlab.errors import GradlabError
from gradlab.quadrature import gauss_hermite
from gradlab.worlds import FirstDecision, LinearQuadratic

PARTS = {"A": 0.9, "B": 0.5, "Q": 1.0, "R": 0.1, "gamma": 0.8, "K": 0.4, "policy_std": 0.5, "noise": 0.3}
BASELINES = ["none", "value"]


def scalar(**changes):
    return FirstDecision(LinearQuadratic(**(PARTS | {"horizon": 2} | changes)))


def matrices(horizon=3):
    parts = {
        "A": [[0.8, 0.3], [-0.2, 0.7]],
        "B": [[0.5, 0.1], [0.1, -0.4]],
        "Q": [[1.0, 0.2], [0.2, 0.5]],
        "R": [[0.2, 0.05], [0.05, 0.3]],
        "K": [[0.3, -0.1], [0.1, 0.4]],
        "sigma0": [[1.0, 0.3], [0.3, 0.6]],
        "noise": [[0.10, 0.02], [0.02, 0.20]],
        "policy_std": [0.6, 0.9],
    }
    return FirstDecision(
        LinearQuadratic(**{k: torch.tensor(v).double() for k, v in parts.items()}, gamma=0.9, horizon=horizon)
    )


@pytest.mark.parametrize("baseline", BASELINES)
def test_parts_by_quadrature(baseline):
    """Two steps of the scalar problem: s_0 and ε_0 on a grid, (w_0, ε_1) on another, moments taken one in the other."""
    world = scalar()
    grid, weight = gauss_hermite(1, 8)
    grid, after_weight = grid[:, 0], gauss_hermite(2, 6)[1]
    after = gauss_hermite(2, 6)[0]
    s0, e0 = grid[:, None, None], grid[None, :, None]
    w0, e1 = math.sqrt(0.3) * after[:, 0], after[:, 1]
    a0 = -0.4 * s0 + 0.5 * e0
    s1 = 0.9 * s0 + 0.5 * a0 + w0
    total = -(s0**2 + 0.1 * a0**2) - 0.8 * (s1**2 + 0.1 * (-0.4 * s1 + 0.5 * e1) ** 2)
    b = world.state_value(grid[:, None])[:, None, None] if baseline == "value" else 0.0
    g = (total - b) * e0 / 0.5 * s0  # [states, actions, rest]
    given_action = g @ after_weight
    given_state = given_action @ weight
    mean = given_state @ weight
    trajectory = weight @ ((g - given_action[..., None]).square() @ after_weight) @ weight
    action = weight @ ((given_action - given_state[:, None]).square() @ weight)
    state = weight @ (given_state - mean).square()
    got = world.variance_parts(baseline)
    assert world.true_gradient().item() == pytest.approx(mean.item(), rel=1e-10)
    assert got.trajectory == pytest.approx(trajectory.item(), rel=1e-9)
    assert got.action == pytest.approx(action.item(), rel=1e-9)
    assert got.state == pytest.approx(state.item(), rel=1e-9)


@pytest.mark.parametrize("baseline", BASELINES)
def test_parts_by_nested_sampling(baseline):
    """Within- and between-group mean squares of nested draws, by their definitions."""
    world, (A, T, B) = matrices(), (4, 3, 60_000)
    obs, v = world.nested_draws(A, T, B, torch.Generator().manual_seed(1), baseline)
    assert v.shape == (A, T, B, 4)
    g = torch.einsum("atbp,bn->atbpn", v[..., :2], obs).flatten(3)
    by_action, by_state = g.mean(1), g.mean((0, 1))
    # One value a state, so that states are the independent samples of every mean square.
    trajectory = (g - by_action[:, None]).square().sum((0, 1, 3)) / (A * (T - 1))
    action = (by_action - by_state).square().sum((0, 2)) / (A - 1) - trajectory / T
    state = (by_state - world.true_gradient().flatten()).square().sum(1) - action / A - trajectory / (A * T)
    got = world.variance_parts(baseline)
    for measured, truth in ((trajectory, got.trajectory), (action, got.action), (state, got.state)):
        assert abs(measured.mean() - truth) < 4.5 * measured.std() / math.sqrt(B)
    error = by_state.mean(0) - world.true_gradient().flatten()
    assert (error.abs() < 4.5 * by_state.std(0) / math.sqrt(B)).all()


@pytest.mark.parametrize("baseline", BASELINES)
def test_the_measured_split_is_the_exact_one(baseline):
    world = matrices()
    obs, v = world.nested_draws(3, 2, 5_000, torch.Generator().manual_seed(4), baseline)
    measured, exact = variance_split(world.agent(), obs, v), world.variance_parts(baseline)
    for name in ("state", "action", "trajectory", "total"):
        estimate = getattr(measured, name)
        assert abs(estimate.value - getattr(exact, name)) < 4 * estimate.stderr


def test_a_baseline_changes_the_part_of_actions_alone():
    for world in (scalar(), matrices()):
        none, value = (world.variance_parts(baseline) for baseline in BASELINES)
        assert value.state == pytest.approx(none.state)
        assert value.trajectory == pytest.approx(none.trajectory)
        assert value.action < 0.8 * none.action


def test_without_noise_afterwards_no_part_is_left_to_the_trajectory():
    """One step: the return is known to state and action, and so is the value of a horizon of one."""
    world = scalar(horizon=1)
    parts = world.variance_parts()
    assert parts.trajectory == pytest.approx(0.0, abs=1e-12)
    assert parts.action > 0.1
    assert scalar().variance_parts().trajectory > 0.1


def test_the_gradient_is_the_derivative_to_the_first_steps_weight():
    """J with another gain in the first step alone, by the cost-to-go: differentiated numerically."""
    world = matrices().world
    K = world.K.clone().requires_grad_()
    P, S = world.cost_to_go(1), world.sigma0
    L = world.A - world.B @ K
    first = torch.trace((world.Q + K.T @ world.R @ K + world.gamma * L.T @ P @ L) @ S)
    (gradient,) = torch.autograd.grad(first, K)
    assert torch.allclose(matrices().true_gradient(), gradient)


def test_samples_as_episodes():
    world, count = matrices(), 60_000
    runs = world.trajectories(count, torch.Generator().manual_seed(2))
    assert runs.terminated.all()
    assert runs.lengths.unique().tolist() == [1]
    assert abs(runs.reward.mean() - world.value()) < 4 * runs.reward.std() / math.sqrt(count)
    agent = world.agent()
    for each in world.admitted():
        v = each.estimator.cotangents(agent, runs)[:, :2]
        g = torch.einsum("bp,bn->bpn", v, runs.obs).flatten(1)
        assert ((g.mean(0) - each.mean).abs() < 4.5 * g.std(0) / math.sqrt(count)).all()
        squares = (g - each.mean).square().sum(1)
        assert abs(squares.mean() - each.variance) < 4.5 * squares.std() / math.sqrt(count)
        assert torch.equal(each.mean, each.truth)


def test_mean_return_is_the_critics():
    world = matrices()
    obs = torch.tensor([[1.0, -0.5], [0.2, 0.7]]).double()
    act = torch.tensor([[0.3, 0.0], [-1.0, 0.5]]).double()
    many = world.returns(obs.repeat(40_000, 1), act.repeat(40_000, 1), torch.Generator().manual_seed(3)).reshape(-1, 2)
    error = many.mean(0) - world.agent().q(obs, act)
    assert (error.abs() < 4.5 * many.std(0) / math.sqrt(40_000)).all()


def test_wrong_input():
    with pytest.raises(GradlabError, match="finite horizon"):
        scalar(horizon=None)
    with pytest.raises(GradlabError, match="Gaussian"):
        scalar(policy_std=0.0)
    with pytest.raises(GradlabError, match="baseline"):
        scalar().variance_parts("best")
    with pytest.raises(GradlabError, match="baseline"):
        scalar().nested_draws(2, 2, 2, torch.Generator(), "best")
