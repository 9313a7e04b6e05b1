"""The parts of a report on one run, in the order they are read."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from dashboards.answer import Tile
from dashboards.finding import Facts, Finding
from dashboards.findings import findings
from dashboards.reports.costing import cost_section
from dashboards.reports.drawn import absent, drawn_one, planned
from dashboards.reports.markup import Markup, table, tag
from dashboards.run_figures import RunFigures
from dashboards.said import Answer
from dashboards.words import samples

_SIGNS = {
    "good": ("✓", "good"), "doubtful": ("!", "doubtful"), "bad": ("✕", "bad"), "unknown": ("…", "not known"),
    "fact": ("i", "fact"),
}  # fmt: skip
#: A number and its unit stay on one line.
NARROW = "\u00a0%"


#: What is told how far a report is: of so many figures so many are drawn.
Progress = Callable[[int, int], None]


def section(figures: RunFigures, place: str, progress: Progress | None = None) -> Markup:
    """Everything a report says of one run.

    Args:
        figures: the run's figures.
        place: what ids begin with, the same for every report of this run.
        progress: is told after each figure how far it is.
    """
    info = figures.info
    return tag(
        "section",
        tag("h1", info.name, id_=place),
        tag("p", facts(figures), class_="facts"),
        answer_card(figures.answer),
        tag("div", *[_tile(one) for one in figures.tiles], class_="tiles") if figures.tiles else None,
        tag("h2", "Findings"),
        _findings(findings(Facts(figures.run.series, figures.run.probes, figures.info)), figures, place),
        tag("h2", "Figures"),
        tag("div", *_drawn(figures, place, progress), class_="figures"),
        absent(figures),
        tag("h2", "What measuring cost"),
        cost_section(figures, place),
        tag("h2", "Every number, as last measured"),
        _numbers(figures),
        tag("h2", "How to make it again"),
        _again(figures),
        class_="run",
    )


def _drawn(figures: RunFigures, place: str, progress: Progress | None) -> Iterator[Markup]:
    sketches = list(planned(figures, place))
    for number, one in enumerate(sketches, 1):
        yield drawn_one(one, figures)
        if progress is not None:
            progress(number, len(sketches))


def facts(figures: RunFigures) -> str:
    """A run in a line: what it is, how far it came, and when."""
    info = figures.info
    what = f"{info.algorithm} on {info.environment}" if info.algorithm and info.environment else ""
    parts = [what or info.algorithm or info.environment, info.library, f"run {info.id} of {figures.run.store}"]
    parts += [f"seed {info.seed}"] if info.seed is not None else []
    word = "running when this was read" if info.status == "running" else info.status
    parts += [f"{word}, step {info.step:,}", f"{_moment(info.started)} to {_moment(info.last_seen)}"]
    return " · ".join(part for part in parts if part)


def answer_card(answer: Answer) -> Markup:
    """The answer with its verdict, which is a sign and a word as well as a colour."""
    return tag(
        "div",
        _sign(answer.verdict),
        tag("p", answer.text.replace(" %", NARROW)),
        class_=f"card answer {answer.verdict}",
    )


def _sign(verdict: str) -> Markup:
    sign, word = _SIGNS.get(verdict, _SIGNS["unknown"])
    return tag("span", sign, class_="sign", role="img", aria_label=word, title=word)


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _tile(tile: Tile) -> Markup:
    return tag(
        "div",
        tag("div", tile.label, class_="label"),
        tag(
            "div",
            tag("span", tile.value.replace(" %", NARROW), class_="value"),
            tag("span", tile.interval, class_="more"),
        ),
        tag("div", tile.detail, class_="more"),
        class_="card tile",
        title=". ".join(part for part in (tile.meaning, tile.raw) if part),
    )


def _findings(found: list[Finding], figures: RunFigures, place: str) -> Markup:
    if not found:
        return tag("p", "Nothing stands out beside the answer.", class_="quiet")
    shown = set(figures.names())
    items = []
    for one in found:
        link = tag("a", "figure", href=f"#{place}-{one.figure}") if one.figure in shown else None
        said = [tag("div", one.text.replace(" %", NARROW), class_="diagnosis")]
        said += [tag("div", one.evidence.replace(" %", NARROW), class_="more")] if one.evidence else []
        said += [tag("div", f"Next: {one.remedy}".replace(" %", NARROW))] if one.remedy else []
        items.append(tag("li", _sign(one.verdict), tag("div", *said, link), class_=f"card {one.verdict}"))
    return tag("ul", *items, class_="findings")


def _numbers(figures: RunFigures) -> Markup:
    rows = []
    for key, one in sorted(figures.run.series.items()):
        value, low, high = (float(column[-1]) for column in (one.value, one.low, one.high))
        unit = samples(key.probe, key.reference)
        between = f"{_digits(low)} to {_digits(high)}" if not math.isnan(low + high) else "no interval"
        about = [key.reference, one.objective, f"{int(one.step[-1]):,}"]
        rows.append([key.probe, key.name, _digits(value), between, f"{one.samples[-1]} {unit}", *about])
    head = ["probe", "number", "value", "95 % interval", "n", "against", "objective", "step"]
    whole = table(head, rows, frozenset({2, 3, 7}))
    return tag("div", tag("details", tag("summary", f"{len(rows)} numbers"), whole), class_="card long")


def _digits(value: float) -> str:
    if math.isinf(value):
        return "no bound"
    return "undefined" if math.isnan(value) else f"{value:.4g}".replace("-", "−")


def _again(figures: RunFigures) -> Markup:
    info, config = figures.info, figures.info.config
    store = shlex.quote(figures.run.store)
    command = config.get("command")
    run = str(command) if command else "the command that started this run was not stored"
    versions = config.get("versions")
    known = ", ".join(f"{name} {one}" for name, one in versions.items()) if isinstance(versions, dict) else "not stored"
    seed = "not stored" if info.seed is None else str(info.seed)
    text = json.dumps(dict(config), indent=2, ensure_ascii=False, default=str)
    return tag(
        "div",
        tag("div", tag("h3", "The run"), tag("pre", run)),
        tag(
            "div",
            tag("h3", "This report, from the same store"),
            tag("pre", f"gradlab report {info.id} --store {store}"),
        ),
        tag("div", tag("h3", "Its numbers"), tag("pre", f"gradlab export {info.id} --store {store} --to numbers.csv")),
        tag("p", f"Seed: {seed}. Versions: {known}."),
        tag("details", tag("summary", "Configuration"), tag("pre", text)),
        class_="card stack long",
    )
