"""Measurements sent more than once, and tracebacks."""

import pytest

from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store
from gradlab.store.entry import Entry, UnstorableError


def test_what_is_sent_twice_is_stored_once_and_the_first_counts(tmp_path):
    with open_store(tmp_path / "a.db") as store:
        run = store.start_run()
        good = Entry("field", Measurement({"q": Estimate(1.0, 0.1, 4)}))
        bad = Entry("field", status="failed", message="gone")
        assert run.record_once("a", 5, good, when=10.0) == "ok"
        assert run.record_once("a", 5, bad, when=11.0, traceback="Traceback") == "ok"
        assert run.record_once("b", 6, bad, when=12.0, traceback="Traceback\n  line") == "failed"
        first, second = store.measurements()
        assert (first.step, first.time, first.status) == (5, 10.0, "ok")
        assert store.traceback(first.id) == ""
        assert store.traceback(second.id) == "Traceback\n  line"
        assert store.scalars().value.tolist() == [1.0]


def test_what_comes_late_does_not_take_a_run_back(tmp_path):
    with open_store(tmp_path / "a.db") as store:
        run = store.start_run()
        run.heartbeat(100)
        before = store.runs()[0]
        run.record_once("a", 5, Entry("field", status="skipped"), when=10.0)
        assert store.runs() == [before]
        run.finish(when=before.last_seen + 5)
        assert store.runs()[0].last_seen == before.last_seen + 5


def test_a_measurement_at_fault_is_told_from_a_store_in_trouble(tmp_path):
    with open_store(tmp_path / "a.db") as store:
        run = store.start_run()
        with pytest.raises(UnstorableError, match="scalar 'q': is a float; give an Estimate"):
            run.record_once("a", 5, Entry("field", Measurement({"q": 1.0})), when=10.0)
        assert store.measurements() == []
