"""RLlib: the policy's optimizer calls the monitor, in a learner that is in this process (``num_learners=0``).

    algorithm = config.build_algo()
    monitor = probes.attach(algorithm)
    algorithm.train()

SAC's observations come from the algorithm's replay buffer, its steps are those the buffer has been given. PPO works its
advantages out inside the update and keeps them nowhere, so its learner has to: ``class Learner(KeepsRollout,
PPOTorchLearner)`` and ``config.training(learner_class=Learner)``. A learner without its algorithm is attached to with
``sampler=...``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import gradlab
from gradlab.adapters.rllib import learner_of, module_id_of, recognises
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.policies import Softmax
from gradlab.rollout import Rollout
from probes.source import Sampler, Source
from probes.updates import RolloutSource, UpdateMonitor

MONITOR = UpdateMonitor

_STEPS = "num_env_steps_sampled_lifetime"


class KeepsRollout:
    """A mixin for PPO's learner that keeps what the present update is of, for the probes; it changes nothing.

    Example:
        >>> class PPOTorchLearner: ...
        >>> class Learner(KeepsRollout, PPOTorchLearner): ...
        >>> Learner().kept_steps
        0
    """

    kept: dict[str, dict[str, Any]] | None = None
    kept_steps: int = 0

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Note which step of training the update is at; see RLlib's ``Learner``."""
        self.kept_steps = int(timesteps.get(_STEPS, 0))
        super().before_gradient_based_update(timesteps=timesteps)  # type: ignore[misc]

    def _make_batch_if_necessary(self, *args: Any, **options: Any) -> Any:
        batch: Any = super()._make_batch_if_necessary(*args, **options)  # type: ignore[misc]
        # The columns themselves: shuffling puts others in their place.
        self.kept = {name: dict(columns) for name, columns in batch.policy_batches.items()}
        return batch


def knows(model: object) -> bool:
    """Whether the object is an RLlib algorithm, learner or RLModule."""
    return recognises(model)


def sampler(buffer: Any) -> Sampler:
    """What ``probes.attach(learner, sampler=...)`` takes, out of one of RLlib's buffers of episodes.

    Args:
        buffer: an EpisodeReplayBuffer or one derived from it; its own generator is not touched.
    """

    def sample(count: int, random: np.random.Generator) -> Any:
        episodes = list(buffer.episodes)
        ends = np.cumsum([len(episode) for episode in episodes])
        if not len(ends) or ends[-1] < count:
            return None
        chosen = random.choice(int(ends[-1]), size=count, replace=False)
        places = np.searchsorted(ends, chosen, side="right")
        starts = ends - [len(episode) for episode in episodes]
        rows = zip(places, chosen - starts[places], strict=True)
        return np.stack([episodes[place].get_observations(int(step)) for place, step in rows])

    return sample


def source(model: Any, environment: str = "") -> Source:
    """The run as a monitor sees it.

    Networks are measured in evaluation mode, as they act; an update has them in training mode.

    Raises:
        GradlabError: the algorithm is not supported, its learner is not in this process, or PPO's has no
            ``KeepsRollout``.
    """
    agent, learner = gradlab.view(model), learner_of(model)
    module_id = module_id_of(learner)
    shared: dict[str, Any] = {
        "view": lambda: in_evaluation(gradlab.view(learner)),
        "algorithm": agent.algorithm,
        "library": agent.library,
        "config": _plain(learner.config),
        "environment": environment or _environment_id(learner.config),
    }
    if not agent.critics:
        optimizer = learner.get_optimizer(module_id=module_id)
        if not isinstance(learner, KeepsRollout):
            raise GradlabError(
                f"attach: this {agent.algorithm}'s learner keeps no rollout; write class Learner(KeepsRollout, "
                f"{type(learner).__name__}), of probes.callbacks.rllib, and config.training(learner_class=Learner)"
            )
        return RolloutSource(
            rollout=lambda: stored_rollout(learner, module_id),
            clock=lambda: learner.kept_steps,
            updates=optimizer,
            **shared,
        )
    buffer = getattr(model, "local_replay_buffer", None)
    return Source(
        sample=_no_sampler if buffer is None else sampler(buffer),
        optimizer=learner.get_optimizer(module_id=module_id, optimizer_name="policy"),
        clock=None if buffer is None else lambda: int(buffer.get_added_timesteps()),
        **shared,
    )


def stored_rollout(learner: Any, module_id: str) -> Rollout | None:
    """The rollout that a learner with ``KeepsRollout`` is updated with, advantages as its loss weighs them.

    Args:
        learner: PPO's.
        module_id: of the module that is trained.

    Returns:
        The steps of one episode after the other; None before the first update.
    """
    columns = (learner.kept or {}).get(module_id)
    if columns is None or "advantages" not in columns:
        return None
    agent = in_evaluation(gradlab.view(learner).snapshot())
    obs = _tensor(columns["obs"], agent)
    # The library ends every episode with a step of its own making, which its loss leaves out.
    mask = columns.get("loss_mask")
    real = torch.ones(len(obs), dtype=torch.bool) if mask is None else torch.as_tensor(mask).bool().cpu()
    trajectory = torch.unique_consecutive((~real).cumsum(0)[real], return_inverse=True)[1]
    act = torch.as_tensor(columns["actions"])[real]
    if isinstance(agent.policy, Softmax):
        act = torch.nn.functional.one_hot(act.long(), agent.action_size)
    obs = obs[real]
    with torch.no_grad():
        value = agent.v(obs)
    return Rollout(
        obs=obs,
        act=_tensor(act, agent),
        advantage=_tensor(columns["advantages"], agent)[real],
        target=_tensor(columns["value_targets"], agent)[real],
        value=value,
        trajectory=trajectory.to(agent.device),
    )


def _tensor(values: Any, agent: Agent) -> torch.Tensor:
    return torch.as_tensor(values, dtype=agent.dtype, device=agent.device).detach().clone()


def _environment_id(config: Any) -> str:
    """The gymnasium identifier of the task; empty where it is none, or connectors change observations on the way."""
    plain = getattr(config, "_env_to_module_connector", None) is None
    name = getattr(config, "env", None)
    return name if plain and isinstance(name, str) else ""


def _no_sampler(*_: object) -> Any:
    raise GradlabError(
        "attach: a learner does not know its buffer; pass the algorithm, or sampler=sampler(buffer) of "
        "probes.callbacks.rllib"
    )


def _plain(config: Any) -> dict[str, Any]:
    """Settings of the algorithm for the record."""
    values = {name: value for name, value in vars(config).items() if not name.startswith("_")}
    return {name: value for name, value in values.items() if isinstance(value, bool | int | float | str)}
