"""RLlib's module_state.pkl, read without the library."""

import dataclasses
import pickle
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

import gradlab
from gradlab.adapters import read_checkpoint, view
from gradlab.adapters.rllib_saved import _DEFAULTS
from gradlab.errors import GradlabError
from gradlab.testing.conformance import differences, digest

ID = "default_policy"
FACTS = {"discount": 0.9, "entropy": 0.3}


@pytest.fixture
def saved(tmp_path):
    """A function that writes a learner's module, as a checkpoint has it, and gives the file of its networks."""

    def write(learner):
        learner.module.save_to_path((tmp_path / "rl_module").as_posix())
        return tmp_path / "rl_module" / ID / "module_state.pkl"

    return write


def same(found, live):
    """Whether two agents compute the same."""
    generator = torch.Generator().manual_seed(0)
    obs, act = torch.randn(7, 3, generator=generator), torch.rand(7, live.action_size, generator=generator)
    pairs = [(found.head(obs), live.head(obs)), (found.to_env(act), live.to_env(act))]
    if live.critics:
        pairs += [(found.q_all(obs, act, target=flag), live.q_all(obs, act, target=flag)) for flag in (False, True)]
    if live.value is not None:
        pairs.append((found.v(obs), live.v(obs)))
    facts = [(one.discount, one.obs_size, one.reduction, type(one.policy), one.library) for one in (found, live)]
    close = found.entropy == pytest.approx(live.entropy, rel=1e-6)
    return close and facts[0] == facts[1] and all(torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in pairs)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("sac", {}),
        ("sac", {"fcnet_activation": "relu", "head_fcnet_activation": "tanh", "fusionnet_activation": "silu"}),
        ("sac", {"fusionnet_hiddens": [], "head_fcnet_hiddens": []}),
        ("sac", {"twin_q": False}),
        ("ppo", {}),
        ("ppo", {"vf_share_layers": True, "fcnet_activation": "swish"}),
        ("ppo", {"vf_share_layers": False, "free_log_std": True, "head_fcnet_hiddens": []}),
        ("ppo", {"discrete": True}),
    ],
    ids=["sac", "activations", "no-fusion", "one-critic", "ppo", "shared", "free-log-std", "discrete"],
)
def test_what_a_checkpoint_holds_is_the_live_learner(name, model, make, minibatch, saved, spaces, random_states):
    options = {"twin_q": model.pop("twin_q")} if "twin_q" in model else {}
    options |= {"initial_alpha": 0.3} if name == "sac" else {}
    space = spaces["discrete"] if model.pop("discrete", False) else None
    learner = make(name, space, model=model, gamma=0.9, **options)
    with torch.no_grad():
        for parameter in learner.module[ID].parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = saved(learner)
    before = digest(module=learner.module[ID]), random_states()
    agent = gradlab.load(path, **FACTS)
    assert (differences(before[0], digest(module=learner.module[ID])), random_states()) == ([], before[1])
    live = view(learner)
    if name == "ppo":
        assert agent.entropy == 0
    assert same(agent, live)
    assert agent.algorithm == live.algorithm
    assert list(agent.named_parameters()) == list(live.named_parameters())
    assert not any(module.training for part in agent.parts for module in part.modules())


def test_options_that_were_left_out_are_the_librarys():
    library = dataclasses.asdict(DefaultModelConfig())
    assert {name: library[name] for name in _DEFAULTS} == _DEFAULTS


@pytest.mark.slow
def test_a_checkpoint_of_the_algorithms_says_which_file_to_name(algorithms, tmp_path):
    algorithm = algorithms("sac", initial_alpha=0.3)
    algorithm.train()
    algorithm.save_to_path((tmp_path / "saved").as_posix())
    with pytest.raises(GradlabError) as error:
        gradlab.load(tmp_path / "saved")
    name = f"learner_group/learner/rl_module/{ID}/module_state.pkl"
    assert str(error.value).endswith(f"is a directory; name the file {name} in it")
    live = view(algorithm)
    checkpoint = read_checkpoint(
        tmp_path / "saved" / name, facts=gradlab.adapters.Facts(discount=0.99, entropy=live.entropy)
    )
    assert same(checkpoint.agent, live)
    assert not checkpoint.dated
    algorithm.stop()


