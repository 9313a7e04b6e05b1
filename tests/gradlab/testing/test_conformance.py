"""The suite tells careful probes from careless ones, for agents of anybody's."""

import random

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

import gradlab
import probes
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.testing.conformance import compare, digest


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))

    def forward(self, obs, act):
        return self.layers(torch.cat([obs, act], -1)).squeeze(-1)


class Learner:
    """Somebody's own agent: DDPG without targets, from a buffer of its own, every random state in use."""

    def __init__(self):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        self.env = gymnasium.make("Pendulum-v1")
        self.obs = self.env.reset(seed=1)[0]
        self.env.action_space.seed(1)
        self.actor = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1), nn.Tanh())
        self.critic = Critic()
        self.optimizers = [torch.optim.Adam(part.parameters(), lr=1e-3) for part in (self.actor, self.critic)]
        self.memory = []
        self.agent = gradlab.Agent(self.actor, [self.critic], action_low=[-1], action_high=[1], obs_size=3)

    def learn(self, steps, monitor):
        for step in range(steps):
            action = self.env.action_space.sample() if random.random() < 0.3 else self.act()
            obs, reward, _, truncated, _ = self.env.step(action)
            self.memory.append((self.obs, action, reward, obs))
            self.obs = self.env.reset()[0] if truncated else obs
            rows = [self.memory[index] for index in np.random.randint(len(self.memory), size=8)]
            self.update(*(torch.tensor(np.stack(column), dtype=torch.float32) for column in zip(*rows, strict=True)))
            if monitor is not None:
                monitor.step(step, obs=torch.tensor(np.stack([row[0] for row in self.memory[-16:]])))

    def act(self):
        with torch.no_grad():
            return (2 * self.actor(torch.as_tensor(self.obs)) + 0.1 * torch.randn(1)).clamp(-2, 2).numpy()

    def update(self, obs, act, reward, after):
        with torch.no_grad():
            target = reward + 0.99 * self.critic(after, self.actor(after))
        for optimizer, loss in zip(
            self.optimizers,
            (
                lambda: -self.critic(obs, self.actor(obs)).mean(),
                lambda: (self.critic(obs, act / 2) - target).square().mean(),
            ),
            strict=True,
        ):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def faulty(deed):
    """A probe that does something to the live run as it measures."""

    class Faulty(probes.Probe):
        name = "faulty"

        def __init__(self, learner):
            super().__init__(every=25, states=4)
            self._learner = learner

        def measure(self, agent, obs, generator):
            deed(self._learner, obs)
            return Measurement({"obs": Estimate(obs.mean().item(), 0.0, len(obs))})

    return Faulty


def run(tmp_path, probe=None):
    def train(attach):
        learner = Learner()
        learner.learn(51, attach(learner))  # the last step is one of measurement
        return {"learner": learner, "drawn": torch.rand(1)}

    def attach(learner):
        chosen = (
            [probe(learner)] if probe else [probes.Gradient(every=20, states=8, draws=4), probes.Curvature(every=20)]
        )
        return probes.attach(learner.agent, tmp_path / "run.db", probes=chosen, budget=None)

    return compare(train, attach)


def test_a_careful_probe_changes_nothing(tmp_path):
    found = run(tmp_path)
    assert found.changed == []
    assert found.compared > 100
    assert found.measured == {"gradient": 3, "curvature": 3}
    assert str(found) == f"nothing of {found.compared} differs, with 6 measurements"


FAULTS = {
    "leaves gradients": (lambda learner, obs: learner.critic(obs, obs[:, :1]).sum().backward(), ".grad"),
    "leaves a mode": (lambda learner, obs: learner.critic.eval(), "critic"),
    "leaves a hook": (lambda learner, obs: learner.actor.register_forward_hook(lambda *_: None), "hooks"),
    "steps the environment": (lambda learner, obs: learner.env.step(np.zeros(1)), "env"),
    "draws from the environment": (lambda learner, obs: learner.env.action_space.sample(), "action_space"),
    "writes into the memory": (lambda learner, obs: learner.memory[-1][0].__imul__(2.0), "memory"),
    "changes a learning rate": (
        lambda learner, obs: learner.optimizers[0].param_groups[0].update(lr=1e-4),
        "optimizers",
    ),
    "normalises weights in place": (lambda learner, obs: learner.actor[0].weight.data.mul_(1.001), "actor"),
    "sets deterministic algorithms": (lambda learner, obs: torch.use_deterministic_algorithms(True), "deterministic"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_careless_probe_is_caught(tmp_path, fault):
    deed, where = FAULTS[fault]
    try:
        found = run(tmp_path, faulty(deed))
    finally:
        torch.use_deterministic_algorithms(False)
    assert found.measured == {"faulty": 3}
    assert any(where in path for path in found.changed), found


GUARDED = {
    "draws from torch": lambda learner, obs: torch.rand(3),
    "draws from numpy": lambda learner, obs: np.random.rand(3),
    "draws from python": lambda learner, obs: random.random(),
    "writes into the observations": lambda learner, obs: obs.mul_(3.0),
    "sets the default dtype": lambda learner, obs: torch.set_default_dtype(torch.float64),
    "sets the number of threads": lambda learner, obs: torch.set_num_threads(torch.get_num_threads() + 1),
}


@pytest.mark.parametrize("fault", GUARDED)
def test_what_the_monitor_guards_cannot_be_changed_by_a_careless_probe(tmp_path, fault):
    found = run(tmp_path, faulty(GUARDED[fault]))
    assert found.measured == {"faulty": 3}
    assert found.changed == [], found


def test_a_training_that_does_not_repeat_itself_is_refused(tmp_path):
    def train(attach):
        return {"drawn": np.random.default_rng().random()}

    with pytest.raises(GradlabError, match="does not repeat itself without probes: drawn"):
        compare(train, lambda model: None)


def test_a_comparison_that_shows_nothing_is_refused(tmp_path):
    def train(attach):
        attach(None)
        return {"one": 1}

    with pytest.raises(GradlabError, match="no monitor measured anything"):
        compare(train, lambda model: None)


def test_the_process_is_part_of_the_digest(tmp_path, monkeypatch):
    before = digest()
    monkeypatch.chdir(tmp_path.parent)
    after = digest()
    assert {path for path in before if before[path] != after[path]} == {"process.directory"}
