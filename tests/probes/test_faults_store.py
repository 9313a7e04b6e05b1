"""Whatever happens to the store, training is what it is without, and no measurement is lost, doubled or uncounted."""

import os
import resource
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
import torch
from short_training import STEPS, balanced, idle, soon, sound, train, unchanged
from typer.testing import CliRunner

import probes
from gradlab.cli import app
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import RunWriter, open_store
from gradlab.store.upkeep import upgrade_store
from gradlab.testing.conformance import differences, digest
from probes.replay import replay
from probes.spool import Spool


class Often(probes.Probe):
    name = "often"

    def __init__(self, *, every=10, states=8):
        super().__init__(every=every, states=states)

    def measure(self, agent, obs, generator):
        q = agent.q(obs, agent.action(obs)).detach().double()
        return Measurement({"q": Estimate(q.mean().item(), q.std().item(), q.numel())})


class OftenFar(Often):
    name = "far"
    background = True


DUE = STEPS // 10
OLDER = Path(__file__).parents[1] / "gradlab" / "store" / "older"


def attached(path, chosen=None):
    return lambda agent: probes.attach(agent, path, probes=chosen or [Often()], budget=None)


def steps(found, probe="often"):
    return [one.step for one in found if one.probe == probe]


class Weather:
    """A store that is out of order while it storms."""

    def __init__(self, monkeypatch, error, uncertain=False):
        self.error, self.uncertain, self.storms, self.hits = error, uncertain, False, 0
        for method in ("record_once", "heartbeat", "finish"):
            monkeypatch.setattr(RunWriter, method, self._in_it(getattr(RunWriter, method)))

    def _in_it(self, method):
        def write(run, *args, **options):
            if self.storms and self.uncertain:
                method(run, *args, **options)
            if self.storms:
                self.hits += 1
                raise self.error
            return method(run, *args, **options)

        return write

    def begins(self, monitor):
        self.storms = True

    def ends(self, monitor):
        soon(lambda: self.hits)
        self.storms = False


ERRORS = {
    "full": sqlite3.OperationalError("database or disk is full"),
    "read-only": sqlite3.OperationalError("attempt to write a readonly database"),
    "device": OSError("Input/output error"),
    "memory": MemoryError(),
}


@pytest.mark.parametrize("error", ERRORS)
def test_a_store_that_takes_nothing_for_a_while_gets_all_of_it_afterwards(tmp_path, monkeypatch, spool, error):
    weather = Weather(monkeypatch, ERRORS[error])
    waited = []

    def later(monitor):
        soon(lambda: list(spool.rglob("*.entry")))
        waited.append(monitor.status)
        weather.ends(monitor)

    found, monitor = train(attached(tmp_path / "a.db"), {61: weather.begins, 161: later})
    monitor.close()
    unchanged(found)
    assert steps(balanced(monitor, tmp_path / "a.db")) == list(range(0, STEPS, 10))
    assert (monitor.status.stored, monitor.status.waiting, monitor.status.lost) == (DUE, 0, 0)
    assert waited[0].waiting > 0
    assert waited[0].balanced
    assert list(spool.iterdir()) == []


def test_a_commit_of_which_nobody_knows_is_not_repeated(tmp_path, monkeypatch):
    weather = Weather(monkeypatch, sqlite3.OperationalError("disk I/O error"), uncertain=True)
    found, monitor = train(attached(tmp_path / "a.db"), {61: weather.begins, 161: weather.ends})
    monitor.close()
    unchanged(found)
    assert sorted(steps(balanced(monitor, tmp_path / "a.db"))) == list(range(0, STEPS, 10))


