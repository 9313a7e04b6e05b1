"""A live Stable-Baselines3 model as an Agent."""

import copy
import io
import multiprocessing.reduction
import pickle
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import stable_baselines3.sac.policies
import torch
from sb3_contrib import QRDQN, TQC, CrossQ, RecurrentPPO
from stable_baselines3 import DDPG, DQN, SAC, TD3
from stable_baselines3.td3.policies import Actor, TD3Policy

from gradlab import Agent, GradlabError
from gradlab.adapters import networks, view
from gradlab.policies import Deterministic, SquashedGaussian

ALGORITHMS = [TD3, DDPG, SAC, TQC, CrossQ]
STOCHASTIC = [SAC, TQC, CrossQ]


@pytest.fixture
def obs():
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_it_says_about_the_model(algorithm, train, boxes):
    model = train(algorithm, boxes["asymmetric"], gamma=0.97)
    agent = view(model)
    library = "sb3-contrib" if algorithm in (TQC, CrossQ) else "stable-baselines3"
    assert (agent.algorithm, agent.library) == (algorithm.__name__, library)
    assert agent.reduction == {SAC: "min", CrossQ: "min", TQC: "mean"}.get(algorithm, "first")
    assert isinstance(agent.policy, SquashedGaussian if algorithm in STOCHASTIC else Deterministic)
    assert len(agent.critics) == (1 if algorithm is DDPG else 2)
    assert len(agent.target_critics) == (0 if algorithm is CrossQ else len(agent.critics))
    assert (agent.quantiles, agent.drop_quantiles) == ((25, 2) if algorithm is TQC else (None, 0))
    assert agent.value is None
    assert (agent.obs_size, agent.action_size, agent.discount) == (3, 2, 0.97)
    assert agent.action_low.tolist() == [-1, -1]
    assert agent.action_high.tolist() == [1, 1]
    assert agent.env_low.tolist() == [-0.5, -2.0]
    assert agent.env_high.tolist() == [1.5, 0.25]
    if algorithm in STOCHASTIC:
        assert agent.entropy == float(model.log_ent_coef.detach().exp()) != 0.2
        assert agent.policy.epsilon == model.actor.action_dist.epsilon
    else:
        assert agent.entropy == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_same_numbers_as_the_library(algorithm, train, boxes, obs):
    model = train(algorithm, boxes["asymmetric"])
    agent = view(model)
    with torch.no_grad():
        act = agent.action(obs)
        assert torch.equal(act, model.actor(obs, True) if algorithm in STOCHASTIC else model.actor(obs))
        values = lambda of: (of(obs, act).mean(2) if algorithm is TQC else torch.cat(of(obs, act), 1)).T  # noqa: E731
        assert torch.equal(agent.q_all(obs, act), values(model.critic))
        if algorithm is not CrossQ:
            target = values(model.critic_target)
            assert torch.equal(agent.q_all(obs, act, target=True), target)
            assert not torch.equal(agent.q_all(obs, act), target)
    predicted, _ = model.predict(obs.numpy(), deterministic=True)
    assert np.allclose(agent.to_env(act).numpy(), predicted, atol=1e-6)
    if algorithm in STOCHASTIC:
        mean, log_std, _ = model.actor.get_action_dist_params(obs)
        assert torch.equal(agent.head(obs), torch.cat([mean, log_std], -1))


def test_log_std_is_clamped_where_the_library_clamps_it(train, obs):
    bounds = stable_baselines3.sac.policies.LOG_STD_MIN, stable_baselines3.sac.policies.LOG_STD_MAX
    assert bounds == (networks.LOG_STD_MIN, networks.LOG_STD_MAX)
    model = train(SAC)
    with torch.no_grad():
        model.actor.log_std.bias.copy_(torch.tensor([50.0, -50.0]))
    head = view(model).head(obs)
    assert head[:, 2].unique().tolist() == [2.0]
    assert head[:, 3].unique().tolist() == [-20.0]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parameters_are_the_live_ones_by_the_librarys_names(algorithm, train):
    model = train(algorithm)
    agent = view(model)
    theirs = dict(model.actor.named_parameters())
    assert list(agent.named_parameters()) == list(theirs)
    assert all(agent.named_parameters()[name] is theirs[name] for name in theirs)


