"""Finished rollouts are not taken for those of an agent or an environment that only looks the same."""

from __future__ import annotations

import gymnasium
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian
from gradlab.references import SimulatorReference
from gradlab.references.rollouts.fingerprint import fingerprints
from gradlab.simulation import Simulator, States


def body(outputs: int = 2) -> nn.Module:
    layers = nn.Sequential(nn.Linear(10, outputs), nn.Tanh())
    with torch.no_grad():
        layers[0].weight.copy_(torch.linspace(-0.3, 0.3, 10 * outputs).reshape(outputs, 10))
        layers[0].bias.fill_(0.05)
    return layers


class Attribute(nn.Module):
    """Its gain is a number, no parameter."""

    def __init__(self, gain):
        super().__init__()
        self.body, self.gain = body(), gain

    def forward(self, obs):
        return self.gain * self.body(obs)


class Function(Attribute):
    """Its end is a function."""

    def forward(self, obs):
        return self.gain(self.body(obs))


class Buffer(nn.Module):
    """Its centre is no part of what is saved."""

    def __init__(self, centre):
        super().__init__()
        self.body = body()
        self.register_buffer("centre", torch.full((10,), centre), persistent=False)

    def forward(self, obs):
        return self.body(obs - self.centre)


def agent_of(actor, **options):
    return Agent(actor, [], [-1, -1], [1, 1], **options)


@pytest.fixture(scope="module")
def reacher():
    return Simulator("Reacher-v5", threads=1)


@pytest.fixture(scope="module")
def states(reacher):
    return reacher.visit(agent_of(body()), 2, seed=1, episodes=1, max_steps=5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: Attribute(0.5), lambda: Attribute(0.9)),
        (lambda: Function(torch.tanh), lambda: Function(torch.sin)),
        (lambda: Buffer(0.0), lambda: Buffer(0.5)),
    ],
    ids=["attribute", "function", "buffer"],
)
def test_an_actor_counts_by_what_it_does(one, other, reacher, states, tmp_path):
    reference, path = SimulatorReference(reacher, horizon=2, second_way=False), tmp_path / "kept"
    found = reference.cotangent(agent_of(one()), states, resume=path)
    # Made anew it is the same one.
    again = reference.cotangent(agent_of(one()), states, resume=path)
    assert torch.equal(found.mean, again.mean)
    assert again.diagnostics["seconds"] == pytest.approx(found.diagnostics["seconds"], rel=1e-6)
    with pytest.raises(GradlabError, match="other agent") as caught:
        reference.cotangent(agent_of(other()), states, resume=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [
        lambda: gymnasium.make("Reacher-v5", reward_control_weight=0.0),
        lambda: gymnasium.wrappers.TransformReward(gymnasium.make("Reacher-v5"), lambda reward: 100 * reward),
    ],
    ids=["options", "wrapper"],
)
@pytest.mark.parametrize("policy", [None, Gaussian()], ids=["deterministic", "gaussian"])
def test_an_environment_counts_by_what_it_does(other, policy, reacher, states, tmp_path):
    agent = agent_of(body()) if policy is None else agent_of(body(4), policy=policy)
    settings, path = {"horizon": 2, "noise_seeds": 2, "second_way": False}, tmp_path / "kept"
    SimulatorReference(reacher, **settings).cotangent(agent, states, resume=path)
    # Made by hand, so that the simulator takes them.
    there = States(states.obs, states.snapshots, states.episode, states.step, states.environment)
    with pytest.raises(GradlabError, match="other environment"):
        SimulatorReference(Simulator(other, threads=1), **settings).cotangent(agent, there, resume=path)


def test_what_a_step_leads_to_counts_beside_how_the_environment_begins(reacher, states, monkeypatch):
    pilot = reacher.pilot(agent_of(body()))
    before = fingerprints(reacher, pilot, states, {})
    lanes = reacher._lanes
    step = lanes.step

    def longer(act, running):
        obs, reward, terminated = step(act, running)
        return obs, reward * (1 + 1e-15), terminated

    monkeypatch.setattr(lanes, "step", longer)
    after = fingerprints(reacher, pilot, states, {})
    assert [name for name in before if before[name] != after[name]] == ["outcomes of a step"]


def test_fingerprints_do_not_depend_on_threads_nor_on_what_was_simulated_before(reacher, states):
    pilot = reacher.pilot(agent_of(body(4), policy=Gaussian()))
    many = states[torch.arange(100) % 2]
    one = fingerprints(reacher, pilot, many, {})
    other = Simulator("Reacher-v5", threads=3, lanes=7)
    other.episodes(pilot, 2, max_steps=3)
    assert fingerprints(other, pilot, many, {}) == one
    assert {"gradlab", "mujoco"} <= {entry.split()[0] for entry in one["versions"].split(", ")}
