"""The simulator as reference: differences of the true return, taken through the physics itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.objective import Objective
from gradlab.policies import Deterministic
from gradlab.references.base import ReferenceCotangent
from gradlab.simulation.differences import plateau, stencil
from gradlab.simulation.gate import closed_because
from gradlab.simulation.simulator import Rollouts, Simulator
from gradlab.simulation.states import States

OUT_OF_TIME = "left out: the time allowed was spent"

_STEPS = (1e-5, 1e-6, 1e-7)
_COARSE_STEPS = (1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class TrueValue:
    """True values of states or of actions in them.

    Attributes:
        mean: [B], float64; NaN where the simulation was not finite.
        stderr: [B], standard error over the policy's noise; zero for a deterministic policy.
        samples: noise seeds behind each mean; 0 for a deterministic policy.
        objective: the objective they are the value of.
    """

    mean: Tensor
    stderr: Tensor
    samples: int
    objective: Objective


class SimulatorReference:
    """∇_h F_s(h) by second-order float64 differences of closed-loop returns from exactly restored states.

    F_s(h) = E_ε[Q^π(s, f(h, ε)) − α log π_h(f(h, ε))]: the head of the first action is moved, all later actions
    are the policy's own. Q^π counts ``horizon`` rewards and knows no critic. Every return at one state shares the
    policy's noise (common random numbers), so that the differences of a stochastic policy are pathwise
    derivatives, averaged over ``noise_seeds`` noises.

    Its gate, per state, with the reason in ``diagnostics["reason"]``: the simulation stays finite; the step sizes
    have a plateau; no rollout of the chosen step sizes ends earlier or later than its siblings; with a stochastic
    policy none ends at all (pathwise derivatives miss what a jump contributes to an expectation); the return is
    not locally constant. Where the gate is closed the mean is NaN.

    Args:
        environment: a gymnasium identifier, a function that makes an environment, or a ``Simulator``.
        horizon: number H of rewards in a return.
        steps: decreasing step sizes, as fractions of each head coordinate's range; three or more say most. By
            default 1e-5, 1e-6, 1e-7: large ones average over contacts and seem to agree on a secant. Where
            observations are rounded to float32, 1e-2, 1e-3, 1e-4: smaller ones would difference the rounding.
        noise_seeds: noises averaged over, at least 2; only for stochastic policies.
        seed: of those noises.
        entropy: whether returns count the agent's entropy bonus −α log π, where it has one (then this is the
            agent's own objective).
        tolerance: largest relative disagreement of neighbouring step sizes that leaves the gate open.
        seconds: time allowed; states not begun by then are left out, and counted in ``diagnostics["left_out"]``.
        respect_time_limit: whether rewards beyond the environment's time limit are lost; by default the limit is
            seen as what it is to training, a truncation of the data and no part of the task.

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
    ) -> None:
        if horizon < 1:
            raise GradlabError(f"horizon: {horizon}; a return has at least one reward")
        self.simulator = environment if isinstance(environment, Simulator) else Simulator(environment)
        steps = steps or (_STEPS if self.simulator.double else _COARSE_STEPS)
        falling = all(a > b for a, b in pairwise(steps))
        if len(steps) < 2 or not falling or not 0 < steps[-1] < steps[0] < 0.25:
            raise GradlabError(f"steps: {tuple(steps)}; give at least two, decreasing, between 0 and 0.25")
        if noise_seeds < 2:
            raise GradlabError(f"noise_seeds: {noise_seeds}; a standard error needs at least two")
        if self.simulator.random:
            raise GradlabError(
                f"environment {self.simulator.name}: its steps draw random numbers, so one rollout is not its return; "
                "differences need a deterministic environment"
            )
        self.horizon = horizon
        self.steps = tuple(float(step) for step in steps)
        self.noise_seeds = noise_seeds
        self.seed = seed
        self.entropy = entropy
        self.tolerance = tolerance
        self.seconds = seconds
        self.respect_time_limit = respect_time_limit

    def objective(self, agent: Agent) -> Objective:
        """The objective whose gradient this is, for that agent."""
        return Objective(agent.discount, entropy=self._alpha(agent), horizon=self.horizon)

    def cotangent(self, agent: Agent, states: States) -> ReferenceCotangent:
        """∇_h F_s(h) at every state.

        The standard error has two parts, added in squares: what neighbouring step sizes disagree by (truncation
        and rounding), and for stochastic policies the noise seeds' standard error.

        Args:
            agent: the agent; a float64 copy in evaluation mode acts.
            states: states visited by ``simulator.visit``.

        Returns:
            The reference. Its diagnostics: ``reason`` (a sentence for each closed state, else empty),
            ``disagreement`` [B] (relative, of the best pair of step sizes), ``step`` [B] (the step size taken, as a
            fraction of the range), ``one_sided`` [B] (coordinates differenced inwards at the box's edge),
            ``value`` and ``value_stderr`` [B] (F_s(h) itself), ``left_out`` (states there was no time for).

        Raises:
            GradlabError: the agent or the states do not fit the environment.
        """
        _refuse_bare(states)
        pilot = self.simulator.pilot(agent)
        noise = self._noise(pilot, len(states))
        size = pilot.policy.head_size(pilot.action_size)
        seeds = 1 if noise is None else len(noise)
        per_state = seeds * (1 + 2 * size * len(self.steps))
        block = max(1, self.simulator.lanes // per_state)
        begun, done = time.perf_counter(), 0
        parts: list[_Block] = []
        while done < len(states):
            if self.seconds is not None and parts and time.perf_counter() - begun > self.seconds:
                break
            at = slice(done, done + block)
            parts.append(self._block(pilot, states[at], None if noise is None else noise[:, :, at]))
            done = min(done + block, len(states))
        return self._assemble(pilot, parts, len(states) - done, seeds if noise is not None else 0)

    def values(self, agent: Agent, states: States, actions: Tensor | None = None) -> TrueValue:
        """Q^π(s, a) at given actions [B, p], or F_s(h), the value of the policy's own choice, without them.

        With entropy Q^π is the soft one of SAC, and F_s has the first action's −α log π as well.

        Raises:
            GradlabError: the agent, the states or the actions do not fit the environment.
        """
        _refuse_bare(states)
        pilot = self.simulator.pilot(agent)
        noise = self._noise(pilot, len(states))
        if actions is None:
            head = self._head(pilot, states)
            value, _ = self._rollouts(pilot, states, head[None], noise)
            value = value[:, 0]
        else:
            seeds = 1 if noise is None else len(noise)
            first = actions.detach().to(dtype=pilot.dtype, device=pilot.device).expand(seeds, *actions.shape)
            value = self._from(pilot, states, first, noise).value
        mean, stderr = _over_seeds(value)
        return TrueValue(mean, stderr, 0 if noise is None else len(noise), self.objective(pilot))

    # One block of states -----------------------------------------------------------------------------------

    def _block(self, pilot: Agent, states: States, noise: Tensor | None) -> _Block:
        around = stencil(pilot, self._head(pilot, states), self.steps)
        values, rollouts = self._rollouts(pilot, states, around.heads, noise)
        gradients = around.gradient(values.to(around.weights)).cpu()
        magnitude = values.abs().amax((0, 1))
        found = plateau(gradients.mean(0), around.steps.cpu(), magnitude, self.tolerance)
        at = torch.arange(len(states))
        _, spread = _over_seeds(gradients[:, found.chosen, at])
        reasons = closed_because(around, found, values, rollouts, stochastic=pilot.policy.stochastic)
        value, value_stderr = _over_seeds(values[:, 0])
        return _Block(
            mean=found.gradient,
            stderr=(found.error.square() + spread.square()).sqrt(),
            reasons=reasons,
            disagreement=found.disagreement,
            step=torch.tensor(self.steps, dtype=torch.float64)[found.chosen],
            one_sided=around.inward.cpu()[found.chosen, :, at].sum(-1),
            value=value,
            value_stderr=value_stderr,
        )

    def _head(self, pilot: Agent, states: States) -> Tensor:
        obs = states.obs.to(dtype=pilot.dtype, device=pilot.device)
        with torch.no_grad():
            head = pilot.head(obs)
        if isinstance(pilot.policy, Deterministic):
            # Rounding in the actor's own scaling may leave the action a last bit outside its box.
            head = torch.clamp(head, pilot.action_low, pilot.action_high)
        return head

    def _rollouts(self, pilot: Agent, states: States, heads: Tensor, noise: Tensor | None) -> tuple[Tensor, Rollouts]:
        """F_s at heads [L, B, m] for each noise seed, [seeds, L, B], float64 on the CPU."""
        first = noise[:, None, 0].to(heads) if noise is not None else heads.new_zeros(1, 1, *heads.shape[1:])
        with torch.no_grad():
            act, log_prob = pilot.policy.sample(heads, first)
        rollouts = self._from(pilot, states, act, None if noise is None else noise[:, None])
        value = rollouts.value
        if alpha := self._alpha(pilot):
            value = value - alpha * log_prob.cpu().double()
        return value, rollouts

    def _from(self, pilot: Agent, states: States, act: Tensor, noise: Tensor | None) -> Rollouts:
        return self.simulator.rollouts(
            pilot,
            states,
            act,
            horizon=self.horizon,
            noise=noise,
            entropy=self._alpha(pilot),
            respect_time_limit=self.respect_time_limit,
        )

    def _alpha(self, agent: Agent) -> float:
        return agent.entropy if self.entropy and agent.policy.stochastic else 0.0

    def _noise(self, pilot: Agent, count: int) -> Tensor | None:
        """The policy's noise [seeds, H, B, p]; None for a deterministic policy."""
        if not pilot.policy.stochastic:
            return None
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.noise_seeds, self.horizon, count, pilot.action_size)
        return pilot.policy.noise(shape, generator, pilot.action_low)

    def _assemble(self, pilot: Agent, parts: list[_Block], left_out: int, samples: int) -> ReferenceCotangent:
        def joined(name: str, fill: float) -> Tensor:
            found = torch.cat([getattr(part, name) for part in parts])
            rest = torch.full((left_out, *found.shape[1:]), fill, dtype=found.dtype)
            return torch.cat([found, rest])

        reasons = [reason for part in parts for reason in part.reasons] + [OUT_OF_TIME] * left_out
        valid = torch.tensor([not reason for reason in reasons])
        mean, stderr = (joined(name, torch.nan) for name in ("mean", "stderr"))
        mean[~valid], stderr[~valid] = torch.nan, torch.nan
        diagnostics: dict[str, Any] = {"reason": reasons, "left_out": left_out, "one_sided": joined("one_sided", 0)}
        for name in ("disagreement", "step", "value", "value_stderr"):
            diagnostics[name] = joined(name, torch.nan)
        return ReferenceCotangent(mean, stderr, self.name, self.objective(pilot), valid, samples, diagnostics)


@dataclass(frozen=True)
class _Block:
    mean: Tensor
    stderr: Tensor
    reasons: list[str]
    disagreement: Tensor
    step: Tensor
    one_sided: Tensor
    value: Tensor
    value_stderr: Tensor


def _refuse_bare(states: object) -> None:
    if not isinstance(states, States):
        raise GradlabError(
            f"states: {type(states).__name__}, but an observation is not all of a state to go on from; "
            "take States from simulator.visit(agent, count)"
        )


def _over_seeds(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the leading dimension and its standard error; zero where there is one seed, a deterministic policy."""
    mean = values.mean(0)
    if len(values) == 1:
        return mean, torch.zeros_like(mean)
    return mean, values.std(0) / len(values) ** 0.5
