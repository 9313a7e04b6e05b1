"""Copying, pruning, sizes and vacuum, in SQLite and in PostgreSQL."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from sqlalchemy import select, update

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import Entry, open_store, schema
from gradlab.store.upkeep import copy_runs, prune_arrays, prune_runs, store_size, vacuum_store


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """Makes places for new stores."""

    def new():
        if request.param == "postgres":
            return request.getfixturevalue("postgres").database()
        return str(tmp_path / f"{len(list(tmp_path.iterdir()))} ü.db")

    return new


@pytest.fixture
def other(request, place):
    """A place in the other database."""
    return request.getfixturevalue("tmp_path") / "other.db"


def filled(where, runs=2, steps=7):
    """A store of runs whose measurements alternate, with everything a measurement can have."""
    store = open_store(where)
    writers = [
        store.start_run(f"<i>{seed}</i>", algorithm="TD3", environment="E", seed=2**70 + seed, config={"γ": 0.99})
        for seed in range(runs)
    ]
    for step in range(steps):
        for seed, run in enumerate(writers):
            draws = np.random.default_rng([step, seed])
            arrays = {
                "q": xr.DataArray(draws.normal(size=(5, 6)).astype("f4"), dims=("y", "x"), attrs={"critic": "min"}),
                "level": xr.DataArray(np.zeros(1000), dims="k", name="another"),
            }
            values = (draws.normal(), math.nan, -math.inf, -0.0)
            scalars = {f"n{k}": Estimate(v, abs(v), 8, "critic", f"γ {k % 2}", "log") for k, v in enumerate(values)}
            run.record(step, "field", Measurement(scalars, arrays, ("ü", f"{seed}")), cost=0.1 * step)
            run.record(step, "slow", status="skipped", message="over budget")
            entry = Entry("bad", status="failed", message="no")
            run.record_once(f"{seed}-{step}", step, entry, when=step + 0.1, traceback="Traceback\n  ü")
    for run in writers[1:]:
        run.finish("stopped", "by hand")
    silence(store)
    return store


def silence(store):
    """Lets the runs look as if nobody had trained them for hours."""
    change = update(schema.runs).values(last_seen=time.time() - 7200)
    store.backend.write(lambda connection: connection.execute(change))


def content(store, run):
    """All of a run but its numbers: bit for bit, the order of everything included."""

    def question(connection):
        columns = schema.measurements.c
        (row,) = connection.execute(select(schema.runs).where(schema.runs.c.id == run)).mappings().all()
        found = [{key: value for key, value in row.items() if key not in ("id", "revision")}]
        names = {each.id: tuple(each)[1:] for each in connection.execute(select(schema.series))}
        for one in connection.execute(select(schema.measurements).where(columns.run_id == run).order_by(columns.id)):
            found.append(tuple(one)[2:])
            for table in (schema.scalars, schema.arrays, schema.receipts, schema.tracebacks):
                query = select(table).where(table.c.measurement_id == one.id).order_by(*table.primary_key)
                for each in connection.execute(query).mappings():
                    kept = {key: repr(value) for key, value in each.items() if key not in ("id", "measurement_id")}
                    # SQLite knows one zero.
                    kept = {key: value.replace("-0.0", "0.0") for key, value in kept.items()}
                    if "series_id" in kept:
                        kept["series_id"] = names[each["series_id"]]
                    # NaN is NULL in one database and NaN in the other; both are read as NaN.
                    found.append({key: value for key, value in kept.items() if value not in ("None", "nan")})
        return found

    return store.backend.read(question)


def test_a_copy_is_the_same_bit_for_bit_there_and_back(place, other):
    with filled(place()) as store, open_store(other) as there, open_store(place()) as back:
        assert [(one.id, one.measurements, one.before) for one in copy_runs(store, there)] == [(1, 21, 0), (2, 21, 0)]
        copy_runs(there, back)
        for run in (1, 2):
            assert content(there, run) == content(store, run)
            assert content(back, run) == content(store, run)
        assert [one.id for one in back.measurements()] == [one.id for one in store.measurements()]
        assert back.arrays(1)["q"].identical(store.arrays(1)["q"])
        for one in (there, back):
            writer = one.attach_run(1)
            assert writer.record(99, "field") == store.last_id() + 1
            assert one.start_run().id == 3


def test_a_copy_into_a_store_in_use_gets_new_numbers(place, other):
    with filled(place()) as store, filled(other, runs=1, steps=3) as target:
        silence(target)
        known, last = target.version(), target.last_id()
        (copied,) = copy_runs(store, target, ["<i>0</i>"])
        assert (copied.id, copied.measurements) == (2, 21)
        # Three of its receipts are taken there: the target has what they are of by another way.
        ours, theirs = (
            [row for row in content(one, run) if "token" not in row] for one, run in ((store, 1), (target, 2))
        )
        assert theirs == ours
        assert len(content(target, 2)) == len(content(store, 1)) - 3
        news = target.since(known, last)
        assert len(news.measurements) == 21
        assert news.version[0] == known[0]


def test_copying_again_adds_what_came_since(place, other):
    with filled(place()) as store, open_store(other) as target:
        copy_runs(store, target)
        store.attach_run(1).record(100, "field", Measurement({"q": Estimate(1.0, 0.1, 8)}))
        store.attach_run(1).finish()
        first, second = copy_runs(store, target)
        assert (first.before, first.measurements) == (21, 1)
        assert (second.before, second.measurements) == (21, 0)
        assert content(target, 1) == content(store, 1)
        assert target.runs()[0].status == "finished"


def test_a_copy_with_another_past_is_refused(place, other):
    with filled(place()) as store, open_store(other) as target:
        copy_runs(store, target)
        target.attach_run(1).record(7, "other")
        with pytest.raises(GradlabError, match=r"has run 1 .* with other measurements; prune it there"):
            copy_runs(store, target)
        with pytest.raises(GradlabError, match="is the store to copy from"):
            copy_runs(store, store)
        with pytest.raises(GradlabError, match="run 'no'"):
            copy_runs(store, target, ["no"])


def test_a_reader_of_the_copy_sees_all_of_it(place, other):
    with filled(place()) as store, open_store(other) as target:
        seen, version = set(), None
        epochs = []

        def look(run, done, whole):
            nonlocal version, seen
            after = max(seen, default=0)
            news = target.since(version, after)
            if version is not None and news.version[0] != version[0]:
                epochs.append(news.version[0])
                seen = {one.id for one in target.measurements()}
            else:
                seen |= {one.id for one in news.measurements}
            version = news.version

        copy_runs(store, target, told=look)
        assert seen == {one.id for one in store.measurements()}
        assert len(epochs) == 1  # runs alternate in the source, so that the second has smaller numbers, too


KILLED = """
import os, signal, sys
from gradlab.store import open_store
from gradlab.store.upkeep import copying

