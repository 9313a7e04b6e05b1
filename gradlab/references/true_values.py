"""True values of states and of actions in them, by closed-loop rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
        mean: [B], float64; NaN where the simulation was not finite.
        stderr: [B], standard error over the policy's and the environment's noise; zero where there is none.
        samples: noise seeds behind each mean; 0 where there is no noise.
        objective: the objective they are the value of.
    """

    mean: Tensor
    stderr: Tensor
    samples: int
    objective: Objective


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


def true_values(course: Course, actions: Tensor, noises: int, objective: Objective) -> TrueValue:
    """Q^π(s, a) at actions [B, p], by as many rollouts as there are noises.

    Raises:
        GradlabError: the actions are not [B, p].
    """
    size, actions = course.pilot.action_size, real_tensor("actions", actions)
    if tuple(actions.shape) != (len(course.states), size):
        raise GradlabError(f"actions: shape {tuple(actions.shape)}; expected [{len(course.states)}, {size}]")
    act = actions.detach().to(dtype=course.pilot.dtype, device=course.pilot.device)
    found = []
    for positions, indices in _blocks(len(course.states), noises, 1):
        block = Block(positions, indices)
        found.append(course.rollouts(block, act[positions.to(act.device)], course.noise(block)).value)
    return _over_noises(torch.cat(found), noises, course, objective)


def _blocks(count: int, noises: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All pairs of a state and a noise, the noises of one state together, some at a time."""
    positions = torch.arange(count).repeat_interleave(noises)
    indices = torch.arange(noises).repeat(count)
    size = max(1, _ROLLOUTS // width)
    yield from zip(positions.split(size), indices.split(size), strict=True)


def _over_noises(values: Tensor, noises: int, course: Course, objective: Objective) -> TrueValue:
    mean, stderr = over_seeds(values.reshape(-1, noises).T)
    return TrueValue(mean, stderr, noises if course.stochastic else 0, objective)
