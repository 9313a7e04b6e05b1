"""What an analysis writes, what it does not do again, and what it says of what is missing."""

import shutil
import subprocess
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import probes
from gradlab.cli import main
from gradlab.errors import GradlabError
from gradlab.store import open_store
from probes.analysis import Done, Planned, Said
from probes.watch import watch

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
ASKED = {"environment": "Pendulum-v1", "probes": ["gradient"], "state_count": 4}


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "run"
    found.mkdir()
    for step in (1000, 3000):
        shutil.copy(CHECKPOINTS / f"td3_pendulum_{step}.zip", found)
    return found


def analyze(folder, **options):
    return probes.analyze(folder, folder.parent / "a.db", **{**ASKED, **options})


def infos(folder):
    with open_store(folder.parent / "a.db", readonly=True) as store:
        return store.runs(), store.measurements()


def test_what_the_store_has_is_not_measured_again_and_what_is_new_goes_on_in_its_run(folder, records):
    assert (analyze(folder).measured, analyze(folder).known) == (2, 2)
    shutil.copy(CHECKPOINTS / "td3_pendulum_8000.zip", folder)
    assert (analyze(folder).measured, analyze(folder).known) == (1, 3)
    done = analyze(folder, probes=["gradient", "curvature"])
    assert (done.measured, done.known, done.runs) == (3, 3, (1,))
    (run,), measured = infos(folder)
    assert (run.status, run.step, set(run.config["probes"])) == ("finished", 8000, {"gradient", "curvature"})
    assert sorted((one.step, one.probe) for one in measured) == [
        (step, probe) for step in (1000, 3000, 8000) for probe in ("checkpoint", "curvature", "gradient")
    ]
    fresh = folder.parent / "fresh.db"
    probes.analyze(folder, fresh, **{**ASKED, "probes": ["gradient", "curvature"]})
    assert records(fresh) == records(folder.parent / "a.db")


def test_other_settings_and_a_new_beginning_are_runs_of_their_own(folder):
    analyze(folder)
    for options in ({"seed": 1}, {"state_count": 5}, {"resume": False}):
        assert analyze(folder, **options).measured == 2
    assert len(infos(folder)[0]) == 4
    # Gone on with is the newest.
    assert analyze(folder).runs == (4,)


@pytest.mark.slow
@pytest.mark.parametrize("probe", ["landscape", "health", "smoothness"])
def test_the_numbers_are_those_of_a_watch_that_measures_one_after_the_other(folder, probe):
    """What compares with the checkpoint before finds it, although every task is done by itself."""
    shutil.copy(CHECKPOINTS / "td3_pendulum_8000.zip", folder)
    analyze(folder, probes=[probe])
    watch(folder, folder.parent / "w.db", environment="Pendulum-v1", probes=[probe], states=4, once=True, poll=0.05)
    tables = []
    for name in ("a.db", "w.db"):
        with open_store(folder.parent / name, readonly=True) as store:
            table = store.scalars(probe=probe)
        tables.append(
            {(s, n): (v, e) for s, n, v, e in zip(table.step, table.name, table.value, table.stderr, strict=True)}
        )
    assert repr(sorted(tables[0].items())) == repr(sorted(tables[1].items()))
    wanted = {"landscape": "births", "health": "actor/change", "smoothness": "flip_rate"}[probe]
    assert {step for step, name in tables[0] if name == wanted} >= {3000, 8000}


def test_states_that_are_kept_to_stay_those_of_the_checkpoint_that_was_first(folder):
    """A file from before the others that comes later changes nothing of what was measured."""
    analyze(folder, probes=["landscape"])
    before = {one.step: one.id for one in infos(folder)[1] if one.probe == "landscape"}
    source = CHECKPOINTS / "td3_pendulum_2000.zip"
    shutil.copy(source, folder)
    done = analyze(folder, probes=["landscape"])
    assert (done.measured, done.known) == (1, 2)
    after = {one.step: one.id for one in infos(folder)[1] if one.probe == "landscape"}
    assert {step: after[step] for step in before} == before


def test_a_file_of_states_is_measured_at_and_one_that_does_not_fit_is_a_failure_of_each_task(folder):
    rng = np.random.default_rng(0)
    np.savez(folder.parent / "states.npz", obs=rng.normal(size=(6, 3)))
    np.save(folder.parent / "wide.npy", rng.normal(size=(6, 5)))
    np.save(folder.parent / "few.npy", rng.normal(size=(2, 3)))
    assert analyze(folder, states=folder.parent / "states.npz").complete
    for name, words in (
        ("wide.npy", "have 5 numbers each, and the checkpoint's networks take 3"),
        ("few.npy", "are 2"),
    ):
        done = analyze(folder, states=folder.parent / name)
        assert (done.measured, done.failed) == (2, 2)
        assert all(words in one.message for one in infos(folder)[1] if one.run == done.runs[0] and one.message)


def test_a_replay_buffer_that_is_not_there_is_said_of_each_file(folder):
    with pytest.raises(GradlabError, match="no replay buffer of its step beside it"):
        analyze(folder, states="buffer")


