"""Numbers go to the tools that people use already, and those change nothing."""

import logging
import math

import gymnasium
import numpy as np
import pytest
import torch
from skrl.utils.tensorboard import SummaryWriter as SkrlWriter
from stable_baselines3 import TD3
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import gradlab
import probes
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store


class Critic(nn.Module):
    def forward(self, obs, act):
        return -(act - obs[:, :2]).square().sum(-1)


@pytest.fixture
def agent():
    return gradlab.Agent(nn.Linear(3, 2), [Critic()], action_low=[-1, -1], action_high=[1, 1])


class Two(probes.Probe):
    name = "two"

    def measure(self, agent, obs, generator):
        return Measurement({"mean": Estimate(obs.mean().item(), 0.25, 9), "unknown": Estimate(math.nan, math.nan, 0)})


def run(agent, tmp_path, mirror, probe=None):
    with probes.attach(
        agent, tmp_path / "run.db", probes=[probe or Two(every=10, states=4)], budget=None, mirror=mirror
    ) as monitor:
        for step in range(25):
            monitor.step(step, obs=torch.full((4, 3), float(step)))
    return monitor


@pytest.mark.parametrize("kind", [SummaryWriter, SkrlWriter], ids=["torch", "skrl"])
def test_tensorboard_has_what_the_store_has(agent, tmp_path, kind):
    writer = kind(log_dir=str(tmp_path / "events"))
    run(agent, tmp_path, writer)
    writer.close()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    with open_store(tmp_path / "run.db") as store:
        table = store.scalars(probe="two")
    table = table[table.name == "mean"]
    for tag, column in (("", table.value), ("/low", table.low), ("/high", table.high)):
        seen = events.Scalars(f"gradlab/two/mean{tag}")
        assert [event.step for event in seen] == table.step.tolist() == [0, 10, 20]
        assert [event.value for event in seen] == pytest.approx(column.tolist())
    assert not [tag for tag in events.Tags()["scalars"] if "unknown" in tag]


def test_a_function_is_a_mirror_and_gets_what_the_background_measured(agent, tmp_path):
    class Behind(Two):
        background = True

    seen = []
    with probes.attach(
        agent,
        tmp_path / "run.db",
        probes=[Behind(every=10, states=4)],
        budget=None,
        mirror=lambda step, numbers: seen.append((step, numbers["gradlab/two/mean"])),
    ) as monitor:
        while not monitor.status.measured and not monitor.status.failed:
            monitor.step(3, obs=torch.full((4, 3), 2.0))
    assert seen == [(3, 2.0)]


def test_weights_and_biases_gets_them_without_steps_of_its_own(agent, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", dir=str(tmp_path), project="test") as run_of_the_user:
        monitor = probes.attach(
            agent, tmp_path / "run.db", probes=[Two(every=10, states=4)], budget=None, mirror=run_of_the_user
        )
        for step in range(15):
            monitor.step(step, obs=torch.full((4, 3), float(step)))
            run_of_the_user.log({"loss": float(step)})
        # The user's 15 rows are 15 still.
        assert run_of_the_user.step == 15
        assert run_of_the_user.summary["gradlab/two/mean"] == 10.0
        assert run_of_the_user.summary["gradlab/step"] == 10
        monitor.close()


def test_the_models_own_logger_and_its_tables_for_people(tmp_path):
    model = TD3("MlpPolicy", gymnasium.make("Pendulum-v1"), learning_starts=10, policy_kwargs={"net_arch": [8]}, seed=0)
    model.set_logger(configure(str(tmp_path / "log"), ["log", "json"]))
    monitor = probes.attach(
        model, tmp_path / "run.db", probes=[probes.Gradient(every=100, states=8, draws=4)], budget=None, mirror=True
    )
    model.learn(450, callback=monitor, log_interval=1)
    assert monitor.status.measured == {"gradient": 5}
    lines = (tmp_path / "log" / "progress.json").read_text().splitlines()
    assert "gradlab/gradient/" in lines[-1]
    table = (tmp_path / "log" / "log.txt").read_text()
    assert "rollout" in table
    assert "gradlab" not in table


def test_a_mirror_that_fails_is_left_after_three_and_the_store_has_all(agent, tmp_path, caplog):
    calls = []

    def broken(step, numbers):
        calls.append(step)
        raise OSError("no space left")

    with caplog.at_level(logging.WARNING, "gradlab"):
        monitor = run(agent, tmp_path, broken, Two(every=5, states=4))
    assert monitor.status.measured == {"two": 5}
    assert calls == [0, 5, 10]
    assert caplog.text.count("the mirror did not take step") == 3
    with open_store(tmp_path / "run.db") as store:
        assert len(store.measurements(probe="two")) == 5


@pytest.mark.parametrize("wrong", ["tensorboard", 3, True, np.ones(2)], ids=["text", "number", "true", "array"])
def test_what_is_no_mirror_is_refused(agent, tmp_path, wrong):
    with pytest.raises(GradlabError, match="mirror: "):
        probes.attach(agent, tmp_path / "run.db", mirror=wrong)
    assert not (tmp_path / "run.db").exists()
