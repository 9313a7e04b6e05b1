"""What a Tianshou buffer holds, read without its own sampling.

The library's ``sample`` draws from a generator of the buffer's, on which the training run depends. All buffers of the
library are read alike, a single one and one of many parts, and none is changed. Observations are kept as the policy
got them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.policies import Softmax
from gradlab.rollout import Rollout

#: What PPO keeps a standard deviation from zero with; NPG and TRPO use nothing.
_SMALL = 1e-8


def stored_observations(buffer: Any, count: int, generator: np.random.Generator) -> NDArray[Any] | None:
    """Distinct stored steps' observations.

    Args:
        buffer: a ReplayBuffer, VectorReplayBuffer or another of the library's.
        count: how many.
        generator: where the choice comes from.

    Returns:
        [count, n], or None while the buffer holds fewer or is not one of flat observations.
    """
    if len(buffer) < count or not _flat(buffer):
        return None
    rows: NDArray[Any] = buffer.obs[generator.choice(_indices(buffer), size=count, replace=False)]
    return rows


def stored_rollout(algorithm: Any, agent: Agent, buffer: Any, batch_size: int | None = None) -> Rollout | None:
    """The rollout an on-policy algorithm is about to be updated with, its advantages as the update weighs them.

    The library works advantages and returns out inside ``update`` and keeps them nowhere: they are worked out again,
    as its ``_add_returns_and_advantages`` does (GAE over the steps, bootstrapping where an episode was cut off or is
    unfinished), without its running statistics of the returns being updated. Ask before the update.

    Args:
        algorithm: PPO, A2C, NPG or TRPO.
        agent: its view.
        buffer: the collector's buffer.
        batch_size: as ``update`` is given it; None where the whole rollout is one batch.

    Returns:
        The steps of each part of the buffer one after the other; None where the buffer is empty or not one of flat
        observations.

    Raises:
        GradlabError: the algorithm has no value function to work advantages out with.
    """
    if agent.value is None:
        raise GradlabError(f"rollout: {agent.algorithm or type(algorithm).__name__} has no value function of obs")
    if not len(buffer) or not _flat(buffer):
        return None
    indices = _indices(buffer)
    steps = buffer[indices]
    measured = in_evaluation(agent.snapshot())
    with torch.no_grad():
        value, following = (measured.v(_tensor(obs, agent)).cpu().numpy() for obs in (steps.obs, steps.obs_next))
    scale = float(np.sqrt(algorithm.ret_rms.var + algorithm._eps)) if algorithm.return_scaling else 1.0
    ends = np.logical_or(steps.terminated, steps.truncated)
    ends[np.isin(indices, buffer.unfinished_index())] = True
    advantage = _advantages(
        steps.rew + algorithm.gamma * following * scale * ~steps.terminated - value * scale,
        ends,
        algorithm.gamma * algorithm.gae_lambda,
    )
    act = _tensor(steps.act, agent)
    if isinstance(agent.policy, Softmax):
        act = torch.nn.functional.one_hot(act.long(), agent.action_size).to(act)
    weighed, notes = _normalised(algorithm, agent, _tensor(advantage, agent), batch_size)
    return Rollout(
        obs=_tensor(steps.obs, agent),
        act=act,
        advantage=weighed,
        target=_tensor((advantage + value * scale) / scale, agent),
        value=_tensor(value, agent),
        trajectory=torch.from_numpy(np.concatenate([[0], ends[:-1].cumsum()])).to(agent.device),
        notes=notes,
    )


def _advantages(errors: NDArray[Any], ends: NDArray[Any], decay: float) -> NDArray[Any]:
    """GAE: the sum of (γλ)^k δ_{t+k} up to the end of the trajectory, [N]."""
    found = np.zeros(len(errors))
    following = 0.0
    for step in reversed(range(len(errors))):
        following = errors[step] + (0.0 if ends[step] else decay * following)
        found[step] = following
    return found


def _normalised(
    algorithm: Any, agent: Agent, advantage: Tensor, batch_size: int | None
) -> tuple[Tensor, tuple[str, ...]]:
    """The advantages as the actor's loss weighs them, and where that is not to the letter what it does."""
    if not getattr(algorithm, "advantage_normalization", False) or len(advantage) < 2:
        return advantage, ()
    by_minibatch = agent.algorithm == "PPO"
    weighed = (advantage - advantage.mean()) / (advantage.std() + (_SMALL if by_minibatch else 0.0))
    if not by_minibatch or batch_size is None or batch_size >= len(advantage):
        return weighed, ()
    where = f"over the rollout's {len(advantage)} steps; PPO does so within each minibatch of {batch_size}"
    return weighed, (f"advantages are normalised {where}",)


def _indices(buffer: Any) -> NDArray[Any]:
    """Places of the stored steps, oldest first in each part; drawn from nothing."""
    found: NDArray[Any] = buffer.sample_indices(0)
    return found


def _flat(buffer: Any) -> bool:
    """Whether every step has one flat observation: no stacked frames, no dictionaries."""
    return buffer.stack_num == 1 and isinstance(buffer.obs, np.ndarray) and buffer.obs.ndim == 2


def _tensor(array: NDArray[Any], agent: Agent) -> Tensor:
    return torch.as_tensor(array, dtype=agent.dtype, device=agent.device)
