"""The ledger's vectors and numbers against per-sample gradients, explicit means and an explicit jackknife."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.estimators import ZerothOrder
from gradlab.ledger import ErrorLedger, error_ledger
from gradlab.objective import Objective
from gradlab.references import CriticReference, ReferenceCotangent
from gradlab.simulation import States

DRAWS, GAMMA = 5, 0.8
#: Episodes of different lengths, so that leaving one out of a weighted mean is not linear.
EPISODES = [0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 4]
CLOSED = (2, 7)


class Critic(nn.Module):
    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return -(act - obs[..., :2].tanh()).square().sum(-1) + 0.3 * (act**3).sum(-1) * obs[..., 2]


def make_agent(dtype: torch.dtype) -> Agent:
    generator = torch.Generator().manual_seed(3)
    actor = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return Agent(actor.to(dtype), [Critic()], [-1.0, -1.0], [1.0, 1.0], GAMMA)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Given:
    """A reference of random numbers with closed gates, at twelve states."""

    def __init__(self, seed: int, horizon: int, closed: tuple[int, ...]) -> None:
        self.mean, self.horizon = normal(12, 2, seed=seed), horizon
        self.valid = torch.ones(12, dtype=torch.bool)
        self.valid[list(closed)] = False

    def cotangent(self, agent: Agent, states: States) -> ReferenceCotangent:
        assert isinstance(states, States)
        mean = self.mean.clone()
        mean[~self.valid] = torch.nan
        reasons = ["" if ok else "made to be closed" for ok in self.valid.tolist()]
        objective = Objective(GAMMA, horizon=self.horizon)
        return ReferenceCotangent(mean, 0.1 * mean.abs(), "given", objective, self.valid, 0, {"reason": reasons})


class Oracle:
    """Everything by loops: named gradients g_k as functions of which unit of which source is left out."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        dtype = agent.dtype
        self.minibatch, self.replay = normal(6, 3, seed=1).to(dtype), normal(8, 3, seed=2).to(dtype)
        self.estimator = ZerothOrder(0.5, 2)
        self.references = Given(11, 20, CLOSED[:1]), Given(12, 50, CLOSED[1:])
        episode = torch.tensor(EPISODES)
        step = torch.tensor([0, 3, 5, 1, 0, 2, 0, 1, 2, 4, 6, 7])
        self.on_policy = States(normal(12, 3, seed=4), tuple(range(12)), episode, step, "nowhere")
        self.weights = [GAMMA ** float(t) for t in step]

    def ledger(self) -> ErrorLedger:
        return error_ledger(
            self.agent,
            self.minibatch,
            estimator=self.estimator,
            replay=self.replay,
            on_policy=self.on_policy,
            reference=self.references[0],
            long_reference=self.references[1],
            draws=DRAWS,
            generator=torch.Generator().manual_seed(0),
        )

    def sample(self, obs: Tensor, v: Tensor) -> Tensor:
        """One state's gradient J_iᵀ v, by autograd of a single head."""
        head = self.agent.actor(obs[None])[0]
        parts = torch.autograd.grad((head * v.to(head)).sum(), list(self.agent.actor.parameters()))
        return torch.cat([part.flatten() for part in parts]).double()

    def gradients(self) -> tuple[dict[str, Tensor], dict[str, list[dict[str, Tensor]]]]:
        """g_k of everything, and, for each source, g_k of its waypoints with each unit left out."""
        agent, generator = self.agent, torch.Generator().manual_seed(0)
        on_obs = self.on_policy.obs.to(agent.dtype)
        at_batch = self.estimator.draw(agent, self.minibatch, DRAWS, generator)
        applied = self.estimator.draw(agent, self.minibatch, 1, generator)[0]
        at_replay = self.estimator.draw(agent, self.replay, DRAWS, generator).double().mean(0)
        at_on = self.estimator.draw(agent, on_obs, DRAWS, generator).double().mean(0)
        opened = [i for i in range(12) if i not in CLOSED]
        cotangents = {
            "open": at_on,
            "critic": CriticReference().cotangent(agent, on_obs).mean,
            "reference": self.references[0].mean,
            "long": self.references[1].mean,
        }

        def batch_mean(v: Tensor) -> Tensor:
            return sum(self.sample(o, c) for o, c in zip(self.minibatch, v, strict=True)) / len(v)

        by_draw = [batch_mean(v) for v in at_batch]

        def of_draws(left_out: int | None) -> dict[str, Tensor]:
            kept = [g for d, g in enumerate(by_draw) if d != left_out]
            return {"minibatch": sum(kept) / len(kept)}

        def of_replay(left_out: int | None) -> dict[str, Tensor]:
            kept = [self.sample(self.replay[i], at_replay[i]) for i in range(8) if i != left_out]
            return {"replay": sum(kept) / len(kept)}

        def weighted(v: Tensor, states: list[int]) -> Tensor:
            total = sum(self.weights[i] * self.sample(on_obs[i], v[i]) for i in states)
            return total / sum(self.weights[i] for i in states)

        def of_episodes(left_out: int | None) -> dict[str, Tensor]:
            kept = [i for i in range(12) if EPISODES[i] != left_out]
            found = {"on_policy": weighted(at_on, kept)}
            return found | {n: weighted(v, [i for i in kept if i in opened]) for n, v in cotangents.items()}

        def both(
            make: Callable[[int | None], dict[str, Tensor]], units: int
        ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
            return make(None), [make(unit) for unit in range(units)]

        sources = {"draws": both(of_draws, DRAWS), "replay": both(of_replay, 8), "episodes": both(of_episodes, 5)}
        everything = {"applied": batch_mean(applied)}
        for whole, _ in sources.values():
            everything |= whole
        return everything, {name: left_out for name, (_, left_out) in sources.items()}


STEPS = {
    "estimator noise": ("applied", "minibatch"),
    "minibatch noise": ("minibatch", "replay"),
    "state distribution": ("replay", "on_policy"),
    "closed gates": ("on_policy", "open"),
    "smoothing": ("open", "critic"),
    "critic error": ("critic", "reference"),
    "truncation": ("reference", "long"),
    "total": ("applied", "long"),
}


def flat(vector: dict[str, Tensor] | None) -> Tensor:
    assert vector is not None
    return torch.cat([part.flatten() for part in vector.values()])


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=["float64", "float32"])
def both(request: pytest.FixtureRequest) -> tuple[ErrorLedger, Oracle]:
    oracle = Oracle(make_agent(request.param))
    return oracle.ledger(), oracle


