"""Networks as people train them: wrapped, normalised, compiled, in half precision, under autocasting."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm

import gradlab
import probes
from gradlab.estimators import Deterministic
from gradlab.store import open_store
from gradlab.tangent import parameter_gradient
from gradlab.testing.conformance import differences, digest
from probes.attempt import attempt


def layers(inputs, outputs, *, wrap=lambda layer: layer, after=None):
    found = []
    for size in (inputs, 16):
        found += [wrap(nn.Linear(size, 16)), *([after()] if after else []), nn.ReLU()]
    return nn.Sequential(*found, wrap(nn.Linear(16, outputs)))


class Actor(nn.Module):
    def __init__(self, **kind):
        super().__init__()
        self.layers = layers(3, 1, **kind)

    def forward(self, obs):
        return 2 * torch.tanh(self.layers(obs))


class Critic(nn.Module):
    def __init__(self, **kind):
        super().__init__()
        self.layers = layers(4, 1, **kind)

    def forward(self, obs, act):
        return self.layers(torch.cat([obs, act], -1)).squeeze(-1)


class Bent(nn.Module):
    def forward(self, weight):
        return weight + 0.1 * weight.square()


def bent(layer):
    parametrize.register_parametrization(layer, "weight", Bent())
    return layer


class Head(nn.Module):
    """On features that another head shares."""

    def __init__(self, trunk, size):
        super().__init__()
        self.trunk = trunk
        self.out = nn.Linear(size, 1)

    def forward(self, obs, *act):
        return torch.tanh(self.out(torch.cat([self.trunk(obs), *act], -1))) * 2


def shared():
    trunk = nn.Sequential(nn.Linear(3, 16), nn.ReLU())
    return Head(trunk, 16), Head(trunk, 17)


def pair(**kind):
    return lambda: (Actor(**kind), Critic(**kind))


def data_parallel():
    return nn.DataParallel(Actor()), nn.DataParallel(Critic())


WRAPPED = {
    "weight norm": pair(wrap=parametrizations.weight_norm),
    "weight norm, the older": pair(wrap=old_weight_norm),
    "spectral norm": pair(wrap=parametrizations.spectral_norm),
    "spectral norm, the older": pair(wrap=old_spectral_norm),
    "another parametrization": pair(wrap=bent),
    "layer norm": pair(after=lambda: nn.LayerNorm(16)),
    "dropout": pair(after=lambda: nn.Dropout(0.2)),
    "batch norm": pair(after=lambda: nn.BatchNorm1d(16)),
    "a shared trunk": shared,
    "data parallel": data_parallel,
}
OBS = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))


def default_probes():
    """The default ones, in small."""
    return [
        probes.Field(states=2, resolution=5, arrows=3, starts=4),
        probes.Gradient(states=32, draws=8),
        probes.Curvature(states=8),
        probes.Landscape(states=2, starts=4),
    ]


def agent_of(actor, *critics, **rest):
    return gradlab.Agent(actor, list(critics), action_low=[-2.0], action_high=[2.0], obs_size=3, **rest)


@pytest.mark.parametrize("kind", WRAPPED)
def test_every_default_probe_measures_it(kind):
    torch.manual_seed(0)
    actor, critic = WRAPPED[kind]()
    # A step of training first: it leaves what such layers keep.
    (-critic(OBS, actor(OBS)).mean()).backward()
    agent = agent_of(actor, critic)
    before = digest(actor=actor, critic=critic)
    for probe in default_probes():
        tried = attempt(probe, agent.snapshot(), OBS[: probe.states], torch.Generator().manual_seed(0))
        assert (tried.status, tried.message) == ("ok", "")
        noted = any("in evaluation mode" in note for note in tried.measurement.notes)
        assert noted == (probe.name == "gradient" and kind in ("dropout", "batch norm"))
    assert differences(before, digest(actor=actor, critic=critic)) == []


@pytest.mark.parametrize("kind", WRAPPED)
def test_parity_in_evaluation_mode(kind):
    torch.manual_seed(0)
    actor, critic = WRAPPED[kind]()
    (-critic(OBS, actor(OBS)).mean()).backward()
    agent = agent_of(actor, critic).snapshot()
    for part in (actor, critic, *agent.parts):
        part.eval()
    # Where features are shared, the gradient is that of the policy: the critic's own way through them is none.
    features = critic.trunk(OBS).detach() if kind == "a shared trunk" else None
    act = actor(OBS)
    q = critic(OBS, act) if features is None else torch.tanh(critic.out(torch.cat([features, act], -1))) * 2
    named = {name: parameter for name, parameter in actor.named_parameters() if parameter.requires_grad}
    theirs = dict(zip(named, torch.autograd.grad(-q.mean(), list(named.values())), strict=True))
    ours = parameter_gradient(agent, OBS, Deterministic().draw(agent, OBS)[0])
    assert list(ours) == list(theirs)
    flat = [torch.cat([gradient[name].flatten() for name in theirs]) for gradient in (ours, theirs)]
    assert float((flat[0] + flat[1]).norm() / flat[1].norm()) <= 1e-6


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_measured_in_float32_and_said_to_be(kind):
    torch.manual_seed(0)
    actor, critic = Actor().to(kind), Critic().to(kind)
    agent = agent_of(actor, critic)
    single = agent_of(copy.deepcopy(actor).float(), copy.deepcopy(critic).float())
    # A probe for each: one of them compares with what it measured last.
    for both in zip(default_probes(), default_probes(), strict=True):
        found, expected = (
            attempt(probe, each.snapshot(), OBS[: probe.states], torch.Generator().manual_seed(0))
            for probe, each in zip(both, (agent, single), strict=True)
        )
        assert (found.status, found.message) == ("ok", "")
        assert any(f"networks are in {kind}; measured" in note for note in found.measurement.notes)
        assert not any("networks are in" in note for note in expected.measurement.notes)
        values = [[each.value for each in tried.measurement.scalars.values()] for tried in (found, expected)]
        np.testing.assert_array_equal(*values)
    assert actor.layers[0].weight.dtype == kind


# Whole loops ------------------------------------------------------------------------------------------------------


def plain(actor, critic, optimizers, scaler, obs):
    (critic_optimizer, actor_optimizer), act = optimizers, torch.tanh(torch.randn(len(obs), 1))
    critic_optimizer.zero_grad()
    (critic(obs, act) - (obs[:, 0] - act[:, 0]).square()).square().mean().backward()
    critic_optimizer.step()
    actor_optimizer.zero_grad()
    (-critic(obs, actor(obs)).mean()).backward()
    actor_optimizer.step()


def autocast(actor, critic, optimizers, scaler, obs):
    (critic_optimizer, actor_optimizer), act = optimizers, torch.tanh(torch.randn(len(obs), 1))
    critic_optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = (critic(obs, act) - (obs[:, 0] - act[:, 0]).square()).square().mean()
    scaler.scale(loss).backward()
    scaler.step(critic_optimizer)
    actor_optimizer.zero_grad()
    # The monitor is called from within the region, too.
    with torch.autocast("cpu", torch.bfloat16):
        scaler.scale(-critic(obs, actor(obs)).mean()).backward()
        scaler.step(actor_optimizer)
    scaler.update()


def updates():
    """How a run is trained, by name; what is compiled is compiled anew."""
    return {
        "autocast": autocast,
        "compiled update": torch.compile(plain, backend="aot_eager"),
        "compiled networks": lambda actor, critic, *rest: plain(
            torch.compile(actor, backend="aot_eager"), torch.compile(critic, backend="aot_eager"), *rest
        ),
    }


def trained(how, attach):
    torch.manual_seed(0)
    actor, critic = Actor(), Critic()
    optimizers = [torch.optim.Adam(each.parameters(), lr=1e-3) for each in (critic, actor)]
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    given = (actor, critic)
    if how == "compiled networks":
        given = [torch.compile(each, backend="aot_eager") for each in given]
    monitor = attach(agent_of(*given), optimizers[1])
    update = updates()[how]
    for _ in range(8):
        update(actor, critic, optimizers, scaler, torch.randn(32, 3))
    if monitor is not None:
        monitor.close()
    torch._dynamo.reset()
    return digest(actor=actor, critic=critic, optimizers=optimizers, scaler=scaler.state_dict(), drawn=torch.rand(1))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["autocast", "compiled update", "compiled networks"])
def test_a_loop_is_measured_and_stays_what_it_was(how, tmp_path):
    monitors = []

    def attach(agent, optimizer):
        chosen = [probes.Gradient(every=2, states=16, draws=8), probes.Curvature(every=2, states=8)]
        store, sampler = tmp_path / "run.db", lambda count, random: random.normal(size=(count, 3)).astype(np.float32)
        monitors.append(probes.attach(agent, store, probes=chosen, budget=None, optimizer=optimizer, sampler=sampler))
        return monitors[0]

    without = trained(how, lambda *_: None)
    assert differences(without, trained(how, attach)) == []
    status = monitors[0].status
    # The optimizer's hook fires within a compiled function, too.
    assert status.step == 8
    assert status.failed == {}
    assert status.measured == {"gradient": 5, "curvature": 5}
    with open_store(tmp_path / "run.db") as store:
        rows = store.measurements(probe="gradient")
        assert [row.step for row in rows] == [1, 2, 4, 6, 8]
