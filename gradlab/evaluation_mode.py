"""Networks as they are measured: in evaluation mode."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar

from torch import nn

from gradlab.agent import Agent

_Measured = TypeVar("_Measured")

#: Layers that do another thing while training.
_TWOFOLD = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)


def in_evaluation(measured: _Measured) -> _Measured:
    """An agent, a module or a method of either in evaluation mode: itself where it is so already, else a copy.

    In training mode, batch normalisation takes the statistics of whatever rows it is given and writes them into its
    buffers, and dropout draws from the global random state: values would depend on how rows are batched, and the
    training run on being measured. A function is taken as it is: what networks it reads cannot be known.

    Args:
        measured: an agent (actor, critics, target critics and value), a module, a method of either, or any function.

    Example:
        >>> agent = Agent(nn.Linear(1, 1), [lambda obs, act: act.sum(-1)], [-1.0], [1.0])
        >>> copied = in_evaluation(agent)
        >>> agent.actor.training, copied.actor.training, in_evaluation(copied) is copied
        (True, False, True)
    """
    if not any(layer.training for module in _networks(measured) for layer in module.modules()):
        return measured
    copied: Any = measured.snapshot() if isinstance(measured, Agent) else copy.deepcopy(measured)
    for module in _networks(copied):
        module.eval()
    found: _Measured = copied
    return found


def mode_notes(agent: Agent) -> tuple[str, ...]:
    """What a person should know where training goes through other layers than evaluation does: a line, or none.

    Example:
        >>> mode_notes(Agent(nn.Sequential(nn.Linear(1, 1), nn.Dropout()), [], [-1.0], [1.0]))
        ('measured in evaluation mode; while training these act otherwise: Dropout',)
    """
    layers = (layer for module in _networks(agent) for layer in module.modules() if layer.training)
    found = sorted({type(layer).__name__ for layer in layers if isinstance(layer, _TWOFOLD)})
    return (f"measured in evaluation mode; while training these act otherwise: {', '.join(found)}",) if found else ()


def _networks(measured: Any) -> Iterator[nn.Module]:
    """The modules that are known to take part: an agent's, a method's own, or the module itself."""
    owner = getattr(measured.func if isinstance(measured, partial) else measured, "__self__", measured)
    if isinstance(owner, nn.Module):
        yield owner
    elif isinstance(owner, Agent):
        for part in owner.parts:
            yield from _networks(part)
