"""Smoothness of actions: waves of known frequency, white noise, the slow sum over steps, and borders of episodes."""

import cmath
import math

import pytest
import torch

from gradlab.curvature import observed_smoothness
from gradlab.errors import GradlabError


def wave(frequency, amplitude, steps, time_step, phase=0.3):
    time = torch.arange(steps, dtype=torch.float64) * time_step
    return amplitude * torch.cos(2 * math.pi * frequency * time + phase)


@pytest.mark.parametrize(("steps", "time_step"), [(100, 0.05), (101, 0.02)])
def test_waves_have_the_smoothness_of_the_formula(steps, time_step):
    count = steps // 2
    low, high = 3 / (steps * time_step), (count - 4) / (steps * time_step)
    act = torch.stack([wave(low, 0.4, steps, time_step), 0.1 + wave(high, 0.2, steps, time_step)], -1)
    found = observed_smoothness(act, act, torch.zeros(steps), time_step=time_step)
    each = [2 * amplitude * f * time_step / count for amplitude, f in ((0.4, low), (0.2, high))]
    assert found.smoothness.item() == pytest.approx(sum(each) / 2)
    # Powers are as amplitudes squared.
    assert found.high_frequency_share.item() == pytest.approx(0.04 / (0.04 + 0.16), rel=1e-6)
    everything = observed_smoothness(act, act, torch.zeros(steps), time_step=time_step, above=0.0)
    assert everything.high_frequency_share.item() == 1.0


def test_it_is_the_slow_sum():
    steps, time_step = 12, 0.1
    act = torch.randn(steps, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total, high, power = 0.0, 0.0, 0.0
    for j in range(2):
        mean = float(act[:, j].mean())
        for i in range(1, 7):
            terms = [cmath.exp(-2j * math.pi * i * t / steps) for t in range(steps)]
            once = 1 if i == 6 else 2
            amplitude = once * abs(sum(float(a) * w for a, w in zip(act[:, j], terms, strict=True))) / steps
            total += amplitude * i / (steps * time_step)
            hann = [0.5 - 0.5 * math.cos(2 * math.pi * t / steps) for t in range(steps)]
            windowed = sum((float(a) - mean) * h * w for a, h, w in zip(act[:, j], hann, terms, strict=True))
            power += once * abs(windowed) ** 2
            high += once * abs(windowed) ** 2 * (i / (steps * time_step) > 2.5)
    found = observed_smoothness(act, act, [4] * steps, time_step=time_step)
    assert found.smoothness.item() == pytest.approx(2 * total / (6 * 2) * time_step)
    assert found.high_frequency_share.item() == pytest.approx(high / power)
    assert found.above == 2.5


@pytest.mark.parametrize(("above", "bins"), [(None, 25), (2.5, 38), (7.5, 13)])
def test_white_noise_is_flat(above, bins):
    episodes, steps = 300, 100
    act = torch.randn(episodes * steps, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    member = torch.arange(episodes).repeat_interleave(steps)
    share = observed_smoothness(act, act, member, time_step=0.05, above=above).means()["high_frequency_share"]
    assert share.samples == episodes
    # The Nyquist frequency has one half only.
    assert share.value == pytest.approx((2 * bins - 1) / 99, abs=3 * share.stderr + 0.004)
    assert share.stderr < 0.01


def test_a_drift_is_no_jump_and_a_constant_has_no_share():
    drift = torch.linspace(-1, 1, 200)[:, None]
    found = observed_smoothness(drift, drift, [0] * 200, time_step=0.01)
    assert found.high_frequency_share.item() < 1e-6
    still = observed_smoothness(drift, torch.full((200, 1), 0.7), [0] * 200, time_step=0.01)
    assert math.isnan(still.high_frequency_share.item())
    assert still.smoothness.item() == pytest.approx(0.0, abs=1e-12)
    assert still.rate[:-1].tolist() == [0.0] * 199
    short = observed_smoothness(drift[:5], drift[:5], [0] * 5, time_step=0.01)
    assert math.isnan(short.smoothness.item())


def test_steps_are_compared_within_episodes_raw_and_standardised():
    generator = torch.Generator().manual_seed(2)
    obs = torch.randn(30, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 100.0, 0.0])
    act = torch.randn(30, 2, generator=generator, dtype=torch.float64)
    obs[21] = obs[20]
    episode = [0] * 10 + [7] * 8 + [3] * 12
    found = observed_smoothness(obs, act, episode, time_step=0.1)
    spread = obs[:, :2].std(0)
    for t in range(30):
        if t == 29 or episode[t] != episode[t + 1]:
            assert all(math.isnan(float(x[t])) for x in (found.change, found.rate, found.standardised_rate))
            continue
        change = float((act[t + 1] - act[t]).norm())
        assert float(found.change[t]) == pytest.approx(change)
        if t == 20:
            assert math.isnan(float(found.rate[t]))
            continue
        moved = obs[t + 1] - obs[t]
        assert float(found.rate[t]) == pytest.approx(change / float(moved.norm()))
        assert float(found.standardised_rate[t]) == pytest.approx(change / float((moved[:2] / spread).norm()))
    assert found.lengths.tolist() == [10, 8, 12]
    means = found.means()
    assert [mean.samples for mean in means.values()] == [3] * 5
    assert means["change"].value == pytest.approx(float(found.change.nanmean()))


def test_wrong_input_is_refused_in_one_line():
    obs, act = torch.zeros(10, 2), torch.zeros(10, 1)
    for match, call in [
        ("time_step", lambda: observed_smoothness(obs, act, [0] * 10, time_step=0.0)),
        ("above", lambda: observed_smoothness(obs, act, [0] * 10, time_step=0.1, above=5.0)),
        ("above", lambda: observed_smoothness(obs, act, [0] * 10, time_step=0.1, above=-1.0)),
        ("obs and act", lambda: observed_smoothness(obs[:4], act, [0] * 10, time_step=0.1)),
        ("episode", lambda: observed_smoothness(obs, act, [0] * 9, time_step=0.1)),
        ("episode: None", lambda: observed_smoothness(obs, act, None, time_step=0.1)),
        ("together", lambda: observed_smoothness(obs, act, [0, 1] * 5, time_step=0.1)),
        ("NaN", lambda: observed_smoothness(obs, act / 0, [0] * 10, time_step=0.1)),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
