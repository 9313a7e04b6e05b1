"""Records that cannot be read, said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from gradlab.errors import GradlabError, first_line
from gradlab.store.store import Store


@contextmanager
def damage_named(store: Store) -> Iterator[None]:
    """Says of a record that is not what the store wrote that it is damaged; put around reading, and nothing else.

    Raises:
        GradlabError: reading raised something else than one.

    Example:
        >>> import tempfile
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/gradlab.db") as store, damage_named(store):
        ...     float("abc")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: store ...gradlab.db: a record cannot be read (ValueError: could not convert string
        to float: 'abc'); restore a copy of the store
        >>> directory.cleanup()
    """
    try:
        yield
    except GradlabError:
        raise
    except (ValueError, TypeError, LookupError, SQLAlchemyError) as error:
        raise GradlabError(
            f"store {store.name}: a record cannot be read ({first_line(error)}); restore a copy of the store"
        ) from error