def test_a_view_follows_training_and_a_snapshot_does_not(train, obs):
    model = train(TD3)
    agent = view(model)
    kept, before = agent.snapshot(), agent.head(obs)
    model.train(gradient_steps=4, batch_size=32)
    assert torch.equal(kept.head(obs), before)
    assert not torch.equal(agent.head(obs), before)
    assert torch.equal(agent.head(obs), model.actor(obs))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_snapshot_in_float64_stays_in_float64(algorithm, train, obs):
    agent = view(train(algorithm))
    double = agent.snapshot(double=True)
    head = double.head(obs.double())
    value = double.q(obs.double(), double.action(obs.double()))
    assert head.dtype == value.dtype == torch.float64
    assert torch.allclose(head, agent.head(obs).double(), atol=1e-5)
    assert not torch.equal(head, agent.head(obs).double())


@pytest.mark.parametrize("share", [False, True])
def test_the_critics_gradient_in_the_state_is_not_blocked(share, train, obs):
    agent = view(train(TD3, policy_kwargs={"share_features_extractor": share}))
    at = obs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(agent.q(at, torch.zeros(7, 2)).sum(), at)
    assert (gradient != 0).all(1).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_snapshot_can_be_pickled_for_another_process(algorithm, train, boxes, obs):
    agent = view(train(algorithm, boxes["asymmetric"])).snapshot()
    file = io.BytesIO()
    multiprocessing.reduction.ForkingPickler(file).dump(agent)
    for other in (pickle.loads(file.getvalue()), copy.deepcopy(agent)):
        assert torch.equal(other.head(obs), agent.head(obs))
        act = agent.action(obs)
        assert torch.equal(other.q_all(obs, act), agent.q_all(obs, act))
        assert torch.equal(other.env_low, agent.env_low)


