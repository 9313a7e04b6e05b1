"""One checkpoint's curvature at the states that its policy visits, and how smooth its actions were there."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.curvature.along_runs import AlongRuns, predictions_along
from gradlab.curvature.measured import Sensitivity
from gradlab.curvature.regularity import FieldRegularity, field_regularity
from gradlab.curvature.roughness import FieldRoughness, field_roughness
from gradlab.curvature.sensitivity import sensitivity
from gradlab.estimate import Estimate
from gradlab.evaluation_mode import in_evaluation
from gradlab.hessians.piecewise import piecewise_linear
from gradlab.landscape.planes.over_states import gradient_field_over_states
from gradlab.statistics.state_means import state_share
from gradlab.statistics.state_quantiles import state_quantile
from gradlab.trajectories import Trajectories


class CurvatureReport(NamedTuple):
    """What there is at one checkpoint; intervals are over episodes, the independent samples.

    Attributes:
        geometry: M, μ, M/μ and the rest at the chosen states, at the scale.
        exact: the same by exact second derivatives; None of a piecewise-linear critic, which has none.
        along: what curvature predicts at these states, the actor's Jacobian, and what was seen.
        regularity: PAVE's three terms there.
        roughness: flips and spikes of the gradient field along the episodes.
        smooth: whether the critic has second derivatives.
        scale: the length of the differences, in the critic's action units.
    """

    geometry: Sensitivity
    exact: Sensitivity | None
    along: AlongRuns
    regularity: FieldRegularity
    roughness: FieldRoughness
    smooth: bool
    scale: float

    def numbers(self) -> dict[str, Estimate]:
        """All of it by name; see ``CurvatureReport`` for what each is of.

        Medians over states: ``mixed_partial``, ``curvature``, ``ratio``, ``predicted``, ``policy_jacobian``,
        ``slack``, ``observed``, and ``exact_…`` of the first three. Shares of states: ``valid_share`` and
        ``interior_share`` at all coordinates; ``free_valid_share`` and ``violated_share`` of the free ones. Means:
        ``cosine``; PAVE's ``mixed_regulariser``, ``consistency`` and ``hinge``; ``flip_rate``, ``reversal_share``,
        ``spike_share``; ``action_change``, ``smoothness``, ``high_frequency_share``.
        """
        member = self.along.predictions.episode
        objective = self.along.predictions.objective
        found = {}

        def medians(prefix: str, of: Sensitivity) -> None:
            for name in ("mixed_partial", "curvature", "ratio"):
                found[prefix + name] = state_quantile(getattr(of, name), 0.5, member, objective=objective)
            found[prefix + "valid_share"] = state_share(of.valid, member, objective=objective)

        medians("", self.geometry)
        found["interior_share"] = state_share(self.geometry.interior, member, objective=objective)
        if self.exact is not None:
            medians("exact_", self.exact)
        predicted = self.along.predictions.summary()
        names = {
            "predicted_norm": "predicted", "actor_norm": "policy_jacobian", "slack": "slack", "observed": "observed",
            "ratio": "free_ratio", "valid_share": "free_valid_share", "violated_share": "violated_share",
            "cosine": "cosine",
        }  # fmt: skip
        found |= {mine: predicted[theirs] for theirs, mine in names.items() if theirs in predicted}
        regular = self.regularity.means()
        names = {"mixed_partial": "mixed_regulariser", "consistency": "consistency", "curvature_hinge": "hinge"}
        found |= {mine: regular[theirs] for theirs, mine in names.items()}
        rough = self.roughness
        found |= {
            "flip_rate": rough.flip_rate, "reversal_share": rough.reversal_share, "spike_share": rough.spike_share
        }  # fmt: skip
        seen = self.along.observed.means()
        names = {"change": "action_change", "smoothness": "smoothness", "high_frequency_share": "high_frequency_share"}
        return found | {mine: seen[theirs] for theirs, mine in names.items()}


def measure_curvature(
    agent: Agent, runs: Trajectories, *, time_step: float, states: int = 256, scale: float = 0.1, seed: int = 0
) -> CurvatureReport:
    """Curvature of the critic that the actor follows, what it predicts, and what was seen of the policy.

    Args:
        agent: the agent.
        runs: its episodes without exploration, ``Simulator.episodes(agent, …, stochastic=False)``.
        time_step: seconds from one step to the next.
        states: steps of these episodes at which curvature is measured.
        scale: step of the differences, in the critic's action units. Smooth critics are measured exactly, too.
        seed: of the choice of states and of PAVE's disturbances.

    Raises:
        GradlabError: as ``predictions_along`` does.

    Example:
        >>> from gradlab.worlds import LinearQuadratic
        >>> world = LinearQuadratic(A=0.9, B=0.5, Q=1.0, R=0.1, gamma=0.95, K=0.4)
        >>> runs = world.trajectories(8, torch.Generator().manual_seed(0), steps=20)
        >>> numbers = measure_curvature(world.agent(), runs, time_step=0.1, states=32).numbers()
        >>> [round(numbers[name].value, 6) for name in ("ratio", "predicted", "policy_jacobian", "observed")]
        [1.473588, 1.473588, 0.4, 0.4]
    """
    agent = in_evaluation(agent)
    along = predictions_along(agent, runs, time_step=time_step, states=states, scale=scale, seed=seed)
    rows = along.rows
    obs, following = runs.obs[rows], runs.next_obs[rows]
    smooth = not piecewise_linear(agent, agent.observations(obs), None)
    whole = gradient_field_over_states(agent, runs.obs, critics=["followed"], episodes=runs.trajectory)
    return CurvatureReport(
        sensitivity(agent, obs, scale),
        sensitivity(agent, obs) if smooth else None,
        along,
        field_regularity(
            agent,
            obs,
            scale,
            next_obs=following,
            next_act=_actions(agent, following),
            episode=runs.trajectory[rows],
            seed=seed,
        ),
        field_roughness(whole, objective=str(agent.objective)),
        smooth,
        scale,
    )


@torch.no_grad()
def _actions(agent: Agent, obs: Tensor) -> Tensor:
    return agent.action(agent.observations(obs)).double()
