"""Parity: the actor gradient computed from gradlab's Agent is RLlib's own p.grad, on the same minibatch."""

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.adapters import view
from gradlab.estimators import Reparameterized
from gradlab.tangent import parameter_gradient

#: Of one parameter's gradient, whose terms may nearly cancel, and of the whole gradient: roundings of float32.
TOLERANCE, WHOLE_TOLERANCE = 1e-5, 1e-6


class Recorder:
    """Compares the two gradients in every update, when the library has them and no optimizer has made a step.

    Reads the random state that ε comes from. The library is patched here, in the test, and nowhere else.
    """

    def __init__(self, learner, change=lambda agent: None):
        self.learner, self.change = learner, change
        self.errors, self.whole = [], []
        self.module = learner.module["default_policy"]
        forward, postprocess = self.module.forward_train, learner.postprocess_gradients

        def forwarding(batch, **options):
            # Before the forward pass, which draws ε of the actor's loss first.
            self.batch, self.state = batch, torch.get_rng_state()
            return forward(batch, **options)

        def postprocessing(gradients):
            self.compare()
            return postprocess(gradients)

        self.module.forward_train, learner.postprocess_gradients = forwarding, postprocessing

    def compare(self):
        agent = view(self.learner).snapshot()
        self.change(agent)
        obs = agent.observations(self.batch["obs"])
        ours = parameter_gradient(agent, obs, self.cotangent(agent, obs))
        parameters = dict(self.module.named_parameters())
        theirs = {name: parameters[name].grad for name in ours}
        actor = [name for name in parameters if name.startswith(("pi.", "pi_encoder.", "encoder.actor_encoder."))]
        assert sorted(ours) == sorted(actor)
        self.errors.append(max(relative_error(-ours[name], theirs[name]) for name in theirs))
        flat = [torch.cat([gradient[name].flatten() for name in theirs]) for gradient in (ours, theirs)]
        self.whole.append(relative_error(-flat[0], flat[1]))

    def cotangent(self, agent, obs):
        """∇_h of what the loss is the negative of, [B, m]."""
        head = agent.head(obs).detach()
        if agent.algorithm == "SAC":
            noise = torch.normal(
                torch.zeros_like(head.chunk(2, -1)[0]),
                torch.ones_like(head.chunk(2, -1)[0]),
                generator=torch.Generator().set_state(self.state),
            )
            return Reparameterized().at_noise(agent, obs, noise[None])[0]
        config = self.learner.config
        at = head.clone().requires_grad_()
        ratio = (agent.policy.log_prob(at, self.batch["actions"]) - self.batch["action_logp"]).exp()
        clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        gain = torch.minimum(self.batch["advantages"] * ratio, self.batch["advantages"] * clipped)
        return torch.autograd.grad(gain.sum(), at)[0]


def relative_error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def compared(learner, minibatch, change=lambda agent: None, updates=5, name="sac", **shape):
    """A recorder after some of the library's own updates."""
    recorder = Recorder(learner, change)
    for seed in range(updates):
        learner.update(batch=minibatch(name, seed=seed, **shape), timesteps={"num_env_steps_sampled_lifetime": 1000})
    assert len(recorder.whole) == updates
    return recorder


def check(recorder, record_property):
    record_property("relative_error", max(recorder.whole))
    assert max(recorder.whole) <= WHOLE_TOLERANCE
    assert max(recorder.errors) <= TOLERANCE


@pytest.mark.parametrize(("space", "actions"), [("asymmetric", 2), ("unit", 2), ("one", 1)])
def test_parity_of_sac_in_every_action_box(space, actions, make, minibatch, spaces, record_property):
    learner = make("sac", spaces[space], alpha_lr=0.1, critic_lr=1e-2, actor_lr=1e-2)
    before = view(learner).entropy
    check(compared(learner, minibatch, actions=actions), record_property)
    assert view(learner).entropy != before


