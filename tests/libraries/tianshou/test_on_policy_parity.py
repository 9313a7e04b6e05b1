"""Parity on policy: the score-function gradient with the rollout read from the buffer is Tianshou's own p.grad.

The library's loss is the policy's, minus ``ent_coef`` times the mean entropy, plus ``vf_coef`` times the loss of V; the
three are compared apart. The whole rollout is one batch, so that its first step is taken by the policy that acted.
"""

import numpy as np
import pytest
import torch
from tianshou.utils.torch_utils import policy_within_training_step
from torch import nn

from gradlab.adapters import view
from gradlab.adapters.tianshou_buffer import stored_rollout
from gradlab.estimators import ScoreFunction
from gradlab.tangent import parameter_gradient

#: Of one parameter's gradient, whose terms may nearly cancel, and of the whole gradient: roundings of float32, in the
#: advantages too, which are worked out again.
TOLERANCE, WHOLE_TOLERANCE = 1e-5, 1e-6


class Given(nn.Module):
    """A critic that says of the actions taken what the rollout says of them."""

    def __init__(self, advantages):
        super().__init__()
        self.advantages = advantages

    def forward(self, obs, act):
        return self.advantages


class Recorder:
    """Compares the gradients at the first optimizer step of an update, or NPG's and TRPO's own gradient."""

    def __init__(self, algorithm, buffer, change=lambda rollout: None):
        self.algorithm, self.change = algorithm, change
        self.errors, self.whole, self.value_errors = [], [], []
        self.agent = view(algorithm).snapshot()
        self.rollout = stored_rollout(algorithm, view(algorithm), buffer)
        change(self.rollout)
        if hasattr(algorithm, "_get_flat_grad"):
            inner = algorithm._get_flat_grad

            def gradient(y, model, **options):
                found = inner(y, model, **options)
                # The first asked for is that of the policy's loss.
                if not self.errors:
                    sizes = [parameter.numel() for parameter in model.parameters()]
                    names = [name for name, _ in model.named_parameters()]
                    self.compare(dict(zip(names, found.split(sizes), strict=True)))
                return found

            algorithm._get_flat_grad = gradient
        else:
            algorithm.optim._optim.register_step_pre_hook(self.before_step)

    def before_step(self, *_):
        if not self.errors:
            actor = self.algorithm.policy.actor.named_parameters()
            theirs = {name: parameter.grad.flatten().clone() for name, parameter in actor}
            self.take_entropy_out(theirs)
            self.compare(theirs)
            self.compare_value()

    def compare(self, theirs):
        agent = self.agent
        obs, act = self.rollout.obs, self.rollout.act
        agent.critics = (Given(self.rollout.advantage),)
        if hasattr(agent.actor, "mu"):
            mean, log_std = agent.head(obs).detach().chunk(2, -1)
            noise = (act - mean) / log_std.exp()
        else:
            noise = 1e6 * act
        cotangent = ScoreFunction().at_noise(agent, obs, noise[None])[0]
        ours = parameter_gradient(agent, obs, cotangent)
        assert list(ours) == list(theirs)
        self.errors.append(max(relative_error(-ours[name].flatten(), theirs[name]) for name in theirs))
        flat = [torch.cat([gradient[name].flatten() for name in theirs]) for gradient in (ours, theirs)]
        self.whole.append(relative_error(-flat[0], flat[1]))

    def take_entropy_out(self, theirs):
        """From their gradient, that of −ent_coef times the mean entropy."""
        head = self.agent.head(self.rollout.obs)
        if hasattr(self.agent.actor, "mu"):
            entropy = head.chunk(2, -1)[1].sum(-1).mean()
        else:
            entropy = torch.distributions.Categorical(logits=head).entropy().mean()
        parameters = self.agent.named_parameters()
        gradients = torch.autograd.grad(entropy, list(parameters.values()), materialize_grads=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            theirs[name] += self.algorithm.ent_coef * gradient.flatten()

    def compare_value(self):
        parameters = dict(self.agent.value.named_parameters())
        loss = self.algorithm.vf_coef * (self.agent.v(self.rollout.obs) - self.rollout.target).square().mean()
        ours = torch.autograd.grad(loss, list(parameters.values()))
        theirs = [parameter.grad for parameter in self.algorithm.critic.parameters()]
        self.value_errors.append(max(relative_error(*pair) for pair in zip(ours, theirs, strict=True)))


def relative_error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def recorded(algorithm, buffer, change=lambda rollout: None):
    recorder = Recorder(algorithm, buffer, change)
    with policy_within_training_step(algorithm.policy):
        algorithm.update(buffer, batch_size=None, repeat=1)
    assert len(recorder.errors) == 1
    return recorder


def check(recorder, record_property):
    record_property("relative_error", recorder.whole[0])
    assert recorder.whole[0] <= WHOLE_TOLERANCE
    assert recorder.errors[0] <= TOLERANCE
    assert max(recorder.value_errors, default=0.0) <= TOLERANCE


def settings(name):
    return {"npg": {}, "trpo": {}, "ppo": {"ent_coef": 0.3}, "a2c": {"ent_coef": 0.3}}[name]


@pytest.mark.parametrize("space", ["asymmetric", "one", "discrete"])
@pytest.mark.parametrize("name", ["ppo", "a2c", "npg", "trpo"])
def test_parity(name, space, make, fill, spaces, record_property):
    algorithm = make(name, spaces[space], **settings(name))
    check(recorded(algorithm, fill(algorithm, steps=180)), record_property)
    assert view(algorithm).entropy == 0


@pytest.mark.parametrize("name", ["ppo", "npg"])
@pytest.mark.parametrize("normalise", [False, True])
def test_parity_of_both_normalisations_on_a_vector_buffer(name, normalise, make, fill, record_property):
    algorithm = make(name, advantage_normalization=normalise, gamma=0.9, gae_lambda=0.8)
    check(recorded(algorithm, fill(algorithm, steps=320, parts=4)), record_property)


def test_parity_with_scaled_returns(make, fill, record_property):
    algorithm = make("ppo", return_scaling=True)
    algorithm.ret_rms.update(np.random.default_rng(0).normal(0, 3, 50))
    before = algorithm.ret_rms.var
    buffer = fill(algorithm)
    stored_rollout(algorithm, view(algorithm), buffer)
    assert algorithm.ret_rms.var == before
    check(recorded(algorithm, buffer), record_property)


@pytest.mark.parametrize(
    "actor",
    [{"unbounded": False}, {"unbounded": False, "max_action": 3.0}, {"conditioned_sigma": True}],
    ids=["bounded", "bounded-3", "sigma-of-the-state"],
)
def test_parity_of_other_gaussians(actor, make, fill, record_property):
    algorithm = make("a2c", actor=actor)
    check(recorded(algorithm, fill(algorithm)), record_property)


@pytest.mark.parametrize("softmax", [False, True])
def test_parity_of_logits_that_are_a_softmax(softmax, make, fill, spaces, record_property):
    algorithm = make("a2c", spaces["discrete"], actor={"softmax_output": softmax})
    check(recorded(algorithm, fill(algorithm)), record_property)


def test_parity_of_probabilities(make, fill, spaces, categorical, record_property):
    policy = {"dist_fn": categorical}
    algorithm = make("a2c", spaces["discrete"], actor={"softmax_output": True}, policy=policy)
    check(recorded(algorithm, fill(algorithm)), record_property)


def test_parity_where_actor_and_value_share_layers(make, fill, record_property):
    algorithm = make("a2c", share=True, vf_coef=0.0)
    buffer = fill(algorithm)
    recorder = Recorder(algorithm, buffer)
    recorder.compare_value = lambda: None
    with policy_within_training_step(algorithm.policy):
        algorithm.update(buffer, batch_size=None, repeat=1)
    check(recorder, record_property)


# The same comparison must fail for a rollout that is wrong in one respect -----------------------------------------


def test_the_other_normalisation_is_noticed(make, fill):
    algorithm = make("ppo", advantage_normalization=False)
    change = lambda rollout: rollout.advantage.sub_(rollout.advantage.mean()).div_(rollout.advantage.std())  # noqa: E731
    assert recorded(algorithm, fill(algorithm), change).whole[0] > 1e-2


def test_advantages_in_another_order_are_noticed(make, fill):
    algorithm = make("a2c")
    change = lambda rollout: rollout.advantage.copy_(rollout.advantage.flip(0))  # noqa: E731
    assert recorded(algorithm, fill(algorithm), change).whole[0] > 1e-2


def test_advantages_of_another_lambda_are_noticed(make, fill):
    algorithm, other = make("a2c", gae_lambda=0.95), make("a2c", gae_lambda=0.94)
    buffer = fill(algorithm)
    wrong = stored_rollout(other, view(other), buffer).advantage
    assert recorded(algorithm, buffer, lambda rollout: rollout.advantage.copy_(wrong)).whole[0] > 1e-3


def test_an_entropy_bonus_taken_for_part_of_the_policys_loss_is_noticed(make, fill, monkeypatch):
    monkeypatch.setattr(Recorder, "take_entropy_out", lambda *_: None)
    algorithm = make("a2c", ent_coef=3.0)
    assert recorded(algorithm, fill(algorithm)).whole[0] > 1e-2
