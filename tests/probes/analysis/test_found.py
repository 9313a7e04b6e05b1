"""Which files are taken for checkpoints, which run each belongs to, and what is said of the others."""

import os
import pickle
import shutil
from pathlib import Path

import pytest

from gradlab.adapters.facts import Facts
from gradlab.errors import GradlabError
from probes.analysis import analyze, plan

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
CLEANRL = "cleanrl_td3_pendulum_7000.cleanrl_model"
FACTS = Facts(discount=0.99, activation="ReLU")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def put(folder, source, name=None):
    path = folder / (name or source)
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(CHECKPOINTS / source, path))


def found(folder, **options):
    options = {"environment": "Pendulum-v1", "probes": ["gradient"], **options}
    return plan(folder, folder / "none.db", **options)


def runs(planned):
    return {run.series.title: [one.step for one in run.series.checkpoints] for run in planned.runs}


def test_checkpoints_of_one_folder_are_told_apart_by_name_algorithm_and_task():
    planned = plan(CHECKPOINTS, environment=["Pendulum-v1", "Reacher-v5"], probes=["gradient"], facts=FACTS)
    assert runs(planned) == {
        "checkpoints/cleanrl_ddpg_pendulum": [4000],
        "checkpoints/cleanrl_ppo_pendulum": [32000],
        "checkpoints/cleanrl_sac_pendulum": [4000],
        "checkpoints/cleanrl_td3_pendulum": [7000],
        "checkpoints/ddpg_reacher": [3000],
        "checkpoints/sac_reacher": [3000],
        "checkpoints/td3_pendulum": [1000, 2000, 3000, 5000, 8000, 12000],
        "checkpoints/td3_reacher": [1000, 3000, 6000],
        "checkpoints/td3_silu_pendulum": [1000, 2000, 3000, 5000, 8000, 12000],
        "checkpoints/td3_silu_reacher": [1000, 3000, 6000],
    }
    assert {run.series.environment for run in planned.runs if "reacher" in run.series.title} == {"Reacher-v5"}
    assert {run.series.seed for run in planned.runs if "cleanrl" not in run.series.title} == {1}
    # Of other tasks, all by one line.
    assert len(planned.inventory.refused) == 8
    (line,) = planned.inventory.lines
    assert line.endswith("fits none of Pendulum-v1, Reacher-v5; pass the task it was trained on, too")
    assert planned.inventory.passed_over == {".md": 1}


def test_seeds_and_tasks_are_read_off_names(tmp_path):
    put(tmp_path, CLEANRL, "runs/td3_seed1_7000.cleanrl_model")
    put(tmp_path, CLEANRL, "runs/td3_seed2_7000.cleanrl_model")
    put(tmp_path, CLEANRL, "Pendulum-v1__td3__5__1700000000/td3.cleanrl_model")
    planned = found(tmp_path, environment=None, facts=FACTS)
    assert [(run.series.environment, run.series.seed) for run in planned.runs] == [("Pendulum-v1", 5)]
    assert planned.inventory.lines[0].endswith("or keep its monitor.csv beside it")
    planned = found(tmp_path / "runs", facts=FACTS)
    told = [(run.series.title, run.series.seed) for run in planned.runs]
    assert told == [("runs/td3_seed1", 1), ("runs/td3_seed2", 2)]


def test_everything_that_is_lacking_is_asked_for_at_once(tmp_path):
    put(tmp_path, CLEANRL)
    with pytest.raises(GradlabError) as caught:
        analyze(tmp_path, tmp_path / "a.db")
    for word in ("γ", "--discount", "--activation", "--env"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.db").exists()


def test_a_name_without_its_step_belongs_to_the_folders_run(tmp_path):
    put(tmp_path, "td3_pendulum_1000.zip", "logs/rl_model_1000_steps.zip")
    put(tmp_path, "td3_pendulum_3000.zip", "logs/rl_model_3000_steps.zip")
    put(tmp_path, "td3_pendulum_2000.zip", "logs/best_model.zip")
    put(tmp_path, "td3_pendulum_3000.zip", "logs/last.zip")
    put(tmp_path, "td3_silu_pendulum_3000.zip", "logs/other.zip")
    planned = found(tmp_path)
    assert runs(planned) == {"logs/rl_model_steps": [1000, 2000, 3000], "logs/other": [3000]}
    (run,) = (run for run in planned.runs if run.series.twins)
    assert [(Path(twin).name, Path(of).name) for twin, of in run.series.twins.items()] == [
        ("last.zip", "rl_model_3000_steps.zip")
    ]


def test_names_without_any_step_are_one_run_where_files_say_it_and_many_where_none_does(tmp_path):
    for name, step in (("b", 1000), ("a", 2000)):
        put(tmp_path, f"td3_pendulum_{step}.zip", f"logs/{name}.zip")
        put(tmp_path, CLEANRL, f"mine/{name}.cleanrl_model")
    assert runs(found(tmp_path, facts=FACTS)) == {"logs": [1000, 2000], "mine/a": [0], "mine/b": [0]}


def test_files_that_are_no_checkpoints_run_nothing_and_are_a_line_each(tmp_path):
    whole = put(tmp_path, "td3_pendulum_1000.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:100_000])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "notes.pt").write_text("these are notes")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    (tmp_path / "module_state.pkl").write_bytes(pickle.dumps({"a": Bomb(tmp_path / "exploded")}))
    put(tmp_path, "td3_pendulum_2000.zip", "renamed.pt")
    put(tmp_path, "td3_reacher_1000.zip")
    (tmp_path / "going.zip.part").write_bytes(whole[:10])
    planned = found(tmp_path)
    assert not (tmp_path / "exploded").exists()
    assert sorted(step for steps in runs(planned).values() for step in steps) == [1000, 2000]
    refused = {Path(name).name: reason for name, reason in planned.inventory.refused.items()}
    assert sorted(refused) == ["cut.zip", "empty.pt", "evil.pt", "module_state.pkl", "notes.pt", "td3_reacher_1000.zip"]
    assert all("\n" not in reason and reason for reason in refused.values())
    assert "posix.system" in refused["evil.pt"]


def test_paths_are_files_folders_and_patterns(tmp_path):
    for step in (1000, 2000, 3000):
        put(tmp_path, f"td3_pendulum_{step}.zip")
    pattern = str(tmp_path / "td3_*_[12]000.zip")
    both = [pattern, tmp_path / "td3_pendulum_1000.zip", tmp_path / "nowhere.zip", str(tmp_path / "sac*")]
    planned = plan(both, tmp_path / "none.db", environment="Pendulum-v1")
    assert list(runs(planned).values()) == [[1000, 2000]]
    assert [line.split(": ")[-1] for line in planned.inventory.lines] == [
        "no such file or directory",
        "matches nothing",
    ]


@pytest.mark.parametrize("states", ["nowhere.npy", "notes.txt", "flat.npy", "evil.npy"])
def test_states_that_are_none_are_one_line(tmp_path, states):
    import numpy as np

    (tmp_path / "notes.txt").write_text("notes")
    np.save(tmp_path / "flat.npy", np.zeros(5))
    np.save(tmp_path / "evil.npy", np.array([Bomb(tmp_path / "exploded")]), allow_pickle=True)
    put(tmp_path, "td3_pendulum_1000.zip")
    with pytest.raises(GradlabError, match=f"states .*{states}") as caught:
        found(tmp_path, states=tmp_path / states)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_a_probe_there_is_not_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(GradlabError, match="'gradiant' is none of"):
        found(tmp_path, probes=["gradiant"])
