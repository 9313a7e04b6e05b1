"""A TorchRL loss module as an Agent: live, shared, and left alone."""

import copy
import pickle

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.modules import (
    MLP,
    Actor,
    AdditiveGaussianModule,
    ProbabilisticActor,
    TanhModule,
    TanhNormal,
    ValueOperator,
)
from torchrl.objectives import DDPGLoss, DQNLoss, SACLoss, TD3Loss
from torchrl.trainers import Trainer

import gradlab
from gradlab import GradlabError
from gradlab.adapters import view
from gradlab.policies import Deterministic, Gaussian, SquashedGaussian, TruncatedNormal
from gradlab.tangent import tangent_kernel
from gradlab.testing.conformance import differences, digest

LOSSES = ["DDPG", "TD3", "SAC", "PPO", "ClipPPO", "KLPENPPO", "A2C"]
OBS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
ACT = torch.rand(7, 2, generator=torch.Generator().manual_seed(1))


def known(loss):
    """The loss, its γ made known."""
    loss.make_value_estimator(gamma=0.9)
    return loss


def q_of(loss, index, target=False):
    """The library's own value of one critic."""
    if isinstance(loss, DDPGLoss):
        network, params = (
            loss.value_network,
            loss._modules["target_value_network_params" if target else "value_network_params"],
        )
    else:
        name = "target_qvalue_network_params" if target else "qvalue_network_params"
        network, params = loss.qvalue_network, loss._modules[name][index]
    batch = TensorDict({"observation": OBS, "action": ACT}, [7])
    with params.to_module(network):
        return network(batch)["state_action_value"][:, 0]


@pytest.mark.parametrize("name", LOSSES)
def test_what_an_agent_knows(name, make_loss):
    agent = gradlab.view(make_loss(name, "asymmetric"))
    assert (agent.algorithm, agent.library, agent.discount) == (name, "torchrl", pytest.approx(0.97))
    assert torch.allclose(agent.action_low, torch.tensor([-0.5, -2.0]))
    assert torch.allclose(agent.action_high, torch.tensor([1.5, 0.25]))
    assert agent.obs_size == 3
    off_policy = name in LOSSES[:3]
    assert (agent.value is None) == off_policy
    count = {"DDPG": 1, "TD3": 2, "SAC": 2}.get(name, 0)
    assert len(agent.critics) == len(agent.target_critics) == count
    policy = Deterministic if name in LOSSES[:2] else SquashedGaussian if name == "SAC" else Gaussian
    assert type(agent.policy) is policy
    assert agent.reduction == ("min" if name == "SAC" else "first")
    assert agent.entropy == (pytest.approx(0.2) if name == "SAC" else 0.0)


@pytest.mark.parametrize("name", LOSSES[:3])
def test_critics_and_targets_are_the_librarys(name, make_loss, make_training):
    training = make_training(make_loss(name))
    training.steps(5)
    agent = view(training.loss)
    for target, critics in ((False, agent.critics), (True, agent.target_critics)):
        for index, critic in enumerate(critics):
            assert torch.equal(critic(OBS, ACT), q_of(training.loss, index, target))


