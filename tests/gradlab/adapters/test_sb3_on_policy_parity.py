"""Parity on policy: the score-function gradient with the rollout's advantages is the library's own p.grad.

The library's loss is the policy's, minus ``ent_coef`` times the mean entropy, plus ``vf_coef`` times the loss of V; the
three are compared apart.
"""

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from gradlab.adapters import view
from gradlab.estimators import ScoreFunction
from gradlab.tangent import parameter_gradient

#: Of one parameter's gradient, whose terms may nearly cancel, and of the whole gradient: roundings of float32.
TOLERANCE, WHOLE_TOLERANCE = 1e-5, 1e-6


class Given(nn.Module):
    """A critic that says of the actions taken what the rollout says of them."""

    def __init__(self, advantages):
        super().__init__()
        self.advantages = advantages

    def forward(self, obs, act):
        return self.advantages


class Recorder:
    """Compares the gradients at an optimizer step, or TRPO's own gradient, with those of the Agent.

    Of PPO, the first minibatch of every rollout: there the ratio of new to old probability is one, and no clip acts.
    """

    def __init__(self, model, normalise=None):
        self.model = model
        self.normalise = model.normalize_advantage if normalise is None else normalise
        self.errors, self.whole, self.value_errors, self.entropy_errors = [], [], [], []
        inner = model.rollout_buffer.get

        def get(batch_size=None):
            for batch in inner(batch_size):
                self.batch = batch
                yield batch

        model.rollout_buffer.get = get
        if isinstance(model, TRPO):
            gradient = model._compute_actor_grad

            def compute(kl_div, objective):
                found = gradient(kl_div, objective)
                # An ascent direction, where a loss has a descent direction.
                self.compare([-part for part in found[1].split([p.numel() for p in found[0]])])
                return found

            model._compute_actor_grad = compute
        else:
            model.policy.optimizer.register_step_pre_hook(self.before_step)

    def ratio_is_one(self):
        with torch.no_grad():
            actions = self.batch.actions
            actions = actions if self.box else actions.long().flatten()
            _, log_prob, _ = self.model.policy.evaluate_actions(self.batch.observations, actions)
        return torch.allclose(log_prob, self.batch.old_log_prob, atol=1e-5)

    @property
    def box(self):
        return hasattr(self.model.policy, "log_std")

    def before_step(self, *_):
        if self.ratio_is_one():
            actor = {name: p for name, p in self.model.policy.named_parameters() if "value" not in name}
            self.compare([p.grad.flatten() for p in actor.values()])

    def compare(self, theirs):
        agent = view(self.model).snapshot()
        obs = agent.observations(self.batch.observations)
        advantages = self.batch.advantages
        if self.normalise:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        agent.critics = (Given(advantages),)
        cotangent = ScoreFunction().at_noise(agent, obs, self.noise(agent, obs)[None])[0]
        ours = parameter_gradient(agent, obs, cotangent)
        named = dict(zip(ours, theirs, strict=True))
        if self.model.ent_coef:
            self.take_entropy_out(agent, obs, named)
        pairs = [(-ours[name].flatten(), named[name]) for name in ours]
        self.errors.append(max(relative_error(*pair) for pair in pairs))
        self.whole.append(relative_error(*(torch.cat(parts) for parts in zip(*pairs, strict=True))))
        if not isinstance(self.model, TRPO):
            self.compare_value(agent, obs)

    def noise(self, agent, obs):
        """The noise that makes the actions taken."""
        if not self.box:
            return 1e6 * nn.functional.one_hot(self.batch.actions.long().flatten(), agent.action_size).to(obs)
        mean, log_std = agent.head(obs).detach().chunk(2, -1)
        return (self.batch.actions - mean) / log_std.exp()

    def take_entropy_out(self, agent, obs, theirs):
        """From their gradient, that of −ent_coef times the entropy: 1 for every log σ, or by differentiation."""
        coefficient = self.model.ent_coef
        if self.box:
            theirs["log_std"] = theirs["log_std"] + coefficient
            return
        entropy = agent.policy.entropy(agent.head(obs)).mean()
        gradients = torch.autograd.grad(entropy, list(agent.named_parameters().values()))
        for name, gradient in zip(theirs, gradients, strict=True):
            theirs[name] = theirs[name] + coefficient * gradient.flatten()

    def compare_value(self, agent, obs):
        parameters = dict(agent.value.named_parameters())
        loss = self.model.vf_coef * (agent.v(obs) - self.batch.returns).square().mean()
        ours = torch.autograd.grad(loss, list(parameters.values()))
        theirs = [p.grad for name, p in self.model.policy.named_parameters() if "value" in name]
        self.value_errors.append(max(relative_error(*pair) for pair in zip(ours, theirs, strict=True)))


def relative_error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def recorded(train_on_policy, algorithm, env, normalise=None, **options):
    """A recorder after two more rollouts of a trained model; nothing scales the gradient before it is read."""
    model = train_on_policy(algorithm, env, **({} if algorithm is TRPO else {"max_grad_norm": np.inf}) | options)
    recorder = Recorder(model, normalise)
    model.learn(2 * model.n_steps * model.n_envs, reset_num_timesteps=False)
    assert len(recorder.errors) == 2
    return recorder


def check(recorder):
    assert max(recorder.errors) <= TOLERANCE
    assert max(recorder.whole) <= WHOLE_TOLERANCE
    assert max(recorder.value_errors, default=0.0) <= TOLERANCE
    assert len(recorder.value_errors) == (0 if isinstance(recorder.model, TRPO) else 2)


@pytest.mark.parametrize("kind", ["box", "discrete"])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO])
def test_parity(algorithm, normalise, kind, train_on_policy, drift, boxes, record_property):
    env = drift(*boxes["asymmetric"]) if kind == "box" else "CartPole-v1"
    recorder = recorded(train_on_policy, algorithm, env, normalize_advantage=normalise)
    record_property("relative_error", max(recorder.whole))
    check(recorder)


@pytest.mark.parametrize("kind", ["box", "discrete"])
@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_parity_beside_an_entropy_bonus(algorithm, kind, train_on_policy, drift, boxes):
    env = drift(*boxes["narrow"]) if kind == "box" else "CartPole-v1"
    recorder = recorded(train_on_policy, algorithm, env, ent_coef=0.3, normalize_advantage=True)
    check(recorder)
    assert view(recorder.model).entropy == 0


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO])
def test_parity_with_normalised_observations_and_several_environments(algorithm, share, train_on_policy, drift, boxes):
    env = VecNormalize(DummyVecEnv([lambda: drift(*boxes["unit"])] * 3))
    policy_kwargs = {"share_features_extractor": share, "activation_fn": nn.SiLU}
    check(recorded(train_on_policy, algorithm, env, n_steps=16, policy_kwargs=policy_kwargs))


# The same comparison must fail for advantages that are not those used ---------------------------------------------


@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO])
def test_the_other_normalisation_is_noticed(algorithm, train_on_policy, drift, boxes):
    recorder = recorded(
        train_on_policy,
        algorithm,
        drift(*boxes["unit"]),
        normalise=algorithm is A2C,
        normalize_advantage=algorithm is not A2C,
    )
    assert min(recorder.whole) > 1e-2


def test_an_entropy_bonus_taken_for_part_of_the_policys_loss_is_noticed(train_on_policy, drift, boxes, monkeypatch):
    monkeypatch.setattr(Recorder, "take_entropy_out", lambda *_: None)
    recorder = recorded(train_on_policy, A2C, drift(*boxes["unit"]), ent_coef=3.0, normalize_advantage=True)
    assert min(recorder.whole) > 1e-2
