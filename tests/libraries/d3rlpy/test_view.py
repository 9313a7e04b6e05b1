"""The Agent that a live d3rlpy algorithm is seen as."""

import numpy as np
import pytest
import torch
from d3rlpy.algos import AWACConfig, DiscreteSACConfig
from d3rlpy.models.encoders import PixelEncoderFactory
from d3rlpy.models.q_functions import QRQFunctionFactory
from d3rlpy.preprocessing import PixelObservationScaler

import gradlab
from gradlab.adapters import view
from gradlab.errors import GradlabError
from gradlab.tangent import tangent_kernel
from gradlab.testing.conformance import differences, digest

ALGORITHMS = ["ddpg", "td3", "sac", "td3+bc", "cql", "iql"]
NAMES = {"td3+bc": "TD3PlusBC"}


@pytest.mark.parametrize("scaled", [None, "standard", "unit"], ids=["raw", "standard", "unit"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_values_and_actions_are_the_librarys(name, scaled, made):
    algorithm = made(name, scaled=scaled, gamma=0.9)
    agent = view(algorithm)
    obs = torch.randn(5, 3)
    act = torch.rand(5, 2) * 2 - 1
    env = agent.to_env(act)
    # The library takes observations and actions in the environment's units, and gives the latter in them.
    ours = agent.to_env(agent.action(obs)).detach().numpy()
    assert np.allclose(ours, algorithm.predict(obs.numpy()), atol=1e-6)
    mean = agent.q_all(obs, act).mean(0).detach().numpy()
    assert np.allclose(mean, algorithm.predict_value(obs.numpy(), env.numpy()), atol=1e-5)
    scaler = algorithm.observation_scaler
    fed = obs if scaler is None else scaler.transform(obs)
    targets = torch.stack([critic(fed, act).q_value[:, 0] for critic in algorithm.impl.modules.targ_q_funcs])
    assert torch.equal(agent.q_all(obs, act, target=True), targets)
    if name == "iql":
        assert torch.equal(agent.v(obs), algorithm.impl.modules.value_func(fed)[:, 0])
    assert (agent.discount, agent.obs_size, agent.action_size) == (0.9, 3, 2)
    assert (agent.library, agent.algorithm) == ("d3rlpy", NAMES.get(name, name.upper()))
    assert agent.reduction == ("min" if name in ("sac", "cql", "iql") else "first")


@pytest.mark.parametrize("name", ["sac", "iql"])
def test_draws_and_log_probabilities_are_the_librarys(name, made):
    algorithm = made(name, box=False)
    agent = view(algorithm)
    obs = torch.randn(50, 3)
    out = algorithm.impl.policy(obs)
    state = torch.get_rng_state()
    noise = torch.normal(torch.zeros(50, 2), torch.ones(50, 2), generator=torch.Generator().set_state(state))
    act, log_prob = agent.policy.sample(agent.head(obs), noise)
    from d3rlpy.models.torch import build_gaussian_distribution, build_squashed_gaussian_distribution

    dist = (build_squashed_gaussian_distribution if name == "sac" else build_gaussian_distribution)(out)
    theirs, theirs_log_prob = dist.sample_with_log_prob()
    assert torch.allclose(act, theirs, atol=1e-6)
    assert torch.allclose(log_prob, theirs_log_prob[:, 0], atol=1e-4)


def test_environment_units_are_the_action_scalers(made):
    agent = view(made("td3"))
    assert (agent.env_low.tolist(), agent.env_high.tolist()) == ([-0.5, -2.0], [1.5, 0.25])
    assert (agent.action_low.tolist(), agent.action_high.tolist()) == ([-1, -1], [1, 1])
    agent = view(made("td3", box=False))
    assert (agent.env_low.tolist(), agent.env_high.tolist()) == ([-1, -1], [1, 1])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_view_shares_the_algorithms_layers_and_leaves_it_alone(name, made, random_states):
    algorithm = made(name, scaled="standard")
    before, states = digest(algorithm=algorithm), random_states()
    agent = view(algorithm)
    obs = torch.linspace(-1, 1, 12).reshape(4, 3)
    copied = agent.snapshot(double=True)
    assert copied.head(obs.double()).dtype == torch.float64
    assert torch.allclose(copied.head(obs.double()).float(), agent.head(obs), atol=1e-6)
    tangent_kernel(copied, obs.double())
    assert (differences(before, digest(algorithm=algorithm)), random_states()) == ([], states)
    named = dict(algorithm.impl.policy.named_parameters())
    assert list(agent.named_parameters()) == list(named)
    assert all(agent.named_parameters()[key] is parameter for key, parameter in named.items())
    modules = [part for part in agent.snapshot().parts for part in part.modules()]
    assert not any(type(module).__module__.startswith("d3rlpy") for module in modules)


def test_log_std_that_is_a_parameter(made):
    from d3rlpy.models.torch.policies import NormalPolicy

    algorithm = made("sac", box=False)
    old = algorithm.impl.modules.policy
    policy = NormalPolicy(old._encoder, 12, 2, min_logstd=-4.0, max_logstd=1.0, use_std_parameter=True)
    object.__setattr__(algorithm.impl.modules, "policy", policy)
    obs = torch.randn(5, 3)
    found = policy(obs)
    head = view(algorithm).head(obs)
    assert torch.equal(head, torch.cat([found.mu, found.logstd.expand(5, 2)], -1))


# What is refused, in one line each --------------------------------------------------------------------------------


def refused(model):
    with pytest.raises(GradlabError) as error:
        gradlab.view(model)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_not_ready_is_refused(make, made):
    algorithm = make("sac", scaled="standard")
    assert "has no networks yet; call its build_with_dataset(dataset)" in refused(algorithm)
    algorithm.create_impl((3,), 2)
    assert "observation_scaler has not been fitted yet, which fit does first; call probes" in refused(algorithm)
    assert "is an impl alone; pass the algorithm" in refused(made("sac").impl)


def test_algorithms_that_are_not_known_are_refused():
    for config in (AWACConfig, DiscreteSACConfig):
        name = config.__name__.removesuffix("Config")
        assert f"d3rlpy {name} is not supported; supported are DDPG, TD3, TD3PlusBC" in refused(config().create())


def test_networks_that_are_not_known_are_refused(make, made):
    pixels = PixelEncoderFactory(filters=[[2, 2, 1]], feature_size=4)
    algorithm = make("ddpg", actor_encoder_factory=pixels, critic_encoder_factory=pixels)
    algorithm.create_impl((1, 8, 8), 2)
    assert "observations of shape (1, 8, 8); only flat ones" in refused(algorithm)
    algorithm = made("sac", q_func_factory=QRQFunctionFactory(8))
    assert "critic is d3rlpy.models.torch.q_functions.qr_q_function.ContinuousQRQFunction; only" in refused(algorithm)
    algorithm = make("sac", observation_scaler=PixelObservationScaler(), box=False)
    algorithm.create_impl((3,), 2)
    assert "PixelObservationScaler; only StandardObservationScaler and MinMaxObservationScaler" in refused(algorithm)
