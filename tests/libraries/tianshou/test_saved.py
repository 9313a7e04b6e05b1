"""Checkpoints that Tianshou's algorithms write, read back without the library."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import gradlab
from gradlab.adapters import read_checkpoint, view
from gradlab.errors import GradlabError
from gradlab.testing.conformance import differences, digest

IN_UNITS = {"action_scaling": False, "action_bound_method": None}
UNBOUNDED, TANH = {"output": "Identity"}, {"output": "Tanh"}
FACTS = {"action_low": [-0.5, -2.0], "action_high": [1.5, 0.25], "discount": 0.9, "activation": nn.Tanh}


def saved(algorithm, path):
    """The file, of an algorithm whose targets and α have moved away from where they began."""
    with torch.no_grad():
        for number, parameter in enumerate(algorithm.parameters()):
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    torch.save(algorithm.state_dict(), path)
    return path


def same(agent, live):
    """Whether two agents compute the same numbers."""
    obs, act = torch.randn(7, 3), torch.rand(7, 2)
    pairs = [(agent.head(obs), live.head(obs)), (agent.env_low, live.env_low), (agent.env_high, live.env_high)]
    pairs += [(agent.action_low, live.action_low), (agent.action_high, live.action_high)]
    if live.critics:
        pairs += [(agent.q_all(obs, act, target=target), live.q_all(obs, act, target=target)) for target in (0, 1)]
        pairs.append((agent.q(obs, act), live.q(obs, act)))
    else:
        pairs.append((agent.v(obs), live.v(obs)))
    noise = torch.randn(7, 2)
    if live.policy.stochastic:
        pairs.append((agent.policy.sample(agent.head(obs), noise)[1], live.policy.sample(live.head(obs), noise)[1]))
    assert list(agent.named_parameters()) == list(live.named_parameters())
    facts = [(one.discount, one.entropy, one.obs_size, one.library, one.reduction) for one in (agent, live)]
    return facts[0] == facts[1] and all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize(
    ("name", "options", "end"),
    [
        ("ddpg", {}, {"max_action": 1.0}),
        ("td3", {}, {"max_action": 1.0}),
        ("td3", {"obs_only": True}, {"max_action": 1}),
        (
            "td3",
            {"actor": {"max_action": 2.0}, "policy": {"action_scaling": False, "action_bound_method": None}},
            {"max_action": 2},
        ),
        ("sac", {"alpha": "auto"}, UNBOUNDED),
        ("sac", {"alpha": "auto", "actor": {"unbounded": False, "max_action": 3.0}}, TANH | {"max_action": 3.0}),
        ("sac", {"alpha": "auto", "actor": {"conditioned_sigma": False}}, UNBOUNDED),
        ("ppo", {}, UNBOUNDED),
        ("a2c", {"actor": {"conditioned_sigma": True, "unbounded": False}}, TANH | {"max_action": 1.0}),
        ("a2c", {"share": True}, UNBOUNDED),
        ("trpo", {}, UNBOUNDED),
    ],
    ids=["ddpg", "td3", "td3-obs-only", "td3-units", "sac", "sac-3", "sac-sigma", "ppo", "a2c", "a2c-share", "trpo"],
)
def test_a_checkpoint_is_the_live_algorithm(name, options, end, make, tmp_path, random_states):
    algorithm = make(name, activation=nn.Tanh, gamma=0.9, **options)
    path = saved(algorithm, tmp_path / "run.pt")
    before = digest(algorithm=algorithm), random_states()
    agent = gradlab.load(path, **end, **FACTS)
    assert (differences(before[0], digest(algorithm=algorithm)), random_states()) == ([], before[1])
    assert same(agent, view(algorithm))
    kinds = {"ppo": "PPO or A2C", "a2c": "PPO or A2C", "trpo": "NPG or TRPO"}
    assert agent.algorithm == kinds.get(name, name.upper())
    assert not any(module.training for part in agent.parts for module in part.modules())


def test_another_activation_is_another_agent(make, tmp_path):
    """The layers behind the preprocessing network are the library's, with its ReLU; the others are as they are told."""
    algorithm = make("td3", activation=nn.Tanh, gamma=0.9)
    path = saved(algorithm, tmp_path / "run.pt")
    assert same(gradlab.load(path, max_action=1, **FACTS), view(algorithm))
    assert not same(gradlab.load(path, max_action=1, **FACTS | {"activation": "ReLU"}), view(algorithm))


def test_alpha_that_is_not_learned_is_asked_for(make, tmp_path):
    algorithm = make("sac", activation=nn.Tanh, alpha=0.3, gamma=0.9)
    path = saved(algorithm, tmp_path / "run.pt")
    with pytest.raises(GradlabError, match=r"does not say the entropy coefficient α; pass entropy=…$"):
        gradlab.load(path, **UNBOUNDED, **FACTS)
    assert same(gradlab.load(path, entropy=0.3, **UNBOUNDED, **FACTS), view(algorithm))