def test_a_disk_that_is_full(tmp_path):
    """With a real limit of the operating system, which the log of the store runs into."""
    path = tmp_path / "a.db"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(monitor):
        soon(lambda: monitor.status.stored >= 5)
        size = max(os.path.getsize(f"{path}{ending}") for ending in ("", "-wal"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    def empty(monitor):
        soon(lambda: monitor._book._outbox._away)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    try:
        found, monitor = train(attached(path, [Bulky()]), {61: fill, 161: empty})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    monitor.close()
    unchanged(found)
    assert steps(balanced(monitor, path), "bulky") == list(range(0, STEPS, 10))
    assert monitor.status.stored == DUE


class Bulky(Often):
    name = "bulky"

    def measure(self, agent, obs, generator):
        import numpy as np
        import xarray as xr

        noise = np.random.default_rng(0).normal(size=2000)
        return Measurement(super().measure(agent, obs, generator).scalars, {"noise": xr.DataArray(noise, dims="x")})


def test_a_store_that_is_locked_to_the_end_is_brought_all_of_it_later(tmp_path, monkeypatch):
    monkeypatch.setattr("gradlab.store.sqlite._PATIENCE", 0.2)
    path = tmp_path / "a.db"
    others = []

    def lock(monitor):
        others.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=20))
        others[0].execute("begin immediate")

    found, monitor = train(attached(path), {61: lock})
    monitor.close()
    unchanged(found)
    assert monitor.status.waiting > 0
    assert replay(path).waiting > 0
    others[0].execute("rollback")
    others[0].close()
    assert steps(balanced(monitor, path)) == list(range(0, STEPS, 10))
    with open_store(path, readonly=True) as store:
        assert store.runs()[0].status == "finished"


@pytest.mark.parametrize("back", ["within the run", "by another run", "by the command"])
def test_a_store_whose_directory_is_gone_gets_its_records_when_it_is_back(tmp_path, back):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    path = home / "a.db"

    def leave(monitor):
        soon(lambda: monitor.status.stored >= 5)
        home.rename(elsewhere)

    def come_back(monitor):
        soon(lambda: monitor._book._outbox._away)
        if back == "within the run":
            elsewhere.rename(home)

    found, monitor = train(attached(path), {61: leave, 161: come_back})
    monitor.close()
    unchanged(found)
    assert monitor.status.balanced
    run = monitor.run.id
    if back == "within the run":
        assert monitor.status.waiting == 0
    else:
        assert not home.exists()
        assert monitor.status.waiting > 0
        home.mkdir()
        # As a backup would put it back: another file with the same content.
        shutil.copytree(elsewhere, home, dirs_exist_ok=True)
        shutil.rmtree(elsewhere)
        if back == "by another run":
            _, other = train(attached(path), steps=20)
            other.close()
            assert other.status.waiting == 0
            assert other.status.stored == 2
            assert len(balanced(other, path)) == 2
        else:
            done = CliRunner().invoke(app, ["replay", str(path)])
            assert done.exit_code == 0, done.output
            assert f"{monitor.status.waiting + 1} brought" in done.output  # and the end of the run
    assert steps(one for one in sound(path) if one.run == run) == list(range(0, STEPS, 10))
    with open_store(path, readonly=True) as store:
        assert store.runs()[0].status == "finished"


def test_a_store_that_was_deleted_is_not_made_again_and_another_in_its_place_is_left_alone(tmp_path):
    path = tmp_path / "a.db"

    def delete(monitor):
        soon(lambda: monitor.status.stored >= 5)
        for part in tmp_path.glob("a.db*"):
            part.unlink()

    def replace(monitor):
        assert not path.exists()
        with open_store(path) as other:
            other.start_run("another").record(7, "often")

    found, monitor = train(attached(path), {61: delete, 161: replace})
    monitor.close()
    unchanged(found)
    assert monitor.status.balanced
    assert monitor.status.stored + monitor.status.waiting == DUE
    assert monitor.status.waiting >= DUE - 7
    assert [one.step for one in sound(path, receipts=False)] == [7]
    done = CliRunner().invoke(app, ["replay"])
    assert done.exit_code == 1
    assert "still waiting" in done.output


def test_a_slow_store_is_not_waited_for(tmp_path, monkeypatch):
    record = RunWriter.record_once

    def slow(*args, **options):
        time.sleep(0.05)
        return record(*args, **options)

    monkeypatch.setattr(RunWriter, "record_once", slow)
    found, monitor = train(attached(tmp_path / "a.db", [Often(every=2)]))
    behind = monitor.status
    monitor.close()
    unchanged(found)
    assert behind.waiting > 0
    assert behind.balanced
    assert steps(balanced(monitor, tmp_path / "a.db")) == list(range(0, STEPS, 2))


def test_what_does_not_fit_into_the_spool_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("probes.spool.LIMIT", 3000)
    weather = Weather(monkeypatch, ERRORS["full"])
    monkeypatch.setattr("probes.book.MOST_WAITING", 4)

    found, monitor = train(attached(tmp_path / "a.db"), {61: weather.begins})
    monitor.close()
    unchanged(found)
    status = monitor.status
    assert status.lost > 0
    assert status.waiting > 0
    weather.storms = False
    assert len(balanced(monitor, tmp_path / "a.db")) == DUE - status.lost


