"""Lists of words that change row by row: only rows that say something else than on screen are made, and sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dash import Patch, no_update

from dashboards.showing import digest


def rows(facts: Sequence[Any], make: Callable[[Any], Any], before: Any) -> tuple[Any, list[str]]:
    """What changes in a list that has a row for each fact: nothing, the rows that say something else, or all of it.

    Args:
        facts: what each row says.
        make: makes a row of it.
        before: the marks of what is on screen, from the last call; None when nothing is.

    Returns:
        The children, and their marks.

    Example:
        >>> first, marks = rows(["a", "b"], str.upper, None)
        >>> then, marks = rows(["a", "c"], str.upper, marks)
        >>> first, [(one["location"], one["params"]) for one in then.to_plotly_json()["operations"]]
        (['A', 'B'], [([1], {'value': 'C'})])
    """
    marks = [*map(digest, facts), str(len(facts))]
    if marks == before:
        return no_update, marks
    return changed([lambda one=one: make(one) for one in facts], marks, before), marks


def changed(cards: Sequence[Callable[[], Any]], marks: list[str], before: list[str] | None) -> Any:
    """The rows of a list that are not on screen, as a Patch; all of them where others are in the list.

    Args:
        cards: what makes each of them; after those with a mark of their own there may be others.
        marks: of each row, and of what the list as a whole is.
        before: the marks of what is on screen.
    """
    if before is None or len(before) != len(marks) or before[-1] != marks[-1]:
        return [card() for card in cards]
    patch = Patch()
    for place, (mark, old) in enumerate(zip(marks[:-1], before[:-1], strict=True)):
        if mark != old:
            patch[place] = cards[place]()
    return patch
