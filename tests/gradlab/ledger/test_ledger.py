"""What the ledger says where something is missing, mismatched or wrong, and its entropy term."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import gradlab
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators import Deterministic, Reparameterized, ZerothOrder
from gradlab.ledger import ErrorLedger, error_ledger
from gradlab.objective import Objective
from gradlab.policies import Gaussian
from gradlab.references import ReferenceCotangent
from gradlab.simulation import States

ALPHA, GAMMA = 0.3, 0.9


class Critic(nn.Module):
    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return -(act - obs).square().sum(-1)


def linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(0.1 * torch.arange(1.0, 1 + layer.weight.numel()).reshape(layer.weight.shape))
        layer.bias.fill_(0.2)
    return layer


def deterministic_agent(**options: object) -> Agent:
    return Agent(linear(2, 2), [Critic()], [-1.0, -1.0], [1.0, 1.0], GAMMA, **options)


def soft_agent() -> Agent:
    return Agent(linear(1, 2), [Critic()], [-1.0], [1.0], GAMMA, policy=Gaussian(), entropy=ALPHA)


def states(count: int, size: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def visited(count: int, size: int = 2, seed: int = 1) -> States:
    each = torch.arange(count)
    return States(states(count, size, seed), tuple(range(count)), each // 4, each % 4, "nowhere")


class Reference:
    """A constant cotangent with a given objective."""

    def __init__(
        self, value: float = 1.0, *, closed: tuple[int, ...] = (), stderr: float = 0.0, **objective: float
    ) -> None:
        self.value, self.closed, self.stderr = value, list(closed), stderr
        self.stated = Objective(**{"discount": GAMMA, "horizon": 10, **objective})
        self.asked = 0

    def objective(self, agent: Agent) -> Objective:
        return self.stated

    def cotangent(self, agent: Agent, at: States | Tensor) -> ReferenceCotangent:
        self.asked += 1
        size = agent.policy.head_size(agent.action_size)
        count = len(at)
        mean = torch.full((count, size), self.value, dtype=torch.float64)
        mean[self.closed] = torch.nan
        return ReferenceCotangent(mean, torch.full_like(mean, self.stderr), "constant", self.stated)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(vector: dict[str, Tensor] | None) -> Tensor:
    assert vector is not None
    return torch.cat([part.flatten() for part in vector.values()])


def full(**changes: object) -> ErrorLedger:
    options = {
        "estimator": ZerothOrder(0.3),
        "replay": states(40, seed=2),
        "on_policy": visited(16),
        "reference": Reference(1.0),
        "long_reference": Reference(1.5, horizon=20),
        "generator": generator(),
    }
    return error_ledger(deterministic_agent(), states(8, seed=3), **{**options, **changes})


# What is missing -----------------------------------------------------------------------------------------------


def test_everything_given_leaves_nothing_missing() -> None:
    ledger = full()
    assert not any(term.missing for term in ledger.terms)
    names = [term.name for term in ledger.terms]
    assert names == [
        "estimator noise",
        "minibatch noise",
        "state distribution",
        "smoothing",
        "critic error",
        "truncation",
        "entropy",
    ]
    assert ledger.truth_name == "constant at on-policy states"
    assert ledger.objective == "γ=0.9, H=20"
    assert gradlab.error_ledger is error_ledger


@pytest.mark.parametrize(
    ("leave_out", "missing"),
    [
        (
            ("replay",),
            {"minibatch noise": "pass replay=, observations of the buffer; it is part of state distribution"},
        ),
        (
            ("on_policy",),
            {"state distribution": "pass on_policy=simulator.visit(agent, ...); it is not part of the total"},
        ),
        (
            ("replay", "on_policy"),
            {"minibatch noise": "it is not part of the total", "state distribution": "it is not part of the total"},
        ),
        (
            ("reference", "long_reference"),
            {
                "critic error": "no reference; pass reference=SimulatorReference(...) or another; it is not part",
                "truncation": "pass reference= and long_reference=, of a longer horizon; it is not part of the total",
            },
        ),
        (("long_reference",), {"truncation": "the reference counts 10 rewards; pass long_reference= that counts more"}),
    ],
)
def test_missing_terms_say_what_to_give_and_the_chain_closes_over_them(
    leave_out: tuple[str, ...], missing: dict[str, str]
) -> None:
    ledger = full(**dict.fromkeys(leave_out))
    assert {term.name for term in ledger.terms if term.missing} == set(missing)
    for name, text in missing.items():
        assert text in ledger[name].note
        assert ledger[name].norm is None
        assert f"{name}: {ledger[name].note}" in str(ledger)
    added = sum(flat(term.vector) for term in ledger.terms if not term.missing)
    torch.testing.assert_close(added, flat(ledger.applied) - flat(ledger.truth), rtol=1e-12, atol=1e-14)
    assert ledger.residual < 1e-12


def test_without_replay_the_state_distribution_holds_both_terms() -> None:
    whole = full(estimator=Deterministic())
    less = full(estimator=Deterministic(), replay=None)
    both = flat(whole["minibatch noise"].vector) + flat(whole["state distribution"].vector)
    torch.testing.assert_close(flat(less["state distribution"].vector), both, rtol=1e-12, atol=1e-14)


def test_without_a_critic_the_critic_error_holds_the_estimators_own_bias() -> None:
    class Ones(ZerothOrder):
        def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
            return torch.ones(draws, len(obs), 2, dtype=obs.dtype)

    agent = Agent(linear(2, 2), [], [-1.0, -1.0], [1.0, 1.0], GAMMA)
    ledger = error_ledger(
        agent, states(4), estimator=Ones(), on_policy=visited(16), reference=Reference(0.5), generator=generator()
    )
    assert "no critic" in ledger["smoothing"].note
    assert "it is part of critic error" in ledger["smoothing"].note
    obs = torch.cat([visited(16).obs, torch.ones(16, 1)], 1)
    weights = GAMMA ** visited(16).step.double()
    mean = 0.5 * (weights[:, None] * obs).sum(0) / weights.sum()
    expected = torch.cat([mean[:2], mean[:2], mean[2:].expand(2)])
    torch.testing.assert_close(flat(ledger["critic error"].vector), expected, rtol=1e-12, atol=1e-12)


def test_a_reference_at_fixed_states_brings_its_own_noise_only() -> None:
    """With the minibatch alone states are no sample: an exact reference is exact, a noisy one debiased by its noise."""
    options = {"replay": None, "on_policy": None, "long_reference": None, "estimator": Deterministic()}
    exact = full(**options)["critic error"].norm_squared
    assert exact.stderr == 0
    obs = torch.cat([states(8, seed=3), torch.ones(8, 1)], 1)
    # Ω = (1/B²) Σ_i J_iᵀ diag(stderr²) J_i, and J_i J_iᵀ = (‖x_i‖² + 1) I for a linear head.
    noise = 2 * 0.1**2 * float(obs.square().sum()) / 64
    noisy = full(**options, reference=Reference(1.0, stderr=0.1))["critic error"].norm_squared
    # 64 replicates know a trace of about six dimensions to √(2/(6·63)) = 7 %; four of these.
    assert exact.value - noisy.value == pytest.approx(noise, rel=0.3)
    assert noisy.stderr > 0


# Weights and units ---------------------------------------------------------------------------------------------


def test_on_policy_states_are_weighed_by_the_discount_unless_told_otherwise() -> None:
    pool = visited(16)
    options = {"estimator": Deterministic(), "reference": None, "long_reference": None}
    agent = deterministic_agent()
    v = Deterministic().draw(agent, pool.obs)[0]
    each = torch.stack(
        [flat(gradlab.parameter_gradient(agent, o[None], c[None])) for o, c in zip(pool.obs, v, strict=True)]
    )
    weights = GAMMA ** pool.step.double()
    torch.testing.assert_close(flat(full(**options).truth), weights @ each / weights.sum())
    undiscounted = full(**options, on_policy_weights=torch.ones(16))
    torch.testing.assert_close(flat(undiscounted.truth), each.mean(0))
    bare = full(**options, on_policy=pool.obs)
    torch.testing.assert_close(flat(bare.truth), each.mean(0))
    assert any("equal ones" in note for note in full(**options).notes)
    # The last step seen is 3, so γ⁴ = 0.66 of an endless task's weight lies beyond.
    assert any("no state after step 3" in note and "0.66 of its" in note for note in full(**options).notes)
    assert not any("no state after" in note for note in undiscounted.notes)
    assert not any("equal ones" in note for note in undiscounted.notes)


def test_states_of_one_episode_count_as_one_sample() -> None:
    pool = visited(16)
    by_episode = full(on_policy=pool)["critic error"].norm_squared
    assert by_episode.samples <= 4
    one = States(pool.obs, pool.snapshots, torch.zeros(16, dtype=torch.long), pool.step, "nowhere")
    ledger = full(on_policy=one)
    assert math.isnan(ledger["critic error"].norm_squared.value)
    assert ledger["estimator noise"].norm_squared.value > 0
    assert any("one episode" in note for note in ledger.notes)


def test_positions_take_the_minibatch_out_of_the_pool() -> None:
    pool, positions = states(20, seed=2), torch.tensor([3, 17, 5])
    rest = torch.ones(20, dtype=torch.bool)
    rest[positions] = False
    agent = deterministic_agent()
    one = error_ledger(agent, positions, replay=pool, generator=generator())
    two = error_ledger(agent, pool[positions], replay=pool[rest], generator=generator())
    torch.testing.assert_close(flat(one["minibatch noise"].vector), flat(two["minibatch noise"].vector))
    assert one.states == {"minibatch": 3, "replay": 17}
    # The same states given as observations are noticed.
    overlap = error_ledger(agent, pool[positions], replay=pool, generator=generator())
    assert any("3 of the minibatch's 3 observations are in the replay pool too" in note for note in overlap.notes)


def test_closed_gates_are_a_term_of_their_own() -> None:
    ledger = full(reference=Reference(1.0, closed=(0, 5)), long_reference=Reference(1.5, closed=(5, 6), horizon=20))
    assert ledger.closed == 3
    assert "3 of 16 states" in ledger["closed gates"].note
    assert torch.isfinite(flat(ledger.truth)).all()
    assert ledger.residual < 1e-12
    with pytest.raises(GradlabError, match="no on_policy state is open in all of them"):
        full(reference=Reference(closed=tuple(range(16))))


# Objectives ----------------------------------------------------------------------------------------------------


def test_entropy_left_out_is_the_bonus_gradient() -> None:
    """Entropy of a Gaussian grows by one with each log-std, so that α(s, 1) is missing from the log-std's row."""
    agent, pool = soft_agent(), states(64, 1)

    class Without(Reparameterized):
        def objective(self, agent: Agent) -> Objective:
            return replace(agent.objective, entropy=0.0)

    ledger = error_ledger(agent, states(8, 1), estimator=Without(entropy=False), on_policy=pool, generator=generator())
    missing = ledger["entropy"]
    expected = torch.tensor([0.0, -ALPHA * float(pool.mean()), 0.0, -ALPHA], dtype=torch.float64)
    torch.testing.assert_close(flat(missing.vector), expected, rtol=1e-9, atol=1e-9)
    # With the bonus there is nothing to report.
    kept = error_ledger(agent, states(8, 1), on_policy=pool, generator=generator())
    assert not kept["entropy"].missing
    assert float(flat(kept["entropy"].vector).norm()) == 0
    assert kept["entropy"].note.startswith("none: the ")


