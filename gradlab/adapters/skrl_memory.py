"""What a skrl agent's memory holds, read without the memory's own sampling, which draws from torch's global state."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlab.adapters import skrl
from gradlab.agent import Agent
from gradlab.evaluation_mode import in_evaluation
from gradlab.rollout import Rollout

#: How far log π of an action may be from what it was when the policy acted before that is said.
_SAME = 1e-3


def observations(model: Any, raw: Tensor) -> Tensor:
    """Observations as the networks get them: through the agent's preprocessor, whose statistics are read, not updated.

    Args:
        model: the agent.
        raw: observations as the environment gives them, flat, [B, n].
    """
    return _through(model._observation_preprocessor, raw)


def stored_observations(model: Any, count: int, generator: np.random.Generator) -> Tensor | None:
    """Distinct stored steps' observations, as the networks get them.

    Args:
        model: the agent.
        count: how many.
        generator: where the choice comes from.

    Returns:
        [count, n], or None while the memory holds fewer.
    """
    raw = _stored(model.memory, count, generator)
    return None if raw is None else observations(model, raw)


class Rollouts:
    """The rollouts of an on-policy agent, as they were acted: PPO, A2C, TRPO.

    Preprocessors standardise by statistics that an update changes before its first step, so that those the policy
    acted with are kept from the step before: tell of every step with ``stepping``.

    Args:
        model: the agent.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._acted: Any = getattr(model, "_current_log_prob", None)
        self._count = int(getattr(model, "_rollout", 0))
        #: The trainer's steps so far, as of the last update; they go on where a second trainer begins again.
        self.timesteps = self._count
        self._keep()

    def stepping(self) -> bool:
        """To be called before every step of the optimizer: whether it is the first since the policy has acted."""
        acted = self._model._current_log_prob
        if acted is self._acted:
            return False
        count = int(self._model._rollout)
        self.timesteps += count - self._count if count > self._count else count
        self._acted, self._count = acted, count
        return True

    def stepped(self) -> None:
        """To be called after ``stepping``, once the rollout has been read."""
        self._keep()

    def _keep(self) -> None:
        self._observation = _frozen(self._model._observation_preprocessor)
        self._value = _frozen(skrl.own_value_preprocessor(self._model))

    def agent(self) -> Agent:
        """The Agent of the policy that acted; TRPO has it in a copy when its value function is about to learn."""
        policy = getattr(self._model, "backup_policy", None)
        return skrl.view(self._model, policy=policy, value_preprocessor=self._value)

    def sample(self, count: int, generator: np.random.Generator) -> Tensor | None:
        """Distinct observations of the rollout as the policy got them, [count, n]; None while there are fewer."""
        raw = _stored(self._model.memory, count, generator)
        return None if raw is None else _through(self._observation, raw)

    def read(self) -> Rollout | None:
        """A copy of the rollout that is about to be used; None where the memory holds no whole one.

        V and its targets are in units of return: where they are standardised, V by the statistics it acted with.
        Advantages are normalised over the whole rollout, as the library does.
        """
        memory, model = self._model.memory, self._model
        if memory is None or not memory.filled or memory.memory_index or "advantages" not in memory.tensors:
            return None
        parts = {name: _by_environment(tensor) for name, tensor in memory.tensors.items()}
        agent = in_evaluation(self.agent())
        obs = agent.observations(_through(self._observation, parts["observations"]))
        act, target, value = parts["actions"], parts["returns"], parts["values"]
        if not agent.policy.continuous:
            act = nn.functional.one_hot(act[:, 0].long(), agent.action_size).float()
        with torch.no_grad():
            changed = float((agent.policy.log_prob(agent.head(obs), act) - parts["log_prob"][:, 0]).abs().max())
            if self._value is not None:
                value = agent.v(obs)[:, None]
                target = model._value_preprocessor(target, inverse=True)
        starts = torch.zeros(len(obs), dtype=torch.bool, device=obs.device)
        starts[1:] = (parts["terminated"] | parts["truncated"])[:-1, 0]
        starts[:: memory.memory_size] = True
        return Rollout(
            obs=obs,
            act=act,
            advantage=parts["advantages"][:, 0],
            target=target[:, 0],
            value=value[:, 0],
            trajectory=starts.cumsum(0) - 1,
            notes=self._notes(bool(parts["truncated"].any()), changed),
        )

    def _notes(self, truncated: bool, changed: float) -> tuple[str, ...]:
        notes = []
        if truncated and not self._model.cfg.time_limit_bootstrap:
            notes.append(
                "advantages before a time limit run on into the next episode, as skrl makes them with "
                "time_limit_bootstrap=False"
            )
        if self._model._observation_preprocessor != self._model._empty_preprocessor:
            notes.append(
                "observations are standardised as the policy acted on them; skrl does so anew while it trains, so that "
                "its own first gradient is taken at other probabilities"
            )
        if changed > _SAME:
            notes.append(f"log π of the actions taken is off by up to {changed:.2g} from what it was when they were")
        return tuple(notes)


def _stored(memory: Any, count: int, generator: np.random.Generator) -> Tensor | None:
    if memory is None or "observations" not in memory.tensors or len(memory) < count:
        return None
    stored: Tensor = memory.tensors_view["observations"]
    chosen = torch.from_numpy(generator.choice(len(memory), size=count, replace=False))
    return stored[chosen.to(stored.device)]


def _by_environment(tensor: Tensor) -> Tensor:
    """[steps, envs, size] as [envs · steps, size], a tensor of its own."""
    return tensor.transpose(0, 1).reshape(-1, *tensor.shape[2:]).clone()


def _through(preprocessor: Any, raw: Tensor) -> Tensor:
    with torch.no_grad():
        made: Tensor = preprocessor(raw)
    return made


def _frozen(preprocessor: Any) -> Any:
    """A copy with the statistics of now; what has none is taken as it is."""
    if not isinstance(preprocessor, nn.Module):
        return preprocessor
    other = copy.copy(preprocessor)
    other._buffers = {name: None if part is None else part.clone() for name, part in preprocessor._buffers.items()}
    return other
