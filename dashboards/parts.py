"""The parts of shell and pages that are words: runs, probes, the answer, tiles, and what to do about troubles."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dash_mantine_components as dmc
from dash import html

from dashboards.answer import Tile
from dashboards.records import View
from dashboards.said import Answer, Verdict
from dashboards.sparkline import sparkline
from dashboards.style import run_look
from dashboards.summary import ProbeSummary
from gradlab.store import RunInfo

#: Seconds without a sign of life after which a running run is called silent.
STALE = 30.0

_STATUS = {
    "running": ("teal", "running"),
    "finished": ("blue", "finished"),
    "stopped": ("gray", "stopped"),
    "failed": ("red", "failed"),
    "stale": ("orange", "silent"),
}
_VERDICT = {
    "good": ("teal", "✓"),
    "doubtful": ("orange", "!"),
    "bad": ("red", "✕"),
    "unknown": ("gray", "…"),
    "fact": ("indigo", "i"),
}


def status(run: RunInfo, now: float) -> str:
    """The run's status, ``stale`` when it is said to be running but has been silent.

    Example:
        >>> status(RunInfo(1, "r", "TD3", "E", "sb3", 0, {}, 0.0, 0.0, 5, "running", ""), now=100.0)
        'stale'
    """
    return "stale" if run.status == "running" and now - run.last_seen > STALE else run.status


def ago(seconds: float) -> str:
    """A time that has passed, for people.

    Example:
        >>> ago(3.2), ago(125), ago(7300), ago(200_000)
        ('3 s ago', '2 min ago', '2 h ago', '2 days ago')
    """
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"


def ages(runs: Sequence[RunInfo], now: float) -> tuple[tuple[str, str], ...]:
    """All that is said of runs and changes by time alone: of those that are said to be running, status and age.

    Example:
        >>> facts = (1, "r", "TD3", "E", "sb3", 0, {}, 0.0, 0.0, 5)
        >>> ages([RunInfo(*facts, "running", ""), RunInfo(*facts, "finished", "")], now=2.5)
        (('running', '2 s ago'),)
    """
    return tuple((status(run, now), ago(now - run.last_seen)) for run in runs if run.status == "running")


def live(run: RunInfo | None, now: float) -> Any:
    """The badge in the header."""
    if run is None:
        return dmc.Badge("waiting", color="gray", variant="light", size="lg", tt="none")
    state = status(run, now)
    color, word = _STATUS.get(state, ("gray", state))
    text = f"last record {ago(now - run.last_seen)}" if state in ("running", "stale") else word
    return dmc.Badge(
        text, color=color, variant="light", size="lg", tt="none", className="number",
        leftSection=html.Span(className=f"dot {'beating' if state == 'running' else ''}"),
    )  # fmt: skip


def run_cards(runs: Sequence[RunInfo], now: float, found: int, search: str) -> list[Callable[[], Any]]:
    """What makes the list of runs: each to look at and, by its box, to lay beside others."""
    said = f"and {found - len(runs):,} older ones; search for them" if found > len(runs) else ""
    if not runs:
        said = f"no run is called {search!r}" if search else "no run yet"
    rest = [lambda: dmc.Text(said, size="xs", c="dimmed")] if said else []
    return [*(partial(run_card, run, now) for run in runs), *rest]


def run_card(run: RunInfo, now: float) -> Any:
    """One run in the list."""
    state = status(run, now)
    color, word = _STATUS.get(state, ("gray", state))
    look = run_look(run.id)
    about = " · ".join(part for part in (run.algorithm, run.environment) if part)
    facts = [f"step {run.step:,}", *([f"seed {run.seed}"] if run.seed is not None else [])]
    card = dmc.RadioCard(
        dmc.Stack(
            [
                dmc.Group(
                    [
                        dmc.Text(run.name, size="sm", fw=650, truncate=True, flex=1, miw=0),
                        dmc.Badge(word, color=color, variant="light", size="xs", tt="none"),
                    ],
                    wrap="nowrap",
                    gap="xs",
                ),
                *([dmc.Text(about, size="xs", c="dimmed", truncate=True)] if about not in run.name else []),
                dmc.Text(" · ".join(facts), size="xs", c="dimmed", className="number"),
                *([dmc.Text(run.message, size="xs", c="red", lineClamp=3)] if run.message else []),
            ],
            gap=2,
        ),
        value=str(run.id),
        p="xs",
        className="run",
    )
    box = dmc.Checkbox(
        value=str(run.id), size="xs", radius=4, className="pick", **{"aria-label": f"Compare {run.name}"}
    )
    style = {"--run-light": look.light, "--run-dark": look.dark}
    return html.Div([box, card], className="run-row", style=style)


def compared_note(run: int | None, beside: Sequence[int], most: int) -> Any:
    """What ticking runs did."""
    count = len({run, *beside})
    if not beside or count < 2:
        return None
    full = f" {most} at once are the most." if count >= most else ""
    return dmc.Text(
        f"{count} runs are drawn over each other in figures over training, each in its colour.{full}",
        size="xs",
        c="dimmed",
    )


def probe_rows(probes: dict[str, ProbeSummary], elapsed: float) -> list[Any]:
    """What each probe did, what it cost, and what went wrong."""
    if not probes:
        return [dmc.Text("nothing measured yet", size="xs", c="dimmed")]
    rows = []
    for name, probe in sorted(probes.items()):
        counts = [dmc.Text(f"{probe.ok} measured", size="xs", c="dimmed")]
        if probe.skipped:
            counts.append(dmc.Badge(f"{probe.skipped} skipped", color="orange", size="xs", variant="light", tt="none"))
        if probe.failed:
            counts.append(dmc.Badge(f"{probe.failed} failed", color="red", size="xs", variant="light", tt="none"))
        share = f" · {100 * probe.cost / elapsed:.1f} %" if elapsed >= 1 and probe.where == "inline" else ""
        place = " in the background" if probe.where == "background" else ""
        body = [
            dmc.Group(
                [
                    dmc.Text(name, size="sm", fw=600),
                    dmc.Text(f"{_seconds(probe.cost)}{share}", size="xs", className="number"),
                ],
                justify="space-between",
            ),
            dmc.Group(counts, gap=6),
        ]
        if place:
            body.append(dmc.Text(place.strip(), size="xs", c="dimmed"))
        if probe.failure:
            step, message = probe.failure
            body.append(
                dmc.Text(f"step {step:,} failed: {message}", size="xs", c="red", lineClamp=4, className="trouble")
            )
        if probe.skip:
            step, message = probe.skip
            text = f"step {step:,} skipped: {message}"
            body.append(dmc.Text(text, size="xs", c="dimmed", lineClamp=3, className="trouble"))
        if probe.note:
            body.append(dmc.Text(probe.note, size="xs", c="dimmed", lineClamp=3))
        rows.append(html.Div(dmc.Stack(body, gap=2)))
    inline = sum(probe.cost for probe in probes.values() if probe.where == "inline")
    if elapsed >= 1:
        total = f"training waited {_seconds(inline)} for probes: {100 * inline / elapsed:.1f} % of {_seconds(elapsed)}"
        rows.append(dmc.Text(total, size="xs", fw=600))
    return rows


def verdict_sign(verdict: Verdict, size: str) -> Any:
    """How bad something is: a colour and, without it, a sign and a word for those who do not see it."""
    color, sign = _VERDICT[verdict]
    icon = dmc.ThemeIcon(sign, color=color, variant="light", size=size, radius="xl", **{"aria-hidden": "true"})
    return html.Span(icon, role="img", title=verdict, className="verdict", **{"aria-label": verdict})


def status_badge(word: str) -> Any:
    """A run's status as ``status`` gives it."""
    color, said = _STATUS.get(word, ("gray", word))
    return dmc.Badge(said, color=color, variant="light", size="xs", tt="none", flex="none")


