"""What d3rlpy's ``save`` and ``save_model`` write, read without the library."""

import json
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from d3rlpy.algos import AWACConfig
from d3rlpy.models.encoders import VectorEncoderFactory
from d3rlpy.models.q_functions import QRQFunctionFactory
from d3rlpy.preprocessing import PixelObservationScaler

import gradlab
from gradlab.adapters import read_checkpoint, view
from gradlab.errors import GradlabError
from gradlab.testing.conformance import differences, digest

ALGORITHMS = ["ddpg", "td3", "sac", "td3+bc", "cql", "iql"]
FACTS = {"action_low": [-0.5, -2.0], "action_high": [1.5, 0.25], "discount": 0.9, "activation": "Tanh"}


def same(found, live):
    """Whether two agents compute the same."""
    generator = torch.Generator().manual_seed(0)
    obs, act = torch.randn(7, 3, generator=generator), torch.rand(7, 2, generator=generator)
    pairs = [(found.head(obs), live.head(obs)), (found.to_env(act), live.to_env(act))]
    pairs += [(found.q_all(obs, act, target=target), live.q_all(obs, act, target=target)) for target in (False, True)]
    if live.value is not None:
        pairs.append((found.v(obs), live.v(obs)))
    facts = [(one.discount, one.obs_size, one.reduction, type(one.policy), one.library) for one in (found, live)]
    close = found.entropy == pytest.approx(live.entropy, rel=1e-6)
    return close and facts[0] == facts[1] and all(torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in pairs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scaled": "standard", "activation": "swish"},
        {"scaled": "unit", "activation": "gelu", "box": False},
        {"activation": "tanh", "encoder": {"last_activation": "none"}},
        {"encoder": {"exclude_last_activation": True}, "n_critics": 3},
    ],
    ids=["plain", "standard-swish", "unit-gelu", "last-activation", "no-last-activation"],
)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_save_writes_is_the_live_algorithm(name, options, made, data, tmp_path, random_states):
    if name == "iql":
        options = {key: value for key, value in options.items() if key != "n_critics"}
    dataset = data()
    algorithm = made(name, dataset, gamma=0.9, **options)
    for _ in range(3):
        algorithm.update(dataset.sample_transition_batch(16))
    algorithm.save(tmp_path / "model_3.d3")
    before = digest(algorithm=algorithm), random_states()
    checkpoint = read_checkpoint(tmp_path / "model_3.d3")
    assert (differences(before[0], digest(algorithm=algorithm)), random_states()) == ([], before[1])
    live = view(algorithm)
    assert same(checkpoint.agent, live)
    assert (checkpoint.agent.algorithm, checkpoint.step, checkpoint.dated) == (live.algorithm, 3, True)
    assert list(checkpoint.agent.named_parameters()) == list(live.named_parameters())
    assert not any(module.training for part in checkpoint.agent.parts for module in part.modules())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_save_model_writes_is_the_live_algorithm(name, made, tmp_path):
    algorithm = made(name, gamma=0.9, activation="tanh")
    algorithm.save_model(tmp_path / "model.pt")
    agent = gradlab.load(tmp_path / "model.pt", **FACTS)
    assert same(agent, view(algorithm))
    assert agent.algorithm == (name.upper() if name in ("sac", "cql", "iql") else "DDPG, TD3 or TD3PlusBC")
    assert not same(gradlab.load(tmp_path / "model.pt", **FACTS | {"activation": "ReLU"}), view(algorithm))


def test_it_is_read_without_the_library(made, tmp_path):
    made("sac").save(tmp_path / "model.d3")
    program = "import sys, gradlab; agent = gradlab.load(sys.argv[1]); print(agent.algorithm, 'd3rlpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "model.d3"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "SAC False\n"


def test_a_log_std_that_is_a_parameter(made, tmp_path):
    """IQL's is one; its bounds are others than SAC's."""
    algorithm = made("iql", gamma=0.9)
    with torch.no_grad():
        algorithm.impl.policy._logstd += torch.tensor([[-3.0, 5.0]])
    algorithm.save(tmp_path / "model.d3")
    assert same(gradlab.load(tmp_path / "model.d3"), view(algorithm))


# What is refused, in one line each --------------------------------------------------------------------------------


