"""States of the discounted on-policy distribution: which steps, how often, and what becomes of episodes that end."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from gradlab import GradlabError
from gradlab.simulation import Simulator, visit_discounted
from gradlab.testing.environments import LinearQuadraticEnvironment
from gradlab.worlds import LinearQuadratic


class Countdown(gymnasium.Env):
    """Ends after 1, 2, … 5 steps, as the reset decides; the observation is the step, or NaN in ``broken`` ones."""

    def __init__(self, broken: bool = False) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)
        self.broken = broken

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.at = int(self.np_random.integers(1, 6)), 0
        return np.zeros(1), {}

    def step(self, action):
        self.at += 1
        obs = np.full(1, np.nan if self.broken and self.length == 3 and self.at == 2 else float(self.at))
        return obs, 1.0, self.at == self.length, False, {}


@pytest.fixture(scope="module")
def world() -> LinearQuadratic:
    return LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.8, K=0.4, horizon=6)


@pytest.fixture(scope="module")
def simulator(world) -> Simulator:
    return Simulator(lambda: TimeLimit(LinearQuadraticEnvironment(world, 50.0), 6))


def test_steps_are_drawn_in_proportion_to_their_discount(world, simulator):
    found = visit_discounted(simulator, world.agent(action_bound=50.0), 4, 5000, seed=2)
    assert (found.steps, found.episodes, found.draws, found.left_out) == (6, 4, 5000, 0)
    assert found.mass == pytest.approx(sum(0.8**t for t in range(6)))
    assert found.states.step.tolist() == [*range(6)] * 4
    # A systematic sample: no share is off by more than one draw.
    expected = 0.8 ** found.states.step.double() / found.mass
    assert ((found.weights / 5000 - expected).abs() <= 1.001 / 5000).all()


def test_single_draws_have_the_right_distribution(world, simulator):
    found = visit_discounted(simulator, world.agent(action_bound=50.0), 2000, 1, seed=2)
    counts = torch.bincount(found.states.step, minlength=6).double()
    expected = 2000 * 0.8 ** torch.arange(6).double() / found.mass
    assert float(((counts - expected).square() / expected).sum()) < 20.5  # χ²₅ at 0.1 %


def test_states_are_those_of_the_closed_loop(world, simulator):
    found = visit_discounted(simulator, world.agent(action_bound=50.0), 3, 500, seed=4)
    obs = found.states.obs.reshape(3, 6)
    torch.testing.assert_close(obs[:, 1:], 0.7 * obs[:, :-1])
    # They can be gone on from.
    agent = world.agent(action_bound=50.0)
    value = simulator.returns(agent, found.states, agent.action(found.states.obs).detach(), horizon=6)
    torch.testing.assert_close(value, world.state_value(found.states.obs))
    again = visit_discounted(simulator, agent, 2, 500, seed=4)
    torch.testing.assert_close(again.states.obs, found.states.obs[:12], rtol=0, atol=0)


def test_an_episode_that_ended_before_its_draw_still_counts(world):
    agent = world.agent(action_bound=1.0)
    agent.discount = 0.8
    found = visit_discounted(Simulator(Countdown), agent, 400, 1, seed=0, max_steps=5)
    assert found.episodes == 400
    assert len(found.states) < 400
    # Σ_t γᵗ over the steps of an episode: each length 1 … 5 is as likely.
    truth = sum(sum(0.8**t for t in range(length)) for length in range(1, 6)) / 5
    shares = torch.zeros(400).double()
    shares[found.states.episode] = found.mass * found.weights
    assert float(shares.mean()) == pytest.approx(truth, abs=4 * float(shares.std()) / 20)


def test_episodes_that_are_not_finite_are_left_out_and_counted(world):
    agent = world.agent(action_bound=1.0)
    sound = visit_discounted(Simulator(Countdown), agent, 60, 2, seed=1, max_steps=5)
    found = visit_discounted(Simulator(lambda: Countdown(broken=True)), agent, 60, 2, seed=1, max_steps=5)
    assert found.left_out > 0
    assert found.episodes + found.left_out == 60
    assert bool(torch.isfinite(found.states.obs).all())
    assert set(found.states.episode.tolist()) < set(sound.states.episode.tolist())


def test_wrong_numbers_are_refused(world, simulator):
    with pytest.raises(GradlabError, match="draws: 0"):
        visit_discounted(simulator, world.agent(action_bound=50.0), 3, 0)
