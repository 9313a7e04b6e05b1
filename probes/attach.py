"""attach: the one door to a training run."""

from __future__ import annotations

import contextlib
import copy
import logging
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any

import torch

from gradlab.agent import Agent
from gradlab.arguments import whole_number
from gradlab.command import command_line, versions
from gradlab.store import RunWriter, Store, open_store
from gradlab.store.url import parse
from probes.attempt import attempt
from probes.budget import Budget
from probes.defaults import BUDGETS, Preset, default_probes
from probes.function import Function
from probes.mirror import mirror_of
from probes.monitor import Monitor
from probes.opening import opened
from probes.probe import Probe, generator_for
from probes.quiet import quiet
from probes.selection import select
from probes.source import Sampler

log = logging.getLogger("gradlab")

#: The monitors of each model, as long as both live.
_attached: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Monitor]] = weakref.WeakKeyDictionary()


def attach(
    model: Any,
    store: str | Path = "gradlab.db",
    *,
    probes: Sequence[Probe | Function] | Preset = "standard",
    budget: float | EllipsisType | None = ...,
    seed: int = 0,
    name: str | None = None,
    environment: str = "",
    sampler: Sampler | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    clock: Callable[[], int] | None = None,
    mirror: Any = None,
) -> Monitor:
    """Attach probes to a training run; the run itself stays bit for bit what it is without them.

    For a Stable-Baselines3 model the monitor is its callback: ``model.learn(..., callback=probes.attach(model))``;
    PPO, A2C and TRPO are measured at the end of a rollout, by the probe "on-policy"; those that need a critic of
    (obs, act) are left out.
    For Tianshou pass the trainer, ``probes.attach(algorithm.create_trainer(params))``, and call nothing. For d3rlpy
    pass the algorithm and a sampler of its dataset (``probes.callbacks.d3rlpy``), for RLlib the algorithm, whose
    learner has to be in this process (``probes.callbacks.rllib``).
    For a loop of one's own, pass a ``gradlab.Agent`` and call ``monitor.step(t, obs=batch)``, or pass the actor's
    optimizer and a sampler, and call nothing: the monitor looks at the run after each of the optimizer's steps.
    Where training replaces what the agent was told, such as a learned α, pass a function that gives the agent as it
    is now: ``probes.attach(lambda: gradlab.Agent(..., entropy=alpha), ...)``. It is called at every measurement.

    Args:
        model: a live Stable-Baselines3 or sb3-contrib model, a TorchRL loss module or Trainer (see
            ``probes.callbacks.torchrl``), a Tianshou trainer or algorithm, a d3rlpy or RLlib algorithm, an RLlib
            learner, a ``gradlab.Agent``, or a function without arguments that gives one.
        store: where measurements go: a path, ``sqlite:///…`` or ``postgresql+psycopg://…``.
        probes: what to measure: probes, or functions (see ``FunctionProbe``); or "light", "standard" or "full", which
            ``probes.default_probes`` describes.
        budget: share of wall time that measuring may take, 0.03 for 3 %; None for no limit. Where it is not given, that
            of the preset; 0.03 for probes of one's own choice. Beside a background process a third of it is for what
            that takes from training while it is busy (see ``probes.duty``).
        seed: seed of the measurements' own randomness.
        name: the run's name in the store; made from the algorithm and environment when None.
        environment: gymnasium identifier of the task, where the model does not say.
        sampler: gives observations (count, numpy generator) → [count, n], instead of ``obs=`` or where the library's
            own buffer is not to be read; None while there are too few.
        optimizer: the actor's, in place of calls of ``monitor.step``; its hook goes when the monitor is closed.
        clock: with an optimizer: gives the training step, such as ``lambda: global_step``; without it steps are those
            of the optimizer.
        mirror: where the numbers go, too, as they are measured: a TensorBoard ``SummaryWriter``, a Weights & Biases
            run, a Stable-Baselines3 or TorchRL logger, a function of (step, numbers by tag), or True for a
            Stable-Baselines3 model's own logger.

    Returns:
        The monitor; its ``left_out`` names probes that cannot measure this agent, with the reason.

    Raises:
        GradlabError: the model is of a kind gradlab does not know, the budget is not a share, two probes have one
            name, the mirror or the optimizer is none, or the store cannot be written.

    Example:
        >>> import gradlab
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
    preset = probes if isinstance(probes, str) else None
    if budget is ...:
        budget = BUDGETS.get(preset or "standard", None)
    # Refuses a budget that is none before a run is begun in the store.
    Budget(budget)
    seed = whole_number("seed", seed, 0)
    kind, source = opened(model, environment, sampler, optimizer, clock)
    reflect = mirror_of(mirror, source.logger)
    agent = source.view()
    _name_what_is_shared(agent)
    if optimizer is not None:
        _name_another_optimizer(optimizer, agent)
    wanted = default_probes(source.environment, probes) if isinstance(probes, str) else probes
    chosen, left_out = select(wanted, agent, source)

    place = parse(store)
    # In full: the store is opened again, here or by the worker, after the program may have changed its directory.
    address = str(place.path) if place.path else place.url.render_as_string(hide_password=False)
    config = {
        "preset": preset,
        "probes": {probe.name: probe.config() for probe in chosen},
        "left_out": left_out,
        "budget": budget,
        "model": dict(source.config),
        "command": command_line(),
        "versions": versions(),
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
    monitor = kind(
        source, chosen, open_run, store_url=address, budget=budget, seed=seed, left_out=left_out, mirror=reflect
    )
    _name_the_others(model, monitor)
    return monitor


def _name_the_others(model: Any, monitor: Monitor) -> None:
    """Say where a model has a monitor already: both measure, and each spends its own budget."""
    with contextlib.suppress(TypeError):  # what cannot be weakly referred to is not remembered
        others = _attached.setdefault(model, weakref.WeakSet())
        open_ = [other for other in others if not other.closed]
        if open_:
            log.warning(
                "gradlab: this model has %d open monitor%s already; each measures and spends a budget of its own, so "
                "close() one that is not needed any more, or give one attach() all probes",
                len(open_),
                "s" if len(open_) > 1 else "",
            )
        others.add(monitor)


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


def _name_another_optimizer(optimizer: torch.optim.Optimizer, agent: Agent) -> None:
    """Say where an optimizer steps none of the actor's parameters: measurements then come at its pace."""
    actor = {id(parameter) for parameter in agent.actor.parameters()}
    stepped = (parameter for group in optimizer.param_groups for parameter in group["params"])
    if actor and not any(id(parameter) in actor for parameter in stepped):
        log.warning(
            "gradlab: the optimizer steps none of the actor's parameters, so that the run is looked at when another "
            "network is trained; pass the actor's"
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
                attempt(copy.deepcopy(probe), agent.snapshot(), obs, generator_for(0, probe.name, 0))
