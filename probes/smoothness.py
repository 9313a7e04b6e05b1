"""Probe: how the critic's field turns along episodes, how fast actions were seen to move, and what bounds that."""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, whole_number
from gradlab.curvature.report import measure_curvature
from gradlab.evaluation_mode import in_evaluation, mode_notes
from gradlab.measurement import Measurement
from probes.schedule import Every
from probes.task import TaskProbe, task_simulator

#: What ``CurvatureReport.numbers`` has that the probe ``curvature`` has not, at states of its own.
NUMBERS = (
    "flip_rate", "reversal_share", "spike_share", "observed", "predicted", "policy_jacobian", "free_ratio", "slack",
    "violated_share", "free_valid_share", "cosine", "action_change", "smoothness", "high_frequency_share",
)  # fmt: skip


class Smoothness(TaskProbe):
    """PAVE's flip rate, and M/μ beside the sensitivity that was seen: what needs steps that follow each other.

    It lets the agent act without exploration in an environment of its own. ``flip_rate`` is the share of steps and
    coordinates at which ∇_a Q changes its sign (arXiv 2601.22970), ``observed`` the median of ‖Δa‖/‖Δs‖, and
    ``free_ratio`` M/μ of the coordinates that are not at a face of the box; see
    ``gradlab.curvature.report.CurvatureReport``. A measurement takes 0.7 s for TD3 on Reacher.

    Args:
        environment: gymnasium identifier of the task.
        every: training steps between two measurements.
        states: steps at which curvature is taken.
        episodes: episodes that are run; they are the independent samples.
        steps: at most so many steps of each.
        scale: length over which second derivatives are taken.

    Raises:
        GradlabError: a number is out of range.
    """

    name = "smoothness"

    def __init__(
        self,
        environment: str,
        *,
        every: Every = 2000,
        states: int = 64,
        episodes: int = 16,
        steps: int = 64,
        scale: float = 0.1,
    ) -> None:
        super().__init__(environment, every=every, states=states)
        self.episodes = whole_number("probe smoothness: episodes", episodes, 2)
        self.steps = whole_number("probe smoothness: steps", steps, 16)
        self.scale = real_number("probe smoothness: scale", scale, above=0.0)

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """Scalars by the names above; the array ``states`` has the bound and what was seen, state by state."""
        notes = mode_notes(agent)
        agent = in_evaluation(agent)
        simulator = task_simulator(self.environment)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        runs = simulator.episodes(agent, self.episodes, seed=seed, stochastic=False, max_steps=self.steps)
        # Of a task that does not say how long its steps are, they are the unit of time.
        report = measure_curvature(
            agent, runs, time_step=simulator.time_step or 1.0, states=self.states, scale=self.scale, seed=seed
        )
        found = report.numbers()
        scalars = {name: found[name] for name in NUMBERS if name in found and found[name].samples}
        seen = report.along.predictions
        nothing = torch.full_like(seen.ratio, torch.nan)
        columns = {
            "bound": seen.ratio,
            "actor": seen.actor_norm,
            "observed": nothing if seen.observed is None else seen.observed,
        }
        table = xr.DataArray(
            torch.stack(list(columns.values()), -1).numpy(),
            dims=("state", "part"),
            coords={"part": list(columns)},
            attrs={"scale": self.scale},
        )
        return Measurement(scalars, {"states": table}, notes=notes)
