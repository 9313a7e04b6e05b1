"""Episodes of a tabular decision process: as a process for the moments' recursion, and sampled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from gradlab.errors import GradlabError
from gradlab.trajectories import Trajectories
from gradlab.worlds.rollout import Step, gather
from gradlab.worlds.tabular_moments import Process

if TYPE_CHECKING:
    from gradlab.worlds.tabular import TabularMDP


#: What the steps that an endless episode is cut at may still weigh.
_TAIL = 1e-12


def episode_process(world: TabularMDP, steps: int | None, *, geometric: bool) -> Process:
    """What one episode of ``sample_episodes`` is: see ``TabularMDP.trajectories``.

    Raises:
        GradlabError: ``steps`` or ``geometric`` is given although the horizon is finite, or they contradict.
    """
    if steps is not None and (steps < 1 or geometric or world.horizon is not None):
        raise GradlabError(
            f"tabular: steps is {steps}; it cuts infinite horizons only, after 1 step or more, and not geometric ones"
        )
    if geometric and world.horizon is not None:
        raise GradlabError(f"tabular: the horizon is {world.horizon}; episodes of random length need an infinite one")
    horizon = world.horizon or steps
    if horizon is None and not geometric:
        horizon = max(1, math.ceil(math.log(_TAIL) / math.log(world.gamma))) if world.gamma > 0 else 1
    return Process(
        P=world.P.detach(),
        reward=(world.reward + world.bonus.unsqueeze(-1)).detach(),
        policy=world.policy.detach(),
        start=world.alpha.detach(),
        discount=1.0 if geometric else world.gamma,
        survival=world.gamma if geometric else 1.0,
        horizon=horizon,
    )


def sample_episodes(
    world: TabularMDP, count: int, generator: torch.Generator, steps: int | None, *, geometric: bool
) -> Trajectories:
    """Independent episodes; see ``TabularMDP.trajectories``."""
    process, agent, every = episode_process(world, steps, geometric=geometric), world.agent(), world.observations()
    state = torch.multinomial(process.start, count, replacement=True, generator=generator)
    alive = torch.ones(count, dtype=torch.bool)
    out: list[Step] = []
    while bool(alive.any()) and len(out) != process.horizon:
        obs = every[state]
        with torch.no_grad():
            head = agent.head(obs)
            noise = agent.policy.noise((count, head.shape[-1]), generator, head)
            act = agent.policy.sample(head, noise)[0]
        choice = act.argmax(-1)
        following = torch.multinomial(process.P[state, choice], 1, generator=generator).squeeze(-1)
        ends = torch.rand(count, generator=generator, dtype=torch.float64) >= process.survival
        if len(out) + 1 == process.horizon:
            ends = torch.full_like(ends, world.horizon is not None)
        reward = world.reward.detach()[state, choice, following]
        out.append(Step(obs, act, reward, every[following], ends, alive, noise))
        alive, state = alive & ~ends, following
    return gather(out, process.discount)
