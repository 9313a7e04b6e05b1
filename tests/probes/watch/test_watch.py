"""A watch in this process: every content once, whatever happens to the files."""

import os
import pickle
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

import gradlab
from gradlab.adapters.facts import Facts
from gradlab.errors import GradlabError
from gradlab.store import RunWriter, open_store
from probes.watch import Doing, Measured, Said, watch

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"


def checkpoint(step, kind="td3_pendulum"):
    return CHECKPOINTS / f"{kind}_{step}.zip"


class Job:
    """A directory that a job would write into, and watches over it."""

    def __init__(self, home, records):
        self._records = records
        self.home, self.folder, self.store = home, home / "job", home / "watched.db"
        self.folder.mkdir()
        self.events = []

    def put(self, step, name=None, kind="td3_pendulum"):
        path = self.folder / (name or f"{kind}_{step}.zip")
        path.parent.mkdir(exist_ok=True, parents=True)
        return Path(shutil.copyfile(checkpoint(step, kind), path))

    def watch(self, until=None, **options):
        """A watch to its end, or to an interrupt as soon as ``until`` says so of the events so far."""
        self.events = []

        def tell(event):
            self.events.append(event)
            if until is not None and until(self.events):
                raise KeyboardInterrupt

        settings = {"environment": "Pendulum-v1", "probes": ["gradient"], "states": 8, "poll": 0.05, "once": True}
        settings |= {"once": False} if until else {}
        return watch(self.folder, self.store, tell=tell, **(settings | options))

    @property
    def measured(self):
        return [(event.path, event.step) for event in self.events if isinstance(event, Measured)]

    @property
    def said(self):
        return [event.text for event in self.events if isinstance(event, Said)]

    def runs(self):
        with open_store(self.store, readonly=True) as store:
            return store.runs()

    def records(self):
        return self._records(self.store)


@pytest.fixture
def job(tmp_path, records):
    return Job(tmp_path, records)


def test_checkpoints_are_measured_once_in_the_order_of_training(job):
    for step, name in ((3000, "a.zip"), (1000, "b.zip"), (12000, "c.zip")):
        job.put(step, name)
    before = {path: path.read_bytes() for path in job.folder.iterdir()}
    summary = job.watch()
    assert (summary.measured, summary.known, summary.unreadable, summary.failed) == (3, 0, {}, 0)
    assert job.measured == [("b.zip", 1000), ("a.zip", 3000), ("c.zip", 12000)]
    (run,) = job.runs()
    assert (run.status, run.step, run.algorithm, run.environment) == ("finished", 12000, "TD3", "Pendulum-v1")
    wanted = [(step, probe) for step in (1000, 3000, 12000) for probe in ("checkpoint", "gradient")]
    assert sorted((step, probe) for _, step, probe, *_ in job.records()) == wanted
    assert {path: path.read_bytes() for path in job.folder.iterdir()} == before


def test_the_numbers_are_those_of_the_same_measurement_of_one_checkpoint(job):
    from gradlab.adapters.checkpoint import read_checkpoint
    from gradlab.simulation import Simulator
    from probes.offline import measure_all, offline_probes, visited_observations

    job.put(1000)
    job.put(3000)
    job.watch()
    saved = read_checkpoint(checkpoint(3000))
    probes = offline_probes("Pendulum-v1", ["gradient"], 8)
    obs = visited_observations(saved.agent, probes, Simulator("Pendulum-v1"), 0)
    (result,) = measure_all(saved.agent, probes, obs, step=3000)
    with open_store(job.store, readonly=True) as store:
        table = store.scalars(probe="gradient")
    table = table[table.step == 3000]
    assert dict(zip(table.name, table.value, strict=True)) == pytest.approx(
        {name: estimate.value for name, estimate in result.measurement.scalars.items()}, nan_ok=True
    )


def test_what_the_store_has_is_not_measured_again(job):
    job.put(1000)
    job.watch()
    once = job.records()
    job.put(1000, "copied.zip")
    job.put(1000, "deeper/copied.zip")
    os.rename(job.folder / "td3_pendulum_1000.zip", job.folder / "renamed.zip")
    summary = job.watch()
    assert (summary.measured, summary.known) == (0, 3)
    assert sum("the same content as td3_pendulum_1000.zip" in line for line in job.said) == 3
    assert job.records() == once
    job.put(2000)
    assert job.watch().measured == 1
    assert [run.status for run in job.runs()] == ["finished"]


def test_twins_that_wait_together_are_measured_once(job):
    job.put(1000, "a.zip")
    job.put(1000, "b.zip")
    summary = job.watch()
    assert (summary.measured, summary.known) == (1, 1)


