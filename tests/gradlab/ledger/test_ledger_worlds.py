"""The ledger of a linear-quadratic world with a deliberately wrong cubic critic, where every gradient is known."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.estimate import Estimate
from gradlab.estimators import Deterministic, ZerothOrder
from gradlab.ledger import ErrorLedger, error_ledger
from gradlab.objective import Objective
from gradlab.references import ReferenceCotangent
from gradlab.worlds import LinearQuadratic
from gradlab.worlds.modules import QuadraticCritic

MU = 0.5


def matrix(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def make_world(horizon: int | None = None) -> LinearQuadratic:
    return LinearQuadratic(
        A=matrix([[0.9, 0.1], [-0.2, 0.8]]),
        B=matrix([[0.5, 0.0], [0.1, 0.4]]),
        Q=matrix([[1.0, 0.0], [0.0, 0.5]]),
        R=matrix([[0.1, 0.0], [0.0, 0.2]]),
        gamma=0.9,
        K=matrix([[0.3, 0.1], [-0.1, 0.4]]),
        noise=matrix([[0.1, 0.0], [0.0, 0.2]]),
        horizon=horizon,
    )


WORLD = make_world()
REPLAY = matrix([[2.0, 0.5], [0.5, 1.0]])


class WrongCritic(nn.Module):
    """The world's critic with other second derivatives, plus c Σ_k s_k a_k³, whose smoothing bias is 3cμ² s."""

    def __init__(self, cubic: float) -> None:
        super().__init__()
        exact = WORLD.agent().critics[0]
        action = exact.action + matrix([[0.3, 0.1], [0.1, -0.2]])
        mixed = exact.mixed + matrix([[0.2, 0.0], [0.1, -0.3]])
        self.quadratic = QuadraticCritic(action, mixed, exact.state, exact.constant)
        self.cubic = cubic

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return self.quadratic(obs, act) + self.cubic * (obs * act**3).sum(-1)


class Exact:
    """The world's own ∇_a Q as a reference, of a finite horizon or none."""

    def __init__(self, horizon: int | None = None) -> None:
        self.world, self.horizon = make_world(horizon), horizon

    def objective(self, agent: Agent) -> Objective:
        return Objective(WORLD.gamma, horizon=self.horizon)

    def cotangent(self, agent: Agent, obs: Tensor) -> ReferenceCotangent:
        mean = self.world.action_gradient(obs, agent.action(obs)).detach()
        return ReferenceCotangent(mean, torch.zeros_like(mean), "exact", self.objective(agent))


def make_agent(cubic: float) -> Agent:
    agent = WORLD.agent()
    agent.critics = (WrongCritic(cubic),)
    return agent


# Closed forms: E[v(s) sᵀ] for v linear or cubic in a Gaussian s ------------------------------------------------------


def on_policy_covariances() -> tuple[Tensor, list[Tensor]]:
    """Weights (1 − γ)γᵗ and covariances of s_t, by iterating the dynamics."""
    moments = [WORLD.sigma0]
    for _ in range(399):
        moments.append(WORLD.L @ moments[-1] @ WORLD.L.T + WORLD.noise)
    weights = 0.9 ** torch.arange(400, dtype=torch.float64)
    return weights / weights.sum(), moments


def linear_part(action: Tensor, mixed: Tensor, second: Tensor) -> Tensor:
    """E[(H_aa a + H_as s) sᵀ] at a = −Ks."""
    return (mixed - action @ WORLD.K) @ second


def cubic_part(second: Tensor) -> Tensor:
    """E[3 s_k a_k² s_j] at a = −Ks, by Isserlis' theorem."""
    pairs = [("ij,kl->ijkl"), ("ik,jl->ijkl"), ("il,jk->ijkl")]
    fourth = sum(torch.einsum(rule, second, second) for rule in pairs)
    return 3 * torch.einsum("ki,kl,kilj->kj", WORLD.K, WORLD.K, fourth)


