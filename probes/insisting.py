"""Writing to a store that may be away for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from gradlab.errors import GradlabError
from gradlab.store.entry import UnstorableError

#: Seconds a store that takes no records is asked again.
_PATIENCE = 60.0


def insist(write: Callable[[], object], say: Callable[[str], object] = str) -> None:
    """Write, and ask a store that is away for a minute again: a measurement took long.

    Args:
        write: what is to be done; it must be safe to do again where it raised.
        say: is told why it is done again, once.

    Raises:
        GradlabError: what is written can never be stored, or the store was away for longer.

    Example:
        >>> insist(lambda: None)
    """
    end, told = time.monotonic() + _PATIENCE, False
    while True:
        try:
            write()
        except UnstorableError:
            raise
        except (GradlabError, SQLAlchemyError, OSError) as error:
            if time.monotonic() > end:
                raise
            if not told:
                say(f"{error} (tried again for {_PATIENCE:.0f} s)")
            told = True
            time.sleep(1.0)
        else:
            return
