"""Parity: the actor gradient computed from gradlab's Agent is TorchRL's own p.grad, on the same minibatch."""

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.modules import (
    MLP,
    ActorValueOperator,
    IndependentNormal,
    ProbabilisticActor,
    TanhDelta,
    TanhModule,
    TanhNormal,
    TruncatedNormal,
    ValueOperator,
)
from torchrl.objectives import ClipPPOLoss

from gradlab.adapters.torchrl import view
from gradlab.estimators import Deterministic, Reparameterized
from gradlab.estimators.trajectory.score import scores_at
from gradlab.tangent import parameter_gradient

#: Of one parameter's gradient, whose terms may nearly cancel, and of the whole gradient: roundings of float32.
TOLERANCE, WHOLE_TOLERANCE = 1e-5, 1e-6
OFF_POLICY = ["DDPG", "TD3", "SAC"]
ON_POLICY = ["PPO", "ClipPPO", "KLPENPPO", "A2C"]


def relative_error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def errors(ours, loss):
    """Relative errors of the whole gradient and of the worst parameter against the library's ``.grad``."""
    theirs = {".".join(key): p.grad for key, p in loss.actor_network_params.items(True, True)}
    theirs = {name: grad for name, grad in theirs.items() if grad is not None}
    assert sorted(ours) == sorted(theirs)
    flat = [torch.cat([gradient[name].flatten() for name in theirs]) for gradient in (ours, theirs)]
    return relative_error(-flat[0], flat[1]), max(relative_error(-ours[name], theirs[name]) for name in theirs)


class Recorder:
    """Compares the two gradients at every step of the actor's optimizer."""

    def __init__(self, training, change=lambda agent: None):
        self.training, self.change = training, change
        self.whole, self.worst = [], []
        training.actor_optimizer.register_step_pre_hook(self.compare)

    def compare(self, *_):
        agent = view(self.training.loss).snapshot()
        self.change(agent)
        obs = self.training.batch["observation"]
        if agent.policy.stochastic:
            zero = torch.zeros(len(obs), agent.action_size)
            generator = torch.Generator().set_state(self.training.random_state)
            noise = torch.normal(zero, torch.ones_like(zero), generator=generator)
            cotangent = Reparameterized().at_noise(agent, obs, noise[None])[0]
        else:
            cotangent = Deterministic().draw(agent, obs)[0]
        whole, worst = errors(parameter_gradient(agent, obs, cotangent), self.training.loss)
        self.whole.append(whole)
        self.worst.append(worst)


def compared(training, change=lambda agent: None, steps=6):
    """A recorder after some real steps of training."""
    training.steps(20)
    recorder = Recorder(training, change)
    training.steps(steps)
    assert len(recorder.whole) == steps
    return recorder


def check(recorder):
    assert max(recorder.whole) <= WHOLE_TOLERANCE
    assert max(recorder.worst) <= TOLERANCE


@pytest.mark.parametrize("box", ["unit", "narrow", "asymmetric"])
@pytest.mark.parametrize("name", OFF_POLICY)
def test_parity_in_every_action_box(name, box, make_loss, make_training, record_property):
    recorder = compared(make_training(make_loss(name, box), box))
    record_property("relative_error", max(recorder.whole))
    check(recorder)


@pytest.mark.parametrize("name", OFF_POLICY)
@pytest.mark.parametrize("activation", [nn.SiLU, nn.ReLU], ids=["silu", "relu"])
def test_parity_of_other_activations(name, activation, make_loss, make_training):
    check(compared(make_training(make_loss(name, activation=activation))))


@pytest.mark.parametrize("name", ["TD3", "SAC"])
@pytest.mark.parametrize("count", [1, 3])
def test_parity_of_other_numbers_of_critics(name, count, make_loss, make_training):
    training = make_training(make_loss(name, num_qvalue_nets=count))
    assert len(view(training.loss).critics) == count
    check(compared(training))


@pytest.mark.parametrize(
    "options", [{"fixed_alpha": True}, {"min_alpha": 0.5, "max_alpha": 0.7}], ids=["fixed", "bounded"]
)
def test_parity_of_other_entropy_coefficients(options, make_loss, make_training):
    training = make_training(make_loss("SAC", **options))
    check(compared(training))
    assert view(training.loss).entropy == float(training.loss._alpha)


@pytest.mark.parametrize(
    "options", [{"tanh_loc": True}, {"tanh_loc": True, "upscale": 0.5}, {"safe_tanh": False}], ids=str
)
@pytest.mark.parametrize("box", ["unit", "asymmetric"])
def test_parity_of_other_tanh_normals(box, options, make_loss, make_training, make_actor, make_spec):
    actor = make_actor["stochastic"](make_spec(box), **options)
    check(compared(make_training(make_loss("SAC", box, actor=actor), box)))


