"""True values of states and of actions in them, by closed-loop rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradlab.arguments import real_tensor
from gradlab.errors import GradlabError
from gradlab.objective import Objective
from gradlab.references.rollouts.allocation import over_seeds
from gradlab.references.rollouts.course import Course
from gradlab.references.rollouts.records import Block, Outcome
from gradlab.references.rollouts.schemes import Scheme

#: Rollouts handed to the simulator at a time: enough for all its threads, and their noise still small.
_ROLLOUTS = 4096


@dataclass(frozen=True)
class TrueValue:
    """True values of states or of actions in them.

    Attributes:
        mean: [B], or [..., B] like the actions, float64; NaN where the simulation was not finite.
        stderr: standard error over the policy's and the environment's noise, of that shape; zero where there is none.
        samples: noise seeds behind each mean; 0 where there is no noise.
        objective: the objective they are the value of.
        draws: [seeds, ..., B], the returns that the means are of; one where there is no noise. Several actions in one
            state share each seed's noise, so that their differences are to be taken before anything is averaged.
    """

    mean: Tensor
    stderr: Tensor
    samples: int
    objective: Objective
    draws: Tensor


def state_values(course: Course, scheme: Scheme, noises: int, objective: Objective) -> TrueValue:
    """F_s(h): the value of the policy's own choice.

    Args:
        course: where, by whom and how far it is rolled out.
        scheme: how returns become F.
        noises: noises to average over; of them the rollouts from the scheme's first head alone are needed.
        objective: what it is the value of.
    """
    found = []
    for positions, indices in _blocks(len(course.states), noises, scheme.value_width):
        block = Block(positions, indices)
        noise = course.noise(block)
        act, bonus = scheme.first_actions(positions, None if noise is None else noise[0])
        act, bonus = act[: scheme.value_width], bonus[: scheme.value_width]
        rollouts = course.rollouts(block, act, noise)
        outcome = Outcome.of(rollouts, bonus)
        found.append(scheme.values(positions, outcome))
    return _over_noises(torch.cat(found), noises, course, objective)


def true_values(
    course: Course, actions: Tensor, noises: int, objective: Objective, horizon: int | None = None
) -> TrueValue:
    """Q^π(s, a) at actions [..., B, p], by as many rollouts of each as there are noises.

    Args:
        course: where, by whom and how far it is rolled out.
        actions: [..., B, p], any number of actions in the same B states, which share the noise.
        noises: noises to average over.
        objective: what it is the value of.
        horizon: count only so many rewards of the same rollouts; all of the course's when None.

    Raises:
        GradlabError: the actions are not [..., B, p], or the horizon is not from 1 to the course's.
    """
    size, actions = course.pilot.action_size, real_tensor("actions", actions)
    if tuple(actions.shape[-2:]) != (len(course.states), size):
        raise GradlabError(f"actions: shape {tuple(actions.shape)}; expected [{len(course.states)}, {size}]")
    if horizon is not None and not 1 <= horizon <= course.horizon:
        raise GradlabError(f"horizon: {horizon}; the rollouts are of {course.horizon} rewards, count from 1 to all")
    # Fewer rewards under the same noise, which is drawn for the course's own horizon.
    rolled = course if horizon is None else replace(course, horizon=horizon)
    act = actions.detach().to(dtype=course.pilot.dtype, device=course.pilot.device)
    found = []
    for positions, indices in _blocks(len(course.states), noises, act.shape[:-2].numel()):
        block = Block(positions, indices)
        found.append(rolled.rollouts(block, act[..., positions.to(act.device), :], course.noise(block)).value)
    return _over_noises(torch.cat(found, -1), noises, course, objective)


def _blocks(count: int, noises: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All pairs of a state and a noise, the noises of one state together, some at a time."""
    positions = torch.arange(count).repeat_interleave(noises)
    indices = torch.arange(noises).repeat(count)
    size = max(1, _ROLLOUTS // width)
    yield from zip(positions.split(size), indices.split(size), strict=True)


def _over_noises(values: Tensor, noises: int, course: Course, objective: Objective) -> TrueValue:
    draws = values.reshape(*values.shape[:-1], -1, noises).movedim(-1, 0)
    mean, stderr = over_seeds(draws)
    return TrueValue(mean, stderr, noises if course.stochastic else 0, objective, draws)
