"""The simulator as reference: differences of the true return, taken through the physics itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import file_path, listener, real_number, step_sizes, switch, time_allowed, whole_number
from gradlab.errors import GradlabError
from gradlab.objective import Objective
from gradlab.references.base import ReferenceCotangent
from gradlab.references.closed_loop import ClosedLoopReference
from gradlab.references.rollouts.action_sums import ActionSums
from gradlab.references.rollouts.allocation import Allocation
from gradlab.references.rollouts.assembly import OUT_OF_TIME, assemble
from gradlab.references.rollouts.course import Course
from gradlab.references.rollouts.differenced import DifferencedReturns
from gradlab.references.rollouts.fingerprint import fingerprints
from gradlab.references.rollouts.log import RolloutLog
from gradlab.references.rollouts.run import RolloutRun
from gradlab.references.rollouts.schemes import Scheme
from gradlab.references.rollouts.spending import Listener, Progress, Spending
from gradlab.references.true_values import TrueValue, state_values, true_values
from gradlab.simulation.gate import AGREEMENT, ROUNDED_AGREEMENT
from gradlab.simulation.given import check_states
from gradlab.simulation.lanes.batch import BatchSnapshot
from gradlab.simulation.lanes.mujoco import MujocoSnapshot
from gradlab.simulation.simulator import Simulator
from gradlab.simulation.states import States

__all__ = ["OUT_OF_TIME", "Progress", "SimulatorReference", "TrueValue"]

_STEPS = (1e-5, 1e-6, 1e-7, 1e-8)
_COARSE_STEPS = (1e-2, 1e-3, 1e-4)
_AGREEMENTS = {True: AGREEMENT, False: ROUNDED_AGREEMENT}
#: Fewest noises of a pilot, which decides how many are averaged over.
_ADAPTIVE_SEEDS = 8


class SimulatorReference(ClosedLoopReference):
    """∇_h F_s(h) by second-order float64 differences of closed-loop returns from exactly restored states.

    F_s(h) = E_ε[Q^π(s, f(h, ε)) − α log π_h(f(h, ε))]: the head of the first action is moved, all later actions
    are the policy's own. Q^π counts ``horizon`` rewards and knows no critic. Every return at one state shares the
    policy's noise (common random numbers), so that the differences of a stochastic policy are pathwise
    derivatives, averaged over ``noise_seeds`` noises. For a softmax nothing is differenced: every action is taken
    once a noise, and the sum over actions differentiated (``references.softmax``).

    Its gate, per state, with the reason in ``diagnostics["reason"]``: the actor's output and the simulation stay
    finite; the step sizes have a plateau; no rollout of the chosen step sizes ends earlier or later than its
    siblings, or is paid otherwise where gymnasium's own task has a reward that jumps (for health, without an end);
    with a stochastic policy no rollout ends or comes to such a jump at all (pathwise derivatives miss what a jump
    contributes to an expectation); the return is not locally constant. A reward of one's own that jumps without
    ending the episode cannot be seen: under a stochastic policy its share is missing and the gate is open, so use
    ``MonteCarloReference`` there, or hold the two against each other (``gradlab.cross_check``). The chain rule is a
    second way, independent of the first: through one-step differences along the path (``simulation.chain``), with the
    first of the noises. The two must agree, and a product of Jacobians too large for differences is refused. Where
    the gate is closed the mean is NaN; what jumps or is locally constant has a gradient only when it is smoothed, see
    ``SmoothedSimulatorReference``.

    What it gives depends on the seed, the states' positions and the settings alone: it is the same to the last bit
    for any number of threads, and wherever a run was interrupted that a file of finished rollouts let go on.

    Args:
        environment: a gymnasium identifier, a function that makes an environment, or a ``Simulator``.
        horizon: number H of rewards in a return.
        steps: decreasing step sizes, as fractions of each head coordinate's range; three or more say most. By
            default 1e-5 to 1e-8: of these the pair counts that agrees best. Large ones average over contacts, and may
            agree on a secant (which the chain rule tells); small ones are rounded where gradients are small. Where
            observations are rounded to float32, 1e-2, 1e-3, 1e-4: smaller ones would difference the rounding.
        noise_seeds: noises averaged over, at least 2; for stochastic policies, and for environments whose steps draw
            random numbers: a noise is then of both, the environment's generators being begun from a seed of its own,
            the same for all rollouts that are differenced. Standard errors are right on average with any number, but
            draws of a log-standard-deviation's derivative are skewed (they hold ε²), and Student's t with few of them
            holds less than 95 %: where the first action's noise is most of it, .82 to .86 with 8, .88 to .91 with 16,
            .91 to .93 with 32, .93 to .95 with 64. Take 32 or more where those coordinates' intervals matter.
        seed: of those noises.
        entropy: whether returns count the agent's entropy bonus −α log π, where it has one (then this is the
            agent's own objective).
        tolerance: largest relative disagreement of neighbouring step sizes that leaves the gate open.
        seconds: time allowed in one call; a block of rollouts that would not fit is not begun (but for the very
            first), and states without all their first noises are left out and counted in ``diagnostics["left_out"]``.
        respect_time_limit: whether rewards beyond the environment's time limit are lost; by default the limit is
            seen as what it is to training, a truncation of the data and no part of the task.
        states: most states to measure; of more, so many are taken, evenly spaced, and the others are left out.
        rollouts: most rollouts of differences to make; as with the time, a block that would not fit is not begun.
        stderr_target: for stochastic policies, the relative standard error ‖stderr‖/‖mean‖ of a state to aim at.
            A pilot of ``noise_seeds`` noises, at least 8, says for every state how many it is to be averaged over,
            at least as many again and the widest first, and is then left out, so that means are unbiased whatever
            the draws. 0 spends all of ``seconds`` or ``rollouts``. Means below a tenth of the root mean square over
            states, or below half of their pilot's standard error, count as that; so a target may be missed where a
            gradient is small against its noise. What a pilot does not see it does not plan for: where one draw in k
            is far off, take ``noise_seeds`` of 3 k or more (with one in twenty, intervals of 95 % held .57 with 8,
            .80 with 16 and .90 with 64). None gives every state the same noises.
        second_way: whether a state's gradient is held against the chain rule's; by default where MuJoCo keeps the
            state (other environments may hold reals that cannot be found and moved). It is worked out at states that
            are open without it or have no plateau; it doubles the steps simulated for a deterministic policy, and adds
            about one part in ``noise_seeds`` for others.
        agreement: largest relative distance of the two that leaves the gate open, beyond three times the chain rule's
            own error; by default 1e-5, and 1e-3 where observations are rounded to float32. Where gradients are small
            against returns both are right to fewer digits (Swimmer's over 50 steps to 1e-4), and more may be allowed.
        clock: seconds, monotonic; for tests.

    Raises:
        GradlabError: the environment cannot be simulated exactly, or an argument is out of range.

    Example:
        >>> from torch import nn
        >>> actor = nn.Sequential(nn.Linear(10, 2), nn.Tanh())
        >>> agent = Agent(actor, [], action_low=[-1, -1], action_high=[1, 1])
        >>> reference = SimulatorReference("Reacher-v5", horizon=10)
        >>> states = reference.simulator.visit(agent, 3, seed=0, episodes=1)
        >>> truth = reference.cotangent(agent, states)
        >>> truth.mean.shape, str(truth.objective)
        (torch.Size([3, 2]), 'γ=0.99, H=10')
    """

    name = "simulator"

    def __init__(
        self,
        environment: str | Callable[[], Any] | Simulator,
        horizon: int = 50,
        *,
        steps: Sequence[float] | None = None,
        noise_seeds: int = 8,
        seed: int = 0,
        entropy: bool = True,
        tolerance: float = 1e-2,
        seconds: float | None = None,
        respect_time_limit: bool = False,
        states: int | None = None,
        rollouts: int | None = None,
        stderr_target: float | None = None,
        second_way: bool | None = None,
        agreement: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        noise_seeds = whole_number("noise_seeds", noise_seeds, 2, "a standard error needs at least two")
        tolerance = real_number("tolerance", tolerance, 0.0)
        second_way = None if second_way is None else switch("second_way", second_way)
        agreement = None if agreement is None else real_number("agreement", agreement, 0.0)
        seconds = time_allowed("seconds", seconds)
        states, rollouts = (
            None if most is None else whole_number(name, most, 1, "or None for no limit")
            for name, most in (("states", states), ("rollouts", rollouts))
        )
        stderr_target = _checked_target(stderr_target, endless=seconds is None and rollouts is None)
        super().__init__(environment, horizon, seed=seed, entropy=entropy, respect_time_limit=respect_time_limit)
        if self.simulator.random:
            second_way = _check_random(self.simulator, second_way)
        self.steps = step_sizes(steps, _STEPS if self.simulator.double else _COARSE_STEPS)
        self.noise_seeds = noise_seeds
        self.tolerance = tolerance
        self.seconds = seconds
        self.states = states
        self.rollouts = rollouts
        self.stderr_target = stderr_target
        self.second_way = second_way
        self.agreement = _AGREEMENTS[self.simulator.double] if agreement is None else agreement
        self._clock = clock

    def objective(self, agent: Agent) -> Objective:
        """The objective whose gradient this is, for that agent."""
        return Objective(agent.discount, entropy=self._alpha(agent), horizon=self.horizon)

    def cotangent(
        self,
        agent: Agent,
        states: States,
        *,
        resume: str | os.PathLike[str] | None = None,
        progress: Listener | None = None,
    ) -> ReferenceCotangent:
        """∇_h F_s(h) at every state.

        The standard error has two parts, added in squares: what neighbouring step sizes disagree by (truncation
        and rounding), and for stochastic policies the noise seeds' standard error.

        Args:
            agent: the agent; a float64 copy in evaluation mode acts.
            states: states visited by ``simulator.visit``.
            resume: a file for finished rollouts. If it is there from a run that was interrupted, or that had less
                time, fewer rollouts or a looser target, this one goes on from it.
            progress: called with a ``Progress`` after every block of rollouts, and at the end.

        Returns:
            The reference. Its diagnostics: ``reason`` (a sentence for each closed state, else empty),
            ``disagreement`` [B] (relative, of the best pair of step sizes), ``step`` [B] (the step size taken, as a
            fraction of the range), ``one_sided`` [B] (coordinates differenced inwards at the box's edge),
            ``outside_box`` [B] (coordinates of a deterministic policy beyond it: the environment clips them, so their
            derivative is zero, exactly),
            ``value`` and ``value_stderr`` [B] (F_s(h) itself), ``left_out`` (states not measured for want of time or
            rollouts, or beyond ``states``), ``noise_seeds`` [B] (noises averaged over; ``samples`` is the fewest at
            an open state), ``rollouts`` [B] (made from each state, a pilot's too), ``steps`` (simulated), ``seconds``
            (spent on simulating them, in all runs) and ``steps_per_second``; where there is a second way
            also ``growth`` [B] (by how much a change of the first action is amplified) and ``chain_error`` [B] (the
            relative distance of the two ways).

        Raises:
            GradlabError: the agent or the states do not fit the environment, or ``resume`` is a file of another
                agent or environment, of other states or settings, or of something else.
        """
        resume, progress = file_path("resume", resume), listener("progress", progress)
        pilot = self.simulator.pilot(agent)
        check_states(states, self.simulator)
        scheme = self._scheme(pilot, states)
        stochastic = pilot.policy.stochastic or self.simulator.random
        target = self.stderr_target if stochastic else None
        if target is not None and self.noise_seeds < _ADAPTIVE_SEEDS:
            raise GradlabError(
                f"noise_seeds: {self.noise_seeds}; with a stderr_target a state begins with at least {_ADAPTIVE_SEEDS}"
            )
        chosen = _evenly(len(states), self.states)
        noises = self.noise_seeds if stochastic else 1
        allocation = Allocation(chosen, noises, width=scheme.width, horizon=self.horizon, target=target)
        log = None
        if resume is not None:
            log = RolloutLog(resume, fingerprints(self.simulator, pilot, states, self._settings(pilot)))
        with log or nullcontext():
            run = RolloutRun(
                self._course(pilot, states),
                scheme,
                allocation,
                Spending(self.seconds, self.rollouts, self._clock),
                log=log,
                listener=progress,
                second_way=self._checked(pilot, states),
            )
            run.go()
        return assemble(run, allocation, scheme, pilot, states, self.objective(pilot), self.name)

    def values(
        self, agent: Agent, states: States, actions: Tensor | None = None, *, horizon: int | None = None
    ) -> TrueValue:
        """Q^π(s, a) at given actions [..., B, p], or F_s(h), the value of the policy's own choice, without them.

        With entropy Q^π is the soft one of SAC, and F_s has the first action's −α log π as well. Several actions in
        one state share the noise of every seed.

        Args:
            agent: the agent; a float64 copy in evaluation mode acts.
            states: B states visited by ``simulator.visit``.
            actions: [..., B, p] in the critic's coordinates; [B, p] for one action a state.
            horizon: count only so many rewards of the same rollouts, at most the reference's own horizon, which is what
                it takes to see how much a longer one would add; only with actions.

        Raises:
            GradlabError: the agent, the states, the actions or the horizon do not fit.
        """
        pilot = self.simulator.pilot(agent)
        check_states(states, self.simulator)
        noises = self.noise_seeds if pilot.policy.stochastic or self.simulator.random else 1
        course, objective = self._course(pilot, states), self.objective(pilot)
        if actions is None:
            if horizon is not None:
                raise GradlabError("horizon: only with actions; a reference of that horizon values the policy's choice")
            return state_values(course, self._scheme(pilot, states), noises, objective)
        if horizon is not None:
            objective = replace(objective, horizon=whole_number("horizon", horizon, 1))
        return true_values(course, actions, noises, objective, horizon)

    # What it is made of ------------------------------------------------------------------------------------

    def _scheme(self, pilot: Agent, states: States) -> Scheme:
        with torch.no_grad():
            # An actor may round its output to another dtype than its weights have.
            head = pilot.head(states.obs.to(dtype=pilot.dtype, device=pilot.device)).to(pilot.dtype)
        if not pilot.policy.continuous:
            return ActionSums(head, entropy=self._alpha(pilot))
        return DifferencedReturns(
            pilot,
            head,
            self.steps,
            entropy=self._alpha(pilot),
            tolerance=self.tolerance,
            agreement=self.agreement,
            random=self.simulator.random,
        )

    def _checked(self, pilot: Agent, states: States) -> bool:
        """Whether the chain rule is worked out too."""
        if not pilot.policy.continuous:
            return False
        if self.second_way is None:
            return all(isinstance(snapshot, (BatchSnapshot, MujocoSnapshot)) for snapshot in states.snapshots)
        return self.second_way

    def _course(self, pilot: Agent, states: States) -> Course:
        return Course(
            self.simulator, pilot, states, self.horizon, self.seed, self._alpha(pilot), self.respect_time_limit
        )

    def _settings(self, pilot: Agent) -> dict[str, Any]:
        """What decides the rollouts' numbers and their order; limits only say where they stop."""
        names = ("horizon", "steps", "noise_seeds", "seed", "tolerance", "respect_time_limit", "states", "second_way")
        found = {name: getattr(self, name) for name in names}
        return found | {"entropy": self._alpha(pilot), "pilot": self.stderr_target is not None}


def _check_random(simulator: Simulator, second_way: bool | None) -> bool:
    """An environment that draws random numbers is averaged over seeds of theirs, if these can be set, one way only."""
    if not simulator._lanes.reseedable:
        raise GradlabError(
            f"environment {simulator.name}: its steps draw random numbers that cannot be begun from a seed at a state, "
            "so its returns have no common random numbers to difference under; let it draw from self.np_random, or "
            "use MonteCarloReference"
        )
    if second_way:
        raise GradlabError(
            f"environment {simulator.name}: its steps draw random numbers, through which the chain rule is not worked "
            "out; leave second_way False"
        )
    return False


def _checked_target(target: float | None, *, endless: bool) -> float | None:
    if target is None:
        return None
    target = real_number("stderr_target", target, 0.0, "a relative standard error such as 0.1, or None")
    if target == 0 and endless:
        raise GradlabError("stderr_target: 0 has no end of its own; set seconds or rollouts too")
    return target


def _evenly(count: int, most: int | None) -> list[int]:
    """Positions of at most ``most`` of ``count`` states, evenly spaced: states of one episode lie side by side."""
    if most is None or most >= count:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * most) for i in range(most)]
