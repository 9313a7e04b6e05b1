"""Probe: what simulated returns say of the critic's values, of steps along its gradient, and of its optima."""

from __future__ import annotations

import math
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import whole_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.evaluation_mode import in_evaluation, mode_notes
from gradlab.landscape import local_optima, phantom_optima
from gradlab.measurement import Measurement
from gradlab.objective import compare_objectives
from gradlab.references import SimulatorReference
from gradlab.simulation.states import States
from gradlab.statistics.action_steps import ActionStep, action_steps
from gradlab.statistics.critic_value import critic_values
from gradlab.statistics.value_accuracy import value_accuracy
from probes.schedule import Every
from probes.task import TaskProbe, task_simulator

#: Weight of a task that goes on that may lie beyond the horizon of values, and rewards of it at most.
_BEYOND, _LONGEST = 0.02, 1000
#: Optima of a state that are held against the truth, and starts of the search for them.
_OPTIMA, _STARTS = 2, 32
_PHANTOM = (
    "value_phantom", "value_unresolved", "slope_phantom", "slope_unresolved",
    "promised", "real_gain", "realised", "overestimated",
)  # fmt: skip


class Returns(TaskProbe):
    """The critic held against returns alone: they need no slope of the simulator, so that no gate closes here.

    ``value/bias``, ``value/rmse``, ``value/correlation`` and ``value/slope`` are of Q(s, π(s)) against the return of
    so many rewards that two per cent of a task's weight lie beyond. ``step/ℓ/predicted``, ``…/realised``, ``…/ratio``
    and ``…/worse`` are of steps of length ℓ along ∇_a Q (``gradlab.statistics.action_steps``), ``phantom/…`` of the
    critic's optima (``gradlab.landscape.phantom_optima``); both count ``horizon`` rewards. It visits states of its
    own, on policy, spread over as many episodes, which are the independent samples, and takes about half as long as the
    probe ``simulator`` does: 4 s for TD3 on Reacher.

    Args:
        environment: gymnasium identifier of the task.
        every: training steps between two measurements.
        states: number of states.
        horizon: rewards in the returns that differences are taken of.
        noise_seeds: returns a mean is taken of, where policy or task are random.
        threads: threads that simulate.

    Raises:
        GradlabError: a number is out of range.
    """

    name = "returns"
    continuous_only = "there are no steps along a gradient of them"

    def __init__(
        self,
        environment: str,
        *,
        every: Every = 5000,
        states: int = 24,
        horizon: int = 50,
        noise_seeds: int = 4,
        threads: int = 1,
    ) -> None:
        super().__init__(environment, every=every, states=states)
        self.horizon = whole_number("probe returns: horizon", horizon, 2)
        self.noise_seeds = whole_number("probe returns: noise_seeds", noise_seeds, 2)
        self.threads = threads

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Scalars by the names above; arrays ``value`` and ``steps``, state by state."""
        notes = list(mode_notes(agent))
        agent = in_evaluation(agent)
        near = _reference(self.environment, self.horizon, self.noise_seeds, self.threads)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        states = near.simulator.visit(agent, self.states, seed=seed, episodes=self.states)
        scalars, value, said = self._values(agent, states)
        notes += said
        steps = action_steps(agent, states, near)
        scalars |= _of_steps(steps)
        try:
            optima = local_optima(agent, agent.observations(states.obs), starts=_STARTS)
            found = phantom_optima(agent, states, near, optima, most=_OPTIMA)
            means = found.means()
        except GradlabError as error:
            notes.append(f"phantom optima are left out: {error}")
        else:
            scalars |= {f"phantom/{name}": getattr(means, name) for name in _PHANTOM}
            notes += found.notes
        known = {name: one for name, one in scalars.items() if one.samples and math.isfinite(one.value)}
        arrays = {"value": value, "steps": _table(steps)}
        return Measurement(known, arrays, notes=tuple(dict.fromkeys(notes)))

    def _values(self, agent: Agent, states: States) -> tuple[dict[str, Estimate], xr.DataArray, list[str]]:
        horizon = far_horizon(agent.discount)
        far = _reference(self.environment, horizon, self.noise_seeds, self.threads)
        told = far.values(agent, states)
        caveat, _ = compare_objectives(agent.objective, told.objective, far.name)
        critic, noise = critic_values(agent, states.obs)
        words = (far.name, str(told.objective), caveat)
        found = value_accuracy(critic, noise, told.mean, told.stderr, states.episode, "value", *words)
        names = ("bias", "rmse", "correlation", "slope")
        table = xr.DataArray(
            torch.stack([found.critic, found.true, found.stderr], -1).numpy(),
            dims=("state", "part"),
            coords={"part": ["critic", "true", "stderr"]},
            attrs={"horizon": horizon, "objective": str(told.objective)},
        )
        beyond = f"values count {horizon} rewards; beyond lies {agent.discount**horizon:.2g} of a task's weight"
        return {f"value/{name}": getattr(found, name) for name in names}, table, [beyond, *found.notes]


def far_horizon(discount: float) -> int:
    """Rewards after which two per cent of the weight of a task that goes on are left, at most 1,000.

    Example:
        >>> far_horizon(0.99), far_horizon(0.5), far_horizon(1.0)
        (390, 6, 1000)
    """
    if not 0 < discount < 1:
        return _LONGEST if discount >= 1 else 1
    return min(_LONGEST, math.ceil(math.log(_BEYOND) / math.log(discount)))


def _reference(environment: str, horizon: int, noise_seeds: int, threads: int) -> SimulatorReference:
    return SimulatorReference(task_simulator(environment, threads), horizon=horizon, noise_seeds=noise_seeds)


def _of_steps(steps: tuple[ActionStep, ...]) -> dict[str, Estimate]:
    parts = ("predicted", "realised", "ratio", "worse")
    return {f"step/{step.length:g}/{part}": getattr(step, part) for step in steps for part in parts}


def _table(steps: tuple[ActionStep, ...]) -> xr.DataArray:
    """Gains of each state, by length of the step: [length, state, part]."""
    parts: list[Any] = ["predicted", "realised", "stderr"]
    table = torch.stack([torch.stack([step.per_state[part] for part in parts], -1) for step in steps])
    lengths = [step.length for step in steps]
    return xr.DataArray(table.numpy(), dims=("length", "state", "part"), coords={"length": lengths, "part": parts})
