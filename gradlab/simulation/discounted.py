"""States of the discounted on-policy distribution, drawn so that a gradient at them is ∇J itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import switch, whole_number
from gradlab.errors import GradlabError
from gradlab.simulation.acting import Actor, Stream, check_actions, episode_steps
from gradlab.simulation.actions import taker
from gradlab.simulation.lanes.base import Actions, Bools, Lanes
from gradlab.simulation.pilot import Pilots, without_critics
from gradlab.simulation.simulator import Simulator
from gradlab.simulation.states import States
from gradlab.simulation.visiting import Candidate, assemble
from gradlab.simulation.workers import go_on

#: Keeps resets and choices of steps from being those of other visits with the same seed.
_RESET, _CHOICE = 101, 102


@dataclass(frozen=True)
class DiscountedStates:
    """States s_t of E independent episodes, k steps t of each drawn with probability γᵗ/M, M = Σ_{t<T} γᵗ.

    With J(θ) = E Σ_{t<T} γᵗ r_t the policy-gradient theorem is ∇J = E Σ_{t<T} γᵗ J_tᵀ∇_h F_{s_t}, nothing being added
    after an episode's end; its unbiased estimate is M/(E·k) Σ_i w_i J_iᵀ∇_h F_{s_i} over the states i that were
    reached, w_i being how often a state was drawn.

    Attributes:
        states: the states reached, each once.
        weights: how often each was drawn, [B], float64.
        episodes: E, those included that ended before any of their drawn steps.
        draws: k.
        steps: T, where episodes were cut.
        discount: γ.
        left_out: episodes beside the E whose simulation was not finite.

    Example:
        >>> none = States(torch.zeros(1, 1), ("",), torch.tensor([0]), torch.tensor([0]))
        >>> round(DiscountedStates(none, torch.ones(1), 1, 1, 50, 0.9).mass, 3)
        9.948
    """

    states: States
    weights: Tensor
    episodes: int
    draws: int
    steps: int
    discount: float
    left_out: int = 0

    @property
    def mass(self) -> float:
        """M = Σ_{t<T} γᵗ, the weight of all steps of an episode that does not end."""
        return float(self.discount ** np.arange(self.steps) @ np.ones(self.steps))


def visit_discounted(
    simulator: Simulator,
    agent: Agent,
    episodes: int,
    draws: int = 1,
    *,
    seed: int = 0,
    stochastic: bool = True,
    max_steps: int | None = None,
) -> DiscountedStates:
    """Visit states of the discounted on-policy distribution in whole episodes from seeded resets.

    The k steps of an episode are a systematic sample: t_j is where the distribution function of γᵗ/M passes (u + j)/k,
    with one uniform u. Each is drawn with the right probability, and they lie apart.

    Args:
        simulator: the task.
        agent: the agent; a copy in float64 acts.
        episodes: E, the independent samples of the distribution.
        draws: k, states drawn from each episode.
        seed: of resets, the policy's noise and the drawn steps; independent of ``Simulator.visit`` and ``.episodes``.
        stochastic: whether a stochastic policy acts by its draws (on policy) or by its mode.
        max_steps: where an episode is cut if the environment has no sooner time limit; 1000 if neither says.

    Raises:
        GradlabError: the agent does not fit the environment, a number is out of range, or no state was reached.

    Example:
        >>> from torch import nn
        >>> actor = nn.Sequential(nn.Linear(10, 2), nn.Tanh())
        >>> _ = nn.init.constant_(actor[0].weight, 0.1), nn.init.zeros_(actor[0].bias)
        >>> agent = Agent(actor, [], action_low=[-1, -1], action_high=[1, 1], discount=0.9)
        >>> found = visit_discounted(Simulator("Reacher-v5"), agent, 3, 4)
        >>> found.steps, int(found.weights.sum()), bool((found.states.step < 50).all())
        (50, 12, True)
    """
    episodes, draws = whole_number("episodes", episodes, 1), whole_number("draws", draws, 1)
    seed, stochastic = whole_number("seed", seed, 0), switch("stochastic", stochastic)
    steps = episode_steps(simulator.time_limit, max_steps)
    pilot = simulator.pilot(without_critics(agent))
    pilots, take = Pilots(pilot), taker(simulator._env.action_space, pilot)
    wanted = [_drawn(seed, number, draws, agent.discount, steps) for number in range(episodes)]

    def work(lanes: Lanes, at: slice) -> tuple[int, list[Candidate]]:
        return _visit(lanes, pilots.mine(), take, seed, range(at.start, at.stop), wanted[at], stochastic)

    parts = simulator.spread(episodes, work, least=4)
    unsound = sum(number for number, _ in parts)
    found = [one for _, some in parts for one in some]
    if not found:
        raise GradlabError(
            f"environment {simulator.name}: none of {episodes} episodes reached a drawn step ({unsound} were not "
            "finite); draw more"
        )
    states = assemble(found, simulator.name, simulator.origin)
    weights = [wanted[e][t] for e, t in zip(states.episode.tolist(), states.step.tolist(), strict=True)]
    every = episodes - unsound
    return DiscountedStates(
        states, torch.tensor(weights, dtype=torch.float64), every, draws, steps, agent.discount, unsound
    )


def _drawn(seed: int, episode: int, draws: int, discount: float, steps: int) -> dict[int, int]:
    """Drawn steps of an episode, and how often each."""
    uniform = np.random.default_rng([seed, episode, _CHOICE]).random()
    weights = discount ** np.arange(steps)
    at = np.searchsorted(np.cumsum(weights) / weights.sum(), (uniform + np.arange(draws)) / draws, side="right")
    step, count = np.unique(np.minimum(at, steps - 1), return_counts=True)
    return dict(zip(step.tolist(), count.tolist(), strict=True))


@torch.no_grad()
def _visit(
    lanes: Lanes,
    pilot: Agent,
    take: Callable[[Tensor], Actions],
    seed: int,
    numbers: range,
    wanted: list[dict[int, int]],
    stochastic: bool,
) -> tuple[int, list[Candidate]]:
    """Run some of the episodes as far as they are wanted: how many were not finite, and the states of the others."""
    obs = lanes.reset([int(np.random.SeedSequence([seed, i, _RESET]).generate_state(1)[0]) for i in numbers])
    actor = Actor(pilot, seed, numbers, stochastic=stochastic, policy=Stream.DISCOUNTED)
    sound: Bools = np.asarray(np.isfinite(obs).all(-1))
    last = np.array([max(own) for own in wanted])
    running, found = sound.copy(), list[Candidate]()
    for step in range(int(last.max()) + 1):
        if not running.any():
            break
        go_on()
        for lane in np.flatnonzero(running).tolist():
            if step in wanted[lane]:
                found.append(Candidate(0.0, numbers[lane], step, lanes.capture(lane), obs[lane].copy()))
        running = running & (step < last)
        if not running.any():
            break
        act, _ = actor(np.where(running[:, None], obs, 0.0), step)
        check_actions(act, running)
        obs, reward, terminated = lanes.step(take(act), running)
        sound &= ~running | (np.isfinite(obs).all(-1) & np.isfinite(reward))
        running = running & ~terminated & sound & ~lanes.unstable()
    sound &= ~lanes.unstable()
    first = numbers.start
    return int((~sound).sum()), [one for one in found if sound[one.episode - first]]