def test_parity_of_an_unbounded_normal(make_loss, make_training, make_actor, make_spec):
    actor = make_actor["stochastic"](make_spec("narrow"), IndependentNormal, tanh_loc=True)
    check(compared(make_training(make_loss("SAC", "narrow", actor=actor), "narrow")))


def other_actors(spec):
    def net(out):
        return TensorDictModule(MLP(in_features=3, out_features=2, num_cells=[8]), ["observation"], [out])

    low, high = spec.space.low, spec.space.high
    yield ProbabilisticActor(
        net("param"),
        in_keys=["param"],
        spec=spec,
        distribution_class=TanhDelta,
        distribution_kwargs={"low": low, "high": high},
    )
    yield TensorDictSequential(
        TensorDictSequential(net("param")), TanhModule(["param"], ["action"], low=low, high=high, clamp=True)
    )
    yield TensorDictSequential({"net": net("action"), "tanh": TanhModule(["action"], spec=spec)})


@pytest.mark.parametrize("kind", range(3), ids=["tanh-delta", "nested-clamped", "named"])
@pytest.mark.parametrize("name", ["DDPG", "TD3"])
def test_parity_of_other_deterministic_actors(name, kind, make_loss, make_training, make_spec):
    actor = list(other_actors(make_spec("asymmetric")))[kind]
    check(compared(make_training(make_loss(name, actor=actor))))


# On policy --------------------------------------------------------------------------------------------------------


def one_step(loss, normalise=False, change=lambda agent: None, advantages=None):
    """Errors of the policy's part of one backward pass at actions that the policy has just drawn."""
    generator = torch.Generator().manual_seed(5)
    obs = torch.randn(64, 3, generator=generator)
    with torch.no_grad():
        rollout = loss.actor_network(TensorDict({"observation": obs}, [64]))
        dist = loss.actor_network.get_dist(rollout)
        rollout["action"] = dist.rsample()
        rollout["action_log_prob"] = dist.log_prob(rollout["action"])
        rollout["advantage"] = torch.randn(64, 1, generator=generator) + 0.5
        rollout["value_target"] = torch.randn(64, 1, generator=generator)
    loss.zero_grad()
    loss(rollout.clone())["loss_objective"].backward()
    agent = view(loss).snapshot()
    assert torch.allclose(
        agent.policy.log_prob(agent.head(obs), rollout["action"]), dist.log_prob(rollout["action"]), atol=2e-5
    )
    change(agent)
    scores, _ = scores_at(agent, obs, rollout["action"])
    advantage = rollout["advantage"][:, 0]
    if normalise:
        advantage = (advantage - advantage.mean()) / advantage.std()
    return errors(parameter_gradient(agent, obs, scores * advantage[:, None]), loss)


@pytest.mark.parametrize("name", ON_POLICY)
def test_parity_on_policy(name, make_loss, record_property):
    whole, worst = one_step(make_loss(name))
    record_property("relative_error", whole)
    assert (whole <= WHOLE_TOLERANCE, worst <= TOLERANCE) == (True, True)


@pytest.mark.parametrize("name", ON_POLICY[:3])
def test_parity_on_policy_with_normalised_advantages(name, make_loss):
    assert one_step(make_loss(name, normalize_advantage=True), normalise=True)[0] <= WHOLE_TOLERANCE


@pytest.mark.parametrize(
    ("distribution", "options"),
    [
        (TanhNormal, {}),
        (TanhNormal, {"tanh_loc": True}),
        (TruncatedNormal, {"low": -0.5, "high": 0.75}),
        (IndependentNormal, {"tanh_loc": True, "upscale": 0.3}),
    ],
    ids=["tanh-normal", "tanh-loc", "truncated", "independent-tanh-loc"],
)
@pytest.mark.parametrize("name", ["ClipPPO", "A2C"])
def test_parity_on_policy_of_other_distributions(name, distribution, options, make_loss, make_actor, make_spec):
    """From an action, artanh loses digits of what tanh was given; the library takes it back the same way."""
    actor = make_actor["stochastic"](make_spec("asymmetric"), distribution, **options)
    assert one_step(make_loss(name, actor=actor))[0] <= 1e-5