def test_a_file_that_changes_or_goes_before_its_turn_is_missing_and_is_measured_the_next_time(folder, monkeypatch):
    monkeypatch.setattr("probes.analysis.tasks._read", OrderedDict())
    changing, going = (folder / f"td3_pendulum_{step}.zip" for step in (1000, 3000))
    other = (CHECKPOINTS / "td3_pendulum_2000.zip").read_bytes()
    shutil.copy(CHECKPOINTS / "td3_pendulum_8000.zip", folder)

    def tell(event):
        if isinstance(event, Planned):
            changing.write_bytes(other)
            going.unlink()

    done = analyze(folder, tell=tell)
    assert (done.measured, done.complete) == (1, False)
    assert sorted(done.missing.values()) == ["deleted or renamed since it was found", "written anew since it was found"]
    # The file with the first checkpoint is gone: what is kept to would be something else, so that this is a new run.
    assert analyze(folder).complete


def test_listeners_are_told_the_plan_every_task_and_what_is_wrong(folder):
    (folder / "cut.zip").write_bytes(b"PK")
    events = []
    done = analyze(folder, tell=events.append)
    assert [event.plan.total for event in events if isinstance(event, Planned)] == [2]
    assert [(e.step, e.status) for e in events if isinstance(e, Done)] == [(1000, "ok"), (3000, "ok")]
    (said,) = (event.text for event in events if isinstance(event, Said))
    assert "cut.zip: not a zip file" in said
    assert len(done.refused) == 1
    assert not done.complete


def test_an_interrupt_leaves_a_store_that_is_gone_on_with(folder, records):
    def tell(event):
        if isinstance(event, Done):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze(folder, tell=tell)
    assert [run.status for run in infos(folder)[0]] == ["stopped"]
    done = analyze(folder)
    assert (done.measured, done.known) == (1, 1)
    assert [run.status for run in infos(folder)[0]] == ["finished"]


def test_a_policy_that_is_not_finite_is_recorded_as_failed_once(folder):
    import torch
    from stable_baselines3 import TD3

    model = TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu", buffer_size=10, seed=1)
    with torch.no_grad():
        for parameter in model.actor.parameters():
            parameter.fill_(float("nan"))
    model.num_timesteps = 5000
    model.save(folder / "td3_pendulum_5000.zip")
    assert (analyze(folder).failed, analyze(folder).failed, analyze(folder).measured) == (1, 1, 0)
    (failed,) = (one for one in infos(folder)[1] if one.status == "failed")
    assert "not finite" in failed.message


def test_probes_of_ones_own_are_measured_too(folder):
    def size(agent, obs, generator):
        return {"size": agent.action(obs).detach().abs().double().mean(-1)}

    assert analyze(folder, probes=[size, "gradient"]).complete
    assert {one.probe for one in infos(folder)[1]} == {"checkpoint", "size", "gradient"}


@pytest.mark.parametrize(("room", "code", "kept"), [(160, 2, 0), (400, 1, 2)])
def test_a_disk_that_gets_full_ends_it_in_a_line_and_the_command_goes_on(
    folder, tmp_path, monkeypatch, capsys, room, code, kept
):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be made by root alone")
    monkeypatch.setattr("probes.insisting._PATIENCE", 0.0)
    monkeypatch.setattr("sys.argv", [
        "gradlab", "analyze", str(folder), "--env", "Pendulum-v1", "--probes", "field", "--state-count", "4",
        "--workers", "1", "--store", str(small / "a.db"),
    ])  # fmt: skip
    for step in (2000, 5000, 8000, 12000):
        shutil.copy(CHECKPOINTS / f"td3_pendulum_{step}.zip", folder)
    try:
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err.splitlines()
        assert ended.value.code == code
        assert "database or disk is full; free some space on its disk" in said[-1]
        subprocess.run(["mount", "-o", "remount,size=16m", str(small)], check=True)
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        with open_store(small / "a.db", readonly=True) as store:
            assert sorted(one.step for one in store.measurements(probe="field")) == [
                1000, 2000, 3000, 5000, 8000, 12000,
            ]  # fmt: skip
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_replay_buffer_of_another_shape_is_a_failure_of_its_checkpoint_alone(folder):
    from gymnasium.spaces import Box
    from stable_baselines3.common.buffers import ReplayBuffer
    from stable_baselines3.common.save_util import save_to_pkl

    for step, n in ((1000, 3), (3000, 5)):
        buffer = ReplayBuffer(8, Box(-9, 9, (n,)), Box(-1, 1, (1,)), "cpu")
        for _ in range(8):
            buffer.add(np.random.randn(1, n), np.zeros((1, n)), np.zeros((1, 1)), np.zeros(1), np.zeros(1), [{}])
        save_to_pkl(folder / f"td3_pendulum_replay_buffer_{step}.pkl", buffer)
    done = analyze(folder, states="buffer")
    assert (done.measured, done.failed) == (2, 1)
    (failed,) = (one for one in infos(folder)[1] if one.status == "failed")
    assert failed.step == 3000
    assert "observations have 5 numbers, and the checkpoint's networks take 3" in failed.message
