"""Whoever does the tasks, in whatever order, and whatever becomes of the workers: the same numbers, to the last bit."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from mortal_tasks import Once, Toy, toil

import probes
from gradlab.errors import GradlabError
from probes.analysis import engines
from probes.analysis.analyze import settings_for
from probes.analysis.clusters import engine_of
from probes.analysis.engines import Engine
from probes.analysis.plan import make_plan
from probes.analysis.tasks import perform

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
ASKED = {"environment": "Pendulum-v1", "probes": ["gradient", "landscape", "health", "smoothness"], "state_count": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("runs") / "run"
    found.mkdir()
    for step in (1000, 3000, 8000):
        shutil.copy(CHECKPOINTS / f"td3_pendulum_{step}.zip", found)
    return found


@pytest.fixture(scope="module")
def alone(folder):
    """The store of an analysis in this process."""
    path = folder.parent / "alone.db"
    assert probes.analyze(folder, path, **ASKED).complete
    return path


def tasks_of(folder):
    plan = make_plan([folder], settings_for(**ASKED))
    (run,) = plan.runs
    return run.tasks(1, plan.settings, plan.states, plan.costs)


def test_two_workers_give_what_one_gives(folder, alone, tmp_path, records):
    done = probes.analyze(folder, tmp_path / "two.db", workers=2, **ASKED)
    assert (done.measured, done.complete) == (12, True)
    assert records(tmp_path / "two.db") == records(alone)


def test_the_order_of_tasks_is_nothing_to_their_numbers(folder):
    """Backwards, and each twice: a probe that remembers, remembers nothing from one task to the next."""
    tasks = tasks_of(folder)
    forth = {task.token: perform(task).tried.measurement for task in tasks}
    back = {task.token: perform(task).tried.measurement for task in [*tasks[::-1], *tasks[::-1]]}
    assert len(forth) == 12
    for token, found in forth.items():
        assert repr(found.scalars) == repr(back[token].scalars)
        for name, array in found.arrays.items():
            np.testing.assert_array_equal(array.values, back[token].arrays[name].values)
    assert any("births" in found.scalars for found in forth.values())


def test_work_lost_with_a_worker_is_done_again(tmp_path):
    tasks = [Toy(str(number), str(tmp_path), deaths=2 * (number == 3)) for number in range(8)]
    found = {outcome.token: outcome for outcome in engines.results(tasks, Engine(2, "loky"), toil)}
    assert set(found) == {task.token for task in tasks}
    assert all(outcome.tried for outcome in found.values())
    assert len(list(tmp_path.glob("3.*"))) == 3


def test_a_task_that_ends_every_worker_is_given_up_and_the_rest_is_done(tmp_path):
    tasks = [Toy(str(number), str(tmp_path), deaths=99 * (number == 3)) for number in range(8)]
    found = {outcome.token: outcome for outcome in engines.results(tasks, Engine(2, "loky"), toil)}
    assert set(found) == {task.token for task in tasks}
    assert [token for token, outcome in found.items() if outcome.tried is None] == ["3"]
    assert "its worker ended 3 times" in found["3"].reason
    assert "\n" not in found["3"].reason
    assert len(list(tmp_path.glob("3.*"))) == engines.TRIES


def test_a_worker_killed_half_way_changes_nothing(folder, alone, tmp_path, records, monkeypatch):
    check_killed(folder, alone, tmp_path, records, monkeypatch, "local")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_a_cluster_gives_what_one_process_gives(folder, alone, tmp_path, records, engine):
    done = probes.analyze(folder, tmp_path / "cluster.db", engine=engine, workers=2, **ASKED)
    assert (done.measured, done.complete) == (12, True)
    assert records(tmp_path / "cluster.db") == records(alone)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_a_worker_of_a_cluster_killed_half_way_changes_nothing(folder, alone, tmp_path, records, monkeypatch, engine):
    check_killed(folder, alone, tmp_path, records, monkeypatch, engine)


def check_killed(folder, alone, home, records, monkeypatch, engine):
    real, mark = engines.results, home / "killed"

    def results(tasks, engine):
        return real(tasks, engine, Once(tasks[len(tasks) // 2].token, str(mark)))

    monkeypatch.setattr(engines, "results", results)
    # Workers of a cluster look for modules by themselves.
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    )
    done = probes.analyze(folder, home / "killed.db", engine=engine, workers=2, **ASKED)
    assert mark.exists(), done.missing
    assert (done.measured, done.complete) == (12, True)
    assert records(home / "killed.db") == records(alone)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_a_cluster_that_does_not_answer_is_one_line(folder, tmp_path, engine, monkeypatch):
    monkeypatch.setattr("probes.analysis.clusters._PATIENCE", 1)
    with pytest.raises(GradlabError, match="no cluster answers at") as caught:
        probes.analyze(folder, tmp_path / "a.db", engine=engine, address="127.0.0.1:9", **ASKED)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"name": "slurm"}, "'slurm' is none of local, ray, dask"),
        ({"name": "local", "address": "a:1"}, "the engine local has none"),
        ({"workers": 0}, "workers: 0"),
    ],
    ids=["name", "address", "workers"],
)
def test_wrong_engines_are_refused(asked, words):
    with pytest.raises(GradlabError, match=words):
        engine_of(**asked)


def test_one_worker_for_each_core_and_none_beside_this_process_for_one():
    assert engine_of().workers == len(os.sched_getaffinity(0))
    assert engine_of(workers=1).backend == ""
