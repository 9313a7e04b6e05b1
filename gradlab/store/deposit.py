"""A deposit: runs in one zip file that somebody else opens as a store, for reading."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gradlab.errors import GradlabError
from gradlab.files import check_target, replacing
from gradlab.store.chosen import chosen_run
from gradlab.store.records import RunInfo
from gradlab.store.schema import REWRITTEN
from gradlab.store.store import Store, open_store
from gradlab.store.unpacking import MEMBER
from gradlab.store.upkeep.copying import Told, copy_runs

#: The earliest a zip file knows: equal content is equal bytes whenever it was packed.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20

_READ_ME = """\
Measurements of policy gradients, to be read with gradlab (https://pypi.org/project/gradlab), without unpacking:

    gradlab dashboard {name}
    gradlab report --all --store {name}
    gradlab store copy {name} mine.db        # into a store of your own

{runs}

{member} is a SQLite database, schema {schema}; any program that reads SQLite reads it.
"""


_PERSONAL = """
    SELECT id FROM runs WHERE instr(config || message, :home)
    UNION SELECT run_id FROM measurements WHERE instr(message || notes, :home)
    UNION SELECT run_id FROM measurements JOIN tracebacks ON measurement_id = id WHERE instr(text, :home)
"""


@dataclass(frozen=True)
class Deposit:
    """What was packed.

    Attributes:
        runs: the runs.
        measurements: how many there are of them.
        size: bytes of the file.
        personal: runs whose configuration, messages, notes or tracebacks name the home directory of who packed it.
    """

    runs: tuple[RunInfo, ...]
    measurements: int
    size: int
    personal: tuple[RunInfo, ...]


def write_deposit(
    store: Store, path: str | os.PathLike[str], runs: Sequence[int | str] = (), *, told: Told | None = None
) -> Deposit:
    """Packs runs with all that was measured of them into a file that ``open_store`` and every command open for reading.

    Equal content gives equal bytes. Configurations, messages and tracebacks are packed as they are.

    Args:
        store: an open store.
        path: the file, ``.zip``.
        runs: ids or names; all of them when empty.
        told: as of ``copy_runs``.

    Raises:
        GradlabError: there is no such run, the store has none, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from gradlab.estimate import Estimate
        >>> from gradlab.measurement import Measurement
        >>> folder = tempfile.TemporaryDirectory()
        >>> with open_store(folder.name + "/gradlab.db") as store:
        ...     run = store.start_run("mine")
        ...     _ = run.record(0, "gradient", Measurement({"cosine": Estimate(0.9, 0.1, samples=64)}))
        ...     run.finish()
        ...     write_deposit(store, folder.name + "/run.zip").measurements
        1
        >>> with open_store(folder.name + "/run.zip", readonly=True) as store:
        ...     store.runs()[0].name, store.scalars().value
        ('mine', array([0.9]))
        >>> folder.cleanup()
    """
    target = Path(path)
    if target.suffix.lower() != ".zip":
        raise GradlabError(f"{target}: a deposit is a zip file; name the file so")
    check_target(target)
    chosen = sorted({chosen_run(store, run).id for run in runs} or {run.id for run in store.runs()})
    if not chosen:
        raise GradlabError(f"store {store.name}: has no run yet, so that there is nothing to deposit")
    with tempfile.TemporaryDirectory(prefix="gradlab-deposit-") as folder:
        file = Path(folder) / MEMBER
        with open_store(file) as copy:
            copied = copy_runs(store, copy, chosen, told=told)
            schema = copy.backend.schema
        packed_runs = tuple(one.run for one in copied)
        personal = _seal(file, packed_runs)
        listed = "\n".join(f"run {one.id}: {one.run.name}, {one.measurements:,} measurements" for one in copied)
        said = _READ_ME.format(name=target.name, runs=listed, member=MEMBER, schema=schema)
        with replacing(target) as to, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(_entry("README.txt"), said)
            with packed.open(_entry(MEMBER), "w", force_zip64=True) as inside, file.open("rb") as bytes_of:
                while piece := bytes_of.read(_CHUNK):
                    inside.write(piece)
    return Deposit(packed_runs, sum(one.measurements for one in copied), target.stat().st_size, personal)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _seal(file: Path, runs: Sequence[RunInfo]) -> tuple[RunInfo, ...]:
    """Makes the store one file whose bytes follow from what it holds; gives the runs that name our home directory."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        created = repr(max(run.last_seen for run in runs))
        for key, value in {"identity": "", "created": created}.items():
            connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
        connection.execute("DELETE FROM meta WHERE key = ?", (REWRITTEN,))
        connection.execute("VACUUM")
        with file.open("rb") as content:
            identity = hashlib.file_digest(content, "sha256").hexdigest()[:32]
        connection.execute("UPDATE meta SET value = ? WHERE key = 'identity'", (identity,))
        found = {row[0] for row in connection.execute(_PERSONAL, {"home": str(Path.home())})}
    return tuple(run for run in runs if run.id in found)