def test_a_stated_objective_without_entropy_needs_its_own_reference() -> None:
    agent, stated = soft_agent(), Objective(GAMMA)
    options = {"on_policy": visited(16, 1), "objective": stated, "reference": Reference(2.0, entropy=ALPHA)}
    without = error_ledger(agent, states(8, 1), **options, generator=generator())
    assert without["entropy"].missing
    assert "pass entropy_reference= of the stated one; it is not part of the total" in without["entropy"].note
    given = error_ledger(agent, states(8, 1), **options, entropy_reference=Reference(0.5), generator=generator())
    pool = visited(16, 1)
    weights = GAMMA ** pool.step.double()
    mean = float((weights * pool.obs[:, 0]).sum() / weights.sum())
    expected = 1.5 * torch.tensor([mean, mean, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(flat(given["entropy"].vector), expected, rtol=1e-12, atol=1e-12)
    assert given.objective == "γ=0.9, H=10"
    # Both count ten rewards, so what more would bring is nowhere.
    assert given["truncation"].note.endswith("pass long_reference= that counts more; it is not part of the total")
    with pytest.raises(GradlabError, match="entropy_reference: its horizon is 30, that of the reference before it 10"):
        error_ledger(agent, states(8, 1), **options, entropy_reference=Reference(0.5, horizon=30))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (Reference(discount=1.0), "undiscounted against discounted γ=0.9"),
        (Reference(entropy=0.2), "entropy α=0.2 against no entropy"),
    ],
)
def test_a_reference_of_another_objective_is_refused_by_name(reference: Reference, message: str) -> None:
    with pytest.raises(GradlabError, match=message):
        full(reference=reference, long_reference=None)
    assert reference.asked == 0
    ledger = full(reference=reference, long_reference=None, allow_mismatch=True)
    assert any(message in note for note in ledger.notes)
    assert message in str(ledger)


