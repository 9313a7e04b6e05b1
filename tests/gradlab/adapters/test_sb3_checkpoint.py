"""Stable-Baselines3 zips, read without running code from them."""

import base64
import functools
import json
import os
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import DDPG, DQN, SAC, TD3
from stable_baselines3.td3.policies import TD3Policy

import gradlab
from gradlab import GradlabError
from gradlab.adapters import load, read_checkpoint, view
from gradlab.adapters.batch_renorm import BatchRenorm
from gradlab.adapters.stable_baselines3_box import corners

ALGORITHMS = [TD3, DDPG, SAC, TQC, CrossQ]
SAVED = Path(gradlab.__file__).parents[1] / "tests" / "checkpoints"
LEAKY = functools.partial(torch.nn.LeakyReLU, 0.3)


@pytest.fixture
def save(tmp_path):
    def to_zip(model, name="model"):
        model.save(tmp_path / name)
        return tmp_path / f"{name}.zip"

    return to_zip


def rewrite(path, **members):
    """A copy of a zip with other contents of some members (None: without it), named by their stems."""
    out = path.with_name("rewritten.zip")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = members.get(name.partition(".")[0], source.read(name))
            if content is not None:
                target.writestr(name, content)
    return out


def edit(path, change):
    """A copy of a zip with its data changed."""
    with zipfile.ZipFile(path) as archive:
        data = json.loads(archive.read("data"))
    change(data)
    return rewrite(path, data=json.dumps(data))


def refusal(path, **options):
    with pytest.raises(GradlabError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"checkpoint {path}: ")
    return message


def assert_same(loaded, live):
    obs = torch.randn(9, live.obs_size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.head(obs), live.head(obs))
    act = live.action(obs)
    assert len(loaded.target_critics) == len(live.target_critics)
    for target in (False, True) if live.target_critics else (False,):
        assert torch.equal(loaded.q_all(obs, act, target=target), live.q_all(obs, act, target=target))
    assert torch.equal(loaded.q(obs, act), live.q(obs, act))
    assert torch.equal(loaded.action_gradient(obs, act), live.action_gradient(obs, act))
    assert list(loaded.named_parameters()) == list(live.named_parameters())
    assert loaded.objective == live.objective
    assert (loaded.algorithm, loaded.library, loaded.obs_size) == (live.algorithm, live.library, live.obs_size)
    assert type(loaded.policy) is type(live.policy)
    kinds = [(agent.reduction, agent.quantiles, agent.drop_quantiles) for agent in (loaded, live)]
    assert kinds[0] == kinds[1]
    for corner in ("action_low", "action_high", "env_low", "env_high"):
        assert torch.equal(getattr(loaded, corner), getattr(live, corner))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("box", "policy_kwargs"),
    [
        ("unit", {}),
        ("narrow", {"activation_fn": torch.nn.Tanh, "net_arch": {"pi": [8], "qf": [24, 8, 4]}}),
        ("asymmetric", {"activation_fn": torch.nn.SiLU, "n_critics": 3, "share_features_extractor": True}),
        ("unit", {"net_arch": []}),
    ],
    ids=["relu", "tanh", "silu", "linear"],
)
def test_a_zip_is_the_live_agent(algorithm, box, policy_kwargs, train, boxes, save):
    model = train(algorithm, boxes[box], policy_kwargs=policy_kwargs, gamma=0.96)
    checkpoint = read_checkpoint(save(model))
    assert_same(checkpoint.agent, view(model))
    assert (checkpoint.algorithm, checkpoint.step) == (algorithm.__name__, 80)


def test_a_fixed_entropy_coefficient(train, save):
    model = train(SAC, ent_coef=0.3)
    assert_same(load(save(model)), view(model))


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        (TQC, {"top_quantiles_to_drop_per_net": 0, "policy_kwargs": {"n_quantiles": 1}}),
        (TQC, {"top_quantiles_to_drop_per_net": 3, "policy_kwargs": {"n_quantiles": 7, "n_critics": 5}}),
        (CrossQ, {"policy_kwargs": {"batch_norm_eps": 0.5, "renorm_warmup_steps": 7}}),
        (CrossQ, {"policy_kwargs": {"batch_norm": False}}),
    ],
)
def test_what_is_particular_to_an_algorithm(algorithm, options, train, save):
    model = train(algorithm, **options)
    loaded = load(save(model))
    assert_same(loaded, view(model))
    act = loaded.action(torch.zeros(4, 3)).detach()
    with torch.no_grad():
        theirs = model.critic(torch.zeros(4, 3), act)
    theirs = theirs.mean((1, 2)) if algorithm is TQC else torch.cat(theirs, 1).min(1).values
    torch.testing.assert_close(loaded.q(torch.zeros(4, 3), act), theirs)
    for layers in (loaded.actor.latent_pi, view(model).actor.latent_pi):
        renorm = [(layer.eps, layer.warmup_steps) for layer in layers if isinstance(layer, BatchRenorm)]
        assert renorm == ([(0.5, 7)] * 3 if "batch_norm_eps" in options["policy_kwargs"] else [])


