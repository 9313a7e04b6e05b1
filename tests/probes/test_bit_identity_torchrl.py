"""Training with TorchRL and probes attached is bit for bit the training without them."""

import random

import numpy as np
import pytest
import torch
from tensordict.nn import AddStateIndependentNormalScale, NormalParamExtractor, TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer
from torchrl.envs import GymEnv, StepCounter, TransformedEnv
from torchrl.modules import (
    MLP,
    AdditiveGaussianModule,
    IndependentNormal,
    ProbabilisticActor,
    TanhModule,
    TanhNormal,
    ValueOperator,
)
from torchrl.objectives import ClipPPOLoss, DDPGLoss, SACLoss, SoftUpdate, TD3Loss
from torchrl.objectives.value import GAE

import probes
from gradlab.store import open_store
from gradlab.testing.conformance import differences, digest
from probes.callbacks.torchrl import rollout_of, sampler_of

TASK = "Pendulum-v1"


def mlp(inputs, outputs):
    return MLP(in_features=inputs, out_features=outputs, num_cells=[32, 32], activation_class=nn.Tanh)


def stochastic(spec, distribution, scale, **options):
    layers = nn.Sequential(mlp(3, 2 if isinstance(scale, NormalParamExtractor) else 1), scale)
    return ProbabilisticActor(
        TensorDictModule(layers, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=spec,
        distribution_class=distribution,
        distribution_kwargs=options,
        return_log_prob=True,
    )


def environment(steps=200):
    env = TransformedEnv(GymEnv(TASK), StepCounter(steps))
    env.set_seed(3)
    return env


def seeded():
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)


def digested(training):
    """Everything but addresses of shared memory and what the collector keeps of itself beside its environment."""
    parts = {name: value for name, value in vars(training).items() if name not in ("collector", "env", "buffer")}
    # Beyond its length a storage holds whatever was in memory.
    stored = training.buffer._storage._storage[: len(training.buffer)]
    return digest(
        **parts,
        networks=training.loss.actor_network,
        env=training.env.base_env._env,
        stored={str(key): stored[key] for key in stored.keys(True, True)},
        sampler=training.buffer._sampler,
        random=training.buffer._rng,
        length=len(training.buffer),
        drawn=torch.rand(1),
    )


class OffPolicy:
    """A loop like those of the library's own scripts: a collector, a replay buffer and ten updates a batch."""

    def __init__(self, name, frames=360):
        seeded()
        self.env = environment()
        spec = self.env.action_spec
        value = ValueOperator(mlp(4, 1), in_keys=["observation", "action"])
        if name == "SAC":
            low, high = spec.space.low, spec.space.high
            policy = self.actor = stochastic(spec, TanhNormal, NormalParamExtractor(), low=low, high=high)
            self.loss = SACLoss(self.actor, value)
        else:
            net = TensorDictModule(mlp(3, 1), in_keys=["observation"], out_keys=["param"])
            self.actor = TensorDictSequential(net, TanhModule(["param"], ["action"], spec=spec))
            policy = TensorDictSequential(self.actor, AdditiveGaussianModule(spec, sigma_init=0.2, sigma_end=0.2))
            self.loss = DDPGLoss(self.actor, value) if name == "DDPG" else TD3Loss(self.actor, value, action_spec=spec)
        self.loss.make_value_estimator(gamma=0.98)
        critics = self.loss.value_network_params if name == "DDPG" else self.loss.qvalue_network_params
        self.actor_optimizer = torch.optim.Adam(self.loss.actor_network_params.parameters(), 1e-3)
        self.critic_optimizer = torch.optim.Adam(critics.parameters(), 1e-3)
        self.alpha_optimizer = torch.optim.Adam([self.loss.log_alpha], 1e-3) if name == "SAC" else None
        self.target = SoftUpdate(self.loss, tau=0.01)
        self.buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(2000), batch_size=64)
        self.collector = Collector(self.env, policy, frames_per_batch=20, total_frames=frames)

    def run(self, each=lambda: None):
        delay, updates = 2 if isinstance(self.loss, TD3Loss) else 1, 0
        for data in self.collector:
            self.buffer.extend(data)
            for _ in range(10 if len(self.buffer) >= 200 else 0):
                updates += 1
                losses = self.loss(self.buffer.sample())
                named = {"actor": self.actor_optimizer, "value": self.critic_optimizer, "qvalue": self.critic_optimizer}
                named["alpha"] = self.alpha_optimizer
                for part, optimizer in named.items():
                    if (
                        optimizer is not None
                        and f"loss_{part}" in set(losses.keys())
                        and (part != "actor" or updates % delay == 0)
                    ):
                        optimizer.zero_grad()
                        losses[f"loss_{part}"].backward(retain_graph=True)
                        optimizer.step()
                self.target.step()
            each()
        return digested(self)


class FieldHere(probes.Field):
    """In the training process, where it could do harm; how often the other process gets round to it is chance."""

    background = False


class LandscapeHere(probes.Landscape):
    """Likewise."""

    background = False


