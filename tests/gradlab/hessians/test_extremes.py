"""Lanczos at many states against dense eigenvalues, and its bounds against the errors made."""

import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.hessians import (
    extreme_eigenvalues,
    hessian_products,
    matrix_products,
    second_derivatives,
    spectral_norms,
)
from gradlab.worlds import LinearQuadratic


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def symmetric(states, size, seed=0):
    H = normal(states, size, size, seed=seed)
    return H + H.mT


class Net(nn.Module):
    def __init__(self, activation, obs, act, width=32):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(obs + act, width), activation(), nn.Linear(width, 1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator(1))

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def agent_of(activation, obs, act):
    actor = nn.Linear(obs, act)
    nn.init.normal_(actor.weight, std=0.1, generator=generator(2))
    nn.init.zeros_(actor.bias)
    return Agent(actor, [Net(activation, obs, act)], [-1.0] * act, [1.0] * act)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 150])
def test_extremes_are_those_of_dense_matrices(size):
    H = symmetric(5, size) * torch.tensor([1e-6, 1.0, 1e6, 3.0, 0.0])[:, None, None].double()
    found = extreme_eigenvalues(matrix_products(H), generator=generator())
    dense = torch.linalg.eigvalsh(H)
    scale = dense.abs().amax(-1)
    assert found.reached
    for value, error, truth in (
        (found.lowest, found.lowest_error, dense[:, 0]),
        (found.highest, found.highest_error, dense[:, -1]),
    ):
        assert ((value - truth).abs() <= error + 1e-13 * scale).all()
        assert (error <= 1e-8 * scale).all()
    assert torch.equal(found.curvature, -found.highest)
    image = torch.einsum("bij,bj->bi", H, found.direction)
    assert ((image - dense[:, -1:] * found.direction).norm(dim=-1) <= 2e-8 * scale + 1e-300).all()


@pytest.mark.parametrize("shape", [(1, 1), (6, 17), (17, 6), (80, 120), (120, 80)])
def test_spectral_norms_are_those_of_dense_matrices(shape):
    M = normal(4, *shape) * torch.tensor([1e-4, 1.0, 1e4, 0.0])[:, None, None].double()
    found = spectral_norms(matrix_products(torch.zeros(4, shape[0], shape[0]), M), generator=generator())
    truth = torch.linalg.matrix_norm(M, ord=2)
    assert found.reached
    assert ((found.value - truth).abs() <= found.error + 1e-13 * truth).all()
    assert (found.error <= 1e-8 * truth).all()


def test_it_takes_fewer_products_than_columns_and_an_error_decides_how_many():
    H = symmetric(3, 400)
    dense = torch.linalg.eigvalsh(H)
    steps = []
    for error in (1e-1, 1e-3, 1e-6):
        found = extreme_eigenvalues(matrix_products(H), error=error, relative=False, generator=generator())
        assert found.reached
        assert (found.highest_error <= error).all()
        assert ((found.highest - dense[:, -1]).abs() <= found.highest_error).all()
        # A Rayleigh quotient never passes the extremes.
        assert (found.highest <= dense[:, -1] + 1e-10).all()
        assert (found.lowest >= dense[:, 0] - 1e-10).all()
        steps.append(found.steps)
    assert steps == sorted(steps)
    assert steps[0] < steps[-1] < 400


def test_too_few_steps_are_said_and_their_bound_still_holds():
    H = symmetric(6, 300)
    dense = torch.linalg.eigvalsh(H)
    found = extreme_eigenvalues(matrix_products(H), most=20, generator=generator())
    assert not found.reached
    assert found.steps == 20
    gaps = (dense - found.highest[:, None]).abs().amin(-1)
    assert (gaps <= found.highest_error).all(), "no eigenvalue within the bound"
    M = normal(6, 200, 300)
    norms = spectral_norms(matrix_products(torch.zeros(6, 200, 200), M), most=15, generator=generator())
    assert not norms.reached
    nearest = (torch.linalg.svdvals(M) - norms.value[:, None]).abs().amin(-1)
    assert (nearest <= norms.error).all()


