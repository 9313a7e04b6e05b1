"""The Agent that a live Tianshou algorithm is seen as."""

import copy

import gymnasium
import pytest
import torch
from tianshou.algorithm import DiscreteSAC, ICMOnPolicyWrapper
from tianshou.algorithm.modelfree.sac import FixedAlpha
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch
from tianshou.utils.net.common import Net, Recurrent
from tianshou.utils.net.continuous import ContinuousActorDeterministic
from tianshou.utils.net.discrete import IntrinsicCuriosityModule
from torch import nn
from torch.distributions import Normal

import gradlab
from gradlab.adapters import view
from gradlab.errors import GradlabError
from gradlab.tangent import tangent_kernel
from gradlab.testing.conformance import differences, digest

OFF_POLICY = ["ddpg", "td3", "sac"]
ON_POLICY = ["ppo", "a2c", "npg", "trpo"]


@pytest.mark.parametrize("name", OFF_POLICY)
def test_values_and_actions_are_the_librarys(name, make):
    algorithm = make(name, gamma=0.9)
    agent = view(algorithm)
    obs, act = torch.randn(5, 3), torch.randn(5, 2)
    # Outside of a training step a stochastic policy acts without noise.
    assert torch.equal(agent.action(obs), algorithm.policy(Batch(obs=obs, info={})).act)
    critics = [algorithm.critic, *([algorithm.critic2] if name != "ddpg" else [])]
    targets = [algorithm.critic_old, *([algorithm.critic2_old] if name != "ddpg" else [])]
    assert torch.equal(agent.q_all(obs, act), torch.stack([critic(obs, act)[:, 0] for critic in critics]))
    assert torch.equal(agent.q_all(obs, act, target=True), torch.stack([critic(obs, act)[:, 0] for critic in targets]))
    assert (agent.discount, agent.obs_size, agent.action_size) == (0.9, 3, 2)
    assert (agent.library, agent.algorithm) == ("tianshou", name.upper())
    assert agent.reduction == ("min" if name == "sac" else "first")


@pytest.mark.parametrize("space", ["asymmetric", "discrete"])
@pytest.mark.parametrize("name", ON_POLICY)
def test_log_probabilities_and_values_on_policy_are_the_librarys(name, space, make, spaces):
    algorithm = make(name, spaces[space], gamma=0.9)
    agent = view(algorithm)
    obs = torch.randn(5, 3)
    dist = algorithm.policy(Batch(obs=obs, info={})).dist
    act = dist.sample()
    ours = nn.functional.one_hot(act, 3).float() if space == "discrete" else act
    assert torch.allclose(agent.policy.log_prob(agent.head(obs), ours), dist.log_prob(act), atol=1e-6)
    assert torch.equal(agent.v(obs), algorithm.critic(obs)[:, 0])
    assert (agent.critics, agent.discount, agent.algorithm) == ((), 0.9, name.upper())


def test_sacs_log_probability_is_the_librarys(make):
    algorithm = make("sac", alpha=0.3)
    agent = view(algorithm)
    obs = torch.randn(50, 3)
    algorithm.policy.is_within_training_step = True
    state = torch.get_rng_state()
    theirs = algorithm.policy(Batch(obs=obs, info={}))
    noise = torch.normal(torch.zeros(50, 2), torch.ones(50, 2), generator=torch.Generator().set_state(state))
    act, log_prob = agent.policy.sample(agent.head(obs), noise)
    assert torch.allclose(act, theirs.act, atol=1e-6)
    assert torch.allclose(log_prob, theirs.log_prob[:, 0], rtol=1e-5)
    assert agent.entropy == 0.3
    algorithm.alpha = FixedAlpha(0.5)
    assert view(algorithm).entropy == 0.5


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("td3", {}),
        ("td3", {"action_bound_method": None}),
        ("td3", {"action_scaling": False}),
        ("td3", {"action_scaling": False, "action_bound_method": None}),
        ("sac", {}),
        ("sac", {"action_scaling": False}),
        ("ppo", {}),
        ("ppo", {"action_scaling": False}),
    ],
    ids=["td3", "td3-unbounded", "td3-clipped", "td3-as-it-is", "sac", "sac-unscaled", "ppo", "ppo-clipped"],
)
def test_environment_units_are_the_policys(name, policy, make):
    algorithm = make(name, policy=policy)
    agent = view(algorithm)
    # Within the box, where nothing is clipped.
    act = agent.action_low + torch.rand(9, 2) * (agent.action_high - agent.action_low)
    assert torch.allclose(agent.to_env(act), torch.as_tensor(algorithm.policy.map_action(act.numpy())), atol=1e-6)
    if policy.get("action_scaling", True) or not policy.get("action_bound_method", "clip"):
        assert agent.env_low.tolist() == algorithm.policy.action_space.low.tolist()


