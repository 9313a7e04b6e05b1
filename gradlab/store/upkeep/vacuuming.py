"""Room that was pruned, given back."""

from __future__ import annotations

from gradlab.store.store import Store


def vacuum_store(store: Store, *, full: bool = False) -> tuple[int, int]:
    """Gives room that is not used any more back: of SQLite to the disk, of PostgreSQL to what is stored next.

    SQLite writes the whole file anew and needs as much room again meanwhile; writers wait.

    Args:
        store: open for writing.
        full: of PostgreSQL to the disk, too: its tables are written anew, and readers wait as well.

    Returns:
        Bytes on disk before and after.

    Raises:
        GradlabError: the store is open for reading only, or in use by another process.
    """
    before = store.backend.size()
    store.backend.vacuum(full=full)
    return before, store.backend.size()
