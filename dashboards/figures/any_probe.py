"""Figure: the numbers of a probe that no figure is made for, each over training in a small panel of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from dashboards import series as data
from dashboards.figures.absent import Absent, marks, waiting
from dashboards.figures.lines import caption, emptied, line, shortened
from dashboards.scale import Scale
from dashboards.series import Key, Series
from dashboards.style import Theme, axis, color_of, drawing, layout, muted, step_axis
from dashboards.words import escape, samples

#: Panels on one page: more small ones are not read, and not drawn quickly either.
PANELS = 12
#: Pixels of a row with its caption, and of what is around all rows.
_ROW, _CAPTION, _TOP, _BOTTOM = 128, 36, 8, 40
#: How much higher the rows of a page with few of them may be.
_STRETCH = 1.5
#: Between two columns, in columns.
_GAP = 0.14
#: Values that span more than this are drawn on a logarithm.
_WIDE = 50.0


class _Cell(NamedTuple):
    row: int
    column: int
    group: str
    key: Key


def any_probe(
    series: data.SeriesSet,
    probe: str,
    theme: Theme = "light",
    uirevision: str = "any-probe",
    absent: Absent = (),
    *,
    columns: int = 3,
    page: int = 0,
) -> go.Figure:
    """Each scalar of a probe with its 95 % band; those whose names agree up to the last slash are beside each other.

    Nothing is known of these numbers but what was stored with them: an axis is logarithmic where all of a number's
    intervals are above zero and its values span much, and linear otherwise.

    Args:
        series: the scalars of one run, from ``dashboards.series.collect``.
        probe: whose numbers they are.
        theme: light or dark.
        uirevision: zoom is kept while this stays the same.
        absent: (step, reason) of measurements that were tried and gave no number, oldest first.
        columns: at most so many panels beside each other.
        page: which of the pages of ``PANELS`` panels.

    Example:
        >>> any_probe({}, "mine").layout.annotations[0].text
        'waiting for the first measurement'
    """
    known = keys(series, probe)
    pages = paged(known)
    columns = _fitting(pages, columns)
    shown = pages[min(max(page, 0), len(pages) - 1)] if pages else []
    cells = _placed(shown, columns)
    groups = list(dict.fromkeys(_group(key) for key in known))
    # Of the fullest page: a page of fewer rows has higher ones.
    tall = _height(pages, columns) - _TOP - _BOTTOM
    pixels = min(tall / (1 + max((cell.row for cell in cells), default=0)), _STRETCH * _ROW)
    width = 1 / (columns + _GAP * (columns - 1))
    lowest = {cell.column: cell.row for cell in cells}
    traces: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    for index, cell in enumerate(cells):
        number = "" if index == 0 else str(index + 1)
        one = series[cell.key]
        scale = Scale(_kind(one), [one])
        left = cell.column * width * (1 + _GAP)
        top = 1 - (cell.row * pixels + _CAPTION) / tall
        bottom = max(0.0, 1 - (cell.row + 1) * pixels / tall)
        last = lowest[cell.column] == cell.row
        extra[f"yaxis{number}"] = axis(theme, domain=[bottom, top], anchor=f"x{number}", **scale.axis())
        make = step_axis if last else axis
        extra[f"xaxis{number}"] = make(
            theme, domain=[left, min(1.0, left + width)], anchor=f"y{number}", showticklabels=last, nticks=5,
            **({"matches": "x"} if number else {}),
        )  # fmt: skip
        notes.append({**caption(_title(cell, theme), _meaning(cell.key, one, probe), y=top), "x": left})
        traces += line(
            one,
            escape(cell.key.name),
            color_of(groups, cell.group, theme),
            "circle",
            scale=scale,
            xaxis=f"x{number}",
            yaxis=f"y{number}",
            points=240,
            legend=False,
            group=str(index),
            unit=samples(probe, one.reference),
        )
        if last:
            notes += marks(absent, theme, xref=f"x{number}", y=bottom)
    if not traces:
        notes = [waiting("waiting for the first measurement", absent, theme)]
    whole = layout(
        theme,
        uirevision=uirevision,
        annotations=notes,
        margin={"l": 52, "r": 12, "t": _TOP, "b": _BOTTOM},
        **extra,
    )
    return drawing({"data": traces, "layout": whole if traces else emptied({**whole, "xaxis": {}, "yaxis": {}})})


def keys(series: data.SeriesSet, probe: str) -> list[Key]:
    """The numbers of a probe, by group and name: those without a slash first.

    Example:
        >>> one = Series(*[np.zeros(1)] * 6)
        >>> [key.name for key in keys({Key("mine", name, ""): one for name in ("b/x", "a", "b/w")}, "mine")]
        ['a', 'b/w', 'b/x']
    """
    known = (key for key in series if key.probe == probe and len(series[key]))
    return sorted(known, key=lambda key: (_natural(_group(key)), _natural(key.name), key.reference))


def paged(known: Sequence[Key]) -> list[list[Key]]:
    """The numbers page by page; a group is cut only where it is larger than a page."""
    pages: list[list[Key]] = []
    for _, grouped in groupby(known, _group):
        group = list(grouped)
        if not pages or (len(pages[-1]) + len(group) > PANELS and len(pages[-1]) > PANELS // 2):
            pages.append([])
        while group:
            if len(pages[-1]) >= PANELS:
                pages.append([])
            free = PANELS - len(pages[-1])
            pages[-1] += group[:free]
            group = group[free:]
    return pages


def height(series: data.SeriesSet, probe: str, columns: int = 3) -> int:
    """Pixels that the figure's fullest page needs.

    Example:
        >>> height({}, "mine")
        176
    """
    pages = paged(keys(series, probe))
    return _height(pages, _fitting(pages, columns))


def _height(pages: Sequence[Sequence[Key]], columns: int) -> int:
    return max((_rows(page, columns) for page in pages), default=1) * _ROW + _TOP + _BOTTOM


def _fitting(pages: Sequence[Sequence[Key]], most: int) -> int:
    """As few columns as need no more rows than ``most`` do: three are of no use to groups of two."""
    needed = {columns: max((_rows(page, columns) for page in pages), default=1) for columns in range(1, most + 1)}
    return min(needed, key=lambda columns: (needed[columns], columns))


def _rows(page: Sequence[Key], columns: int) -> int:
    return max(cell.row for cell in _placed(page, columns)) + 1


def _placed(known: Sequence[Key], columns: int) -> list[_Cell]:
    """Where each number is; a group begins a row of its own where what is left of the last would cut it."""
    cells: list[_Cell] = []
    row = column = 0
    for name, grouped in groupby(known, _group):
        group = list(grouped)
        if column and column + len(group) > columns:
            row, column = row + 1, 0
        for key in group:
            if column == columns:
                row, column = row + 1, 0
            cells.append(_Cell(row, column, name, key))
            column += 1
    return cells


def _group(key: Key) -> str:
    return key.name.rpartition("/")[0]


def _natural(text: str) -> list[tuple[int, str]]:
    """For sorting: ``layer 2`` before ``layer 10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _kind(one: Series) -> str:
    finite = one.value[np.isfinite(one.value)]
    ends = one.low[np.isfinite(one.low)]
    positive = len(finite) > 0 and finite.min() > 0 and (len(ends) == 0 or ends.min() > 0)
    return "log" if positive and finite.max() / finite.min() > _WIDE else "linear"


def _title(cell: _Cell, theme: Theme) -> str:
    group, _, name = cell.key.name.rpartition("/")
    quiet = f"font-weight:400;color:{muted(theme)}"
    before = f"<span style='{quiet}'>{escape(shortened(group, 18))}/</span>" if group else ""
    text = before + escape(shortened(name, 34 - min(len(group), 19)))
    if not cell.key.reference:
        return text
    against = escape(shortened(f"against {cell.key.reference}", 44))
    return f"{text}<br><span style='{quiet};font-size:10px'>{against}</span>"


def _meaning(key: Key, one: Series, probe: str) -> str:
    parts = [f"<b>{escape(key.name)}</b>, measured by {escape(probe)}"]
    parts += [f"against {escape(key.reference)}"] if key.reference else []
    parts += [f"objective: {escape(one.objective)}"] if one.objective else []
    newest = float(one.value[-1])
    if not math.isfinite(newest):
        parts.append("its newest value is not a finite number")
    return "<br>".join([*parts, f"n counts {samples(probe, one.reference)}; bands are 95 % intervals"])