@pytest.mark.slow
def test_what_the_worker_cannot_store_goes_the_same_way(tmp_path, spool):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    path = home / "a.db"

    def come_back(monitor):
        assert list(spool.rglob("*.entry"))
        elsewhere.rename(home)

    found, monitor = train(
        attached(path, [OftenFar(every=40)]),
        {0: idle, 41: idle, 42: lambda _: home.rename(elsewhere), 81: idle, 161: idle} | {162: come_back},
    )
    monitor.close()
    unchanged(found)
    done = balanced(monitor, path)
    assert monitor.status.measured == {"far": len([one for one in done if one.status == "ok"])}
    assert monitor.status.measured["far"] >= 4
    assert monitor.status.waiting == 0


def test_an_entry_comes_out_of_its_file_as_it_went_in_and_a_damaged_one_is_set_aside(tmp_path, spool):
    import numpy as np
    import xarray as xr

    from probes.entries import Record
    from probes.entry_file import read

    field = xr.DataArray(np.arange(600.0).reshape(20, 30), dims=("y", "x"), coords={"x": np.arange(30)}, name="q")
    estimate = Estimate(float("nan"), 0.1, 7, "critic", "discounted", "log", (0.1, 0.3), "different objectives")
    measurement = Measurement({"q": estimate}, {"field": field}, ("a note",))
    with open_store(tmp_path / "a.db") as store:
        run = store.start_run()
        waiting = Spool(store.identity, str(tmp_path / "a.db"))
        for number in range(3):
            record = Record(f"t{number}", run.id, 1.5, number, "field", "background", "ok", measurement, cost=0.25)
            assert waiting.keep(record)
    first, second, _ = waiting.paths()
    back = read(first)
    assert isinstance(back, Record)
    assert repr(back.measurement.scalars) == repr(measurement.scalars)
    assert back.measurement.arrays["field"].identical(field)
    assert (back.token, back.step, back.cost, back.measurement.notes) == ("t0", 0, 0.25, ("a note",))
    second.write_bytes(second.read_bytes()[:100])
    assert replay(tmp_path / "a.db").brought == 2
    assert [one.step for one in sound(tmp_path / "a.db")] == [0, 2]
    assert [path.suffix for path in waiting.directory.iterdir() if path.stem == second.stem] == [".refused"]


def test_a_run_goes_into_an_older_store_once_it_is_upgraded(tmp_path):
    path = shutil.copy(OLDER / "schema_1_first.sqlite", tmp_path / "a.db")
    with open_store(path, readonly=True) as store:
        before = [store.traceback(one.id) for one in store.measurements()]
    with pytest.raises(GradlabError, match=r"has schema 1, older .* run: gradlab store upgrade .*a\.db$"):
        train(attached(path))
    upgrade_store(path)
    found, monitor = train(attached(path))
    monitor.close()
    unchanged(found)
    assert monitor.status.stored == DUE
    with open_store(path, readonly=True) as store:
        assert [store.traceback(one.id) for one in store.measurements()][: len(before)] == before


def test_a_library_trains_on_through_a_storm(tmp_path, monkeypatch):
    from stable_baselines3 import TD3

    weather = Weather(monkeypatch, ERRORS["full"])
    weather.storms = True

    class Moody(Often):
        def measure(self, agent, obs, generator):
            if generator.initial_seed() % 3 == 0:
                raise RuntimeError("a third of all seeds")
            return super().measure(agent, obs, generator)

    def learn(attach=lambda model: None):
        model = TD3(
            "MlpPolicy", "Pendulum-v1", seed=0, learning_starts=50, policy_kwargs={"net_arch": [16, 16]}, device="cpu"
        )
        monitor = attach(model)
        model.learn(250, callback=monitor)
        return digest(model=model, env=model.get_env(), drawn=torch.rand(1)), monitor

    without, _ = learn()
    chosen = [Moody(every=20)]
    found, monitor = learn(lambda model: probes.attach(model, tmp_path / "a.db", probes=chosen, budget=None))
    assert differences(without, found) == []
    assert monitor.status.waiting == monitor.status.due > 5
    weather.storms = False
    assert {one.status for one in balanced(monitor, tmp_path / "a.db")} == {"ok", "failed"}
