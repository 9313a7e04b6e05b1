"""Stores in a real PostgreSQL: many writers and followers, a server that goes away, roles, and what is no store."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from sqlalchemy import create_engine, inspect, text

from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import Entry, open_store

#: Writes so many measurements under tokens of its own, each until the store has taken it.
WRITER = """
import sys, time
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import Entry, open_store

url, run, name, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
end, store, writer = time.monotonic() + 240, None, None
for number in range(count):
    entry = Entry(name, Measurement({"number": Estimate(float(number), 0.1, 8)}))
    while True:
        try:
            if store is None:
                store = open_store(url)
                writer = store.attach_run(run)
            writer.record_once(f"{name}-{number}", number, entry, when=time.time())
            break
        except GradlabError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
    if number == 0:
        print("writing", flush=True)
"""


@pytest.fixture
def url(postgres) -> str:
    return postgres.database()


def refused(where: str, **how: bool) -> str:
    with pytest.raises(GradlabError) as caught:
        open_store(where, **how)
    told = str(caught.value)
    assert "\n" not in told
    return told


def write(url: str, run: int, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, str(run), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def numbers(url: str, run: int) -> dict[str, list[float]]:
    with open_store(url, readonly=True) as store:
        table = store.scalars(run=run)
        assert len(store.measurements(run=run)) == len(table)
    return {name: table.value[table.probe == name].tolist() for name in sorted(set(table.probe.tolist()))}


def test_a_follower_sees_everything_once_while_several_write(url: str) -> None:
    with open_store(url) as store:
        run = store.start_run("shared").id
    writers = [write(url, run, f"writer-{place}", 60) for place in range(3)]
    seen: list[int] = []
    with open_store(url, readonly=True) as store:
        version, last = None, 0
        while True:
            ended = all(writer.poll() is not None for writer in writers)
            news = store.since(version, last)
            if news is not None:
                version = news.version
                seen += [one.id for one in news.measurements]
                assert sorted({int(one) for one in news.scalars.id}) == [one.id for one in news.measurements]
                last = max([last, *seen])
            if ended:
                break
        assert [writer.wait() for writer in writers] == [0, 0, 0]
        assert seen == [one.id for one in store.measurements(run=run)]
    for writer in writers:
        writer.stdout.close()
    assert numbers(url, run) == {f"writer-{place}": list(map(float, range(60))) for place in range(3)}


@pytest.mark.slow
def test_restarts_of_the_server_under_load_lose_and_double_nothing(postgres, url: str) -> None:
    with open_store(url) as store:
        run = store.start_run("shared").id
    count = 400
    writers = [write(url, run, f"writer-{place}", count) for place in range(2)]
    try:
        for writer in writers:
            assert writer.stdout.readline() == "writing\n"
        for mode in ("fast", "immediate", "immediate"):
            postgres.stop(mode)
            time.sleep(0.2)
            postgres.start()
            time.sleep(0.3)
        assert [writer.wait(240) for writer in writers] == [0, 0]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    found = numbers(url, run)
    for place in range(2):
        assert found[f"writer-{place}"] == list(map(float, range(count)))


def test_readers_and_writers_go_on_when_the_server_is_back(postgres, url: str) -> None:
    with open_store(url) as store, open_store(url, readonly=True) as reader:
        run = store.start_run("one")
        run.record(1000, "gradient", Measurement({"cosine": Estimate(0.5, 0.1, 8)}))
        assert len(reader.measurements()) == 1
        postgres.stop("immediate")
        try:
            for ask in (reader.measurements, lambda: run.record(2000, "gradient", Measurement())):
                with pytest.raises(GradlabError) as caught:
                    ask()
                assert "\n" not in str(caught.value)
        finally:
            postgres.start()
        run.record(2000, "gradient", Measurement({"cosine": Estimate(0.6, 0.1, 8)}))
        assert [one.step for one in reader.measurements()] == [1000, 2000]


def test_the_dashboard_follows_a_store_in_it_through_a_restart(postgres, url: str) -> None:
    from dashboards.records import Records

    with open_store(url) as store:
        run = store.start_run("one", algorithm="TD3")
        run.record(1000, "gradient", Measurement({"cosine": Estimate(0.5, 0.1, 8)}))
        records = Records(url, patience=0.0)
        assert records.looking_at([run.id]).condition == "ok"
        postgres.stop()
        try:
            view = records.view()
            assert view.condition == "unreadable"
            assert [one.name for one in view.runs] == ["one"]
        finally:
            postgres.start()
        run.record(2000, "gradient", Measurement({"cosine": Estimate(0.6, 0.1, 8)}))
        assert records.view().condition == "ok"
        [series] = records.series(run.id).values()
        assert series.step.tolist() == [1000, 2000]
        records.close()


def test_a_role_that_may_only_read(postgres, url: str) -> None:
    database = url.rpartition("/")[2]
    with open_store(url) as store:
        store.start_run("one").record(1000, "gradient", Measurement({"cosine": Estimate(0.5, 0.1, 8)}))
    role = f"reader_{database}"
    postgres.run_sql(f"CREATE ROLE {role} LOGIN")
    postgres.run_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", database)
    theirs = postgres.url(database, role)
    with open_store(theirs, readonly=True) as store:
        assert store.scalars(run=1).value.tolist() == [0.5]
    with (
        open_store(theirs) as store,
        pytest.raises(GradlabError, match=r"permission denied .* readonly=True") as caught,
    ):
        store.start_run("theirs")
    assert "\n" not in str(caught.value)
    # In an empty database it may not make the tables either.
    assert "permission denied" in refused(postgres.url(postgres.database().rpartition("/")[2], role))


def test_text_that_postgres_cannot_keep_is_made_visible(url: str) -> None:
    with open_store(url) as store:
        run = store.start_run("a\0b", config={"key": "\0"})
        run.record(1, "gradient", Measurement(notes=("n\0",)), status="failed", message="ValueError: \0")
        entry = Entry("gradient", status="failed", message="ValueError: \0")
        run.record_once("token", 2, entry, when=time.time(), traceback="Traceback\n\0")
        assert store.runs()[0].name == "a␀b"
        assert store.runs()[0].config == {"key": "\0"}
        assert [one.message for one in store.measurements()] == ["ValueError: ␀"] * 2
        assert store.traceback(store.last_id()) == "Traceback\n␀"


def test_an_empty_database_is_no_store_to_read(url: str) -> None:
    assert "holds no store; open it once without readonly" in refused(url, readonly=True)


@pytest.mark.parametrize("table", ["meta", "runs"])
def test_nothing_is_touched_in_a_database_of_another_program(table: str, url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {table} (name text)"))
    assert "another program's tables; give another database" in refused(url)
    assert inspect(engine).get_table_names() == [table]
    engine.dispose()


def test_a_store_of_a_newer_gradlab_is_left_as_it_is(url: str) -> None:
    open_store(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE meta SET value = '99' WHERE key = 'schema_version'"))
    engine.dispose()
    for readonly in (False, True):
        assert "has schema 99, newer than this gradlab's" in refused(url, readonly=readonly)


def test_a_database_or_a_server_that_is_not_there(postgres) -> None:
    told = refused(postgres.url("no_such_lab"))
    assert "no_such_lab" in told
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = refused(f"postgresql+psycopg://me:secret@127.0.0.1:{port}/lab")
    assert "secret" not in told
    assert f"127.0.0.1:{port}" in told or str(port) in told


@pytest.mark.parametrize("said", ["", "?connect_timeout=2"])
def test_a_host_that_does_not_answer_is_not_waited_for_for_ever(said: str, postgres, monkeypatch) -> None:
    monkeypatch.setattr("gradlab.store.postgres._PATIENCE", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        told = refused(f"postgresql+psycopg://me@127.0.0.1:{silent.getsockname()[1]}/lab{said}")
    assert "timeout" in told


def test_the_command_line_reads_and_writes_it(url: str) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "gradlab", "analyze", str(root / "tests/checkpoints/td3_pendulum_1000.zip")]
    command += ["--env", "Pendulum-v1", "--probes", "health", "--workers", "1", "--store", url]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    with open_store(url, readonly=True) as store:
        assert [run.algorithm for run in store.runs()] == ["TD3"]
        assert len(store.scalars(run=1)) > 0


def test_a_training_run_goes_on_without_it_and_nothing_is_lost(postgres, url: str, tmp_path, monkeypatch) -> None:
    """Measurements wait in files while the server is away, and are in the store in the end, each once."""
    sb3 = pytest.importorskip("stable_baselines3")
    import probes
    from probes.replay import replay

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    model = sb3.TD3("MlpPolicy", "Pendulum-v1", learning_starts=100, policy_kwargs={"net_arch": [16]}, seed=0)
    away: list[int] = []

    def number(agent, obs, generator):
        if len(away) == 1:
            postgres.stop()
        away.append(1)
        return {"number": torch.full((len(obs),), float(len(away)))}

    probe = probes.FunctionProbe(number)
    probe.every, probe.background = 50, False
    monitor = probes.attach(model, url, probes=[probe], budget=None)
    try:
        model.learn(400, callback=monitor)
    finally:
        if len(away) > 1:
            postgres.start()
    monitor.close()
    # What its last tries came too early for.
    replay(url)
    with open_store(url, readonly=True) as store:
        found = store.measurements()
        values = sorted(store.scalars().value.tolist())
    assert len(away) >= 6
    # The first call is a trial, whose numbers are not kept.
    assert values == [float(place) for place in range(2, len(away) + 1)]
    assert len({one.step for one in found}) == len(found)
