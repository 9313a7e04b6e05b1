"""What is written into a store is what is read from it, in SQLite and in PostgreSQL."""

import math
import os
import pickle
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import xarray as xr

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import ScalarTable, Store, open_store


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "store with blanks & % ü.db")
    return request.getfixturevalue("postgres").database()


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    with open_store(place) as opened:
        yield opened


def measured(value: float = 0.5, **arrays: xr.DataArray) -> Measurement:
    return Measurement({"cosine": Estimate(value, 0.1, 64, "critic", "discounted", "fisher")}, arrays)


def test_a_measurement_comes_back(store: Store) -> None:
    field = xr.DataArray(np.random.default_rng(0).normal(size=(4, 33)).astype("f4"), dims=("state", "x"))
    estimates = {
        "variance": Estimate(4.0, 0.5, samples=32, reference="critic", objective="γ = 0.99", scale="log"),
        "cosine": Estimate(0.9, 0.05, samples=16, scale="fisher"),
    }
    before = time.time()
    run = store.start_run("name", algorithm="TD3")
    number = run.record(
        1000, "gradient", Measurement(estimates, {"field": field, "also": field + 1}, ("one", "zwei\nü")), cost=0.25
    )
    (info,) = store.measurements()
    assert (info.id, info.run, info.step, info.probe, info.where) == (number, run.id, 1000, "gradient", "inline")
    assert (info.cost, info.status, info.message, info.notes) == (0.25, "ok", "", ("one", "zwei\nü"))
    assert before <= info.time <= time.time()
    table = store.scalars()
    assert list(table.name) == ["variance", "cosine"]
    for row, (name, estimate) in enumerate(estimates.items()):
        assert (table.id[row], table.run[row], table.step[row], table.time[row]) == (number, run.id, 1000, info.time)
        assert (table.probe[row], table.name[row], table.reference[row]) == ("gradient", name, estimate.reference)
        assert (table.objective[row], table.scale[row]) == (estimate.objective, estimate.scale)
        assert (table.value[row], table.stderr[row], table.samples[row]) == (
            estimate.value, estimate.stderr, estimate.samples,
        )  # fmt: skip
        assert (table.low[row], table.high[row]) == estimate.interval()
    back = store.arrays(number)
    assert list(back) == ["field", "also"]
    xr.testing.assert_identical(back["field"], field)
    assert list(store.arrays(number, ["also"])) == ["also"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 5e-324, 1.7e308, 0.0, 0.1 + 0.2])
def test_every_float_survives(store: Store, value: float) -> None:
    store.start_run().record(0, "p", Measurement({"a": Estimate(value, value, 8), "b": Estimate(1.0, math.nan, 1)}))
    table = store.scalars()
    np.testing.assert_array_equal(table.value, [value, 1.0])
    np.testing.assert_array_equal(table.stderr, [value, math.nan])
    assert np.isnan(table.low[1])
    assert np.isnan(table.high[1])


def test_columns_keep_their_types_when_there_is_nothing(store: Store) -> None:
    table = store.scalars()
    assert len(table) == 0
    filled = store.start_run()
    filled.record(0, "p", measured())
    for name, column in store.scalars().columns().items():
        assert column.dtype == getattr(table, name).dtype == getattr(ScalarTable.concatenate([]), name).dtype, name


def test_large_whole_numbers_are_exact(store: Store) -> None:
    run = store.start_run(seed=2**127 + 1)
    run.record(2**52 + 1, "p", Measurement({"a": Estimate(0.0, 0.0, 2**40 + 1)}))
    assert store.scalars().step[0] == 2**52 + 1
    assert store.scalars().samples[0] == 2**40 + 1
    assert store.runs()[0].seed == 2**127 + 1


def test_the_cursor_gives_what_is_new(store: Store) -> None:
    assert store.last_id() == 0
    runs = [store.start_run(), store.start_run()]
    cursor, tables, infos = 0, [store.scalars()], []
    for step in range(10):
        number = runs[step % 2].record(step, "ab"[step % 3 == 0], measured(step))
        assert number == store.last_id() > cursor
        tables.append(store.scalars(after=cursor))
        infos += store.measurements(after=cursor)
        cursor = number
    whole, tailed = store.scalars(), ScalarTable.concatenate(tables)
    for name, column in whole.columns().items():
        np.testing.assert_array_equal(column, getattr(tailed, name))
    assert infos == store.measurements()
    assert store.measurements(after=cursor) == []
    assert len(store.scalars(after=cursor)) == 0
    assert list(whole[whole.value > 6].step) == [7, 8, 9]


