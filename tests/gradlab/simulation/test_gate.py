"""The second way closes the gate where differences of returns are wrong, and says why with a figure."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.policies import Gaussian
from gradlab.simulation import Simulator, States
from gradlab.simulation.chain import Chain, chain_rule
from gradlab.simulation.differences import plateau, stencil
from gradlab.simulation.gate import (
    AMPLIFIED,
    CONSTANT,
    DISAGREE,
    JUMP,
    LARGEST_DISPLACEMENT,
    NO_PLATEAU,
    NOT_FINITE,
    UNCHAINED,
    apart,
    closed_because,
)

STEPS = (1e-5, 1e-6, 1e-7)


@dataclasses.dataclass
class Both:
    """Differences and the chain rule at the same states."""

    simulator: Simulator
    agent: Agent
    states: States
    horizon: int
    noise: Tensor | None = None

    def __post_init__(self) -> None:
        simulator, options = self.simulator, {"horizon": self.horizon}
        pilot = simulator.pilot(self.agent)
        head = pilot.head(self.states.obs).detach()
        self.around = stencil(pilot, head, STEPS)
        noise = (
            torch.zeros(1, self.horizon, *head.shape[:1], simulator.action_size) if self.noise is None else self.noise
        )
        act, _ = pilot.policy.sample(self.around.heads, noise[:, None, 0].to(head))
        self.rollouts = simulator.rollouts(self.agent, self.states, act, noise=noise[:, None], **options)
        self.values = self.rollouts.value
        gradients = self.around.gradient(self.values).mean(0)
        self.found = plateau(gradients, self.around.steps, self.values.abs().amax((0, 1)), 1e-2)
        self.chain = chain_rule(simulator, self.agent, self.states, noise=noise, **options)

    def reasons(self, chain: Chain | None, **options: float) -> list[str]:
        return closed_because(
            self.around,
            self.found,
            self.values,
            self.rollouts,
            stochastic=self.agent.policy.stochastic,
            chain=chain,
            **options,
        )


def linear(outputs: int, inputs: int, weight: float = 0.0) -> nn.Linear:
    actor = nn.Linear(inputs, outputs, dtype=torch.float64)
    nn.init.constant_(actor.weight, weight)
    nn.init.zeros_(actor.bias)
    return actor


class Kinked(gymnasium.Env):
    """x ← gain·x + a; the reward's slope grows by ``slope`` where x reaches ``kink``, at one step or at every step.

    It ends beyond ``limit``.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, gain, kink=None, limit=np.inf, slope=2.0, only_at=None) -> None:
        self.gain, self.kink, self.limit, self.slope, self.only_at = gain, kink, limit, slope, only_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.count = np.zeros(1), 0
        return self.x.copy(), {}

    def step(self, action):
        self.x = self.gain * self.x + action
        self.count += 1
        x = reward = float(self.x[0])
        if self.kink is not None and self.only_at in (None, self.count):
            reward += self.slope * max(x - self.kink, 0.0)
        return self.x.copy(), reward, x > self.limit, False, {}


def kinked(gain: float, horizon: int, **options: float) -> Both:
    simulator = Simulator(lambda: Kinked(gain, **options))
    agent = Agent(linear(1, 1), [], [-1], [1], 1.0)
    return Both(simulator, agent, simulator.visit(agent, 2, episodes=2, max_steps=1), horizon)


def test_a_secant_across_a_kink_that_has_a_plateau_is_caught_by_the_chain_rule():
    # After three steps a difference of 2e-5 … 2e-7 has grown to 2e-2 … 2e-4, beyond the kink at 1e-5 on one side: all
    # of them see a slope of 2 where it is 1, nearly alike.
    both = kinked(10.0, 4, kink=1e-5)
    assert both.found.open.all()
    assert both.reasons(None) == ["", ""]
    truth = sum(10.0**t for t in range(4))
    torch.testing.assert_close(both.chain.gradient, torch.full((1, 2, 1), truth).double(), rtol=1e-6, atol=0)
    assert (both.found.gradient > 1.8 * truth).all()
    by = apart(both.around, both.found, both.values, both.chain)
    torch.testing.assert_close(by, (both.found.gradient[:, 0] - truth).abs() / truth)
    for reason in both.reasons(both.chain):
        assert reason.startswith(f"{DISAGREE}: it and the differences are {float(by[0]):.1e} apart")
    assert both.reasons(both.chain, agreement=1.1) == ["", ""]


def test_without_a_kink_the_same_system_is_open_and_exact():
    both = kinked(10.0, 4)
    assert both.reasons(both.chain) == ["", ""]
    assert apart(both.around, both.found, both.values, both.chain).max() < 1e-8


def test_the_product_of_jacobians_closes_the_gate_with_its_figure():
    open_, closed = kinked(10.0, 6), kinked(10.0, 8)
    # ∂x_H/∂a_0 = 10^(H−1) on a box of width 2.
    torch.testing.assert_close(closed.chain.growth, torch.full((1, 2), 2e7).double(), rtol=1e-6, atol=0)
    assert open_.chain.growth.max() * STEPS[-1] < LARGEST_DISPLACEMENT < closed.chain.growth.min() * STEPS[-1]
    assert open_.reasons(open_.chain) == ["", ""]
    for reason in closed.reasons(closed.chain):
        assert reason.startswith(AMPLIFIED)
        assert "grows 2.0e+07 times" in reason
        assert "moves a state by 2.0e+00" in reason
        assert "\n" not in reason


