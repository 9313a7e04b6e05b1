"""One checkpoint's report: a regulator's closed forms, and each number that of the function it comes from."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import gradlab
from gradlab.agent import Agent
from gradlab.curvature import (
    field_regularity,
    field_roughness,
    observed_smoothness,
    sensitivity,
    sensitivity_predictions,
)
from gradlab.curvature.report import measure_curvature
from gradlab.errors import GradlabError
from gradlab.landscape import gradient_field_over_states
from gradlab.simulation import Simulator
from gradlab.statistics.state_quantiles import state_quantile
from gradlab.worlds import LinearQuadratic

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


def spectral(matrix):
    return float(torch.linalg.svdvals(matrix)[0])


def regulator():
    generator = torch.Generator().manual_seed(0)
    A, B = (0.35 * torch.randn(s, generator=generator, dtype=torch.float64) for s in ((3, 3), (3, 2)))
    return LinearQuadratic(
        A=A, B=B, Q=torch.eye(3).double(), R=0.05 * torch.eye(2).double(), gamma=0.9, K=0.5 * B.mT,
        noise=0.01 * torch.eye(3).double(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def world():
    return regulator()


@pytest.fixture(scope="module")
def runs(world):
    return world.trajectories(10, torch.Generator().manual_seed(1), steps=24)


@pytest.fixture(scope="module")
def report(world, runs):
    return measure_curvature(world.agent(), runs, time_step=0.1, states=64, scale=0.2, seed=5)


def test_numbers_of_a_regulator_are_its_closed_forms(world, runs, report):
    hessian, mixed = (part[0] for part in world.hessians(torch.zeros(1, 3), torch.zeros(1, 2)))
    numbers = report.numbers()
    strength, curvature = spectral(mixed), -float(torch.linalg.eigvalsh(hessian)[-1])
    improved, gain = spectral(world.improved_gain()), spectral(world.K)
    inner = float((world.improved_gain() * world.K).sum() / (world.improved_gain().norm() * world.K.norm()))
    # Q is quadratic, so that differences at any scale are exact.
    closed = {
        "mixed_partial": strength, "exact_mixed_partial": strength,
        "curvature": curvature, "exact_curvature": curvature,
        "ratio": strength / curvature, "exact_ratio": strength / curvature, "free_ratio": world.sensitivity_ratio(),
        "predicted": improved, "policy_jacobian": gain, "slack": strength / curvature / gain, "cosine": inner,
        "valid_share": 1.0, "exact_valid_share": 1.0, "free_valid_share": 1.0, "interior_share": 1.0,
        "violated_share": float(strength / curvature < gain),
    }  # fmt: skip
    assert {name: numbers[name].value for name in closed} == pytest.approx(closed, rel=1e-8)
    assert report.smooth
    assert report.scale == 0.2

    # Along the episodes the action is −Ks, and the gradient (H_as − H_aa K) s.
    states, following, rows = runs.obs, runs.next_obs, report.along.rows
    inside = ~runs.last
    steps = (following - states)[inside]
    turned = (mixed - hessian @ world.K).mT
    rates = torch.full((len(states),), math.nan, dtype=torch.float64)
    rates[inside] = (steps @ world.K.mT).norm(dim=-1) / steps.norm(dim=-1)
    here, there = states @ turned, following @ turned
    pairs = (here * there)[inside]
    signs = [torch.tensor(v, dtype=torch.float64) for v in itertools.product((-1.0, 1.0), repeat=2)]
    ratios = (there - here)[inside].norm(dim=-1) / steps.norm(dim=-1)
    seen = {
        "observed": float(rates[rows].quantile(0.5)),
        "action_change": float((steps @ world.K.mT).norm(dim=-1).mean()),
        "consistency": float((there - here)[rows].square().sum(-1).mean()),
        "hinge": sum(max(0.0, float(v @ hessian @ v) + 1) for v in signs) / len(signs),
        "flip_rate": float((pairs < 0).double().mean()),
        "reversal_share": float((pairs.sum(-1) < 0).double().mean()),
        "spike_share": float((ratios > 10 * ratios.quantile(0.5)).double().mean()),
    }
    assert {name: numbers[name].value for name in seen} == pytest.approx(seen, rel=1e-6)
    assert seen["hinge"] > 0
    assert seen["flip_rate"] > 0
    # E‖H_as ε‖² of ε ~ N(0, σ²I), by draws.
    low, high = numbers["mixed_regulariser"].interval()
    assert low < 1e-4 * float(mixed.square().sum()) < high
    assert high - low < 0.2 * low


def test_every_number_is_there_and_no_other(report):
    numbers = report.numbers()
    geometry = {"mixed_partial", "curvature", "ratio", "valid_share"}
    assert set(numbers) == geometry | {f"exact_{name}" for name in geometry} | {
        "interior_share", "predicted", "policy_jacobian", "slack", "observed", "free_ratio", "free_valid_share",
        "violated_share", "cosine", "mixed_regulariser", "consistency", "hinge", "flip_rate", "reversal_share",
        "spike_share", "action_change", "smoothness", "high_frequency_share",
    }  # fmt: skip
    for name, estimate in numbers.items():
        # Episodes are the independent samples, of whichever states were chosen.
        assert estimate.samples == 10, name
        low, high = estimate.interval()
        assert low - 1e-12 <= estimate.value <= high + 1e-12, name


@pytest.mark.parametrize("kind", ["td3_silu_pendulum_2000", "td3_pendulum_2000"])
def test_numbers_are_those_of_the_single_functions(kind):
    agent = gradlab.load(CHECKPOINTS / f"{kind}.zip")
    runs = Simulator("Pendulum-v1").episodes(agent, 8, seed=2, stochastic=False, max_steps=30)
    report = measure_curvature(agent, runs, time_step=0.05, states=24, scale=0.15, seed=7)
    numbers = report.numbers()
    smooth = "silu" in kind
    assert report.smooth is smooth
    assert (report.exact is not None) is smooth
    assert any(name.startswith("exact_") for name in numbers) is smooth

    rows = report.along.rows
    assert len(rows) == len(set(rows.tolist())) == 24
    assert not bool(runs.last[rows].any())
    obs, following, member = runs.obs[rows], runs.next_obs[rows], runs.trajectory[rows]
    seen = observed_smoothness(runs.obs, runs.act, runs.trajectory, time_step=0.05)
    for prefix, scale in (("", 0.15), ("exact_", None))[: 2 if smooth else 1]:
        geometry = sensitivity(agent, obs, scale)
        for name in ("mixed_partial", "curvature", "ratio"):
            expected = state_quantile(getattr(geometry, name), 0.5, member)
            assert numbers[prefix + name].value == expected.value
            assert numbers[prefix + name].ends == expected.ends
        assert numbers[f"{prefix}valid_share"].value == float(geometry.valid.double().mean())
    predicted = sensitivity_predictions(
        agent, obs, 0.15, next_obs=following, observed=seen.rate[rows], episode=member
    )  # fmt: skip
    # Compared by how they are written, to all digits, so that NaN is NaN.
    for mine, theirs in (("predicted", "predicted_norm"), ("slack", "slack"), ("cosine", "cosine")):
        assert repr(numbers[mine]) == repr(predicted.summary()[theirs])
    assert repr(report.along.predictions.correlations()) == repr(predicted.correlations())
    after = agent.action(agent.observations(following)).detach().double()
    regular = field_regularity(agent, obs, 0.15, next_obs=following, next_act=after, episode=member, seed=7)
    assert repr(numbers["mixed_regulariser"]) == repr(regular.means()["mixed_partial"])
    assert repr(numbers["consistency"]) == repr(regular.means()["consistency"])
    assert repr(numbers["hinge"]) == repr(regular.means()["curvature_hinge"])
    assert repr(report.regularity.largest_mixed_norm()) == repr(regular.largest_mixed_norm())
    field = gradient_field_over_states(agent, runs.obs, critics=["followed"], episodes=runs.trajectory)
    rough = field_roughness(field)
    assert [numbers[name].value for name in ("flip_rate", "reversal_share", "spike_share")] == [
        rough.flip_rate.value, rough.reversal_share.value, rough.spike_share.value
    ]  # fmt: skip
    assert repr(numbers["smoothness"]) == repr(seen.means()["smoothness"])
    assert repr(numbers["high_frequency_share"]) == repr(seen.means()["high_frequency_share"])


def test_the_seed_chooses_the_states_and_nothing_of_the_agent_changes(world, runs):
    agent = world.agent()
    before = [parameter.detach().clone() for parameter in agent.actor.parameters()]
    agent.actor.train()
    torch.manual_seed(4)
    state = torch.get_rng_state()
    one, same, other = (
        measure_curvature(agent, runs, time_step=0.1, states=16, seed=seed).along.rows for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert agent.actor.training
    assert all(map(torch.equal, before, agent.actor.parameters()))
    # All steps that another follows, where more are asked for than there are.
    assert len(measure_curvature(agent, runs, time_step=0.1, states=10_000).along.rows) == 10 * 23


def test_wrong_input_is_refused_in_one_line(world, runs):
    agent = world.agent()
    narrow = Agent(nn.Linear(2, 1), [lambda obs, act: (obs * act).sum(-1)], [-1.0], [1.0])
    for match, call in [
        ("scale", lambda: measure_curvature(agent, runs, time_step=0.1, scale=0.0)),
        ("time_step", lambda: measure_curvature(agent, runs, time_step=-1.0)),
        ("states", lambda: measure_curvature(agent, runs, time_step=0.1, states=0)),
        ("seed", lambda: measure_curvature(agent, runs, time_step=0.1, seed=-1)),
        ("obs", lambda: measure_curvature(narrow, runs, time_step=0.1)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