def test_filters(store: Store) -> None:
    runs = [store.start_run(), store.start_run()]
    for step in range(12):
        runs[step % 2].record(step, "ab"[step % 3 == 0], measured(step))
    for run in (None, 1, 2, 3):
        for probe in (None, "a", "b", "c"):
            expected = [
                step
                for step in range(12)
                if run in (None, step % 2 + 1) and probe in (None, "ab"[step % 3 == 0]) and step >= 4
            ]
            assert [info.step for info in store.measurements(4, run, probe)] == expected
            table = store.scalars(4, run, probe)
            assert list(table.step) == expected == list(table.value)
            assert list(table.run) == [step % 2 + 1 for step in expected]
            assert list(table.probe) == ["ab"[step % 3 == 0] for step in expected]
    assert [info.step for info in store.measurements(limit=3)] == [0, 1, 2]


def test_the_latest_successful_measurement(store: Store) -> None:
    run = store.start_run()
    ids = {step: run.record(step, "field", measured()) for step in (10, 30, 20)}
    run.record(40, "field", status="failed", message="NaN")
    run.record(50, "other", measured())
    again = run.record(20, "field", measured(), where="background")
    latest = {at: store.latest(run.id, "field", at) for at in (None, 1000, 30, 29, 10, 9)}
    assert {at: info and info.id for at, info in latest.items()} == {
        None: ids[30], 1000: ids[30], 30: ids[30], 29: again, 10: ids[10], 9: None,
    }  # fmt: skip
    assert store.latest(99, "field") is None


def test_a_measurement_without_numbers(store: Store) -> None:
    number = store.start_run().record(5, "p", status="skipped", message="over budget", where="background")
    (info,) = store.measurements()
    assert (info.status, info.message, info.where) == ("skipped", "over budget", "background")
    assert store.arrays(number) == {}
    assert len(store.scalars()) == 0


def test_the_life_of_a_run(store: Store) -> None:
    config = {"lr": 1e-3, "layers": [256, 256], "nan": math.inf, "call": open}
    run = store.start_run(algorithm="TD3", environment="Reacher-v5", library="sb3", seed=3, config=config)
    (info,) = store.runs()
    assert (info.id, info.name) == (run.id, run.name) == (1, "TD3 Reacher-v5 #1")
    assert (info.algorithm, info.environment, info.library, info.seed) == ("TD3", "Reacher-v5", "sb3", 3)
    assert info.config == config | {"call": repr(open)}
    assert (info.step, info.status, info.message) == (0, "running", "")
    assert info.started == info.last_seen == pytest.approx(time.time(), abs=60)
    time.sleep(0.002)
    run.heartbeat(7)
    (alive,) = store.runs()
    assert (alive.step, alive.started) == (7, info.started)
    assert alive.last_seen > info.last_seen
    run.record(9, "p")
    assert store.runs()[0].step == 9
    # A measurement that arrives late from a background process is no sign that training lives.
    seen = store.runs()[0].last_seen
    store.attach_run(run.id).record(8, "p", where="background")
    assert (store.runs()[0].step, store.runs()[0].last_seen) == (9, seen)
    run.finish("failed", "out of memory")
    assert (store.runs()[0].status, store.runs()[0].message) == ("failed", "out of memory")
    assert store.start_run().name == "run #2"
    assert [r.id for r in store.runs()] == [1, 2]


def test_the_version_changes_with_all_that_can_be_seen(store: Store, place: str) -> None:
    with open_store(place, readonly=True) as reader:
        versions = [reader.version()]
        assert reader.version() == versions[-1]
        run = store.start_run()
        changes = [
            lambda: store.start_run(),
            lambda: run.record(1, "p"),
            lambda: run.record(1, "p", where="background"),
            lambda: run.heartbeat(2),
            lambda: run.finish(),
            lambda: run.finish("stopped"),
        ]
        versions.append(reader.version())
        for change in changes:
            change()
            versions.append(reader.version())
            assert reader.version() == versions[-1]
        assert len(set(versions)) == len(changes) + 2
        assert len({version[0] for version in versions}) == 1


