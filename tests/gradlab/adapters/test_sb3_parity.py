"""Parity: the actor gradient computed from gradlab's Agent is the library's own, on the same minibatch."""

import numpy as np
import pytest
import torch
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from gradlab.adapters import view
from gradlab.estimators import Deterministic, Reparameterized
from gradlab.tangent import parameter_gradient

#: Of one parameter's gradient, whose terms may nearly cancel, and of the whole gradient: roundings of float32.
TOLERANCE, WHOLE_TOLERANCE = 1e-5, 5e-7
ALGORITHMS = [TD3, DDPG, SAC, TQC, CrossQ]
STOCHASTIC = (SAC, TQC, CrossQ)


class Recorder:
    """Compares the two gradients at every step of the actor's optimizer.

    Reads the library's minibatch, for stochastic actors α before its own update and the random state ε came from,
    and for CrossQ the running statistics from before the actor's pass in training mode. The library is patched here,
    in the test, and nowhere else.
    """

    def __init__(self, model, change=lambda agent: None):
        self.model = model
        self.change = change
        self.errors = []
        self.whole = []
        self.action_errors = []
        model.actor.optimizer.register_step_pre_hook(self.compare)
        sample = model.replay_buffer.sample
        model.replay_buffer.sample = lambda *args, **kwargs: self.keep("batch", sample(*args, **kwargs))
        if isinstance(model, STOCHASTIC):
            if model.ent_coef_optimizer is not None:
                model.ent_coef_optimizer.register_step_pre_hook(self.keep_alpha)
            inner = model.actor.action_log_prob

            def action_log_prob(obs):
                state = torch.get_rng_state()
                statistics = {name: buffer.clone() for name, buffer in model.actor.named_buffers()}
                result = inner(obs)
                if torch.is_grad_enabled():
                    self.random_state, self.library_action = state, result[0].detach()
                    self.statistics = statistics
                return result

            model.actor.action_log_prob = action_log_prob

    def keep(self, name, value):
        setattr(self, name, value)
        return value

    def keep_alpha(self, *_):
        self.alpha = view(self.model).entropy

    def compare(self, *_):
        agent = view(self.model).snapshot()
        if hasattr(self, "alpha"):
            agent.entropy = self.alpha
        if isinstance(self.model, CrossQ):
            agent.actor.train()
            for name, buffer in agent.actor.named_buffers():
                buffer.copy_(self.statistics[name])
        self.change(agent)
        obs = agent.observations(self.batch.observations)
        if isinstance(self.model, STOCHASTIC):
            noise = torch.normal(
                torch.zeros_like(self.library_action),
                torch.ones_like(self.library_action),
                generator=torch.Generator().set_state(self.random_state),
            )
            action = agent.policy.sample(agent.head(obs).detach(), noise)[0]
            self.action_errors.append(float((action - self.library_action).abs().max()))
            cotangent = Reparameterized().at_noise(agent, obs, noise[None])[0]
        else:
            cotangent = Deterministic().draw(agent, obs)[0]
        ours = parameter_gradient(agent, obs, cotangent)
        theirs = {name: parameter.grad for name, parameter in self.model.actor.named_parameters()}
        assert list(ours) == list(theirs)
        self.errors.append(max(relative_error(-ours[name], theirs[name]) for name in theirs))
        flat = [torch.cat([gradient[name].flatten() for name in theirs]) for gradient in (ours, theirs)]
        self.whole.append(relative_error(-flat[0], flat[1]))


def relative_error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def compared(model, change=lambda agent: None, steps=6):
    """A recorder after some real steps of training."""
    recorder = Recorder(model, change)
    model.train(gradient_steps=steps, batch_size=64)
    assert len(recorder.errors) == steps // getattr(model, "policy_delay", 1)
    assert max(recorder.action_errors, default=0.0) < 1e-6
    return recorder


def worst(model, change=lambda agent: None, steps=6):
    """Largest relative error over the parameters and over some real steps of training."""
    return max(compared(model, change, steps).errors)


