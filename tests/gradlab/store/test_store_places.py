"""Where a store may be: what is refused, in one line, and what is left behind (nothing)."""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store, sqlite
from gradlab.store.filesystem import filesystem, is_network
from gradlab.store.schema import OLDEST_READ, SCHEMA_VERSION

ONE = Measurement({"a": Estimate(1.0, 0.1, 8)})


def refused(place: object, readonly: bool = False) -> str:
    with pytest.raises(GradlabError) as caught:
        open_store(place, readonly=readonly)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("store")
    return message


def a_store(path: Path, records: int = 3) -> Path:
    with open_store(path) as store:
        run = store.start_run("first")
        for step in range(records):
            run.record(step, "p", ONE)
    return path


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"step,reward\n1,2\n" * 100, "is not a SQLite file"),
        (b"SQLite format 3\0" + bytes(10), "is cut off"),
        ("another", "is a SQLite database of another program"),
        (SCHEMA_VERSION + 1, "newer than this gradlab's"),
        (OLDEST_READ - 1, "older than any this gradlab reads"),
        ("headless", "malformed|damaged|no such table"),
        ("directory", "is a directory; name a file in it, such as .*gradlab.db"),
        ("pipe", "is not a regular file"),
    ],
)
def test_what_is_no_store_is_refused_and_left_as_it_was(
    tmp_path: Path, content: bytes | str | int, message: str, readonly: bool
) -> None:
    path = tmp_path / "x.db"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "another":
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA journal_mode = WAL")
            other.execute("CREATE TABLE meta (key, value)")
        other.close()
    elif content == "directory":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    else:
        a_store(path)
        if isinstance(content, int):
            with sqlite3.connect(path) as ours:
                ours.execute(f"PRAGMA user_version = {content}")
            ours.close()
        else:
            path.write_bytes(path.read_bytes()[:100] + bytes(8000))
    before = path.read_bytes() if path.is_file() else None
    told = refused(path, readonly)
    assert re.search(message, told), told
    assert str(path) in told
    assert os.listdir(tmp_path) == ["x.db"]
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", "the name is empty"),
        ("mysql://me@host/lab", "mysql is not supported; give a path, sqlite:///PATH or"),
        ("postgresql+psycopg2://me:secret@host/lab", r"postgresql\+psycopg2 is not supported"),
        ("mysql://host/lab?password=secret", "mysql is not supported"),
        ("http://host/gradlab.db", "http is not supported"),
        ("postgresql://host:port/lab", "cannot|not a URL"),
        ("sqlite://", "cannot be in memory"),
        (":memory:", "cannot be in memory"),
        ("sqlite:///:memory:", "cannot be in memory"),
        ("sqlite://host/gradlab.db", "expected sqlite:///relative/path"),
        ("sqlite:///gradlab.db?mode=ro", "expected sqlite:///relative/path"),
        ("a\0b", "NUL"),
        ("~nobody-by-this-name/gradlab.db", "write the path in full"),
    ],
)
def test_names_that_are_no_place(place: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = refused(place)
    assert re.search(message, told), told
    assert "secret" not in told
    assert os.listdir(tmp_path) == []


def test_the_same_store_by_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a_store(Path("g.db"))
    for place in ("g.db", "./g.db", "sqlite:///g.db", f"sqlite:///{tmp_path}/g.db", tmp_path / "g.db"):
        with open_store(place, readonly=True) as store:
            assert store.last_id() == 3


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    told = refused("postgresql://me:secret@host/lab?sslpassword=secret&connect_timeout=3")
    assert "connect_timeout=3" in told
    assert "driver psycopg is not installed; pip install 'psycopg[binary]'" in told
    assert "secret" not in told


def test_readonly_creates_nothing(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "g.db", readonly=True)
    assert "there is no such file" in refused(tmp_path / "missing" / "g.db", readonly=True)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_does_not_exist_or_cannot_hold_files(tmp_path: Path) -> None:
    assert "there is no directory" in refused(tmp_path / "missing" / "g.db")
    assert "cannot be created in /proc" in refused("/proc/g.db")
    (tmp_path / "file").write_text("")
    assert "cannot be read (Not a directory)" in refused(tmp_path / "file" / "g.db")
    assert os.listdir(tmp_path) == ["file"]


def test_a_disk_that_fills_up_while_creating_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(connection: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sqlite, "create_tables", full)
    assert "No space left on device" in refused(tmp_path / "g.db")
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    a_store(tmp_path / "g.db")
    assert os.listdir(tmp_path) == ["g.db"]


def test_many_create_one_store(tmp_path: Path) -> None:
    def write(name: str) -> None:
        with open_store(tmp_path / "g.db") as store:
            store.start_run(name).record(0, "p", ONE)

    threads = [threading.Thread(target=write, args=[str(i)]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_store(tmp_path / "g.db", readonly=True) as store:
        assert sorted(run.name for run in store.runs()) == [str(i) for i in range(8)]
        assert len(store.scalars()) == 8
    assert os.listdir(tmp_path) == ["g.db"]


def test_reading_leaves_no_trace_and_sees_writers_come_and_go(tmp_path: Path) -> None:
    path = a_store(tmp_path / "g.db")
    content = path.read_bytes()
    with open_store(path, readonly=True) as reader:
        assert reader.last_id() == 3
        assert os.listdir(tmp_path) == ["g.db"]
        assert path.read_bytes() == content
        with open_store(path) as store:
            run = store.attach_run(1)
            assert [(run.record(4, "p", ONE), reader.last_id()) for _ in range(3)] == [(4, 4), (5, 5), (6, 6)]
        assert reader.last_id() == 6
        assert os.listdir(tmp_path) == ["g.db"]


def test_a_writer_that_appears_during_a_question_makes_it_be_asked_again(tmp_path: Path) -> None:
    path, seen = a_store(tmp_path / "g.db"), []
    with open_store(path, readonly=True) as reader:

        def question(connection: object) -> int:
            if not seen:
                with open_store(path) as store:
                    store.attach_run(1).record(9, "p", ONE)
            seen.append(connection)
            return len(seen)

        assert reader._backend.read(question) == 2


def test_a_slow_reader_does_not_stop_a_writer(tmp_path: Path) -> None:
    path = a_store(tmp_path / "g.db")
    reading, written = threading.Event(), threading.Event()

    def question(connection: object) -> tuple[int, bool, int]:
        count = "SELECT count(*) FROM measurements"
        before = connection.exec_driver_sql(count).scalar_one()  # type: ignore[attr-defined]
        reading.set()
        done = written.wait(20)
        return before, done, connection.exec_driver_sql(count).scalar_one()  # type: ignore[attr-defined]

    with open_store(path) as store, open_store(path, readonly=True) as reader:
        answers: list[object] = []
        thread = threading.Thread(target=lambda: answers.append(reader._backend.read(question)))
        thread.start()
        assert reading.wait(20)
        run = store.attach_run(1)
        for step in range(50):
            run.record(step, "p", ONE)
        written.set()
        thread.join()
        assert answers == [(3, True, 3)]  # one question sees one state
        assert reader.last_id() == 53


def test_a_file_taken_away_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    with open_store(path) as store, open_store(path, readonly=True) as reader:
        run = store.start_run()
        path.rename(tmp_path / "elsewhere.db")
        for use in (lambda: run.record(1, "p", ONE), lambda: run.heartbeat(1), store.runs, reader.runs):
            with pytest.raises(GradlabError, match="moved or replaced since it was opened; open it again"):
                use()


def test_another_store_in_the_same_place_has_another_version(tmp_path: Path) -> None:
    path = a_store(tmp_path / "g.db")
    with open_store(path, readonly=True) as reader:
        before = reader.version()
        path.unlink()
        a_store(path)
        assert reader.version()[1:] == before[1:]
        assert reader.version()[0] != before[0]


def test_a_full_disk_costs_one_measurement(tmp_path: Path) -> None:
    with open_store(tmp_path / "g.db") as store:
        run = store.start_run()
        run.record(0, "p", ONE)
        pages = store._backend.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
        limit = "PRAGMA max_page_count = {}"
        store._backend.read(lambda c: c.exec_driver_sql(limit.format(pages)).scalar_one())
        big = Measurement({f"new{i}": Estimate(1.0, 0.1, 8) for i in range(3000)})
        with pytest.raises(GradlabError, match="is full; free some space on its disk"):
            run.record(1, "p", big)
        assert [info.step for info in store.measurements()] == [0]
        store._backend.read(lambda c: c.exec_driver_sql(limit.format(10**6)).scalar_one())
        run.record(2, "p", big)
        assert len(store.scalars()) == 3001


def test_a_writer_that_waits_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.05)
    with open_store(tmp_path / "g.db") as store:
        run = store.start_run()
        other = sqlite3.connect(tmp_path / "g.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(GradlabError, match="database is locked; another process has been writing"):
            run.heartbeat(1)
        other.execute("ROLLBACK")
        other.close()
        run.heartbeat(1)
        assert store.runs()[0].step == 1


def test_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def journal(path: Path) -> str:
        with sqlite3.connect(path) as connection:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    local = a_store(tmp_path / "local.db")
    assert journal(local) == "wal"
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "filesystem", lambda path: "nfs4")
        for path in (a_store(tmp_path / "g.db"), a_store(local)):
            assert journal(path) == "delete"
        with open_store(local) as store, open_store(local, readonly=True) as reader:
            assert "network file system (nfs4)" in store.notes[0]
            store.start_run().record(1, "p", ONE)
            assert reader.last_id() == 7
    a_store(local)
    assert journal(local) == "wal"


def test_file_systems_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "my data" / "deep").mkdir(parents=True)
    escaped = str(tmp_path / "my data").replace(" ", "\\040")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"root / ext4 rw 0 0\nserver:/x {escaped} nfs4 rw 0 0\nodd line\nx {tmp_path}/my xfs rw 0 0\n")
    assert filesystem(tmp_path / "my data" / "deep", mounts) == "nfs4"
    assert filesystem(tmp_path / "my", mounts) == "xfs"
    assert filesystem(tmp_path, mounts) == "ext4"
    mounts.write_text(mounts.read_text() + f"again {escaped} fuse.sshfs rw 0 0\n")
    assert filesystem(tmp_path / "my data", mounts) == "fuse.sshfs"
    assert filesystem(tmp_path, tmp_path / "missing") == ""
    assert [is_network(kind) for kind in ("nfs", "cifs", "fuse.sshfs", "fuseblk", "tmpfs", "")] == [True] * 3 + [
        False
    ] * 3


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that another user can reach, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


