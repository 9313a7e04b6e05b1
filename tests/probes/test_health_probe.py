"""The probe ``health`` on real Stable-Baselines3 runs, healthy and broken as examples/sick_runs.py breaks them."""

from __future__ import annotations

import runpy
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import probes
from dashboards.finding import Facts
from dashboards.series import collect
from dashboards.sickness import sickness
from gradlab.store import open_store

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "sick_runs.py"))
TEXTS = {"frozen critic": "The critic is frozen", "saturated actor": "The actor is saturated"}


def trained(name: str, store: Path, steps: int = 260):
    """A short run, measured six times or so."""
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.callbacks import CallbackList

    model = sb3.TD3(
        "MlpPolicy",
        gymnasium.make("Pendulum-v1"),
        seed=0,
        device="cpu",
        learning_starts=40,
        batch_size=32,
        buffer_size=1000,
        policy_kwargs={"net_arch": [32, 32]},
    )
    fall_ill, share = EXAMPLE["SICKNESSES"][name]
    if name == "saturated actor":
        # A network this small needs more of it.
        fall_ill(model)
    onset = EXAMPLE["Onset"](fall_ill, 40 if share is None else int(share * steps))
    monitor = probes.attach(model, store, probes=[probes.Health(every=40, states=32)], budget=None)
    model.learn(steps, callback=CallbackList([onset, monitor]))
    with open_store(store, readonly=True) as found:
        assert {one.status for one in found.measurements()} == {"ok"}
        return collect(found.scalars())


def value(series, name: str) -> np.ndarray:
    return next(one.value for key, one in series.items() if key.name == name)


def test_a_healthy_run_moves_and_its_steps_enter_the_replay(tmp_path):
    series = trained("healthy", tmp_path / "gradlab.db")
    assert (value(series, "replay/entered_share") == 1).all()
    assert (value(series, "critic/change")[1:] > 0).all()
    assert (value(series, "actor/change")[1:] > 0).all()
    assert not [one for one in sickness(Facts(series)) if "frozen" in one.text or "not refreshed" in one.text]


@pytest.mark.parametrize("name", list(TEXTS))
def test_a_broken_network_is_found(name, tmp_path):
    series = trained(name, tmp_path / "gradlab.db")
    assert any(one.verdict == "bad" and one.text.startswith(TEXTS[name]) for one in sickness(Facts(series)))


def test_a_replay_that_takes_nothing_is_found(tmp_path):
    series = trained("stale replay", tmp_path / "gradlab.db", 400)
    entered = value(series, "replay/entered_share")
    assert entered[0] == 1
    assert entered[-1] < 0.5
    assert any("not refreshed" in one.text for one in sickness(Facts(series)))
