"""Parity: the actor gradient computed from gradlab's Agent is Tianshou's own p.grad, on the same minibatch."""

import numpy as np
import pytest
import torch
from tianshou.utils.torch_utils import policy_within_training_step
from torch import nn

from gradlab.adapters import view
from gradlab.estimators import Deterministic, Reparameterized
from gradlab.tangent import parameter_gradient

#: Of one parameter's gradient, whose terms may nearly cancel, and of the whole gradient: roundings of float32.
TOLERANCE, WHOLE_TOLERANCE = 1e-5, 1e-6
ALGORITHMS = ["ddpg", "td3", "sac"]


class Recorder:
    """Compares the two gradients before every step of the policy's optimizer.

    Reads the library's minibatch, and for SAC the random state that ε comes from. The library is patched here, in the
    test, and nowhere else.
    """

    def __init__(self, algorithm, change=lambda agent: None):
        self.algorithm = algorithm
        self.change = change
        self.errors, self.whole, self.action_errors = [], [], []
        algorithm.policy_optim._optim.register_step_pre_hook(self.compare)
        inner = algorithm.policy.forward

        def forward(batch, *args, **options):
            state = torch.get_rng_state()
            result = inner(batch, *args, **options)
            # The targets' actions come of the same policy, and no gradient goes through them.
            if hasattr(batch, "act"):
                self.obs, self.state, self.act = batch.obs, state, result.act.detach()
            return result

        algorithm.policy.forward = forward

    def compare(self, *_):
        agent = view(self.algorithm).snapshot()
        self.change(agent)
        obs = agent.observations(self.obs)
        if agent.policy.stochastic:
            noise = torch.normal(
                torch.zeros_like(self.act),
                torch.ones_like(self.act),
                generator=torch.Generator().set_state(self.state),
            )
            act = agent.policy.sample(agent.head(obs).detach(), noise)[0]
            cotangent = Reparameterized().at_noise(agent, obs, noise[None])[0]
        else:
            act = agent.action(obs).detach()
            cotangent = Deterministic().draw(agent, obs)[0]
        self.action_errors.append(float((act - self.act).abs().max()))
        ours = parameter_gradient(agent, obs, cotangent)
        theirs = {name: parameter.grad for name, parameter in self.algorithm.policy.actor.named_parameters()}
        assert list(ours) == list(theirs)
        self.errors.append(max(relative_error(-ours[name], theirs[name]) for name in theirs))
        flat = [torch.cat([gradient[name].flatten() for name in theirs]) for gradient in (ours, theirs)]
        self.whole.append(relative_error(-flat[0], flat[1]))


def relative_error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def compared(algorithm, buffer, change=lambda agent: None, updates=6):
    """A recorder after some of the library's own updates."""
    recorder = Recorder(algorithm, change)
    with policy_within_training_step(algorithm.policy):
        for _ in range(updates):
            algorithm.update(buffer, sample_size=64)
    assert len(recorder.errors) == updates // getattr(algorithm, "update_actor_freq", 1)
    return recorder


def check(recorder, record_property):
    record_property("relative_error", max(recorder.whole))
    assert max(recorder.action_errors) < 1e-6 * max(1, getattr(recorder.algorithm.policy.actor, "max_action", 1))
    assert max(recorder.whole) <= WHOLE_TOLERANCE
    assert max(recorder.errors) <= TOLERANCE


@pytest.mark.parametrize("space", ["asymmetric", "unit", "one"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_parity_in_every_action_box(name, space, make, fill, spaces, record_property):
    algorithm = make(name, spaces[space])
    check(compared(algorithm, fill(algorithm)), record_property)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("options", [{"activation": nn.SiLU}, {"obs_only": True}], ids=["silu", "obs-only"])
def test_parity_of_other_networks(name, options, make, fill, record_property):
    algorithm = make(name, **options)
    check(compared(algorithm, fill(algorithm)), record_property)


@pytest.mark.parametrize("name", ["ddpg", "td3"])
@pytest.mark.parametrize("bound", [None, "clip"])
@pytest.mark.parametrize("max_action", [0.5, 2.0])
def test_parity_with_actions_in_environment_units(name, max_action, bound, make, fill, spaces, record_property):
    policy = {"action_scaling": False, "action_bound_method": bound}
    algorithm = make(name, spaces["one"], actor={"max_action": max_action}, policy=policy)
    check(compared(algorithm, fill(algorithm)), record_property)


@pytest.mark.parametrize(
    "actor",
    [{"unbounded": False}, {"unbounded": False, "max_action": 3.0}, {"conditioned_sigma": False}],
    ids=["bounded", "bounded-3", "sigma-parameter"],
)
def test_parity_of_other_gaussians(actor, make, fill, record_property):
    algorithm = make("sac", actor=actor)
    check(compared(algorithm, fill(algorithm)), record_property)


def test_parity_while_alpha_is_learned(make, fill, record_property):
    algorithm = make("sac", alpha="auto")
    before = view(algorithm).entropy
    check(compared(algorithm, fill(algorithm)), record_property)
    assert view(algorithm).entropy != before


def test_parity_on_a_vector_buffer_with_returns_of_three_steps(make, fill, record_property):
    algorithm = make("td3", n_step_return_horizon=3)
    check(compared(algorithm, fill(algorithm, parts=4)), record_property)


# The same comparison must fail for an Agent that is wrong in one respect ----------------------------------------


def worst(make, fill, name, change, **options):
    algorithm = make(name, **options)
    return min(compared(algorithm, fill(algorithm), change).whole)


def test_the_other_critic_is_noticed(make, fill):
    assert worst(make, fill, "td3", lambda agent: setattr(agent, "critics", agent.critics[::-1])) > 1e-2


@pytest.mark.parametrize("reduction", ["first", "mean"])
def test_another_value_than_the_smaller_is_noticed(reduction, make, fill):
    assert worst(make, fill, "sac", lambda agent: setattr(agent, "reduction", reduction)) > 1e-3


def test_the_target_critics_are_noticed(make, fill):
    assert worst(make, fill, "ddpg", lambda agent: setattr(agent, "critics", agent.target_critics)) > 1e-3


def test_another_alpha_is_noticed(make, fill):
    assert worst(make, fill, "sac", lambda agent: setattr(agent, "entropy", 1.01 * agent.entropy)) > 1e-4


def test_alpha_after_its_update_is_noticed(make, fill):
    """α is read before it is updated: that of the next update gives another gradient."""
    step = np.exp(1e-2)
    change = lambda agent: setattr(agent, "entropy", agent.entropy * step)  # noqa: E731
    assert worst(make, fill, "sac", change, alpha="auto") > 1e-4


def test_a_missing_max_action_is_noticed(make, fill):
    change = lambda agent: setattr(agent.actor, "max_action", 1.0)  # noqa: E731
    policy = {"action_scaling": False, "action_bound_method": None}
    assert worst(make, fill, "td3", change, actor={"max_action": 2.0}, policy=policy) > 1e-2


def test_critics_in_environment_units_are_noticed(make, fill):
    def in_environment_units(agent):
        class Scaled(nn.Module):
            def forward(self, obs, act, inner=agent.critics[0]):
                return inner(obs, agent.to_env(act))

        agent.critics = (Scaled(),)

    assert worst(make, fill, "ddpg", in_environment_units) > 1e-2
