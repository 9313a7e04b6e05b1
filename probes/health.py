"""Probe: can the actor move, does the critic learn, and is the replay what the run visits?"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.estimate import Estimate
from gradlab.experience import Experience
from gradlab.health import action_distance, change, novel_share, residuals, saturation
from gradlab.health.movement import parameters_of
from gradlab.health.replay import STRETCHES, by_stretch
from gradlab.measurement import Measurement
from probes.probe import ExperienceProbe
from probes.schedule import Every


class Health(ExperienceProbe):
    """Saturation of the actor, how far actor and critics moved since the last measurement, and the replay's fit.

    ``actor/…`` says what share of the action's coordinates is saturated, what share is so against the critic's wish,
    and how much of ∇_a Q passes the squash. ``actor/change`` and ``critic/change`` are ‖Δθ‖/‖θ‖ since the last
    measurement: exactly zero where nothing trains. ``replay/…`` is of steps in the replay and ``visited/…`` of those
    the run took of late: their TD errors and how far their actions are from the actor's own;
    ``replay/novel_share`` is the share of visited states that are unlike any in the replay, ``replay/entered_share``
    that of the latest steps that are in it. Where a library's buffer is not read (all but Stable-Baselines3's so far)
    those of actor and critic are measured alone.

    A measurement takes 6 to 7 ms of a busy processor at two hidden layers of 256, on one thread.

    Args:
        every: training steps between two measurements.
        states: states, and steps of replay and run, that it measures at.

    Raises:
        GradlabError: a number is out of range.

    Example:
        >>> actor = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Tanh())
        >>> agent = Agent(actor, [lambda obs, act: -act.square().sum(-1)], [-1.0], [1.0])
        >>> probe = Health(states=32)
        >>> numbers = [probe.measure(agent, torch.zeros(32, 1), torch.Generator()).scalars for _ in range(2)]
        >>> sorted(numbers[0]), numbers[1]["actor/change"].value
        (['actor/passed', 'actor/saturated_share', 'actor/stuck_share'], 0.0)
    """

    name = "health"
    remembers = True

    def __init__(self, *, every: Every = 1000, states: int = 64) -> None:
        super().__init__(every=every, states=states)
        self._before: tuple[list[Tensor], list[Tensor]] | None = None

    def refusal(self, agent: Agent) -> str | None:
        """Needs a critic and continuous actions."""
        if not agent.policy.continuous:
            return "the agent's actions are discrete; there is no squash to saturate"
        return super().refusal(agent)

    def stand_alone(self, place: int) -> None:
        """No parameters are remembered."""
        self._before = None

    def recall(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> None:
        """Take note of the parameters."""
        self._before = parameters_of([agent.actor]), parameters_of(agent.critics)

    def measure(self, agent: Agent, obs: Tensor, generator: torch.Generator) -> Measurement:
        """What can be known at states alone."""
        _evaluate(agent)
        found = saturation(agent, obs)
        scalars = {f"actor/{name}": one for name, one in found.estimates().items()} | self._moved(agent)
        note = "" if found.measured else "the actor's squash was not found: saturation is judged by the actions alone"
        return Measurement(scalars, notes=(note,) if note else ())

    def measure_experience(self, agent: Agent, experience: Experience, generator: torch.Generator) -> Measurement:
        """Those, and what takes the replay and the run's latest steps."""
        replay, visited = experience.replay.first(self.states), experience.visited
        alone = self.measure(agent, replay.obs, generator)
        # Both at once: networks this small take as long for the half.
        whole = replay if visited is None else replay.with_more(visited)
        errors = residuals(agent, whole)
        stored = errors[: len(replay)]
        scalars = dict(alone.scalars)
        scalars["replay/td_error"] = _root(stored.square(), len(stored))
        scalars["replay/action_distance"] = _mean(action_distance(agent, replay))
        if experience.entered is not None:
            share = experience.entered
            scalars["replay/entered_share"] = Estimate(share, 0.0, 1, ends=(share, share))
        if visited is not None and len(visited) >= 2 * STRETCHES:
            scalars["replay/novel_share"] = novel_share(visited.obs, experience.replay.obs)
            scalars["visited/action_distance"] = by_stretch(action_distance(agent, visited))
            scalars |= _errors(stored.square(), errors[len(replay) :].square())
        return Measurement(scalars, notes=alone.notes)

    def _moved(self, agent: Agent) -> dict[str, Estimate]:
        """How far actor and critics are from where they were at the last measurement; nothing the first time."""
        now = parameters_of([agent.actor]), parameters_of(agent.critics)
        before, self._before = self._before, now
        if before is None or any(_shapes(a) != _shapes(b) for a, b in zip(before, now, strict=True)):
            return {}
        pairs = zip(("actor", "critic"), before, now, strict=True)
        return {f"{name}/change": change(old, new) for name, old, new in pairs if old}


def _errors(stored: Tensor, visited: Tensor) -> dict[str, Estimate]:
    """The TD error of visited steps, by its squares, alone and beside that of the replay's."""
    error = by_stretch(visited)
    found = {"visited/td_error": _rooted(error)}
    mean = float(stored.mean())
    if mean > 0 and error.value > 0:
        relative = math.hypot(error.stderr / error.value, float(stored.std()) / mean / math.sqrt(len(stored)))
        ratio = error.value / mean
        found["visited/td_ratio"] = Estimate(ratio, ratio * relative, error.samples, error.reference, scale="log")
    return found


def _evaluate(agent: Agent) -> None:
    """Puts a snapshot, which is the probe's own, into evaluation mode."""
    for part in agent.parts:
        module = getattr(part, "__self__", part)
        if isinstance(module, torch.nn.Module):
            module.eval()


def _mean(values: Tensor) -> Estimate:
    return Estimate(float(values.mean()), float(values.std()) / math.sqrt(len(values)), len(values))


def _root(squares: Tensor, samples: int) -> Estimate:
    return _rooted(Estimate(float(squares.mean()), float(squares.std()) / math.sqrt(samples), samples))


def _rooted(of: Estimate) -> Estimate:
    """The root of a mean of squares, by the delta method."""
    root = math.sqrt(max(of.value, 0.0))
    return Estimate(root, of.stderr / (2 * root) if root > 0 else 0.0, of.samples, of.reference, scale="log")


def _shapes(parameters: list[Tensor]) -> list[torch.Size]:
    return [one.shape for one in parameters]
