"""What a skrl agent's memory holds, read without the memory's own sampling, which draws from torch's global state."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlab.adapters import skrl
from gradlab.adapters.rollout_ages import ages, continued
from gradlab.agent import Agent
from gradlab.evaluation_mode import in_evaluation
from gradlab.on_policy_loss import OnPolicyLoss
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
        #: Which environments ended an episode with the last rollout; of those before the first nothing is known.
        self._ended: Any = False
        self._before: Rollout | None = None
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
        memory = self._model.memory
        if memory is not None and "terminated" in memory.tensors:
            self._ended = (memory.tensors["terminated"][-1] | memory.tensors["truncated"][-1])[:, 0].clone()

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
        ends = (parts["terminated"] | parts["truncated"])[:, 0]
        starts = torch.zeros_like(ends)
        starts[1:] = ends[:-1]
        starts[:: memory.memory_size] = self._ended
        begun = starts.clone()
        starts[:: memory.memory_size] = True
        rollout = Rollout(
            obs=obs,
            act=act,
            advantage=parts["advantages"][:, 0],
            target=target[:, 0],
            value=value[:, 0],
            trajectory=starts.cumsum(0) - 1,
            notes=self._notes(bool(parts["truncated"].any()), changed),
            # Standardised targets have been cut to a few standard deviations.
            raw_advantage=target[:, 0] - value[:, 0] if self._value is None else None,
            log_prob=parts["log_prob"][:, 0],
            age=ages(begun.cpu().numpy(), starts.cpu().numpy()).to(obs.device),
            **self._made_from(agent, parts, ends, starts),
        )
        if self._before is not None:
            rollout = continued(rollout, self._before, len(obs) // memory.memory_size)
        return replace(rollout, previous=self._before)

    def keep(self) -> None:
        """Keep the rollout until the next one has been measured: its update will have ended then."""
        found = self.read()
        self._before = None if found is None else replace(found, previous=None)

    def _made_from(self, agent: Agent, parts: dict[str, Tensor], ends: Tensor, starts: Tensor) -> dict[str, Any]:
        """Rewards, bootstraps and loss, which the advantages are made from; none where these run over an episode's end.

        The library adds γV(s_T) to the last reward before a time limit when told to, and keeps V(s_T) nowhere.
        """
        cfg, following = self._model.cfg, self._model._current_next_observations
        if following is None or (not cfg.time_limit_bootstrap and bool(parts["truncated"].any())):
            return {}
        reward = parts["rewards"][:, 0].double()
        with torch.no_grad():
            after = cfg.discount_factor * agent.v(_through(self._observation, following)).double()
        length = self._model.memory.memory_size
        last = torch.arange(length - 1, len(ends), length, device=ends.device)
        bootstrap = reward.new_zeros(int(starts.sum()))
        bootstrap[(starts.cumsum(0) - 1)[last]] = torch.where(ends[last], 0.0, after)
        return {"reward": reward, "bootstrap": bootstrap, "loss": self._loss()}

    def _loss(self) -> OnPolicyLoss:
        """What the update makes of the rollout; where V is standardised, in units of return."""
        cfg = self._model.cfg
        preprocessor = skrl.own_value_preprocessor(self._model)
        scale = 1.0 if preprocessor is None else float(preprocessor.running_variance.sqrt())
        clip = getattr(cfg, "value_clip", 0.0)
        return OnPolicyLoss(
            discount=float(cfg.discount_factor),
            gae_lambda=float(cfg.gae_lambda),
            clip=getattr(cfg, "ratio_clip", None),
            entropy=float(getattr(cfg, "entropy_loss_scale", 0.0)),
            value=float(getattr(cfg, "value_loss_scale", 1.0)) / scale**2,
            value_clip=clip * scale if clip > 0 else None,
        )

    def _notes(self, truncated: bool, changed: float) -> tuple[str, ...]:
        notes = []
        if truncated and not self._model.cfg.time_limit_bootstrap:
            notes.append(
                "advantages before a time limit run on into the next episode, as skrl makes them with "
                "time_limit_bootstrap=False"
            )
        elif truncated:
            notes.append("where a time limit cut off an episode, γV(s_T) is part of its last reward")
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