def test_other_settings_are_another_run(job):
    job.put(1000)
    job.watch()
    assert job.watch(seed=1).measured == 1
    assert job.watch(states=9).measured == 1
    assert job.watch(seed=1).measured == 0
    assert len(job.runs()) == 3


def test_directories_and_algorithms_are_runs_of_their_own(job):
    job.put(1000, "a/one.zip")
    job.put(2000, "a/two.zip")
    job.put(3000, "b/c/three.zip")
    job.put(3000, "b/c/four.zip", kind="sac_reacher")
    summary = job.watch()
    assert summary.measured == 3
    assert list(summary.unreadable) == ["b/c/four.zip"]
    assert sum("observations have 3 numbers" in line for line in job.said) == 1
    assert {(run.name, run.algorithm, run.step) for run in job.runs()} == {
        ("job/a", "TD3", 2000),
        ("job/b/c", "TD3", 3000),
    }


def test_a_directory_within_one_that_was_watched_goes_on_in_its_run(job):
    job.put(1000, "a/one.zip")
    job.watch()
    job.put(2000, "a/two.zip")
    job.folder = job.folder / "a"
    assert job.watch().measured == 1
    assert len(job.runs()) == 1


def test_broken_files_are_told_once_and_tried_again_when_they_change(job):
    whole = checkpoint(1000).read_bytes()
    (job.folder / "a.zip").write_bytes(whole[: len(whole) // 2])
    (job.folder / "b.zip").write_bytes(b"")
    (job.folder / "c.zip").write_text("no zip at all")

    def mended(events):
        told = sum(isinstance(event, Said) and "tried again" in event.text for event in events)
        if told == 3 and (job.folder / "a.zip").read_bytes() != whole:
            (job.folder / "a.zip").write_bytes(whole)
        return any(isinstance(event, Measured) for event in events)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("probes.watch.session._GRACE", 0.5)
        job.watch(mended)
    assert job.measured == [("a.zip", 1000)]
    assert len([line for line in job.said if "tried again" in line]) == 3
    assert [run.status for run in job.runs()] == ["stopped"]
    summary = job.watch()
    assert sorted(summary.unreadable) == ["b.zip", "c.zip"]
    assert summary.measured == 0


def test_a_file_written_in_place_in_chunks_is_measured_when_it_is_whole(job):
    """Three versions of one name, each slowly: half of one behind half of the next is never taken."""
    steps = (1000, 3000, 8000)
    done = threading.Event()

    def write():
        for step in steps:
            data = checkpoint(step).read_bytes()
            with (job.folder / "last.zip").open("wb") as file:
                for start in range(0, len(data), 65536):
                    file.write(data[start : start + 65536])
                    file.flush()
                    time.sleep(0.1)
            waited = time.monotonic() + 30
            while step not in {one for _, one in job.measured} and time.monotonic() < waited:
                time.sleep(0.05)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("probes.watch.session.SETTLE", 0.3)
        job.watch(lambda events: done.is_set())
    writer.join()
    assert job.measured == [("last.zip", step) for step in steps]
    assert sorted(step for _, step, probe, *_ in job.records() if probe == "checkpoint") == list(steps)


def test_a_file_that_goes_before_its_turn_is_said_to_have_gone(job):
    job.put(1000)
    gone = job.put(2000)

    def tell(event):
        job.events.append(event)
        if isinstance(event, Measured):
            gone.unlink(missing_ok=True)

    summary = watch(
        job.folder, job.store, environment="Pendulum-v1", probes=["gradient"], states=8, poll=0.05, once=True, tell=tell
    )
    assert summary.measured == 1
    assert summary.unreadable == {}
    assert any("deleted or renamed before it was measured" in line for line in job.said)


def test_a_file_written_anew_before_its_turn_is_measured_as_it_is_then(job):
    job.put(1000)
    job.put(2000, "last.zip")

    def rewritten(events):
        if isinstance(events[-1], Measured) and events[-1].step == 1000:
            job.put(8000, "last.zip")
        return isinstance(events[-1], Measured) and events[-1].step == 8000

    with pytest.raises(KeyboardInterrupt):
        job.watch(rewritten)
    assert job.measured == [("td3_pendulum_1000.zip", 1000), ("last.zip", 8000)]
    assert any("written anew before" in line for line in job.said)


def test_the_newest_comes_first_when_it_is_asked_for(job):
    for step in (1000, 2000, 3000):
        job.put(step, f"a/{step}.zip")
    job.put(8000, "b/8000.zip")
    job.watch(latest=True)
    assert [step for _, step in job.measured] == [3000, 8000, 2000, 1000]
    assert [event.waiting for event in job.events if isinstance(event, Measured)] == [3, 2, 1, 0]
    assert {run.name: run.step for run in job.runs()} == {"job/a": 3000, "job/b": 8000}


def test_births_are_counted_forwards_only_and_after_a_restart_too(job):
    """The landscape compares with the checkpoint before: from the file, where another process measured that."""

    def with_births():
        with open_store(job.store, readonly=True) as store:
            table = store.scalars(probe="landscape")
        return set(table.step.tolist()), set(table.step[table.name == "births"].tolist())

    options = {"probes": ["landscape"], "states": 4}
    job.put(1000)
    job.put(3000)
    job.watch(**options)
    job.put(8000)
    job.watch(**options)
    taken_up = job.records()
    job.store = job.home / "undisturbed.db"
    job.watch(**options)
    assert job.records() == taken_up
    assert with_births() == ({1000, 3000, 8000}, {3000, 8000})
    job.put(2000)
    job.watch(**options)
    assert with_births() == ({1000, 2000, 3000, 8000}, {3000, 8000})


def test_a_policy_that_is_not_finite_is_recorded_as_failed(job, tmp_path):
    import torch
    from stable_baselines3 import TD3

    model = TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu", buffer_size=10)
    with torch.no_grad():
        for parameter in model.actor.parameters():
            parameter.fill_(float("nan"))
    model.num_timesteps = 500
    model.save(job.folder / "broken.zip")
    job.put(1000)
    summary = job.watch()
    assert (summary.measured, summary.failed) == (2, 1)
    assert any("not finite" in line for line in job.said)
    with open_store(job.store, readonly=True) as store:
        found = {info.step: (info.status, info.message) for info in store.measurements(probe="checkpoint")}
    assert found[500][0] == "failed"
    assert "not finite" in found[500][1]
    assert found[1000][0] == "ok"
    assert job.watch().measured == 0


def test_the_task_comes_from_the_monitors_file(job):
    job.put(1000, "run/checkpoints/a.zip")
    summary = job.watch(environment=None)
    assert summary.measured == 0
    assert any("give --env" in line for line in job.said)
    (job.folder / "run" / "monitor.csv").write_text('#{"t_start": 1.5, "env_id": "Pendulum-v1"}\nr,l,t\n')
    assert job.watch(environment=None).measured == 1
    (run,) = job.runs()
    assert run.environment == "Pendulum-v1"


def test_normalised_observations_are_pointed_out(job):
    job.put(1000)
    (job.folder / "rl_model_vecnormalize_1000_steps.pkl").write_bytes(b"")
    job.watch()
    assert sum("normalised observations" in line for line in job.said) == 1
    assert any("normalised observations" in note for *_, notes, _, _ in job.records() for note in notes)


def test_a_store_that_is_away_for_a_moment_is_asked_again(job, monkeypatch):
    job.put(1000)
    real, tries = RunWriter.record_all, []

    def record_all(self, step, entries):
        tries.append(step)
        if len(tries) < 3:
            raise OperationalError("insert", {}, Exception("database is locked"))
        return real(self, step, entries)

    monkeypatch.setattr(RunWriter, "record_all", record_all)
    monkeypatch.setattr("probes.watch.session.time.sleep", lambda seconds: None)
    assert job.watch().measured == 1
    assert len(tries) == 3
    assert sum("locked" in line for line in job.said) == 1
    assert len(job.records()) == 2


def test_a_second_watch_of_the_same_is_refused(job):
    job.put(1000)
    refusals = []

    def second(events):
        if isinstance(events[-1], Measured):
            with pytest.raises(GradlabError, match="another process watches it") as caught:
                watch(job.folder, job.store, environment="Pendulum-v1", probes=["gradient"], states=8, once=True)
            refusals.append(caught.value)
        return bool(refusals)

    with pytest.raises(KeyboardInterrupt):
        job.watch(second)
    assert len(refusals) == 1
    assert "\n" not in str(refusals[0])


def test_it_ends_when_nothing_comes(job):
    job.put(1000)
    summary = job.watch(once=False, idle_exit=0.02)
    assert summary.measured == 1
    assert [run.status for run in job.runs()] == ["finished"]
    assert any(isinstance(event, Doing) and "watching" in event.text for event in job.events)


def test_a_directory_that_is_not_there_yet_is_waited_for(job):
    job.folder = job.home / "later" / "logs"

    def come(events):
        if any(isinstance(event, Said) and "no directory" in event.text for event in events):
            job.folder.mkdir(parents=True, exist_ok=True)
            if not any(job.folder.iterdir()):
                job.put(1000)
        return isinstance(events[-1], Measured)

    with pytest.raises(KeyboardInterrupt):
        job.watch(come)
    assert job.measured == [("td3_pendulum_1000.zip", 1000)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"probes": ["gradiant"]}, "'gradiant' is none of"),
        ({"probes": []}, "none given"),
        ({"poll": 0.0}, "poll"),
        ({"idle_exit": -1.0}, "idle_exit"),
        ({"states": 0}, "states"),
        ({"seed": -1}, "seed"),
    ],
    ids=["probe", "no-probe", "poll", "idle", "states", "seed"],
)
def test_wrong_arguments_are_refused_before_anything_is_written(job, options, words):
    with pytest.raises(GradlabError, match=words) as caught:
        job.watch(**options)
    assert "\n" not in str(caught.value)
    assert not job.store.exists()


