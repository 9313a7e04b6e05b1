"""A calibration as rich tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradlab.calibration import TITLES, Calibration, Check, Row
from gradlab.calibration.rule import INTERVALS_MISSED, LARGEST_Z, NOT_EXACT, OUTSIDE_95

#: How many of the rows that are farthest off are shown in full.
_FARTHEST = 5
#: Columns that names have at least, however narrow the screen.
_NARROWEST = 10
#: A screen on which numbers may be apart.
_WIDE = 100
#: Columns of the screen that the checks need at most: their numbers stay together.
_CHECKS = 80
#: Names, one under the other, and the cells beside them.
_Line = tuple[list[str], list[Text]]
#: Quantities with a z of their own in the short table; the others share a column.
_OWN = ("gradient", "bias_squared", "variance")


def world_table(rows: Sequence[Row], width: int, *, full: bool) -> RenderableType:
    """All estimators on one world, in so many columns of text: a line each, or every quantity."""
    title = f"{rows[0].world} ({rows[0].setting})"
    return full_table(title, rows, width, with_world=False) if full else _short_table(title, rows, width)


def _short_table(title: str, rows: Sequence[Row], width: int) -> RenderableType:
    lines = []
    for case, group in groupby(rows, key=lambda row: row.case):
        of = list(group)
        gradient = next(row for row in of if row.quantity == "gradient")
        worst = max((row for row in of if row.quantity not in _OWN), key=_distance, default=None)
        own = [next((row for row in of if row.quantity == name), None) for name in _OWN]
        numbers = [Text(text) for text in (_number(gradient.truth), _number(gradient.measured), _error(gradient))]
        lines.append(([case[2]], [*numbers, *(_z(row) for row in own), _z(worst), _verdict(of)]))
    columns = ("truth", "measured", "± error", "z", "bias²", "var", "rest", "verdict")
    return _table(title, ("estimator", *columns), lines, width)


def full_table(title: str, rows: Iterable[Row], width: int, *, with_world: bool) -> RenderableType:
    """A line a quantity, in so many columns of text."""
    lines: list[_Line] = []
    before: tuple[str, str, str] | None = None
    for row in rows:
        held = Text(f"{row.held}/{row.intervals}" if row.intervals else "")
        numbers = [Text(text) for text in (_number(row.truth), _number(row.measured), _error(row))]
        names = [f"{row.world} ({row.setting})", row.estimator] if with_world else [row.estimator]
        cells = [Text(TITLES[row.quantity]), *numbers, _z(row), held, _verdict([row])]
        lines.append((names if with_world or row.case != before else [], cells))
        before = row.case
    columns = ("quantity", "truth", "measured", "± error", "z", "held", "verdict")
    return _table(title, ("world and estimator" if with_world else "estimator", *columns), lines, width)


def closing(result: Calibration, width: int) -> Iterator[RenderableType]:
    """What is said below the tables: the farthest off, the checks, the controls and the verdict."""
    farthest = sorted((row for row in result.rows if _distance(row) > 0), key=_distance, reverse=True)[:_FARTHEST]
    if farthest:
        yield full_table(f"the {len(farthest)} farthest off", farthest, width, with_world=True)
        yield Text()
    yield from _check_table(result, width)
    for name in (LARGEST_Z, NOT_EXACT):
        check = next(check for check in result.checks if check.name == name)
        if check.of:
            found = f"{check.found:.2f}" if name == LARGEST_Z else f"{check.found:.0f}"
            allowed = f"{check.allowed:.2f}" if name == LARGEST_Z else "none"
            what = "Largest |z|" if name == LARGEST_Z else "Answers without noise that are not the truth"
            yield _line(f"{what}: {found} of {check.of}; allowed {allowed}", wrong=not check.passed)
    yield Text()
    if not result.sabotaged:
        for control in result.controls:
            seen = "noticed" if control.noticed else "NOT noticed: too few cases or draws to see it"
            yield _line(
                f"Control, {control.name}: {control.outside} of {control.of} outside, largest |z| "
                f"{control.largest:.1f}; {seen}"
            )
    shares = {name: result.noticeable(name) for name in ("gradient", "variance")}
    if not any(math.isnan(share) for share in shares.values()):
        yield _line(
            f"Power: in half of the cases an error of {shares['gradient']:.0%} in the mean gradient, or of "
            f"{shares['variance']:.0%} in a variance, is noticed by its own z alone with 90 % probability."
        )
    yield _line(
        "In an estimator's line truth, measured and error are of the mean gradient along the expected one; then z of "
        "that, of bias², of the variance, and the largest of the rest (components, MSE, cosine, norm ratio, SNR). By "
        "chance 5 % of z lie outside ±1.96. held: repeats whose 95 % interval holds the truth. --full prints all; "
        "--help has the rule."
    )
    yield _line(_summary(result), wrong=not result.passed, bold=True)


def _check_table(result: Calibration, width: int) -> Iterator[RenderableType]:
    """What chance allows of each quantity; no table where nothing is left to chance."""
    missed = {check.quantity: check for check in result.checks if check.name == INTERVALS_MISSED}
    lines: list[_Line] = []
    for check in result.checks:
        if check.name == OUTSIDE_95:
            cells = [Text(str(check.of)), _count(check), Text(f"{check.allowed:.0f}")]
            other = missed.get(check.quantity)
            if other is not None and other.of:
                cells += [Text(str(other.of)), _count(other), Text(f"{other.found / other.of:.1%}")]
                cells.append(Text(f"{other.allowed:.0f}"))
            lines.append(([TITLES[check.quantity]], cells + [Text("")] * (7 - len(cells))))
    columns = ("cases", "|z| > 1.96", "allowed", "intervals", "missed", "share", "allowed")
    if lines:
        yield _table("what chance allows", ("of", *columns), lines, min(width, _CHECKS))


def _summary(result: Calibration) -> str:
    settings = len({row.case[:2] for row in result.rows})
    run = (
        f"{result.cases} {_plural(result.cases, 'case')} on {settings} {_plural(settings, 'world')}, "
        f"{len(result.rows)} quantities, seed {result.seed}, {result.repeats} × {result.draws} draws, "
        f"{result.seconds:.0f} s"
    )
    if result.passed:
        return f"Calibrated: chance explains every difference ({run})."
    failed = "; ".join(
        f"{check.name}{f' of {TITLES[check.quantity]}' if check.quantity else ''}: {check.found:.4g} of {check.of}, "
        f"allowed {check.allowed:.4g}"
        for check in result.checks
        if not check.passed
    )
    why = ", as it must be without the U-statistic's correction" if result.sabotaged else ""
    return f"NOT calibrated{why} ({run}): {failed}."


def _table(title: str, columns: Sequence[str], lines: Sequence[_Line], width: int) -> RenderableType:
    """A table in which nothing is cut: names take what the numbers leave of the width, on several lines if need be.

    Where a part of a name does not fit there, names stand on lines of their own, above their numbers.
    """
    # One blank between columns where the screen is narrow, two elsewhere.
    gap = 1 if width < _WIDE else 2
    widths = [max([len(name), *(len(cells[i]) for _, cells in lines)]) for i, name in enumerate(columns[1:])]
    left = width - sum(widths) - gap * len(columns)
    parts = [part for name in (columns[0], *(one for names, _ in lines for one in names)) for part in _parts(name)]
    if left < max(_NARROWEST, *map(len, parts)):
        return _stacked(title, columns, lines, widths, gap)
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
    table.padding = (0, gap - 1, 0, 0)
    table.add_column(columns[0])
    for name in columns[1:]:
        table.add_column(name, justify=_justified(name), no_wrap=True)
    for names, cells in lines:
        table.add_row("\n".join(_folded(name, left) for name in names), *cells)
    return table


def _stacked(
    title: str, columns: Sequence[str], lines: Sequence[_Line], widths: Sequence[int], gap: int
) -> RenderableType:
    """The same table with names above their numbers, which have columns of these widths."""

    def aligned(cells: Sequence[Text]) -> Text:
        copies = [cell.copy() for cell in cells]
        for copy, name, size in zip(copies, columns[1:], widths, strict=True):
            copy.align(_justified(name), size)
        return Text(" " * gap).join(copies)

    head = [Text(title, style="bold"), Text(columns[0]), aligned([Text(name) for name in columns[1:]])]
    rows = [part for names, cells in lines for part in (*map(Text, names), aligned(cells))]
    return Group(*head, Text("─" * (sum(widths) + gap * (len(widths) - 1))), *rows)


def _justified(column: str) -> Literal["left", "right"]:
    return "left" if column in ("quantity", "verdict") else "right"


def _parts(name: str) -> list[str]:
    """What a name may be parted into: after its hyphens and blanks."""
    return re.findall(r"[^- ]*[- ]?", name)


def _folded(name: str, width: int) -> str:
    """The name on lines of so many characters, parted after its hyphens and blanks.

    Example:
        >>> _folded("zeroth-order-2-rademacher", 20).splitlines()
        ['zeroth-order-2-', 'rademacher']
    """
    lines = [""]
    for part in _parts(name):
        if lines[-1] and len(lines[-1]) + len(part) > max(width, _NARROWEST):
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _line(text: str, *, wrong: bool = False, bold: bool = False) -> Text:
    style = "bold red" if wrong else "bold" if bold else ""
    return Text(text, style=style)


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _distance(row: Row) -> float:
    return -1.0 if math.isnan(row.z) else abs(row.z)


def _z(row: Row | None) -> Text:
    if row is None:
        return Text("")
    if row.exact:
        return Text("0" if row.z == 0 else "∞", style="" if row.z == 0 else "bold red")
    if math.isnan(row.z):
        return Text("–")
    return Text(f"{round(row.z, 1) + 0.0:.1f}".replace("-", "−"), style="red" if row.outside else "")


def _verdict(rows: Sequence[Row]) -> Text:
    verdicts = [row.verdict for row in rows]
    if "WRONG" in verdicts:
        return Text("WRONG", style="bold red")
    out = verdicts.count("OUT")
    if out:
        return Text("OUT" if len(rows) == 1 else f"{out} OUT", style="red")
    if len(rows) == 1 and verdicts[0] == "unresolved":
        return Text("unresolved")
    return Text("exact" if set(verdicts) == {"exact"} else "in")


def _count(check: Check) -> Text:
    return Text(f"{check.found:.0f}", style="" if check.passed else "bold red")


def _error(row: Row) -> str:
    return "0" if row.exact else _number(row.stderr, 2)


def _number(value: float, digits: int = 4) -> str:
    """So many significant digits, without an exponent where zeros would be few.

    Example:
        >>> _number(1234.5678), _number(0.000012345), _number(-2.0), _number(0.0), _number(float("nan"))
        ('1235', '1.2e−5', '−2', '0', '–')
    """
    if math.isnan(value):
        return "–"
    shown = f"{float(f'{value:.{digits}g}'):.{max(digits, 6)}g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"
    return shown.replace("-", "−").replace("e−0", "e−")
