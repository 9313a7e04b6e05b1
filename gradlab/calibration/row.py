"""One line of a calibration: a quantity of an estimator on a world, its truth and what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from gradlab.calibration.scores import QUANTILE

#: What each quantity is called on a screen.
TITLES: dict[str, str] = {
    "gradient": "gradient",
    "components": "components",
    "bias_squared": "bias²",
    "variance": "variance",
    "mse": "MSE",
    "cosine": "cosine",
    "norm_ratio": "norm ratio",
    "snr": "SNR",
}
#: Quantities whose z is that of a test with a known tail, so that the largest of many can be judged.
NORMAL = ("gradient", "components", "bias_squared", "variance", "mse")
#: Quantities the instrument gives an interval for; whether the truth lies in it is counted over the repeats.
INTERVALS = ("bias_squared", "variance", "mse", "cosine", "norm_ratio", "snr")


@dataclass(frozen=True)
class Row:
    """What came of one quantity of one estimator on one world.

    Attributes:
        world: name of the world.
        setting: which instance of it.
        estimator: name of the estimator.
        quantity: "gradient" (the mean gradient along the expected one), "components" (Hotelling's T² of all of
            them), "bias_squared", "variance", "mse", "cosine", "norm_ratio" or "snr".
        truth: in closed form.
        measured: what the instrument said, on average over the repeats or of all draws together.
        stderr: of ``measured``.
        interval: 95 %, for the truth; of T², for T² itself.
        z: how far off, on the scale of a standard normal variable: |z| > 1.96 outside ``interval``; NaN when the
            instrument does not resolve the quantity. Without noise 0 where measured and truth agree.
        exact: whether there is no noise, so that the answer must be the truth itself.
        held: of the repeats, how many had a 95 % interval with the truth in it.
        intervals: how many repeats had an interval.
        control: what z would be, were the instrument sabotaged: a bias² without the U-statistic's correction, a
            gradient or variance whose truth is 10 % larger; NaN for other quantities.
    """

    world: str
    setting: str
    estimator: str
    quantity: str
    truth: float
    measured: float
    stderr: float
    interval: tuple[float, float]
    z: float
    exact: bool = False
    held: int = 0
    intervals: int = 0
    control: float = math.nan

    @property
    def case(self) -> tuple[str, str, str]:
        """World, setting and estimator: rows of one case come from the same draws."""
        return self.world, self.setting, self.estimator

    @property
    def outside(self) -> bool:
        """Whether the truth lies outside the 95 % interval; on its end it lies inside."""
        return abs(self.z) > QUANTILE

    @property
    def verdict(self) -> Literal["in", "OUT", "exact", "WRONG", "unresolved"]:
        """In or out of the 95 % interval; exact or wrong without noise; or unresolved."""
        if self.exact:
            return "exact" if self.z == 0 else "WRONG"
        if math.isnan(self.z):
            return "unresolved"
        return "OUT" if self.outside else "in"

    def record(self) -> dict[str, Any]:
        """As plain values for JSON; what is not finite becomes None."""
        return {
            "world": self.world,
            "setting": self.setting,
            "estimator": self.estimator,
            "quantity": self.quantity,
            "truth": _finite(self.truth),
            "measured": _finite(self.measured),
            "stderr": _finite(self.stderr),
            "interval": [_finite(end) for end in self.interval],
            "z": _finite(self.z),
            "verdict": self.verdict,
            "held": self.held,
            "intervals": self.intervals,
            "control_z": _finite(self.control),
        }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