def test_no_library_is_needed_to_unpickle_and_none_is_imported(train, obs, tmp_path):
    agent = view(train(SAC)).snapshot()
    (tmp_path / "agent").write_bytes(pickle.dumps((agent, obs, agent.head(obs).detach())))
    code = """if True:
        import pickle, sys, torch, gradlab
        try:
            gradlab.view(object())
        except gradlab.GradlabError:
            pass
        assert not any(name.startswith(("stable_baselines3", "gymnasium")) for name in sys.modules)
        sys.modules["stable_baselines3"] = sys.modules["gymnasium"] = None
        agent, obs, head = pickle.load(open(sys.argv[1], "rb"))
        assert torch.equal(agent.head(obs), head)
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "agent")], check=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_of_the_model_changes(algorithm, train, obs, random_states):
    model = train(algorithm)
    model.policy.set_training_mode(True)
    weights = {name: value.clone() for name, value in model.policy.state_dict().items()}
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.policy.named_parameters()}
    before = random_states()
    agent = view(model)
    agent.snapshot(double=True)
    agent.action_gradient(obs, agent.action(obs))
    assert random_states() == before
    assert all(torch.equal(value, weights[name]) for name, value in model.policy.state_dict().items())
    for name, parameter in model.policy.named_parameters():
        assert (parameter.grad is None) == (gradients[name] is None)
        assert parameter.grad is None or torch.equal(parameter.grad, gradients[name])
    assert model.actor.training
    assert model.critic.training
    assert algorithm is CrossQ or not model.critic_target.training


def test_compiled_networks_are_unwrapped(train, obs):
    model = train(TD3)
    head = model.actor(obs)
    model.actor, model.critic = (torch.compile(module, backend="eager") for module in (model.actor, model.critic))
    agent = view(model)
    assert torch.equal(agent.head(obs), head)
    assert "mu.0.weight" in agent.named_parameters()


def test_a_subclass_is_its_algorithm(train):
    class Mine(TD3):
        pass

    assert view(train(Mine)).algorithm == "TD3"


def test_an_agent_is_itself():
    agent = Agent(torch.nn.Linear(3, 2), [], [-1, -1], [1, 1])
    assert view(agent) is agent


# What it refuses ------------------------------------------------------------------------------------------------


def refusal(model):
    with pytest.raises(GradlabError) as caught:
        view(model)
    message = str(caught.value)
    assert "\n" not in message
    assert "gradlab.Agent(" in message
    return message


@pytest.mark.parametrize(("thing", "name"), [(None, "NoneType"), ("td3.zip", "str"), (torch.nn.ReLU(), "ReLU")])
def test_what_is_no_training_object(thing, name):
    message = refusal(thing)
    assert name in message
    assert "stable-baselines3 (TD3, DDPG, SAC, TQC, CrossQ, PPO, A2C, TRPO)" in message


def test_algorithms_that_are_not_supported(drift, boxes):
    message = refusal(RecurrentPPO("MlpLstmPolicy", drift(*boxes["unit"]), device="cpu"))
    assert "RecurrentPPO is not supported" in message
    assert "TD3, DDPG, SAC, TQC, CrossQ, PPO, A2C, TRPO" in message


@pytest.mark.parametrize("algorithm", [DQN, QRDQN])
def test_discrete_actions_are_named(algorithm):
    message = refusal(algorithm("MlpPolicy", "CartPole-v1", buffer_size=10))
    assert f"{algorithm.__name__} (discrete actions, Discrete(2))" in message


class Spaces(gymnasium.Env):
    """An environment of any spaces, never stepped."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


FLAT = gymnasium.spaces.Box(-1, 1, (3,))


@pytest.mark.parametrize(
    ("policy", "observation_space", "action_space", "name"),
    [
        ("MlpPolicy", gymnasium.spaces.Box(-1, 1, (3, 2)), FLAT, "observation_space"),
        ("MlpPolicy", gymnasium.spaces.Discrete(4), FLAT, "observation_space"),
        ("MultiInputPolicy", gymnasium.spaces.Dict({"a": FLAT}), FLAT, "observation_space"),
        ("MlpPolicy", FLAT, gymnasium.spaces.Box(-1, 1, (2, 2)), "action_space"),
    ],
)
def test_spaces_that_are_not_flat_boxes(policy, observation_space, action_space, name):
    model = TD3(policy, Spaces(observation_space, action_space), buffer_size=10, device="cpu")
    assert f"{name} is {getattr(model, name)}" in refusal(model)


def test_state_dependent_exploration(drift, boxes):
    model = SAC("MlpPolicy", drift(*boxes["unit"]), use_sde=True, buffer_size=10, device="cpu")
    assert "gSDE" in refusal(model)


class Halved(Actor):
    def forward(self, obs):
        return super().forward(obs) / 2


class HalvedPolicy(TD3Policy):
    def make_actor(self, features_extractor=None):
        return Halved(**self._update_features_extractor(self.actor_kwargs, features_extractor))


def test_an_actor_that_computes_something_else(drift, boxes):
    model = TD3(HalvedPolicy, drift(*boxes["unit"]), buffer_size=10, device="cpu")
    assert "Halved; only Actor is supported" in refusal(model)


def test_a_model_without_networks(drift, boxes):
    model = TD3("MlpPolicy", drift(*boxes["unit"]), buffer_size=10, _init_setup_model=False)
    with pytest.raises(GradlabError, match="has no networks yet"):
        view(model)


def test_a_model_without_environment():
    with pytest.raises(GradlabError, match="has no observation_space"):
        view(TD3("MlpPolicy", None, _init_setup_model=False))
