"""What is measured when nothing is said, and when one word is."""

import logging

import pytest
from torch import nn

import gradlab
import probes
from gradlab.errors import GradlabError
from gradlab.store import open_store


class Critic(nn.Module):
    def forward(self, obs, act):
        return -(act - obs[:, :2]).square().sum(-1)


@pytest.fixture
def agent():
    return gradlab.Agent(nn.Linear(3, 2), [Critic()], action_low=[-1, -1], action_high=[1, 1])


@pytest.mark.parametrize(("preset", "budget"), [("light", 0.005), ("standard", 0.03), ("full", None)])
def test_a_preset_brings_its_budget(agent, tmp_path, preset, budget):
    with probes.attach(agent, tmp_path / "run.db", probes=preset):
        pass
    with open_store(tmp_path / "run.db") as store:
        config = store.runs()[0].config
    assert (config["preset"], config["budget"]) == (preset, budget)
    assert {"gradient", "curvature"} <= set(config["probes"])


def test_a_preset_says_what_has_a_process_of_its_own():
    assert [p.background for p in probes.default_probes("Reacher-v5", "light")] == [False] * 3
    assert [p.name for p in probes.default_probes("Reacher-v5", "full") if p.background] == ["simulator", "returns"]
    assert sum(p.background for p in probes.default_probes("Reacher-v5")) == 6
    # Of a class, which the preset must not change for others.
    assert probes.Field().background


def test_a_budget_that_is_given_goes_before_the_presets(agent, tmp_path):
    with probes.attach(agent, tmp_path / "run.db", probes="light", budget=None):
        pass
    with open_store(tmp_path / "run.db") as store:
        assert store.runs()[0].config["budget"] is None


def test_an_unknown_preset_is_refused(agent, tmp_path):
    with pytest.raises(GradlabError, match="probes: 'strong'; give a list of probes, or one of light, standard, full"):
        probes.attach(agent, tmp_path / "run.db", probes="strong")
    assert not (tmp_path / "run.db").exists()


def test_two_monitors_on_one_model_are_said(agent, tmp_path, caplog):
    first = probes.attach(agent, tmp_path / "run.db", probes="light")
    with caplog.at_level(logging.WARNING, "gradlab"):
        second = probes.attach(agent, tmp_path / "run.db", probes="light")
        assert "this model has 1 open monitor already" in caplog.text
        first.close()
        second.close()
        caplog.clear()
        probes.attach(agent, tmp_path / "run.db", probes="light").close()
        assert caplog.text == ""