def test_horizons_and_references_must_make_sense() -> None:
    with pytest.raises(GradlabError, match=r"long_reference: its horizon is 5, the reference's is 10"):
        full(long_reference=Reference(horizon=5))
    with pytest.raises(GradlabError, match="long_reference: is compared with reference="):
        full(reference=None)
    with pytest.raises(GradlabError, match=r"float has no method cotangent"):
        full(reference=1.0)
    wrong = Reference().cotangent(deterministic_agent(), states(3))
    with pytest.raises(GradlabError, match="has 3 states, the on_policy pool has 16"):
        full(reference=wrong, long_reference=None)


def test_a_reference_that_calls_a_nan_valid_is_refused_and_located() -> None:
    mean = torch.ones(16, 2, dtype=torch.float64)
    mean[4] = torch.nan
    bad = ReferenceCotangent(mean, torch.zeros_like(mean), "bad", Objective(GAMMA), torch.ones(16, dtype=torch.bool))
    with pytest.raises(GradlabError, match=r"NaN or infinite at 1 states it calls valid, first \[4\]"):
        full(reference=bad, long_reference=None)


# Input ---------------------------------------------------------------------------------------------------------


def test_applied_is_checked_against_the_parameters() -> None:
    agent = deterministic_agent()
    good = {name: torch.ones_like(p) for name, p in agent.named_parameters().items()}
    ledger = error_ledger(agent, states(8), applied=good, generator=generator())
    assert float(flat(ledger.applied).sum()) == 6
    with pytest.raises(GradlabError, match=r"applied: lacks \['bias'\]"):
        error_ledger(agent, states(8), applied={"weight": good["weight"]})
    with pytest.raises(GradlabError, match="applied: bias has shape"):
        error_ledger(agent, states(8), applied=good | {"bias": torch.ones(3)})
    with pytest.raises(GradlabError, match="applied: 1 NaN or infinite numbers in bias"):
        error_ledger(agent, states(8), applied=good | {"bias": torch.tensor([1.0, math.nan])})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draws": 0}, "draws: 0"),
        ({"on_policy_weights": torch.ones(3)}, "on_policy weights: shape"),
        ({"on_policy_weights": -torch.ones(16)}, "none negative"),
        ({"on_policy_weights": torch.zeros(16)}, "all are zero"),
    ],
)
def test_wrong_numbers_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(GradlabError, match=message):
        full(**changes)


