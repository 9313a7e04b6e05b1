"""What stands out in a run, for the overview, reports and whoever asks: each with its evidence and what to do next.

A new detector is a function from ``Facts`` to findings, in a file of its kind, and its name in ``_DETECTORS``.
"""

from __future__ import annotations

from dashboards.finding import Facts, Finding
from dashboards.findings_of_measuring import absent, ended, failed, over_budget, waiting
from dashboards.findings_of_numbers import alarms, basins, biased, curved, opposed, rollout, wrong_way
from dashboards.sickness import sickness

_DETECTORS = (
    sickness, wrong_way, opposed, rollout, biased, basins, curved, alarms, failed, absent, waiting, ended, over_budget,
)  # fmt: skip
_ORDER = {"bad": 0, "doubtful": 1, "unknown": 2, "fact": 3, "good": 4}


def findings(facts: Facts) -> list[Finding]:
    """What stands out, worst first; of equals what breaks a run before what a run does, and measuring last.

    Args:
        facts: a run's numbers, probes and configuration.

    Example:
        >>> from dashboards.summary import ProbeSummary
        >>> [one] = findings(Facts(probes={"field": ProbeSummary(failed=2, failure=(500, "ValueError: no"))}))
        >>> one.verdict, one.text, one.evidence
        ('bad', 'The probe field failed twice.', 'The last time at step 500: ValueError: no')
    """
    found = [one for detect in _DETECTORS for one in detect(facts)]
    return sorted(found, key=lambda one: _ORDER[one.verdict])
