"""A finding: a diagnosis with what was measured for it, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from dashboards import series as data
from dashboards.said import Verdict, interval, number, percent
from dashboards.series import Series, last
from dashboards.summary import ProbeSummary
from dashboards.words import counted
from gradlab.store import RunInfo


class Finding(NamedTuple):
    """One thing that stands out.

    Attributes:
        verdict: how bad it is.
        text: the diagnosis, in a sentence.
        evidence: what was measured for it: values with their intervals, n and step, and from where on it is told.
        remedy: what to do next, in a sentence; empty where that is not for the numbers to say.
        page: path of the page with the evidence.
        figure: the figure that shows it, as ``dashboards.kinds.KINDS`` calls it; empty where none does.
    """

    verdict: Verdict
    text: str
    evidence: str = ""
    remedy: str = ""
    page: str = "run"
    figure: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What findings are found in.

    Attributes:
        series: the scalars of one run.
        probes: what each of its probes did.
        info: the run; None where only its numbers are known.
    """

    series: data.SeriesSet = field(default_factory=dict)
    probes: Mapping[str, ProbeSummary] = field(default_factory=dict)
    info: RunInfo | None = None

    def newest(self, probe: str, name: str) -> Series | None:
        """The newest finite point of a number, as a series of one."""
        return last(data.select(self.series, probe, name))


def ends(point: Series) -> tuple[float, float, float]:
    """Value, lower and upper end of a series of one."""
    return float(point.value[0]), float(point.low[0]), float(point.high[0])


def share(point: Series, probe: str) -> str:
    """A share with its interval, n and step.

    Example:
        >>> import numpy as np
        >>> one = np.ones(1)
        >>> point = Series(1000 * one, 0.9 * one, one, 0.8 * one, 0.95 * one, 16 * one)
        >>> share(point, "landscape")
        '90 % (80 to 95 %; n = 16 states, step 1,000)'
    """
    value, low, high = ends(point)
    between = interval(low, high, percent(low), f"{percent(high)} %")
    return f"{percent(value)} % ({between}; n = {counted(point, probe)}, step {int(point.step[0]):,})"


def amount(point: Series, probe: str) -> str:
    """A number with its interval, n and step."""
    value, low, high = ends(point)
    return f"{number(value)} ({interval(low, high)}; n = {counted(point, probe)}, step {int(point.step[0]):,})"
