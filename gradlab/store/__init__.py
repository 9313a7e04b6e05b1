"""The store: runs and their measurements, append-only, in SQLite or PostgreSQL."""

from gradlab.store.entry import Entry
from gradlab.store.records import MeasurementInfo, RunInfo, ScalarTable
from gradlab.store.store import Store, open_store
from gradlab.store.writer import RunWriter

__all__ = ["Entry", "MeasurementInfo", "RunInfo", "RunWriter", "ScalarTable", "Store", "open_store"]
