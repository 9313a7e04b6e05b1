"""What algorithms differ in on the same task, over seeds: which differences are resolved, and what is left open."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from dashboards.health_words import HEALTH
from dashboards.one_run import OneRun
from dashboards.said import Answer
from dashboards.series import Series
from dashboards.truth_words import VALUE
from dashboards.words import CURVATURE, LANDSCAPE, METRICS, WRONG_DIRECTION, Word
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.store import Store
from gradlab.store.across import AcrossRuns, across_runs, grouped

#: What is compared, where runs have it.
NUMBERS: Mapping[str, Word] = {
    "simulator/deterministic/wrong_direction": WRONG_DIRECTION,
    "simulator/deterministic/cosine": Word("cosine with the simulator", METRICS["cosine"].meaning, "cosine"),
    "returns/value/rmse": VALUE["value/rmse"],
    "landscape/best_basin_share": LANDSCAPE["best_basin_share"],
    "landscape/relative_gap": LANDSCAPE["relative_gap"],
    "curvature/ratio": CURVATURE["ratio"],
    "curvature/valid_share": CURVATURE["valid_share"],
    "health/actor/saturated_share": Word("actor saturated", HEALTH["actor/saturated_share"].meaning, "share"),
}
#: Runs a group that are told of as an example of what more of them would show.
_MORE = (5, 10)
#: Between what numbers of a scale can be; their intervals are shown within.
_POSSIBLE = {"share": (0.0, 1.0), "cosine": (-1.0, 1.0), "log": (0.0, math.inf)}


class Difference(NamedTuple):
    """A number that one algorithm has more of than another.

    Attributes:
        more: the algorithm that has more of it.
        less: the other.
        by: how much more, positive.
    """

    more: str
    less: str
    by: Estimate

    def __str__(self) -> str:
        return f"{called(self.more)} more than {called(self.less)} by {in_digits(self.by)}"


@dataclass(frozen=True)
class Compared:
    """The runs of one task.

    Attributes:
        environment: the task.
        groups: algorithm → ids of its runs.
        found: number → what it is in each group that has it and by how much they differ.
        lacking: number that runs have → why it is not compared.
    """

    environment: str
    groups: Mapping[str, Sequence[int]]
    found: Mapping[str, AcrossRuns]
    lacking: Mapping[str, str]

    @property
    def judged(self) -> int:
        """How many differences there are at the numbers' last steps whose interval is known."""
        last = [found[-1] for across in self.found.values() for found in across.differences.values()]
        return sum(math.isfinite(sum(found.interval())) for found in last)

    def resolved(self, scalar: str) -> list[Difference]:
        """The differences in a number that are resolved at its last step."""
        found = []
        for (first, second), estimates in self.found[scalar].differences.items():
            last = estimates[-1]
            if last.resolved and last.value > 0:
                found.append(Difference(first, second, last))
            elif last.resolved:
                low, high = last.interval()
                turned = Estimate(-last.value, last.stderr, last.samples, ends=(-high, -low))
                found.append(Difference(second, first, turned))
        return found

    def series(self, scalar: str, group: str) -> Series:
        """A number of a group over training, with its intervals over runs."""
        across, word = self.found[scalar], NUMBERS[scalar]
        found = across.groups[group]
        ends = np.array([within(one, word) for one in found])
        value, stderr = (np.array([getattr(one, name) for one in found]) for name in ("value", "stderr"))
        samples = np.array([one.samples for one in found], np.int64)
        return Series(np.array(across.steps, np.int64), value, stderr, ends[:, 0], ends[:, 1], samples)


def comparisons(store: Store, runs: Sequence[OneRun]) -> Iterator[Compared]:
    """For each task of which there are two runs or more, what its algorithms differ in.

    Args:
        store: the store that they were read from.
        runs: the runs.
    """
    for environment in dict.fromkeys(run.info.environment for run in runs):
        same = [run for run in runs if run.info.environment == environment]
        if len(same) < 2:
            continue
        groups = grouped([run.info for run in same])
        having = {run.info.id: {f"{key.probe}/{key.name}" for key in run.series} for run in same}
        found, lacking = {}, {}
        for scalar in NUMBERS:
            there = {name: ids for name, ids in groups.items() if any(scalar in having[run] for run in ids)}
            if not there:
                continue
            try:
                found[scalar] = across_runs(store, there, scalar)
            except GradlabError as error:
                lacking[scalar] = str(error)
        yield Compared(environment, groups, found, lacking)