@pytest.mark.parametrize("name", LOSSES[:3])
def test_what_the_optimizers_change_the_agent_sees_and_a_snapshot_does_not(name, make_loss, make_training):
    training = make_training(make_loss(name))
    agent = view(training.loss)
    frozen = agent.snapshot()
    before = [agent.head(OBS), *(critic(OBS, ACT) for critic in (*agent.critics, *agent.target_critics))]
    training.steps(5)
    fresh = view(training.loss)
    for old, now, kept, new in zip(
        before,
        [agent.head(OBS), *(critic(OBS, ACT) for critic in (*agent.critics, *agent.target_critics))],
        [frozen.head(OBS), *(critic(OBS, ACT) for critic in (*frozen.critics, *frozen.target_critics))],
        [fresh.head(OBS), *(critic(OBS, ACT) for critic in (*fresh.critics, *fresh.target_critics))],
        strict=True,
    ):
        assert not torch.allclose(old, now, atol=1e-4)
        assert torch.equal(now, new)
        # A slice lies elsewhere in memory than its copy, which may round differently.
        assert torch.allclose(kept, old, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_viewing_leaves_everything_as_it_was(name, make_loss, random_states):
    loss = make_loss(name)
    loss.actor_network.train()
    tensors = {key: id(tensor) for key, tensor in loss.named_parameters()}
    before, states, attributes = digest(loss=loss, network=loss.actor_network), random_states(), set(vars(loss))
    agent = view(loss)
    agent.snapshot(double=True)
    tangent_kernel(agent.snapshot(), OBS)
    assert differences(before, digest(loss=loss, network=loss.actor_network)) == []
    assert random_states() == states
    assert set(vars(loss)) == attributes
    assert {key: id(tensor) for key, tensor in loss.named_parameters()} == tensors


def test_the_actors_parameters_are_the_live_ones_by_the_librarys_names(make_loss):
    loss = make_loss("SAC")
    live = {".".join(key): p for key, p in loss.actor_network_params.items(True, True)}
    found = view(loss).named_parameters()
    assert found.keys() == live.keys()
    assert all(found[name] is live[name] for name in live)


def test_alpha_is_read_anew_and_not_clamped_in_place(make_loss):
    loss = make_loss("SAC", min_alpha=0.5, max_alpha=0.6)
    assert view(loss).entropy == pytest.approx(0.5)
    assert float(loss.log_alpha.exp()) == pytest.approx(0.2)
    with torch.no_grad():
        loss.log_alpha.fill_(-0.55)
    assert view(loss).entropy == pytest.approx(float(torch.tensor(-0.55).exp()))


@pytest.mark.parametrize("name", LOSSES)
def test_a_snapshot_travels_to_another_process(name, make_loss):
    agent = view(make_loss(name)).snapshot()
    back = pickle.loads(pickle.dumps(agent))
    assert torch.equal(back.head(OBS), agent.head(OBS))


def test_the_policies_of_distributions(make_loss, make_actor, make_spec):
    from torchrl.modules import TruncatedNormal as Library

    for distribution, policy in ((TanhNormal, SquashedGaussian), (Library, TruncatedNormal)):
        options = {} if distribution is TanhNormal else {"low": -0.5, "high": 0.25}
        actor = make_actor["stochastic"](make_spec("asymmetric"), distribution, **options)
        agent = view(make_loss("ClipPPO", actor=actor))
        assert type(agent.policy) is policy
        dist = actor.get_dist(TensorDict({"observation": OBS}, [7]))
        act = dist.sample()
        assert torch.allclose(agent.policy.log_prob(agent.head(OBS), act), dist.log_prob(act), atol=1e-4)


def lazy_networks(spec):
    net = TensorDictModule(MLP(out_features=2, num_cells=[8]), in_keys=["observation"], out_keys=["param"])
    actor = TensorDictSequential(net, TanhModule(["param"], ["action"], spec=spec))
    return actor, ValueOperator(MLP(out_features=1, num_cells=[8]), in_keys=["observation", "action"])


def test_an_actor_that_is_lazy_is_refused_and_seen_once_it_has_run(make_spec, make_critic, make_transitions):
    spec = make_spec("unit")
    loss = known(TD3Loss(lazy_networks(spec)[0], make_critic(), action_spec=spec))
    assert "actor has no shape yet at module.0.module.0.weight; run the networks once" in refused(loss)
    loss.actor_network(make_transitions(spec, torch.Generator().manual_seed(0)))
    agent = view(loss)
    assert (agent.obs_size, agent.action_size, len(agent.critics)) == (3, 2, 2)
    assert torch.equal(agent.head(OBS), loss.actor_network(TensorDict({"observation": OBS}, [7]))["action"])


def test_networks_that_were_lazy_before_the_loss_was_made(make_spec, make_transitions):
    spec = make_spec("unit")
    actor, critic = lazy_networks(spec)
    critic(actor(make_transitions(spec, torch.Generator().manual_seed(0))))
    loss = known(TD3Loss(actor, critic, action_spec=spec))
    assert torch.equal(view(loss).critics[1](OBS, ACT), q_of(loss, 1))


def test_an_actor_of_one_module_and_bounds_of_numbers(make_critic):
    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, obs):
            return self.inner(obs).tanh()

    loss = known(TD3Loss(Actor(Policy()), make_critic(), bounds=(-1.0, 1.0)))
    agent = view(loss)
    assert agent.action_low.tolist() == [-1.0, -1.0]
    assert agent.head(OBS).shape == (7, 2)


