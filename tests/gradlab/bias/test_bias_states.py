"""Errors state by state: closed forms, what noise costs, and that noise is not taken for bias."""

import math

import pytest
import torch

from gradlab.bias import state_error
from gradlab.errors import GradlabError
from gradlab.objective import Objective
from gradlab.references.base import ReferenceCotangent

EPISODES, STATES = 30, 3
EPISODE = torch.arange(EPISODES).repeat_interleave(STATES)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def reference(mean, stderr=None, valid=None):
    stderr = torch.zeros_like(mean) if stderr is None else stderr
    known = {} if valid is None else {"valid": valid}
    return ReferenceCotangent(mean, stderr, "truth", Objective(), **known)


def test_closed_form():
    """v = r/2 ± c: sums over states by hand."""
    generator = torch.Generator().manual_seed(0)
    r = normal(generator, EPISODES * STATES, 2)
    shift = 0.2 * normal(generator, EPISODES * STATES, 2)
    v = torch.stack([0.5 * r + shift, 0.5 * r - shift])
    found = state_error(v, reference(r), EPISODE)
    true = float(r.square().sum())
    # Two draws ± c around the mean: sample variance 2c², of which half is the noise of the mean.
    noise = 2 * float(shift.square().sum())
    assert found.bias_squared.value == pytest.approx(0.25 - noise / 2 / true, rel=1e-12)
    assert found.variance.value == pytest.approx(noise / true, rel=1e-12)
    assert found.mse.value == pytest.approx(0.25 + noise / 2 / true, rel=1e-12)
    assert found.norm_ratio.value == pytest.approx(math.sqrt(0.25 - noise / 2 / true), rel=1e-12)


def test_closed_gates_are_left_out():
    generator = torch.Generator().manual_seed(1)
    r = normal(generator, EPISODES * STATES, 2)
    v = r + normal(generator, 4, *r.shape)
    valid = torch.arange(len(r)) % 4 != 0
    spoilt = r.clone()
    spoilt[~valid] = torch.nan
    some = state_error(v, reference(spoilt, spoilt * 0, valid), EPISODE)
    alone = state_error(v[:, valid], reference(r[valid]), EPISODE[valid])
    for part in ("bias_squared", "variance", "cosine", "norm_ratio", "wrong_direction"):
        one, two = getattr(some, part), getattr(alone, part)
        assert (one.value, one.interval()) == (two.value, two.interval()), part


@pytest.mark.parametrize("spread", [0.1, 30.0])
def test_an_estimator_without_bias_is_not_said_to_have_one(spread):
    """However noisy its draws and the reference are, the interval holds zero as often as it should."""
    hits = ratio_hits = known = 0
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        r = 1 + normal(generator, EPISODES * STATES, 2)
        seen = r + 0.3 * normal(generator, *r.shape)
        v = r + spread * normal(generator, 16, *r.shape)
        found = state_error(v, reference(seen, torch.full_like(r, 0.3)), EPISODE)
        low, high = found.bias_squared.interval()
        hits += low <= 0 <= high
        if math.isfinite(found.norm_ratio.value):
            known += 1
            low, high = found.norm_ratio.interval()
            ratio_hits += low <= 1 <= high
    assert hits >= 52
    assert ratio_hits >= 0.87 * known > 0


def test_refuses_shapes_that_do_not_fit():
    r = torch.ones(6, 2).double()
    with pytest.raises(GradlabError, match=r"\(1, 6, 2\)"):
        state_error(r[None], reference(r), torch.arange(6))
    with pytest.raises(GradlabError, match="5 episode numbers"):
        state_error(r.expand(2, 6, 2), reference(r), torch.arange(5))