def pseudo(oracle: Oracle) -> tuple[dict[str, Tensor], dict[str, list[dict[str, Tensor]]]]:
    """g_k, and the pseudo-values n g − (n − 1) g₍ᵢ₎ of each source, moved so that their mean is g."""
    whole, sources = oracle.gradients()
    found = {}
    for name, left_out in sources.items():
        n = len(left_out)
        values = [{k: n * whole[k] - (n - 1) * part[k] for k in part} for part in left_out]
        means = {k: sum(value[k] for value in values) / n for k in values[0]}
        found[name] = [{k: value[k] - means[k] + whole[k] for k in value} for value in values]
    return whole, found


def combine(values: dict[str, Tensor], step: tuple[str, str]) -> Tensor:
    """The part of first − second that these values have a say in."""
    zero = torch.zeros_like(next(iter(values.values())))
    return values.get(step[0], zero) - values.get(step[1], zero)


def debiased(whole: dict[str, Tensor], values: dict[str, list[dict[str, Tensor]]], a: str, b: str) -> float:
    """a·b less what its noise adds: Σ over sources of the covariance of the means of the pseudo-values."""
    inner = float(combine(whole, STEPS[a]) @ combine(whole, STEPS[b]))
    for units in values.values():
        n = len(units)
        one, two = (torch.stack([combine(unit, STEPS[name]) for unit in units]) for name in (a, b))
        for d in range(n):
            inner -= float((one[d] - one.mean(0)) @ (two[d] - two.mean(0))) / (n * (n - 1))
    return inner