def answer_card(answer: Answer) -> Any:
    """The sentence on top of the page."""
    return dmc.Paper(
        dmc.Group(
            [
                verdict_sign(answer.verdict, "lg"),
                dmc.Text(answer.text.replace(" %", "\u00a0%"), fz=15, fw=550, flex=1, lh=1.4, id="answer-text"),
            ],
            wrap="nowrap",
            gap="md",
        ),
        withBorder=True,
        px="md",
        py="sm",
        className=f"card answer {answer.verdict}",
    )


def tile_card(tile: Tile) -> Any:
    """One number at a glance; its definition is its tooltip."""
    body = dmc.Paper(
        [
            dmc.Text(tile.label, size="xs", c="dimmed", fw=600, truncate=True),
            dmc.Group(
                [
                    dmc.Text(tile.value, fw=700, className="number big"),
                    dmc.Text(tile.interval, size="xs", c="dimmed", className="number"),
                ],
                gap="0 8px",
                align="baseline",
            ),
            html.Div(sparkline(tile.course, tile.label, tile.band), className="spark"),
            dmc.Text(tile.detail, size="xs", c="dimmed", truncate=True, className="number"),
        ],
        withBorder=True,
        px="md",
        py=8,
        className="card",
    )
    # In reach of the keyboard: the definition is shown where there is no pointer, too.
    return dmc.Tooltip(
        html.Div(body, tabIndex=0, role="group", className="tile", **{"aria-label": tile.label}),
        label=f"{tile.raw or f'{tile.value}; {tile.interval}'}; {tile.detail}. {tile.meaning}",
        multiline=True,
        w=300,
        openDelay=300,
        withArrow=True,
        events={"hover": True, "focus": True, "touch": True},
        boxWrapperProps={"style": {"display": "block", "width": "100%"}},
    )


