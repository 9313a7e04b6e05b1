"""What a step of the action along the critic's gradient gains, by the critic and in truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.landscape.entrance import measured_agent
from gradlab.objective import compare_objectives
from gradlab.references.simulator import SimulatorReference
from gradlab.simulation.states import States
from gradlab.statistics.by_episode import EpisodeSums
from gradlab.statistics.state_means import state_share

#: Lengths of steps, as shares of the box's diagonal.
STEPS = (0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class ActionStep:
    """Steps of one length from the actor's action, at B states.

    Attributes:
        length: of the step, as a share of the box's diagonal, before the box's faces cut it.
        predicted: mean of Q(s, a') − Q(s, π(s)) by the critic.
        realised: mean of Q^π(s, a') − Q^π(s, π(s)).
        ratio: realised over predicted, means over means; NaN where nothing was predicted.
        worse: share of states where the step that the critic advises makes the return worse, among those that moved.
        per_state: ``predicted``, ``realised`` and ``stderr`` of the latter, [B] each; NaN where nothing moved or the
            simulation was not finite.
    """

    length: float
    predicted: Estimate
    realised: Estimate
    ratio: Estimate
    worse: Estimate
    per_state: dict[str, Tensor]


def action_steps(
    agent: Agent,
    states: States,
    reference: SimulatorReference,
    lengths: Sequence[float] = STEPS,
    *,
    allow_mismatch: bool = False,
) -> tuple[ActionStep, ...]:
    """Take the action that the critic's own gradient advises, once, and see what the return does.

    From a = π(s) (of a stochastic policy, its mode) the action goes to a' = a + ℓ·d, d the unit vector along ∇_a Q
    in parts of the box's width, cut at the box's faces; the policy acts afterwards. The critic predicts
    Q(s, a') − Q(s, a); the simulator measures the difference of the two returns, which share every seed's noise. As
    ℓ → 0 the ratio of their means tends to that of the true slope along d to the critic's; from where it leaves one,
    the critic is believed further than it is right. Only the reference's horizon of rewards is counted.

    Args:
        agent: the agent.
        states: B states visited by ``reference.simulator``; their episodes are the independent samples.
        reference: whose returns are the truth.
        lengths: ℓ, above 0, increasing, as shares of the box's diagonal.
        allow_mismatch: go on where the reference's objective is another than the agent's; every number then says so.

    Raises:
        GradlabError: the lengths are not positive and increasing, the objectives differ, or what
            ``reference.values`` refuses.

    Example:
        >>> from gradlab.testing.environments import LinearQuadraticEnvironment
        >>> from gradlab.worlds import LinearQuadratic
        >>> world = LinearQuadratic(A=0.5, B=0.5, Q=1.0, R=1.0, gamma=0.9, K=-0.6)
        >>> reference = SimulatorReference(lambda: LinearQuadraticEnvironment(world, 2.0), horizon=100)
        >>> agent = world.agent(action_bound=2.0)
        >>> states = reference.simulator.visit(agent, 4, seed=0, episodes=4, max_steps=2)
        >>> [round(step.ratio.value, 3) for step in action_steps(agent, states, reference, [0.001, 0.01])]
        [1.0, 1.0]
    """
    sizes = [float(length) for length in lengths]
    if not sizes or not sizes[0] > 0 or sizes != sorted(set(sizes)) or not math.isfinite(sizes[-1]):
        raise GradlabError(f"lengths: {sizes}; give at least one, positive, increasing and finite")
    agent = measured_agent(agent)
    objective = reference.objective(agent)
    caveat, _ = compare_objectives(agent.objective, objective, reference.name, allow_mismatch=allow_mismatch)
    double = agent.snapshot(double=all(isinstance(critic, torch.nn.Module) for critic in agent.critics))
    obs, low, high = double.observations(states.obs), double.action_low, double.action_high
    with torch.no_grad():
        own = double.action(obs).clamp(low, high)
    slope = _slope(double, obs, own) * (high - low)
    norm = slope.norm(dim=-1, keepdim=True)
    along = torch.where(norm > 0, slope / norm.clamp_min(torch.finfo(norm.dtype).tiny), torch.zeros_like(slope))
    # A distance of one is the box's diagonal, whatever its number of coordinates.
    unit = along * (high - low) * own.shape[-1] ** 0.5
    actions = torch.stack([own, *((own + size * unit).clamp(low, high) for size in sizes)])
    with torch.no_grad():
        critic = double.q(obs, actions).double().cpu()
    draws = reference.values(agent, states, actions.double().cpu()).draws
    moved = ((actions[1:] - own).abs().amax(-1) > 0).cpu()
    return tuple(
        _step(
            size,
            torch.where(moved[i], critic[i + 1] - critic[0], torch.nan),
            draws[:, i + 1] - draws[:, 0],
            states.episode.cpu(),
            (reference.name, str(objective), caveat),
        )
        for i, size in enumerate(sizes)
    )


def _slope(agent: Agent, obs: Tensor, act: Tensor) -> Tensor:
    at = act.detach().requires_grad_(True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(agent.q(obs, at).sum(), at)
    return slope.detach()


def _step(length: float, predicted: Tensor, draws: Tensor, episode: Tensor, words: tuple[str, str, str]) -> ActionStep:
    realised = torch.where(predicted.isnan(), torch.nan, draws.mean(0))
    stderr = draws.std(0) / len(draws) ** 0.5 if len(draws) > 1 else torch.zeros_like(realised)
    there = torch.isfinite(predicted) & torch.isfinite(realised)
    per_state = {"predicted": predicted, "realised": realised, "stderr": torch.where(there, stderr, torch.nan)}
    reference, objective, caveat = words
    if not bool(there.any()):
        none = Estimate(math.nan, math.nan, 0, reference, objective, caveat=caveat)
        return ActionStep(length, none, none, none, replace(none, scale="share"), per_state)
    sums = EpisodeSums.of({"p": predicted[there], "r": realised[there]}, episode[there], reference, objective, caveat)
    worse = torch.where(there, (realised < 0).double(), torch.nan)
    return ActionStep(
        length,
        sums.estimate(lambda s: s["p"] / s["count"]),
        sums.estimate(lambda s: s["r"] / s["count"]),
        sums.estimate(lambda s: s["r"] / torch.where(s["p"] > 0, s["p"], torch.nan)),
        replace(state_share(worse, episode, reference, objective), caveat=caveat),
        per_state,
    )
