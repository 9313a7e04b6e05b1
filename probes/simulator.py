"""Probe: how good is each estimator's gradient against the simulator's own, the critic's error included?"""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.error import gradient_error
from gradlab.estimate import Estimate
from gradlab.estimators import Deterministic, default_estimators
from gradlab.evaluation_mode import in_evaluation, mode_notes
from gradlab.measurement import Measurement
from gradlab.references import SimulatorReference
from gradlab.references.base import ReferenceCotangent
from gradlab.statistics.paired import common_draws, seed_from
from gradlab.statistics.ranking import rank
from gradlab.statistics.sign import wrong_direction
from gradlab.statistics.states import over_states
from gradlab.tangent import tangent_kernel
from probes.error_terms import terms_of
from probes.estimators import ranked
from probes.gradient import named
from probes.probe import GateClosedError
from probes.schedule import Every
from probes.task import TaskProbe, task_simulator


class Simulator(TaskProbe):
    """Every estimator against finite differences through the simulator, and where the critic points the wrong way.

    It visits states of its own, on policy, in an environment of its own, and runs in a process of its own.
    The reference is held against the chain rule where MuJoCo keeps the state, which about doubles what it simulates.
    Where the run has a replay buffer, the same reference also ends the error ledger, from the gradient of a minibatch
    to the simulator's: about a tenth of what the simulation of Reacher-v5 takes.

    Args:
        environment: gymnasium identifier of the task.
        every: training steps between two measurements.
        states: number of states differenced.
        draws: independent draws of each estimator.
        horizon: number of rewards in the return.
        episodes: episodes the states are spread over; they are the independent samples.
        seconds: time allowed for the reference of one measurement; states there was no time for are left out, and
            said to be. None is no limit.
        threads: threads that simulate. One, as the training run needs the cores more.
    """

    name = "simulator"
    welcome_observations = 1024
    continuous_only = "they cannot be differenced"

    def __init__(
        self,
        environment: str,
        *,
        every: Every = 2000,
        states: int = 32,
        draws: int = 64,
        horizon: int = 50,
        episodes: int = 16,
        seconds: float | None = None,
        threads: int = 1,
    ) -> None:
        super().__init__(environment, every=every, states=states)
        self.draws = draws
        self.horizon = horizon
        self.episodes = episodes
        self.seconds = seconds
        self.threads = threads

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Scalars ``estimator/metric``, ``deterministic/wrong_direction``, ``paired/a/b`` and the ledger's."""
        notes = mode_notes(agent)
        agent = in_evaluation(agent)
        simulator = _reference(self.environment, self.horizon, self.seconds, self.threads)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        visited = simulator.simulator.visit(agent, self.states, seed=seed, episodes=self.episodes)
        reference = simulator.cotangent(agent, visited)
        closed = int((~reference.valid).sum())
        if closed:
            notes = (*notes, f"{closed} of {len(reference.valid)} states left out: {_reasons(reference)}")
        if not bool(reference.valid.any()):
            raise GateClosedError(
                f"simulator reference on {self.environment}: no state passed its gate; {_reasons(reference)}"
            )
        at = agent.observations(visited.obs)
        estimators = default_estimators(agent)
        kernel = tangent_kernel(agent, at)
        seed = seed_from(generator)
        draws = {one.name: common_draws(one, agent, at, self.draws, seed) for one in estimators}
        scalars: dict[str, Estimate] = {}
        for estimator in estimators:
            v = draws[estimator.name]
            error = gradient_error(agent, at, v, reference, kernel=kernel)
            scalars |= named(estimator, over_states(error, agent, at, v, reference, visited.episode, kernel=kernel))
        if len(draws) > 1 and self.draws > 3:
            ranking = rank(agent, at, draws, reference, episode=visited.episode, kernel=kernel)
            scalars |= ranked(ranking, list(draws))
        critic = Deterministic().draw(agent, at)[0]
        scalars["deterministic/wrong_direction"] = wrong_direction(critic, reference, visited.episode)
        if len(obs):
            terms, more = terms_of(agent, obs, visited, reference, self.draws, generator)
            scalars |= terms
            notes = (*notes, *more)
        return Measurement(scalars, notes=notes)


def _reference(environment: str, horizon: int, seconds: float | None, threads: int) -> SimulatorReference:
    return SimulatorReference(task_simulator(environment, threads), horizon=horizon, seconds=seconds)


def _reasons(reference: ReferenceCotangent) -> str:
    reasons = reference.diagnostics.get("reason", [])
    return "; ".join(sorted({str(reason) for reason in reasons if reason})) or "gate closed"
