"""TorchRL loss modules on small networks, trained for real on random transitions."""

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import AddStateIndependentNormalScale, NormalParamExtractor, TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.data import Bounded
from torchrl.modules import MLP, IndependentNormal, ProbabilisticActor, TanhModule, TanhNormal, ValueOperator
from torchrl.objectives import A2CLoss, ClipPPOLoss, DDPGLoss, KLPENPPOLoss, PPOLoss, SACLoss, SoftUpdate, TD3Loss

BOXES = {
    "unit": ([-1.0, -1.0], [1.0, 1.0]),
    "narrow": ([-0.4, -0.4], [0.4, 0.4]),
    "asymmetric": ([-0.5, -2.0], [1.5, 0.25]),
}
ON_POLICY = {"PPO": PPOLoss, "ClipPPO": ClipPPOLoss, "KLPENPPO": KLPENPPOLoss, "A2C": A2CLoss}
OBS, ACT, BATCH = 3, 2, 64


def spec_of(box):
    low, high = (torch.tensor(corner) for corner in BOXES[box])
    return Bounded(low, high)


def deterministic(spec, activation=nn.Tanh):
    net = TensorDictModule(
        MLP(in_features=OBS, out_features=ACT, num_cells=[16, 12], activation_class=activation),
        in_keys=["observation"],
        out_keys=["param"],
    )
    return TensorDictSequential(net, TanhModule(in_keys=["param"], out_keys=["action"], spec=spec))


def stochastic(spec, distribution=TanhNormal, activation=nn.Tanh, free=False, **options):
    """A ProbabilisticActor; with ``free`` its σ does not depend on the state."""
    layers = MLP(in_features=OBS, out_features=ACT * (2 - free), num_cells=[16, 12], activation_class=activation)
    scale = AddStateIndependentNormalScale(ACT) if free else NormalParamExtractor()
    if distribution is TanhNormal:
        options = {"low": spec.space.low, "high": spec.space.high} | options
    return ProbabilisticActor(
        TensorDictModule(nn.Sequential(layers, scale), in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=spec,
        distribution_class=distribution,
        distribution_kwargs=options,
        return_log_prob=True,
    )


def critic(activation=nn.Tanh, keys=("observation", "action")):
    net = MLP(in_features=OBS + ACT, out_features=1, num_cells=[14], activation_class=activation)
    return ValueOperator(net, in_keys=list(keys))


def value(activation=nn.Tanh):
    net = MLP(in_features=OBS, out_features=1, num_cells=[10], activation_class=activation)
    return ValueOperator(net, in_keys=["observation"])


def loss_module(name, box="asymmetric", *, actor=None, activation=nn.Tanh, gamma=0.97, seed=0, **options):
    """A loss module of its own seed, γ made known."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        spec = spec_of(box)
        if name == "DDPG":
            loss = DDPGLoss(actor or deterministic(spec, activation), critic(activation), **options)
        elif name == "TD3":
            loss = TD3Loss(actor or deterministic(spec, activation), critic(activation), action_spec=spec, **options)
        elif name == "SAC":
            # α far from 1, so that a wrong one shows.
            loss = SACLoss(
                actor or stochastic(spec, activation=activation), critic(activation), **{"alpha_init": 0.2} | options
            )
        else:
            actor = actor or stochastic(spec, IndependentNormal, activation=activation, free=True)
            loss = ON_POLICY[name](actor, value(activation), **options)
        loss.make_value_estimator(gamma=gamma)
    return loss


def transitions(spec, generator, count=BATCH):
    """Random transitions of a task that rewards a near f(s)."""
    obs, following = torch.randn(2, count, OBS, generator=generator)
    low, high = spec.space.low, spec.space.high
    act = low + (high - low) * torch.rand(count, ACT, generator=generator)
    reward = -(act - obs[:, :ACT].sin()).square().sum(-1, keepdim=True)
    ended = torch.zeros(count, 1, dtype=torch.bool)
    following = {"observation": following, "reward": reward, "done": ended, "terminated": ended}
    return TensorDict({"observation": obs, "action": act, "next": TensorDict(following, [count])}, [count])


class Training:
    """Some steps of training of an off-policy loss module, as the library's own scripts do them.

    ``batch`` and ``random_state`` are those of the actor's loss that was differentiated last.
    """

    def __init__(self, loss, box="asymmetric", seed=1):
        self.loss, self.spec = loss, spec_of(box)
        self.generator = torch.Generator().manual_seed(seed)
        critics = getattr(loss, "value_network_params" if isinstance(loss, DDPGLoss) else "qvalue_network_params")
        self.actor_optimizer = torch.optim.Adam(loss.actor_network_params.parameters(), 3e-3)
        self.critic_optimizer = torch.optim.Adam(critics.parameters(), 3e-3)
        alpha = isinstance(loss, SACLoss) and not loss.fixed_alpha
        self.alpha_optimizer = torch.optim.Adam([loss.log_alpha], 3e-2) if alpha else None
        self.target = SoftUpdate(loss, tau=0.05)

    def steps(self, count):
        for _ in range(count):
            self.step()

    def step(self):
        loss, names = self.loss, {"DDPGLoss": ("loss_value", "loss_actor"), "TD3Loss": ("value_loss", "actor_loss")}
        self.batch = transitions(self.spec, self.generator)
        of_critic, of_actor = names.get(type(loss).__name__, ("qvalue_v2_loss", "actor_loss"))
        # The critics first, so that the actor's gradient is of critics that have changed in place.
        self.descend(self.critic_optimizer, getattr(loss, of_critic)(self.batch)[0])
        self.random_state = torch.get_rng_state()
        objective, found = getattr(loss, of_actor)(self.batch)
        self.descend(self.actor_optimizer, objective)
        if self.alpha_optimizer is not None:
            self.descend(self.alpha_optimizer, loss.alpha_loss(found["log_prob"]).mean())
        self.target.step()

    @staticmethod
    def descend(optimizer, objective):
        optimizer.zero_grad()
        objective.backward()
        optimizer.step()


@pytest.fixture
def make_loss():
    return loss_module


@pytest.fixture
def make_training():
    return Training


@pytest.fixture
def make_actor():
    return {"deterministic": deterministic, "stochastic": stochastic}


@pytest.fixture
def make_spec():
    return spec_of


@pytest.fixture
def make_critic():
    return critic


@pytest.fixture
def make_transitions():
    return transitions