@pytest.mark.parametrize(
    ("name", "algorithm", "step"),
    [("td3", "TD3", step) for step in (1000, 3000, 6000)] + [("ddpg", "DDPG", 3000), ("sac", "SAC", 3000)],
)
def test_the_real_runs_kept_here(name, algorithm, step):
    path = SAVED / f"{name}_reacher_{step}.zip"
    assert path.stat().st_size < 2_000_000
    checkpoint = read_checkpoint(path)
    assert (checkpoint.algorithm, checkpoint.step, checkpoint.path) == (algorithm, step, path)
    assert_same(checkpoint.agent, view({"TD3": TD3, "DDPG": DDPG, "SAC": SAC}[algorithm].load(path, device="cpu")))


def test_random_states_are_left_alone(random_states):
    before = random_states()
    load(SAVED / "sac_reacher_3000.zip")
    load(str(SAVED / "td3_reacher_1000.zip"), trust=True)
    assert random_states() == before


def test_neither_the_library_nor_the_environment_is_needed():
    code = """if True:
        import sys
        for name in ("stable_baselines3", "gymnasium", "mujoco", "cloudpickle"):
            sys.modules[name] = None
        import gradlab, torch
        for path in sys.argv[1:]:
            agent = gradlab.load(path)
            obs = torch.zeros(4, agent.obs_size)
            assert agent.q(obs, agent.action(obs)).shape == (4,)
    """
    subprocess.run([sys.executable, "-c", code, *map(str, sorted(SAVED.glob("*.zip")))], check=True)


# Corners of the action box ---------------------------------------------------------------------------------------


def test_corners_are_exact_however_numpy_printed_them(train, save):
    low, high = np.float32([-1 / 3, -1e-7]), np.float32([np.pi * 1e-3, 12345.678])
    model = train(TD3, (low, high), steps=0)
    with np.printoptions(precision=2):
        path = save(model)
    agent = load(path)
    assert np.array_equal(agent.env_low, low)
    assert np.array_equal(agent.env_high, high)


def test_corners_from_the_text_alone(train, boxes, save):
    path = save(train(TD3, boxes["asymmetric"], steps=0))
    agent = load(edit(path, lambda data: data["action_space"].pop(":serialized:")))
    assert agent.env_low.tolist() == [-0.5, -2.0]
    assert agent.env_high.tolist() == [1.5, 0.25]


@pytest.mark.parametrize("text", ["[-0.33333334 -1.]", "[-0.5 ... -2.]", "[-0.5]", "low", None])
def test_a_text_that_may_be_cut_is_named(text, train, boxes, save):
    def change(data):
        del data["action_space"][":serialized:"]
        data["action_space"]["low"] = text

    message = refusal(edit(save(train(TD3, boxes["asymmetric"], steps=0)), change))
    assert "action_space.low cannot be read exactly" in message


def test_bytes_that_contradict_the_text_are_not_believed(train, boxes, save):
    path = save(train(TD3, boxes["asymmetric"], steps=0))
    message = refusal(edit(path, lambda data: data["action_space"].update(high="[7. 7.]")))
    assert "action_space.high cannot be read exactly" in message


@pytest.mark.parametrize("protocol", range(6))
def test_corners_of_every_pickle_protocol(protocol):
    low, high = np.float32([-0.1, -3]), np.float32([0.7, 1e-9])
    serialized = base64.b64encode(pickle.dumps({"low": low, "high": high}, protocol)).decode()
    space = {":type:": "<class 'gym.spaces.box.Box'>", "_shape": [2], "dtype": "float32", ":serialized:": serialized}
    if protocol < 3:
        # Bytes are spelled as text there; nothing is guessed.
        with pytest.raises(GradlabError, match="cannot be read exactly"):
            corners(space, "action_space")
    else:
        assert [corner.tolist() for corner in corners(space, "action_space")] == [low.tolist(), high.tolist()]