@pytest.mark.parametrize("box", ["unit", "narrow", "asymmetric"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parity_in_every_action_box(algorithm, box, train, boxes, record_property):
    recorder = compared(train(algorithm, boxes[box]))
    record_property("relative_error", max(recorder.whole))
    assert max(recorder.whole) <= WHOLE_TOLERANCE
    assert max(recorder.errors) <= TOLERANCE


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "policy_kwargs",
    [
        {"activation_fn": torch.nn.Tanh, "net_arch": {"pi": [8], "qf": [24, 8]}},
        {"activation_fn": torch.nn.SiLU, "share_features_extractor": True},
        {"n_critics": 3},
    ],
    ids=["tanh", "silu-shared", "three-critics"],
)
def test_parity_of_other_networks(algorithm, policy_kwargs, train, boxes):
    assert worst(train(algorithm, boxes["asymmetric"], policy_kwargs=policy_kwargs)) <= TOLERANCE


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parity_with_normalised_observations(algorithm, train, drift, boxes):
    env = VecNormalize(DummyVecEnv([lambda: drift(*boxes["narrow"])]))
    assert worst(train(algorithm, env=env)) <= TOLERANCE


@pytest.mark.parametrize("algorithm", STOCHASTIC)
def test_parity_with_a_fixed_entropy_coefficient(algorithm, train, boxes):
    model = train(algorithm, boxes["narrow"], ent_coef=0.3)
    assert view(model).entropy == float(np.float32(0.3))
    assert worst(model) <= TOLERANCE


def test_parity_on_reacher():
    model = TD3("MlpPolicy", "Reacher-v5", policy_kwargs={"net_arch": [64, 64]}, seed=1, device="cpu").learn(300)
    assert worst(model) <= TOLERANCE


def test_parity_after_the_warm_up_of_batch_renormalisation(train, boxes):
    model = train(CrossQ, boxes["asymmetric"], policy_kwargs={"renorm_warmup_steps": 5})
    assert int(model.actor.latent_pi[0].steps) > 5
    assert worst(model) <= TOLERANCE


def test_parity_without_batch_renormalisation(train, boxes):
    assert worst(train(CrossQ, boxes["asymmetric"], policy_kwargs={"batch_norm": False})) <= TOLERANCE


# The same comparison must fail for an Agent that is wrong in one respect ----------------------------------------


def test_the_other_critic_is_noticed(train):
    assert worst(train(TD3), lambda agent: setattr(agent, "critics", agent.critics[::-1])) > 1e-2


def test_the_first_critic_instead_of_the_smallest_is_noticed(train):
    assert worst(train(SAC), lambda agent: setattr(agent, "reduction", "first")) > 1e-3


@pytest.mark.parametrize("reduction", ["first", "min"])
def test_one_critic_instead_of_the_mean_is_noticed(reduction, train):
    assert worst(train(TQC), lambda agent: setattr(agent, "reduction", reduction)) > 1e-3


def test_an_actor_in_evaluation_mode_is_noticed(train):
    model = train(CrossQ)
    recorder = Recorder(model, lambda agent: agent.actor.eval())
    model.train(gradient_steps=6, batch_size=64)
    assert min(recorder.errors) > 1e-2
    assert min(recorder.action_errors) > 1e-2


def test_critics_in_training_mode_are_noticed(train):
    assert worst(train(CrossQ), lambda agent: [critic.train() for critic in agent.critics]) > 1e-3


@pytest.mark.parametrize("algorithm", STOCHASTIC)
def test_alpha_after_its_update_is_noticed(algorithm, train):
    model = train(algorithm)
    present = lambda agent: setattr(agent, "entropy", float(model.log_ent_coef.detach().exp()))  # noqa: E731
    assert worst(model, present) > 10 * TOLERANCE


def test_critics_in_environment_units_are_noticed(train, boxes):
    def in_environment_units(agent):
        class Scaled(torch.nn.Module):
            def forward(self, obs, act, inner=agent.critics[0]):
                return inner(obs, agent.to_env(act))

        agent.critics = (Scaled(),)

    assert worst(train(DDPG, boxes["narrow"]), in_environment_units) > 1e-2