def test_it_is_read_without_the_library(make, saved):
    path = saved(make("sac"))
    program = (
        "import sys, gradlab; agent = gradlab.load(sys.argv[1], discount=0.9, entropy=0.3); "
        "print(agent.algorithm, sorted({'ray', 'gymnasium'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == "SAC []\n"


# What is refused, in one line each --------------------------------------------------------------------------------


def refused(path, **facts):
    with pytest.raises(GradlabError) as error:
        gradlab.load(path, **facts)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_that_is_missing_is_named(make, saved):
    path = saved(make("sac"))
    assert refused(path).endswith("does not say γ, the entropy coefficient α; pass discount=…, entropy=…")
    (path.parent / "class_and_ctor_args.pkl").unlink()
    assert refused(path, **FACTS).endswith("keep RLlib's class_and_ctor_args.pkl in the same folder")


def test_ppo_has_no_alpha(make, saved):
    assert refused(saved(make("ppo"))).endswith("does not say γ; pass discount=…")


class Runs:
    def __reduce__(self):
        return print, ("code from the file has run",)


def test_code_in_a_file_does_not_run(make, saved, capsys):
    path = saved(make("sac"))
    beside = path.parent / "class_and_ctor_args.pkl"
    given = pickle.loads(beside.read_bytes())
    beside.write_bytes(pickle.dumps(given | {"class": Runs()}))
    capsys.readouterr()
    assert gradlab.load(path, **FACTS).algorithm == "SAC"
    content = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**content, "more": Runs()}))
    assert "a pickle that names builtins.print, which only its code could read" in refused(path, **FACTS)
    assert "has run" not in capsys.readouterr().out


def test_networks_that_are_not_known_are_refused(make, saved):
    path = saved(make("sac"))
    content = pickle.loads(path.read_bytes())

    def message(**changed):
        left = {key: value for key, value in {**content, **changed}.items() if value is not None}
        path.write_bytes(pickle.dumps(left))
        return refused(path, **FACTS)

    assert "qf.net.mlp.0.weight has shape (10, 11)" in message(**{"qf.net.mlp.0.weight": np.zeros((10, 11))})
    assert "layers that are not supported: extra.net.mlp.0.weight" in message(**{"extra.net.mlp.0.weight": np.ones(1)})
    assert "holds something else than named arrays" in message(extra="a")
    only = dict.fromkeys(key for key in content if key.startswith("qf"))
    assert "that is not supported, or without its critic" in message(**only)
    path.write_bytes(pickle.dumps({"a": np.ones(1)}))
    assert "a pickle, but of none of the libraries known (stable-baselines3, " in refused(path)


def test_a_model_that_is_not_known_is_refused(make, saved, spaces):
    path = saved(make("sac", model={"fcnet_use_layernorm": True}))
    assert "other layers than linear ones and activations" in refused(path, **FACTS)
    shutil.rmtree(path.parent)
    path = saved(make("sac", model={"fcnet_activation": "elu"}))
    assert "fcnet_activation is 'elu', which is not supported" in refused(path, **FACTS)
    shutil.rmtree(path.parent)
    path = saved(make("sac", spaces["discrete"]))
    assert "has discrete actions, which are not supported of SAC" in refused(path, **FACTS)


def test_damage_is_refused_or_harmless(make, saved):
    path = saved(make("sac"))
    files = {file: file.read_bytes() for file in (path, path.parent / "class_and_ctor_args.pkl")}
    numbers = random.Random(0)
    messages = []
    for trial in range(60):
        file = list(files)[trial % 2]
        damaged = bytearray(files[file])
        at = numbers.randrange(2, len(damaged))
        damaged[at : at + 4] = numbers.randbytes(4)
        file.write_bytes(damaged if trial % 3 else damaged[:at])
        try:
            gradlab.load(path, **FACTS)
        except GradlabError as error:
            messages.append(str(error))
        file.write_bytes(files[file])
    assert len(messages) > 20
    assert not any("\n" in message for message in messages)
