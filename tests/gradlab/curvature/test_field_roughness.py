"""Flips and spikes along trajectories whose gradients are known."""

import math

import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.curvature import field_roughness
from gradlab.errors import GradlabError
from gradlab.landscape import gradient_field_over_states

# ∇_a Q of this critic is the state itself.
FIELD = Agent(nn.Linear(2, 2), [lambda obs, act: (act * obs).sum(-1)], [-1.0] * 2, [1.0] * 2)


def along(gradients, **options):
    return gradient_field_over_states(FIELD, torch.as_tensor(gradients), act=[0.0, 0.0], **options)


def test_flips_are_counted_by_coordinate_within_episodes():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(96, 2, generator=generator)
    gradients[:, 1] = gradients[:, 1].abs()
    episodes = torch.arange(12).repeat_interleave(8)
    found = field_roughness(along(gradients, episodes=episodes))
    flips = reversals = pairs = 0
    for t in range(95):
        if episodes[t] == episodes[t + 1]:
            pairs += 1
            flips += bool(gradients[t, 0] * gradients[t + 1, 0] < 0)
            reversals += bool((gradients[t] @ gradients[t + 1]) < 0)
    assert (pairs, found.flip_rate.samples) == (84, 12)
    assert found.flips[0].value == pytest.approx(flips / pairs)
    assert found.flips[1].value == 0.0
    assert found.flips[1].interval()[1] > 0.01
    assert found.flip_rate.value == pytest.approx(flips / pairs / 2)
    assert found.reversal_share.value == pytest.approx(reversals / pairs)


def test_zeros_do_not_flip():
    gradients = torch.tensor([[1.0, 1.0], [0.0, 1.0], [-1.0, 1.0], [1.0, -1.0]]).repeat(8, 1)
    found = field_roughness(along(gradients))
    # Of four successive pairs of the first coordinate only −1 → 1 flips; of the second 1 → −1 and −1 → 1.
    assert found.flips[0].value == pytest.approx(8 / 31)
    assert found.flips[1].value == pytest.approx(15 / 31)


def test_random_signs_flip_half_the_time_and_the_interval_holds_it():
    hits, repeats = 0, 200
    for seed in range(repeats):
        gradients = torch.randn(320, 2, generator=torch.Generator().manual_seed(seed))
        low, high = (
            field_roughness(along(gradients, episodes=torch.arange(16).repeat_interleave(20))).flips[0].interval()
        )
        hits += low <= 0.5 <= high
    assert 0.90 <= hits / repeats <= 0.98


class Jumpy(nn.Module):
    """∇_a Q = s, plus a jump of 50 where s passes one half."""

    def forward(self, obs, act):
        return (act * (obs + 50.0 * (obs > 0.5))).sum(-1)


def test_spikes_are_found_where_they_are():
    agent = Agent(nn.Linear(1, 1), [Jumpy()], [-1.0], [1.0])
    states = torch.linspace(0, 1, 101, dtype=torch.float32)[:, None]
    found = field_roughness(gradient_field_over_states(agent, states, act=[0.0]))
    assert found.spikes.nonzero().flatten().tolist() == [50]
    assert found.largest_at == 50
    assert found.typical == pytest.approx(1.0, rel=1e-3)
    assert found.threshold == pytest.approx(10.0, rel=1e-3)
    assert found.largest_spike == pytest.approx(50.01 / 0.01, rel=1e-2)
    assert found.spike_share.value == pytest.approx(0.01)


def test_a_piecewise_constant_field_is_measured_where_it_changes():
    agent = Agent(nn.Linear(1, 1), [lambda obs, act: (act * (4 * obs).floor()).sum(-1)], [-1.0], [1.0])
    states = torch.linspace(0, 0.999, 81)[:, None]
    found = field_roughness(gradient_field_over_states(agent, states, act=[0.0]))
    assert found.typical == pytest.approx(80 / 0.999, rel=1e-3)
    assert found.spike_share.value == 0.0
    still = field_roughness(along(torch.ones(20, 2) + torch.arange(20.0)[:, None] * 0))
    assert math.isnan(still.largest_spike)
    assert (still.largest_at, still.flip_rate.value) == (-1, 0.0)


def test_wrong_input_is_refused_in_one_line():
    good = along(torch.randn(20, 2, generator=torch.Generator().manual_seed(0)))
    for match, call in [
        ("multiple", lambda: field_roughness(good, multiple=1.0)),
        ("critic", lambda: field_roughness(good, "other")),
        ("16", lambda: field_roughness(along(torch.zeros(4, 2)))),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
