"""Reports that are made while the dashboard is looked at: each in a thread of its own, one after the other."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from dashboards.records import Records
from dashboards.reports.write import check_size, report_html
from gradlab.errors import GradlabError, first_line

#: Reports that are kept, the newest: each is at most 6 MB.
_KEPT = 4


@dataclass(frozen=True, slots=True)
class Making:
    """How far a report is.

    Attributes:
        number: tells one making of it from the next; 0 where none was asked for.
        said: what it is at, or why it could not be made, in a line.
        busy: whether it is being made.
        content: the report; empty until it is made.
    """

    number: int = 0
    said: str = ""
    busy: bool = False
    content: bytes = b""


class Reports:
    """The reports of a store's runs.

    Args:
        records: what is known of the store.
        write: makes the HTML of one run of a store: ``report_html``.
    """

    def __init__(self, records: Records, write: Callable[..., str] = report_html) -> None:
        self._records = records
        self._write = write
        self._lock = threading.Lock()
        # Two at once would be no faster than one after the other, and slow the pages down twice as much.
        self._turn = threading.Lock()
        self._known: OrderedDict[tuple[str, int], Making] = OrderedDict()
        self._count = 0

    def make(self, run: int) -> Making:
        """Begins to make a run's report, unless it is being made already."""
        key = (self._records.epoch, run)
        with self._lock:
            known = self._known.get(key, Making())
            if known.busy:
                return known
            self._count += 1
            begun = self._known[key] = Making(self._count, "Waiting for the report before this one …", busy=True)
            self._known.move_to_end(key)
            while len(self._known) > _KEPT and not next(iter(self._known.values())).busy:
                self._known.popitem(last=False)
        threading.Thread(target=self._made, args=(key,), name="gradlab-report", daemon=True).start()
        return begun

    def of(self, run: int | None) -> Making:
        """How far a run's report is."""
        with self._lock:
            return self._known.get((self._records.epoch, run), Making()) if run is not None else Making()

    def _made(self, key: tuple[str, int]) -> None:
        with self._turn:
            self._say(key, said="Reading the run …")
            try:
                content = self._write(self._records.where, [key[1]], lambda *far: self._say(key, said=_far(*far)))
                whole = content.encode()
                check_size(whole, "the report")
            except GradlabError as error:
                self._say(key, said=f"No report: {error}", busy=False, content=b"")
            except Exception as error:  # noqa: BLE001 - a thread has nobody above it to say it to
                self._say(key, said=f"No report: {first_line(error)}", busy=False, content=b"")
            else:
                self._say(key, said=f"The report is made: {len(whole) / 1e6:.1f} MB.", busy=False, content=whole)

    def _say(self, key: tuple[str, int], **what: object) -> None:
        with self._lock:
            if key in self._known:
                self._known[key] = replace(self._known[key], **what)  # type: ignore[arg-type]


def _far(done: int, all_of_them: int) -> str:
    return f"Drawing figures: {done} of {all_of_them} …"