def everything_often():
    return [
        FieldHere(every=40, states=2, resolution=9, arrows=5, starts=4),
        probes.Gradient(every=20, states=16, draws=8),
        probes.Curvature(every=40, states=8),
        LandscapeHere(every=80, states=4, starts=4),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DDPG", "TD3", "SAC"])
def test_training_is_bit_identical_with_probes(tmp_path, name):
    # What is imported at its first use draws from python's random state then.
    OffPolicy(name, frames=220).run()
    without = OffPolicy(name).run()
    training = OffPolicy(name)
    with probes.attach(
        training.loss,
        tmp_path / "run.db",
        probes=everything_often(),
        budget=None,
        environment=TASK,
        optimizer=training.actor_optimizer,
        sampler=sampler_of(training.buffer),
    ) as monitor:
        # The hook is the monitor's, and goes with it.
        hooks = {"actor_optimizer.hooks"}
        assert set(differences(without, training.run())) == hooks
    assert len(without) > 100
    status = monitor.status
    assert (status.failed, status.skipped) == ({}, {})
    steps = 45 if name == "TD3" else 90
    assert status.step == steps
    # The first at once, the others as they become due.
    assert status.measured == {probe.name: 1 + (steps - 1) // probe.every for probe in everything_often()}
    assert not training.actor_optimizer._optimizer_step_post_hooks
    with open_store(tmp_path / "run.db") as store:
        (run,) = store.runs()
        assert (run.algorithm, run.library, run.environment) == (name, "torchrl", TASK)


@pytest.fixture(scope="module")
def clean():
    OffPolicy("DDPG", frames=220).run()
    return OffPolicy("DDPG").run()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda training: training.buffer.sample(), id="samples from the live buffer"),
        pytest.param(
            lambda training: training.loss(training.buffer[:64])["loss_actor"].backward(), id="leaves gradients"
        ),
        pytest.param(lambda training: training.env.rollout(2), id="steps the live environment"),
        pytest.param(
            lambda training: training.loss.actor_network.register_forward_hook(lambda *_: None), id="leaves a hook"
        ),
    ],
)
def test_the_digest_catches_a_careless_probe(fault, clean):
    touched = OffPolicy("DDPG")
    done = []

    def careless():
        if not done and len(touched.buffer) == 360:
            done.append(fault(touched))

    found = touched.run(careless)
    assert done
    assert differences(clean, found) != []


def test_the_digest_finds_nothing_where_nothing_was_done(clean):
    assert differences(clean, OffPolicy("DDPG").run()) == []


class OnPolicy:
    """A loop like the library's tutorial on PPO: a collector, GAE, some epochs of minibatches."""

    def __init__(self):
        seeded()
        self.env = environment(steps=16)
        actor = stochastic(self.env.action_spec, IndependentNormal, AddStateIndependentNormalScale(1))
        value = ValueOperator(mlp(3, 1), in_keys=["observation"])
        self.advantages = GAE(gamma=0.95, lmbda=0.9, value_network=value)
        self.loss = ClipPPOLoss(actor, value, normalize_advantage=True)
        self.loss.make_value_estimator(gamma=0.95, lmbda=0.9)
        self.optimizer = torch.optim.Adam(self.loss.parameters(), 1e-3)
        self.buffer = TensorDictReplayBuffer(
            storage=LazyTensorStorage(256), sampler=SamplerWithoutReplacement(), batch_size=64
        )
        self.collector = Collector(self.env, actor, frames_per_batch=256, total_frames=1024)

    def run(self, measure=lambda frames, data: None):
        for number, data in enumerate(self.collector, 1):
            self.advantages(data)
            measure(256 * number, data)
            for _ in range(3):
                self.buffer.extend(data.reshape(-1))
                for batch in (self.buffer.sample() for _ in range(4)):
                    losses = self.loss(batch)
                    total = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                    self.optimizer.zero_grad()
                    total.backward()
                    self.optimizer.step()
        return digested(self)


def test_training_on_policy_is_bit_identical_with_probes(tmp_path):
    without = OnPolicy().run()
    assert len(without) > 60
    training = OnPolicy()
    with probes.attach(
        training.loss, tmp_path / "run.db", probes=[probes.OnPolicy(every=10), probes.Gradient()], budget=None
    ) as monitor:
        changed = differences(
            without,
            training.run(lambda frames, data: monitor.step(frames, rollout=rollout_of(data, training.loss))),
        )
    assert changed == []
    assert (monitor.status.failed, monitor.status.skipped) == ({}, {})
    assert monitor.status.measured == {"on-policy": 4}
    assert monitor.left_out == {"gradient": "the agent has no critic of (obs, act)"}
    with open_store(tmp_path / "run.db") as store:
        (run,) = store.runs()
        rows = store.measurements(run=run.id, probe="on-policy")
        assert [row.step for row in rows] == [256, 512, 768, 1024]
        # Sixteen trajectories of sixteen steps.
        assert set(store.scalars(run=run.id).samples.tolist()) == {16}