def test_a_file_in_place_of_a_directory_and_one_that_is_not_there(job):
    with pytest.raises(GradlabError, match="is a file"):
        watch(checkpoint(1000), job.store)
    with pytest.raises(GradlabError, match="no such directory"):
        watch(job.home / "nowhere", job.store, once=True)
    assert not job.store.exists()


def test_global_random_states_stay(job):
    import random

    import torch

    job.put(1000)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state().clone()
    threads = torch.get_num_threads()
    job.watch()
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.get_num_threads() == threads


def test_files_of_another_library_are_read_with_the_facts_given_and_numbered_where_they_say_no_step(job, monkeypatch):
    """What a reader makes of a PyTorch file is its own matter; this one keeps the name of a checkpoint in it."""
    import torch

    from gradlab.adapters import checkpoint as door

    class Reader:
        LIBRARY = "toy"

        def holds(self, content):
            return "like" in content

        def read(self, content, facts, where):
            facts.require(where, "action_low", "discount")
            return door.read_checkpoint(checkpoint(content["like"])).agent, content.get("step")

    monkeypatch.setattr(door, "READERS", (Reader(),))
    for name, content in (
        ("agent_700", {"like": 1000}),
        ("last", {"like": 3000}),
        ("said", {"like": 2000, "step": 0}),
    ):
        torch.save(content, job.folder / f"{name}.pt")
    summary = job.watch(pattern="*.pt")
    assert summary.measured == 0
    assert sum("pass action_low=…, discount=…" in line for line in job.said) == 3
    summary = job.watch(pattern="*.pt", facts=Facts(action_low=[-2.0], discount=0.99))
    assert summary.measured == 3
    assert job.measured == [("said.pt", 0), ("agent_700.pt", 700), ("last.pt", 701)]
    assert job.watch(pattern="*.pt", facts=Facts(action_low=[-2.0], discount=0.99)).measured == 0
    assert job.watch(pattern="*.pt", facts=Facts(action_low=[-2.0], discount=0.9)).measured == 3


