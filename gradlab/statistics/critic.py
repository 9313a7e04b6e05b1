"""How wrong a critic is, in value and in gradient: two different things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.objective import Objective, compare_objectives
from gradlab.references.base import ReferenceCotangent
from gradlab.references.critic import CriticReference
from gradlab.simulation.states import States
from gradlab.statistics.critic_gradient import GradientAccuracy, gradient_accuracy
from gradlab.statistics.critic_value import critic_values
from gradlab.statistics.value_accuracy import ValueAccuracy, value_accuracy


@dataclass(frozen=True)
class CriticError:
    """A critic against the truth.

    Attributes:
        value: V(s), the value of the policy's own choice.
        replay: Q(s, a) at the actions given; None where there were none.
        gradient: ∇_h F_s(h), what the actor learns from.
        wrong_direction: share of states where the critic's gradient makes an obtuse angle with the true one.
        states: states looked at.
        episodes: episodes they were visited in, the independent samples.
        notes: what a person should know, a line each.
    """

    value: ValueAccuracy
    replay: ValueAccuracy | None
    gradient: GradientAccuracy
    wrong_direction: Estimate
    states: int
    episodes: int
    notes: tuple[str, ...] = ()


def critic_error(
    agent: Agent,
    reference: Any,
    states: States,
    *,
    actions: Tensor | None = None,
    values: Any = None,
    allow_mismatch: bool = False,
) -> CriticError:
    """How far the agent's critic is from the truth, in value and in action-gradient, with intervals over episodes.

    A critic can be off by a constant and have the right gradient, or fit values to a per cent and point the wrong way:
    its values are judged by bias, root mean squared error, correlation and calibration, its gradient at the
    actor's head by bias², cosine and norm ratio. The critic is the one that the actor follows (``agent.q``); with
    entropy both sides are soft. Every state counts alike; states of one episode are not independent, so all intervals
    are the delete-one-episode jackknife's. The reference's own noise, where it has some, is taken off the squares.

    Args:
        agent: the agent; a float64 copy is measured.
        reference: a reference with ``cotangent(agent, states)``, such as ``SimulatorReference``, or what that gave,
            where it was asked before.
        states: states visited by ``simulator.visit``, of at least two episodes (more than ten for good intervals).
        actions: actions [B, p] in the critic's coordinates, such as those a replay buffer holds, to judge Q(s, a) at
            as well.
        values: a reference with ``values(agent, states, actions)`` for the values alone, for which a longer horizon
            costs little and no gate closes; by default ``reference`` itself.
        allow_mismatch: compare with a reference for another objective all the same; every number then says so.

    Raises:
        GradlabError: no reference can tell the values, the objective is another one, shapes do not fit, or the
            critic is NaN or infinite (counted and located).

    Example:
        >>> from torch import nn
        >>> from gradlab.references import SimulatorReference
        >>> actor = nn.Sequential(nn.Linear(10, 2), nn.Tanh())
        >>> _ = nn.init.constant_(actor[0].weight, 0.1), nn.init.zeros_(actor[0].bias)
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return -act.square().sum(-1)
        >>> agent = Agent(actor, [Critic()], action_low=[-1, -1], action_high=[1, 1])
        >>> reference = SimulatorReference("Reacher-v5", horizon=5)
        >>> states = reference.simulator.visit(agent, 40, episodes=4)
        >>> error = critic_error(agent, reference, states)
        >>> error.episodes, error.value.bias.samples, 0 <= error.wrong_direction.value <= 1
        (4, 4, True)
        >>> error.notes[0]
        'the bias includes truncation: none against H=5; 0.95 of the weight of a task that goes on lies beyond it'
    """
    given = reference if isinstance(reference, ReferenceCotangent) else None
    if given is None and not hasattr(reference, "cotangent"):
        raise GradlabError(
            f"critic error: {type(reference).__name__} has no method cotangent(agent, states); "
            "pass a reference such as SimulatorReference, or its result"
        )
    found = given or reference.cotangent(agent, states)
    if len(found.mean) != len(states):
        raise GradlabError(f"critic error: the reference has {len(found.mean)} states, {len(states)} were given")
    caveat, notes = _compared(agent, found.objective, found.name, allow_mismatch)
    known = found.diagnostics
    if values is None and "value" in known and "value_stderr" in known:
        # The values of the policy's own choice were simulated along with the gradient.
        truth = _Truth(known["value"], known["value_stderr"], found.objective)
    else:
        truth = _ask(values if values is not None else reference, agent, states, None)
    value_caveat, value_notes = _compared(agent, truth.objective, "values", allow_mismatch)
    if truth.objective != found.objective:
        notes, value_notes = (
            tuple(f"{what}: {note}" for note in part) for what, part in (("gradient", notes), ("value", value_notes))
        )
    labels = (found.name, str(truth.objective), value_caveat)
    value = value_accuracy(
        *critic_values(agent, states.obs), truth.mean, truth.stderr, states.episode, "value", *labels
    )
    replay = None
    if actions is not None:
        there = _ask(values if values is not None else reference, agent, states, actions)
        said = critic_values(agent, states.obs, actions)
        replay = value_accuracy(*said, there.mean, there.stderr, states.episode, "replay value", *labels)
    critic = CriticReference(entropy=found.objective.entropy != 0).cotangent(agent, states.obs)
    gradient, wrong = gradient_accuracy(critic, found, states.episode, caveat)
    every = [*notes, *value_notes, *value.notes, *(replay.notes if replay else ()), *gradient.notes]
    return CriticError(
        value,
        replay,
        gradient,
        wrong,
        len(states),
        len(states.episode.unique()),
        tuple(dict.fromkeys(every)),
    )


@dataclass(frozen=True)
class _Truth:
    mean: Tensor
    stderr: Tensor
    objective: Objective


def _ask(teller: Any, agent: Agent, states: States, actions: Tensor | None) -> _Truth:
    if not hasattr(teller, "values"):
        raise GradlabError(
            f"critic error: {type(teller).__name__} tells no true values"
            f"{' at given actions' if actions is not None else ''}; pass values=SimulatorReference(...)"
        )
    told = teller.values(agent, states, actions)
    return _Truth(told.mean, told.stderr, told.objective)


def _compared(agent: Agent, objective: Objective, name: str, allow_mismatch: bool) -> tuple[str, tuple[str, ...]]:
    caveat, notes = compare_objectives(agent.objective, objective, name, allow_mismatch=allow_mismatch)
    if objective.horizon is None:
        return caveat, notes
    beyond = agent.discount**objective.horizon
    lost = f"{beyond:.2g} of the weight of a task that goes on lies beyond it"
    return caveat, tuple(f"{note}; {lost}" if "truncation" in note else note for note in notes)
