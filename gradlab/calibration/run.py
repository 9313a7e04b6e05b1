"""A whole calibration: every world against every estimator it admits, and the verdict."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from gradlab.calibration.compare import SHIFT, measure
from gradlab.calibration.instances import Instance, calibrated_worlds
from gradlab.calibration.measure import Case
from gradlab.calibration.row import Row
from gradlab.calibration.rule import FAMILY, LARGEST_Z, MISSED, OUTSIDE, OUTSIDE_95, RULE, Check, judge
from gradlab.errors import GradlabError

#: Draws of one measurement, and how often it is repeated.
DRAWS, REPEATS = 128, 24
#: Fewest of each: below, nothing has an interval.
LEAST = 4
#: The 90 % quantile of the normal distribution, for the power.
_POWER = 1.2815515655


@dataclass(frozen=True)
class Control:
    """The same check on an instrument that is wrong on purpose; it must not pass.

    Attributes:
        name: what was done to it, in words.
        outside: cases with |z| > 1.96.
        of: cases.
        largest: the largest |z|.
        noticed: whether the check fails, as it must.
    """

    name: str
    outside: int
    of: int
    largest: float
    noticed: bool


@dataclass(frozen=True)
class Calibration:
    """What came of a calibration.

    Attributes:
        rows: a quantity of an estimator on a world each.
        checks: what the verdict is made of.
        controls: what the same checks say of an instrument that is wrong on purpose.
        seed: of the draws.
        draws: of one measurement.
        repeats: of each measurement.
        sabotaged: whether the instrument itself was sabotaged, so that it must fail.
        seconds: how long it took.
    """

    rows: tuple[Row, ...]
    checks: tuple[Check, ...]
    controls: tuple[Control, ...]
    seed: int
    draws: int
    repeats: int
    sabotaged: bool
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether chance explains everything."""
        return all(check.passed for check in self.checks)

    @property
    def cases(self) -> int:
        """Number of estimators on worlds."""
        return len({row.case for row in self.rows})

    def noticeable(self, quantity: str) -> float:
        """Relative error that the largest-|z| check notices with 90 % probability, in the median case; NaN if none."""
        bound = next(check.allowed for check in self.checks if check.name == LARGEST_Z)
        shares = [
            (bound + _POWER) * row.stderr / abs(row.truth)
            for row in self.rows
            if row.quantity == quantity and not row.exact and row.truth != 0
        ]
        return float(np.median(shares)) if shares else math.nan

    def record(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {
            "passed": self.passed,
            "seed": self.seed,
            "draws": self.draws,
            "repeats": self.repeats,
            "sabotaged": self.sabotaged,
            "cases": self.cases,
            "seconds": round(self.seconds, 3),
            "rule": {"words": RULE, "family_level": FAMILY, "share_outside": OUTSIDE, "share_missed": MISSED},
            "checks": [
                {
                    "name": check.name,
                    "quantity": check.quantity,
                    "found": check.found,
                    "allowed": check.allowed if math.isfinite(check.allowed) else None,
                    "of": check.of,
                    "passed": check.passed,
                }
                for check in self.checks
            ],
            "controls": [vars(control) for control in self.controls],
            "noticeable": {
                quantity: None if math.isnan(share) else share
                for quantity in ("gradient", "variance")
                for share in [self.noticeable(quantity)]
            },
            "versions": {
                "gradlab": version("gradlab"),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "scipy": version("scipy"),
                "python": platform.python_version(),
            },
            "rows": [row.record() for row in self.rows],
        }


def calibrate(
    worlds: Sequence[Instance] | None = None,
    *,
    world: Iterable[str] = (),
    estimator: Iterable[str] = (),
    seed: int = 0,
    draws: int = DRAWS,
    repeats: int = REPEATS,
    sabotage: bool = False,
    progress: Callable[[int, int, Sequence[Row]], None] | None = None,
) -> Calibration:
    """Measure every world with every estimator it admits, and compare with the truth.

    A case is an estimator on a world. Its measurement is made ``repeats`` times with ``draws`` fresh draws each,
    through ``gradient_error`` and ``parameter_gradient`` as users call them. Gradients, bias², variance and MSE are
    unbiased, so that their average is tested; of all six numbers with intervals, the repeats whose interval holds the
    truth are counted; cosine, norm ratio and SNR are taken from many draws at once. The rule is ``RULE``. Every case
    has a generator of its own, seeded from the seed and its names: results do not depend on which others run.

    Args:
        worlds: settings and worlds; ``calibrated_worlds()`` when None.
        world: names of the worlds to run; all when empty.
        estimator: names of the estimators to run; all when empty.
        seed: of the draws.
        draws: of one measurement.
        repeats: independent measurements of each case.
        sabotage: leave the U-statistic's correction out, to see that the calibration fails.
        progress: called after each case with cases done, cases in all, and the case's rows.

    Raises:
        GradlabError: a name is unknown, there are too few draws or repeats, or a case cannot be measured: a draw or
            an answer is NaN, say.

    Example:
        >>> result = calibrate(world=["gaussian-polynomial"], estimator=["reparameterized"], repeats=8)
        >>> [check.name for check in result.checks if not check.passed]
        []
    """
    for name, value in (("draws", draws), ("repeats", repeats)):
        if value < LEAST:
            raise GradlabError(f"{name}: {value}; ask for at least {LEAST}, so that there are intervals")
    started = time.perf_counter()
    cases = select(calibrated_worlds() if worlds is None else worlds, tuple(world), tuple(estimator))
    rows: list[Row] = []
    for done, case in enumerate(cases, 1):
        try:
            found = measure(case, seed, draws, repeats, corrected=not sabotage)
        except GradlabError as error:
            world_name, setting, name = case.labels
            raise GradlabError(f"{world_name} ({setting}) with {name}: {error}") from error
        rows += found
        if progress is not None:
            progress(done, len(cases), found)
    return Calibration(
        tuple(rows),
        tuple(judge(rows)),
        _controls(rows),
        seed,
        draws,
        repeats,
        sabotage,
        time.perf_counter() - started,
    )


def select(worlds: Iterable[Instance], world: Sequence[str], estimator: Sequence[str]) -> list[Case]:
    """The cases with these names, all where none is named; estimators of one name on one world are numbered.

    Raises:
        GradlabError: a name is unknown, or no case has both.
    """
    worlds = list(worlds)
    _require("world", world, (known.name for _, known in worlds))
    cases = []
    for setting, one in worlds:
        seen: dict[str, int] = {}
        for admitted in one.admitted() if not world or one.name in world else ():
            name = admitted.estimator.name
            seen[name] = seen.get(name, 0) + 1
            cases.append(Case(one, setting, admitted, name if seen[name] == 1 else f"{name} ({seen[name]})"))
    _require("estimator", estimator, (case.admitted.estimator.name for case in cases))
    return [case for case in cases if not estimator or case.admitted.estimator.name in estimator]


def _require(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    there = sorted(set(known))
    for name in names:
        if name not in there:
            raise GradlabError(f"{kind} {name!r}: none of that name here; there are {', '.join(there)}")


def _controls(rows: Sequence[Row]) -> tuple[Control, ...]:
    """The check on rows of one quantity that are wrong on purpose."""
    kinds = {
        "bias_squared": "bias² without the U-statistic's correction",
        "gradient": f"mean gradient off by {SHIFT:.0%}",
        "variance": f"variance off by {SHIFT:.0%}",
    }
    controls = []
    for quantity, name in kinds.items():
        wrong = [row for row in rows if row.quantity == quantity and not math.isnan(row.control)]
        if not wrong:
            continue
        # All other rows stay as they are, so that the bounds are those of the check itself.
        checks = judge([replace(row, z=row.control) if row.quantity == quantity else row for row in rows])
        outside = next(check for check in checks if check.name == OUTSIDE_95 and check.quantity == quantity)
        bound = next(check.allowed for check in checks if check.name == LARGEST_Z)
        largest = max(abs(row.control) for row in wrong)
        controls.append(Control(name, int(outside.found), len(wrong), largest, not outside.passed or largest > bound))
    return tuple(controls)
