"""The chain rule along a closed loop: a second way to the gradient of a return, independent of differences of returns.

A perturbation of the first action becomes one of the state, then of the next observation, then of the action chosen
on it, and so on. Each link is differenced on its own, over one environment step from the exact state on the nominal
path, and the policy's link is differentiated automatically; nothing is perturbed for longer than one step. A return's
difference that agrees with it has neither been thrown by amplified rounding nor taken a secant across a contact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, real_tensor, step_sizes, whole_number
from gradlab.errors import GradlabError
from gradlab.simulation.chain.links import PolicyLink
from gradlab.simulation.chain.tangents import Tangents
from gradlab.simulation.differences import clipped, plateau
from gradlab.simulation.given import check_states
from gradlab.simulation.lanes.base import Lanes
from gradlab.simulation.pilot import Pilots, without_critics
from gradlab.simulation.simulator import Simulator
from gradlab.simulation.states import States
from gradlab.simulation.workers import go_on

_STEPS = (1e-5, 1e-6, 1e-7)
_COARSE_STEPS = (1e-2, 1e-3, 1e-4)

#: Rollouts carried together, at most and at least where there are enough; each comes with 6p displaced ones.
_TOGETHER, _LEAST = 16, 4


@dataclass(frozen=True)
class Chain:
    """∂F/∂h by the chain rule, for each noise seed and state; everything float64 on the CPU.

    Attributes:
        gradient: [seeds, B, m]; NaN where the simulation was not finite.
        error: [seeds, B, m], how far the two step sizes that agree best are apart, or rounding where that is larger.
        disagreement: [seeds, B], the same relative to the gradient's length.
        open: [seeds, B] bool, whether that is within the tolerance, or within rounding.
        growth: [seeds, B], the largest singular value over time of ∂s_t/∂a_0: by how much a change of the first action,
            as a fraction of the action box, is amplified in the state (MuJoCo: in rad, m, and these per second).
        jumps: [seeds, B] bool, whether a one-step difference had the episode end on one side only.
        reward_jumps: [seeds, B] bool, whether it had the reward jump, where the task tells of that (``Task.regime``).
        value: [seeds, B], F itself along the nominal path.
        length: [seeds, B] int64, rewards received on it.
        steps: environment steps simulated in all.
    """

    gradient: Tensor
    error: Tensor
    disagreement: Tensor
    open: Tensor
    growth: Tensor
    jumps: Tensor
    reward_jumps: Tensor
    value: Tensor
    length: Tensor
    steps: int


def chain_rule(
    simulator: Simulator,
    agent: Agent,
    states: States,
    *,
    horizon: int,
    noise: Tensor | None = None,
    entropy: float = 0.0,
    respect_time_limit: bool = False,
    steps: Sequence[float] | None = None,
    tolerance: float = 1e-2,
) -> Chain:
    """∂F_s/∂h for F_s(h) = Q^π(s, f(h, ε_0)) − α log π_h(f(h, ε_0)), with the policy's noise ε held fixed.

    With z the exact state, o its observation, π_t = f(h_θ(·), ε_t) and one step (z, a) → (z', o', r)::

        ż_0 = 0,  ȧ_0 = I;   (ż_{t+1}, ȯ_{t+1}, ṙ_t) = D step(z_t, a_t) · (ż_t, ȧ_t);   ȧ_{t+1} = ∂π_{t+1}/∂o · ȯ_{t+1}
        ∂Q/∂a_0 = Σ_{t<H} γ^t (ṙ_t − α ∂log π_t/∂o · ȯ_t  from t = 1);   ∂F/∂h = (∂f/∂h)ᵀ ∂Q/∂a_0 − α ∂log π_h/∂h

    (forward accumulation: Griewank & Walther 2008, section 3.1). D step is a central difference along the unit
    vector of (ż_t, ȧ_t), all from the nominal state, at three step sizes carried apart from one another; the plateau of
    the three results is taken. One rollout costs 1 + 6p of its length, for any size of the state.

    Where a step would leave the action box the difference is one-sided, inwards; an action that lies outside (the
    first: by more than a millionth of the range) is clipped by the environment, and has derivative zero. Observations
    that the environment clips have the derivative of what it gives, zero beyond the edge. A contact that closes
    within a stencil makes the step sizes disagree.

    Args:
        simulator: where the states are from.
        agent: the agent; a float64 copy in evaluation mode acts.
        states: B states to begin from.
        horizon: number H of rewards.
        noise: the policy's noise [seeds, H, B, p]; needed by a stochastic policy, ignored by a deterministic one.
        entropy: coefficient α.
        respect_time_limit: whether rewards after the time limit, counted from the episode's own start, are lost.
        steps: at least two decreasing step sizes, in the units of ``Chain.growth``; by default 1e-5, 1e-6, 1e-7, or
            1e-2, 1e-3, 1e-4 where observations are rounded to float32.
        tolerance: largest relative disagreement of neighbouring step sizes that is called agreement.

    Raises:
        GradlabError: the agent or the states do not fit, actions are discrete, noise is missing, a step draws random
            numbers, or states are of a kind that cannot be moved by a little.

    Example:
        >>> from torch import nn
        >>> actor = nn.Sequential(nn.Linear(10, 2, bias=False), nn.Tanh())
        >>> _ = nn.init.constant_(actor[0].weight, 0.1)
        >>> agent = Agent(actor, [], action_low=[-1, -1], action_high=[1, 1])
        >>> simulator = Simulator("Reacher-v5")
        >>> states = simulator.visit(agent, 3, seed=0, episodes=1)
        >>> chain = chain_rule(simulator, agent, states, horizon=5)
        >>> chain.gradient.shape, chain.open.all().item(), chain.steps
        (torch.Size([1, 3, 2]), True, 195)
    """
    pilot = simulator.pilot(without_critics(agent))
    horizon = whole_number("horizon", horizon, 1, "a return has at least one reward")
    steps = step_sizes(steps, _STEPS if simulator.double else _COARSE_STEPS)
    entropy, tolerance = real_number("entropy", entropy), real_number("tolerance", tolerance, 0.0)
    noise = None if noise is None else real_tensor("noise", noise)
    _check(simulator, pilot, states, horizon, noise)
    noise = noise if pilot.policy.stochastic else None
    seeds, count = 1 if noise is None else len(noise), len(states)
    remaining = np.full(count, horizon)
    if respect_time_limit and simulator.time_limit is not None:
        remaining = np.minimum(horizon, simulator.time_limit - states.step.numpy())
    pilots, space = Pilots(pilot), simulator._env.action_space

    def work(lanes: Lanes, at: slice) -> list[tuple[dict[str, Tensor], int]]:
        found = []
        for rows in torch.arange(at.start, at.stop).split(_TOGETHER):
            # State by state, the noise seeds of one together.
            owner, seed = rows // seeds, rows % seeds
            epsilon = None if noise is None else noise[seed, :, owner].transpose(0, 1)
            begun = Tangents(lanes, pilots.mine(), space, states[owner].snapshots, steps)
            found.append(_carry(begun, states.obs[owner], epsilon, remaining[owner.numpy()], entropy, tolerance))
        return found

    parts = [part for chunk in simulator.spread(count * seeds, work, least=_LEAST) for part in chunk]

    def joined(name: str) -> Tensor:
        found = torch.cat([part[name] for part, _ in parts])
        return found.reshape(count, seeds, *found.shape[1:]).transpose(0, 1).contiguous()

    names = ("gradient", "error", "disagreement", "open", "growth", "jumps", "reward_jumps", "value", "length")
    return Chain(**{name: joined(name) for name in names}, steps=sum(simulated for _, simulated in parts))


def _check(simulator: Simulator, pilot: Agent, states: States, horizon: int, noise: Tensor | None) -> None:
    if not pilot.policy.continuous:
        raise GradlabError("chain rule: actions are discrete and have no derivatives; differences of values serve them")
    if simulator.random:
        raise GradlabError(
            f"environment {simulator.name}: its steps draw random numbers, so they have no derivative; "
            "the chain rule needs a deterministic environment"
        )
    check_states(states, simulator)
    if pilot.policy.stochastic:
        if noise is None:
            raise GradlabError("noise: a stochastic policy needs it, [seeds, horizon, states, actions]")
        expected = (horizon, len(states), simulator.action_size)
        if noise.ndim != 4 or tuple(noise.shape[1:]) != expected:
            raise GradlabError(f"noise: shape {tuple(noise.shape)}; expected [seeds, {', '.join(map(str, expected))}]")


def _carry(
    tangents: Tangents, obs: Tensor, noise: Tensor | None, remaining: Any, entropy: float, tolerance: float
) -> tuple[dict[str, Tensor], int]:
    """Carry the tangents of at most a block of rollouts, noise [H, N, p], to their ends."""
    pilot, steps = tangents.pilot, tangents.steps
    count, size = len(obs), pilot.action_size
    policy = PolicyLink(pilot)
    head, outside = clipped(pilot, policy.head(obs))
    first = policy.at_head(head, None if noise is None else noise[0])
    act = first.act
    # A first action that the environment clips cannot be moved.
    eye = np.eye(size) * ~outside.cpu().numpy()[:, None, :size]
    moved_act = np.broadcast_to(eye[:, None], (count, len(steps), size, size))
    gradient = np.zeros((count, len(steps), size))
    value, length, magnitude = np.zeros(count), np.zeros(count, dtype=np.int64), np.zeros(count)
    alive, weight = remaining > 0, 1.0
    for t in range(int(remaining.max(initial=0))):
        go_on()
        after = tangents.step(act, moved_act, alive)
        gradient += weight * after.moved_reward
        value += weight * after.reward
        magnitude += weight * np.abs(after.reward) * after.norm
        length += alive
        alive = alive & after.going_on & (t + 1 < remaining)
        if not alive.any():
            break
        weight *= pilot.discount
        link = policy.at_observation(torch.from_numpy(after.obs), None if noise is None else noise[t + 1], alive)
        act, moved_obs = link.act, np.where(alive[:, None, None, None], after.moved_obs, 0.0)
        moved_act = np.einsum("npo,nkdo->nkdp", link.jacobian, moved_obs)
        if entropy and noise is not None:
            gradient -= weight * entropy * np.einsum("no,nkdo->nkd", link.log_prob_gradient, moved_obs)
            value -= weight * entropy * link.log_prob
    gradient[tangents.broken], value[tangents.broken] = np.nan, np.nan
    at_head = np.einsum("npm,nkp->knm", first.jacobian, gradient)
    if entropy and noise is not None:
        at_head = at_head - entropy * first.log_prob_gradient
        value -= entropy * first.log_prob
    sizes = torch.tensor(steps, dtype=torch.float64)[:, None].expand(-1, at_head.shape[-1])
    # Rounding in a reward is magnified as the tangent was shrunk to a step's length.
    magnitude *= np.abs(first.jacobian).sum((1, 2))
    found = plateau(torch.from_numpy(at_head), sizes, torch.from_numpy(magnitude), tolerance)
    parts = {name: getattr(found, name) for name in ("gradient", "error", "disagreement", "open")}
    arrays = {name: getattr(tangents, name) for name in ("growth", "jumps", "reward_jumps")}
    arrays |= {"value": value, "length": length}
    return parts | {name: torch.from_numpy(array) for name, array in arrays.items()}, tangents.simulated
