"""A few simulated rewards, then the critic: a reference for horizons over which no difference can be trusted."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.arguments import whole_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.objective import Objective
from gradlab.references.base import ReferenceCotangent
from gradlab.references.rollouts.course import Course
from gradlab.references.rollouts.records import Block
from gradlab.references.rollouts.spending import Listener
from gradlab.references.simulator import SimulatorReference
from gradlab.simulation.rollouts import Rollouts
from gradlab.simulation.simulator import Simulator
from gradlab.simulation.states import States
from gradlab.simulation.torch_threads import one_torch_thread

if TYPE_CHECKING:
    from gradlab.statistics.critic_gradient import GradientAccuracy

#: Episodes from which on the bias's 95 % interval holds it in 92 of 100 cases where the critic's errors are skewed
#: (log-normal with σ = ½ over normal ones): 84 at 8, 86 at 12, 94 at 64; where they are normal 92 to 97 at any number.
_EPISODES = 32


class BootstrappedReference(SimulatorReference):
    """∇_h F^n_s(h), F^n_s(h) = E[Σ_{t<n} γ^t r_t + γ^n Q(s_n, a_n)], a_t = f(h_t, ε_t): n rewards, then the critic's Q.

    Q is reduced as the agent's actor follows it, and evaluated in float64 on a copy; −α log π of every action a_0 … a_n
    is added where the objective has entropy. n = 0 is the critic itself (``CriticReference``), n → ∞ the simulator. The
    head of the first action is moved; differences, their gates, budgets and resuming are those of
    ``SimulatorReference``. Nothing is bootstrapped after a termination. A piecewise-linear critic is differenced
    between its kinks; where one lies between two step sizes the plateau is missed and the gate closes.
    Source: Sutton & Barto 2018, "Reinforcement learning", section 7.1 (the n-step return).

    It is biased by what the critic's error at s_n has for a gradient, γ^n times the sensitivity of s_n to a_0: less
    than the critic's own bias where the closed loop contracts, more where it does not. So the bias is measured, against
    ``SimulatorReference`` of a longer horizon at a few of the states, and stated with the reference:
    ``diagnostics["bias"]`` and ``diagnostics["note"]``.

    Args:
        environment: a gymnasium identifier, a function that makes an environment, or a ``Simulator``.
        steps: number n of simulated rewards, 0 or more.
        bias_states: states at which the bias is measured, evenly spaced among those that are open; 0 for none.
        bias_horizon: rewards of the return it is measured against, more than n; by default 100, or 2n where that is
            more.
        differences: decreasing step sizes of the differences, as fractions of each head coordinate's range.
        options: any other option of ``SimulatorReference`` but ``second_way``: the chain rule knows no critic. Time
            that is left of ``seconds`` is what the bias is measured in, but for one block of rollouts.

    Raises:
        GradlabError: the environment cannot be simulated exactly, or an argument is out of range.

    Example:
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return -act.square().sum(-1)
        >>> actor = nn.Linear(10, 2)
        >>> _ = nn.init.zeros_(actor.weight), nn.init.constant_(actor.bias, 0.25)
        >>> agent = Agent(actor, [Critic()], action_low=[-1, -1], action_high=[1, 1])
        >>> reference = BootstrappedReference("Reacher-v5", steps=0, bias_states=0)
        >>> states = reference.simulator.visit(agent, 2, seed=0, episodes=1)
        >>> reference.cotangent(agent, states).mean.round(decimals=6)  # the critic's own: −2a
        tensor([[-0.5000, -0.5000],
                [-0.5000, -0.5000]], dtype=torch.float64)
    """

    name = "bootstrapped"

    def __init__(
        self,
        environment: str | Callable[[], Any] | Simulator,
        steps: int = 10,
        *,
        bias_states: int = 8,
        bias_horizon: int | None = None,
        differences: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        steps, bias_states = whole_number("steps", steps, 0), whole_number("bias_states", bias_states, 0)
        horizon = max(100, 2 * steps)
        if bias_horizon is not None:
            horizon = whole_number("bias_horizon", bias_horizon, steps + 1, "longer than the steps")
        if options.get("second_way"):
            raise GradlabError(
                "bootstrapped: second_way is not to be had, the chain rule knows no critic; leave it out"
            )
        super().__init__(environment, max(steps, 1), steps=differences, **{**options, "second_way": False})
        self.rewards = steps
        self.bias_states = bias_states
        self.bias_horizon = horizon
        self._truth = {"steps": differences, **options}

    def objective(self, agent: Agent) -> Objective:
        """The agent's own, without an end: it is bootstrapped and not cut off."""
        return Objective(agent.discount, entropy=self._alpha(agent))

    def cotangent(
        self,
        agent: Agent,
        states: States,
        *,
        resume: str | os.PathLike[str] | None = None,
        progress: Listener | None = None,
    ) -> ReferenceCotangent:
        """∇_h F^n_s(h) at every state.

        Args:
            agent: the agent; a float64 copy in evaluation mode acts and judges.
            states: states visited by ``simulator.visit``.
            resume: a file for finished rollouts, as for ``SimulatorReference``; those behind the bias go to another of
                that name with ".bias" after it.
            progress: called with a ``Progress`` after every block of rollouts that are not the bias's.

        Returns:
            The reference. Its diagnostics are those of ``SimulatorReference``, and ``bias`` (a ``GradientAccuracy``:
            relative squared bias, cosine and norm ratio against the simulator, as ``Estimate`` with intervals over
            episodes; None where it could not be measured) and ``note``, which says it in a sentence.

        Raises:
            GradlabError: the agent has no critic, or it or the states do not fit the environment.
        """
        if not agent.critics:
            raise GradlabError(
                "bootstrapped: the agent has no critic of (obs, act) to go on with; use SimulatorReference"
            )
        begun = self._clock()
        found = super().cotangent(agent, states, resume=resume, progress=progress)
        bias, note = self._bias(agent, states, found, self._clock() - begun, resume)
        return replace(found, diagnostics={**found.diagnostics, "bias": bias, "note": note})

    # What it is made of ------------------------------------------------------------------------------------

    def _course(self, pilot: Agent, states: States) -> Course:
        alpha = self._alpha(pilot)
        # One action more than there are rewards: the one that the critic judges.
        return _Bootstrapped(self.simulator, pilot, states, self.rewards + 1, self.seed, alpha, self.respect_time_limit)

    def _settings(self, pilot: Agent) -> dict[str, Any]:
        reduction = [pilot.reduction, pilot.quantiles, pilot.drop_quantiles]
        judged = {"rewards": self.rewards, "critics": [_digest(critic) for critic in pilot.critics]}
        return {**super()._settings(pilot), **judged, "reduction": reduction}

    def _bias(
        self,
        agent: Agent,
        states: States,
        found: ReferenceCotangent,
        spent: float,
        resume: str | os.PathLike[str] | None,
    ) -> tuple[GradientAccuracy | None, str]:
        # Statistics know references; here it is the other way round, so not before it is needed.
        from gradlab.statistics.critic_gradient import gradient_accuracy

        opened = found.valid.nonzero()[:, 0]
        count = min(self.bias_states, len(opened))
        if count == 0:
            return None, "bias not measured: " + ("none was asked for" if len(opened) else "no state is open")
        at = opened[(2 * torch.arange(count) + 1) * len(opened) // (2 * count)]
        # Another seed, so that the policy's noise in the two is independent.
        options = {**self._truth, "seed": self.seed + 1, "states": None}
        if self.seconds is not None:
            options["seconds"] = max(self.seconds - spent, 0.0)
        reference = SimulatorReference(self.simulator, self.bias_horizon, **options)
        file = None if resume is None else f"{os.fspath(resume)}.bias"
        truth = reference.cotangent(agent, states[at], resume=file)
        against = f"against the simulator, {truth.objective}"
        if not bool(truth.valid.any()):
            reasons = "; ".join(sorted(set(truth.diagnostics["reason"])))
            return None, f"bias not known: {against}, every gate is closed ({reasons})"
        here = ReferenceCotangent(found.mean[at], found.stderr[at], self.name, found.objective, found.valid[at])
        bias, _ = gradient_accuracy(here, truth, states.episode[at])
        return bias, (
            f"bias of the critic after {self.rewards} rewards, {against}, at {bias.open} of {len(states)} states: "
            f"relative squared {_said(bias.relative_bias_squared)}, cosine {_said(bias.cosine)}"
        )


@dataclass(frozen=True)
class _Bootstrapped(Course):
    """Rollouts of one reward less than there are actions, and the critic's value of the last action."""

    @torch.no_grad()
    def rollouts(self, block: Block, act: Tensor, noise: Tensor | None) -> Rollouts:
        rewards, pilot, states = self.horizon - 1, self.pilot, self.states[block.positions]
        shape = act.shape[:-1]
        if rewards:
            found = replace(self, horizon=rewards)._simulated(block, act, noise)
        else:
            none = torch.zeros(shape, dtype=torch.int64)
            start = states.obs.expand(*shape, states.obs.shape[-1])
            found = Rollouts(none.double(), none, none.bool(), start, none, none.bool())
        alive = ~found.terminated & (found.length == rewards)
        if self.respect_time_limit and self.simulator.time_limit is not None:
            alive &= states.step + rewards < self.simulator.time_limit
        # Where nothing is bootstrapped any observation will do; where the simulation was not finite none is.
        last = torch.where(alive.unsqueeze(-1), found.last_obs, states.obs).nan_to_num(nan=0.0)
        rows = last.reshape(-1, last.shape[-1]).to(dtype=pilot.dtype, device=pilot.device)
        with one_torch_thread():
            last_act, bonus = self._last_action(rows, act, noise)
            judged = pilot.q(rows, last_act).cpu().double() + bonus
        value = found.value + pilot.discount**rewards * torch.where(alive, judged.reshape(shape), 0.0)
        return replace(found, value=value)

    def _simulated(self, block: Block, act: Tensor, noise: Tensor | None) -> Rollouts:
        return super().rollouts(block, act, None if noise is None else noise[: self.horizon])

    def _last_action(self, rows: Tensor, act: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """The action a_n [rows, p] and −α log π of it; the first action's own bonus is added elsewhere."""
        policy, flat = self.pilot.policy, act.reshape(-1, act.shape[-1]).to(rows)
        nothing = torch.zeros(len(rows), dtype=torch.float64)
        if self.horizon == 1:
            return flat, nothing
        head = self.pilot.head(rows)
        if noise is None:
            return policy.mode(head), nothing
        last = noise[-1].expand(act.shape).reshape(flat.shape)
        found, log_prob = policy.sample(head, last.to(rows))
        return found, -self.entropy * log_prob.cpu().double() if self.entropy else nothing


def _said(estimate: Estimate) -> str:
    low, high = estimate.interval()
    if math.isnan(estimate.value + low + high):
        return f"unresolved ({estimate.samples} episodes)"
    said = f"{estimate.value:.3g} (95 % interval {low:.3g} to {high:.3g}, {estimate.samples} episodes"
    return (
        f"{said}; with skewed errors it takes about {_EPISODES} for that)"
        if estimate.samples < _EPISODES
        else f"{said})"
    )


def _digest(critic: Any) -> str:
    """Of a critic's weights; of a bare function only its name can be told."""
    module = getattr(critic, "__self__", critic)
    digest = hashlib.blake2b(getattr(critic, "__qualname__", "").encode(), digest_size=16)
    digest.update(repr(module).encode() if isinstance(module, nn.Module) else type(module).__qualname__.encode())
    for name, part in module.state_dict().items() if isinstance(module, nn.Module) else ():
        digest.update(name.encode())
        digest.update(part.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()
