"""Means along a trajectory: closed forms, and intervals that hold the truth though steps resemble each other."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.landscape import gradient_field_over_states, gradient_volatility


def trajectory(gradient, obs, episode=None):
    """The field of Q = g(s)·a along observations that hold g(s) itself."""
    size = gradient.shape[-1]
    agent = Agent(
        torch.nn.Linear(size, size, dtype=torch.float64),
        [lambda obs, act: (act * obs[:, :size]).sum(-1)],
        [-1.0] * size,
        [1.0] * size,
    )
    return gradient_field_over_states(agent, obs, [0.0] * size, episodes=episode)


def test_a_gradient_that_turns_evenly():
    turn = 0.3 * torch.arange(40, dtype=torch.float64)
    g = 2 * torch.stack([turn.cos(), turn.sin()], -1)
    found = gradient_volatility(trajectory(g, g))
    change = 4 * math.sin(0.15)  # a chord
    expected = {"norm": 2.0, "angle": 0.3, "change": change, "volatility": 1.0, "relative_change": change / 4}
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-12)
        assert found[name].stderr == pytest.approx(0.0, abs=1e-12)
        assert found[name].samples == 6
    assert found["reversal_share"].value == 0.0
    assert found["reversal_share"].interval()[1] > 0.1


def test_reversals_are_counted():
    g = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64).repeat(8)[:, None]
    found = gradient_volatility(trajectory(g, g))
    assert found["reversal_share"].value == pytest.approx(15 / 31)
    assert found["relative_change"].value == pytest.approx(15 / 31)
    assert found["angle"].value == pytest.approx(math.pi * 15 / 31)


def test_episodes_are_the_samples_where_they_are_known():
    generator = torch.Generator().manual_seed(3)
    g = torch.randn(60, 1, generator=generator, dtype=torch.float64)
    member = torch.arange(60) // 6
    found = gradient_volatility(trajectory(g, g, member))
    assert found["change"].samples == 10
    inner = g.diff(dim=0)[:, 0].abs()[(member[1:] == member[:-1])]
    assert found["change"].value == pytest.approx(float(inner.mean()), abs=1e-12)
    assert gradient_volatility(trajectory(g, g, member // 4))["change"].samples == 7  # too few episodes: blocks of √60


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_intervals_hold_the_truth(memory):
    # log|g| is an autoregression, so that E|g| = exp(1/2) exactly; one long trajectory cut into repetitions.
    repetitions, steps = 250, 400
    rng = np.random.default_rng(11)
    log = np.empty((repetitions, steps))
    log[:, 0] = rng.normal(size=repetitions)
    for t in range(1, steps):
        log[:, t] = memory * log[:, t - 1] + math.sqrt(1 - memory**2) * rng.normal(size=repetitions)
    truth = math.exp(0.5)
    held = 0
    for row in np.exp(log):
        nothing = np.full((1, steps), np.nan)
        along = xr.Dataset(
            {"norm": (("critic", "step"), row[None])}
            | dict.fromkeys(("angle", "change", "volatility"), (("critic", "step"), nothing)),
            coords={"critic": ["critic 1"]},
            attrs={"states": "trajectory"},
        )
        low, high = gradient_volatility(along)["norm"].interval()
        held += low <= truth <= high
    assert 0.90 <= held / repetitions <= 0.98


def test_wrong_input_is_refused_in_one_line():
    g = torch.zeros(20, 1, dtype=torch.float64)
    along = trajectory(g, g)
    assert math.isnan(gradient_volatility(along)["angle"].value)
    for match, call in [
        ("critic: 'critic 2'", lambda: gradient_volatility(along, "critic 2")),
        ("16", lambda: gradient_volatility(trajectory(g[:9], g[:9]))),
        ("trajectory", lambda: gradient_volatility(xr.Dataset())),
    ]:
        with pytest.raises(GradlabError, match=match) as caught:
            call()
        assert "\n" not in str(caught.value)