def test_a_trainer_is_viewed_by_its_loss(make_loss):
    loss = make_loss("TD3")
    trainer = Trainer.__new__(Trainer)
    trainer.loss_module = loss
    assert view(trainer).algorithm == "TD3"
    del trainer.loss_module


# Refused in one line -----------------------------------------------------------------------------------------------


def refused(loss):
    with pytest.raises(GradlabError) as caught:
        view(loss)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_a_loss_does_not_say_is_named_all_at_once(make_critic):
    actor = Actor(nn.Linear(3, 2))
    assert refused(DDPGLoss(actor, make_critic())) == (
        "view: this DDPGLoss does not say its γ (call loss.make_value_estimator(gamma=...) first) and its action box "
        "(give the actor spec=..., its environment's action_spec)"
    )


def test_asking_for_gamma_makes_no_estimator(make_loss):
    loss = make_loss("SAC")
    loss._value_estimator = None
    assert "its γ" in refused(loss)
    assert loss._value_estimator is None


def test_another_loss_is_refused():
    loss = DQNLoss(nn.Linear(3, 2), action_space="one-hot")
    assert "torchrl DQNLoss is not supported; supported are DDPGLoss, TD3Loss, SACLoss" in refused(loss)


def test_networks_of_unknown_computation_are_refused(make_loss, make_actor, make_spec):
    spec = make_spec("unit")
    noisy = TensorDictSequential(make_actor["deterministic"](spec), AdditiveGaussianModule(spec, action_key="action"))
    assert "the actor has a AdditiveGaussianModule, whose computation is not known here" in refused(
        make_loss("DDPG", "unit", actor=noisy)
    )


def test_a_projecting_actor_is_refused(make_loss, make_spec):
    actor = Actor(nn.Linear(3, 2), spec=make_spec("unit"), safe=True)
    assert "safe=True" in refused(make_loss("DDPG", "unit", actor=actor))


def test_other_keys_are_refused(make_loss, make_spec, make_critic):
    spec = make_spec("unit")

    class Two(nn.Module):
        def forward(self, obs, goal):
            return (obs + goal)[..., :2]

    actor = Actor(Two(), in_keys=["observation", "goal"], spec=spec)
    loss = known(DDPGLoss(actor, make_critic()))
    assert "actor reads ['observation', 'goal']; only one flat observation is supported" in refused(loss)
    critic = ValueOperator(nn.Bilinear(3, 2, 1), in_keys=["state", "action"])
    loss = known(DDPGLoss(Actor(nn.Linear(3, 2), spec=spec), critic))
    assert "critic reads ['state', 'action']; only ['action', 'observation'] is supported" in refused(loss)


def test_other_distributions_are_refused(make_loss):
    actor = ProbabilisticActor(
        TensorDictModule(nn.Linear(3, 2), in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"],
        distribution_class=torch.distributions.Categorical,
        return_log_prob=True,
    )
    assert "actor has the distribution Categorical; supported are TanhNormal" in refused(
        make_loss("ClipPPO", actor=actor)
    )


def test_networks_that_cannot_be_copied_are_refused(make_loss):
    loss = make_loss("DDPG")
    loss.actor_network.module[0].module.uncopied = open("/dev/null")  # noqa: SIM115
    with pytest.raises(TypeError):
        copy.deepcopy(loss.actor_network.module[0].module)
    assert "the actor cannot be copied (TypeError" in refused(loss)
    loss.actor_network.module[0].module.uncopied.close()


def test_a_subclass_of_a_users_own_is_known_by_the_librarys(make_actor, make_spec, make_critic):
    class Mine(SACLoss):
        pass

    loss = known(Mine(make_actor["stochastic"](make_spec("unit")), make_critic()))
    assert view(loss).algorithm == "SAC"
