"""Which run of a store a person means."""

from __future__ import annotations

from collections.abc import Sequence

from gradlab.errors import GradlabError
from gradlab.store.damage import damage_named
from gradlab.store.records import RunInfo
from gradlab.store.store import Store

#: Runs that an error names, the newest.
_NAMED = 5


def chosen_run(store: Store, run: int | str | None = None) -> RunInfo:
    """A run by its id or its name; the newest where neither is given.

    Digits are an id where there is a run with that id, and a name otherwise.

    Args:
        store: an open store.
        run: id or name.

    Raises:
        GradlabError: the store has no run, none like this one, or several of this name.

    Example:
        >>> import tempfile
        >>> from gradlab.store import open_store
        >>> directory = tempfile.TemporaryDirectory()
        >>> with open_store(directory.name + "/gradlab.db") as store:
        ...     for name in ("first", "second"):
        ...         store.start_run(name).finish()
        ...     chosen_run(store).name, chosen_run(store, 1).name, chosen_run(store, "second").id
        ('second', 'first', 2)
        >>> directory.cleanup()
    """
    with damage_named(store):
        runs = store.runs()
    if not runs:
        raise GradlabError(f"store {store.name}: has no run yet; a training run with probes attached begins one")
    if run is None:
        return max(runs, key=lambda one: one.id)
    if isinstance(run, bool) or not isinstance(run, int | str):
        raise GradlabError(f"run: is a {type(run).__name__}; give an id or a name")
    text = str(run)
    found = [one for one in runs if str(one.id) == text]
    found = found or [one for one in runs if isinstance(run, str) and one.name == run]
    if not found:
        raise GradlabError(
            f"run {text!r}: is not in store {store.name}, which has {_listed(runs)}; give an id or a name"
        )
    if len(found) > 1:
        raise GradlabError(f"run {text!r}: is the name of {len(found)} runs, {_listed(found)}; give the id of one")
    return found[0]


def _listed(runs: Sequence[RunInfo]) -> str:
    newest = sorted(runs, key=lambda one: -one.id)
    named = [f"{one.id} ({one.name})" for one in newest[:_NAMED]]
    rest = f" and {len(runs) - _NAMED} older" if len(runs) > _NAMED else ""
    return ", ".join(named) + rest
