"""Whether what training learns from is what the run does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.experience import Transitions

#: Stretches of successive steps whose means are taken as independent.
STRETCHES = 8
#: What such numbers are of.
LATEST = "the run's latest steps"
#: Share of the replay's own states that count as unlike the others.
CHANCE = 0.05


def novel_share(visited: Tensor, replay: Tensor) -> Estimate:
    """Share of the states a run visits that are unlike any in its replay; 5 % would be by chance.

    A state is unlike where its nearest neighbour among the replay's is farther than those of 95 % of the replay's
    states among each other; each coordinate is in units of its standard deviation in the replay. Steps that follow
    each other are alike: the standard error is that of the means over eight stretches, and n is 8.

    Args:
        visited: states the run visits, in the order it does, [V, n].
        replay: states drawn from the replay, [R, n].

    Raises:
        GradlabError: there are fewer than 16 of either.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> replay, same = torch.randn(512, 3, generator=g), torch.randn(128, 3, generator=g)
        >>> novel_share(same, replay).value < 0.15, novel_share(same + 6, replay).value
        (True, 1.0)
    """
    if min(len(visited), len(replay)) < 2 * STRETCHES:
        raise GradlabError(f"novel_share: {len(visited)} visited and {len(replay)} stored states; give at least 16")
    # A coordinate that is the same everywhere in the replay tells everything else from it.
    spread = replay.double().std(0)
    unit = torch.where(spread > 1e-8 * replay.double().abs().amax(0).clamp(min=1e-8), spread, torch.ones_like(spread))
    stored, seen = (replay / unit).float(), (visited / unit).float()
    among = torch.cdist(stored, stored).fill_diagonal_(math.inf).amin(-1)
    limit = among.quantile(1 - CHANCE)
    return by_stretch((torch.cdist(seen, stored).amin(-1) > limit).double(), share=True)


def action_distance(agent: Agent, steps: Transitions) -> Tensor:
    """‖a − π(s)‖ / √p at each step, in half widths of the box: how far an action is from the actor's own, [B]."""
    half = (agent.action_high - agent.action_low) / 2
    with torch.no_grad():
        return ((steps.act - agent.action(steps.obs)) / half).double().square().mean(-1).sqrt()


def residuals(agent: Agent, steps: Transitions) -> Tensor:
    """The followed critic's temporal-difference error at each step, [B].

    δ = r + γ(1 − terminated) Q'(s', π(s')) − Q(s, a), Q' being the smallest target critic, or the followed critic where
    there are none. The target has no smoothing noise and no entropy bonus: it is the same for all algorithms, and to
    the letter that of DDPG.

    Args:
        agent: a snapshot with a critic.
        steps: transitions.
    """
    with torch.no_grad():
        last, act = steps.next_obs, agent.action(steps.next_obs)
        target = bool(agent.target_critics)
        # Of several target critics the smallest, as in all of the kind that has them.
        follows = agent.q_all(last, act, target=True).amin(0) if target else agent.q(last, act)
        target_value = steps.reward + agent.discount * (~steps.terminated) * follows
        return (target_value - agent.q(steps.obs, steps.act)).double()


def by_stretch(values: Tensor, *, share: bool = False) -> Estimate:
    """The mean of numbers that follow each other, with the standard error of the means of eight stretches.

    Args:
        values: one for each step, in order, [B].
        share: whether each is 0 or 1, or between.
    """
    means = torch.stack([part.mean() for part in values.double().chunk(STRETCHES)])
    spread = float(means.std()) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    return Estimate(float(values.double().mean()), spread, len(means), LATEST, scale="share" if share else "linear")
