"""How rough a Q-gradient field is along a trajectory, with intervals that allow for steps that resemble each other."""

from __future__ import annotations

import math

import torch
import xarray as xr

from gradlab.arguments import shown
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.statistics.state_means import state_mean, state_share

#: Most blocks; with more, each is shorter, and the interval hardly so.
_BLOCKS = 10


def gradient_volatility(along: xr.Dataset, critic: str | None = None, objective: str = "") -> dict[str, Estimate]:
    """Means over a trajectory of what ``gradient_field_over_states`` has of every step.

    Successive steps resemble each other, so they are no independent samples. Where episodes are known these are the
    samples (at least eight must be); otherwise √T blocks of successive steps are, ten at most, whose means are nearly
    independent if blocks are much longer than the memory of the trajectory (batch means; C. Geyer, *Practical Markov
    chain Monte Carlo*, 1992, section 3). Where they are not, intervals are too short: of a log-normal autoregression
    of correlation 0.9 from step to step, those of 100 steps hold the truth in 78 % of repetitions, of 400 in 92 %.

    Args:
        along: the dataset of a trajectory.
        critic: label of one critic; what the actor follows where it is there, or else the first.
        objective: the objective the values belong to, in words.

    Returns:
        ``norm``, ``change``, ``volatility`` and ``angle`` (radians), each the mean over steps; ``relative_change``,
        the mean of ‖g_{t+1} − g_t‖ / (‖g_{t+1}‖ + ‖g_t‖), from 0 to 1; and ``reversal_share``, the share of steps at
        which the gradient turns by more than a right angle.

    Raises:
        GradlabError: it is no trajectory, there is no such critic, or there are fewer than 16 steps.

    Example:
        >>> from gradlab.agent import Agent
        >>> from gradlab.landscape import gradient_field_over_states
        >>> agent = Agent(torch.nn.Linear(1, 1), [lambda obs, act: (act * obs).sum(-1)], [-1.0], [1.0])
        >>> swing = torch.arange(64).mul(0.5).sin()[:, None]
        >>> found = gradient_volatility(gradient_field_over_states(agent, swing, act=[0.0]))
        >>> found["volatility"].value, round(found["reversal_share"].value, 2)
        (1.0, 0.16)
    """
    one = one_critic(along, critic)
    angle, change, norm = (torch.as_tensor(one[name].values).double() for name in ("angle", "change", "norm"))
    total = norm + torch.cat([norm[1:], norm.new_full((1,), math.nan)])
    # With episodes, a NaN change keeps steps of different episodes apart.
    relative = change / torch.where(total > 0, total, torch.nan)
    member = samples_along(one)
    means = {
        "norm": norm,
        "change": change,
        "relative_change": relative,
        "volatility": torch.as_tensor(one["volatility"].values).double(),
        "angle": angle,
    }
    most = {"relative_change": 1.0, "angle": math.pi}
    found = {
        name: state_mean(numbers, member, objective=objective, least=0.0, most=most.get(name, math.inf))
        for name, numbers in means.items()
    }
    reversed_ = torch.where(angle.isnan(), torch.nan, (angle > math.pi / 2).double())
    return {**found, "reversal_share": state_share(reversed_, member, objective=objective)}


def one_critic(along: xr.Dataset, critic: str | None) -> xr.Dataset:
    """One critic's part of a trajectory's dataset; what the actor follows, or else the first, when None.

    Raises:
        GradlabError: as ``gradient_volatility`` raises.
    """
    if not isinstance(along, xr.Dataset) or along.attrs.get("states") != "trajectory":
        raise GradlabError("along: no trajectory; give what gradient_field_over_states has of observations [T, n]")
    labels = [str(label) for label in along["critic"].values]
    if critic is not None and not isinstance(critic, str):
        raise GradlabError(f"critic: {shown(critic)}; give one of {', '.join(map(repr, labels))}")
    critic = critic or ("followed" if "followed" in labels else labels[0])
    if critic not in labels:
        raise GradlabError(f"critic: {critic!r} is none of {', '.join(map(repr, labels))}")
    steps = along.sizes["step"]
    if steps < 16:
        raise GradlabError(f"along: {steps} steps; give at least 16, or there is no interval")
    return along.sel(critic=critic)


def samples_along(along: xr.Dataset) -> torch.Tensor:
    """Which sample each step of a trajectory belongs to, [T]: its episode, or a block of successive steps."""
    steps = along.sizes["step"]
    if "episode" in along:
        member: torch.Tensor = torch.unique(torch.as_tensor(along["episode"].values), return_inverse=True)[1]
        if int(member.max()) + 1 >= 8:
            return member
    count = min(math.isqrt(steps), _BLOCKS)
    block: torch.Tensor = torch.arange(steps) * count // steps
    return block
