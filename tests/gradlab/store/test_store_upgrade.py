"""Stores that older versions of gradlab wrote: read as they are, and brought up to date when that is asked for."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from gradlab.errors import GradlabError
from gradlab.store import Entry, migrations, open_store
from gradlab.store.backend import check_tables, create_tables
from gradlab.store.migrations import migrate
from gradlab.store.schema import SCHEMA_VERSION, metadata
from gradlab.store.upkeep import upgrade_store
from gradlab.store.url import parse

OLDER = Path(__file__).parent / "older"
FILES = sorted(path.name for path in OLDER.glob("*.sqlite"))


@pytest.fixture(params=FILES)
def older(request, tmp_path):
    """A copy of a store that an older gradlab wrote."""
    return Path(shutil.copy(OLDER / request.param, tmp_path / "older.db"))


def written():
    """What ``older/make.py`` stores at a step."""
    spec = importlib.util.spec_from_file_location("make", OLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def everything(path):
    """All that can be read of a store."""
    with open_store(path, readonly=True) as store:
        infos = store.measurements()
        table = store.scalars()
        columns = {name: column.tolist() for name, column in table.columns().items()}
        arrays = {info.id: store.arrays(info.id) for info in infos}
        traces = [store.traceback(info.id) for info in infos]
        return store.runs(), infos, repr(columns), arrays, traces


def test_there_are_stores_of_every_older_schema():
    found = {int.from_bytes((OLDER / name).read_bytes()[60:64]) for name in FILES}
    assert found == set(range(1, SCHEMA_VERSION))


def test_an_older_store_is_read_as_it_is(older):
    before = older.read_bytes()
    make = written()
    with open_store(older, readonly=True) as store:
        first, second = store.runs()
        assert (first.name, first.status, second.name, second.seed) == ("first", "finished", "<b>second</b>", 2**70)
        infos = [info for info in store.measurements(run=1) if info.status == "ok"]
        assert [info.step for info in infos] == list(make.STEPS)
        for info in infos:
            wanted = make.measured(info.step)
            assert store.arrays(info.id)["q"].identical(wanted.arrays["q"])
            table = store.scalars(after=info.id - 1, upto=info.id)
            assert table.value[0] == wanted.scalars["cosine"].value
        assert store.received(["token 1"]).keys() <= {"token 1"}
    assert older.read_bytes() == before


def test_writing_into_an_older_store_says_which_command_upgrades_it(older):
    before = older.read_bytes()
    with pytest.raises(GradlabError, match=r"has schema 1, older .* run: gradlab store upgrade .*older\.db$"):
        open_store(older)
    assert older.read_bytes() == before
    assert [path.name for path in older.parent.iterdir()] == [older.name]


def test_an_upgrade_loses_nothing_and_makes_it_a_store_of_today(older):
    before = everything(older)
    assert upgrade_store(older) == (1, SCHEMA_VERSION)
    after = everything(older)
    assert after[:3] == before[:3]
    assert after[4] == before[4]
    for number, arrays in before[3].items():
        assert all(after[3][number][name].identical(array) for name, array in arrays.items())
    with open_store(older) as store:
        assert store.attach_run(1).record_once("new", 9000, Entry("field"), when=1.0) == "ok"
        assert store.received(["new"]) == {"new": store.last_id()}
    assert upgrade_store(older) == (SCHEMA_VERSION, SCHEMA_VERSION)
    assert int.from_bytes(older.read_bytes()[60:64]) == SCHEMA_VERSION


def test_a_reader_goes_on_through_an_upgrade(older):
    with open_store(older, readonly=True) as store:
        known = store.version()
        upgrade_store(older)
        assert store.since(known, store.last_id()) is None
        with open_store(older) as other:
            other.attach_run(2).heartbeat(7000)
        assert store.since(known, store.last_id()).runs[1].step == 7000


def test_an_upgrade_that_fails_half_way_leaves_the_store_as_it_was(older, monkeypatch):
    before = everything(older)

    def torn(connection, version):
        migrate(connection, version)
        raise GradlabError("the power went")

    monkeypatch.setattr("gradlab.store.upkeep.upgrading.migrate", torn)
    with pytest.raises(GradlabError, match="the power went"):
        upgrade_store(older)
    assert everything(older)[:3] == before[:3]
    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    monkeypatch.undo()
    assert upgrade_store(older) == (1, SCHEMA_VERSION)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("name", FILES)
def test_what_is_upgraded_has_the_tables_of_what_is_made(name, database, tmp_path, request):
    """Of Alembic's own comparison: types, columns, indices and constraints."""
    if database == "sqlite":
        upgrade_store(shutil.copy(OLDER / name, tmp_path / "a.db"))
        engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    else:
        # The tables of that store, as PostgreSQL had them then.
        with closing(sqlite3.connect(OLDER / name)) as connection:
            there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        engine = create_engine(request.getfixturevalue("postgres").database())
        with engine.begin() as connection:
            create_tables(connection)
            connection.execute(text("DROP INDEX receipts_of_a_measurement"))
            for table in ("receipts", "tracebacks"):
                if table not in there:
                    connection.execute(text(f"DROP TABLE {table}"))
            connection.execute(text("UPDATE meta SET value = '1' WHERE key = 'schema_version'"))
        where = engine.url.render_as_string(hide_password=False)
        with pytest.raises(GradlabError, match="gradlab store upgrade postgresql"):
            open_store(where)
        assert upgrade_store(where) == (1, SCHEMA_VERSION)
        open_store(where).close()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert check_tables(connection, parse(tmp_path / "a.db")) == SCHEMA_VERSION
    engine.dispose()


def test_there_is_one_revision_for_each_schema():
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_heads() == [str(SCHEMA_VERSION)]
    assert sorted(int(one.revision) for one in script.walk_revisions()) == list(range(1, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("place", ["no/such.db", "{tmp}/no.db"])
def test_an_upgrade_makes_no_store(place, tmp_path):
    with pytest.raises(GradlabError, match="there is no such file"):
        upgrade_store(place.format(tmp=tmp_path))
    assert list(tmp_path.iterdir()) == []
