"""skrl's checkpoints, read without the library and without the models' classes."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import gradlab
from gradlab.adapters import read_checkpoint, skrl_saved
from gradlab.adapters.facts import Facts
from gradlab.adapters.skrl_memory import observations
from gradlab.errors import GradlabError

OBS = torch.linspace(-3, 3, 15).reshape(5, 3)
ACT = torch.linspace(-1, 1, 10).reshape(5, 2)
LOW, HIGH = [-2.0, -2.0], [2.0, 2.0]
FACTS = {"action_low": LOW, "action_high": HIGH, "discount": 0.9, "activation": "ELU"}
DETERMINISTIC = ("DDPG", "TD3")


def given(algorithm):
    output = {"output": "Tanh" if algorithm in DETERMINISTIC else "Identity"}
    return FACTS | output | ({"entropy": 0.3} if algorithm == "SAC" else {})


def trained(skrl_runs, algorithm, scaled=False, **options):
    doubled = lambda **spaces: skrl_runs.Actor(gain=2.0, **spaces)  # noqa: E731
    policy = doubled if algorithm in DETERMINISTIC else skrl_runs.Free
    options = {"policy": policy, "env": lambda: skrl_runs.Drift(LOW, HIGH), "steps": 64, "rollouts": 32} | options
    agent, trainer = skrl_runs.prepared(algorithm, scaled=scaled, **options)
    trainer.train()
    return agent


@pytest.mark.parametrize("scaled", [False, True], ids=["raw", "scaled"])
@pytest.mark.parametrize("algorithm", ["DDPG", "TD3", "SAC", "PPO", "A2C", "TRPO"])
def test_a_checkpoint_computes_what_the_live_agent_does(algorithm, scaled, skrl_runs, tmp_path):
    own = trained(skrl_runs, algorithm, scaled)
    own.save(tmp_path / "agent_5000.pt")
    live, saved = gradlab.view(own), gradlab.load(tmp_path / "agent_5000.pt", **given(algorithm))
    through = observations(own, OBS)
    assert torch.allclose(saved.head(OBS), live.head(through), atol=1e-5)
    assert torch.allclose(saved.action(OBS), live.action(through), atol=1e-5)
    for target in (False, True) if live.critics else ():
        found = saved.q_all(OBS, ACT, target=target)
        assert torch.allclose(found, live.q_all(through, ACT, target=target), atol=1e-5)
    if live.value is not None:
        assert torch.allclose(saved.v(OBS), live.v(through), atol=1e-4)
    assert (saved.reduction, saved.obs_size, saved.discount) == (live.reduction, 3, 0.9)
    assert type(saved.policy) is type(live.policy)
    assert saved.entropy == (0.3 if algorithm == "SAC" else 0)
    assert saved.algorithm == ("PPO or A2C" if algorithm in ("PPO", "A2C") else algorithm)
    assert saved.library == "skrl"
    assert not any(module.training for part in saved.parts for module in part.modules())
    saved.snapshot(double=True).head(OBS.double())


def test_the_step_is_in_the_files_name(skrl_runs, tmp_path):
    trained(skrl_runs, "TD3", experiment={"write_interval": 0, "checkpoint_interval": 32, "directory": str(tmp_path)})
    paths = sorted(tmp_path.glob("*/checkpoints/agent_*.pt"))
    steps = [read_checkpoint(path, facts=Facts(**given("TD3"))).step for path in paths]
    assert steps == [32, 64]


def test_neither_the_library_nor_the_random_state_is_touched(skrl_runs, tmp_path, random_states):
    trained(skrl_runs, "TD3").save(tmp_path / "agent_1.pt")
    before = random_states()
    gradlab.load(tmp_path / "agent_1.pt", **given("TD3"))
    assert random_states() == before
    code = (
        f"import sys, gradlab; gradlab.load({str(tmp_path / 'agent_1.pt')!r}, **{given('TD3')!r}); "
        "assert 'skrl' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def refused(path, **facts):
    with pytest.raises(GradlabError) as found:
        gradlab.load(path, **facts)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_everything_that_is_missing_is_named_at_once(skrl_runs, tmp_path):
    path = tmp_path / "agent_1.pt"
    trained(skrl_runs, "SAC").save(path)
    assert refused(path).endswith("pass action_low=…, action_high=…, discount=…, activation=…, output=…, entropy=…")
    assert "the entropy coefficient α; pass entropy=…" in refused(path, **(given("SAC") | {"entropy": None}))
    trained(skrl_runs, "TD3").save(path)
    assert "entropy" not in refused(path)
    assert "output 'Sine'; it is 'Tanh' or 'Identity'" in refused(path, **(given("TD3") | {"output": "Sine"}))


def test_other_networks_are_refused_with_the_way_out(skrl_runs, tmp_path):
    path = tmp_path / "agent_1.pt"
    way_out = "make the agent as in training, call its load(path), and pass it to gradlab.view"

    trained(skrl_runs, "PPO", policy=skrl_runs.Shared).save(path)
    assert way_out in refused(path, **given("PPO"))

    trained(skrl_runs, "SAC", policy=skrl_runs.Stochastic).save(path)
    message = refused(path, **given("SAC"))
    assert "its policy has nothing beside its layers, where log σ as one parameter is expected" in message
    assert way_out in message

    class Normalised(skrl_runs.Actor):
        def __init__(self, **spaces):
            super().__init__(**spaces)
            self.net = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.ELU(), nn.Linear(8, 2))

    trained(skrl_runs, "TD3", policy=Normalised).save(path)
    assert refused(path, **given("TD3"))

    class Apart(skrl_runs.Actor):
        def __init__(self, **spaces):
            super().__init__(**spaces)
            self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)
            del self.net

        def compute(self, inputs, role=""):
            return torch.tanh(self.second(torch.relu(self.first(inputs["observations"])))), {}

    trained(skrl_runs, "TD3", policy=Apart).save(path)
    assert "where nothing is expected" in refused(path, **given("TD3"))


def test_another_action_box_does_not_fit(skrl_runs, tmp_path):
    path = tmp_path / "agent_1.pt"
    trained(skrl_runs, "TD3").save(path)
    wrong = refused(path, **(given("TD3") | {"action_low": [-1.0], "action_high": [1.0]}))
    assert "policy: net.4.weight has shape (2, 12); its neighbours and spaces need (1, 12)" in wrong
    assert "action box 'low'; give one number" in refused(path, **(given("TD3") | {"action_low": "low"}))
    assert refused(path, **(given("TD3") | {"action_low": [-1.0, -1.0], "action_high": [1.0]}))
    assert refused(path, **(given("TD3") | {"action_low": [1.0, 1.0], "action_high": [-1.0, -1.0]}))


@pytest.mark.parametrize("part", ["policy", "critic_1", "observation_preprocessor"])
def test_damage_is_said_in_one_line(part, skrl_runs, tmp_path):
    path = tmp_path / "agent_1.pt"
    trained(skrl_runs, "TD3", scaled=True).save(path)
    content = torch.load(path, weights_only=True)
    for broken in ({}, {"net.0.weight": 3}, {"net.0.weight": torch.ones(2)}, {1: torch.ones(2, 2)}):
        torch.save(content | {part: broken}, path)
        assert part in refused(path, **given("TD3"))


def test_what_is_none_of_the_librarys(tmp_path):
    assert not skrl_saved.holds([1, 2])
    assert not skrl_saved.holds({"policy": torch.ones(1)})
    torch.save({"policy": torch.ones(1)}, tmp_path / "other.pt")
    assert "of none of the libraries known" in refused(tmp_path / "other.pt")
