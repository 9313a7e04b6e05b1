"""PPO, A2C and TRPO as Agents without a Q critic: live, and out of a zip."""

import io
import json
import pickle
import subprocess
import sys
import zipfile

import gymnasium
import numpy as np
import pytest
import torch
from sb3_contrib import TRPO, MaskablePPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from gradlab import GradlabError
from gradlab.adapters import load, read_checkpoint, view
from gradlab.adapters.stable_baselines3 import rollout_observations, stored_observations
from gradlab.estimators.trajectory import GAE
from gradlab.policies import Gaussian, Softmax
from gradlab.trajectories import Trajectories

ALGORITHMS = [PPO, A2C, TRPO]
KINDS = ["box", "discrete"]
EVERY = pytest.mark.parametrize(("algorithm", "kind"), [(a, k) for a in ALGORITHMS for k in KINDS])


def some(agent, count=7):
    return torch.randn(count, agent.obs_size, generator=torch.Generator().manual_seed(0))


@EVERY
def test_what_it_says_about_the_model(algorithm, kind, on_policy):
    agent = view(on_policy[algorithm, kind])
    library = "sb3-contrib" if algorithm is TRPO else "stable-baselines3"
    assert (agent.algorithm, agent.library, agent.discount) == (algorithm.__name__, library, 0.96)
    assert agent.critics == agent.target_critics == ()
    assert agent.entropy == 0
    if kind == "box":
        assert isinstance(agent.policy, Gaussian)
        assert agent.action_low.tolist() == agent.env_low.tolist() == [-0.5, -2.0]
        assert agent.action_high.tolist() == agent.env_high.tolist() == [1.5, 0.25]
    else:
        assert isinstance(agent.policy, Softmax)
        assert (agent.action_low.tolist(), agent.action_high.tolist()) == ([0, 0], [1, 1])


@EVERY
def test_same_numbers_as_the_library(algorithm, kind, on_policy):
    model = on_policy[algorithm, kind]
    agent, double = view(model), view(model).snapshot(double=True)
    obs = some(agent)
    with torch.no_grad():
        distribution = model.policy.get_distribution(obs).distribution
        head = agent.head(obs)
        if kind == "box":
            assert torch.equal(head[:, :2], distribution.mean)
            torch.testing.assert_close(head[:, 2:].exp(), distribution.stddev)
            assert (model.policy.log_std != 0).all()
            act = torch.randn(7, 2, generator=torch.Generator().manual_seed(1))
            theirs = distribution.log_prob(act).sum(-1)
        else:
            torch.testing.assert_close(head.softmax(-1), distribution.probs)
            act = torch.eye(2)[[0, 1, 1, 0, 1, 0, 0]]
            theirs = distribution.log_prob(act.argmax(-1))
        torch.testing.assert_close(agent.policy.log_prob(head, act), theirs)
        assert torch.equal(agent.v(obs), model.policy.predict_values(obs)[:, 0])
        torch.testing.assert_close(double.v(obs.double()), agent.v(obs).double(), rtol=1e-5, atol=1e-5)
        assert double.v(obs.double()).dtype == torch.float64
        predicted, _ = model.predict(obs.numpy(), deterministic=True)
        if kind == "box":
            # The Gaussian knows no box; the library clips what the environment gets.
            clipped = agent.to_env(agent.action(obs)).clamp(agent.env_low, agent.env_high)
            np.testing.assert_allclose(clipped.numpy(), predicted, atol=1e-6)
        else:
            assert agent.action(obs).argmax(-1).tolist() == predicted.tolist()


@EVERY
def test_parameters_are_the_live_ones_by_the_librarys_names(algorithm, kind, on_policy):
    model = on_policy[algorithm, kind]
    named = view(model).named_parameters()
    theirs = {name: p for name, p in model.policy.named_parameters() if "value" not in name}
    assert list(named) == list(theirs)
    assert all(named[name] is theirs[name] for name in theirs)


@EVERY
def test_a_zip_is_the_live_agent(algorithm, kind, on_policy, tmp_path):
    model = on_policy[algorithm, kind]
    model.save(tmp_path / "model.zip")
    checkpoint, live = read_checkpoint(tmp_path / "model.zip"), view(model)
    assert_same(checkpoint.agent, live)
    assert (checkpoint.algorithm, checkpoint.step) == (algorithm.__name__, 96)


