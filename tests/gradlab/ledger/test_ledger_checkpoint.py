"""The ledger of a real TD3 run: its terms add up to the gradient the run's own loss applied less the simulator's."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

import gradlab
from gradlab.ledger import ErrorLedger
from gradlab.references import SimulatorReference
from gradlab.simulation import Simulator, States

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator("Reacher-v5")


@pytest.fixture(scope="module")
def agent() -> gradlab.Agent:
    return gradlab.load(CHECKPOINTS / "td3_reacher_6000.zip")


@pytest.fixture(scope="module")
def replay(simulator: Simulator) -> Tensor:
    """What the earlier checkpoints visited, exploring as TD3 does: what a replay buffer holds at 6,000 steps."""
    found = []
    for step in (1000, 3000):
        earlier = gradlab.load(CHECKPOINTS / f"td3_reacher_{step}.zip")
        found.append(simulator.visit(earlier, 96, seed=step, exploration=0.1).obs.float())
    return torch.cat(found)


@pytest.fixture(scope="module")
def on_policy(simulator: Simulator, agent: gradlab.Agent) -> States:
    return simulator.visit(agent, 24, seed=3, episodes=8)


def applied_by_td3(agent: gradlab.Agent, obs: Tensor) -> dict[str, Tensor]:
    """What TD3's optimizer gets: minus the gradient of −Q₁(s, π(s)).mean(), by a plain backward pass."""
    actor, critic = copy.deepcopy((agent.actor, agent.critics[0]))
    (-critic(obs, actor(obs)).mean()).backward()
    return {name: -parameter.grad for name, parameter in actor.named_parameters()}


@pytest.fixture(scope="module")
def ledger(simulator: Simulator, agent: gradlab.Agent, replay: Tensor, on_policy: States) -> ErrorLedger:
    positions = torch.randperm(len(replay), generator=torch.Generator().manual_seed(0))[:64]
    return gradlab.error_ledger(
        agent,
        positions,
        applied=applied_by_td3(agent, replay[positions]),
        replay=replay,
        on_policy=on_policy,
        reference=SimulatorReference(simulator, horizon=5),
        long_reference=SimulatorReference(simulator, horizon=10),
        generator=torch.Generator().manual_seed(0),
    )


def flat(vector: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten().double() for part in vector.values()])


def test_the_terms_add_up_to_what_was_applied_less_the_simulators_gradient(
    ledger: ErrorLedger, simulator: Simulator, agent: gradlab.Agent, replay: Tensor, on_policy: States
) -> None:
    assert [term.name for term in ledger.terms if not term.missing] == [
        "estimator noise",
        "minibatch noise",
        "state distribution",
        *(["closed gates"] if ledger.closed else []),
        "smoothing",
        "critic error",
        "truncation",
        "entropy",
    ]
    added = sum(flat(term.vector) for term in ledger.terms if term.vector is not None)
    # Both ends anew, state by state, without the ledger.
    positions = torch.randperm(len(replay), generator=torch.Generator().manual_seed(0))[:64]
    references = [SimulatorReference(simulator, horizon=h).cotangent(agent, on_policy) for h in (5, 10)]
    open_ = references[0].valid & references[1].valid
    weights = agent.discount ** on_policy.step.double() * open_
    end = torch.zeros_like(added)
    for obs, v, weight in zip(on_policy.obs.float(), references[1].mean, weights.tolist(), strict=True):
        if weight > 0:
            head = agent.actor(obs[None])[0]
            parts = torch.autograd.grad(head, list(agent.actor.parameters()), v.float())
            end += weight * torch.cat([part.flatten() for part in parts]).double()
    total = flat(applied_by_td3(agent, replay[positions])) - end / weights.sum()
    assert float((added - total).norm()) <= 1e-6 * float(total.norm())
    assert ledger.residual <= 1e-6
    assert ledger.closed == int((~open_).sum())


def test_td3s_own_gradient_is_the_deterministic_one(ledger: ErrorLedger) -> None:
    noise, smoothing = ledger["estimator noise"], ledger["smoothing"]
    scale = float(flat(ledger.applied).norm())
    assert float(flat(noise.vector).norm()) < 1e-5 * scale
    # The critic's gradient in float64 against the run's float32.
    assert 0 < float(flat(smoothing.vector).norm()) < 1e-5 * scale
    assert smoothing.note == "no more than rounding: the model computes in float32"
    assert "rounding" not in ledger["critic error"].note


def test_its_table_names_every_term(ledger: ErrorLedger) -> None:
    text = str(ledger)
    for term in ledger.terms:
        assert term.name in text
    rows = ledger.rows()
    assert [row["term"] for row in rows] == [term.name for term in ledger.terms] + ["total"]
    assert rows[-1]["norm_low"] <= rows[-1]["norm"] <= rows[-1]["norm_high"]
    assert ledger.states == {"minibatch": 64, "replay": 128, "on_policy": 24}


def test_the_agent_is_as_it_was(agent: gradlab.Agent, ledger: ErrorLedger) -> None:
    assert all(parameter.grad is None for parameter in agent.actor.parameters())
