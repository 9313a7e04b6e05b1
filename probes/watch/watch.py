"""watch: measure checkpoints as a running job writes them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from gradlab.adapters.facts import Facts
from gradlab.arguments import real_number, whole_number
from gradlab.errors import GradlabError, first_line
from gradlab.simulation.torch_threads import one_torch_thread
from gradlab.store import open_store
from probes.watch.events import Listener
from probes.watch.options import Options
from probes.watch.session import Session, Summary

__all__ = ["Summary", "watch"]


def watch(
    directory: str | os.PathLike[str],
    store: str | os.PathLike[str] = "gradlab.db",
    *,
    environment: str | None = None,
    probes: Sequence[str] | None = None,
    pattern: str = "*.zip",
    once: bool = False,
    poll: float = 2.0,
    idle_exit: float | None = None,
    states: int | None = None,
    seed: int = 0,
    trust: bool = False,
    latest: bool = False,
    facts: Facts | None = None,
    nice: int = 0,
    tell: Listener = str,
) -> Summary:
    """Measure every checkpoint under a directory, and those that come, into a store; the job is left alone.

    A content is measured once, whatever its file is called; a file that is written anew is measured anew. Every
    directory and algorithm is a run of the store, and a checkpoint one step of it. What the store holds is not measured
    again, so that a watch that was ended or killed is taken up by the same call. A checkpoint's measurements are stored
    together or not at all. Files are opened for reading only.

    Args:
        directory: where checkpoints are, or will be; also those in directories below it.
        store: a path, ``sqlite:///…`` or ``postgresql+psycopg://…``.
        environment: gymnasium identifier of the task; what ``monitor.csv`` beside the checkpoints says when None.
        probes: names of what is measured; everything that a checkpoint can be measured with when None.
        pattern: of the names of checkpoints, as in a shell.
        once: measure what is there and end.
        poll: seconds between looks.
        idle_exit: minutes without anything new after which it ends.
        states: observations each probe measures at, in place of its own number.
        seed: of the states and the measurements.
        trust: whether code in a file may run, where it cannot be read otherwise.
        latest: measure the newest first when several wait, rather than in the order of training.
        facts: what files do not say, as the keywords of ``gradlab.load``: the action box, γ, activation, α.
        nice: how much this process gives way to others, for good.
        tell: is told what happens: ``Doing``, ``Said`` and ``Measured``.

    Returns:
        What was done.

    Raises:
        GradlabError: an argument is out of range, the directory is a file or, with ``once``, not there, the store
            cannot be written to, or another process watches the same into it.
        KeyboardInterrupt: it was ended so, with its runs marked as stopped.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     watch(folder, f"{folder}/gradlab.db", environment="Pendulum-v1", once=True)
        Summary(measured=0, known=0, unreadable={}, failed=0)
    """
    root = Path(directory).expanduser().resolve()
    if root.exists() and not root.is_dir():
        raise GradlabError(f"watch {directory}: is a file; give the directory it is in, and --pattern {root.name}")
    if once and not root.exists():
        raise GradlabError(f"watch {directory}: there is no such directory; check the path, or watch without --once")
    options = Options(
        environment,
        probes,
        pattern,
        once,
        real_number("poll", poll, above=0.0),
        None if idle_exit is None else real_number("idle_exit", idle_exit, 0.0),
        None if states is None else whole_number("states", states, 1),
        whole_number("seed", seed, 0),
        trust,
        latest,
        facts or Facts(),
    )
    options.choose(environment or "")
    if nice:
        with contextlib.suppress(OSError):
            os.nice(nice)
    with open_store(store) as opened, one_torch_thread():
        session = Session(root, opened, options, tell)
        try:
            session.run()
        except KeyboardInterrupt:
            session.close("stopped", "interrupted by the user")
            raise
        except BaseException as error:
            with contextlib.suppress(GradlabError):
                session.close("failed", first_line(error))
            raise
        return session.close("finished")
