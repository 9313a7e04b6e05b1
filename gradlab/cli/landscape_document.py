"""A landscape report for people: tables on the screen, and as a Markdown document with how to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from gradlab.cli.bias_document import TASK_IS_TOLD, markdown_table
from gradlab.cli.bias_document import cell as plain_cell
from gradlab.estimate import Estimate

if TYPE_CHECKING:
    from rich.console import Console

    from gradlab.landscape.training.report import LandscapeReport
    from gradlab.landscape.truth.phantom_means import PhantomMeans

#: Relative persistences that the table of counts shows.
_SHOWN = (0.001, 0.01, 0.1)
_STANDING = {
    "gap": "gap",
    "relative_gap": "of Q's range",
    "relative_own_fit": "own fit",
    "relative_basin_choice": "basin choice",
    "best_basin_share": "in best basin",
    "best_distance": "distance",
}
_TRUTH = {
    "value_phantom": "phantoms by value",
    "value_unresolved": "unresolved",
    "slope_phantom": "phantoms by slope",
    "slope_unresolved": "unresolved",
    "promised": "promised",
    "real_gain": "real gain",
}
_FOLLOWED = {
    "births": "births",
    "deaths": "deaths",
    "moves": "moved",
    "rise": "rise of Q",
    "actor_changed": "actor's optimum changed",
    "actor_lost": "changed, as it died",
}


@dataclass(frozen=True)
class Surveyed:
    """One checkpoint, surveyed.

    Attributes:
        file: the checkpoint's name.
        algorithm: such as ``TD3``.
        task: the environment.
        step: environment steps trained.
        report: its landscape.
        truth: its optima against the simulator; None where they were not asked for.
        horizon: of the true values, in words.
        followed: file of the earlier checkpoint, and what became of its optima; empty where there is none.
        notes: what a person should know, a line each.
    """

    file: str
    algorithm: str
    task: str
    step: int
    report: LandscapeReport
    truth: PhantomMeans | None = None
    horizon: str = ""
    followed: Mapping[str, Estimate] = field(default_factory=dict)
    since: str = ""
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Algorithm, task and step."""
        return f"{self.algorithm} {self.task}, {self.step:,}"


def cell(estimate: Estimate | None) -> str:
    """A value with its 95 % interval, to two digits of the interval's nearer end: gaps have a far one above.

    Example:
        >>> cell(Estimate(0.073, 0.01, 64, ends=(0.052, 0.97))), cell(Estimate(2.0, 0.0, 0)), cell(None)
        ('0.073 [0.052, 0.970]', '–', '–')
        >>> cell(Estimate(0.25, 0.05, samples=32, scale="share"))
        '25 % [16 %, 36 %]'
    """
    if estimate is None or estimate.samples == 0:
        return "–"
    value, (low, high) = estimate.value, estimate.interval()
    sides = [side for side in (value - low, high - value) if side > 0]
    if estimate.scale == "share" or not sides or not math.isfinite(value + low + high):
        return plain_cell(estimate)
    decimals = 1 - math.floor(math.log10(min(sides)))
    if decimals > 5 or abs(value) >= 1e5:
        return plain_cell(estimate)
    return "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(value, low, high, d=max(decimals, 0))


