"""What the dashboard knows of a store: of the runs that are looked at, read by their tail and shared by all pages."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import xarray as xr
from sqlalchemy.exc import SQLAlchemyError

from dashboards.known_run import RunRecords
from dashboards.series import Key, Series
from gradlab.errors import GradlabError
from gradlab.store import MeasurementInfo, RunInfo, ScalarTable, Store, open_store
from gradlab.store.filesystem import filesystem, is_network, state_of
from gradlab.store.url import parse

T = TypeVar("T")
Condition = Literal["ok", "missing", "empty", "unreadable"]
#: What reading raises: the first three where the store cannot be reached, the others where a record is not what it was.
_UNREADABLE = (GradlabError, SQLAlchemyError, OSError, ValueError, TypeError, KeyError)
#: Larger than the id of any measurement.
_NOTHING_IS_NEW = 2**62
#: Nanoseconds by which the times of two changes of a file differ for sure.
_RESTED = 2_000_000_000
#: Pictures of the field kept in memory, so that dragging the slider back and forth does not read them again.
_KEPT_ARRAYS = 64


@dataclass(frozen=True, slots=True)
class View:
    """The store at one moment.

    Attributes:
        condition: whether it can be read and has something to show.
        message: why not, in one line.
        runs: every run, newest first.
        token: changes whenever anything that can be seen does.
    """

    condition: Condition
    message: str
    runs: tuple[RunInfo, ...]
    token: str


class Records:
    """An incremental, thread-safe copy of a store's scalars; opens the store for reading only.

    A run is read when it is first asked for, and from then on by what is added to it: the first page of a store of many
    long runs waits for one of them only.

    Args:
        where: path or URL of the store; it need not exist yet.
        patience: seconds for which one look at the store serves all open pages.

    Raises:
        GradlabError: the path or URL is not one of a store.

    Example:
        >>> Records("no/such/gradlab.db").view().condition
        'missing'
    """

    def __init__(self, where: str, patience: float = 0.3) -> None:
        self.location = parse(where)
        self._where = where
        # Another machine's changes are seen late where a file system is shared.
        path = self.location.path
        self._watched = path if path is not None and not is_network(filesystem(path.parent)) else None
        self._patience = patience
        self._lock = threading.RLock()
        self._store: Store | None = None
        self._looked = -1e9
        # Somebody was told that there are news: the next look is not to be put off.
        self._noticed = False
        self._files: tuple[tuple[int, ...], ...] = ()
        self._read = 0
        # Runs that are to be read while nobody waits for them, and the thread that does.
        self._wanted: list[int] = []
        self._reader: threading.Thread | None = None
        self._forget()
        self._view = View("missing", "", (), "")

    @property
    def name(self) -> str:
        """Where the store is, for people: without a password."""
        return self.location.name

    @property
    def where(self) -> str:
        """Where the store is, to be opened once more; with its password, so not for printing."""
        return self._where

    @property
    def epoch(self) -> str:
        """Changes when another store was put in this one's place: its ids mean other things."""
        return self._epoch

    def view(self) -> View:
        """The store as it is now, or was less than ``patience`` seconds ago."""
        with self._lock:
            if self._noticed or time.monotonic() - self._looked >= self._patience:
                self._noticed = False
                if not self._unchanged():
                    self._view = self._reading(self._tail)
                self._looked = time.monotonic()
            return self._view

    def looking_at(self, runs: Collection[int]) -> View:
        """The store as it is once these runs are read, or could not be."""
        with self._lock:
            self.view()
            for run_id in runs:
                self.run(run_id)
            return self.view()

    def news(self) -> str:
        """Changes when the store does: for asking often, of a file only the times are looked at."""
        if self._watched is None:
            return self.view().token
        files = state_of(self._watched)
        if files != self._files:
            self._noticed = True
        return repr(files)

    def run(self, run_id: int | None) -> RunRecords:
        """What is known of a run, which is read now if it was not before; empty for one that is not known."""
        with self._lock:
            if run_id is None or all(one.id != run_id for one in self._infos):
                return RunRecords()
            if run_id not in self._runs:
                # A whole look, which notices another store in this one's place.
                self._runs[run_id] = RunRecords()
                self._version = None
                self._view = self._reading(self._tail)
            return self._runs.get(run_id, RunRecords())

    def knows(self, run_id: int) -> bool:
        """Whether a run has been read."""
        with self._lock:
            known = self._runs.get(run_id)
            return known is not None and known.complete

    def read_later(self, run_id: int) -> None:
        """Has a run read while nobody waits for it; ``knows`` says when it has been."""
        with self._lock:
            if run_id in self._runs or run_id in self._wanted or self._store is None:
                return
            self._wanted.append(run_id)
            if self._reader is None:
                self._reader = threading.Thread(target=self._read_wanted, name="gradlab-reader", daemon=True)
                self._reader.start()

    def why_unread(self, run_id: int) -> str:
        """Why a run that was to be read later could not be; empty where it could, or was not tried yet."""
        with self._lock:
            return self._unread.get(run_id, "")

    def series(self, run_id: int | None) -> Mapping[Key, Series]:
        """The scalars of a run as series."""
        with self._lock:
            return dict(self.run(run_id).series)

    def fields(self, run_id: int | None) -> list[tuple[int, int]]:
        """(step, measurement id) of every picture of the field, by step."""
        with self._lock:
            return list(self.run(run_id).fields)

    def table(self, run_id: int | None, probe: str, step: int | None = None) -> Mapping[str, xr.DataArray]:
        """Arrays of a probe's newest measurement up to a step; of all steps when None. Empty where there is none."""
        with self._lock:
            known = [one for one in self.run(run_id).tables.get(probe, ()) if step is None or one[0] <= step]
        return self.arrays(known[-1][1]) if known else {}

    def arrays(self, measurement_id: int) -> Mapping[str, xr.DataArray]:
        """Arrays of one measurement, kept for a while; empty when they cannot be read."""
        with self._lock:
            epoch, store, kept = self._epoch, self._store, self._arrays.get((self._epoch, measurement_id))
            if kept is not None:
                self._arrays.move_to_end((epoch, measurement_id))
                return kept
        if store is None:
            return {}
        try:
            found = store.arrays(measurement_id)
        except _UNREADABLE as error:
            with self._lock:
                self._damaged = {measurement_id: _in_a_line(error)}
            return {}
        with self._lock:
            self._damaged.pop(measurement_id, None)
            self._arrays[epoch, measurement_id] = found
            while len(self._arrays) > _KEPT_ARRAYS:
                self._arrays.popitem(last=False)
        return found

    def some_arrays(self, measurement_id: int, names: Sequence[str]) -> Mapping[str, xr.DataArray]:
        """Some arrays of one measurement, which are not kept; empty where it has not all of them."""
        with self._lock:
            store = self._store
        try:
            return store.arrays(measurement_id, names) if store is not None else {}
        except _UNREADABLE:
            return {}

    def damage(self, measurement_id: int) -> str:
        """Why the arrays of a measurement could not be read when they last were asked for; empty when they could."""
        with self._lock:
            return self._damaged.get(measurement_id, "")

    @property
    def troubled(self) -> bool:
        """Whether something that was asked for last could not be read, although the store could."""
        with self._lock:
            return bool(self._damaged or self._unread)

    def traceback(self, measurement_id: int) -> str:
        """Where a measurement failed, as text; empty when there is none, or it cannot be read."""
        with self._lock:
            store = self._store
        if store is None:
            return ""
        try:
            return store.traceback(measurement_id)
        except _UNREADABLE:
            return ""

    def asked(self, question: Callable[[Store], T]) -> T:
        """The answer of the store to a question of one page, of which nothing is kept.

        Raises:
            GradlabError: the store cannot be read at the moment, or a record of it cannot.
        """
        with self._lock:
            store = self._store
        if store is None:
            raise GradlabError(f"store {self.name}: cannot be read at the moment")
        try:
            return question(store)
        except _UNREADABLE as error:
            raise GradlabError(_in_a_line(error)) from error

    def close(self) -> None:
        """Lets go of the store."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _read_wanted(self) -> None:
        while True:
            with self._lock:
                if not self._wanted or self._store is None:
                    self._wanted.clear()
                    self._reader = None
                    return
                run_id, store, epoch = self._wanted.pop(0), self._store, self._epoch
            try:
                # Questions of pages are answered meanwhile.
                infos, table = store.measurements(run=run_id), store.scalars(run=run_id)
            except _UNREADABLE as error:
                with self._lock:
                    self._unread[run_id] = _in_a_line(error)
                continue
            with self._lock:
                self._unread.pop(run_id, None)
                if self._epoch == epoch and run_id not in self._runs:
                    self._runs[run_id] = RunRecords()
                    # What came since is added by the next look, which takes it for one that was begun to be read.
                    self._take(infos, table)
                    self._version = None

    def _forget(self) -> None:
        self._epoch = ""
        self._version: tuple[Any, ...] | None = None
        # Of runs that are complete, everything up to this measurement is known.
        self._tailed = 0
        self._infos: tuple[RunInfo, ...] = ()
        self._runs: dict[int, RunRecords] = {}
        self._arrays: OrderedDict[tuple[str, int], dict[str, xr.DataArray]] = OrderedDict()
        self._damaged: dict[int, str] = {}
        self._wanted.clear()
        self._unread: dict[int, str] = {}

    def _unchanged(self) -> bool:
        """Whether the files of the store are those of the last look, so that there is nothing to ask of it.

        Times of files are coarse: a change is told by them only from what was read well after the one before.
        """
        if self._watched is None:
            return False
        before, self._files = self._files, state_of(self._watched)
        changed = max((one[0] for one in self._files), default=0)
        if changed and self._version is not None and self._files == before and self._read - changed > _RESTED:
            return True
        self._read = time.time_ns()
        return False

    def _reading(self, read: Callable[[Store], None]) -> View:
        try:
            if self._store is None:
                self._store = open_store(self._where, readonly=True)
            read(self._store)
        except _UNREADABLE as error:
            # What was read before stays on screen; the next look opens the store anew.
            self.close()
            self._version = None
            path = self.location.path
            condition: Condition = "missing" if path is not None and not path.exists() else "unreadable"
            message = _in_a_line(error)
            counted = max((run.counted for run in self._runs.values()), default=0)
            return View(condition, message, self._infos, f"{condition}:{message}:{self._epoch}:{counted}")
        return View("ok" if self._infos else "empty", "", self._infos, repr(self._version))

    def _tail(self, store: Store) -> None:
        # Of runs that nobody looked at only the names are asked for.
        seen = self._tailed if self._runs else _NOTHING_IS_NEW
        news = store.since(self._version, seen)
        if news is None:
            return
        if str(news.version[0]) != self._epoch:
            # Another store in this one's place: its ids mean other things, and none of its runs was looked at.
            self._forget()
            self._epoch = str(news.version[0])
        self._infos = tuple(sorted(news.runs, key=lambda run: run.id, reverse=True))
        for run_id, known in self._runs.items():
            if not known.complete:
                rest = store.measurements(after=known.counted, run=run_id)
                self._take(rest, store.scalars(after=known.measured, run=run_id))
                known.complete = True
        if self._runs:
            self._take(news.measurements, news.scalars)
        self._tailed = int(news.version[1])
        self._version = news.version

    def _take(self, infos: Sequence[MeasurementInfo], table: ScalarTable) -> None:
        """Adds what is new of the runs that are known; of a measurement that was not read yet no scalar is taken."""
        for info in infos:
            known = self._runs.get(info.run)
            if known is not None and info.id > known.counted:
                known.count(info)
        for run_id in dict.fromkeys(table.run.tolist()):
            known = self._runs.get(run_id)
            if known is not None:
                known.add(table[(table.run == run_id) & (table.id > known.measured) & (table.id <= known.counted)])


def _in_a_line(error: Exception) -> str:
    said = next(iter(str(error).strip().splitlines()), type(error).__name__)
    known = isinstance(error, GradlabError | SQLAlchemyError | OSError)
    return said if known else f"a record is damaged ({type(error).__name__}: {said})"