UNPRIVILEGED = """
import os, sys
from gradlab.errors import GradlabError
from gradlab.store import open_store
if sys.argv[1] == "crash":
    store = open_store(sys.argv[2])
    run = store.attach_run(1)
    run.record(7, "p")
    os._exit(0)
with open_store(sys.argv[3] + "/warm.db") as store:  # loads every module while they can be read
    store.measurements()
with open_store(sys.argv[3] + "/warm.db", readonly=True) as store:
    store.version()
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for readonly in (True, False):
    try:
        with open_store(sys.argv[2], readonly=readonly) as store:
            print("ok", store.last_id(), len(store.measurements()))
    except GradlabError as error:
        print(error)
"""


def as_nobody(path: Path, work: Path, mode: str = "read") -> list[str]:
    command = [sys.executable, "-c", UNPRIVILEGED, mode, str(path), str(work)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_without_permission_to_write(open_directory: Path, tmp_path: Path) -> None:
    path = a_store(open_directory / "g.db")
    path.chmod(0o444)
    open_directory.chmod(0o555)
    read, write = as_nobody(path, tmp_path)
    assert read == "ok 3 3"
    assert "the file is not writable; change its permissions" in write
    assert os.listdir(open_directory) == ["g.db"]
    path.chmod(0o666)
    read, write = as_nobody(path, tmp_path)
    assert read == "ok 3 3"
    assert "its directory is not writable" in write
    assert os.listdir(open_directory) == ["g.db"]
    missing, create = as_nobody(open_directory / "new.db", tmp_path)
    assert "there is no such file" in missing
    assert "cannot be created in" in create
    assert "Permission denied" in create
    path.chmod(0o000)
    read, write = as_nobody(path, tmp_path)
    assert "cannot be read (Permission denied)" in read
    assert "cannot be read (Permission denied)" in write
    assert os.listdir(open_directory) == ["g.db"]


def test_what_a_killed_writer_left_can_be_read_without_permission_to_write(
    open_directory: Path, tmp_path: Path
) -> None:
    path = a_store(open_directory / "g.db")
    as_nobody(path, tmp_path, "crash")
    left = sorted(os.listdir(open_directory))
    assert left == ["g.db", "g.db-shm", "g.db-wal"]
    open_directory.chmod(0o555)
    for file in open_directory.iterdir():
        file.chmod(0o444)
    assert as_nobody(path, tmp_path)[0] == "ok 4 4"
    assert sorted(os.listdir(open_directory)) == left


def test_a_log_left_by_a_deleted_store_is_not_played_into_a_new_one(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a.db")
    store.start_run("first")
    log = (tmp_path / "a.db-wal").read_bytes()
    assert log
    store.close()
    # As a killed run leaves it, and someone who then deletes the one file that has the store's name.
    (tmp_path / "a.db").unlink()
    (tmp_path / "a.db-wal").write_bytes(log)
    assert "a.db-wal" in refused(tmp_path / "a.db")
    assert [path.name for path in tmp_path.iterdir()] == ["a.db-wal"]
    (tmp_path / "a.db-wal").unlink()
    assert a_store(tmp_path / "a.db").exists()
