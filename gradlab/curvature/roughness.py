"""Flips and spikes of the Q-gradient along a trajectory, with intervals over episodes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import xarray as xr
from torch import Tensor

from gradlab.arguments import real_number
from gradlab.estimate import Estimate
from gradlab.landscape.planes.volatility import gradient_volatility, one_critic, samples_along
from gradlab.statistics.state_means import state_share


@dataclass(frozen=True)
class FieldRoughness:
    """How a trajectory's Q-gradients g_t turn and jump from step to step.

    Attributes:
        flip_rate: share of pairs (step, coordinate) at which g_t,j · g_{t+1},j < 0; a coordinate that is zero has not
            flipped. PAVE's gradient flip rate.
        flips: the same of each coordinate, in order.
        reversal_share: share of steps at which the whole gradient turns by more than a right angle, g_t · g_{t+1} < 0.
        spike_share: share of steps whose ratio ρ_t = ‖g_{t+1} − g_t‖/‖s_{t+1} − s_t‖ is above ``threshold``. Its
            interval takes the threshold as given.
        largest_spike: the largest ρ_t over ``typical``; a largest number seen, so that it grows with the number of
            steps and has no interval. NaN where the field does not change.
        largest_at: the row of that step; −1 where there is none.
        typical: the median of ρ_t over the steps at which the gradient changed at all: a piecewise-linear critic's
            stays the same within a piece.
        threshold: ``multiple`` times ``typical``.
        spikes: whether each step is a spike, [T], bool.
    """

    flip_rate: Estimate
    flips: tuple[Estimate, ...]
    reversal_share: Estimate
    spike_share: Estimate
    largest_spike: float
    largest_at: int
    typical: float
    threshold: float
    spikes: Tensor


def field_roughness(
    along: xr.Dataset, critic: str | None = None, *, multiple: float = 10.0, objective: str = ""
) -> FieldRoughness:
    """Flip rate and spikes of a Q-gradient field along a trajectory.

    Beside them ``gradlab.landscape.gradient_volatility`` has the means of ‖g_{t+1} − g_t‖, of ρ_t and of the angle.
    The samples are the same: episodes where at least eight are known, blocks of successive steps otherwise.

    Args:
        along: a trajectory's dataset, of ``gradlab.landscape.gradient_field_over_states``; with ``episodes`` nothing
            is compared across their borders. Made with the actor's actions the field changes with the actor, too; with
            one action for all states the change is the critic's alone.
        critic: label of one critic; what the actor follows where it is there, or else the first.
        multiple: how many times the typical ratio makes a spike.
        objective: the objective the values belong to, in words.

    Raises:
        GradlabError: it is no trajectory, there is no such critic, there are fewer than 16 steps, or ``multiple`` is
            not above 1.

    Example:
        >>> from gradlab.agent import Agent
        >>> from gradlab.landscape import gradient_field_over_states
        >>> agent = Agent(torch.nn.Linear(1, 1), [lambda obs, act: (act * obs).sum(-1)], [-1.0], [1.0])
        >>> swing = torch.arange(64).mul(0.5).sin()[:, None]
        >>> found = field_roughness(gradient_field_over_states(agent, swing, act=[0.0]))
        >>> round(found.flip_rate.value, 2), found.spike_share.value, round(found.largest_spike, 6)
        (0.16, 0.0, 1.0)
    """
    multiple = real_number("multiple", multiple, above=1.0)
    reversal = gradient_volatility(along, critic, objective)["reversal_share"]
    one, member = one_critic(along, critic), samples_along(along)
    gradient = torch.as_tensor(one["gradient"].values).double()
    ratio = torch.as_tensor(one["volatility"].values).double()
    # NaN where no step follows, in which case nothing flips either.
    follows = ~torch.as_tensor(one["change"].values).isnan()
    flipped = torch.full_like(gradient, math.nan)
    flipped[:-1] = (gradient[:-1] * gradient[1:] < 0).double()
    flipped[~follows] = math.nan

    changed = ratio[ratio > 0]
    typical = float(changed.quantile(0.5)) if len(changed) else math.nan
    threshold = multiple * typical
    spikes = ratio > threshold
    seen = torch.where(ratio.isnan(), torch.nan, spikes.double())
    at = int(ratio.nan_to_num(-1.0).argmax()) if len(changed) else -1
    return FieldRoughness(
        _share(flipped.mean(-1), member, objective),
        tuple(_share(column, member, objective) for column in flipped.T),
        reversal,
        _share(seen, member, objective),
        float(ratio[at]) / typical if at >= 0 else math.nan,
        at,
        typical,
        threshold,
        spikes,
    )


def _share(holds: Tensor, member: Tensor, objective: str) -> Estimate:
    return state_share(holds, member, objective=objective)