def test_repeated_eigenvalues_and_invariant_subspaces():
    ones = torch.ones(70).double()
    H = torch.stack([torch.diag(-ones), torch.diag(torch.cat([ones[:69], -3 * ones[:1]])), torch.outer(ones, ones)])
    found = extreme_eigenvalues(matrix_products(H), generator=generator())
    torch.testing.assert_close(found.lowest, torch.tensor([-1.0, -3.0, 0.0]).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(found.highest, torch.tensor([-1.0, 1.0, 70.0]).double(), atol=1e-10, rtol=0)


def test_chunks_of_states_change_nothing(monkeypatch):
    H = matrix_products(symmetric(7, 30), normal(7, 30, 20, seed=1))
    eigenvalues, norms = extreme_eigenvalues(H, error=1e-12), spectral_norms(H, error=1e-12)
    monkeypatch.setattr("gradlab.hessians.extremes._NUMBERS", 30 * 60 * 2)
    torch.testing.assert_close(extreme_eigenvalues(H, error=1e-12).highest, eigenvalues.highest)
    torch.testing.assert_close(spectral_norms(H, error=1e-12).value, norms.value)


@pytest.mark.parametrize("size", [3, 100])
def test_a_smooth_critic_exact_and_at_a_scale(size):
    agent, obs = agent_of(nn.SiLU, 10, size), normal(4, 10)
    double = agent.snapshot(double=True)
    action, mixed, _ = second_derivatives(double, obs, double.action(obs).detach())
    dense, norms = torch.linalg.eigvalsh(action), torch.linalg.matrix_norm(mixed, ord=2)
    for scale, tolerance in ((None, 1e-7), (1e-3, 1e-5)):
        products = hessian_products(agent, obs, scale=scale)
        found = extreme_eigenvalues(products, error=1e-6, generator=generator())
        torch.testing.assert_close(found.highest, dense[:, -1], rtol=tolerance, atol=tolerance * dense.abs().max())
        torch.testing.assert_close(found.lowest, dense[:, 0], rtol=tolerance, atol=tolerance * dense.abs().max())
        found = spectral_norms(products, error=1e-6, generator=generator())
        torch.testing.assert_close(found.value, norms, rtol=tolerance, atol=0)


def test_a_regulator_gives_its_ratio():
    eye = torch.eye(4, dtype=torch.float64)
    B = 0.3 * normal(4, 2)
    world = LinearQuadratic(A=0.25 * normal(4, 4, seed=1), B=B, Q=eye, R=0.1 * eye[:2, :2], gamma=0.9, K=0.1 * B.mT)
    for scale in (None, 0.1):
        products = hessian_products(world.agent(), normal(5, 4, seed=2), scale=scale)
        ratio = spectral_norms(products).value / extreme_eigenvalues(products).curvature
        assert ratio.tolist() == pytest.approx([world.sensitivity_ratio()] * 5, rel=1e-8)


def test_the_global_random_state_is_untouched():
    before = torch.get_rng_state()
    extreme_eigenvalues(matrix_products(symmetric(2, 3)))
    assert torch.equal(before, torch.get_rng_state())


def test_wrong_input_is_refused_in_one_line():
    H = matrix_products(symmetric(2, 3))
    kinked = hessian_products(agent_of(nn.ReLU, 5, 3), normal(2, 5), scale=0.1)
    for match, call in [
        (r"not linear.*scale=0.1", lambda: extreme_eigenvalues(kinked)),
        ("not linear", lambda: spectral_norms(kinked)),
        ("no ∇²_as Q", lambda: spectral_norms(H)),
        ("error: 0", lambda: extreme_eigenvalues(H, error=0.0)),
        ("error: nan", lambda: extreme_eigenvalues(H, error=math.nan)),
        ("relative", lambda: extreme_eigenvalues(H, relative=2)),
        ("most: 0", lambda: extreme_eigenvalues(H, most=0)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
