"""Worlds take their numbers in whichever form they come, and say what is wrong with others."""

import numpy as np
import pytest
import torch

from gradlab.errors import GradlabError
from gradlab.estimators import ZerothOrder
from gradlab.worlds import (
    BallOverWall,
    CubicBandit,
    GaussianPolynomial,
    LinearQuadratic,
    QuadraticBandit,
    RewardChain,
    Step,
    TabularMDP,
)

SCALAR = {"A": 0.9, "B": 0.5, "Q": 1.0, "R": 0.1, "gamma": 0.95, "K": 0.4}
ONE_ACTION = [
    GaussianPolynomial(3, theta=0.7),
    QuadraticBandit([1.5], [[-2.0]]),
    CubicBandit([1.5], [[-2.0]], [[[0.5]]]),
    Step(0.2),
    BallOverWall(),
    LinearQuadratic(**SCALAR),
    RewardChain(4),
]


@pytest.mark.parametrize("world", ONE_ACTION, ids=lambda world: world.name)
def test_states_and_actions_of_any_type(world):
    # Single precision, arrays and lists must give what float64 tensors give, in float64.
    obs, act = torch.tensor([[0.5], [-1.25]]).double(), torch.tensor([[0.75], [0.25]]).double()
    slope, hessians = world.action_gradient(obs, act), world.hessians(obs, act)
    assert slope.dtype == torch.float64
    for form in (torch.Tensor.float, torch.Tensor.numpy, torch.Tensor.tolist):
        torch.testing.assert_close(world.action_gradient(form(obs), form(act)), slope, rtol=0, atol=0)
        for part, expected in zip(world.hessians(form(obs), form(act)), hessians, strict=True):
            torch.testing.assert_close(part, expected, rtol=0, atol=0)
    torch.testing.assert_close(world.action_gradient(obs[0], act[0]), slope[0])
    torch.testing.assert_close(world.action_gradient(0.5, 0.75), slope[0])
    assert [part.shape for part in world.hessians(obs[0], act[0])] == [(1, 1), (1, 1)]
    with pytest.raises(GradlabError, match=r"act is \(2, 3\); it must be \[\.\.\., 1\]"):
        world.action_gradient(obs, torch.ones(2, 3))


def test_regulator_takes_one_state_for_many_actions_and_refuses_others():
    world = LinearQuadratic(np.diag([0.5, 0.4]), np.eye(2), np.eye(2), np.eye(2), 0.9, np.zeros((2, 2)))
    act = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    one, many = world.action_gradient([1.0, 2.0], act), world.action_gradient([[1.0, 2.0]] * 3, act)
    torch.testing.assert_close(one, many)
    assert world.hessians([1.0, 2.0], act).mixed.shape == (3, 2, 2)
    torch.testing.assert_close(world.q([1.0, 2.0], act), world.q([[1.0, 2.0]] * 3, act))
    with pytest.raises(GradlabError, match="as many actions as states"):
        world.action_gradient(torch.ones(2, 2), act)


def test_distributions_in_single_precision_are_normalised():
    generator = np.random.default_rng(0)
    P, alpha = generator.dirichlet(np.ones(5), size=(5, 3)), generator.dirichlet(np.ones(5))
    r = generator.normal(size=(5, 3)).astype(np.float32)
    exact = TabularMDP(P, r, 0.9, alpha)
    single = TabularMDP(P.astype(np.float32), r, 0.9, torch.tensor(alpha).float())
    assert single.value() == pytest.approx(exact.value(), rel=1e-5)
    assert single.visitation().sum().item() == pytest.approx(10, rel=1e-12)
    with pytest.raises(GradlabError, match="P is not a distribution"):
        TabularMDP(P * 1.0001, r, 0.9, alpha)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearQuadratic(**SCALAR, policy_std=[0.1, 0.2]), r"policy_std is \(2,\)"),
        (lambda: LinearQuadratic(**SCALAR, horizon=2.5), "horizon is 2.5"),
        (lambda: TabularMDP([[[1.0]]], [[1.0]], 0.9, [1.0], horizon=2.5), "horizon is 2.5"),
        (lambda: RewardChain(3, theta=float("inf")), "theta is NaN or infinite"),
        (lambda: LinearQuadratic(**SCALAR | {"A": None}), "linear-quadratic: A is None; give numbers"),
        (lambda: LinearQuadratic(**SCALAR | {"Q": "eye"}), "linear-quadratic: Q is 'eye'; give numbers"),
        (lambda: LinearQuadratic(**SCALAR | {"gamma": "high"}), "gamma is 'high'; give a number"),
        (lambda: LinearQuadratic(**SCALAR, policy_std="wide"), "policy_std is 'wide'"),
        (lambda: LinearQuadratic(**SCALAR, horizon="far"), "horizon is 'far'"),
        (lambda: TabularMDP("P", [[1.0]], 0.9, [1.0]), "tabular: P is 'P'; give numbers"),
        (lambda: TabularMDP([[[1.0]]], None, 0.9, [1.0]), "tabular: r is None"),
        (lambda: TabularMDP([[[1.0]]], [[1.0], [1.0, 2.0]], 0.9, [1.0]), "tabular: r is .* lists of one length"),
        (lambda: TabularMDP([[[1.0]]], [[1.0]], None, [1.0]), "gamma is None; give a number"),
        (lambda: GaussianPolynomial(power="a"), "power is 'a'; it must be a whole number from 1"),
        (lambda: GaussianPolynomial(power=None), "power is None"),
        (lambda: GaussianPolynomial(theta="a"), "theta is 'a'; give numbers"),
        (lambda: ZerothOrder(mu="a"), "mu is 'a'; it must be a positive number"),
        (lambda: ZerothOrder(mu=None), "mu is None"),
    ],
)
def test_numbers_out_of_place_are_refused_by_name(make, message):
    with pytest.raises(GradlabError, match=message) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_a_step_that_is_none_is_named_as_it_was_asked_for():
    tabular = TabularMDP([[[1.0]]], [[1.0]], 0.9, [1.0], horizon=4)
    quadratic = LinearQuadratic(**SCALAR, horizon=4)
    for world, asked in (
        (tabular, (tabular.q_values, tabular.advantages)),
        (
            quadratic,
            (
                lambda step: quadratic.q(1.0, 0.0, step),
                lambda step: quadratic.action_gradient(1.0, 0.0, step),
                lambda step: quadratic.hessians(1.0, 0.0, step),
                quadratic.advantage_matrix,
                quadratic.improved_gain,
                quadratic.sensitivity_ratio,
                quadratic.agent,
            ),
        ),
    ):
        for ask in asked:
            ask(3)
            for step in (9, 4, -1):
                with pytest.raises(
                    GradlabError, match=rf"{world.name}: step {step} is outside 0 … 3; the horizon is 4"
                ):
                    ask(step)
    assert tabular.state_values(4).tolist() == [0.0]
    assert quadratic.cost_to_go(4).tolist() == [[0.0]]
    for ask in (tabular.state_values, quadratic.cost_to_go):
        with pytest.raises(GradlabError, match="step 5 is outside 0 … 4"):
            ask(5)
