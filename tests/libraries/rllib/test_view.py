"""The Agent that a live RLlib learner is seen as."""

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.connectors.module_to_env.normalize_and_clip_actions import NormalizeAndClipActions
from torch import nn

import gradlab
from gradlab.adapters import view
from gradlab.errors import GradlabError
from gradlab.tangent import tangent_kernel
from gradlab.testing.conformance import differences, digest

ID = "default_policy"


@pytest.mark.parametrize("twin", [True, False], ids=["two", "one"])
def test_sacs_values_actions_and_log_probabilities_are_the_librarys(twin, make):
    learner = make("sac", twin_q=twin, gamma=0.9, initial_alpha=0.3)
    module, agent = learner.module[ID], view(learner)
    obs, act = torch.randn(50, 3), torch.rand(50, 2) * 2 - 1
    inputs = module.forward_inference({"obs": obs})["action_dist_inputs"]
    dist = module.get_train_action_dist_cls().from_logits(inputs)
    state = torch.get_rng_state()
    noise = torch.normal(torch.zeros(50, 2), torch.ones(50, 2), generator=torch.Generator().set_state(state))
    ours, log_prob = agent.policy.sample(agent.head(obs), noise)
    theirs, theirs_log_prob = dist.rsample_and_logp()
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert torch.allclose(log_prob, theirs_log_prob, atol=1e-4)
    assert torch.equal(agent.q(obs, act), module.compute_q_values({"obs": obs, "actions": act}))
    assert torch.equal(agent.q(obs, act, target=True), module.forward_target({"obs": obs, "actions": act}))
    assert (len(agent.critics), agent.reduction) == (1 + twin, "min")
    assert (agent.discount, agent.obs_size, agent.action_size) == (0.9, 3, 2)
    assert agent.entropy == pytest.approx(0.3)
    assert (agent.library, agent.algorithm) == ("rllib", "SAC")


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "apart"])
@pytest.mark.parametrize("free", [True, False], ids=["parameter", "state-dependent"])
@pytest.mark.parametrize("space", ["asymmetric", "discrete"])
def test_ppos_log_probabilities_and_values_are_the_librarys(space, free, shared, make, spaces):
    model = {"vf_share_layers": shared, "free_log_std": free and space != "discrete"}
    learner = make("ppo", spaces[space], model=model, gamma=0.9)
    module, agent = learner.module[ID], view(learner)
    obs = torch.randn(20, 3)
    dist = module.get_train_action_dist_cls().from_logits(module.forward_train({"obs": obs})["action_dist_inputs"])
    act = dist.sample()
    ours = nn.functional.one_hot(act, 3).float() if space == "discrete" else act
    assert torch.allclose(agent.policy.log_prob(agent.head(obs), ours), dist.logp(act), atol=1e-5)
    assert torch.equal(agent.v(obs), module.compute_values({"obs": obs}))
    assert (agent.critics, agent.discount, agent.algorithm) == ((), 0.9, "PPO")


@pytest.mark.parametrize("normalise", [True, False], ids=["normalised", "as-it-is"])
@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_environment_units_are_the_connectors(name, normalise, make, spaces):
    agent = view(make(name, environment={"normalize_actions": normalise}))
    connector = NormalizeAndClipActions(None, spaces["asymmetric"], normalize_actions=normalise, clip_actions=False)
    # Within the box, where nothing is clipped.
    act = agent.action_low + torch.rand(9, 2) * (agent.action_high - agent.action_low)
    taken = {("id",): list(act.numpy())}
    # Without a column of its own, the environment gets the actions as they are.
    theirs = connector(rl_module=None, batch={"actions": taken}, episodes=[]).get("actions_for_env", taken)
    assert np.allclose(agent.to_env(act), theirs[("id",)], atol=1e-6)
    if normalise:
        assert agent.env_low.tolist() == spaces["asymmetric"].low.tolist()


@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_the_view_shares_the_learners_layers_and_leaves_it_alone(name, make, random_states):
    learner = make(name)
    module = learner.module[ID]
    before, states = digest(module=module, optimizers=dict(learner._named_optimizers)), random_states()
    agent = view(learner)
    obs = torch.linspace(-1, 1, 12).reshape(4, 3)
    copied = agent.snapshot(double=True)
    assert copied.head(obs.double()).dtype == torch.float64
    assert torch.allclose(copied.head(obs.double()).float(), agent.head(obs), atol=1e-6)
    tangent_kernel(copied, obs.double())
    after = digest(module=module, optimizers=dict(learner._named_optimizers))
    assert (differences(before, after), random_states()) == ([], states)
    named = dict(module.named_parameters())
    assert all(named[key] is parameter for key, parameter in agent.named_parameters().items())
    modules = [part for part in agent.snapshot().parts for part in part.modules()]
    assert not any(type(module).__module__.startswith("ray") for module in modules)
    head = agent.head(obs).detach()
    with torch.no_grad():
        module.pi.net.mlp[-1].bias.add_(0.1)
    assert not torch.equal(agent.head(obs), head)


def test_a_learners_own_class_is_seen_as_what_it_is_of(make, keeping):
    assert view(make("ppo", learner_class=keeping)).algorithm == "PPO"


@pytest.mark.slow
def test_an_algorithm_is_seen_by_its_learner(algorithms):
    algorithm = algorithms("sac")
    agent = view(algorithm)
    own = dict(algorithm.learner_group._learner.module[ID].named_parameters())
    assert all(own[name] is parameter for name, parameter in agent.named_parameters().items())
    assert (agent.env_low.tolist(), agent.env_high.tolist()) == ([-2], [2])
    algorithm.stop()


# What is refused, in one line each --------------------------------------------------------------------------------


def refused(model):
    with pytest.raises(GradlabError) as error:
        gradlab.view(model)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_module_alone_is_refused(make):
    assert "is an RLModule alone, which knows neither γ nor α" in refused(make("sac").module[ID])


def test_what_is_not_known_is_refused(make, spaces):
    learner = make("sac", spaces["discrete"])
    assert "action_space is Discrete(3); only flat Box spaces" in refused(learner)
    learner = make("sac")
    learner.module[ID].observation_space = gymnasium.spaces.Discrete(3)
    assert "observation_space is Discrete(3)" in refused(learner)

    class Mine(DefaultSACTorchRLModule):
        pass

    learner = make("sac")
    learner.module[ID].__class__ = Mine
    assert "RLModule is " in refused(learner)
    learner = make("sac")
    learner.module[ID].pi_encoder = nn.Linear(3, 12)
    assert "pi_encoder is torch.nn.modules.linear.Linear; only TorchMLPEncoder is supported" in refused(learner)


def test_another_algorithm_is_refused(make):
    learner = make("sac")
    learner.__class__ = type("CQLTorchLearner", (type(learner),), {"__module__": "ray.rllib.algorithms.cql"})
    assert "rllib CQL is not supported; supported are SAC, PPO" in refused(learner)


def test_learners_elsewhere_are_refused():
    from ray.rllib.algorithms.algorithm import Algorithm

    class Group:
        is_local = False

    algorithm = Algorithm.__new__(Algorithm)
    algorithm.learner_group = Group()
    assert "learners are in other processes; configure it with learners(num_learners=0)" in refused(algorithm)
    algorithm.learner_group = None
    assert "has no learner_group; only RLlib's new API stack" in refused(algorithm)
