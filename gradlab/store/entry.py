"""One measurement to store, and the rows of tables that it becomes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, get_args

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store.codec import encode
from gradlab.store.records import MeasurementStatus, Where

#: name, reference, objective, scale
SeriesKey = tuple[str, str, str, str]
#: An entry's row, scalars and arrays, in the columns of their tables.
Draft = tuple[dict[str, Any], dict[SeriesKey, dict[str, Any]], list[dict[str, Any]]]


class UnstorableError(GradlabError):
    """A measurement is itself at fault, not the store: trying again will not help.

    Example:
        >>> raise UnstorableError("scalar 'gap': is a float; give an Estimate")
        Traceback (most recent call last):
        ...
        gradlab.store.entry.UnstorableError: scalar 'gap': is a float; give an Estimate
    """


@dataclass(frozen=True)
class Entry:
    """One measurement to store; the attributes are those of ``RunWriter.record``."""

    probe: str
    measurement: Measurement | None = None
    cost: float = 0.0
    where: Where = "inline"
    status: MeasurementStatus = "ok"
    message: str = ""


def drafted(entry: Entry) -> Draft:
    """The rows of an entry, without the numbers of its run, itself and its series, which only the store knows.

    Raises:
        GradlabError: it says something that is none of what may be said, or (``UnstorableError``) holds what no store
            takes.
    """
    if not entry.probe:
        raise GradlabError("record: the probe's name is empty; name the probe")
    check_word("where", entry.where, get_args(Where))
    check_word("status", entry.status, get_args(MeasurementStatus))
    measured = entry.measurement or Measurement()
    row = {
        "probe": shown(entry.probe),
        "where": entry.where,
        "cost": float(entry.cost),
        "status": entry.status,
        "message": shown(entry.message),
        "notes": json.dumps(list(measured.notes)),
    }
    try:
        scalars = {_series_of(name, estimate): _scalar(estimate) for name, estimate in measured.scalars.items()}
        return row, scalars, [encode(name, array) for name, array in measured.arrays.items()]
    except GradlabError as error:
        raise UnstorableError(str(error)) from error


def _series_of(name: str, estimate: Estimate) -> SeriesKey:
    if not isinstance(estimate, Estimate):
        raise GradlabError(f"scalar {name!r}: is a {type(estimate).__name__}; give an Estimate")
    return shown(name), shown(estimate.reference), shown(estimate.objective), estimate.scale


def _scalar(estimate: Estimate) -> dict[str, Any]:
    low, high = estimate.interval()
    return {
        "value": float(estimate.value),
        "stderr": float(estimate.stderr),
        "low": low,
        "high": high,
        "samples": int(estimate.samples),
    }


def shown(text: str) -> str:
    r"""A text with its NUL characters made visible: PostgreSQL has no place for them, and messages may hold anything.

    Example:
        >>> shown("no\x00thing")
        'no␀thing'
    """
    return text.replace("\0", "␀")


def check_word(what: str, word: str, allowed: Any) -> None:
    """Refuses a word that is none of those allowed."""
    if word not in allowed:
        raise GradlabError(f"{what}: {word!r} is none of {', '.join(map(repr, allowed))}")
