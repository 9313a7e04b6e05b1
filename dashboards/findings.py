"""What stands out in a run: its answer where that is not good, alarms, and measurements that are missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dashboards import series as data
from dashboards.alarms import marks
from dashboards.answer import direction
from dashboards.rollout_answer import signal
from dashboards.said import Verdict
from dashboards.summary import ProbeSummary
from dashboards.words import CURVATURE

#: Whose departures from their own history are told: probe, number and the page that draws it.
_WATCHED = [("curvature", name, "curvature") for name in ("ratio", "policy_jacobian", "mixed_partial", "curvature")]
_MOST = 6


class Finding(NamedTuple):
    """One thing that stands out.

    Attributes:
        verdict: how bad it is.
        text: what, in a sentence.
        page: path of the page with the evidence.
    """

    verdict: Verdict
    text: str
    page: str


def findings(series: data.SeriesSet, probes: Mapping[str, ProbeSummary]) -> list[Finding]:
    """What stands out, the gradient first, then alarms from the newest to the oldest, then what failed.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        probes: what each probe did.

    Example:
        >>> findings({}, {"field": ProbeSummary(failed=2, failure=(500, "ValueError: no"))})
        [Finding(verdict='bad', text='field failed 2 times, last at step 500: ValueError: no', page='run')]
    """
    found = [
        Finding(said.verdict, said.text, page)
        for said, page in ((direction(series), "critic"), (signal(series), "gradient"))
        if said is not None
    ]
    alarms = []
    for probe, name, page in _WATCHED:
        one = data.select(series, probe, name)
        if one is None or not len(one):
            continue
        newest = marks(one, CURVATURE[name].label)[-1:]
        alarms += [(int(one.step[mark.index]), Finding("doubtful", ": ".join(mark.text[:2]), page)) for mark in newest]
    found += [finding for _, finding in sorted(alarms, key=lambda alarm: -alarm[0])][:_MOST]
    for name, probe in sorted(probes.items()):
        if probe.failure is not None:
            step, message = probe.failure
            times = "once" if probe.failed == 1 else f"{probe.failed:,} times"
            found.append(Finding("bad", f"{name} failed {times}, last at step {step:,}: {message}", "run"))
        if probe.ok == 0 and probe.skip is not None and probe.failure is None:
            step, message = probe.skip
            found.append(Finding("doubtful", f"{name} has not measured yet; step {step:,}: {message}", "run"))
    return found
