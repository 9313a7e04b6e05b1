"""The rollout that a Stable-Baselines3 on-policy algorithm is about to train on, read without the buffer's ``get``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.adapters.rollout_ages import ages
from gradlab.adapters.stable_baselines3 import view
from gradlab.on_policy_loss import OnPolicyLoss
from gradlab.rollout import Rollout

#: What the libraries keep a standard deviation from zero with.
_SMALL = 1e-8


class CutOff(NamedTuple):
    """An episode that a time limit cut off within a rollout.

    Attributes:
        row: the step of the rollout that was its last.
        environment: which.
        obs: s_T as the networks get it, which the rollout does not hold.
    """

    row: int
    environment: int
    obs: Any


def stored_rollout(model: Any, cut_off: Sequence[CutOff] | None = None) -> Rollout | None:
    """A copy of a full rollout that training has not gone through yet, advantages normalised where the actor's are.

    The buffer's arrays are read directly: ``get()`` permutes with numpy's global state and flattens them in place.
    They hold observations as the policy got them and actions before they are clipped for the environment.

    Two things are not in them. V after the last step of each environment is had from the advantage there, which it was
    made with. Which episodes a time limit cut off within the rollout, and where, has to be told: the library has added
    γV(s_T) to their last reward.

    Args:
        model: PPO, A2C or TRPO.
        cut_off: the episodes that a time limit cut off; None where that is not known, so that they look like others
            that end within the rollout: γV(s_T) is then part of the reward, and the bootstrap 0.

    Returns:
        The steps of each environment one after the other, in float32 as they are kept; None where the buffer is not
        full, flattened already by training, or not one of flat observations.
    """
    buffer = model.rollout_buffer
    stored = getattr(buffer, "observations", None)
    if not isinstance(stored, np.ndarray) or stored.ndim != 3 or not buffer.full or buffer.generator_ready:
        return None
    starts = _by_environment(buffer.episode_starts).astype(bool)
    begun = starts.copy()
    starts[:: buffer.buffer_size] = True
    act = _copy(buffer.actions)
    if type(model.action_space).__name__ == "Discrete":
        act = torch.nn.functional.one_hot(act[:, 0].long(), int(model.action_space.n)).float()
    raw = advantage = _copy(buffer.advantages)
    notes: tuple[str, ...] = ()
    if model.normalize_advantage and len(advantage) > 1:
        advantage = (raw - raw.mean()) / (raw.std() + _SMALL)
        # Only PPO takes the actor's gradient of a part of the rollout.
        if type(model).__name__ == "PPO" and model.batch_size < len(advantage):
            where = (
                f"over the rollout's {len(advantage)} steps; PPO does so within each minibatch of {model.batch_size}"
            )
            notes = (f"advantages are normalised {where}",)
    normalised = model.get_vec_normalize_env()
    if normalised is not None and normalised.norm_reward:
        notes = (*notes, "rewards are VecNormalize's: divided by its running scale of the returns, and clipped")
    trajectory = torch.from_numpy(starts.cumsum() - 1)
    reward, bootstrap = _copy(buffer.rewards).double(), _bootstrap(model, trajectory)
    if cut_off:
        rows = torch.tensor([cut.environment * buffer.buffer_size + cut.row for cut in cut_off])
        tails = model.gamma * _values(model, [cut.obs for cut in cut_off])
        reward[rows] -= tails
        bootstrap[trajectory[rows]] = tails
    elif cut_off is None and (buffer.episode_starts[1:].any() or np.any(model._last_episode_starts)):
        notes = (*notes, "where a time limit cut off an episode within the rollout, γV(s_T) is part of its last reward")
    return Rollout(
        obs=_copy(stored),
        act=act,
        advantage=advantage,
        target=_copy(buffer.returns),
        value=_copy(buffer.values),
        trajectory=trajectory,
        notes=notes,
        reward=reward,
        bootstrap=bootstrap,
        raw_advantage=raw,
        log_prob=_copy(buffer.log_probs),
        age=ages(begun, starts),
        loss=loss_of(model),
    )


def loss_of(model: Any) -> OnPolicyLoss:
    """What the algorithm makes of its next rollout; TRPO's objective has no clip, its step is limited otherwise."""
    clip = value_clip = None
    if type(model).__name__ == "PPO":
        # As training will have it, which brings the share of steps that are left up to date before it begins.
        left = 1.0 - model.num_timesteps / model._total_timesteps if model._total_timesteps else 1.0
        clip = float(model.clip_range(left))
        value_clip = None if model.clip_range_vf is None else float(model.clip_range_vf(left))
    return OnPolicyLoss(
        discount=float(model.gamma),
        gae_lambda=float(model.gae_lambda),
        clip=clip,
        entropy=float(model.ent_coef),
        value=float(model.vf_coef),
        value_clip=value_clip,
    )


def _values(model: Any, observations: list[Any]) -> Tensor:
    agent = view(model).snapshot()
    with torch.no_grad():
        return agent.v(agent.observations(np.stack(observations))).cpu().double()


def _bootstrap(model: Any, trajectory: Tensor) -> Tensor:
    """γV after the last row of each environment that is in mid-episode there, [R]; otherwise 0."""
    buffer = model.rollout_buffer
    # With nothing to come the last advantage is r + γV(s_T) − V(s_T−1).
    after = (buffer.advantages[-1] - buffer.rewards[-1] + buffer.values[-1]).astype(np.float64)
    after[np.asarray(model._last_episode_starts, dtype=bool)] = 0.0
    last = trajectory[buffer.buffer_size - 1 :: buffer.buffer_size]
    out = torch.zeros(int(trajectory[-1]) + 1, dtype=torch.float64)
    out[last] = torch.from_numpy(after)
    return out


def _by_environment(array: NDArray[Any]) -> NDArray[Any]:
    """[steps, envs, ...] as [envs · steps, ...], an array of its own."""
    flat: NDArray[Any] = array.swapaxes(0, 1).reshape(-1, *array.shape[2:]).copy()
    return flat


def _copy(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(_by_environment(array))
