"""Estimators side by side: the probe's numbers against those of the whole, and the ledger beside the simulator's."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.error import gradient_error, gradient_variance
from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, ZerothOrder
from gradlab.policies import Gaussian, Softmax
from gradlab.references import CriticReference
from gradlab.statistics.paired import common_draws, seed_from
from gradlab.store import open_store
from probes.attempt import attempt

ESTIMATORS = (Deterministic(), ZerothOrder(0.3), ZerothOrder(0.3, points="antithetic"))


class Critic(nn.Module):
    def __init__(self, size: int = 5) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, obs, act):
        return self.net(torch.cat([obs.expand(*act.shape[:-1], 3), act], -1)).squeeze(-1)


@pytest.fixture
def agent():
    torch.manual_seed(0)
    actor = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2), nn.Tanh())
    return gradlab.Agent(actor, [Critic()], action_low=[-1, -1], action_high=[1, 1])


def obs_of(count: int = 24) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(1))


def measured(probe, agent, obs):
    tried = attempt(probe, agent.snapshot(), obs, torch.Generator().manual_seed(3))
    assert tried.status == "ok", tried.message
    return tried.measurement.scalars


def test_parts_add_up_to_the_errors_of_the_same_draws(agent):
    obs = obs_of()
    found = measured(probes.Estimators(draws=16, estimators=ESTIMATORS, radii=()), agent, obs)
    seed = seed_from(torch.Generator().manual_seed(3))
    ref = CriticReference().cotangent(agent, obs)
    draws = {one.name: common_draws(one, agent, obs, 16, seed) for one in ESTIMATORS}
    whole = {name: gradient_error(agent, obs, v, ref) for name, v in draws.items()}
    for name, error in whole.items():
        layers = [key.removesuffix("/variance") for key in found if key.endswith(f"/{name}/variance")]
        assert [key.split("/")[:3] for key in layers] == [["layer", "0", "0"], ["layer", "1", "2"]]
        for metric, value in (
            ("bias_squared", error.bias_squared),
            ("variance", error.variance),
            ("reference_squared", error.reference_norm_squared),
        ):
            parts = math.fsum(found[f"{key}/{metric}"].value for key in layers)
            assert parts == pytest.approx(value.value, rel=1e-5, abs=1e-9)
        split = [found[f"{name}/{part}_variance"].value for part in ("state", "draw", "total")]
        assert split[0] + split[1] == pytest.approx(split[2])
        # What draws leave of noise in a minibatch of these states, as they are independent over states.
        noise = gradient_variance(agent, obs, draws[name]).value
        assert split[1] / len(obs) == pytest.approx(noise, rel=1e-6, abs=1e-12)
        scale = found[f"{name}/noise_scale"].value
        assert scale == pytest.approx(split[2] / found[f"{name}/gradient_squared"].value, nan_ok=True)
    for a, b in itertools.combinations(whole, 2):
        apart = whole[a].mse.value - whole[b].mse.value
        assert found[f"paired/{a}/{b}"].value == pytest.approx(apart, rel=1e-5, abs=1e-9)


def test_a_wider_radius_smooths_more_and_the_best_is_one_of_those_tried(agent):
    found = measured(probes.Estimators(draws=64, radii=(0.05, 0.5, 2.0)), agent, obs_of())
    bias = [found[f"radius/{mu}/zeroth-order-antithetic/bias_squared"] for mu in ("0.05", "0.5", "2")]
    assert bias[0].value < bias[1].value < bias[2].value
    assert bias[2].resolved
    for mu in ("0.05", "0.5", "2"):
        parts = [found[f"radius/{mu}/zeroth-order-2/{part}"].value for part in ("bias_squared", "variance", "mse")]
        assert parts[0] + parts[1] == pytest.approx(parts[2])
    best = found["zeroth-order-2/best_radius"]
    mse = {mu: found[f"radius/{mu}/zeroth-order-2/mse"].value for mu in ("0.05", "0.5", "2")}
    assert f"{best.value:g}" == min(mse, key=mse.__getitem__)
    low, high = best.interval()
    assert low <= best.value <= high


@pytest.mark.parametrize("kind", ["gaussian", "softmax"])
def test_agents_of_every_kind_are_taken_apart(kind):
    torch.manual_seed(0)
    if kind == "gaussian":
        actor = nn.Linear(3, 4)
        agent = gradlab.Agent(actor, [Critic()], [-1, -1], [1, 1], policy=Gaussian(), head=lambda actor, o: actor(o))
    else:
        values = nn.Linear(3, 4)

        def q(obs, act):
            return (values(obs) * act).sum(-1)

        agent = gradlab.Agent(nn.Linear(3, 4), [q], [0] * 4, [1] * 4, policy=Softmax())
    found = measured(probes.Estimators(draws=8), agent, obs_of())
    assert "score-function/noise_scale" in found
    assert any(name.startswith("paired/") for name in found)
    assert not any(name.startswith("radius/") for name in found)


def test_the_simulator_ranks_the_estimators_and_ends_the_ledger_where_the_buffer_is_known():
    agent = gradlab.load("tests/checkpoints/td3_reacher_1000.zip")
    probe = probes.Simulator("Reacher-v5", states=8, episodes=8, horizon=3, draws=8)
    obs = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    found = measured(probe, agent, obs)
    terms = [name.split("/")[1] for name in found if name.startswith("ledger/") and name.endswith("/contribution")]
    assert terms[:4] == ["estimator_noise", "minibatch_noise", "state_distribution", "smoothing"]
    assert {"critic_error", "total"} <= set(terms)
    assert "truncation" not in terms
    parts = {name: found[f"ledger/{name}/contribution"].value for name in terms}
    total = parts.pop("total")
    assert math.fsum(parts.values()) == pytest.approx(total, rel=1e-6)
    assert total == found["ledger/total/norm_squared"].value
    apart = found["deterministic/mse"].value - found["score-function/mse"].value
    assert found["paired/deterministic/score-function"].value == pytest.approx(apart, rel=1e-6)
    without = measured(probe, agent, None)
    assert not any(name.startswith("ledger/") for name in without)
    assert set(without) == {name for name in found if not name.startswith("ledger/")}


class Guest(probes.Probe):
    """A probe that can do without observations."""

    name = "guest"
    needs_observations = False
    welcome_observations = 5

    def measure(self, agent, obs, generator):
        return gradlab.Measurement({"rows": gradlab.Estimate(float(len(obs)), 0.0, 2)})


@pytest.mark.parametrize(("sampler", "rows"), [(True, 5.0), (None, 0.0), (False, 0.0)])
def test_observations_are_handed_to_a_probe_that_can_do_without_where_there_are_any(agent, tmp_path, sampler, rows):
    def sample(count, random):
        return random.normal(size=(count, 3)).astype("f4") if sampler else None

    given = {} if sampler is None else {"sampler": sample}
    with probes.attach(agent, tmp_path / "run.db", probes=[Guest(every=1, states=99)], budget=None, **given) as monitor:
        monitor.step(1)
    with open_store(tmp_path / "run.db") as store:
        table = store.scalars(run=1)
    assert table.value.tolist() == [rows]


def test_wrong_input():
    with pytest.raises(GradlabError, match="at least four"):
        probes.Estimators(draws=3)
