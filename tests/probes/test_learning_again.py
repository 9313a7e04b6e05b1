"""``model.learn`` called again with the same monitor: each call is a run of its own."""

import gymnasium
import torch
from stable_baselines3 import TD3

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
