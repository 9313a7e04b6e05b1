"""A record of the store as a row of a table, and everything it holds under it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import dash_mantine_components as dmc
from dash import html

from dashboards.words import samples
from gradlab.store.records import ArrayInfo, MeasurementInfo, Record, ScalarTable

#: Columns: what they are called, what they are sorted by, and whether a narrow screen has room for them.
_COLUMNS = (
    ("record", "id", True), ("probe", "probe", True), ("step", "step", True), ("stored (UTC)", "time", False),
    ("where", "", False), ("status", "", True), ("cost", "cost", True), ("message", "", False),
)  # fmt: skip
_STATUS = {"ok": ("teal", "measured"), "skipped": ("orange", "skipped"), "failed": ("red", "failed")}
_WHERE = {"inline": "in training", "background": "in the background"}
#: Scalars of one record that are listed; exports have all.
_MOST = 300


def head(order: str) -> Any:
    """The titles, of which most sort; assets/records.js says which was pressed."""
    by, falling = order.removeprefix("-"), order.startswith("-")
    cells = []
    for label, name, narrow in _COLUMNS:
        sign = (" ↓" if falling else " ↑") if name == by and name else ""
        inside = html.Button([label, sign], className="order", **{"data-order": name}) if name else label
        said = {"aria-sort": "descending" if falling else "ascending"} if sign else {}
        cells.append(html.Th(inside, className=_class(name, narrow), scope="col", **said))
    return html.Tr(cells)


def row(info: MeasurementInfo, *, opened: bool) -> Any:
    """One record; its number opens it."""
    color, word = _STATUS.get(info.status, ("gray", info.status))
    sign = html.Span("▾" if opened else "▸", **{"aria-hidden": "true"})
    number = html.Button(
        [sign, f" {info.id}"],
        className="open",
        **{
            "data-record": str(info.id),
            "aria-label": f"Record {info.id}",
            "aria-expanded": "true" if opened else "false",
        },
    )
    said = info.message or "; ".join(info.notes)
    cells = [
        number, info.probe, f"{info.step:,}", _moment(info.time), _WHERE.get(info.where, info.where),
        dmc.Badge(word, color=color, variant="light", size="xs", tt="none", miw="max-content"), seconds(info.cost),
        html.Div(said, className="clamped", title=said),
    ]  # fmt: skip
    return html.Tr(
        [
            html.Td(cell, className=_class(name, narrow))
            for cell, (_, name, narrow) in zip(cells, _COLUMNS, strict=True)
        ],
        className="record opened" if opened else "record",
    )


def detail(record: Record) -> Any:
    """What a record holds: why it has no numbers, its notes, its scalars, its arrays, its traceback."""
    info = record.info
    parts: list[Any] = []
    if info.message:
        parts.append(dmc.Text(info.message, size="sm", className="trouble", c="red" if info.status == "failed" else ""))
    parts += [dmc.Text(note, size="sm", className="trouble") for note in info.notes]
    if len(record.scalars):
        parts.append(_scalars(info.probe, record.scalars))
    if record.arrays:
        parts.append(_arrays(record.arrays))
    if record.traceback:
        parts += [dmc.Text("Traceback", size="xs", fw=650), html.Pre(record.traceback, className="trace", tabIndex=0)]
    if not parts:
        parts.append(dmc.Text("It holds nothing: no numbers, no arrays, no word.", size="sm", c="dimmed"))
    return html.Tr(html.Td(html.Div(parts, className="held"), colSpan=len(_COLUMNS)), className="detail")


def _scalars(probe: str, table: ScalarTable) -> Any:
    titles = ("number", "value", "standard error", "95 % interval", "n", "against", "objective")
    rows = []
    for i in range(min(len(table), _MOST)):
        low, high = float(table.low[i]), float(table.high[i])
        between = "—" if math.isnan(low + high) else f"{digits(low)} to {digits(high)}"
        reference = str(table.reference[i])
        cells = [
            table.name[i], digits(float(table.value[i])), digits(float(table.stderr[i])), between,
            f"{int(table.samples[i]):,} {samples(probe, reference)}", reference, table.objective[i],
        ]  # fmt: skip
        rows.append(html.Tr([html.Td(cell, className="number" if 0 < k < 5 else "") for k, cell in enumerate(cells)]))
    rest = len(table) - len(rows)
    more = [dmc.Text(f"and {rest:,} more; the exports have all of them", size="xs", c="dimmed")] if rest else []
    heads = [html.Th(title, scope="col", className="number" if 0 < k < 5 else "") for k, title in enumerate(titles)]
    return html.Div([html.Table([html.Thead(html.Tr(heads)), html.Tbody(rows)]), *more])


def _arrays(arrays: tuple[ArrayInfo, ...]) -> Any:
    rows = [html.Tr([html.Td(one.name), html.Td(_shape(one)), html.Td(one.dtype)]) for one in arrays]
    titles = [html.Th(title, scope="col") for title in ("array", "shape", "type")]
    return html.Table([html.Thead(html.Tr(titles)), html.Tbody(rows)])


def _shape(one: ArrayInfo) -> str:
    sides = [f"{name} {size:,}" for name, size in zip(one.dims, one.shape, strict=True)]
    return " × ".join(sides) or "one number"


def digits(value: float) -> str:
    """A number with five digits.

    Example:
        >>> digits(-0.123456), digits(1234567.0), digits(float("nan")), digits(float("inf"))
        ('−0.12346', '1.2346e+06', 'undefined', '∞')
    """
    if math.isnan(value):
        return "undefined"
    return f"{value:.5g}".replace("-", "−", value < 0).replace("inf", "∞")


def seconds(value: float) -> str:
    """What a measurement took.

    Example:
        >>> seconds(0.0), seconds(0.00042), seconds(0.0123), seconds(2.34), seconds(3725.0)
        ('—', '0.42 ms', '12 ms', '2.3 s', '3,725 s')
    """
    if value <= 0:
        return "—"
    if value < 0.9995:
        return f"{1000 * value:.0f} ms" if value >= 0.00995 else f"{1000 * value:.2g} ms"
    return f"{value:.1f} s" if value < 99.95 else f"{value:,.0f} s"


def _moment(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _class(name: str, narrow: bool) -> str:
    numbers = "number" if name in ("step", "time", "cost") else ""
    return f"{numbers} {'' if narrow else 'wide'}".strip()