@pytest.mark.parametrize("name", [*OFF_POLICY, *ON_POLICY])
def test_the_view_shares_the_algorithms_layers_and_leaves_it_alone(name, make, random_states):
    algorithm = make(name)
    before, states = digest(algorithm=algorithm), random_states()
    agent = view(algorithm)
    obs = torch.linspace(-1, 1, 12).reshape(4, 3)
    copied = agent.snapshot(double=True)
    assert copied.head(obs.double()).dtype == torch.float64
    assert torch.allclose(copied.head(obs.double()).float(), agent.head(obs), atol=1e-6)
    tangent_kernel(copied, obs.double())
    assert (differences(before, digest(algorithm=algorithm)), random_states()) == ([], states)
    named = dict(algorithm.policy.actor.named_parameters())
    assert list(agent.named_parameters()) == list(named)
    assert all(agent.named_parameters()[key] is parameter for key, parameter in named.items())
    head = agent.head(obs).detach()
    with torch.no_grad():
        next(algorithm.policy.actor.preprocess.parameters()).add_(0.1)
    assert not torch.equal(agent.head(obs), head)


def test_a_snapshot_needs_nothing_of_the_library(make):
    modules = [part for part in view(make("sac")).snapshot().parts for part in part.modules()]
    assert not any(type(module).__module__.startswith("tianshou") for module in modules)


def test_subclasses_are_seen_as_what_they_are_of(make):
    algorithm = make("td3")
    algorithm.__class__ = type("Mine", (type(algorithm),), {"__module__": "mine"})
    assert view(algorithm).algorithm == "TD3"


# What is refused, in one line each --------------------------------------------------------------------------------


def refused(model):
    with pytest.raises(GradlabError) as error:
        gradlab.view(model)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_policy_alone_is_refused(make):
    assert "is a policy alone; pass the algorithm" in refused(make("td3").policy)


def test_an_algorithm_that_is_not_known_is_refused(make, spaces):
    model = copy.copy(make("sac"))
    model.__class__ = DiscreteSAC
    assert "tianshou DiscreteSAC is not supported; supported are DDPG, TD3, SAC, PPO" in refused(model)


def test_a_wrapper_is_refused_for_what_it_wraps(make):
    model = ICMOnPolicyWrapper(
        wrapped_algorithm=make("ppo"),
        model=IntrinsicCuriosityModule(feature_net=nn.Linear(3, 4), feature_dim=4, action_dim=2),
        optim=AdamOptimizerFactory(),
        lr_scale=1.0,
        reward_scale=1.0,
        forward_loss_weight=0.2,
    )
    assert refused(model) == "view: tianshou ICMOnPolicyWrapper is not supported; pass its wrapped_algorithm"
    assert view(model.wrapped_algorithm).algorithm == "PPO"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ppo", {"policy": {"action_bound_method": "tanh"}}, "action_bound_method='tanh'"),
        ("ppo", {"policy": {"dist_fn": lambda pair: Normal(*pair)}}, "dist_fn gives Normal, not Independent"),
        ("ppo", {"policy": {"dist_fn": lambda pair: Normal(pair[0], 2 * pair[1])}}, "dist_fn gives Normal"),
        ("td3", {"policy": {"observation_space": gymnasium.spaces.Box(0, 1, (3, 1))}}, "only flat Box spaces"),
        ("td3", {"policy": {"observation_space": gymnasium.spaces.Discrete(3)}}, "observation_space is Discrete(3)"),
    ],
    ids=["tanh", "no-independent", "other-sigma", "images", "discrete-observations"],
)
def test_settings_that_are_not_supported_are_refused(name, options, message, make):
    assert message in refused(make(name, **options))


def test_probabilities_of_another_kind_are_refused(make, spaces, categorical):
    policy = {"dist_fn": lambda x: torch.distributions.Categorical(logits=2 * x)}
    assert "not a Categorical of the actor's" in refused(make("ppo", spaces["discrete"], policy=policy))
    # What the layers give is taken for probabilities, and may be negative.
    model = make("ppo", spaces["discrete"], policy={"dist_fn": categorical}, actor={"softmax_output": False})
    assert "not a Categorical of the actor's" in refused(model)


def test_networks_that_are_not_known_are_refused(make):
    class Mine(ContinuousActorDeterministic):
        pass

    model = make("td3")
    model.policy.actor.preprocess = Recurrent(layer_num=1, state_shape=3, action_shape=16)
    assert "preprocess_net is tianshou.utils.net.common.Recurrent; only Tianshou's Net and MLP" in refused(model)
    model.policy.actor = Mine(preprocess_net=Net(state_shape=3, hidden_sizes=[8]), action_shape=2)
    assert "actor is" in refused(model)
    model = make("td3")
    model.critic.preprocess.softmax = True
    assert "dueling_param, softmax or num_atoms" in refused(model)
