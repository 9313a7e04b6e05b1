"""When a calibration fails: how many z-scores and missed intervals chance allows, and how large the largest may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.special import ndtri
from scipy.stats import binom

from gradlab.calibration.row import INTERVALS, NORMAL, Row

#: Probability that a well calibrated instrument fails a whole run.
FAMILY = 0.01
#: Share of z-scores beyond ±1.96 when all is well.
OUTSIDE = 0.05
#: Share of 95 % intervals that may miss the truth: they are approximations, and 90 % is what they promise at least.
MISSED = 0.10

#: Names of the checks.
OUTSIDE_95, INTERVALS_MISSED, LARGEST_Z, NOT_EXACT = "outside 95 %", "intervals missed", "largest |z|", "not exact"

#: The rule in words, for the help, the table and the documentation.
RULE = (
    "A calibration fails when (1) for some quantity more cases have |z| > 1.96 than a binomial with share 5 % allows, "
    "(2) for some quantity more 95 % intervals miss the truth than a binomial with share 10 % allows, (3) the largest "
    "|z| of the gradients, bias², variances and MSEs is beyond the Bonferroni bound, or (4) an answer without noise "
    "differs from the truth. Cases have generators of their own, so within a quantity they are independent; quantities "
    "of one case are not, and a Bonferroni split over all these checks, which no dependence upsets, keeps the "
    "probability that chance alone fails a run below 1 %."
)


@dataclass(frozen=True)
class Check:
    """One of the comparisons a verdict is made of.

    Attributes:
        name: what is compared, in words.
        quantity: the quantity it is about; empty for all of them together.
        found: number outside, intervals missed, or the largest |z|.
        allowed: what chance allows it to be.
        of: of how many.
    """

    name: str
    quantity: str
    found: float
    allowed: float
    of: int

    @property
    def passed(self) -> bool:
        """Whether chance explains it."""
        return self.found <= self.allowed


def allowed_outside(count: int, share: float, level: float) -> int:
    """The smallest k with P(X > k) ≤ level for X ~ Binomial(count, share).

    Args:
        count: independent trials.
        share: probability of each.
        level: probability of more than k.

    Example:
        >>> allowed_outside(100, 0.05, 0.01)
        11
        >>> allowed_outside(1, 0.05, 0.01)
        1
    """
    return int(binom.isf(level, count, share)) if count else 0


def largest_allowed(count: int, level: float) -> float:
    """The Bonferroni bound of the largest of ``count`` normal |z|, whatever their dependence.

    Example:
        >>> round(largest_allowed(1, 0.05), 2), round(largest_allowed(500, 0.01), 2)
        (1.96, 4.26)
    """
    return float(-ndtri(level / (2 * count))) if count else math.inf


def judge(rows: Iterable[Row]) -> list[Check]:
    """Every check of ``RULE`` on these rows, each at its Bonferroni share of the family-wise level.

    Example:
        >>> row = Row("w", "", "e", "gradient", truth=1.0, measured=1.5, stderr=0.1, interval=(1.3, 1.7), z=5.0)
        >>> [(check.name, check.passed) for check in judge([row])]
        [('outside 95 %', True), ('largest |z|', False), ('not exact', True)]
    """
    rows = list(rows)
    noisy = [row for row in rows if not row.exact and not math.isnan(row.z)]
    quantities = list(dict.fromkeys(row.quantity for row in noisy))
    with_intervals = [quantity for quantity in quantities if quantity in INTERVALS]
    level = FAMILY / (len(quantities) + len(with_intervals) + 1)
    checks = [_outside([row for row in noisy if row.quantity == quantity], level) for quantity in quantities]
    for quantity in with_intervals:
        of = [row for row in noisy if row.quantity == quantity]
        intervals = sum(row.intervals for row in of)
        missed = intervals - sum(row.held for row in of)
        checks.append(Check(INTERVALS_MISSED, quantity, missed, allowed_outside(intervals, MISSED, level), intervals))
    tested = [abs(row.z) for row in noisy if row.quantity in NORMAL]
    checks.append(Check(LARGEST_Z, "", max(tested, default=0.0), largest_allowed(len(tested), level), len(tested)))
    exact = [row for row in rows if row.exact]
    checks.append(Check(NOT_EXACT, "", sum(row.z != 0 for row in exact), 0, len(exact)))
    return checks


def _outside(rows: Sequence[Row], level: float) -> Check:
    found = sum(row.outside for row in rows)
    return Check(OUTSIDE_95, rows[0].quantity, found, allowed_outside(len(rows), OUTSIDE, level), len(rows))