def test_a_kink_within_a_single_steps_stencil_leaves_the_chain_rule_without_a_plateau():
    # Two steps shrink differences of the first action to 2e-11 and less, before the kink; the chain rule's own steps at
    # the third begin anew from 1e-5, 1e-6, 1e-7, shrink to 1e-8, 1e-9, 1e-10, and some of them reach it.
    both = kinked(1e-3, 3, kink=3e-10, slope=2e6, only_at=3)
    assert both.found.open.all()
    torch.testing.assert_close(both.found.gradient, torch.full((2, 1), 1.001001).double(), rtol=1e-6, atol=0)
    assert not both.chain.open.any()
    worst = float(both.chain.disagreement.max())
    for reason in both.reasons(both.chain):
        assert reason == f"{UNCHAINED}: differences over one step disagree by {worst:.1e} of the gradient"


def test_an_end_within_a_single_steps_stencil_is_a_jump():
    both = kinked(1.0, 2, limit=5e-6)
    assert both.chain.jumps.all()
    assert both.reasons(both.chain) == [JUMP, JUMP]
    far = kinked(1.0, 2, limit=1e-3)
    assert not far.chain.jumps.any()
    assert far.reasons(far.chain) == ["", ""]


def test_errors_of_their_own_and_seeds_left_out_are_allowed_for():
    simulator = Simulator(lambda: Kinked(0.5))
    agent = Agent(linear(2, 1, 0.1), [], [-1], [1], 0.9, policy=Gaussian())
    states = simulator.visit(agent, 2, episodes=2, max_steps=1)
    noise = 0.1 * torch.randn(3, 4, 2, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = Both(simulator, agent, states, 4, noise)
    assert both.reasons(both.chain) == ["", ""]
    # The first seed alone is compared with the first seed alone.
    names = [field.name for field in dataclasses.fields(Chain) if field.name != "steps"]
    first = dataclasses.replace(both.chain, **{name: getattr(both.chain, name)[:1] for name in names})
    assert both.reasons(first) == ["", ""]
    assert apart(both.around, both.found, both.values, first).max() < 1e-8
    other = dataclasses.replace(both.chain, **{name: getattr(both.chain, name)[1:2] for name in names})
    assert all(reason.startswith(DISAGREE) for reason in both.reasons(other))
    # Off by 1 %, with an error that admits it, and without.
    off = dataclasses.replace(both.chain, gradient=both.chain.gradient * 1.01)
    assert all(reason.startswith(DISAGREE) for reason in both.reasons(off))
    unsure = dataclasses.replace(off, error=0.01 * off.gradient.abs())
    assert both.reasons(unsure) == ["", ""]
    broken = dataclasses.replace(both.chain, value=both.chain.value * torch.nan)
    assert both.reasons(broken) == [NOT_FINITE, NOT_FINITE]


def tanh_actor(inputs: int, outputs: int, gain: float) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, outputs), nn.Tanh())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(gain * torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)
    return layers


def test_half_cheetah_over_fifty_steps_at_a_high_gain_closes_by_the_product_of_jacobians():
    simulator = Simulator("HalfCheetah-v5")
    agent = Agent(tanh_actor(17, 6, 3.0), [], [-1] * 6, [1] * 6)
    both = Both(simulator, agent, simulator.visit(agent, 3, seed=0, episodes=3, max_steps=100), 50)
    assert both.chain.growth.min() > 1e8
    assert set(both.reasons(None)) == {NO_PLATEAU}
    assert all(reason.startswith(AMPLIFIED) for reason in both.reasons(both.chain))
    # One step at a time the derivative is there all the same.
    assert both.chain.open.all()


def test_inverted_pendulum_stays_closed_whatever_the_chain_rule_says():
    simulator = Simulator("InvertedPendulum-v5")
    agent = Agent(tanh_actor(4, 1, 1.0), [], [-1], [1], env_low=[-3], env_high=[3])
    both = Both(simulator, agent, simulator.visit(agent, 6, seed=0), 50)
    assert set(both.reasons(both.chain)) <= {CONSTANT, JUMP}
    assert CONSTANT in both.reasons(both.chain)
    assert (both.chain.gradient == 0).all()


@pytest.mark.slow
def test_displacements_beyond_the_bound_are_where_differences_fail():
    wrong, right = [], []
    for horizon, gain in ((10, 0.5), (10, 3.0), (25, 1.0)):
        simulator = Simulator("HalfCheetah-v5")
        agent = Agent(tanh_actor(17, 6, gain), [], [-1] * 6, [1] * 6)
        both = Both(simulator, agent, simulator.visit(agent, 6, seed=2, episodes=3, max_steps=100), horizon)
        each = both.around.gradient(both.values)[0]
        truth = both.chain.gradient[0]
        error = (each - truth).norm(dim=-1) / truth.norm(dim=-1)
        reach = torch.tensor(STEPS)[:, None] * both.chain.growth
        wrong += (error > 1e-2)[reach > 10 * LARGEST_DISPLACEMENT].tolist()
        right += (error < 1e-2)[reach < 0.01 * LARGEST_DISPLACEMENT].tolist()
    assert len(wrong) >= 5
    assert len(right) >= 15
    assert sum(wrong) >= 0.8 * len(wrong)
    assert sum(right) >= 0.9 * len(right)