def test_vectors_are_differences_of_explicit_means_and_add_up(both: tuple[ErrorLedger, Oracle]) -> None:
    ledger, oracle = both
    whole, _ = oracle.gradients()
    tolerance = 1e-12 if oracle.agent.dtype == torch.float64 else 2e-6
    scale = float(combine(whole, STEPS["total"]).norm())
    for name, step in STEPS.items():
        assert float((flat(ledger[name].vector) - combine(whole, step)).norm()) <= tolerance * scale, name
    measured = [term for term in ledger.terms if not term.missing]
    added = sum(flat(term.vector) for term in measured)
    # Against gradients that the ledger has not seen.
    assert float((added - (whole["applied"] - whole["long"])).norm()) <= tolerance * scale
    assert ledger.residual <= 1e-12
    assert [term.name for term in measured] == [*list(STEPS)[:-1], "entropy"]


def test_squared_norms_are_u_statistics(both: tuple[ErrorLedger, Oracle]) -> None:
    ledger, oracle = both
    whole, values = pseudo(oracle)
    tolerance = 1e-10 if oracle.agent.dtype == torch.float64 else 1e-5
    for name in STEPS:
        estimate = ledger[name].norm_squared
        assert estimate is not None
        assert estimate.value == pytest.approx(debiased(whole, values, name, name), rel=tolerance, abs=tolerance), name
    # For one source it is the mean over pairs of different units.
    episodes = [combine(unit, STEPS["critic error"]) for unit in values["episodes"]]
    pairs = [float(episodes[i] @ episodes[j]) for i in range(5) for j in range(5) if i != j]
    assert ledger["critic error"].norm_squared.value == pytest.approx(sum(pairs) / 20, rel=10 * tolerance)


def test_cosines_shares_and_contributions_have_the_explicit_jackknifes_standard_error(
    both: tuple[ErrorLedger, Oracle],
) -> None:
    ledger, oracle = both
    whole, values = pseudo(oracle)

    def statistics(name: str, at: dict[str, Tensor], units: dict[str, list[dict[str, Tensor]]]) -> tuple[float, ...]:
        one, two = (debiased(at, units, x, x) for x in (name, "total"))
        between = debiased(at, units, name, "total")
        cosine = between / math.sqrt(one * two) if one > 0 and two > 0 else math.nan
        return cosine, between / two if two > 0 else math.nan, between

    checked = 0
    for name in list(STEPS)[:-1]:
        found = statistics(name, whole, values)
        variances = [0.0, 0.0, 0.0]
        for source, units in values.items():
            n = len(units)
            left_out = []
            for d in range(n):
                rest = [unit for i, unit in enumerate(units) if i != d]
                at = dict(whole) | {k: sum(unit[k] for unit in rest) / (n - 1) for k in units[0]}
                left_out.append(statistics(name, at, values | {source: rest}))
            for i in range(3):
                column = torch.tensor([row[i] for row in left_out], dtype=torch.float64)
                variances[i] += (n - 1) / n * float((column - column.mean()).square().sum())
        term = ledger[name]
        tolerance = 1e-7 if oracle.agent.dtype == torch.float64 else 2e-3
        for i, estimate in enumerate((term.cosine_with_total, term.share, term.contribution)):
            assert estimate is not None
            assert estimate.value == pytest.approx(found[i], rel=tolerance, abs=tolerance, nan_ok=True), (name, i)
            if math.isfinite(found[i]) and math.isfinite(variances[i]):
                assert estimate.stderr == pytest.approx(math.sqrt(variances[i]), rel=10 * tolerance), (name, i)
                checked += 1
    assert checked >= 14


def test_shares_add_up_to_one(both: tuple[ErrorLedger, Oracle]) -> None:
    ledger, _ = both
    assert sum(term.share.value for term in ledger.terms if term.share) == pytest.approx(1.0, abs=1e-9)


def test_contributions_add_up_to_the_squared_total_whatever_its_sign(both: tuple[ErrorLedger, Oracle]) -> None:
    ledger, _ = both
    parts = [term.contribution.value for term in ledger.terms if term.contribution]
    assert sum(parts) == pytest.approx(ledger.total.norm_squared.value, rel=1e-9)
    assert ledger.total.contribution == ledger.total.norm_squared


def test_closed_states_are_counted_and_on_neither_side(both: tuple[ErrorLedger, Oracle]) -> None:
    ledger, _ = both
    assert ledger.closed == 2
    note = ledger["closed gates"].note
    assert "2 of 12" in note
    assert "made to be closed" in note
    assert ledger.states == {"minibatch": 6, "replay": 8, "on_policy": 12}
