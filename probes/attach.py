"""attach: the one door to a training run."""

from __future__ import annotations

import contextlib
import copy
import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gradlab
from gradlab.agent import Agent
from gradlab.arguments import shown
from gradlab.errors import GradlabError
from gradlab.store import RunWriter, Store, open_store
from gradlab.store.url import parse
from probes.budget import Budget
from probes.callbacks import door_of
from probes.defaults import default_probes
from probes.monitor import Monitor
from probes.probe import Probe, RolloutProbe, generator_for
from probes.quiet import quiet
from probes.source import Sampler, Source

log = logging.getLogger("gradlab")


def attach(
    model: Any,
    store: str | Path = "gradlab.db",
    *,
    probes: Sequence[Probe] | None = None,
    budget: float | None = 0.03,
    seed: int = 0,
    name: str | None = None,
    environment: str = "",
    sampler: Sampler | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    clock: Callable[[], int] | None = None,
) -> Monitor:
    """Attach probes to a training run; the run itself stays bit for bit what it is without them.

    For a Stable-Baselines3 model the monitor is its callback: ``model.learn(..., callback=probes.attach(model))``;
    PPO, A2C and TRPO are measured at the end of a rollout, by the probe "on-policy"; those that need a critic of
    (obs, act) are left out.
    For a loop of one's own, pass a ``gradlab.Agent`` and call ``monitor.step(t, obs=batch)``, or pass the actor's
    optimizer and a sampler, and call nothing: the monitor looks at the run after each of the optimizer's steps.

    Args:
        model: a live Stable-Baselines3 or sb3-contrib model, or a ``gradlab.Agent``.
        store: where measurements go: a path, ``sqlite:///…`` or ``postgresql+psycopg://…``.
        probes: what to measure; ``probes.defaults.default_probes`` when None.
        budget: share of wall time the measurements in this process may take, 0.03 for 3 %; None for no limit.
        seed: seed of the measurements' own randomness.
        name: the run's name in the store; made from the algorithm and environment when None.
        environment: gymnasium identifier of the task, where the model does not say.
        sampler: gives observations (count, numpy generator) → [count, n], instead of ``obs=`` or where the library's
            own buffer is not to be read; None while there are too few.
        optimizer: the actor's, in place of calls of ``monitor.step``; its hook goes when the monitor is closed.
        clock: with an optimizer: gives the training step, such as ``lambda: global_step``; without it steps are those
            of the optimizer.

    Returns:
        The monitor; its ``left_out`` names probes that cannot measure this agent, with the reason.

    Raises:
        GradlabError: the model is of a kind gradlab does not know, the budget is not a share, two probes have one
            name, or the store cannot be written.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from probes.gradient import Gradient
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return -(act - obs[:, :2]).square().sum(-1)
        >>> agent = gradlab.Agent(nn.Linear(3, 2), [Critic()], action_low=[-1, -1], action_high=[1, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with attach(agent, f"{folder}/run.db", probes=[Gradient()], budget=None) as monitor:
        ...         for t in range(3):
        ...             monitor.step(t, obs=torch.randn(128, 3))
        ...     monitor.status.measured
        {'gradient': 1}
    """
    # Refuses a budget that is none before a run is begun in the store.
    Budget(budget)
    kind, source = _opened(model, environment)
    if sampler is not None:
        source = replace(source, sample=_quietly(sampler))
    if optimizer is not None:
        source = replace(source, optimizer=optimizer)
    if clock is not None:
        source = replace(source, clock=clock)
    if source.optimizer is not None and not isinstance(source.optimizer, torch.optim.Optimizer):
        raise GradlabError(f"optimizer: {shown(source.optimizer)}; give the actor's torch.optim.Optimizer")

    agent = source.view()
    _name_what_is_shared(agent)
    chosen, left_out = [], {}
    for probe in default_probes(source.environment) if probes is None else probes:
        reason = _refusal(probe, agent, source)
        if reason:
            left_out[probe.name] = reason
        else:
            chosen.append(probe)
    if left_out and not chosen:
        reasons = "; ".join(f"{probe}: {reason}" for probe, reason in left_out.items())
        log.warning("gradlab: none of the probes can measure this agent, so nothing will be measured (%s)", reasons)
    names = [probe.name for probe in chosen]
    if len(set(names)) < len(names):
        raise GradlabError(f"probes: two have one name in {names}; give each its own")

    place = parse(store)
    # In full: the store is opened again, here or by the worker, after the program may have changed its directory.
    address = str(place.path) if place.path else place.url.render_as_string(hide_password=False)
    config = {
        "probes": {probe.name: probe.config() for probe in chosen},
        "left_out": left_out,
        "budget": budget,
        "model": dict(source.config),
        "versions": {
            "gradlab": gradlab.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }

    def open_run() -> tuple[Store, RunWriter]:
        opened = open_store(address)
        run = opened.start_run(
            name,
            algorithm=source.algorithm,
            environment=source.environment,
            library=source.library,
            seed=seed,
            config=config,
        )
        return opened, run

    # Refuses a store that cannot be written before anything slow is done.
    open_store(address).close()
    _warm_up(agent, chosen)
    return kind(source, chosen, open_run, store_url=address, budget=budget, seed=seed, left_out=left_out)


def _opened(model: Any, environment: str) -> tuple[type[Monitor], Source]:
    """The kind of monitor for a training object, and the run as it sees it."""
    if not isinstance(model, Agent):
        door = door_of(model)
        if door is not None:
            return door.MONITOR, door.source(model, environment)
    # view() says which libraries are known and names the generic door.
    agent = gradlab.view(model)
    source = Source(view=lambda: agent, environment=environment, algorithm=agent.algorithm, library=agent.library)
    return Monitor, source


def _quietly(sampler: Sampler) -> Sampler:
    """A user's sampler, which may draw from the training run's random states."""

    def sample(count: int, random: np.random.Generator) -> Any:
        with quiet():
            return sampler(count, random)

    return sample


def _refusal(probe: Probe, agent: Agent, source: Source) -> str | None:
    """Why this probe cannot measure this run; None when it can."""
    # Without an optimizer to be called by, the loop's own calls of step may bring rollouts.
    if isinstance(probe, RolloutProbe) and source.rollout is None and source.optimizer is not None:
        return probe.refusal(agent) or "the run has no rollouts that gradlab can read"
    return probe.refusal(agent)


def _name_what_is_shared(agent: Agent) -> None:
    """Say which parts a snapshot cannot copy: what they hold is the live run's own, and may change meanwhile."""
    named = [(f"critic {number}", critic) for number, critic in enumerate(agent.critics)]
    for name, part in [*named, *([] if agent.value is None else [("the value", agent.value)])]:
        if not isinstance(getattr(part, "__self__", part), torch.nn.Module):
            log.warning(
                "gradlab: %s is a function, which a snapshot cannot copy; it is measured as training "
                "leaves it at that moment: pass the module itself",
                name,
            )


def _warm_up(agent: Agent, probes: Sequence[Probe]) -> None:
    """Pay for what only the first measurement costs (imports, autograd's machinery) before training begins."""
    if agent.obs_size is None:
        return
    for probe in probes:
        if not probe.background:
            obs = torch.zeros(probe.states, agent.obs_size, dtype=agent.dtype, device=agent.device)
            # A probe that cannot measure says so at its first measurement, where it is recorded.
            with contextlib.suppress(Exception), quiet():
                copy.deepcopy(probe).measure(agent.snapshot(), obs, generator_for(0, probe.name, 0))