@pytest.mark.parametrize(
    "policy_kwargs",
    [
        {"activation_fn": torch.nn.SiLU, "share_features_extractor": False},
        {"net_arch": []},
        {"net_arch": {"pi": [], "vf": [8, 8]}, "log_std_init": -1.0},
    ],
    ids=["silu-separate", "linear", "linear-policy"],
)
def test_a_zip_of_other_networks(policy_kwargs, train_on_policy, drift, boxes, tmp_path):
    model = train_on_policy(A2C, drift(*boxes["narrow"]), rollouts=1, policy_kwargs=policy_kwargs)
    model.save(tmp_path / "model.zip")
    assert_same(load(tmp_path / "model.zip"), view(model))
    obs = some(view(model))
    assert torch.equal(view(model).v(obs), model.policy.predict_values(obs)[:, 0])


def assert_same(loaded, live):
    obs = some(live)
    assert torch.equal(loaded.head(obs), live.head(obs))
    assert torch.equal(loaded.v(obs), live.v(obs))
    assert list(loaded.named_parameters()) == list(live.named_parameters())
    assert loaded.objective == live.objective
    assert (loaded.algorithm, loaded.library, loaded.obs_size) == (live.algorithm, live.library, live.obs_size)
    assert type(loaded.policy) is type(live.policy)
    for corner in ("action_low", "action_high", "env_low", "env_high"):
        assert torch.equal(getattr(loaded, corner), getattr(live, corner))


@pytest.mark.parametrize(("algorithm", "kind"), [(TRPO, "box"), (PPO, "discrete")])
def test_the_library_is_not_needed_to_load(algorithm, kind, on_policy, tmp_path):
    on_policy[algorithm, kind].save(tmp_path / "model.zip")
    code = """if True:
        import sys
        for name in ("stable_baselines3", "sb3_contrib", "gymnasium", "cloudpickle"):
            sys.modules[name] = None
        import gradlab, torch
        agent = gradlab.load(sys.argv[1])
        assert agent.v(torch.zeros(4, agent.obs_size)).shape == (4,)
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.zip")], check=True)


def test_a_snapshot_is_its_own_and_pickles(train_on_policy, drift, boxes):
    model = train_on_policy(PPO, drift(*boxes["unit"]))
    agent = view(model)
    obs = some(agent)
    kept, before = agent.snapshot(), agent.v(obs)
    model.learn(32)
    assert torch.equal(kept.v(obs), before)
    assert not torch.equal(agent.v(obs), before)
    file = io.BytesIO(pickle.dumps(kept))
    assert torch.equal(pickle.load(file).v(obs), before)


def test_the_value_function_serves_advantages(on_policy):
    """GAE of two steps of one episode by hand, with V the library's own."""
    model = on_policy[PPO, "box"]
    agent = view(model)
    obs = some(agent, 3)
    reward, discount = torch.tensor([1.0, 2.0]), agent.discount
    runs = Trajectories(
        obs[:2], torch.zeros(2, 2), reward, obs[1:], torch.tensor([False, True]), torch.tensor([0, 0]), discount
    )
    with torch.no_grad():
        v = model.policy.predict_values(obs)[:, 0]
        head = agent.head(obs[:2])
    last = reward[1] - v[1]
    advantages = torch.stack([reward[0] + discount * v[1] - v[0] + discount * 0.9 * last, discount * last])
    std = head[:, 2:].exp()
    score = torch.cat([-head[:, :2] / std.square(), (head[:, :2] / std).square() - 1], 1)
    found = GAE(0.9, value=agent.v).cotangents(agent, runs)
    torch.testing.assert_close(found, advantages[:, None] * score)


# Observations out of the rollout buffer --------------------------------------------------------------------------


class Recorder(BaseCallback):
    """The observations that the policy got, and what is read of the buffer when a rollout has ended."""

    def __init__(self, count):
        super().__init__()
        self.count, self.seen, self.read, self.early = count, [], [], []

    def _on_rollout_start(self):
        self.seen.append([])

    def _on_step(self):
        self.seen[-1].append(self.locals["obs_tensor"].numpy().copy())
        self.early.append(stored_observations(self.model, 1, np.random.default_rng(0)))
        return True

    def _on_rollout_end(self):
        self.read.append(stored_observations(self.model, self.count, np.random.default_rng(0)))


def rows(array):
    return {row.tobytes() for row in np.ascontiguousarray(array)}


def test_a_rollouts_observations_as_the_policy_got_them(train_on_policy, drift, boxes):
    env = VecNormalize(DummyVecEnv([lambda: drift(*boxes["unit"])] * 2))
    model = train_on_policy(PPO, env, rollouts=1)
    recorder = Recorder(64)
    model.learn(2 * 64, callback=recorder)
    assert len(recorder.read) == 2
    for seen, read in zip(recorder.seen, recorder.read, strict=True):
        assert read.shape == (64, 3)
        assert rows(read) == rows(np.concatenate(seen).astype(read.dtype))
    # Nothing is offered of a rollout that has not ended.
    assert all(early is None for early in recorder.early)


