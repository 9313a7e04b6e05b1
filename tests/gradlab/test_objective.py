"""References for another objective are refused by name, or the difference is printed on every number."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from gradlab import Agent, GradlabError, gradient_error
from gradlab.estimators import Deterministic, ZerothOrder
from gradlab.objective import Objective
from gradlab.references import CriticReference
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.views import error_by_coordinate, error_by_layer


class Critic(nn.Module):
    def forward(self, obs, act):
        return (1 - act.square()).sum(-1) + act[:, 0]


def make(discount=0.99, entropy=0.0):
    actor = nn.Linear(2, 2)
    return Agent(actor, [Critic()], [-1.0, -1.0], [1.0, 1.0], discount=discount, entropy=entropy), torch.randn(
        5, 2, generator=torch.Generator().manual_seed(0)
    )


def reference(objective, states=5):
    mean = torch.ones(states, 2, dtype=torch.float64)
    return ReferenceCotangent(mean, torch.zeros_like(mean), "truth", objective)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Objective(discount=1.0), r"truth: .*: discounted \(γ=0.99\) against undiscounted; .*allow_mismatch=True"),
        (Objective(discount=0.9), r"discounted \(γ=0.99\) against discounted \(γ=0.9\)"),
        (Objective(entropy=0.2), "no entropy against entropy α=0.2"),
        (Objective(discount=1.0, entropy=0.2), "against undiscounted; no entropy against entropy"),
    ],
)
def test_another_objective_is_refused_by_name_or_printed_on_every_number(objective, message):
    agent, obs = make()
    v = torch.ones(6, 5, 2) + torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(1))
    ref = reference(objective)
    for call in (gradient_error, error_by_coordinate, error_by_layer):
        with pytest.raises(GradlabError, match=message) as refusal:
            call(agent, obs, v, ref)
        assert "\n" not in str(refusal.value)
    error = gradient_error(agent, obs, v, ref, allow_mismatch=True)
    caveat = f"mismatch allowed: {agent.objective.mismatch(objective)}"
    assert error.notes[0] == caveat
    numbers = [getattr(error, field.name) for field in dataclasses.fields(error)]
    numbers = [number for number in numbers if hasattr(number, "stderr")]
    assert len(numbers) == 9
    for number in numbers:
        assert caveat in str(number)
        assert caveat in number.objective
    same = gradient_error(agent, obs, v, reference(Objective()), allow_mismatch=True)
    assert "mismatch" not in str(same.mse)
    assert same.notes == ()


def test_what_an_estimator_leaves_on_its_draws_decides():
    agent, obs = make(entropy=0.2)
    v = Deterministic().draw(agent, obs, 4)
    # A deterministic action has no entropy to be paid for.
    assert v.objective == dataclasses.replace(agent.objective, entropy=0.0)
    plain = CriticReference(entropy=False).cotangent(agent, obs)
    assert plain.objective.entropy == 0.0
    assert gradient_error(agent, obs, v, plain).notes == ()
    with pytest.raises(GradlabError, match=r"no entropy against entropy α=0\.2"):
        gradient_error(agent, obs, v, reference(Objective(entropy=0.2)))
    # Said outright, it counts more than what is on the draws; a tensor that carries nothing is the agent's.
    with pytest.raises(GradlabError, match=r"entropy α=0\.2 against no entropy"):
        gradient_error(agent, obs, v, plain, objective=agent.objective)
    with pytest.raises(GradlabError, match=r"entropy α=0\.2 against no entropy"):
        gradient_error(agent, obs, v + 0, plain)


def test_smoothing_and_truncation_are_noted_and_measured():
    agent, obs = make()
    v = ZerothOrder(0.1).draw(agent, obs, 8, torch.Generator().manual_seed(0))
    assert v.objective.smoothing == 0.1
    error = gradient_error(agent, obs, v, reference(Objective(horizon=50)))
    assert error.notes == (
        "the bias includes smoothing: σ=0.1 against none",
        "the bias includes truncation: none against H=50",
    )
    assert "mismatch" not in str(error.bias_squared)


def test_nan_critics_are_counted_and_located():
    class Broken(nn.Module):
        def forward(self, obs, act):
            return Critic()(obs, act) + torch.where(obs[:, 0] > 0.5, torch.nan, 0.0)

    actor = nn.Linear(2, 2)
    agent = Agent(actor, [Broken()], [-1.0, -1.0], [1.0, 1.0])
    obs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.1, 0.0], [2.0, 1.0]])
    v = ZerothOrder(0.1, points=1).draw(agent, obs, 8, torch.Generator().manual_seed(0))
    with pytest.raises(
        GradlabError, match="NaN or infinite in 8 of 8 draws at 2 of 4 states, first in draw 0, state 1"
    ):
        gradient_error(agent, obs, v, reference(Objective(), 4))
    # Against the critic's own gradient these states have no reference either, and are named.
    mean = torch.ones(4, 2).double()
    mean[[1, 3]] = torch.nan
    error = gradient_error(agent, obs, v, ReferenceCotangent(mean, torch.zeros_like(mean), "critic", Objective()))
    assert error.states == 2
    note = (
        "2 of 4 states left out: critic's gate is closed there (state 1, 3); its value is NaN or infinite at 2 of them"
    )
    assert note in error.notes
    bad = ReferenceCotangent(
        mean, torch.zeros_like(mean), "critic", Objective(), valid=torch.tensor([True, True, True, False])
    )
    with pytest.raises(GradlabError, match="NaN or infinite at 1 states it calls valid, first state 1"):
        gradient_error(agent, obs, torch.ones(4, 4, 2), bad)


def test_one_draw_has_no_interval_and_says_so():
    agent, obs = make()
    error = gradient_error(agent, obs, torch.ones(1, 5, 2), reference(Objective()))
    assert any(note.startswith("one draw: ") for note in error.notes)
    for name in ("bias_squared", "variance", "mse", "minibatch_cosine"):
        assert "no interval: n=1" in str(getattr(error, name))