copying._PIECE = 4
source, target, after = sys.argv[1:]
left = int(after)

def told(run, done, whole):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

with open_store(source, readonly=True) as ours, open_store(target) as theirs:
    copying.copy_runs(ours, theirs, told=told)
"""


@pytest.mark.parametrize("after", [1, 6, 8])
def test_a_killed_copy_is_finished_by_doing_it_again(place, other, after):
    source = place()
    with filled(source) as store:
        ended = subprocess.run([sys.executable, "-c", KILLED, source, str(other), str(after)], check=False)
        assert ended.returncode == -signal.SIGKILL
        with open_store(other) as target:
            copied = copy_runs(store, target)
            assert sum(one.before for one in copied) > 0
            for run in (1, 2):
                assert content(target, run) == content(store, run)


def test_two_who_copy_the_same_run_do_not_double_it(place, other):
    with filled(place()) as store, open_store(other) as target, open_store(other) as again:
        started = []

        def told(run, done, whole):
            if not started:
                started.append(run)
                with pytest.raises(GradlabError, match="was changed by another process"):
                    copy_runs_in_pieces(store, again, told=lambda *_: target.attach_run(1).heartbeat(5))

        with pytest.raises(GradlabError, match="was changed by another process"):
            copy_runs_in_pieces(store, target, told=told)
        assert target.last_id() <= store.last_id()


def copy_runs_in_pieces(source, target, **how):
    from gradlab.store.upkeep import copying

    before, copying._PIECE = copying._PIECE, 4
    try:
        return copy_runs(source, target, **how)
    finally:
        copying._PIECE = before


def test_pruned_runs_are_gone_and_the_rest_is_as_it_was(place):
    with filled(place(), runs=3) as store, open_store(store.address, readonly=True) as reader:
        kept = content(store, 1), content(store, 3)
        version, last = reader.version(), reader.last_id()
        planned = prune_runs(reader, [2], dry_run=True)
        assert store.version() == version
        assert prune_runs(store, ["<i>1</i>"]) == planned
        assert (planned.measurements, planned.scalars, planned.arrays) == (21, 28, 14)
        assert [run.id for run in store.runs()] == [1, 3]
        assert (content(store, 1), content(store, 3)) == kept
        assert store.received(["1-0", "2-0"]).keys() == {"2-0"}
        assert reader.since(version, last).version[0] != version[0]
        assert reader.identity == version[0]
        # Its number and those of its measurements are not handed out again.
        assert store.start_run(algorithm="A").name == "A #4"
        prune_runs_of(store, [3, 4])
        assert store.start_run(algorithm="A").id == 5
        assert store.attach_run(1).record(0, "p") > last


def prune_runs_of(store, ids):
    silence(store)
    return prune_runs(store, ids)


def test_pruned_arrays_leave_their_numbers(place):
    with filled(place()) as store:
        before = store.scalars()
        found = prune_arrays(store, [1], probe="field", before=5)
        assert (found.measurements, found.scalars, found.arrays) == (0, 0, 10)
        assert len(store.scalars()) == len(before)
        fields = store.measurements(run=1, probe="field")
        left = [bool(store.arrays(one.id)) for one in fields]
        assert left == [False] * 5 + [True] * 2
        assert [one.arrays for one in fields] == left
        assert not any(one.arrays for one in store.measurements(run=1) if one.probe != "field")
        assert prune_arrays(store, [1], probe="another").arrays == 0


def test_the_states_that_a_watch_keeps_to_are_pruned_by_name_only(place):
    with open_store(place()) as store:
        run = store.start_run()
        states = {"states": xr.DataArray(np.zeros((4, 2)), dims=("state", "feature"))}
        run.record(0, "checkpoint", Measurement(arrays=states))
        run.record(0, "field", Measurement(arrays=states))
        run.finish()
        assert prune_arrays(store, [1]).arrays == 1
        assert [one.arrays for one in store.measurements()] == [True, False]
        assert prune_arrays(store, [1], probe="checkpoint").arrays == 1


def test_a_run_that_is_trained_is_not_pruned(place):
    with open_store(place()) as store:
        store.start_run("live")
        for prune in (prune_runs, prune_arrays):
            with pytest.raises(GradlabError, match=r"run 1 \(live\): was seen \d+ s ago and has not ended; stop"):
                prune(store, [1])
        silence(store)
        assert prune_runs(store, [1]).runs[0].name == "live"
    with pytest.raises(GradlabError, match="open for reading only"), open_store(store.address, readonly=True) as reader:
        reader.backend.vacuum(full=False)


def test_the_writer_of_a_run_that_was_pruned_leaves_nothing_of_it(place):
    with open_store(place()) as store:
        run = store.start_run()
        silence(store)
        prune_runs(store, [1])
        with pytest.raises(GradlabError, match=r"run 1 \(run #1\) is not in it any more"):
            run.record(0, "p", Measurement({"a": Estimate(1.0, 0.1, 8)}))
        assert store.measurements() == []


def test_sizes_are_what_is_there(place):
    with filled(place(), runs=2, steps=3) as store:
        size = store_size(store)
        assert size.schema == schema.SCHEMA_VERSION
        assert size.disk > 10_000
        for one in size.runs:
            assert one.measurements == {"ok": 3, "skipped": 3, "failed": 3}
            assert (one.scalars, one.arrays) == (12, 6)
            assert one.raw == 3 * (5 * 6 * 4 + 8000)
            # Level ones are compressed to next to nothing.
            assert 3 * 5 * 6 * 4 <= one.stored < 3 * (5 * 6 * 4 + 200)


def test_vacuum_gives_the_room_of_what_was_pruned_back(place):
    with open_store(place()) as store:
        noise = np.random.default_rng(0)
        for name in ("large", "small"):
            run = store.start_run(name)
            for step in range(40 if name == "large" else 2):
                run.record(step, "p", Measurement({}, {"a": xr.DataArray(noise.normal(size=50_000), dims="k")}))
            run.finish()
        silence(store)
        kept = content(store, 2)
        prune_runs(store, ["large"])
        before, after = vacuum_store(store, full=True)
        assert before > 10_000_000
        assert after < 3_000_000
        assert content(store, 2) == kept
