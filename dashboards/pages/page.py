"""What a page of the dashboard is: where it lives, what it says on top, what is on it and what keeps it current."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from dash import Dash

from dashboards.known_run import RunRecords
from dashboards.records import Records
from dashboards.said import Answer
from dashboards.series import SeriesSet
from gradlab.store import RunInfo


class Query:
    """What the address says of a page's controls: text from outside, so that only what a control offers is taken.

    Args:
        said: name of a control → what the address says.

    Example:
        >>> query = Query({"reference": "simulator", "metrics": "mse,none"})
        >>> query.one("reference", "gradient", ["gradient", "simulator"])
        'simulator'
        >>> query.many("metrics", ["variance"], ["variance", "mse"])
        ['mse']
        >>> query.number("state")
        '0'
    """

    def __init__(self, said: Mapping[str, Any] | None = None) -> None:
        self._said = {str(name): str(value) for name, value in (said or {}).items()}

    def one(self, name: str, default: str, offered: Collection[str]) -> str:
        """One of what is offered."""
        value = self._said.get(name, default)
        return value if value in offered else default

    def any(self, name: str) -> list[str]:
        """What the address says, for a control that is not told yet what it offers."""
        return [self._said[name]] if name in self._said else []

    def many(self, name: str, default: Collection[str], offered: Collection[str]) -> list[str]:
        """Some of what is offered, which commas separate."""
        found = [one for one in self._said.get(name, "").split(",") if one in offered]
        return found or list(default)

    def number(self, name: str) -> str:
        """A place in a list that is not known yet, as the text that controls have for it."""
        value = self._said.get(name, "0")
        return value if value.isascii() and value.isdecimal() and len(value) < 6 else "0"


@dataclass(frozen=True, slots=True)
class Seen:
    """What an answer is made from.

    Attributes:
        run: the run that is looked at; None while there is none.
        series: its scalars, up to the step that is looked at: the newest of them are what an answer speaks of.
        records: what else is known of it, of all steps.
        at: the step that is looked at; None where that is the newest.
    """

    run: RunInfo | None
    series: SeriesSet
    records: RunRecords
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Only the open page is mounted: ``layout`` is asked for whenever it is opened, and what ``register`` gave is called
    only while it is. A callback's outputs and states must all be on this page, or all be the shell's.

    Attributes:
        path: its address, without a slash; empty for the first.
        label: its name.
        answer: the sentence on top of it.
        layout: what is on it, with its controls as the address says.
        register: gives the app its callbacks.
        stops: probes at whose measurements the slider stops here; those of all probes when empty.
        choices: ids of controls whose values are kept in the address → the value that goes without saying.
    """

    path: str
    label: str
    answer: Callable[[Seen], Answer]
    layout: Callable[[Query], Any]
    register: Callable[[Dash, Records], None]
    stops: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
