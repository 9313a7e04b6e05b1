"""What an Estimate says of itself: what would resolve it, and what a further error does to its interval."""

import math

import pytest

from gradlab import Estimate


@pytest.mark.parametrize(
    "estimate",
    [
        Estimate(0.92, 0.15, samples=3, ends=(-1.0, 1.0)),
        Estimate(0.5, 0.2, samples=3),
        Estimate(-2.0, 0.9, samples=64, ends=(-4.0, 0.0)),
    ],
)
def test_what_is_unresolved_needs_more_samples_than_it_has(estimate):
    assert not estimate.resolved
    assert estimate.samples_to_resolve > estimate.samples
    assert f"about {estimate.samples_to_resolve:.0f} samples would resolve it" in str(estimate)


def test_samples_to_resolve_follow_the_interval_that_decides():
    # Half of the width is twice the value; four times as many samples halve it.
    assert Estimate(1.0, 0.1, samples=50, ends=(-1.0, 2.0)).samples_to_resolve == 200
    assert Estimate(-1.0, 0.1, samples=50, ends=(-2.0, 1.0)).samples_to_resolve == 200
    assert Estimate(1.0, 0.1, samples=50, ends=(-math.inf, 2.0)).samples_to_resolve == math.inf


def test_an_interval_is_widened_in_quadrature_and_lost_with_an_unknown_error():
    exact = Estimate(1.0, 0.1, samples=64, ends=(0.8, 1.2))
    low, high = exact.widened(0.2, 1000).interval()
    half = math.hypot(0.2, 1.9623415 * 0.2)
    assert (low, high) == pytest.approx((1 - half, 1 + half), rel=1e-6)
    for unknown in (exact.widened(math.nan, 64), exact.widened(0.2, 1)):
        assert all(math.isnan(end) for end in unknown.interval())
        assert not unknown.resolved


def test_where_the_interval_is_known_it_is_printed_instead_of_a_symmetric_error():
    cosine = Estimate(1.02, 0.58, samples=64, reference="critic", ends=(0.71, 1.02))
    assert str(cosine) == "1.02 in [0.71, 1.02] (n=64, against critic)"
    assert str(Estimate(0.5, 0.1, samples=64, ends=(-0.2, 0.9))).startswith("unresolved: 0.50 in [-0.20, 0.90] (n=64; ")
    # A number without an error has no interval to print.
    assert str(Estimate(1.0, 0.0, samples=64, ends=(1.0, 1.0))) == "1 ± 0 (n=64)"


def test_a_caveat_is_never_left_out():
    caveat = "mismatch allowed: discounted (γ=0.99) against undiscounted"
    for stderr, ends in ((0.1, None), (math.nan, None), (9.0, None), (0.0, None), (0.1, (0.3, 0.8))):
        assert caveat in str(Estimate(0.5, stderr, samples=64, reference="simulator", ends=ends, caveat=caveat))
    assert caveat in str(Estimate(0.5, 0.1, samples=64, caveat=caveat).widened(0.2, 16))
