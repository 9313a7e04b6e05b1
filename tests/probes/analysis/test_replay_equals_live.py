"""The checkpoint of a step, analysed with the live probes' settings, gives the live record's numbers."""

import math

import pytest
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import CallbackList, CheckpointCallback

import probes
from gradlab.store import open_store

STEPS = [200, 400]
#: What takes the run's latest steps, which no file has.
LIVE_ALONE = {"visited/td_error", "visited/td_ratio", "visited/action_distance", "replay/novel_share"}
LIVE_ALONE |= {"replay/entered_share"}


def settings():
    """Every probe, small, and in the training process, so that all of a step are made at this step."""
    task = "Pendulum-v1"
    chosen = [
        probes.Field(every=STEPS, states=2, resolution=5, arrows=3, starts=4, seen=32, environment=task, simulated=2),
        probes.Gradient(every=STEPS, states=16, draws=8),
        probes.Curvature(every=STEPS, states=8),
        probes.Landscape(every=STEPS, states=4, starts=8),
        probes.Estimators(every=STEPS, states=16, draws=8, radii=(0.1, 0.3)),
        probes.Simulator(task, every=STEPS, states=4, draws=8, horizon=5, episodes=2),
        probes.Smoothness(task, every=STEPS, states=8, episodes=2, steps=16),
        probes.Returns(task, every=STEPS, states=4, horizon=5),
        probes.Health(every=STEPS, states=16),
    ]
    for probe in chosen:
        probe.background = False
        probe.horizon = min(getattr(probe, "horizon", 5), 5)
    # Of a buffer this young, or it has no ledger.
    chosen[5].welcome_observations = 64
    return chosen


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run that saves a checkpoint and its buffer whenever its probes measure."""
    folder = tmp_path_factory.mktemp("run")
    model = TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16]}, buffer_size=1000, seed=3, device="cpu")
    monitor = probes.attach(model, folder / "live.db", probes=settings(), budget=None, seed=7)
    saving = CheckpointCallback(STEPS[0], folder / "saved", save_replay_buffer=True)
    model.learn(STEPS[-1], callback=CallbackList([monitor, saving]))
    return folder


def same(one, other):
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-12) or (math.isnan(one) and math.isnan(other))


def numbers(path):
    """By step, probe and name: value and standard error; and the arrays by step, probe and name."""
    with open_store(path, readonly=True) as store:
        table = store.scalars()
        rows = zip(table.step, table.probe, table.name, table.value, table.stderr, strict=True)
        scalars = {(int(step), probe, name): (value, stderr) for step, probe, name, value, stderr in rows}
        status = {(one.step, one.probe): one.status for one in store.measurements() if one.probe != "checkpoint"}
        arrays = {
            (one.step, one.probe, name): array
            for one in store.measurements()
            for name, array in store.arrays(one.id).items()
        }
    return scalars, arrays, status


@pytest.fixture(scope="module")
def both(run):
    done = probes.analyze(
        run / "saved", run / "replayed.db", environment="Pendulum-v1", probes=settings(), states="buffer", seed=7
    )
    assert done.complete, done
    return numbers(run / "live.db"), numbers(run / "replayed.db")


@pytest.mark.slow
def test_every_number_of_every_probe_is_the_live_one(both):
    (live, _, live_status), (replayed, _, status) = both
    assert status == live_status == dict.fromkeys(status, "ok")
    assert {(step, probe.name) for step in STEPS for probe in settings()} == set(status)
    assert {name for _, _, name in set(live) ^ set(replayed)} <= LIVE_ALONE
    assert len(replayed) > 400
    off = {key: (live[key], found) for key, found in replayed.items() if not all(map(same, found, live[key]))}
    assert off == {}
    # What changed since the checkpoint before is among them, and so is the ledger.
    names = {name for _, _, name in replayed}
    assert {"births", "actor/change", "critic/change", "ledger/total/norm_squared"} <= names


@pytest.mark.slow
def test_another_seed_gives_other_numbers(run, both):
    (live, _, _), _ = both
    chosen = [settings()[1]]
    probes.analyze(run / "saved", run / "other.db", environment="Pendulum-v1", probes=chosen, states="buffer", seed=8)
    replayed, _, _ = numbers(run / "other.db")
    assert all(replayed[key] != live[key] for key in replayed if key[2].endswith("/variance") and live[key][0])


@pytest.mark.slow
def test_pictures_are_those_of_the_live_run(both):
    (_, live, _), (_, replayed, _) = both
    live = {key: array for key, array in live.items() if key[1] != "checkpoint"}
    assert set(live) == set(replayed)
    assert any(name == "simulated_q" for _, _, name in replayed)
    for key, array in replayed.items():
        assert array.dims == live[key].dims, key
        if array.dtype.kind == "f":
            assert float(abs(array - live[key]).max().fillna(0)) <= 1e-5 * (1 + float(abs(array).max().fillna(0))), key


def test_a_pickle_in_place_of_a_buffer_runs_no_code(tmp_path):
    import os
    import pickle
    import shutil
    from pathlib import Path

    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'exploded'}",)

    source = Path(__file__).parents[2] / "checkpoints" / "td3_pendulum_1000.zip"
    shutil.copy(source, tmp_path / "model_1000_steps.zip")
    (tmp_path / "model_replay_buffer_1000_steps.pkl").write_bytes(pickle.dumps(Bomb()))
    done = probes.analyze(
        tmp_path, tmp_path / "a.db", environment="Pendulum-v1", probes=["gradient"], state_count=8, states="buffer"
    )
    assert not (tmp_path / "exploded").exists()
    assert done.failed == 1
    with open_store(tmp_path / "a.db", readonly=True) as store:
        (found,) = store.measurements(probe="gradient")
    assert "holds no replay buffer of flat observations" in found.message
