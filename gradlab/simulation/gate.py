"""Why a difference of returns is not the gradient, state by state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.simulation.chain import Chain
from gradlab.simulation.differences import Plateau, Stencil
from gradlab.simulation.regimes import changes
from gradlab.simulation.rollouts import Rollouts

NOT_FINITE = "not finite: the simulation diverged"
ACTIONLESS = "no action: the actor's output is not finite, here or on the way; look at its weights"
REWARD_JUMP = (
    "reward jump: a reward that jumps (for being healthy, say) jumps on the way; it needs a smoothed reference "
    "(SmoothedSimulatorReference) or, for a stochastic policy, MonteCarloReference"
)
JUMP = "termination jump: the return jumps here and needs a smoothed reference (SmoothedSimulatorReference)"
CONSTANT = (
    "locally constant return: it can only change by jumps and needs a smoothed reference (SmoothedSimulatorReference)"
)
NO_PLATEAU = "no plateau: the differences disagree at every pair of step sizes"
#: How the reasons begin that also give their figures.
AMPLIFIED = "Jacobian product"
UNCHAINED = "chain rule has no plateau"
DISAGREE = "chain rule disagrees"

#: Largest displacement of a state (in the units of ``Chain.growth``) that the smallest step may lead to. Measured
#: against the chain rule on HalfCheetah (a trained TD3 agent, and random ones), Reacher and Hopper, horizons 10 to 50:
#: of differences that displaced a state by less than 0.01, 1 in 409 was off by 1 % or more; from 0.01 to 0.1, 7 in 40;
#: from 0.1 to 0.3, 10 in 14; by more, 111 in 113.
LARGEST_DISPLACEMENT = 0.1

#: Relative distance to the chain rule that is called agreement. On trained and random agents of HalfCheetah (horizon
#: 10), Reacher and Hopper (50) two of 616 states were further apart, where differences had taken a secant across a
#: contact or were rounded; Swimmer's small gradients (50) are rounded by up to 1e-4.
AGREEMENT = 1e-5

#: The same where observations are rounded to float32, which differences have to step over.
ROUNDED_AGREEMENT = 1e-3

#: Times the chain rule's own error (neighbouring step sizes' distance) that the two may be apart in any case. That of
#: the differences excuses nothing: it is what the second way is to judge.
_ERRORS = 3.0


@dataclass(frozen=True)
class Paths:
    """How rollouts went, each tensor [seeds, heads, B].

    Attributes:
        length: rewards received.
        terminated: whether the environment ended the episode.
        regimes: number of the itinerary of the reward's regimes (``simulation.regimes``).
        actionless: whether the actor gave an action that is not finite.
    """

    length: Tensor
    terminated: Tensor
    regimes: Tensor
    actionless: Tensor


def closed_because(
    around: Stencil,
    found: Plateau,
    values: Tensor,
    paths: Paths | Rollouts,
    *,
    stochastic: bool,
    chain: Chain | None = None,
    agreement: float = AGREEMENT,
) -> list[str]:
    """A sentence for each state whose gate is closed, an empty string where it is open.

    Args:
        around: the heads the returns were taken at.
        found: the plateau of their differences.
        values: the returns [seeds, heads, B].
        paths: how the rollouts went that they are of, in the same shape.
        stochastic: whether the policy is; its expectation then also moves with what each noise jumps over.
        chain: the same gradient by the chain rule, for the first of the noise seeds or for all of them. With it two
            more gates: the product of the closed loop's Jacobians must leave the smallest step in the linear regime,
            and the two ways must agree.
        agreement: largest relative distance of the two ways that leaves the gate open.
    """
    centre, pairs = around.split(values)
    length, lengths = around.split(paths.length)
    ends, all_ends = around.split(paths.terminated)
    regime, regimes = around.split(paths.regimes)
    # An expectation moves with what some noises jump over and others do not.
    wandering = (changes(regime) | (regime != regime[0])).any(0) if stochastic else torch.zeros_like(ends[0])
    lost = paths.actionless.any(0).any(0)
    finite = torch.isfinite(values).all(0).all(0)
    second = [""] * len(finite) if chain is None else _second_way(around, found, values, chain, agreement)
    reasons = []
    for state in range(len(finite)):
        # Only rollouts of the two step sizes that agree: a jump further away does not concern the gradient.
        near = slice(int(found.pair[state]), int(found.pair[state]) + 2)
        differ = lengths[:, near, :, :, state] != length[:, None, None, None, state]
        differ |= all_ends[:, near, :, :, state] != ends[:, None, None, None, state]
        # Where the environment clips the action the return is constant, and that is the answer.
        inside = ~around.outside[:, state].to(pairs.device)
        flat = (pairs[:, near, :, :, state] == centre[:, None, None, None, state])[:, :, inside]
        jumps = bool(differ.any()) or (chain is not None and bool(chain.jumps[:, state].any()))
        pays_otherwise = bool((regimes[:, near, :, :, state] != regime[:, None, None, None, state]).any())
        pays_otherwise |= bool(wandering[state])
        pays_otherwise |= chain is not None and bool(chain.reward_jumps[:, state].any())
        if lost[state]:
            reasons.append(ACTIONLESS)
        elif not finite[state] or (chain is not None and bool(chain.value[:, state].isnan().any())):
            reasons.append(NOT_FINITE)
        elif jumps or (stochastic and bool(ends[:, state].any())):
            reasons.append(JUMP)
        elif pays_otherwise:
            reasons.append(REWARD_JUMP)
        elif bool(inside.any()) and bool(flat.all()):
            reasons.append(CONSTANT)
        elif second[state].startswith(AMPLIFIED):
            reasons.append(second[state])
        else:
            reasons.append(second[state] if found.open[state] else NO_PLATEAU + _by_how_much(chain, state))
    return reasons


def apart(around: Stencil, found: Plateau, values: Tensor, chain: Chain) -> Tensor:
    """Relative distance [B] of the differences to the chain rule, both averaged over the chain's noise seeds.

    ‖ḡ_differences − ḡ_chain‖, by the mean of ‖g_chain‖: an average that cancels over the noise is not compared with
    itself. Zero where both are zero.

    Args:
        around: the heads the returns were taken at.
        found: the plateau of their differences.
        values: the returns [seeds, heads, B].
        chain: the chain rule's gradients for the first of the seeds, or for all.
    """
    distance, size, _ = _distances(around, found, values, chain)
    return torch.where(distance == 0, 0.0, distance / size)


def _distances(around: Stencil, found: Plateau, values: Tensor, chain: Chain) -> tuple[Tensor, Tensor, Tensor]:
    """Distance, size of the chain rule's gradient, and its own error, all [B]."""
    seeds, count = chain.growth.shape
    draws = around.gradient(values[:seeds].to(around.weights)).cpu()[:, found.chosen, torch.arange(count)]
    distance = (draws.mean(0) - chain.gradient.mean(0)).norm(dim=-1)
    errors = chain.error.norm(dim=-1).mean(0)
    return distance, chain.gradient.norm(dim=-1).mean(0), errors