# Code in the file ------------------------------------------------------------------------------------------------


class Bomb:
    """Pickled code that leaves a mark when it runs."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_code_in_the_data_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    bomb = base64.b64encode(pickle.dumps(Bomb(mark))).decode()
    names = []

    def change(data):
        for name, entry in data.items():
            if isinstance(entry, dict) and ":serialized:" in entry:
                entry[":serialized:"] = bomb
                names.append(name)

    path = tmp_path / "td3.zip"
    path.write_bytes((SAVED / "td3_reacher_1000.zip").read_bytes())
    agent = load(edit(path, change))
    assert {"policy_class", "action_space", "observation_space"} <= set(names)
    assert agent.action_size == 2
    assert not mark.exists()
    pickle.loads(base64.b64decode(bomb))
    assert mark.exists()


def test_code_among_the_weights_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    path = tmp_path / "td3.zip"
    path.write_bytes((SAVED / "td3_reacher_1000.zip").read_bytes())
    torch.save({"actor.mu.0.weight": Bomb(mark)}, tmp_path / "bomb.pth")
    message = refusal(rewrite(path, policy=(tmp_path / "bomb.pth").read_bytes()))
    assert "'policy.pth'" in message
    assert not mark.exists()


@pytest.mark.parametrize("algorithm", [TD3, TQC])
def test_what_only_code_can_tell_needs_trust(algorithm, train, save, random_states):
    model = train(algorithm, policy_kwargs={"activation_fn": LEAKY})
    path = save(model)
    message = refusal(path)
    assert "activation_fn" in message
    assert "trust=True" in message
    torch.manual_seed(77)
    before = random_states()
    checkpoint = read_checkpoint(path, trust=True)
    assert random_states() == before
    assert checkpoint.step == 80
    assert_same(checkpoint.agent, view(model))
    algorithm.load(path, device="cpu")
    assert random_states() != before


class OwnPolicy(TD3Policy):
    pass


def test_a_policy_of_ones_own_needs_trust(drift, boxes, save):
    path = save(TD3(OwnPolicy, drift(*boxes["unit"]), buffer_size=10, device="cpu"))
    message = refusal(path)
    assert "policy_class" in message
    assert OwnPolicy.__module__ in message


# Files that are none ---------------------------------------------------------------------------------------------


def test_no_such_file_a_directory_and_no_zip(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.zip")
    assert "is a directory" in refusal(tmp_path)
    (tmp_path / "text.zip").write_text("hello")
    assert "not a zip file" in refusal(tmp_path / "text.zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    assert "not a zip file" in refusal(tmp_path / "empty.zip")


def test_a_file_cut_short(tmp_path):
    whole = (SAVED / "td3_reacher_1000.zip").read_bytes()
    for length in range(0, len(whole), len(whole) // 20):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        assert "cut short" in refusal(tmp_path / "cut.zip")


def test_zips_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "has no member 'data'" in refusal(tmp_path / "other.zip")
    torch.save({"a": torch.zeros(1)}, tmp_path / "torch.pt")
    assert "a PyTorch file" in refusal(tmp_path / "torch.pt")
    for text, problem in (("{", "is not JSON"), ("[]", "is not a JSON object"), ("{}", "names no algorithm")):
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            archive.writestr("data", text)
        assert problem in refusal(tmp_path / "data.zip")


def test_algorithms_that_are_not_supported(save):
    path = save(DQN("MlpPolicy", "CartPole-v1", buffer_size=10, device="cpu"))
    assert "DQN is not supported; supported are TD3, DDPG, SAC, TQC, CrossQ, PPO, A2C, TRPO" in refusal(path)


def test_state_dependent_exploration(drift, boxes, save):
    model = SAC("MlpPolicy", drift(*boxes["unit"]), use_sde=True, buffer_size=10, device="cpu")
    assert "gSDE" in refusal(save(model))


def test_other_observations_and_features(train, save):
    path = save(train(TD3, steps=0))
    message = refusal(edit(path, lambda data: data["observation_space"].update(_shape=[3, 2])))
    assert "its observation_space" in message
    assert "only flat Box spaces are supported" in message
    features = {"features_extractor_class": "<class 'stable_baselines3.common.torch_layers.NatureCNN'>"}
    assert "NatureCNN" in refusal(edit(path, lambda data: data["policy_kwargs"].update(features)))


@pytest.mark.parametrize("member", ["data", "policy"])
def test_a_member_that_is_missing(member, train, save):
    assert f"has no member '{member}" in refusal(rewrite(save(train(TD3, steps=0)), **{member: None}))


def test_a_missing_entropy_coefficient_is_named(train, save):
    message = refusal(rewrite(save(train(SAC, steps=0)), pytorch_variables=None))
    assert "log_ent_coef" in message


@pytest.mark.parametrize("key", ["gamma", "num_timesteps", "action_space", "observation_space"])
def test_a_missing_entry_is_named(key, train, save):
    assert key in refusal(edit(save(train(TD3, steps=0)), lambda data: data.pop(key)))


def test_weights_that_do_not_fit(train, save, tmp_path):
    path = save(train(TD3, steps=0))
    with zipfile.ZipFile(path) as archive, archive.open("policy.pth") as file:
        weights = torch.load(file, weights_only=True)

    def with_weights(**changes):
        changed = {name: value for name, value in (weights | changes).items() if value is not None}
        torch.save(changed, tmp_path / "policy.pth")
        return refusal(rewrite(path, policy=(tmp_path / "policy.pth").read_bytes()))

    assert "(5, 5)" in with_weights(**{"actor.mu.2.weight": torch.zeros(5, 5)})
    assert "in actor.mu" in with_weights(**{"actor.mu.0.weight": None})
    assert "actor.mu" in with_weights(**{"actor.mu.1.weight": torch.zeros(16)})
    assert "extra.weight" in with_weights(**{"actor.extra.weight": torch.zeros(16)})
    assert "torch.int64" in with_weights(**{"critic.qf0.0.weight": torch.zeros(16, 5, dtype=torch.int64)})
    critics = {name: None for name in weights if name.startswith("critic.")}
    assert "has no critic" in with_weights(**critics)


def test_batch_renormalisation_that_does_not_fit(train, save, tmp_path):
    path = save(train(CrossQ, steps=0))
    with zipfile.ZipFile(path) as archive, archive.open("policy.pth") as file:
        weights = torch.load(file, weights_only=True)

    def with_weights(**changes):
        changed = {name: value for name, value in (weights | changes).items() if value is not None}
        torch.save(changed, tmp_path / "policy.pth")
        return refusal(rewrite(path, policy=(tmp_path / "policy.pth").read_bytes()))

    assert "has no actor.latent_pi.0.ra_var" in with_weights(**{"actor.latent_pi.0.ra_var": None})
    assert "critic.qf1.3.scale has shape (5,)" in with_weights(**{"critic.qf1.3.scale": torch.ones(5)})
    assert "steps has shape ()" in with_weights(**{"actor.latent_pi.0.steps": torch.tensor(0.5)})
    # Statistics whose layer is gone are not silently left out.
    assert "in actor.latent_pi" in with_weights(**{"actor.latent_pi.0.ra_mean": None})
    # Nor is the actor without the one after its last activation.
    trailing = {name: None for name in weights if name.startswith("actor.latent_pi.6.")}
    assert len(trailing) == 5
    assert "has no actor.latent_pi.6.scale" in with_weights(**trailing)


@pytest.mark.parametrize("member", ["policy", "data", "pytorch_variables"])
def test_damage_anywhere_is_one_line_or_harmless(member, tmp_path):
    """Bytes are changed inside members, with the zip's checksums made right again."""
    path = tmp_path / "sac.zip"
    path.write_bytes((SAVED / "sac_reacher_3000.zip").read_bytes())
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.partition(".")[0] == member)
        content = archive.read(name)
    generator = random.Random(0)
    messages = []
    for _ in range(60):
        damaged = bytearray(content)
        # The structure is at both ends, weights in between.
        for _ in range(3):
            where = generator.choice([generator.randrange(min(1500, len(content))), generator.randrange(len(content))])
            damaged[where] = generator.randrange(256)
        try:
            load(rewrite(path, **{member: bytes(damaged)}))
        except GradlabError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)
