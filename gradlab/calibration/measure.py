"""One case, an estimator on a world, measured again and again as a user would."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.episode_error import ParameterReference, trajectory_error
from gradlab.episode_gradients import EpisodePart, trajectory_gradients
from gradlab.error import GradientError, error_from_gram, gradient_error
from gradlab.errors import GradlabError
from gradlab.estimators.base import Estimator, TrajectoryEstimator
from gradlab.objective import Objective
from gradlab.products import parameter_gradient
from gradlab.references.base import ReferenceCotangent
from gradlab.tangent import tangent_kernel
from gradlab.worlds.base import Admitted, World

#: Relative size below which a difference is rounding.
ROUNDING = 1e-9
#: Draws that are measured all at once, at most: the jackknife looks at every pair of them.
_POOLED = 512
#: What the reference is called.
_NAME = "closed form"


@dataclass(frozen=True)
class Case:
    """An estimator on an instance of a world."""

    world: World
    setting: str
    admitted: Admitted
    name: str

    @property
    def labels(self) -> tuple[str, str, str]:
        """World, setting and estimator, in words."""
        return self.world.name, self.setting, self.name

    def generator(self, seed: int) -> torch.Generator:
        """The case's own source of randomness, whatever other cases run before it."""
        digest = hashlib.sha256("/".join([str(seed), *self.labels]).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Measured(NamedTuple):
    """What a user gets from gradlab on one case.

    Attributes:
        errors: of each repeat.
        pooled: of as many draws at once as a jackknife over pairs can take.
        gradients: of every draw, [D, P].
    """

    errors: list[GradientError]
    pooled: GradientError
    gradients: Tensor


def at_states(case: Case, estimator: Estimator, draws: int, repeats: int, generator: torch.Generator) -> Measured:
    """``Estimator.draw``, ``gradient_error`` and ``parameter_gradient`` at the world's states."""
    agent, obs, truth = case.world.agent(), case.world.observations(), case.admitted.truth.detach().double()
    objective = estimator.objective(agent)
    # The truth is of the objective itself; smoothing is a bias of the estimator, which is to be measured.
    reference = _reference(agent, obs, truth, replace(objective, smoothing=0.0))
    kernel = tangent_kernel(agent, obs)

    def error(v: Tensor) -> GradientError:
        if reference is None:
            gradients = _flat(parameter_gradient(agent, obs, v))
            return error_from_gram(gradients @ gradients.T, gradients @ truth, truth @ truth, reference=_NAME)
        return gradient_error(agent, obs, v, reference, kernel=kernel, objective=objective)

    samples = [estimator.draw(agent, obs, draws, generator) for _ in range(repeats)]
    everything = torch.cat(samples)
    gradients = _flat(parameter_gradient(agent, obs, everything))
    return Measured([error(v) for v in samples], error(everything[:_POOLED]), gradients)


def _reference(agent: Agent, obs: Tensor, truth: Tensor, objective: Objective) -> ReferenceCotangent | None:
    """The smallest cotangent r with (1/B) Σ_i J_iᵀ r_i = truth; None where no cotangent gives it."""
    states, size = agent.head(obs).shape
    unit = torch.eye(states * size, dtype=torch.float64).reshape(-1, states, size)
    jacobian = _flat(parameter_gradient(agent, obs, unit))
    solution = torch.linalg.pinv(jacobian.T) @ truth
    if (jacobian.T @ solution - truth).norm() > ROUNDING * truth.norm():
        return None
    mean = solution.reshape(states, size)
    return ReferenceCotangent(mean, torch.zeros_like(mean), _NAME, objective)


def along_episodes(
    case: Case, estimator: TrajectoryEstimator, draws: int, repeats: int, generator: torch.Generator
) -> Measured:
    """``TrajectoryEstimator.cotangents``, ``trajectory_error`` and ``trajectory_gradients`` on whole episodes."""
    agent, group = case.world.agent(), getattr(estimator, "group", 1)
    if group is None:
        raise GradlabError(
            f"{case.world.name} with {case.name}: all episodes share one baseline, so that no draws are independent; "
            "admit it with groups"
        )
    reference = ParameterReference(case.admitted.truth.detach(), _NAME, estimator.objective(agent))

    episodes = case.world.trajectories(draws * repeats * group, generator)
    v = estimator.cotangents(agent, episodes)
    gradients = trajectory_gradients(agent, episodes, v).double().reshape(draws * repeats, group, -1).mean(1)
    # Rows of one repeat after the other; the sums of lengths are where they end.
    ends = episodes.lengths.reshape(repeats, -1).sum(1).cumsum(0).tolist()
    errors = []
    for start, end in zip([0, *ends], ends, strict=False):
        part = EpisodePart(episodes.obs[start:end], episodes.trajectory[start:end] - episodes.trajectory[start])
        errors.append(
            trajectory_error(agent, part, v[start:end], reference, group=group, objective=reference.objective)
        )
    few, truth = gradients[:_POOLED], case.admitted.truth.detach().double()
    pooled = error_from_gram(few @ few.T, few @ truth, truth @ truth, reference=_NAME)
    return Measured(errors, pooled, gradients)


def _flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten(1) for part in gradients.values()], 1).double()
