"""``model.learn`` called again with the same monitor: each call is a run of its own."""

import shutil

import gymnasium
import pytest
import torch
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.callbacks import BaseCallback

import probes
from gradlab.store import open_store


def test_every_learn_is_a_run(tmp_path):
    with torch.random.fork_rng():
        model = TD3("MlpPolicy", gymnasium.make("Pendulum-v1"), policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
        chosen = [probes.Gradient(every=50, states=8, draws=8)]
        monitor = probes.attach(model, tmp_path / "a.db", probes=chosen, budget=None)
        model.learn(60, callback=monitor)
        model.learn(110, callback=monitor)
    with open_store(tmp_path / "a.db", readonly=True) as store:
        runs = store.runs()
        steps = {run.id: [m.step for m in store.measurements(run=run.id) if m.status == "ok"] for run in runs}
    assert [(run.status, run.step) for run in runs] == [("finished", 60), ("finished", 110)]
    # The first waits until there are observations enough.
    assert [each[1:] for each in steps.values()] == [[50], [50, 100]]


class Leave(BaseCallback):
    """Raises at a step."""

    def __init__(self, at, error):
        super().__init__()
        self.at, self.error = at, error

    def _on_step(self):
        if self.num_timesteps == self.at:
            raise self.error
        return True


def small(kind=TD3, **options):
    with torch.random.fork_rng():
        environment = gymnasium.make("Pendulum-v1")
        return kind("MlpPolicy", environment, policy_kwargs={"net_arch": [8]}, seed=0, device="cpu", **options)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt], ids=["exception", "ctrl-c"])
def test_a_learn_that_was_left_is_ended_by_the_next(tmp_path, error):
    model = small()
    monitor = probes.attach(
        model, tmp_path / "a.db", probes=[probes.Gradient(every=50, states=8, draws=8)], budget=None
    )
    with torch.random.fork_rng():
        with pytest.raises(error):
            model.learn(200, callback=[monitor, Leave(120, error())])
        model.learn(60, callback=monitor)
    with open_store(tmp_path / "a.db", readonly=True) as store:
        runs = store.runs()
        steps = [[m.step for m in store.measurements(run=run.id)] for run in runs]
    assert [(run.status, run.step) for run in runs] == [("stopped", 120), ("finished", 60)]
    # Without a run of its own the second would wait for the step that the first had come to.
    assert [each[1:] for each in steps] == [[50, 100], [50]]


def test_a_rollout_after_a_learn_that_was_left_is_measured(tmp_path):
    model = small(PPO, n_steps=64, batch_size=64, n_epochs=1)
    seen = []

    def count(agent, obs, generator):
        seen.append(len(obs))
        return {"x": obs[:, 0]}

    monitor = probes.attach(
        model, tmp_path / "a.db", probes=[probes.FunctionProbe(count, every=64, states=8)], budget=None
    )
    with torch.random.fork_rng():
        with pytest.raises(RuntimeError):
            model.learn(256, callback=[monitor, Leave(200, RuntimeError())])
        before = len(seen)
        model.learn(64, callback=monitor)
    assert len(seen) == before + 1


def test_a_monitor_of_another_model_measures_nothing_and_says_so(tmp_path, caplog):
    mine, other = small(), small()
    monitor = probes.attach(mine, tmp_path / "a.db", probes=[probes.Gradient(every=10, states=8, draws=8)], budget=None)
    with torch.random.fork_rng():
        mine.learn(40, callback=monitor)
        measured = dict(monitor.status.measured)
        other.learn(40, callback=monitor)
        assert monitor.status.measured == measured
        assert "attached to another TD3" in caplog.text
        mine.learn(40, callback=monitor)
    with open_store(tmp_path / "a.db", readonly=True) as store:
        assert [run.status for run in store.runs()] == ["finished", "finished"]


def test_a_store_that_has_gone_between_two_learns_does_not_end_training(tmp_path, caplog):
    (tmp_path / "here").mkdir()
    model = small()
    monitor = probes.attach(
        model, tmp_path / "here" / "a.db", probes=[probes.Gradient(every=10, states=8, draws=8)], budget=None
    )
    with torch.random.fork_rng():
        model.learn(20, callback=monitor)
        shutil.rmtree(tmp_path / "here")
        model.learn(20, callback=monitor)
    assert model.num_timesteps == 20
    assert "no run can be begun" in caplog.text