def test_wrong_positions_are_refused() -> None:
    agent = deterministic_agent()
    with pytest.raises(GradlabError, match="there is no replay pool"):
        error_ledger(agent, torch.tensor([1, 2]))
    with pytest.raises(GradlabError, match="must be some of 0 … 3"):
        error_ledger(agent, torch.tensor([4]), replay=states(4))
    with pytest.raises(GradlabError, match="pass a larger pool"):
        error_ledger(agent, torch.tensor([0, 1, 2]), replay=states(4))


def test_a_nan_critic_is_located() -> None:
    class Broken(Critic):
        def forward(self, obs: Tensor, act: Tensor) -> Tensor:
            return torch.where(obs[..., 0] > 0, torch.nan, super().forward(obs, act))

    agent = Agent(linear(2, 2), [Broken()], [-1.0, -1.0], [1.0, 1.0], GAMMA)
    obs = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [-2.0, 1.0]], dtype=torch.float64)
    with pytest.raises(
        GradlabError,
        match=r"minibatch states: .* NaN or infinite in 4 of 4 draws at 1 of 3 states, first in draw 0, state 1",
    ):
        error_ledger(agent, obs, draws=4, estimator=ZerothOrder(0.1), generator=generator())


def test_one_draw_has_no_interval_and_says_so() -> None:
    ledger = full(draws=1)
    noise = ledger["estimator noise"].norm_squared
    assert math.isnan(noise.value)
    assert math.isnan(noise.interval()[0])
    assert any(note.startswith("one draw:") for note in ledger.notes)
    # Elsewhere draws are averaged over many states, whose scatter tells.
    assert math.isfinite(ledger["state distribution"].norm_squared.value)
    assert not full(draws=1, estimator=Deterministic()).notes[0].startswith("one draw")


def test_a_changed_vector_no_longer_adds_up() -> None:
    ledger = full()
    ledger.check()
    flat(ledger["smoothing"].vector)
    ledger["smoothing"].vector["bias"].add_(0.1)
    with pytest.raises(GradlabError, match=r"its terms miss applied − truth by .* of its norm"):
        ledger.check()


def test_it_leaves_the_agent_and_the_global_generator_alone_and_works_without_grad() -> None:
    agent = deterministic_agent()
    agent.actor.train()
    before, state = agent.actor.weight.detach().clone(), torch.get_rng_state()
    with torch.no_grad():
        one = error_ledger(
            agent, states(8), replay=states(20, seed=5), estimator=ZerothOrder(0.3), generator=generator(1)
        )
    two = error_ledger(agent, states(8), replay=states(20, seed=5), estimator=ZerothOrder(0.3), generator=generator(1))
    assert torch.equal(flat(one.truth), flat(two.truth))
    assert torch.equal(agent.actor.weight, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert agent.actor.weight.grad is None
    assert agent.actor.training


def test_unknown_terms_are_refused_by_name() -> None:
    with pytest.raises(GradlabError, match="no term 'noise'; its terms are estimator noise"):
        full()["noise"]