def refused(path, **facts):
    with pytest.raises(GradlabError) as error:
        gradlab.load(path, **facts)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_that_is_missing_is_named(made, tmp_path):
    made("td3").save_model(tmp_path / "model.pt")
    assert refused(tmp_path / "model.pt").endswith("pass action_low=…, action_high=…, discount=…, activation=…")
    assert "action_low is [1, 2, 3]; give a number or 2" in refused(
        tmp_path / "model.pt", **FACTS | {"action_low": [1, 2, 3]}
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"q_func_factory": QRQFunctionFactory(8)}, "its q_func_factory is qr, which is not supported"),
        ({"encoder": {"use_layer_norm": True}}, "has other layers than linear ones and activations"),
        ({"encoder": {"dropout_rate": 0.1}}, "has other layers than linear ones and activations"),
        ({"observation_scaler": PixelObservationScaler()}, "observation_scaler is pixel, which is not supported"),
    ],
    ids=["quantiles", "layer-norm", "dropout", "pixels"],
)
def test_settings_that_are_not_supported_are_refused(options, message, make, tmp_path):
    algorithm = make("sac", box=False, **options)
    algorithm.create_impl((3,), 2)
    algorithm.save(tmp_path / "model.d3")
    assert message in refused(tmp_path / "model.d3")


def test_another_algorithm_is_refused(tmp_path):
    small = VectorEncoderFactory(hidden_units=[4])
    algorithm = AWACConfig(actor_encoder_factory=small, critic_encoder_factory=small).create()
    algorithm.create_impl((3,), 2)
    algorithm.save(tmp_path / "model.d3")
    assert "of d3rlpy's 'awac', which is not supported; supported are DDPG, TD3" in refused(tmp_path / "model.d3")
    algorithm.save_model(tmp_path / "model.pt")
    assert "of a d3rlpy algorithm that is not supported" in refused(tmp_path / "model.pt", **FACTS)


class Runs:
    def __reduce__(self):
        return print, ("code from the file has run",)


def test_code_in_a_file_does_not_run(made, tmp_path, capsys):
    made("sac").save(tmp_path / "model.d3")
    content = pickle.loads((tmp_path / "model.d3").read_bytes())
    (tmp_path / "model.d3").write_bytes(pickle.dumps(content | {"version": Runs()}))
    assert "a pickle that names builtins.print, which only its code could read" in refused(tmp_path / "model.d3")
    (tmp_path / "model.d3").write_bytes(pickle.dumps(content | {"torch": pickle.dumps(Runs())}))
    assert "damaged, or not written by d3rlpy's save()" in refused(tmp_path / "model.d3")
    assert "has run" not in capsys.readouterr().out


def test_damage_is_refused_or_harmless(made, tmp_path):
    made("sac", scaled="standard").save(tmp_path / "model.d3")
    whole = (tmp_path / "model.d3").read_bytes()
    numbers = random.Random(0)
    messages = []
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 3 == 0:
            del damaged[numbers.randrange(2, len(whole)) :]
        else:
            # The settings, which are text, are at the end.
            at = numbers.randrange(len(whole) - 2500 if trial % 3 == 1 else 2, len(whole))
            damaged[at : at + 4] = numbers.randbytes(4)
        (tmp_path / "damaged.d3").write_bytes(damaged)
        try:
            gradlab.load(tmp_path / "damaged.d3")
        except GradlabError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert not any("\n" in message for message in messages)


def test_settings_that_do_not_fit_are_refused(made, tmp_path):
    made("sac").save(tmp_path / "model.d3")
    content = pickle.loads((tmp_path / "model.d3").read_bytes())

    def message(change):
        config = json.loads(content["config"])
        change(config["config"]["params"])
        (tmp_path / "changed.d3").write_bytes(pickle.dumps(content | {"config": json.dumps(config)}))
        return refused(tmp_path / "changed.d3")

    assert "γ is a number from 0 to 1" in message(lambda params: params.update(gamma=2.0))
    assert "damaged" in message(lambda params: params.pop("actor_encoder_factory"))
    assert "damaged" in message(lambda params: params.update(gamma="a lot"))
    lower = np.array([9.0, 9.0]).tolist()
    assert "low must be below high" in message(lambda params: params["action_scaler"]["params"].update(minimum=lower))