TRUNCATED = [checkpoint(1000).read_bytes()[: len(checkpoint(1000).read_bytes()) * tenth // 10] for tenth in range(10)]


@pytest.mark.parametrize(
    "data",
    [*TRUNCATED, pickle.dumps({"a": 1}), b"PK\x03\x04" + bytes(500), b"PK\x05\x06" + bytes(18), bytes(1000)],
    ids=[*(f"cut-at-{tenth}0%" for tenth in range(10)), "pickle", "zip-head", "empty-zip", "zeros"],
)
def test_files_that_are_no_checkpoints_are_one_line_each(job, data):
    path = job.folder / "x.zip"
    path.write_bytes(data)
    with pytest.raises(GradlabError) as caught:
        gradlab.load(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"checkpoint {path}: ")
    summary = job.watch()
    assert list(summary.unreadable) == ["x.zip"]
    assert [line for line in job.said if line.startswith("x.zip: ")] == job.said
    assert len(job.said) == 1
    assert "\n" not in job.said[0]
    assert job.runs() == []


def test_a_file_without_permission_is_one_line(job, monkeypatch):
    path = job.put(1000)
    real = Path.open

    def refused(self, *arguments, **options):
        if self == path:
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)
    summary = job.watch()
    assert list(summary.unreadable.values()) == ["cannot be read (Permission denied)"]
    monkeypatch.undo()
    assert job.watch().measured == 1


def test_a_directory_named_like_a_checkpoint_is_gone_through(job):
    job.put(1000, "x.zip/y.zip")
    with pytest.raises(GradlabError, match="is a directory"):
        gradlab.load(job.folder / "x.zip")
    assert job.watch().measured == 1
