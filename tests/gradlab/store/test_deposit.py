"""A deposit: what was packed is what is read, by another person, and nothing that is not a deposit is trusted."""

from __future__ import annotations

import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store
from gradlab.store.deposit import write_deposit
from gradlab.store.unpacking import MEMBER
from gradlab.store.upkeep import copy_runs


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, tmp_path):
    """A store of two runs whose measurements alternate."""
    where = tmp_path / "a.db" if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    with open_store(where) as opened:
        writers = [opened.start_run(name, algorithm="TD3", config={"γ": 0.99}) for name in ("one", "two")]
        for step in range(5):
            for run in writers:
                field = xr.DataArray(np.random.default_rng(step).normal(size=(50, 60)), dims=("y", "x"))
                run.record(step, "field", Measurement({"q": Estimate(step, 0.1, 8)}, {"q": field}))
        writers[0].finish()
        yield opened


def refused(path, **how):
    with pytest.raises(GradlabError) as caught:
        open_store(path, **({"readonly": True} | how))
    said = str(caught.value)
    assert "\n" not in said
    assert str(path) in said
    return said


def test_what_is_packed_is_what_is_read(store, tmp_path):
    path = tmp_path / "run.zip"
    told = []
    found = write_deposit(store, path, ["one"], told=lambda run, done, whole: told.append((run.name, done, whole)))
    assert [run.name for run in found.runs] == ["one"]
    assert (found.measurements, found.size, found.personal) == (5, path.stat().st_size, ())
    assert told == [("one", 5, 5)]
    with open_store(path, readonly=True) as deposit:
        (run,) = deposit.runs()
        assert run == store.runs()[0]
        assert deposit.measurements() == store.measurements(run=1)
        for info in deposit.measurements():
            assert deposit.arrays(info.id)["q"].identical(store.arrays(info.id)["q"])
        for name, column in deposit.scalars().columns().items():
            np.testing.assert_array_equal(column, store.scalars(run=1).columns()[name])
        assert deposit.name == str(path)
        with pytest.raises(GradlabError, match="open for reading only"):
            deposit.start_run()


def test_equal_content_is_equal_bytes(store, tmp_path):
    first, second, third = (tmp_path / name for name in ("1.zip", "2.zip", "3.zip"))
    write_deposit(store, first)
    with open_store(tmp_path / "copy.db") as copy:
        copy_runs(store, copy)
        write_deposit(copy, second)
        assert first.read_bytes()[200:] != b""
        with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as two:
            assert one.read(MEMBER) == two.read(MEMBER)
        copy.attach_run(2).record(9, "field")
        write_deposit(copy, third)
    identities = []
    for path in (first, second, third):
        with open_store(path, readonly=True) as deposit:
            identities.append(deposit.identity)
    assert identities[0] == identities[1] != identities[2]


def test_a_deposit_goes_into_a_store_of_ones_own(store, tmp_path):
    write_deposit(store, tmp_path / "run.zip")
    with open_store(tmp_path / "run.zip", readonly=True) as deposit, open_store(tmp_path / "mine.db") as mine:
        mine.start_run("before")
        assert [one.id for one in copy_runs(deposit, mine)] == [2, 3]
        assert [run.name for run in mine.runs()] == ["before", "one", "two"]


def test_it_says_who_is_named_in_it(store, tmp_path):
    home = Path.home()
    store.attach_run(1).resume({"load": str(home / "secret" / "td3.zip")})
    found = write_deposit(store, tmp_path / "run.zip")
    assert [run.name for run in found.personal] == ["one"]
    store.attach_run(2).record(9, "p", status="failed", message=f"no {home}/x")
    assert [run.name for run in write_deposit(store, tmp_path / "run.zip").personal] == ["one", "two"]


def test_what_is_unpacked_is_deleted(store, tmp_path, monkeypatch):
    write_deposit(store, tmp_path / "run.zip")
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    with open_store(tmp_path / "run.zip", readonly=True) as deposit:
        assert len(list(room.iterdir())) == 1
        deposit.runs()
    assert list(room.iterdir()) == []
    (tmp_path / "bad.zip").write_bytes((tmp_path / "run.zip").read_bytes()[:-200])
    refused(tmp_path / "bad.zip")
    assert list(room.iterdir()) == []


def test_a_deposit_that_is_replaced_is_noticed(store, tmp_path):
    path = tmp_path / "run.zip"
    write_deposit(store, path, ["one"])
    with open_store(path, readonly=True) as deposit:
        write_deposit(store, path, ["two"])
        with pytest.raises(GradlabError, match="moved or replaced since it was opened; open it again"):
            deposit.runs()
    with open_store(path, readonly=True) as deposit:
        assert deposit.runs()[0].name == "two"


def packed(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("_", "."), content)
    return path


def test_what_is_no_deposit_is_refused(store, tmp_path):
    write_deposit(store, tmp_path / "good.zip")
    good = (tmp_path / "good.zip").read_bytes()
    assert "is a deposit, which is for reading; copy its runs" in refused(tmp_path / "good.zip", readonly=False)
    assert "a checkpoint is read by gradlab analyze" in refused(packed(tmp_path / "td3.zip", policy_pth=b"1"))
    assert "is not a SQLite file" in refused(packed(tmp_path / "b.zip", store_db=b"nothing" * 100))
    assert "is an empty file" in refused(packed(tmp_path / "c.zip", store_db=b""))
    (tmp_path / "cut.zip").write_bytes(good[: len(good) // 2])
    assert "is a damaged zip file" in refused(tmp_path / "cut.zip")
    torn = bytearray(good)
    torn[len(good) // 2] ^= 255
    (tmp_path / "torn.zip").write_bytes(bytes(torn))
    assert "is a damaged zip file" in refused(tmp_path / "torn.zip")
    (tmp_path / "empty.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    assert "without store.db" in refused(tmp_path / "empty.zip")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END",
        "CREATE VIEW v AS SELECT * FROM runs",
        "ALTER TABLE series RENAME TO other; CREATE VIEW series AS SELECT * FROM other",
        "CREATE TABLE another (x)",
    ],
)
def test_what_would_run_when_it_is_read_is_refused(store, tmp_path, sql):
    write_deposit(store, tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as file:
        file.extract(MEMBER, tmp_path)
    with closing(sqlite3.connect(tmp_path / MEMBER)) as connection:
        connection.executescript(sql)
    path = packed(tmp_path / "evil.zip", store_db=(tmp_path / MEMBER).read_bytes())
    assert "which no store has; do not trust it" in refused(path)


def test_what_cannot_be_packed_is_said(store, tmp_path):
    with open_store(tmp_path / "empty.db") as empty, pytest.raises(GradlabError, match="has no run yet"):
        write_deposit(empty, tmp_path / "run.zip")
    with pytest.raises(GradlabError, match="a deposit is a zip file; name the file so"):
        write_deposit(store, tmp_path / "run.tar")
    with pytest.raises(GradlabError, match="there is no directory"):
        write_deposit(store, tmp_path / "no" / "run.zip")
    with pytest.raises(GradlabError, match="run 'three': is not in store"):
        write_deposit(store, tmp_path / "run.zip", ["three"])
    assert not (tmp_path / "run.zip").exists()
