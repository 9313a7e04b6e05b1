"""Traces and Frobenius norms per state: Hutch++ against its algebra, stopping, and intervals by simulation."""

import itertools
import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.hessians import (
    hessian_products,
    hutchinson_frobenius,
    hutchinson_trace,
    hutchinson_variance,
    hutchplusplus_trace,
    matrix_products,
    second_derivatives,
    squared_frobenius,
    traces,
)
from gradlab.hessians.probing import remainder
from gradlab.hessians.rounds import Wanted
from gradlab.worlds import LinearQuadratic


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def symmetric(states, size, seed=0):
    H = normal(states, size, size, seed=seed)
    return H + H.mT


class Net(nn.Module):
    def __init__(self, activation, obs=5, act=3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(obs + act, 24), activation(), nn.Linear(24, 1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.6, generator=generator(1))

    def forward(self, obs, act):
        return self.net(torch.cat([obs, act], -1))


def agent_of(activation):
    actor = nn.Linear(5, 3)
    nn.init.normal_(actor.weight, std=0.1, generator=generator(2))
    nn.init.zeros_(actor.bias)
    return Agent(actor, [Net(activation)], [-1.0] * 3, [1.0] * 3)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_per_state_estimates_and_their_variances(kind):
    H, M, n = symmetric(4, 3), normal(4, 3, 5, seed=1), 100_000
    products = matrix_products(H, M)
    trace = traces(products, kind=kind, probes=n, generator=generator())
    for b in range(4):
        truth = H[b].trace().item()
        assert abs(trace.value[b] - truth) <= 4 * trace.stderr[b]
        assert trace.stderr[b] ** 2 * n == pytest.approx(hutchinson_variance(H[b], kind), rel=0.05)
    for part, matrices in (("action", H), ("mixed", M)):
        found = squared_frobenius(products, part, kind=kind, probes=n, generator=generator(1))
        assert ((found.value - matrices.square().sum((1, 2))).abs() <= 4 * found.stderr).all()
    # The mean over states has the error of a mean of independent states.
    expected = math.sqrt(sum(hutchinson_variance(h, kind) for h in H) / n) / 4
    assert trace.mean.stderr == pytest.approx(expected, rel=0.03)
    assert trace.mean.value == pytest.approx(trace.value.mean().item())
    assert trace.over_states().stderr > 10 * trace.mean.stderr


def test_a_given_matrix_has_one_answer_in_either_form():
    H = symmetric(1, 6)
    for one, many in (
        (hutchinson_trace(H[0], generator=generator()), traces(matrix_products(H), probes=64, generator=generator())),
        (
            hutchinson_frobenius(H[0], generator=generator()),
            squared_frobenius(matrix_products(H), generator=generator()),
        ),
        (
            hutchplusplus_trace(H[0], probes=12, generator=generator()),
            traces(matrix_products(H), method="hutch++", probes=12, generator=generator()),
        ),
    ):
        assert (one.value, one.stderr, one.samples) == pytest.approx(
            (many.value.item(), many.stderr.item(), many.samples), rel=1e-10
        )


def test_hutchplusplus_is_exact_up_to_the_rank_of_its_sketch():
    for rank, size in itertools.product((1, 3, 5), (20, 70)):
        U = normal(2, size, rank, seed=rank)
        H = U @ torch.diag(torch.linspace(-2, 3, rank).double()) @ U.mT
        found = traces(matrix_products(H), method="hutch++", probes=20, sketch=rank, generator=generator())
        torch.testing.assert_close(found.value, H.diagonal(dim1=1, dim2=2).sum(1))
        assert (found.stderr <= 1e-12 * H.norm()).all()
        plain = traces(matrix_products(H), probes=20, generator=generator())
        assert (plain.stderr > 1e-3).all()


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_hutchplusplus_varies_as_hutchinson_on_what_its_sketch_leaves(kind):
    H = normal(1, 8, 8)  # not symmetric
    source = generator(3)
    draw, spent = remainder(matrix_products(H).action, (1, 8), kind, source, Wanted(10), 3)
    assert spent == 6
    values = draw(100_000)[:, 0]
    # The same random sketch again, with the algebra in the open.
    again = generator(3)
    S = (
        torch.randn(3, 1, 8, generator=again, dtype=torch.float64)
        if kind == "gaussian"
        else torch.randint(0, 2, (3, 1, 8), generator=again).double() * 2 - 1
    )
    U = torch.linalg.qr(H[0] @ S[:, 0].T)[0]
    left = torch.eye(8).double() - U @ U.T
    expected = hutchinson_variance(left @ H[0] @ left, kind)
    assert values.var().item() == pytest.approx(expected, rel=0.05)
    assert abs(values.mean() - H[0].trace()) <= 4 * math.sqrt(expected / len(values))


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
@pytest.mark.parametrize("shape", ["skewed", "dense"])
@pytest.mark.parametrize("what", ["trace", "frobenius", "hutch++"])
def test_intervals_hold_the_truth_when_stopped_by_their_own_error(kind, shape, what):
    H = torch.ones(8, 8).double() if shape == "skewed" else symmetric(1, 8)[0]
    if what == "hutch++":
        H = H + torch.diag(torch.linspace(-3, 3, 8).double())
    products, size, repeats = matrix_products(H[None]), float(H.norm()), 400
    held, stopped_at = 0, []
    for seed in range(repeats):
        options = {"kind": kind, "generator": generator(seed), "most": 4096}
        if what == "trace":
            found, truth = traces(products, error=0.1 * size, probes=64, **options), H.trace()
        elif what == "hutch++":
            found, truth = (
                traces(products, method="hutch++", error=0.05 * size, probes=70, sketch=3, **options),
                H.trace(),
            )
        else:
            found, truth = squared_frobenius(products, error=0.04 * size**2, **options), H.square().sum()
        assert found.reached
        low, high = found.interval()
        held += bool(low <= truth + 1e-9 and truth - 1e-9 <= high)
        stopped_at.append(found.products)
    assert 0.90 <= held / repeats <= 0.98, held / repeats
    assert what == "hutch++" or max(stopped_at) > 64, "no run was ever stopped late; the test would see nothing"


def test_stopping_in_every_state_and_in_the_mean():
    H = symmetric(40, 6) * torch.linspace(0.1, 3, 40)[:, None, None].double()
    products = matrix_products(H)
    by_state = traces(products, error=1.0, generator=generator())
    assert by_state.reached
    assert (by_state.stderr <= 1.0).all()
    in_mean = traces(products, error=0.2, each="mean", generator=generator())
    assert in_mean.reached
    assert in_mean.mean.stderr <= 0.2
    assert in_mean.samples < by_state.samples
    cut = traces(products, error=1e-3, most=200, generator=generator())
    assert cut.reached is False
    assert cut.products == 200
    assert traces(products, generator=generator()).reached is None


def test_relative_errors():
    H = symmetric(3, 6) - 20 * torch.eye(6).double()
    found = squared_frobenius(matrix_products(H), error=0.01, relative=True, generator=generator())
    assert found.reached
    assert (found.stderr <= 0.01 * found.value).all()
    one = hutchinson_frobenius(H[0], error=0.01, relative=True, generator=generator())
    assert one.stderr <= 0.01 * one.value
    assert one.caveat == ""


def test_an_error_that_is_not_reached_is_said_on_the_estimate():
    H = symmetric(1, 6)[0]
    for function in (hutchinson_trace, hutchinson_frobenius, hutchplusplus_trace):
        options = {} if function is not hutchplusplus_trace else {"sketch": 2}
        found = function(H, probes=100, error=1e-6, most=300, generator=generator(), **options)
        assert "not reached in 300 products" in str(found)


def test_a_regulator_and_a_network_by_products():
    eye = torch.eye(4, dtype=torch.float64)
    B = 0.3 * normal(4, 2)
    world = LinearQuadratic(A=0.25 * normal(4, 4, seed=1), B=B, Q=eye, R=0.1 * eye[:2, :2], gamma=0.9, K=0.1 * B.mT)
    obs = normal(6, 4, seed=2)
    action, mixed = world.hessians(obs, world.agent().action(obs))
    for scale in (None, 0.1):
        products = hessian_products(world.agent(), obs, scale=scale)
        known = traces(products, method="hutch++", probes=20, generator=generator())  # the sketch spans both actions
        torch.testing.assert_close(known.value, action.diagonal(dim1=-2, dim2=-1).sum(-1))
        found = squared_frobenius(products, "mixed", probes=3_000, generator=generator())
        assert ((found.value - mixed.square().sum((-2, -1))).abs() <= 5 * found.stderr).all()
    agent = agent_of(nn.SiLU)
    obs = normal(50, 5)
    H = second_derivatives(agent.snapshot(double=True), obs, agent.snapshot(double=True).action(obs).detach())
    products = hessian_products(agent, obs)
    truth = H.action.diagonal(dim1=1, dim2=2).sum(1)
    low, high = traces(products, probes=500, generator=generator()).interval()
    assert 0.86 <= ((low <= truth) & (truth <= high)).double().mean() <= 1
    low, high = squared_frobenius(products, "mixed", probes=500, generator=generator()).interval()
    truth = H.mixed.square().sum((1, 2))
    assert 0.86 <= ((low <= truth) & (truth <= high)).double().mean() <= 1


def test_blocks_of_vectors_change_nothing_but_memory(monkeypatch):
    H = symmetric(3, 4)
    whole = traces(matrix_products(H), probes=50, generator=generator())
    monkeypatch.setattr("gradlab.hessians.rounds._NUMBERS", 3 * 4 * 7)
    torch.testing.assert_close(traces(matrix_products(H), probes=50, generator=generator()).value, whole.value)


def test_the_global_random_state_is_untouched():
    before = torch.get_rng_state()
    traces(matrix_products(symmetric(2, 3)), method="hutch++")
    squared_frobenius(matrix_products(symmetric(2, 3)))
    assert torch.equal(before, torch.get_rng_state())


def test_one_probe_has_no_interval():
    found = traces(matrix_products(symmetric(2, 3)), probes=1)
    assert found.stderr.isnan().all()
    assert math.isnan(found.mean.stderr)


def test_wrong_input_is_refused_in_one_line():
    H = matrix_products(symmetric(2, 3))
    kinked = hessian_products(agent_of(nn.ReLU), normal(2, 5), scale=0.1)
    assert traces(kinked).value.shape == (2,)
    for match, call in [
        ("method", lambda: traces(H, method="hutch")),
        ("kind", lambda: traces(H, kind="sphere")),
        ("kind", lambda: squared_frobenius(H, kind="sphere")),
        ("part", lambda: squared_frobenius(H, "state")),
        ("probes: 0", lambda: traces(H, probes=0)),
        ("probes: 16; to stop", lambda: traces(H, probes=16, error=0.1)),
        ("probes: 100; to stop", lambda: traces(H, probes=100, error=0.1, most=80)),
        ("most: 3", lambda: traces(H, error=0.1, most=3)),
        ("error: 0", lambda: traces(H, error=0.0)),
        ("error: nan", lambda: hutchinson_trace(symmetric(1, 3)[0], error=math.nan)),
        ("relative", lambda: traces(H, error=0.1, relative="yes")),
        ("each", lambda: traces(H, each="all")),
        ("sketch: 0", lambda: traces(H, method="hutch++", sketch=0)),
        ("a sketch of 3 takes 6", lambda: traces(H, method="hutch++", probes=6, sketch=3)),
        ("not linear", lambda: traces(kinked, method="hutch++")),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