@cache
def expected(cubic: float) -> dict[str, Tensor]:
    """Every waypoint that does not depend on the minibatch, [p, n]."""
    weights, moments = on_policy_covariances()
    second = sum(w * m for w, m in zip(weights, moments, strict=True))
    cubes = sum(w * cubic_part(m) for w, m in zip(weights, moments, strict=True))
    wrong = WrongCritic(cubic).quadratic
    critic = linear_part(wrong.action, wrong.mixed, second) + cubic * cubes
    return {
        "replay": linear_part(wrong.action, wrong.mixed, REPLAY) + cubic * (cubic_part(REPLAY) + 3 * MU**2 * REPLAY),
        "on_policy": critic + cubic * 3 * MU**2 * second,
        "critic": critic,
        "reference": WORLD.true_gradient() / WORLD.mass,
    }


def expected_at(agent: Agent, obs: Tensor) -> Tensor:
    """E of the zeroth-order minibatch gradient at these states: the cubic critic's gradient plus 3cμ² s."""
    critic = agent.critics[0]
    act = -obs @ WORLD.K.T
    slope = act @ critic.quadratic.action.T + obs @ critic.quadratic.mixed.T + 3 * critic.cubic * obs * act**2
    return (slope + 3 * critic.cubic * MU**2 * obs).T @ obs / len(obs)


def replay_states(count: int, generator: torch.Generator) -> Tensor:
    normal = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return normal @ torch.linalg.cholesky(REPLAY).T


def make_ledger(agent: Agent, states: int, generator: torch.Generator, draws: int = 64) -> tuple[ErrorLedger, Tensor]:
    minibatch = replay_states(32, generator)
    ledger = error_ledger(
        agent,
        minibatch,
        estimator=ZerothOrder(MU, 2),
        replay=replay_states(states, generator),
        on_policy=WORLD.states(states, generator),
        reference=Exact(),
        draws=draws,
        generator=generator,
    )
    return ledger, minibatch


def truths(agent: Agent, ledger: ErrorLedger, minibatch: Tensor) -> dict[str, Tensor]:
    known = expected(agent.critics[0].cubic)
    chain = [ledger.applied["weight"], expected_at(agent, minibatch), *known.values()]
    names = ["estimator noise", "minibatch noise", "state distribution", "smoothing", "critic error"]
    found = {name: before - after for name, before, after in zip(names, chain, chain[1:], strict=False)}
    return found | {"total": chain[0] - chain[-1]}