def test_after_training_the_flattened_rollout_is_read(on_policy, random_states):
    model = on_policy[PPO, "box"]
    assert model.rollout_buffer.generator_ready
    before, data = random_states(), model.rollout_buffer.observations.copy()
    obs = rollout_observations(model, 20, np.random.default_rng(0))
    assert len(rows(obs)) == 20
    assert rows(obs) <= rows(data)
    assert rows(rollout_observations(model, 32, np.random.default_rng(0))) == rows(data)
    assert rollout_observations(model, 33, np.random.default_rng(0)) is None
    obs[:] = 0
    assert random_states() == before
    assert np.array_equal(model.rollout_buffer.observations, data)


# What it refuses ------------------------------------------------------------------------------------------------


class Spaces(gymnasium.Env):
    """An environment of any spaces, never stepped."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


FLAT = gymnasium.spaces.Box(-1, 1, (3,))


class Own(ActorCriticPolicy):
    pass


def made(algorithm=PPO, policy="MlpPolicy", observation_space=FLAT, action_space=FLAT, **options):
    return algorithm(policy, Spaces(observation_space, action_space), device="cpu", **options)


REFUSED = [
    ({"use_sde": True}, "gSDE", "gSDE"),
    ({"action_space": gymnasium.spaces.MultiDiscrete([2, 3])}, "MultiDiscrete", "MultiDiscrete"),
    ({"action_space": gymnasium.spaces.MultiBinary(3)}, "MultiBinary", "MultiBinary"),
    ({"observation_space": gymnasium.spaces.Discrete(4)}, "observation_space is Discrete(4)", "observation_space"),
    ({"policy": Own}, "Own; only ActorCriticPolicy is supported", "policy_class"),
    (
        {"policy": "MlpPolicy", "algorithm": MaskablePPO, "action_space": gymnasium.spaces.Discrete(2)},
        "MaskablePPO",
        "policy_class",
    ),
]


@pytest.mark.parametrize(
    ("options", "live", "saved"), REFUSED, ids=[saved + str(i) for i, (*_, saved) in enumerate(REFUSED)]
)
def test_what_it_refuses(options, live, saved, tmp_path):
    model = made(**options)
    with pytest.raises(GradlabError) as caught:
        view(model)
    assert live in str(caught.value)
    assert "gradlab.Agent(" in str(caught.value)
    model.save(tmp_path / "model.zip")
    with pytest.raises(GradlabError) as caught:
        load(tmp_path / "model.zip")
    assert saved in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_made_models():
    with pytest.raises(GradlabError, match="has no networks yet"):
        view(made(_init_setup_model=False))
    with pytest.raises(GradlabError, match="has no observation_space"):
        view(PPO("MlpPolicy", None, _init_setup_model=False))


def test_what_is_missing_in_a_zip_is_named(on_policy, tmp_path):
    def without(change, weights=lambda tensors: None):
        path, out = tmp_path / "model.zip", tmp_path / "changed.zip"
        on_policy[PPO, "box"].save(path)
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name == "data":
                    data = json.loads(content)
                    change(data)
                    content = json.dumps(data)
                elif name == "policy.pth":
                    tensors = torch.load(io.BytesIO(content), weights_only=True)
                    weights(tensors)
                    file = io.BytesIO()
                    torch.save(tensors, file)
                    content = file.getvalue()
                target.writestr(name, content)
        with pytest.raises(GradlabError) as caught:
            load(out)
        return str(caught.value)

    same = lambda data: None  # noqa: E731
    assert "gamma" in without(lambda data: data.pop("gamma"))
    assert "action_space" in without(lambda data: data.pop("action_space"))
    assert "has ['a'] actions" in without(
        lambda data: data.update(action_space={":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": ["a"]})
    )
    assert "has no log_std" in without(same, lambda tensors: tensors.pop("log_std"))
    assert "log_std has shape (3,)" in without(same, lambda tensors: tensors.update(log_std=torch.zeros(3)))
    assert "has no value_net.weight" in without(same, lambda tensors: tensors.pop("value_net.weight"))
    # Layers that old versions let policy and value share are not silently left out.
    shared = {"mlp_extractor.shared_net.0.weight": torch.zeros(3, 3)}
    assert "mlp_extractor.shared_net.0.weight" in without(same, lambda tensors: tensors.update(shared))
