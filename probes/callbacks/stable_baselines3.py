"""Stable-Baselines3 and sb3-contrib: the monitor is the model's callback."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

import gradlab
from gradlab.adapters.rollout_ages import continued
from gradlab.adapters.stable_baselines3 import stored_observations
from gradlab.adapters.stable_baselines3_rollout import CutOff, stored_rollout
from gradlab.rollout import Rollout
from probes.callbacks.visited import Visited
from probes.monitor import Monitor
from probes.source import Source

log = logging.getLogger("gradlab")


def knows(model: object) -> bool:
    """Whether the object is a Stable-Baselines3 algorithm."""
    return isinstance(model, BaseAlgorithm)


@dataclass(frozen=True)
class ModelSource(Source):
    """A run of a model.

    Attributes:
        model: the algorithm.
    """

    model: BaseAlgorithm | None = None


def source(model: BaseAlgorithm, environment: str = "") -> Source:
    """The run as a monitor sees it; observations come from the model's buffer, read without its own generator."""

    def sample(count: int, random: np.random.Generator) -> Any:
        return stored_observations(model, count, random)

    return ModelSource(
        model=model,
        view=lambda: gradlab.view(model),
        sample=sample,
        rollout=Rollouts(model) if _on_policy(model) else None,
        experience=None if _on_policy(model) else Visited(model),
        apart=_apart(model),
        logger=lambda: model.logger,
        environment=environment or environment_id(model),
        algorithm=type(model).__name__,
        library=gradlab.view(model).library,
        config={
            name: value
            for name, value in vars(model).items()
            if isinstance(value, bool | int | float | str) and not name.startswith("_")
        },
    )


def _apart(model: BaseAlgorithm) -> str:
    """Why the agent cannot act in the bare environment: what the networks get and learn is normalised on the way."""
    statistics = model.get_vec_normalize_env()
    if statistics is None:
        return ""
    of = [name for name, on in (("observations", statistics.norm_obs), ("rewards", statistics.norm_reward)) if on]
    return f"VecNormalize changes {' and '.join(of)}, and a simulator has others" if of else ""


def environment_id(model: BaseAlgorithm) -> str:
    """The gymnasium identifier of the model's environment, or an empty string."""
    vec_env = model.get_env()
    if vec_env is None:
        return ""
    envs = getattr(vec_env.unwrapped, "envs", None)
    # A wrapper's own spec is computed and kept in the live wrapper when asked for; the innermost is only read.
    spec = envs[0].unwrapped.spec if envs else vec_env.get_attr("spec")[0]
    return "" if spec is None else str(spec.id)


class Rollouts:
    """Gives the rollout that training is about to use, together with the one before where there has been one.

    Args:
        model: PPO, A2C or TRPO.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self._model = model
        self._last: tuple[int, Rollout | None] = (-1, None)
        self._before: Rollout | None = None
        self._cut_off: list[CutOff] | None = None

    def begin(self) -> None:
        """A rollout begins."""
        self._cut_off = []

    def stepped(self, row: int, dones: Any, infos: Any) -> None:
        """A step has been taken in each environment, the rollout's ``row``-th: keep what a time limit cut off."""
        if self._cut_off is None:
            return
        for environment in np.flatnonzero(dones):
            info = infos[environment]
            obs = info.get("terminal_observation")
            if obs is not None and info.get("TimeLimit.truncated", False):
                self._cut_off.append(CutOff(row, int(environment), np.array(obs)))

    def __call__(self) -> Rollout | None:
        """A copy of the rollout; None while there is no whole one."""
        if self._last[0] != self._model.num_timesteps:
            found = stored_rollout(self._model, self._cut_off)
            if found is not None and self._before is not None:
                found = continued(found, self._before, self._model.n_envs)
            self._last = self._model.num_timesteps, found
        found = self._last[1]
        return None if found is None else replace(found, previous=self._before)

    def keep(self) -> None:
        """Keep the rollout until the next one has been measured: its update will have ended then."""
        self._before = replace(found, previous=None) if (found := self()) is not None else None

    def forget(self) -> None:
        """Something else may have trained the model since."""
        self._last, self._before, self._cut_off = (-1, None), None, None


class CallbackMonitor(Monitor, BaseCallback):
    """A monitor that ``model.learn(callback=...)`` calls at every environment step.

    On-policy algorithms are measured at the end of a rollout: the policy is the one that acted in it, and its
    observations are complete.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        BaseCallback.__init__(self)
        Monitor.__init__(self, *args, **options)

    def _on_training_start(self) -> None:
        # Every learn() is a run of its own, since its steps may begin again at zero.
        for kept in (self._source.rollout, self._source.experience):
            if isinstance(kept, Rollouts | Visited):
                kept.forget()
        if not self.closed and self._step > 0:
            # An exception, or Ctrl-C, ends learn() without a word to its callbacks.
            self.close("stopped", "learn() was left before its end")
        if isinstance(self._source, ModelSource) and self.model is not self._source.model:
            log.warning(
                "gradlab: this monitor was attached to another %s than learn() trains, so that it measures nothing "
                "here; give each model its own, probes.attach(model), after loading it",
                type(self._source.model).__name__,
            )
            self.close("stopped", "learn() trains another model")
        elif self.closed:
            try:
                self.begin()
            except Exception as error:  # noqa: BLE001 - isolation: training has begun
                log.error("gradlab measures nothing of this learn(), as no run can be begun: %s", error)

    def _on_rollout_start(self) -> None:
        if isinstance(self._source.rollout, Rollouts):
            self._source.rollout.begin()

    def _on_step(self) -> bool:
        if _on_policy(self.model):
            rollouts, seen = self._source.rollout, self.locals
            if isinstance(rollouts, Rollouts) and seen["dones"].any() and self.measures_rollouts:
                self._guard(lambda: rollouts.stepped(seen["n_steps"], seen["dones"], seen["infos"]))
            self.alive(self.num_timesteps)
        else:
            visited = self._source.experience
            if isinstance(visited, Visited) and self.measures_experience:
                self._guard(lambda: visited.stepped(self.locals))
            self.step(self.num_timesteps)
        return True

    def _on_rollout_end(self) -> None:
        # Off-policy algorithms call this, too, after steps that each have been looked at already.
        if _on_policy(self.model):
            self.step(self.num_timesteps)
            # The single step of A2C goes nowhere that would be worth a copy of every rollout.
            rollouts = self._source.rollout
            if isinstance(rollouts, Rollouts) and type(self.model).__name__ != "A2C" and self.measures_rollouts:
                self._guard(rollouts.keep)

    def _on_training_end(self) -> None:
        self.close()


def _on_policy(model: BaseAlgorithm) -> bool:
    return getattr(model, "rollout_buffer", None) is not None


MONITOR = CallbackMonitor