@pytest.mark.parametrize(
    "model",
    [
        {"fcnet_activation": "relu", "head_fcnet_activation": "tanh", "fusionnet_activation": "silu"},
        {"fusionnet_hiddens": []},
        {"fusionnet_hiddens": [9]},
        {"head_fcnet_hiddens": []},
        {"fcnet_use_layernorm": True},
    ],
    ids=["activations", "no-fusion", "one-fusion", "no-head", "layer-norm"],
)
def test_parity_of_sacs_other_networks(model, make, minibatch, record_property):
    check(compared(make("sac", model=model), minibatch), record_property)


def test_parity_of_sac_with_one_critic(make, minibatch, record_property):
    check(compared(make("sac", twin_q=False), minibatch), record_property)


def test_parity_of_sac_where_log_std_is_clamped(make, minibatch, record_property):
    learner = make("sac")
    pi = learner.module["default_policy"].pi.net.mlp[-1]
    with torch.no_grad():
        pi.bias[2:] += torch.tensor([2.0, -5.0])
    check(compared(learner, minibatch), record_property)


@pytest.mark.parametrize("model", [{}, {"free_log_std": True}], ids=["state-dependent", "parameter"])
def test_parity_of_ppo(model, make, minibatch, record_property):
    learner = make("ppo", model={"vf_share_layers": False} | model, use_kl_loss=False, entropy_coeff=0.0, lr=1e-2)
    check(compared(learner, minibatch, name="ppo"), record_property)


# The same comparison must fail for an Agent that is wrong in one respect ----------------------------------------


def worst(make, minibatch, change, **options):
    return min(compared(make("sac", **options), minibatch, change).whole)


@pytest.mark.parametrize("reduction", ["first", "mean"])
def test_another_value_than_the_smaller_is_noticed(reduction, make, minibatch):
    def change(agent):
        agent.reduction = reduction
        if reduction == "first":
            # Whichever the first is, it is not the smaller at every state.
            agent.critics = agent.critics[::-1]

    errors = [worst(make, minibatch, change)]
    if reduction == "first":
        errors.append(worst(make, minibatch, lambda agent: setattr(agent, "reduction", "first")))
    assert max(errors) > 1e-3


def test_the_target_critics_are_noticed(make, minibatch):
    learner = make("sac", critic_lr=1e-2)
    recorder = compared(learner, minibatch, lambda agent: setattr(agent, "critics", agent.target_critics))
    # They are the critics until the first update.
    assert min(recorder.whole[1:]) > 1e-3


def test_another_alpha_is_noticed(make, minibatch):
    assert worst(make, minibatch, lambda agent: setattr(agent, "entropy", 1.01 * agent.entropy)) > 1e-4


def test_another_bound_of_log_std_is_noticed(make, minibatch):
    learner = make("sac")
    with torch.no_grad():
        learner.module["default_policy"].pi.net.mlp[-1].bias[2:] += torch.tensor([3.0, -6.0])
    recorder = compared(learner, minibatch, lambda agent: setattr(agent.actor, "bound", (-20.0, 2.0)))
    assert min(recorder.whole) > 1e-3


def test_critics_in_environment_units_are_noticed(make, minibatch):
    def in_environment_units(agent):
        class Scaled(nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, obs, act):
                return self.inner(obs, agent.to_env(act))

        agent.critics = tuple(Scaled(critic) for critic in agent.critics)

    assert worst(make, minibatch, in_environment_units, initial_alpha=0.01) > 1e-2


def test_another_order_of_the_codes_is_noticed(make, minibatch):
    def swapped(agent):
        for critic in agent.critics:
            layer = critic.encoder.fusion_layers[0]
            order = np.r_[12:24, 0:12]
            layer.weight = nn.Parameter(layer.weight[:, order])

    assert worst(make, minibatch, swapped, initial_alpha=0.01) > 1e-2


def test_another_clamp_of_ppos_log_std_is_noticed(make, minibatch):
    learner = make("ppo", model={"vf_share_layers": False}, use_kl_loss=False, entropy_coeff=0.0)
    recorder = compared(learner, minibatch, lambda agent: setattr(agent.actor, "bound", (0.1, 0.2)), name="ppo")
    assert min(recorder.whole) > 1e-2
