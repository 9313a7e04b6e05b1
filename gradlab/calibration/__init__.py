"""The instrument on problems with known answers: is what gradlab says true, and are its intervals honest?

Example:
    >>> from gradlab.calibration import calibrate
    >>> result = calibrate(world=["quadratic-bandit"], estimator=["deterministic"], draws=8, repeats=4)
    >>> result.passed, {row.verdict for row in result.rows}
    (True, {'exact'})
"""

from gradlab.calibration.instances import calibrated_worlds
from gradlab.calibration.row import INTERVALS, NORMAL, TITLES, Row
from gradlab.calibration.rule import FAMILY, MISSED, OUTSIDE, RULE, Check, allowed_outside, judge, largest_allowed
from gradlab.calibration.run import Calibration, Control, calibrate

__all__ = [
    "FAMILY",
    "INTERVALS",
    "MISSED",
    "NORMAL",
    "OUTSIDE",
    "RULE",
    "TITLES",
    "Calibration",
    "Check",
    "Control",
    "Row",
    "allowed_outside",
    "calibrate",
    "calibrated_worlds",
    "judge",
    "largest_allowed",
]
