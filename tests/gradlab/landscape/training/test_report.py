"""A checkpoint's landscape: its numbers are those of the parts it is made of, on trained critics."""

import math
from pathlib import Path

import pytest
import torch

import gradlab
from gradlab.errors import GradlabError
from gradlab.landscape import follow, gap, local_optima
from gradlab.landscape.training.report import THRESHOLDS, follow_since, measure_landscape
from gradlab.landscape.training.summaries import landscape_numbers
from gradlab.simulation.states import States

CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"


def states_of(obs, episodes=4):
    count = len(obs)
    episode = torch.arange(count) % episodes
    return States(obs.double(), (None,) * count, episode, torch.zeros(count, dtype=torch.long), "X")


@pytest.fixture(scope="module")
def pair():
    return [gradlab.load(CHECKPOINTS / f"td3_invertedpendulum_{step}.zip") for step in (3000, 10000)]


@pytest.fixture(scope="module")
def states():
    return states_of(0.2 * torch.randn(12, 4, generator=torch.Generator().manual_seed(0)))


def test_numbers_curve_and_control(pair, states):
    agent = pair[1]
    report = measure_landscape(agent, states, starts=32, threshold=0.02, seed=5)
    optima = local_optima(agent, states.obs, starts=32, generator=torch.Generator().manual_seed(5))
    standing = gap(agent, states.obs, optima, threshold=0.02)
    assert report.numbers == landscape_numbers(optima, standing, states.episode, threshold=0.02)
    assert report.numbers["optima"].value == optima.count(0.02).double().mean().item()
    assert report.numbers["gap"].value == pytest.approx(standing.gap.double().mean().item())
    assert all(estimate.samples == 4 for estimate in report.numbers.values())
    relative = report.numbers["relative_own_fit"].value + report.numbers["relative_basin_choice"].value
    assert relative == pytest.approx(report.numbers["relative_gap"].value, rel=1e-5, abs=1e-7)
    assert tuple(report.curve) == THRESHOLDS
    counts = [estimate.value for estimate in report.curve.values()]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == pytest.approx(1.0)
    # One action and 32 starts: nothing of note is found by one of two searches only.
    assert report.control["births"].value + report.control["deaths"].value <= 0.2
    assert 0 <= report.control["unseen_share"].value <= 0.05


def test_followed_since_an_earlier_checkpoint_at_the_later_ones_states(pair, states):
    early, late = pair
    report = measure_landscape(late, states, starts=32, seed=5)
    found = follow_since(early, late, report, starts=32, seed=5)
    before, after = (
        local_optima(agent, states.obs, starts=32, generator=torch.Generator().manual_seed(5)) for agent in pair
    )
    by_hand = follow(before, after, late.action_low, late.action_high)
    assert torch.equal(found.born, by_hand.born)
    assert torch.equal(found.died, by_hand.died)
    torch.testing.assert_close(found.moved, by_hand.moved, equal_nan=True)
    assert torch.equal(found.after - found.before, late_less_early(after, before))


def late_less_early(after, before):
    return after.count(0.01) - before.count(0.01)


def test_a_constant_critic_has_no_optimum_and_no_gap(states):
    actor = torch.nn.Linear(4, 1)
    agent = gradlab.Agent(actor, [lambda obs, act: 0.0 * act.sum(-1)], [-1.0], [1.0])
    report = measure_landscape(agent, states, starts=8)
    assert report.numbers["optima"].value == 0.0
    assert report.numbers["gap"].value == 0.0
    assert report.numbers["relative_gap"].value == 0.0
    assert report.numbers["boundary_share"].value == 0.0
    assert math.isnan(report.control["moves"].value)


def test_wrong_input(pair, states):
    with pytest.raises(GradlabError, match="of 2 episodes; intervals over episodes need at least 3"):
        measure_landscape(pair[0], states_of(states.obs, episodes=2))
    report = measure_landscape(pair[1], states, starts=8)
    wider = gradlab.Agent(
        torch.nn.Linear(4, 1), [lambda obs, act: -act.square().sum(-1)], action_low=[-2.0], action_high=[2.0]
    )
    with pytest.raises(GradlabError, match="different action boxes"):
        follow_since(wider, pair[1], report, starts=8, seed=0)
