"""Where commands print: one line stays one line, and what is piped is not cut to a screen's width."""

from __future__ import annotations

import os

from rich.console import Console

#: Columns for a file or a pipe, unless COLUMNS says otherwise; the widest table fits.
_WIDE = 140


def screen() -> Console:
    """A console for this moment's standard output."""
    # A colon on either side makes no pictogram of what was typed, such as simulator:x:.
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console