def _by_how_much(chain: Chain | None, state: int) -> str:
    # What was looked at and did not close the gate by itself is told all the same.
    if chain is None:
        return ""
    return f"; a change of the first action grows {float(chain.growth[:, state].max()):.1e} times"


def _second_way(around: Stencil, found: Plateau, values: Tensor, chain: Chain, agreement: float) -> list[str]:
    distance, size, errors = _distances(around, found, values, chain)
    # An error that itself has no plateau excuses nothing.
    excused = torch.where(chain.open.all(0), _ERRORS * errors, 0.0)
    agree = distance <= torch.maximum(agreement * size, excused)
    growth, step = chain.growth.amax(0), float(around.fractions[-1])
    reasons = []
    for state in range(len(growth)):
        reach = float(growth[state]) * step
        if not reach <= LARGEST_DISPLACEMENT:
            reasons.append(
                f"{AMPLIFIED}: a change of the first action grows {float(growth[state]):.1e} times, so that the "
                f"smallest step, {step:.0e} of its range, moves a state by {reach:.1e}, out of the linear regime "
                f"({LARGEST_DISPLACEMENT:g}); a shorter horizon may do"
            )
        elif bool(agree[state]):
            reasons.append("")
        elif not bool(chain.open[:, state].all()):
            worst = float(chain.disagreement[:, state].max())
            reasons.append(f"{UNCHAINED}: differences over one step disagree by {worst:.1e} of the gradient")
        else:
            by = float(distance[state] / size[state])
            reasons.append(
                f"{DISAGREE}: it and the differences are {by:.1e} apart, relative, and {agreement:.0e} is allowed "
                "(agreement)"
            )
    return reasons
