"""HTML from Python, where text is text: whatever was not made by ``tag`` is escaped."""

from __future__ import annotations

from html import escape

#: Elements without an end.
_EMPTY = {"meta", "link", "hr", "br"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(element: str, *children: str | None, **attributes: str | None) -> Markup:
    """An element; children that are no ``Markup`` are text, and None is nothing.

    Args:
        element: its name.
        children: what is in it.
        attributes: by name, with ``_`` for ``-`` and one at the end where Python has the word; None leaves one out.

    Example:
        >>> tag("p", "a < b ", tag("b", "<i>"), class_="note", title='"')
        '<p class="note" title="&quot;">a &lt; b <b>&lt;i&gt;</b></p>'
    """
    given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    head = "".join(f' {name}="{escape(value)}"' for name, value in given.items())
    if element in _EMPTY:
        return Markup(f"<{element}{head}>")
    return Markup(f"<{element}{head}>{joined(*children)}</{element}>")


def joined(*children: str | None) -> Markup:
    """Children one after the other, as ``tag`` takes them."""
    return Markup("".join(one if isinstance(one, Markup) else escape(one) for one in children if one is not None))


def table(head: list[str], rows: list[list[str]], numbers: frozenset[int] = frozenset()) -> Markup:
    """A table, in a box that scrolls where the page is narrow.

    Args:
        head: titles of the columns.
        rows: cells.
        numbers: columns that are set flush right.
    """

    def line(kind: str, cells: list[str]) -> Markup:
        made = [tag(kind, cell, class_="number" if i in numbers else None) for i, cell in enumerate(cells)]
        return tag("tr", *made)

    body = tag("tbody", *[line("td", cells) for cells in rows])
    return tag("div", tag("table", tag("thead", line("th", head)), body), class_="table", tabindex="0")
