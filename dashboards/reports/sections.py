"""The parts of a report on one run, in the order they are read."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import plotly.graph_objects as go

from dashboards.answer import Tile
from dashboards.costs import Costs, ProbeCost
from dashboards.figures.any_probe import keys, paged
from dashboards.figures.cost import percent
from dashboards.reports.captions import caption
from dashboards.reports.embedded import figure_data
from dashboards.reports.findings import Finding, findings
from dashboards.reports.markup import Markup, joined, table, tag
from dashboards.run_figures import KINDS, RunFigures
from dashboards.said import Answer, times
from dashboards.style import Theme, color_of
from dashboards.words import samples

#: Of a report's gradient errors, from top to bottom.
METRICS = ("bias_squared", "variance", "cosine", "norm_ratio")
_HALF = {"field", "landscape", "curvature", "rollout-gradient", "rollout-value"}
_SIGNS = {"good": ("✓", "good"), "doubtful": ("!", "doubtful"), "bad": ("✕", "bad"), "unknown": ("…", "not known")}
_REASONS = 3
#: Pages of a probe's own numbers that are drawn; the table has all.
_PAGES = 4
#: A number and its unit stay on one line.
NARROW = "\u00a0%"


def section(figures: RunFigures, place: str) -> Markup:
    """Everything a report says of one run.

    Args:
        figures: the run's figures.
        place: what ids begin with, the same for every report of this run.
    """
    info = figures.info
    return tag(
        "section",
        tag("h1", info.name, id_=place),
        tag("p", facts(figures), class_="facts"),
        answer_card(figures.answer),
        tag("div", *[_tile(one) for one in figures.tiles], class_="tiles") if figures.tiles else None,
        tag("h2", "Findings"),
        _findings(findings(figures.run), figures, place),
        tag("h2", "Figures"),
        tag("div", *_figures(figures, place), class_="figures"),
        _absent(figures),
        tag("h2", "What measuring cost"),
        _cost(figures, place),
        tag("h2", "Every number, as last measured"),
        _numbers(figures),
        tag("h2", "How to make it again"),
        _again(figures),
        class_="run",
    )


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
    sign, word = _SIGNS[verdict]
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
        said = one.text.replace(" %", NARROW)
        text = joined(said, " ", link) if link is not None else joined(said)
        items.append(tag("li", _sign(one.verdict), tag("div", text), class_=f"card {one.verdict}"))
    return tag("ul", *items, class_="findings")


def _figures(figures: RunFigures, place: str) -> Iterator[Markup]:
    for name in figures.names():
        if name == "cost":
            # It stands with the table, whose colours are its legend.
            continue
        if name == "field":
            yield from _fields(figures, place)
        elif name in KINDS:
            make = _maker(figures, name)
            yield _figure(f"{place}-{name}", name, KINDS[name].title, make, figures)
    for number, (name, probe) in enumerate(figures.others.items(), 1):
        # Names are free, ids are not.
        pages = paged(keys(figures.run.series, probe))
        for page in range(min(len(pages), _PAGES)):
            title = f"{probe}, page {page + 1} of {len(pages)}" if len(pages) > 1 else probe
            yield _figure(f"{place}-probe-{number}-{page + 1}", name, title, _page(figures, probe, page), figures)


def _maker(figures: RunFigures, name: str) -> Callable[[Theme], go.Figure]:
    if name in ("gradient-error", "simulator-error"):
        return lambda theme: figures.gradient_error(METRICS, probe=KINDS[name].probe, theme=theme)
    return lambda theme: figures.figure(name, theme)


def _page(figures: RunFigures, name: str, page: int) -> Callable[[Theme], go.Figure]:
    return lambda theme: figures.any_probe(name, page=page, theme=theme)


def _fields(figures: RunFigures, place: str) -> Iterator[Markup]:
    """The first picture and the newest, of one state by one critic."""
    steps = list(dict.fromkeys(step for step, _ in figures.run.fields))
    for step in dict.fromkeys([steps[0], steps[-1]]):
        where = f"{place}-field" if step == steps[-1] else f"{place}-field-first"
        word = "newest" if step == steps[-1] else "first"
        title = f"{KINDS['field'].title}, {word} picture: step {step:,}"

        def make(theme: Theme, step: int = step) -> go.Figure:
            return figures.field(step, theme=theme)

        yield _figure(where, "field", title, make, figures)


def _figure(where: str, name: str, title: str, make: Callable[[Theme], go.Figure], figures: RunFigures) -> Markup:
    shown = METRICS if name in ("gradient-error", "simulator-error") else ()
    pictures = len(figures.run.fields)
    of = f"Of the first state that it is measured at, by the first critic; {pictures} pictures are stored."
    pixels = figures.height(name)
    plot = tag(
        "div",
        class_="plot" if name in KINDS else "plot wide",
        style=f"height:{pixels}px",
        role="img",
        aria_label=f"{title}; the numbers are in the table below",
        data_figure=f"{where}-data",
        data_height=str(pixels),
    )
    return tag(
        "figure",
        tag("h3", title),
        tag("div", plot, class_="scroll"),
        figure_data(f"{where}-data", make),
        caption(name, figures, shown, of if name == "field" else ""),
        class_=f"card {'half' if name in _HALF else ''}".strip(),
        id_=where,
    )


def _absent(figures: RunFigures) -> Markup | None:
    found = figures.absent()
    if not found:
        return None
    titles = {name: KINDS[name].title if name in KINDS else name for name in found}
    rows = [[titles[name], why] for name, why in found.items()]
    return joined(
        tag("h2", "Figures that this run has no numbers for"), tag("div", table(["figure", "why"], rows), class_="card")
    )


def _cost(figures: RunFigures, place: str) -> Markup:
    costs = figures.costs
    if not costs.probes:
        return tag("p", "Nothing has been measured yet.", class_="quiet")
    limit = "no budget was set" if costs.budget is None else f"the budget was {percent(costs.budget)}"
    said = (
        f"Training waited for probes {percent(costs.spent('inline'))} of its {_seconds(costs.elapsed)}; {limit}. The "
        f"process beside it measured {percent(costs.spent('background'))} of that time."
    )
    head = ["probe", "where", "spent", "planned", "each", "due", "measured", "skipped", "failed"]
    names = list(dict.fromkeys(one.name for one in costs.probes))
    rows = [_cost_row(one, names) for one in costs.probes]
    parts = [tag("p", said), table(head, rows, frozenset(range(2, 9)))]
    if reasons := _reasons(costs):
        parts.append(tag("ul", *[tag("li", one) for one in reasons], class_="quiet"))
    drawn: list[Markup] = []
    if "cost" in figures.names():
        title = "Time so far, by probe"
        drawn.append(_figure(f"{place}-cost", "cost", title, _maker(figures, "cost"), figures))
    return tag("div", *drawn, tag("div", *parts, class_="card stack"), class_="stack")


def _reasons(costs: Costs) -> list[str]:
    """Why measurements are missing."""
    found = [
        f"{one.name} skipped {times(count)}: {why}" for one in costs.probes for why, count in one.reasons[:_REASONS]
    ]
    found += [f"{one.name} failed at step {f.step:,}: {f.message}" for one in costs.probes for f in one.failures]
    return found + [f"{name} was left out of this run: {why}" for name, why in sorted(costs.left_out.items())]


def _cost_row(one: ProbeCost, names: list[str]) -> list[str]:
    place = "training process" if one.where == "inline" else "background"
    planned = percent(one.planned) if math.isfinite(one.planned) else "—"
    each = _seconds(one.price) if math.isfinite(one.price) else "—"
    counts = [f"{number:,}" for number in (one.due, one.ok, one.skipped, one.failed)]
    light, dark = (color_of(names, one.name, theme) for theme in ("light", "dark"))
    swatch = tag("span", class_="swatch", style=f"--light:{light};--dark:{dark}")
    return [joined(swatch, one.name), place, percent(one.spent), planned, each, *counts]


def _seconds(value: float) -> str:
    """A duration with two digits.

    Example:
        >>> _seconds(0.0123), _seconds(2.34), _seconds(140.2), _seconds(9000.0)
        ('12 ms', '2.3 s', '140 s', '2.5 h')
    """
    if value < 0.9995:
        return f"{1000 * value:.2g} ms" if value < 0.0995 else f"{1000 * value:.0f} ms"
    if value < 600:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


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
