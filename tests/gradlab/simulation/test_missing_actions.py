"""An action that is not a number is never put to the environment, and what went wrong is said of the actor."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Softmax
from gradlab.references import SimulatorReference, SmoothedSimulatorReference
from gradlab.simulation import Simulator, chain_rule
from gradlab.simulation.discounted import visit_discounted
from gradlab.simulation.gate import ACTIONLESS


class Sometimes(nn.Module):
    """An output of 0.1, but not a number where the first observation is beyond ``limit``."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return torch.where(obs[..., :1].abs() > self.limit, torch.nan, self.scale * torch.ones_like(obs[..., :1]))


def agent(limit: float = torch.inf) -> Agent:
    return Agent(Sometimes(limit), [], [-1], [1], env_low=[-3], env_high=[3])


@pytest.fixture(scope="module")
def pendulum() -> Simulator:
    return Simulator("InvertedPendulum-v5")


def test_no_return_is_made_of_actions_that_are_not_numbers(pendulum, capfd):
    states = pendulum.visit(agent(), 4, seed=0, episodes=4, max_steps=2)
    act = torch.full((4, 1), 0.1, dtype=torch.float64)
    before = [snapshot.state.copy() for snapshot in states.snapshots]
    for bad in (torch.nan, torch.inf):
        first = act.clone()
        first[1] = bad
        found = pendulum.rollouts(agent(), states, first, horizon=3)
        assert found.actionless.tolist() == [False, True, False, False]
        assert found.value.isnan().tolist() == [False, True, False, False]
        assert found.length.tolist() == [3, 0, 3, 3]
    # On the way: those that come by the limit.
    limit = float(states.obs[:, 0].abs().median())
    found = pendulum.rollouts(agent(limit), states, act, horizon=3)
    sound = pendulum.rollouts(agent(), states, act, horizon=3)
    assert 0 < found.actionless.sum() < 4
    assert torch.equal(found.value.isnan(), found.actionless)
    assert torch.equal(found.value[~found.actionless], sound.value[~found.actionless])
    assert all(np.array_equal(a, b.state) for a, b in zip(before, states.snapshots, strict=True))
    assert "WARNING" not in "".join(capfd.readouterr())


def test_visits_and_episodes_name_the_actor(pendulum):
    broken = agent(-1.0)
    for visit in (
        lambda: pendulum.visit(broken, 4, episodes=2, max_steps=10),
        lambda: visit_discounted(pendulum, broken, 4, max_steps=10),
    ):
        with pytest.raises(GradlabError, match=r"^actor: its output is not finite at \d of \d states") as caught:
            visit()
        assert "\n" not in str(caught.value)
    with pytest.raises(GradlabError, match="actor"):
        pendulum.episodes(broken, 2, max_steps=10)
    pendulum.episodes(agent(0.006), 8, max_steps=2)
    assert 0 < len(pendulum.left_out) < 8


def test_references_blame_the_actor_and_not_the_physics(pendulum):
    states = pendulum.visit(agent(), 3, seed=0, episodes=2, max_steps=10)
    broken = agent(-1.0)
    for reference in (
        SimulatorReference(pendulum, horizon=5),
        SimulatorReference(pendulum, horizon=5, second_way=True),
        SmoothedSimulatorReference(pendulum, 0.1, horizon=5, draws=2),
    ):
        found = reference.cotangent(broken, states)
        assert found.diagnostics["reason"] == [ACTIONLESS] * 3
        assert found.mean.isnan().all()
    assert SimulatorReference(pendulum, horizon=5).values(broken, states).mean.isnan().all()
    assert chain_rule(pendulum, broken, states, horizon=3).gradient.isnan().all()


def test_the_engine_reports_a_control_that_is_not_a_number():
    for task in ("InvertedPendulum-v5", "Ant-v5"):
        lanes = Simulator(task, threads=1)._lanes
        lanes.reset([0, 1])
        act = np.zeros((2, *lanes.env.action_space.shape))
        act[1, 0] = np.nan
        lanes.step(act, np.ones(2, dtype=bool))
        assert lanes.unstable().tolist() == [False, True]


def test_a_softmax_of_logits_that_are_not_numbers_takes_no_action():
    simulator = Simulator("CartPole-v1")
    actor = nn.Linear(4, 2)
    nn.init.zeros_(actor.weight), nn.init.zeros_(actor.bias)
    agent = Agent(actor, [], [0, 0], [1, 1], policy=Softmax())
    states = simulator.visit(agent, 2, seed=0, episodes=1, max_steps=5)
    broken = copy.deepcopy(agent)
    with torch.no_grad():
        broken.actor.bias[0] = torch.nan
    with pytest.raises(GradlabError, match="actor"):
        simulator.visit(broken, 2, episodes=1, max_steps=5)
    found = SimulatorReference(simulator, horizon=3, noise_seeds=2).cotangent(broken, states)
    assert found.diagnostics["reason"] == [ACTIONLESS] * 2