def test_a_second_writer_of_a_run(store: Store, place: str) -> None:
    run = store.start_run("mine")
    with open_store(place) as other:
        second = other.attach_run(run.id)
        assert (second.id, second.name) == (run.id, "mine")
        ids = [writer.record(i, "p", measured(i)) for i in range(20) for writer in (run, second)]
    assert ids == sorted(set(ids))
    assert list(store.scalars(run=run.id).value) == [i for i in range(20) for _ in range(2)]


def test_nothing_of_a_refused_measurement_is_written(store: Store) -> None:
    run = store.start_run()
    bad = xr.DataArray([object()], dims="x")
    refused = [
        ({"measurement": measured(field=bad)}, "array 'field'"),
        ({"measurement": Measurement({"a": 1.0})}, "scalar 'a': is a float"),  # type: ignore[dict-item]
        ({"where": "elsewhere"}, "where: 'elsewhere' is none of"),
        ({"status": "fine"}, "status: 'fine' is none of"),
        ({"probe": ""}, "name is empty"),
    ]
    for arguments, message in refused:
        with pytest.raises(GradlabError, match=message):
            run.record(**({"step": 0, "probe": "p"} | arguments))
    with pytest.raises(GradlabError, match="'running' is none of"):
        run.finish("running")
    assert store.measurements() == []
    assert len(store.scalars()) == 0


def test_what_is_not_there(store: Store) -> None:
    with pytest.raises(GradlabError, match="has no run 7"):
        store.attach_run(7)
    number = store.start_run().record(0, "p", measured(a=xr.DataArray(0.0)))
    with pytest.raises(GradlabError, match="has no array 'b'"):
        store.arrays(number, ["a", "b"])
    assert store.arrays(99) == {}


def test_readonly_only_reads(store: Store, place: str) -> None:
    run = store.start_run()
    with open_store(place, readonly=True) as reader:
        assert reader.readonly
        for change in (reader.start_run, lambda: reader.attach_run(run.id)):
            with pytest.raises(GradlabError, match="for reading only"):
                change()
        assert len(reader.runs()) == 1


def test_a_closed_store_says_so(place: str) -> None:
    with open_store(place) as store:
        run = store.start_run()
    for use in (store.runs, lambda: run.heartbeat(1)):
        with pytest.raises(GradlabError, match="is closed"):
            use()
    store.close()


def test_a_store_travels_to_another_process_by_its_place(store: Store, place: str) -> None:
    store.start_run("here")
    with open_store(place, readonly=True) as reader, pickle.loads(pickle.dumps(reader)) as copy:
        assert copy.readonly
        assert [run.name for run in copy.runs()] == ["here"]


def test_a_forked_process_is_told_to_open_the_store_itself(store: Store) -> None:
    child = os.fork()
    if child == 0:
        try:
            store.runs()
        except GradlabError as error:
            os._exit(0 if "another process" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def read_until(stop: threading.Event, reader: Store, failures: list[Exception]) -> None:
    try:
        while not stop.is_set():
            table = reader.scalars()
            assert list(table.value) == list(table.step)
            if len(table):
                assert (reader.arrays(int(table.id[-1]))["a"] == table.step[-1]).all()
    except (GradlabError, AssertionError) as error:
        failures.append(error)


def test_many_threads_read_and_write(store: Store, place: str) -> None:
    runs = [store.start_run() for _ in range(3)]
    stop, failures = threading.Event(), []

    def write(index: int) -> None:
        for step in range(40):
            runs[index].record(step, "p", measured(step, a=xr.DataArray(np.full(300, step), dims="x")))

    with open_store(place, readonly=True) as other:
        readers = [threading.Thread(target=read_until, args=[stop, reader, failures]) for reader in (store, other) * 2]
        writers = [threading.Thread(target=write, args=[index]) for index in range(3)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        for thread in readers:
            thread.join()
    assert failures == []
    for run in runs:
        assert list(store.scalars(run=run.id).step) == list(range(40))
