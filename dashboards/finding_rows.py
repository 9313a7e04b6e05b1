"""Findings on the page: the diagnosis, what was measured for it, what to do next, and where to look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import html

from dashboards import parts
from dashboards.finding import Finding


def finding_rows(found: Sequence[Finding], running: bool) -> list[Any]:
    """A row for each finding, worst first as they come; what is good is said in one line at the end.

    Args:
        found: from ``dashboards.findings.findings``.
        running: whether there is a run at all.
    """
    if not found:
        text = "Nothing stands out so far." if running else "Nothing is measured yet."
        return [dmc.Text(text, size="sm", c="dimmed")]
    return [_row(one) for one in found]


def _row(one: Finding) -> Any:
    words = [dmc.Text(_together(one.text), size="sm", fw=600 if one.verdict == "bad" else 500, className="trouble")]
    if one.evidence:
        words.append(dmc.Text(_together(one.evidence), size="xs", c="dimmed", className="trouble number"))
    if one.remedy:
        words.append(dmc.Text([html.Strong("Next: "), _together(one.remedy)], size="xs", className="trouble"))
    return html.Div(
        [parts.verdict_sign(one.verdict, "sm"), dmc.Stack(words, gap=2, flex=1, miw=0), _look(one)],
        className="finding",
        role="listitem",
    )


def _look(one: Finding) -> Any:
    about = {"aria-label": f"look at the evidence: {one.text}"}
    if one.page == "" and one.figure:
        # It is on this page already.
        return html.A(
            "look", href=f"#card-{one.figure}", className="quiet-link", **{"data-show": f"card-{one.figure}"}, **about
        )
    return html.A("look", href=f"/{one.page}", className="quiet-link", **{"data-open": one.page}, **about)


def _together(text: str) -> str:
    """A number and its unit stay on one line."""
    return text.replace(" %", "\u00a0%")