def notice(view: View, store: str, run: RunInfo | None, now: float) -> Any:
    """What is wrong and what to do about it; None when all is well."""
    if view.condition == "missing" and view.runs:
        text = "It was moved or deleted. Put it back, or start the next run; this page takes it up by itself."
        return _alert(f"The store at {store} is gone", text, "orange", view)
    if view.condition == "missing":
        title, text = f"There is no store at {store} yet", (
            "Start a training run with probes attached and this page shows it at once: "
            "model.learn(..., callback=probes.attach(model, store=...)). Or check the path."
        )  # fmt: skip
        return _alert(title, text, "blue", view)
    if view.condition == "unreadable" and "has schema" in view.message:
        text = f"{view.message}. The page tries again by itself."
        return _alert("The store was written by another version of gradlab", text, "orange", view)
    if view.condition == "unreadable" and "damaged" in view.message:
        text = f"{view.message}. Runs that go on are not affected; the page tries again by itself."
        return _alert("The store is damaged", text, "red", view)
    if view.condition == "unreadable":
        return _alert("The store cannot be read", f"{view.message}. The page tries again by itself.", "red", view)
    if view.condition == "empty":
        return _alert(
            "The store is empty", "No run has started yet; the first one appears here by itself.", "blue", view
        )
    if run is not None and status(run, now) == "stale":
        text = (
            "It is marked as running, but its process has given no sign of life; it may have been killed, or be busy "
            "with something long. What it has measured is all here."
        )
        return _alert(f"{run.name}: silent since {ago(now - run.last_seen).removesuffix(' ago')}", text, "orange", view)
    if run is not None and run.status == "failed":
        return _alert(f"{run.name}: failed", run.message or "It gave no reason.", "red", view)
    return None


def _alert(title: str, text: str, color: str, view: View) -> Any:
    kept = " What was read before is still shown." if view.runs and view.condition in ("missing", "unreadable") else ""
    # assets/speak.js says it: a title may hold seconds that pass, and is not to be said anew with each.
    return dmc.Alert(text + kept, title=title, color=color, variant="light", **{"aria-live": "off"})


def _seconds(value: float) -> str:
    if value < 10:
        return f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 36_000 else f"{value / 3600:.1f} h"


def now() -> float:
    """Seconds since 1970, as the store counts."""
    return time.time()
