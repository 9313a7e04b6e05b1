"""Looking through a run's measurements page by page, and into one of them."""

from __future__ import annotations

import time

import numpy as np
import pytest
import xarray as xr

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import Entry, open_store
from gradlab.store.export import export_measurements, export_scalars


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two runs that wrote by turns: of the second, costs that are not in the order of ids, and failures."""
    with open_store(tmp_path_factory.mktemp("pages") / "gradlab.db") as opened:
        other, run = opened.start_run("other"), opened.start_run("mine")
        for number in range(60):
            other.record(number, "mine", Measurement({"x": Estimate(1.0, 0.1, 8)}))
            probe = ("field", "gradient", "gradient")[number % 3]
            failed = number % 7 == 0
            held = None if failed else Measurement({f"n{k}": Estimate(k, 0.1, 8) for k in range(number % 4)})
            status = {"status": "failed", "message": f"ValueError: {number}"} if failed else {}
            run.record(1000 * number, probe, held, cost=float((37 * number) % 11), **status)
        yield opened


@pytest.mark.parametrize("order", ["id", "step", "time", "cost", "probe", "where", "status"])
@pytest.mark.parametrize("descending", [False, True])
def test_pages_together_are_all_measurements_in_their_order(store, order, descending):
    pages = [store.page(2, order=order, descending=descending, limit=13, offset=at) for at in range(0, 60, 13)]
    found = [one for page in pages for one in page]
    known = store.measurements(run=2)
    assert found == sorted(known, key=lambda one: (getattr(one, order), one.id), reverse=descending)
    assert store.page(2, order=order, offset=60) == []


@pytest.mark.parametrize("probe", [None, "gradient"])
@pytest.mark.parametrize("status", [None, "ok", "failed", "skipped"])
def test_filters_let_through_what_they_say(store, probe, status):
    found = store.page(2, probe, status, limit=100)
    known = [
        one for one in store.measurements(run=2) if probe in (None, one.probe) and status in (None, one.status)
    ]  # fmt: skip
    assert found == known


def test_a_column_that_there_is_not_is_one_line(store):
    with pytest.raises(GradlabError, match="order: 'message' is none of id, step"):
        store.page(2, order="message")


def test_a_record_is_all_that_was_stored_but_the_values_of_arrays(tmp_path):
    with open_store(tmp_path / "gradlab.db") as store:
        run = store.start_run("mine")
        first = run.record(1, "mine", Measurement({"x": Estimate(3.0, 0.1, 8)}))
        arrays = {"q": xr.DataArray(np.zeros((2, 3), "f4"), dims=("y", "x")), "one": xr.DataArray(np.float64(2.0))}
        scalars = {"b": Estimate(1.0, 0.5, 4, "critic"), "a": Estimate(2.0, 0.25, 9)}
        second = run.record(2, "mine", Measurement(scalars, arrays, notes=("careful",)), cost=0.5)
        entry = Entry("mine", None, 0.25, "background", "failed", "ValueError: no")
        run.record_once("token", 3, entry, when=time.time(), traceback="Traceback\n  deep\nValueError: no")
        found = store.record(second)
        assert found.info == store.measurements(after=first)[0]
        assert dict(zip(found.scalars.name, found.scalars.samples, strict=True)) == {"a": 9, "b": 4}
        assert set(found.scalars.id) == {second}
        assert [(one.name, one.dtype, one.dims, one.shape) for one in found.arrays] == [
            ("q", "<f4", ("y", "x"), (2, 3)), ("one", "<f8", (), ()),
        ]  # fmt: skip
        assert found.traceback == ""
        failed = store.record(second + 1)
        assert (len(failed.scalars), failed.arrays, failed.info.message) == (0, (), "ValueError: no")
        assert "deep" in failed.traceback
        assert store.record(second + 2) is None


def test_what_is_between_two_ids_is_all_of_it(store):
    whole = store.scalars(run=2)
    parts = [store.scalars(after, 2, upto=after + 7) for after in range(0, 120, 7)]
    assert np.concatenate([part.id for part in parts]).tolist() == whole.id.tolist()
    assert np.concatenate([part.value for part in parts]).tolist() == whole.value.tolist()
    listed = [one for after in range(0, 120, 7) for one in store.measurements(after, 2, upto=after + 7)]
    assert listed == store.measurements(run=2)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_exports_in_pieces_are_those_in_one(store, tmp_path, monkeypatch, form):
    if form == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
    for export, count in ((export_scalars, len(store.scalars(run=2))), (export_measurements, 60)):
        assert export(store, tmp_path / f"whole.{form}", ["mine"]) == count
        monkeypatch.setattr("gradlab.store.export._PIECE", 7)
        assert export(store, tmp_path / f"pieces.{form}", ["mine"]) == count
        monkeypatch.undo()
        paths = tmp_path / f"whole.{form}", tmp_path / f"pieces.{form}"
        if form == "parquet":
            assert parquet.read_table(paths[0]).equals(parquet.read_table(paths[1]))
        else:
            assert paths[0].read_bytes() == paths[1].read_bytes()
