"""Probe: how many local optima the critic has, how far the actor is from the best, and what becomes of them."""

from __future__ import annotations

import uuid
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, whole_number
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.evaluation_mode import in_evaluation
from gradlab.landscape import LocalOptima, follow, gap, local_optima, surrogates_of_search
from gradlab.landscape.training.report import THRESHOLDS
from gradlab.landscape.training.summaries import landscape_numbers
from gradlab.measurement import Measurement
from gradlab.statistics.state_means import optima_mean
from probes import memory
from probes.probe import Probe
from probes.schedule import Every

#: Surrogates Ψ_1, Ψ_2, … beside Q.
_SURROGATES = 3


class Landscape(Probe):
    """Local optima of Q(s, ·), the actor's gap to the best and its parts, and births, deaths and moves of optima.

    The states are chosen at the first measurement and kept, so that the same landscapes are compared over training:
    the numbers hold for what the run had visited by then. The search takes longer than the other measurements
    together, so it runs in the background process.

    ``births``, ``deaths`` and ``moves`` (a share of the box's diagonal) are since the last measurement, whenever that
    was; the first has none, nor has one after the background process was started again. The starts of the search are
    the same at every measurement, so that a critic that did not change has no births and no deaths.

    ``persistence/x`` is the number of optima at least x of Q's range persistent, and ``surrogate/i/…`` what is left on
    the i-th of SAVO's surrogates (``gradlab.landscape.surrogates_of_search``), which take 0.2 s of a measurement's 1 s.

    Args:
        every: training steps between two measurements.
        states: number of states.
        starts: starts of the search at each state.
        threshold: persistence, as a share of Q's range over the box, from which an optimum counts.
        radius: how far an optimum may move between two measurements and still be the same, as a share of the box's
            diagonal.

    Raises:
        GradlabError: a number is out of range.

    Example:
        >>> actor = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [lambda obs, act: -(act - 0.5).square().sum(-1)], [-1.0], [1.0])
        >>> probe = Landscape(states=4, starts=8)
        >>> measurements = [probe.measure(agent, torch.zeros(4, 1), torch.Generator()) for _ in range(2)]
        >>> [round(measurements[1].scalars[name].value, 4) for name in ("optima", "gap", "births", "moves")]
        [1.0, 0.25, 0.0, 0.0]
    """

    name = "landscape"
    background = True
    remembers = True

    def __init__(
        self,
        *,
        every: Every = 2000,
        states: int = 16,
        starts: int = 32,
        threshold: float = 0.01,
        radius: float = 0.1,
    ) -> None:
        super().__init__(every=every, states=states)
        self.starts = whole_number("probe landscape: starts", starts, 1)
        self.threshold = real_number("probe landscape: threshold", threshold, 0.0)
        self.radius = real_number("probe landscape: radius", radius, above=0.0)
        if self.threshold > 1 or self.radius > 1:
            raise GradlabError(
                f"probe landscape: threshold={self.threshold:g}, radius={self.radius:g}; expected shares, at most 1"
            )
        self._kept: Any = None
        self._token = uuid.uuid4().hex

    def refusal(self, agent: Agent) -> str | None:
        """Needs a critic and continuous actions."""
        if not agent.policy.continuous:
            return "the agent's actions are discrete; there is no action landscape"
        return super().refusal(agent)

    def choose(self, obs: Any) -> Any:
        """The states of the first measurement, ever after."""
        if self._kept is None:
            self._kept = obs
        return self._kept

    def stand_alone(self, place: int) -> None:
        """Nothing is remembered under the name that this probe has from here on."""
        self._token = uuid.uuid4().hex

    def recall(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> None:
        """Take note of the optima, and of nothing that the search does not need."""
        optima = local_optima(in_evaluation(agent), obs, starts=self.starts)
        memory.exchange(self._token, (obs.clone(), optima))

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Means and shares over states with their intervals; see ``landscape_numbers`` for the names."""
        agent = in_evaluation(agent)
        # Without the generator the starts are the same every time; others would make births and deaths of their own.
        optima = local_optima(agent, obs, starts=self.starts)
        scalars = landscape_numbers(optima, gap(agent, obs, optima, generator=generator), threshold=self.threshold)
        scalars |= {
            f"persistence/{share:.4g}": optima_mean(optima.count(share), objective=str(agent.objective))
            for share in THRESHOLDS
        }
        scalars |= self._surrogates(agent, obs, optima)
        followed, note = self._follow(agent, obs, optima)
        level = scalars["level_share"].value
        notes = [note, f"Q is level over the box of actions at {level:.0%} of the states: no action is best there"]
        # Shares of states that are not level are no numbers where all are.
        known = {name: estimate for name, estimate in {**scalars, **followed}.items() if estimate.samples}
        return Measurement(known, notes=tuple(one for one in (notes if level else notes[:1]) if one))

    def _surrogates(self, agent: Agent, obs: Tensor, optima: LocalOptima) -> dict[str, Estimate]:
        """What SAVO's successive surrogates leave: Q itself, cut at the actor's action, and at two ascents' ends."""
        found = surrogates_of_search(agent, obs, optima, count=_SURROGATES, threshold=self.threshold)
        parts = ("optima", "vanishing_share", "best_share", "mean_gap")
        return {
            f"surrogate/{i}/{part}": getattr(means, part)
            for i, means in enumerate(found.over_states())
            for part in parts
        }

    def _follow(self, agent: Agent, obs: Tensor, optima: LocalOptima) -> tuple[dict[str, Estimate], str]:
        """What became of the last measurement's optima, or why that is not known."""
        last = memory.exchange(self._token, (obs.clone(), optima))
        if last is None:
            return {}, "births, deaths and moves of optima: known from the next measurement on"
        if not torch.equal(last[0], obs):
            return {}, "births, deaths and moves of optima: not known, the last measurement was at other states"
        followed = follow(
            last[1], optima, agent.action_low, agent.action_high, radius=self.radius, threshold=self.threshold
        )
        found = followed.estimates(objective=str(agent.objective))
        return found, ""