def test_policy_gradient_theorem_holds_for_the_closed_forms() -> None:
    weights, moments = on_policy_covariances()
    second = sum(w * m for w, m in zip(weights, moments, strict=True))
    zero = torch.zeros(1, 2, dtype=torch.float64)
    hessians = WORLD.hessians(zero, zero)
    there = linear_part(hessians.action[0], hessians.mixed[0], second)
    torch.testing.assert_close(there, expected(0.0)["reference"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cubic", [0.0, 0.4])
def test_every_term_is_its_closed_form(cubic: float) -> None:
    agent = make_agent(cubic)
    ledger, minibatch = make_ledger(agent, 8192, torch.Generator().manual_seed(5))
    for name, truth in truths(agent, ledger, minibatch).items():
        term = ledger[name]
        assert term.vector is not None
        assert term.norm_squared is not None
        distance = float((term.vector["weight"] - truth).square().sum())
        # What was taken off ‖b̂‖² is the trace of the covariance of b̂, the expectation of this distance.
        noise = float(term.vector["weight"].square().sum()) - term.norm_squared.value
        assert distance <= 16 * noise, name
        off = term.norm_squared.value - float(truth.square().sum())
        assert abs(off) <= 4 * term.norm_squared.stderr, name
    assert ledger["truncation"].note == "none: the reference counts all rewards"
    assert ledger["smoothing"].norm_squared.resolved == (cubic != 0)
    assert ledger["critic error"].norm_squared.resolved


def test_truncation_is_the_finite_horizons_gradient_less_the_endless_ones() -> None:
    generator = torch.Generator().manual_seed(1)
    ledger = error_ledger(
        make_agent(0.0),
        replay_states(8, generator),
        estimator=Deterministic(),
        on_policy=WORLD.states(4096, generator),
        reference=Exact(5),
        long_reference=Exact(),
        generator=generator,
    )
    weights, moments = on_policy_covariances()
    second = sum(w * m for w, m in zip(weights, moments, strict=True))
    zero = torch.zeros(1, 2, dtype=torch.float64)
    short = make_world(5).hessians(zero, zero)
    truth = linear_part(short.action[0], short.mixed[0], second) - expected(0.0)["reference"]
    squared = ledger["truncation"].norm_squared
    assert squared is not None
    assert squared.resolved
    assert abs(squared.value - float(truth.square().sum())) <= 4 * squared.stderr
    # A deterministic estimator of an exact critic's own gradient adds nothing.
    assert ledger["estimator noise"].norm_squared.value == 0
    assert ledger["smoothing"].norm_squared.value == pytest.approx(0, abs=1e-24)


def repeat(
    cubic: float, seed: int, repetitions: int, draws: int, states: int
) -> list[tuple[ErrorLedger, dict[str, Tensor]]]:
    agent, generator = make_agent(cubic), torch.Generator().manual_seed(seed)
    found = []
    for _ in range(repetitions):
        ledger, minibatch = make_ledger(agent, states, generator, draws)
        found.append((ledger, truths(agent, ledger, minibatch)))
    return found


def test_without_the_correction_a_term_that_is_zero_is_not() -> None:
    """The negative control: without smoothing bias the plain ‖b̂‖² is far above zero, the U-statistic is not."""
    terms = [ledger["smoothing"] for ledger, _ in repeat(0.0, 31, 40, 8, 64)]
    debiased = [term.norm_squared.value for term in terms]
    plain = [float(term.vector["weight"].square().sum()) for term in terms]
    for values, within in ((debiased, True), (plain, False)):
        column = torch.tensor(values, dtype=torch.float64)
        z = float(column.mean() / (column.std() / math.sqrt(len(column))))
        assert (abs(z) <= 4) == within, z
    # It may be negative, and is, about two times in three: 27 of 40, less four standard errors.
    assert sum(value < 0 for value in debiased) > 14


def holds(estimate: Estimate, truth: float) -> bool:
    low, high = estimate.interval()
    # One rounding unit for a truth of exactly one or zero.
    return low - 1e-12 <= truth <= high + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5005, 6006])
@pytest.mark.parametrize("cubic", [0.0, 0.1])
def test_intervals_hold_the_truth(cubic: float, seed: int) -> None:
    repetitions = 300
    end = expected(cubic)["reference"]
    held: dict[str, int] = {}
    for ledger, exact in repeat(cubic, seed, repetitions, 64, 256):
        total = exact["total"]
        for name, truth in exact.items():
            term, square = ledger[name], float(truth.square().sum())
            found = {f"norm {name}": holds(term.norm_squared, square)}
            found[f"share {name}"] = holds(term.share, float((truth * total).sum() / total.square().sum()))
            if square > 0 and name != "total":
                for label, other in (("total", total), ("truth", end)):
                    value = float((truth * other).sum() / (truth.norm() * other.norm()))
                    found[f"cosine {name} with {label}"] = holds(getattr(term, f"cosine_with_{label}"), value)
            for key, inside in found.items():
                held[key] = held.get(key, 0) + inside
    shares = {name: count / repetitions for name, count in held.items()}
    # Shares are cautious by construction where units are skewed, cosines where a term is hardly more than its noise.
    exactly = {name: share for name, share in shares.items() if name.startswith("norm")}
    assert all(0.90 <= share <= 0.98 for share in exactly.values()), exactly
    assert all(share >= 0.90 for share in shares.values()), shares