def answer(one: Compared) -> Answer:
    """What the comparison comes to, for somebody who reads one line."""
    count = one.judged
    known = [(scalar, difference) for scalar in one.found for difference in one.resolved(scalar)]
    if len(one.groups) == 1:
        return Answer("These runs are of one algorithm: below is what it does over seeds.", "unknown")
    if count == 0:
        text = "Nothing is known about how algorithms differ: of too few runs, another seed may do anything."
        return Answer(text, "unknown")
    if not known:
        text = (
            f"None of the {counted(count, 'difference')} between algorithms is resolved at the last step that all have "
            "in common: what looks different below may be the seeds."
        )
        return Answer(text, "unknown")
    said = "; ".join(f"{NUMBERS[scalar].label}: {difference}" for scalar, difference in known)
    are = "is" if len(known) == 1 else "are"
    return Answer(f"{len(known)} of {counted(count, 'difference')} between algorithms {are} resolved. {said}.", "fact")


def notes(one: Compared) -> Iterator[str]:
    """What has to be known to read the numbers, a sentence or two each."""
    yield (
        "Interquartile means over runs with 95 % intervals (stratified bootstrap, Student's t for so few runs), at the "
        "last step near which all runs were measured."
    )
    count, least = one.judged, min(map(len, one.groups.values()))
    if least < 2:
        yield "Of one run nothing is known about the next seed: its group has no interval, and no difference to it has."
    elif count:
        more = ", ".join(f"with {runs} from {reach(runs):.1f}" for runs in _MORE if runs > least)
        yield (
            f"With {least} runs a group, a difference is resolved from about {reach(least):.1f} standard deviations "
            f"between seeds on{f'; {more}' if more else ''}."
        )
    last = [found[-1] for across in one.found.values() for found in across.groups.values()]
    if any(found.samples > 1 and math.isnan(found.stderr) for found in last):
        yield "Runs that all gave the same value say nothing of the next: their number has no interval."
    if count > 1:
        yield f"Of {count} differences about {count / 20:.1g} would be resolved by chance where there is none."
    for scalar, why in one.lacking.items():
        yield f"{NUMBERS[scalar].label} is not compared: {why.removeprefix(f'{scalar}: ')}."
    for note in dict.fromkeys(note for across in one.found.values() for note in across.notes):
        which = [NUMBERS[scalar].label for scalar, across in one.found.items() if note in across.notes]
        yield f"{listed(which)}: {note}."


def reach(runs: int) -> float:
    """The least difference of two means of so many runs that Welch's interval resolves, in their standard deviation.

    Example:
        >>> round(reach(2), 1), round(reach(5), 1)
        (4.3, 1.5)
    """
    return float(stdtrit(2 * runs - 2, 0.975)) * math.sqrt(2 / runs)


def within(estimate: Estimate, word: Word) -> tuple[float, float]:
    """The 95 % interval of a number, as far as it is one that the number can be."""
    least, most = _POSSIBLE.get(word.scale, (-math.inf, math.inf))
    low, high = (end if math.isnan(end) else min(max(end, least), most) for end in estimate.interval())
    return low, high


def in_digits(estimate: Estimate, word: Word | None = None) -> str:
    """A number with its interval.

    Example:
        >>> in_digits(Estimate(0.5, 0.1, 3, ends=(0.07, 1.2)), WRONG_DIRECTION), in_digits(Estimate(-2.0, math.nan, 1))
        ('0.5 [0.07, 1]', '−2 (no interval)')
    """
    low, high = estimate.interval() if word is None else within(estimate, word)
    value = _digits(estimate.value)
    return f"{value} [{_digits(low)}, {_digits(high)}]" if math.isfinite(low + high) else f"{value} (no interval)"


def _digits(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def called(algorithm: str) -> str:
    """An algorithm's name for people."""
    return algorithm or "no algorithm stored"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    Example:
        >>> listed(["DDPG", "SAC", "TD3"]), listed(["TD3"])
        ('DDPG, SAC and TD3', 'TD3')
    """
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def counted(number: int, what: str) -> str:
    """How many of something.

    Example:
        >>> counted(1, "run"), counted(2, "run")
        ('1 run', '2 runs')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"
