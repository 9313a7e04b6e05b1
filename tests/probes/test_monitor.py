"""The monitor: schedule, budget, isolation, and what it writes."""

import os
import sqlite3
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from stable_baselines3 import TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

import gradlab
import probes
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import RunWriter, open_store
from probes.budget import Budget


class Quadratic(nn.Module):
    def forward(self, obs, act):
        return -(act - obs[:, :2]).square().sum(-1)


@pytest.fixture
def agent():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2), nn.Tanh())
    return gradlab.Agent(actor, [Quadratic()], action_low=[-1, -1], action_high=[1, 1], obs_size=3)


class Count(probes.Probe):
    name = "count"

    def __init__(self, *, every=10, states=4):
        super().__init__(every=every, states=states)
        self.calls = 0

    def measure(self, agent, obs, generator):
        self.calls += 1
        assert obs.shape == (self.states, 3)
        return Measurement({"calls": Estimate(float(self.calls), 0.0, self.states)})


class Broken(Count):
    name = "broken"

    def measure(self, agent, obs, generator):
        raise RuntimeError("no such luck")


def observations():
    return np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)


def until(true, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run(agent, path, steps, chosen, **options):
    monitor = probes.attach(agent, store=path, probes=chosen, budget=options.pop("budget", None), **options)
    for step in range(steps):
        monitor.step(step, obs=observations())
    status = monitor.status
    monitor.close()
    return status


def test_measures_when_due_and_labels_with_the_step(agent, tmp_path):
    status = run(agent, tmp_path / "a.db", 35, [Count(every=10)])
    assert status.measured == {"count": 4}
    with open_store(tmp_path / "a.db", readonly=True) as store:
        assert [m.step for m in store.measurements()] == [0, 10, 20, 30]
        (info,) = store.runs()
        assert (info.status, info.step) == ("finished", 34)
        assert store.scalars().value.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_probe_that_raises_is_recorded_and_stopped_and_the_others_go_on(agent, tmp_path):
    status = run(agent, tmp_path / "a.db", 100, [Broken(every=10), Count(every=10)])
    assert status.failed == {"broken": 3}
    assert "no such luck" in status.stopped["broken"]
    assert status.measured == {"count": 10}
    with open_store(tmp_path / "a.db", readonly=True) as store:
        failed = [m for m in store.measurements() if m.status == "failed"]
        assert len(failed) == 3
        assert all(m.message == "RuntimeError: no such luck" for m in failed)


def test_a_probe_is_handed_a_copy(agent, tmp_path):
    class Vandal(Count):
        name = "vandal"

        def measure(self, agent, obs, generator):
            for parameter in agent.actor.parameters():
                parameter.data.zero_()
            return Measurement()

    before = {name: p.clone() for name, p in agent.named_parameters().items()}
    run(agent, tmp_path / "a.db", 5, [Vandal()])
    assert all(torch.equal(before[name], p) for name, p in agent.named_parameters().items())


def test_over_budget_measurements_are_skipped_and_counted(agent, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("probes.monitor.Budget", lambda share, part: Budget(share, part, clock=lambda: now[0]))
    monkeypatch.setattr("probes.monitor.time.perf_counter", lambda: now[0])

    class Dear(Count):
        name = "dear"

        def measure(self, agent, obs, generator):
            now[0] += 1.0
            return super().measure(agent, obs, generator)

    monitor = probes.attach(agent, store=tmp_path / "a.db", probes=[Dear(every=10)], budget=0.1)
    for step in range(1000):
        now[0] += 0.1
        monitor.step(step, obs=observations())
    status = monitor.status
    monitor.close()
    # 1000 steps of 0.1 s pay for about ten measurements of 1 s at 10 % of wall time.
    assert 8 <= status.measured["dear"] <= 12
    assert status.cost <= 0.101
    assert status.measured["dear"] + status.skipped["dear"] == pytest.approx(100, abs=12)


def test_too_few_observations_wait_without_failing(agent, tmp_path):
    monitor = probes.attach(
        agent,
        store=tmp_path / "a.db",
        probes=[Count(every=1000)],
        budget=None,
        sampler=lambda count, random: observations()[:count] if ready else None,
    )
    ready = False
    for step in range(7):
        monitor.step(step)
    assert monitor.status.measured == {}
    ready = True
    monitor.step(7)
    assert monitor.status.measured == {"count": 1}
    monitor.close()


def test_a_lost_store_stops_nothing_and_records_are_kept(agent, tmp_path, caplog, monkeypatch):
    monitor = probes.attach(agent, store=tmp_path / "a.db", probes=[Count(every=1)], budget=None)
    record, away = RunWriter.record_once, [True]

    def unreliable(*args, **options):
        if away[0]:
            raise OSError("No space left on device")
        return record(*args, **options)

    monkeypatch.setattr(RunWriter, "record_once", unreliable)
    for step in range(5):
        monitor.step(step, obs=observations())
    until(lambda: "No space left" in caplog.text)
    assert monitor.status.lost == 0
    assert caplog.text.count("No space left on device") == 1
    away[0] = False
    monitor.step(5, obs=observations())
    monitor.close()
    with open_store(tmp_path / "a.db", readonly=True) as store:
        assert [m.step for m in store.measurements()] == [0, 1, 2, 3, 4, 5]


def test_measurements_are_reproducible_for_a_seed(agent, tmp_path):
    chosen = lambda: [probes.Gradient(every=10, states=8, draws=8)]  # noqa: E731
    values = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(agent, tmp_path / f"{name}.db", 15, chosen(), seed=seed)
        with open_store(tmp_path / f"{name}.db", readonly=True) as store:
            values.append(store.scalars().value)
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


def test_probes_that_cannot_measure_are_left_out_by_name(agent, tmp_path):
    monitor = probes.attach(agent, store=tmp_path / "a.db")
    assert "simulator" in monitor.left_out
    assert "gymnasium identifier" in monitor.left_out["simulator"]
    monitor.close()


def test_an_unknown_model_is_refused_in_a_line(tmp_path):
    with pytest.raises(gradlab.GradlabError, match=r"gradlab\.Agent") as caught:
        probes.attach(object(), store=tmp_path / "a.db")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.db").exists()


def test_an_interrupted_run_is_closed_as_stopped(agent, tmp_path):
    with pytest.raises(KeyboardInterrupt), probes.attach(agent, tmp_path / "a.db", probes=[Count()]) as monitor:
        monitor.step(0, obs=observations())
        raise KeyboardInterrupt
    with open_store(tmp_path / "a.db", readonly=True) as store:
        assert store.runs()[0].status == "stopped"


def test_a_locked_store_does_not_hold_up_training(agent, tmp_path, caplog):
    path = tmp_path / "a.db"
    monitor = probes.attach(agent, store=path, probes=[Count(every=1)], budget=None)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    started = time.monotonic()
    for step in range(20):
        monitor.step(step, obs=observations())
    # One write that waits for its turn would alone take ten seconds.
    assert time.monotonic() - started < 5.0
    other.execute("rollback")
    other.close()
    monitor.close()
    assert monitor.status.lost == 0
    with open_store(path, readonly=True) as store:
        assert [m.step for m in store.measurements()] == list(range(20))


def test_what_neither_the_store_nor_the_spool_took_is_counted_and_said(agent, tmp_path, caplog, monkeypatch):
    path = tmp_path / "a.db"
    (tmp_path / "no-directory").touch()
    monkeypatch.setenv("GRADLAB_SPOOL", str(tmp_path / "no-directory" / "spool"))
    monitor = probes.attach(agent, store=path, probes=[Count(every=1)], budget=None)
    path.unlink()
    for step in range(3):
        monitor.step(step, obs=observations())
    monitor.close()
    assert monitor.status.lost == 3
    assert monitor.status.balanced
    (said,) = [r.getMessage() for r in caplog.records if "lost" in r.getMessage()]
    assert "3 records" in said
    assert not path.exists()


def test_a_closed_gate_is_an_answer_and_stops_nothing(agent, tmp_path):
    class Gated(Count):
        name = "gated"

        def measure(self, agent, obs, generator):
            raise probes.GateClosedError("no state passed the gate")

    status = run(agent, tmp_path / "a.db", 60, [Gated(every=10)])
    assert status.skipped == {"gated": 6}
    assert (status.failed, status.stopped) == ({}, {})
    with open_store(tmp_path / "a.db", readonly=True) as store:
        assert {(m.status, m.message) for m in store.measurements()} == {("skipped", "no state passed the gate")}


@pytest.mark.parametrize(
    ("deed", "status", "word"),
    [
        ("raise RuntimeError('the reward is nan')", "failed", "RuntimeError: the reward is nan"),
        ("raise KeyboardInterrupt", "stopped", "before the monitor was closed"),
        ("pass", "stopped", "before the monitor was closed"),
    ],
)
def test_a_program_that_ends_without_closing_says_how(tmp_path, deed, status, word):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import torch, gradlab, probes
            from torch import nn

            class Critic(nn.Module):
                def forward(self, obs, act):
                    return -(act - obs[:, :2]).square().sum(-1)

            agent = gradlab.Agent(nn.Linear(3, 2), [Critic()], action_low=[-1, -1], action_high=[1, 1])
            monitor = probes.attach(agent, "a.db", probes=[probes.Curvature(states=4)])
            monitor.step(0, obs=torch.zeros(4, 3))
            """
        )
        + deed
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    with open_store(tmp_path / "a.db", readonly=True) as store:
        (info,) = store.runs()
    assert info.status == status
    assert word in info.message


@pytest.mark.parametrize("budget", [0.0, 3.0, float("nan")])
def test_a_budget_that_is_no_share_is_refused_before_anything_is_written(agent, tmp_path, budget):
    with pytest.raises(gradlab.GradlabError, match="give a share of wall time"):
        probes.attach(agent, store=tmp_path / "a.db", budget=budget)
    assert not (tmp_path / "a.db").exists()


def test_a_measurement_still_waited_for_at_the_end_is_recorded_with_its_reason(agent, tmp_path):
    with probes.attach(agent, store=tmp_path / "a.db", probes=[Count(every=100)], budget=None) as monitor:
        for step in range(5):
            monitor.step(step)  # nobody gives observations
    assert monitor.status.skipped == {"count": 1}
    with open_store(tmp_path / "a.db", readonly=True) as store:
        found = [(m.step, m.status, m.message) for m in store.measurements()]
    assert found == [(4, "skipped", "too few observations yet until the run ended")]


def test_nothing_is_recorded_at_the_end_for_what_was_measured(agent, tmp_path):
    with probes.attach(agent, store=tmp_path / "a.db", probes=[Count(every=100)], budget=None) as monitor:
        monitor.step(0)
        monitor.step(1, obs=observations())
    assert monitor.status.skipped == {}


def test_a_critic_that_cannot_be_copied_is_named_when_attaching(agent, tmp_path, caplog):
    critic = Quadratic()
    bare = gradlab.Agent(agent.actor, [lambda obs, act: critic(obs, act)], [-1, -1], [1, 1], obs_size=3)
    with probes.attach(bare, store=tmp_path / "a.db", probes=[Count()]):
        assert "critic 0 is a function" in caplog.text
    caplog.clear()
    with probes.attach(agent, store=tmp_path / "b.db", probes=[Count()]):
        assert caplog.text == ""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (None, None),
        ({}, "VecNormalize changes observations and rewards, and a simulator has others"),
        ({"norm_obs": False}, "VecNormalize changes rewards, and a simulator has others"),
        ({"norm_obs": False, "norm_reward": False}, None),
    ],
    ids=["bare", "both", "rewards", "neither"],
)
def test_a_task_that_is_normalised_on_the_way_is_not_simulated(tmp_path, options, reason):
    env = make_vec_env("Pendulum-v1")
    model = TD3("MlpPolicy", env if options is None else VecNormalize(env, **options), buffer_size=100)
    wanted = [probes.Gradient(), probes.Simulator("Pendulum-v1")]
    with probes.attach(model, tmp_path / "run.db", probes=wanted) as monitor:
        assert monitor.left_out.get("simulator") == reason
