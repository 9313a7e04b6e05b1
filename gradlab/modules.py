"""What a training run's modules may be wrapped in, and copies of them that share nothing with the run."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradlab.errors import GradlabError

_Part = TypeVar("_Part")
_Parts = TypeVar("_Parts", bound=tuple[Any, ...])

#: Types whose rounding is coarse beside the differences that are measured.
COARSE = (torch.float16, torch.bfloat16)


def uncompiled(part: _Part) -> _Part:
    """The module, or the function, that ``torch.compile`` was given; anything else as it is.

    Compiled code cannot be differentiated twice. The parameters are the same ones, under the names that they had.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> uncompiled(torch.compile(layer, backend="eager")) is layer, uncompiled(layer) is layer
        (True, True)
    """
    for name in ("_orig_mod", "_torchdynamo_orig_callable"):
        inner: Any = getattr(part, name, None)
        if inner is not None:
            return uncompiled(inner)  # type: ignore[no-any-return]
    return part


def refuse_unready(name: str, part: Any) -> None:
    """Refuse a module that cannot be measured: one that knows no shapes yet, or an actor of TorchScript.

    Raises:
        GradlabError: it is so.

    Example:
        >>> refuse_unready("actor", nn.LazyLinear(1))
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: actor: weight has no shape yet (a lazy layer); call the module once, on ...
    """
    module = owner(part)
    if module is None:
        return
    for key, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise GradlabError(
                f"{name}: {key} has no shape yet (a lazy layer); call the module once, on a batch, before it is "
                "given to gradlab"
            )
    if isinstance(module, torch.jit.ScriptModule):
        raise GradlabError(f"{name}: a TorchScript module, which cannot be measured; give the module it was made from")


def owner(part: Any) -> nn.Module | None:
    """The module that a part is, or is a method of; None for a function.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> owner(layer.forward) is layer, owner(print) is None
        (True, True)
    """
    module = getattr(part, "__self__", part)
    return module if isinstance(module, nn.Module) else None


def copied(parts: _Parts) -> _Parts:
    """A deep copy of all parts at once, so that what they share stays shared, without compiled modules inside.

    Tensors with a graph that a module keeps from its last forward pass (``weight`` of the older weight
    normalisation, say) are copied as numbers: the next pass makes them anew.

    Args:
        parts: modules, methods of modules, functions, None, and tuples of these.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> layer.last = layer(torch.zeros(1, 1))
        >>> copied((layer,))[0].last.requires_grad
        False
    """
    memo: dict[int, Any] = {}
    for module in _modules(parts):
        for kept in _tensors([*vars(module).values(), *module._buffers.values()]):
            if not kept.is_leaf:
                memo[id(kept)] = kept.detach().clone()
    copies = copy.deepcopy(parts, memo)
    for module in list(_modules(copies)):
        for name, child in module._modules.items():
            if child is not None:
                module._modules[name] = uncompiled(child)
    return copies


def _modules(parts: Iterable[Any]) -> Iterator[nn.Module]:
    for part in parts:
        if isinstance(part, tuple):
            yield from _modules(part)
        elif (module := owner(part)) is not None:
            yield from module.modules()


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif type(value) is dict:
            yield from _tensors(value.values())
