"""Where commands print: one line stays one line, and what is piped is not cut to a screen's width."""

from __future__ import annotations

import os

from rich.console import Console

#: Columns for a file or a pipe, unless COLUMNS says otherwise; the widest table fits.
_WIDE = 140


def screen() -> Console:
    """A console for this moment's standard output."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console