@pytest.mark.parametrize("separate", [False, True])
def test_parity_on_policy_of_a_shared_trunk(separate, make_spec):
    """As the library's tutorials build it: layers in common, a head of the policy and one of the value."""
    trunk = TensorDictModule(nn.Sequential(nn.Linear(3, 8), nn.Tanh()), ["observation"], ["hidden"])
    head = TensorDictModule(nn.Sequential(nn.Linear(8, 4), NormalParamExtractor()), ["hidden"], ["loc", "scale"])
    spec = make_spec("asymmetric")
    policy = ProbabilisticActor(
        head, in_keys=["loc", "scale"], spec=spec, distribution_class=IndependentNormal, return_log_prob=True
    )
    both = ActorValueOperator(trunk, policy, ValueOperator(nn.Linear(8, 1), in_keys=["hidden"]))
    loss = ClipPPOLoss(both.get_policy_operator(), both.get_value_operator(), separate_losses=separate)
    loss.make_value_estimator(gamma=0.9)
    assert one_step(loss)[0] <= WHOLE_TOLERANCE
    agent = view(loss)
    shared = [dict(part.named_parameters())["module.0.module.0.weight"] for part in (agent.actor, agent.value.network)]
    assert shared[0].data_ptr() == shared[1].data_ptr()
    obs = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    batch = both.get_value_operator()(TensorDict({"observation": obs}, [5]))
    assert torch.equal(agent.v(obs), batch["state_value"][:, 0])


def test_parity_on_policy_without_functional_networks(make_loss):
    loss = make_loss("ClipPPO", functional=False)
    assert view(loss).named_parameters().keys() == dict(loss.actor_network.named_parameters()).keys()
    generator = torch.Generator().manual_seed(5)
    obs = torch.randn(8, 3, generator=generator)
    expected = loss.critic_network(TensorDict({"observation": obs}, [8]))["state_value"][:, 0]
    assert torch.equal(view(loss).v(obs), expected)


# The same comparison must fail for an Agent that is wrong in one respect ------------------------------------------


def test_the_other_critic_is_noticed(make_loss, make_training):
    recorder = compared(make_training(make_loss("TD3")), lambda agent: setattr(agent, "critics", agent.critics[::-1]))
    assert min(recorder.whole) > 1e-2


@pytest.mark.parametrize(("name", "wrong"), [("TD3", "min"), ("TD3", "mean"), ("SAC", "first"), ("SAC", "mean")])
def test_another_reduction_is_noticed(name, wrong, make_loss, make_training):
    recorder = compared(make_training(make_loss(name)), lambda agent: setattr(agent, "reduction", wrong))
    assert max(recorder.whole) > 1e-2


@pytest.mark.parametrize("name", OFF_POLICY)
def test_target_critics_in_place_of_the_critics_are_noticed(name, make_loss, make_training):
    change = lambda agent: setattr(agent, "critics", agent.target_critics)  # noqa: E731
    assert min(compared(make_training(make_loss(name)), change).whole) > 1e-3


@pytest.mark.parametrize("name", OFF_POLICY)
def test_critics_in_unit_coordinates_are_noticed(name, make_loss, make_training):
    class Scaled(nn.Module):
        def __init__(self, inner, agent):
            super().__init__()
            self.inner, self.low, self.high = inner, agent.action_low, agent.action_high

        def forward(self, obs, act):
            return self.inner(obs, 2 * (act - self.low) / (self.high - self.low) - 1)

    change = lambda agent: setattr(agent, "critics", tuple(Scaled(c, agent) for c in agent.critics))  # noqa: E731
    assert min(compared(make_training(make_loss(name)), change).whole) > 1e-2


def test_another_alpha_is_noticed(make_loss, make_training):
    recorder = compared(make_training(make_loss("SAC")), lambda agent: setattr(agent, "entropy", 1.1 * agent.entropy))
    assert min(recorder.whole) > 1e-4


def test_an_agent_of_before_the_steps_is_noticed(make_loss, make_training):
    training = make_training(make_loss("DDPG"))
    old = view(training.loss).snapshot()
    recorder = compared(training, lambda agent: setattr(agent, "critics", old.critics))
    assert min(recorder.whole) > 1e-2


@pytest.mark.parametrize("name", ["ClipPPO", "A2C"])
def test_the_other_normalisation_is_noticed(name, make_loss):
    options = {} if name == "A2C" else {"normalize_advantage": True}
    assert one_step(make_loss(name, **options), normalise=name == "A2C")[0] > 1e-2


def test_another_policy_is_noticed(make_loss, make_actor, make_spec):
    from gradlab.policies import Gaussian

    loss = make_loss("ClipPPO", actor=make_actor["stochastic"](make_spec("asymmetric")))
    assert one_step(loss, change=lambda agent: setattr(agent, "policy", Gaussian()))[0] > 1e-2