def tables(found: Sequence[Surveyed]) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, header and rows of every table there is something for."""
    counts = [f"{share:.1%}".replace(".0%", "%").replace("%", " %") for share in _SHOWN]
    yield (
        "Local optima of the critic",
        ("optima of persistence", *(f"≥ {share}" for share in counts), "one at most", "best on the boundary"),
        [
            (
                one.label,
                *(cell(_at(one.report.curve, share)) for share in _SHOWN),
                *(cell(one.report.numbers[name]) for name in ("one_optimum", "boundary_share")),
            )
            for one in found
        ],
    )
    yield (
        "How much the search misses",
        ("two searches of one critic", "births", "deaths", "moved", "next start finds a new one", "missed, about"),
        [
            (
                one.label,
                *(cell(one.report.control[name]) for name in ("births", "deaths", "moves", "unseen_share")),
                cell(one.report.numbers["missed"]),
            )
            for one in found
        ],
    )
    yield (
        "The actor in its critic's landscape",
        ("gap to the best", *_STANDING.values()),
        [(one.label, *(cell(one.report.numbers[name]) for name in _STANDING)) for one in found],
    )
    held = [one for one in found if one.truth is not None]
    if held:
        yield (
            "Against the simulator",
            ("true values", *_TRUTH.values()),
            [(one.label, *(cell(getattr(one.truth, name)) for name in _TRUTH)) for one in held],
        )
    later = [one for one in found if one.followed]
    if later:
        yield (
            "Over training",
            ("optima since", *_FOLLOWED.values()),
            [
                (f"{one.label} since {one.since}", *(cell(one.followed.get(name)) for name in _FOLLOWED))
                for one in later
            ],
        )


def _at(curve: Mapping[float, Estimate], share: float) -> Estimate:
    return min(curve.items(), key=lambda item: abs(item[0] - share))[1]


def print_surveyed(console: Console, found: Sequence[Surveyed]) -> None:
    """Print every table and the notes."""
    for title, header, rows in tables(found):
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for position, name in enumerate(header):
            table.add_column(name, justify="left" if position == 0 else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in _notes(found):
        console.print(line, markup=False, soft_wrap=True)


def document(
    found: Sequence[Surveyed],
    command: str,
    *,
    threshold: float,
    radius: float,
    starts: int,
    pictures: Sequence[tuple[str, str]] = (),
) -> str:
    """The Markdown document.

    Args:
        found: the checkpoints.
        command: that made it.
        threshold: relative persistence from which an optimum counts.
        radius: within which two optima may be one over training.
        starts: of the search.
        pictures: caption and path, relative to the document.
    """
    parts = ["# The landscapes that actors climb", f"Made by\n\n```sh\n{command}\n```", TASK_IS_TOLD]
    told = {"threshold": f"{threshold:.3g}", "radius": f"{radius:g}", "starts": starts}
    parts.append(_READING.format(**told).strip())
    for title, header, rows in tables(found):
        parts.append(f"## {title}\n\n{markdown_table(header, rows)}")
        if title in _MEANINGS:
            parts.append(_MEANINGS[title].format(**told).strip())
    if pictures:
        parts.append("## Pictures")
        parts += [f"![{caption}]({path})\n\n{caption}" for caption, path in pictures]
    lines = _notes(found)
    if lines:
        parts.append("## Notes\n\n" + "\n".join(f"* {line}" for line in lines))
    return "\n\n".join(parts) + "\n"


def _notes(found: Sequence[Surveyed]) -> list[str]:
    """Every note once, after the checkpoints it is of, where it is not of all."""
    said: dict[str, list[str]] = {}
    for one in found:
        for note in one.notes:
            said.setdefault(note, []).append(one.label)
    return [note if len(of) == len(found) else f"{'; '.join(of)}: {note}" for note, of in said.items()]


_READING = """
At each of the states that a checkpoint's policy visits, the local optima of Q(s, ·) over the action box are searched
from {starts} starts, for the critic that the actor follows. An optimum's *persistence* is its height over the pass to
a higher one, as a share of Q's range over the box; ripples are optima too, so that how many there are is a question
of how persistent they must be. Where no persistence is named it is {threshold} of the range.

Brackets are 95 % intervals; they hold over episodes, the independent samples, for the policy's own distribution of
states. A gap is a mean of many zeros and a few large numbers, whose intervals reach up to where a rare state could
take them. *unresolved* is a ratio whose denominator is not above its noise; – is a number that there is not.
"""

_MEANINGS = {
    "How much the search misses": """
The same critic at the same states searched again from other starts: what is found by one search alone is counted as
born or died, so that births and deaths over training mean something only above these numbers a state. **next start
finds a new one** is the share of the second search's starts that ended at an optimum the first lacks; **missed** is
an unseen-species estimate (Chao) of how many the first lacks a state, from how many were reached by one start and by
two.
""",
    "The actor in its critic's landscape": """
**gap** is max Q(s, a) − Q(s, π(s)), in units of the return, and beside it as a share of Q's range at the state. It is
the sum of **own fit**, what climbing on from π(s) would gain, which more training on this critic mends, and of
**basin choice**, what would still be missing then, which it does not. That climb takes finite steps, as training does,
and passes over narrow dips: one that stopped at every ripple would call more of the gap a choice of basin. **in best
basin** is the share of states where that climb reaches the best optimum; **distance** is from π(s) to that optimum, as
a share of the box's diagonal.
""",
    "Against the simulator": """
An optimum is followed in the simulator: its action once, the policy afterwards, and no time limit. Of the optima that
the critic says are better than π(s), **phantoms by value** are those that are worse in truth; of all optima looked
at, **phantoms by slope** are those from which the true Q(s, ·) rises within 5 % of the box's width, so that there is
no optimum of the truth near. The interval of a share of phantoms reaches to where all that is unresolved were phantom
too. **promised** is what the critic says the best optimum gains over π(s), **real gain** what it gains.

Where the closed loop is chaotic or returns jump, the true Q is rough at every scale: hardly any action is an optimum
of it, and by value a coin would call half of the critic's optima phantoms. Shares near one by slope and near a half
by value then tell of the truth's roughness at least as much as of the critic; the pictures below show it.
""",
    "Over training": """
Births, deaths and moves of optima a state, between a checkpoint and the one before it, at the states that the later
policy visits. Optima within {radius} of the box's diagonal may be one; **moved** is the mean distance of those, as a
share of the diagonal, and **rise of Q** how much higher the critic holds them. The last two columns are shares of
states: where the optimum that the actor's own ascent reaches is another one, and where the earlier one is no more.
""",
}
