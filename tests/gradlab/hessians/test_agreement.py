"""Exact, at a scale, smoothed and matrix-free second derivatives of the same critics."""

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.hessians import (
    extreme_eigenvalues,
    hessian_products,
    second_derivatives,
    smoothed_second_derivatives,
    spectral_norms,
    squared_frobenius,
    step_plateau,
    traces,
)
from gradlab.worlds import LinearQuadratic

STATES, P, N = 40, 4, 7


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Net(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(N + P, 32), activation(), nn.Linear(32, 32), activation(), nn.Linear(32, 1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.35, generator=generator(1))

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def case(activation):
    actor = nn.Linear(N, P)
    nn.init.normal_(actor.weight, std=0.1, generator=generator(2))
    nn.init.zeros_(actor.bias)
    agent = Agent(actor, [Net(activation)], [-1.0] * P, [1.0] * P)
    obs = torch.randn(STATES, N, generator=generator(3)).double()
    double = agent.snapshot(double=True)
    return agent, double, obs, double.action(obs).detach()


def test_all_ways_agree_on_a_silu_critic():
    agent, double, obs, act = case(nn.SiLU)
    action, mixed, _ = second_derivatives(double, obs, act)
    lowest, highest = torch.linalg.eigvalsh(action)[:, 0], torch.linalg.eigvalsh(action)[:, -1]
    M = torch.linalg.matrix_norm(mixed, ord=2)
    close = {"rtol": 1e-5, "atol": 1e-6}

    small = second_derivatives(double, obs, act, 1e-3)
    torch.testing.assert_close(small.action, action, **close)
    torch.testing.assert_close(small.mixed, mixed, **close)

    for scale in (None, 1e-3):
        products = hessian_products(agent, obs, scale=scale)
        eigenvalues = extreme_eigenvalues(products, generator=generator())
        torch.testing.assert_close(eigenvalues.lowest, lowest, **close)
        torch.testing.assert_close(eigenvalues.highest, highest, **close)
        torch.testing.assert_close(spectral_norms(products, generator=generator()).value, M, **close)
        sums = traces(products, method="hutch++", probes=20, generator=generator())  # the sketch spans all actions
        torch.testing.assert_close(sums.value, action.diagonal(dim1=1, dim2=2).sum(1), **close)
        for found, truth in (
            (traces(products, probes=400, generator=generator(1)), action.diagonal(dim1=1, dim2=2).sum(1)),
            (squared_frobenius(products, probes=400, generator=generator(2)), action.square().sum((1, 2))),
            (squared_frobenius(products, "mixed", probes=400, generator=generator(3)), mixed.square().sum((1, 2))),
        ):
            assert ((found.value - truth).abs() <= 5 * found.stderr + 1e-6).all()
            low, high = found.interval()
            assert ((low <= truth) & (truth <= high)).double().mean() >= 0.8
            assert abs(found.mean.value - truth.mean()) <= 4 * found.mean.stderr + 1e-6

    smoothed = smoothed_second_derivatives(agent, obs, 1e-3, generator=generator(4))
    torch.testing.assert_close(smoothed.action, action, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(smoothed.mixed, mixed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(smoothed.curvature.value, -highest, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(smoothed.mixed_partial.value, M, rtol=1e-4, atol=1e-5)

    plateau = step_plateau(agent, obs)
    assert plateau.found.all()
    torch.testing.assert_close(plateau.curvature, -highest, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plateau.mixed_partial, M, rtol=1e-4, atol=1e-5)


def test_values_alone_agree_within_their_intervals():
    agent, double, obs, act = case(nn.SiLU)
    action, mixed, _ = second_derivatives(double, obs[:10], act[:10])
    found = smoothed_second_derivatives(agent, obs[:10], 0.02, source="values", draws=4_000, generator=generator())
    z = torch.cat(
        [
            ((found.action - action) / found.action_stderr).flatten(1),
            ((found.mixed - mixed) / found.mixed_stderr).flatten(1),
        ],
        1,
    )
    assert (z.abs() <= 2.131).double().mean() >= 0.90
    assert (z.abs() <= 2.131).double().mean() <= 0.98


def test_a_relu_critic_exact_is_refused_and_at_a_scale_is_brute_force():
    agent, double, obs, act = case(nn.ReLU)
    with pytest.raises(GradlabError, match="piecewise linear"):
        second_derivatives(double, obs, act)
    with pytest.raises(GradlabError, match="piecewise linear"):
        hessian_products(agent, obs)
    scale, features = 0.1, obs.std(0)
    action, mixed, _ = second_derivatives(double, obs, act, scale)
    products = hessian_products(agent, obs, scale=scale)
    columns = torch.eye(P, dtype=torch.float64)[:, None].expand(-1, STATES, -1)
    square = products.action(columns).permute(1, 2, 0)
    torch.testing.assert_close((square + square.mT) / 2, action)
    columns = torch.eye(N, dtype=torch.float64)[:, None].expand(-1, STATES, -1)
    torch.testing.assert_close(products.mixed(columns).permute(1, 2, 0), mixed)
    seen = 0.0
    for b in range(STATES):
        for j in range(N):
            step = torch.zeros(N, dtype=torch.float64)
            step[j] = scale * features[j]
            up, down = (double.action_gradient((obs[b] + s * step)[None], act[b : b + 1])[0] for s in (1, -1))
            torch.testing.assert_close(mixed[b, :, j], (up - down) / (2 * step[j]))
            seen = max(seen, float((up - down).abs().max()))
    assert seen > 1e-3, "no kink was crossed; the test would see nothing"
    assert not step_plateau(agent, obs).found.any()


def test_a_regulator_gives_its_closed_form_by_all_ways():
    world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4)
    agent, obs = world.agent(), torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    mu, M = 1.102899906, 1.625219832
    for scale in (None, 0.05):
        products = hessian_products(agent, obs, scale=scale)
        assert extreme_eigenvalues(products).curvature.tolist() == pytest.approx([mu] * 5, abs=1e-8)
        assert spectral_norms(products).value.tolist() == pytest.approx([M] * 5, abs=1e-8)
        assert traces(products, probes=4).value.tolist() == pytest.approx([-mu] * 5, abs=1e-8)
        assert squared_frobenius(products, "mixed", probes=4).value.tolist() == pytest.approx([M**2] * 5, abs=1e-7)
    smoothed = smoothed_second_derivatives(agent, obs, 0.3)
    plateau = step_plateau(agent, obs)
    for curvature, mixed, ratio in (
        (smoothed.curvature.value, smoothed.mixed_partial.value, smoothed.ratio.value),
        (plateau.curvature, plateau.mixed_partial, plateau.ratio),
    ):
        assert curvature.tolist() == pytest.approx([mu] * 5, abs=1e-8)
        assert mixed.tolist() == pytest.approx([M] * 5, abs=1e-8)
        assert ratio.tolist() == pytest.approx([1.473587786] * 5, abs=1e-8)
    by_values = smoothed_second_derivatives(agent, obs, 0.3, source="values", draws=4_000, generator=generator())
    for found, truth in ((by_values.curvature, mu), (by_values.mixed_partial, M)):
        assert ((found.value - truth).abs() <= 5.5 * found.stderr).all()