def test_the_step_is_taken_from_the_name(make, tmp_path):
    path = saved(make("td3"), tmp_path / "td3_5000.pt")
    facts = gradlab.adapters.Facts(max_action=1.0, **FACTS)
    checkpoint = read_checkpoint(path, facts=facts)
    assert (checkpoint.step, checkpoint.algorithm) == (5000, "TD3")


def test_the_file_can_still_be_loaded_by_the_library(make, tmp_path):
    """Reading pops nothing from what the library's own load_state_dict pops from."""
    algorithm = make("td3")
    content = algorithm.state_dict()
    keys = list(content)
    gradlab.adapters.tianshou_saved.read(content, gradlab.adapters.Facts(max_action=1.0, **FACTS), "here")
    assert list(content) == keys
    algorithm.load_state_dict(content)


def test_it_is_read_without_the_library(make, tmp_path):
    path = saved(make("sac", alpha="auto"), tmp_path / "run.pt")
    program = (
        "import sys, gradlab; "
        f"agent = gradlab.load({str(path)!r}, action_low=-1, action_high=1, discount=0.9, activation='ReLU', "
        "output='Identity'); print(agent.algorithm, 'tianshou' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "SAC False\n"


# What is refused, in one line each --------------------------------------------------------------------------------


def refused(path, **facts):
    with pytest.raises(GradlabError) as error:
        gradlab.load(path, **facts)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_that_is_missing_is_named(make, tmp_path):
    path = saved(make("td3"), tmp_path / "run.pt")
    assert refused(path).endswith("pass action_low=…, action_high=…, discount=…, activation=…, max_action=…")
    path = saved(make("sac"), tmp_path / "run.pt")
    told = {"discount": 0.9, "activation": "ReLU"}
    assert refused(path, **told).endswith("pass action_low=…, action_high=…, output=…, entropy=…")
    assert refused(path, output="Tanh", **told).endswith("pass action_low=…, action_high=…, max_action=…, entropy=…")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"action_low": [-1, -1, -1]}, "action_low has 3 numbers, but actions have 2"),
        ({"action_high": "one"}, "action_high is 'one'; give a number or 2 of them"),
        ({"max_action": float("inf")}, "max_action: inf; give a finite number above 0: it is c of c·tanh"),
        ({"max_action": 0.0}, "max_action: 0.0; give a finite number above 0: it is c of c·tanh"),
        ({"activation": "relu"}, "activation 'relu' is none of torch.nn's"),
        ({"action_low": 5.0}, "low must be below high"),
    ],
    ids=["corner", "no-number", "inf", "zero", "activation", "order"],
)
def test_wrong_facts_are_refused(facts, message, make, tmp_path):
    path = saved(make("td3"), tmp_path / "run.pt")
    assert message in refused(path, **{"max_action": 1.0} | FACTS | facts)


def test_another_output_than_the_two_is_refused(make, tmp_path):
    path = saved(make("ppo"), tmp_path / "run.pt")
    assert "output 'ReLU'; it is 'Tanh' or 'Identity'" in refused(path, output="ReLU", **FACTS)


def test_networks_that_are_not_known_are_refused(make, tmp_path, spaces):
    algorithm = make("td3")
    content = algorithm.state_dict()
    path = tmp_path / "run.pt"

    def message(**changed):
        torch.save({key: value for key, value in {**content, **changed}.items() if value is not None}, path)
        return refused(path, max_action=1.0, **FACTS)

    name = "critic2.last.model.2.weight"
    assert "critic2.last.model.0.weight has shape (10, 16); its neighbours and spaces need (1, 16)" in message(
        **{name: None}
    )
    assert "need (1, 10)" in message(**{name: torch.zeros(3, 10)})
    assert "layers that are not supported: critic.extra" in message(**{"critic.extra": torch.zeros(1)})
    assert "preprocess is no Net" in message(**{"policy.actor.preprocess.model.model.0.weight": None})
    torch.save(make("ppo", spaces["discrete"]).state_dict(), path)
    assert "has discrete actions" in refused(path, **FACTS)
    torch.save({"policy.actor.mine.weight": torch.zeros(1), "_optimizers": []}, path)
    assert "of a Tianshou algorithm that is not supported; DDPG, TD3, SAC, PPO" in refused(path)
    torch.save({"policy.actor.mine.weight": torch.zeros(1)}, path)
    assert "of none of the libraries known (stable-baselines3, " in refused(path)


def test_bounds_may_be_one_number(make, tmp_path):
    path = saved(make("td3"), tmp_path / "run.pt")
    agent = gradlab.load(path, **FACTS | {"action_low": -2, "action_high": np.float32(2), "max_action": 1.0})
    assert agent.env_low.tolist() == [-2, -2]
    assert agent.env_high.tolist() == [2, 2]
