"""One checkpoint's landscape at the states that its policy visits, and what became of its optima since another one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.landscape.entrance import measured_agent
from gradlab.landscape.found import LocalOptima
from gradlab.landscape.optima import local_optima
from gradlab.landscape.standing.standing import Gap, gap
from gradlab.landscape.training.following import Followed, follow
from gradlab.landscape.training.summaries import landscape_numbers
from gradlab.landscape.unseen_optima.second_look import unseen_share
from gradlab.simulation.states import States
from gradlab.statistics.state_means import optima_mean

#: Relative persistences at which optima are counted; evenly on a logarithm.
THRESHOLDS = tuple(10 ** (step / 4) for step in range(-12, 1))
#: Added to a seed for starts that have nothing to do with those of the seed.
_OTHER = 1_000_003
#: Episodes that an interval over episodes needs to mean something.
FEWEST_EPISODES = 3


@dataclass(frozen=True)
class LandscapeReport:
    """What there is at one checkpoint.

    Attributes:
        numbers: name → estimate over states; see ``landscape_numbers``.
        curve: relative persistence → number of optima at least that persistent.
        control: what ``follow`` finds between two searches of this critic from different starts: births and deaths
            that are the search's own; and ``unseen_share``, the chance that one more start finds a new optimum.
        optima: per state.
        standing: per state.
        states: where it was measured.
        objective: of the critic, in words.
        threshold: relative persistence from which an optimum counts.
        radius: how far apart one optimum may be at two moments, as a share of the box's diagonal.
    """

    numbers: dict[str, Estimate]
    curve: dict[float, Estimate]
    control: dict[str, Estimate]
    optima: LocalOptima
    standing: Gap
    states: States
    objective: str
    threshold: float
    radius: float


def measure_landscape(
    agent: Agent, states: States, *, starts: int = 64, threshold: float = 0.01, radius: float = 0.1, seed: int = 0
) -> LandscapeReport:
    """Search the critic that the actor follows at every state, twice with different starts.

    Args:
        agent: the agent.
        states: where, of at least three episodes: they are the independent samples of every interval.
        starts: starts of the search at each state.
        threshold: persistence, as a share of Q's range, from which an optimum counts.
        radius: how far apart one optimum may be found by the two searches, as a share of the box's diagonal.
        seed: of the starts.

    Raises:
        GradlabError: the states are of too few episodes, or the critic has no landscape there.

    Example:
        >>> actor = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.zeros_(actor.weight), torch.nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [lambda obs, act: -(act - 0.5).square().sum(-1)], [-1.0], [1.0])
        >>> states = States(torch.zeros(6, 1).double(), (None,) * 6, torch.arange(6) // 2, torch.zeros(6).long(), "X")
        >>> report = measure_landscape(agent, states)
        >>> report.numbers["optima"].value, report.control["births"].value, report.numbers["optima"].samples
        (1.0, 0.0, 3)
    """
    agent = measured_agent(agent)
    episodes = len(states.episode.unique())
    if episodes < FEWEST_EPISODES:
        raise GradlabError(
            f"landscape: the states are of {episodes} episodes; intervals over episodes need at least {FEWEST_EPISODES}"
        )
    generator = torch.Generator().manual_seed(seed)
    optima = search(agent, states.obs, starts, seed)
    standing = gap(agent, states.obs, optima, threshold=threshold, generator=generator)
    objective = str(agent.objective)
    again = search(agent, states.obs, starts, seed + _OTHER)
    control = follow(optima, again, agent.action_low, agent.action_high, radius=radius, threshold=threshold)
    return LandscapeReport(
        numbers=landscape_numbers(optima, standing, states.episode, threshold=threshold),
        curve={share: optima_mean(optima.count(share), states.episode, objective=objective) for share in THRESHOLDS},
        control={
            **control.estimates(states.episode, objective),
            # As near as follow asks for, and nearer: a top that is almost level is found here and there on it.
            "unseen_share": unseen_share(optima, again, threshold=threshold, radius=radius).mean(states.episode),
        },
        optima=optima,
        standing=standing,
        states=states,
        objective=objective,
        threshold=threshold,
        radius=radius,
    )


def follow_since(earlier: Agent, later: Agent, report: LandscapeReport, *, starts: int, seed: int) -> Followed:
    """What became of an earlier checkpoint's optima at the states that a later one visits.

    Args:
        earlier: the agent at the earlier checkpoint.
        later: at the later one.
        report: of the later one, by ``measure_landscape`` with the same ``starts`` and ``seed``, so that both critics
            are searched from the same starts.
        starts: as there.
        seed: as there.

    Raises:
        GradlabError: the two have not the same observations or action box.
    """
    boxes = [(agent.action_low, agent.action_high) for agent in (earlier, later)]
    same = all(a.shape == b.shape and torch.equal(a.cpu(), b.cpu()) for a, b in zip(*boxes, strict=True))
    if not same:
        raise GradlabError("follow: the two agents have different action boxes; give two checkpoints of one run")
    before = search(earlier, report.states.obs, starts, seed)
    return follow(
        before,
        report.optima,
        later.action_low,
        later.action_high,
        radius=report.radius,
        threshold=report.threshold,
    )


def search(agent: Agent, obs: Tensor, starts: int, seed: int) -> LocalOptima:
    """The optima of the critic that the actor follows, from starts of a seed."""
    return local_optima(agent, obs, starts=starts, generator=torch.Generator().manual_seed(seed))
