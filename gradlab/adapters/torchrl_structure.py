"""From a TorchRL loss module's structures and live parameters to plain networks.

A loss module keeps its networks as a structure and its parameters apart, those of several critics stacked. Here a copy
of the structure is given the live parameters (or a critic's slice of them, a view of the same memory), so that what
the optimizer changes in place is seen.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradlab.adapters.torchrl_networks import Call, Chain, Key, Squash
from gradlab.errors import GradlabError

DOOR = "describe it with gradlab.Agent(...) instead"


def tensors_of(params: Any, name: str) -> dict[str, Tensor]:
    """A loss module's ``…_params`` by dotted name, the live tensors themselves; empty for None.

    Raises:
        GradlabError: one of them has no shape yet.
    """
    if params is None:
        return {}
    found = {key if isinstance(key, str) else ".".join(key): tensor for key, tensor in params.items(True, True)}
    if lazy := [key for key, tensor in found.items() if is_lazy(tensor)]:
        raise GradlabError(
            f"view: {name} has no shape yet at {lazy[0]}; run the networks once before, as training does"
        )
    return found


def slice_of(stacked: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    """One network's parameters out of stacked ones: parts of the same memory."""
    return {
        name: nn.Parameter(tensor.data[index], tensor.requires_grad)
        if isinstance(tensor, nn.Parameter)
        else tensor.data[index]
        for name, tensor in stacked.items()
    }


def network_of(module: Any, tensors: Mapping[str, Tensor], what: str, prefix: str = "") -> nn.Module:
    """The plain network of a TensorDict module, with these tensors for its parameters and buffers.

    Args:
        module: the loss module's structure.
        tensors: by dotted name, see ``tensors_of``; what is not named stays the structure's own.
        what: what the network is called in messages.
        prefix: beginning of its tensors' names.

    Raises:
        GradlabError: a part of it is of a kind whose computation is not known here.
    """
    library = sys.modules["tensordict.nn"]
    kind = type(module)
    if getattr(module, "safe", False) and hasattr(module, "_spec"):
        raise GradlabError(f"view: the {what}'s {kind.__name__} has safe=True, which is not supported; {DOOR}")
    if kind.forward is library.TensorDictModule.forward and not isinstance(module.module, library.TensorDictModuleBase):
        if module.method is not None or module._kwargs is not None or module._get_kwargs:
            raise GradlabError(
                f"view: the {what}'s {kind.__name__} calls its module by a method or by names; only inputs in order "
                f"are supported; {DOOR}"
            )
        return Call(
            bound(module.module, tensors, f"{prefix}module.", what), list(module.in_keys), list(module.out_keys)
        )
    if isinstance(module, library.TensorDictSequential):
        named = module.module.named_children()
        steps = {name: network_of(step, tensors, what, f"{prefix}module.{name}.") for name, step in named}
        return Chain(steps if isinstance(module.module, nn.ModuleDict) else list(steps.values()))
    if kind.__name__ == "TanhModule" and kind.__module__.startswith("torchrl."):
        return Chain(
            [_squash(module, tensors, prefix, *keys) for keys in zip(module.in_keys, module.out_keys, strict=True)]
        )
    if isinstance(module, library.ProbabilisticTensorDictModule):
        return _point_mass(module, what)
    raise GradlabError(f"view: the {what} has a {kind.__name__}, whose computation is not known here; {DOOR}")


def bound(module: Any, tensors: Mapping[str, Tensor], prefix: str, what: str) -> nn.Module:
    """A copy of the module's structure that has the given tensors for its parameters and buffers.

    Raises:
        GradlabError: the module is none, or cannot be copied.
    """
    if not isinstance(module, nn.Module):
        raise GradlabError(f"view: the {what} calls {type(module).__name__}, which is no module; {DOOR}")
    # Tensors are not copied: a copy would cost memory and be thrown away at once.
    memo = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    try:
        found: nn.Module = copy.deepcopy(module, memo)
    except Exception as error:
        raise GradlabError(f"view: the {what} cannot be copied ({type(error).__name__}: {error}); {DOOR}") from error
    for path, part in found.named_modules(prefix=prefix.rstrip(".")):
        for name, own in part._parameters.items():
            tensor = tensors.get(f"{path}.{name}", own)
            if tensor is not None:
                given = isinstance(tensor, nn.Parameter)
                part._parameters[name] = tensor if given else nn.Parameter(tensor.data, requires_grad=False)
        for name, own in part._buffers.items():
            part._buffers[name] = tensors.get(f"{path}.{name}", own)
    return found


def _squash(module: Any, tensors: Mapping[str, Tensor], prefix: str, source: Key, target: Key) -> Squash:
    name = target if isinstance(target, str) else "_".join(target)
    low, high = (tensors.get(f"{prefix}{name}_{end}", getattr(module, f"{name}_{end}")) for end in ("low", "high"))
    return Squash(source, target, low, high, clamp=torch.finfo(low.dtype).resolution if module.clamp else 0.0)


def _point_mass(module: Any, what: str) -> nn.Module:
    """The action of a policy that is not random, ``Delta`` or ``TanhDelta``."""
    options = dict(module.distribution_kwargs.items())
    name = module.distribution_class.__name__
    if name not in ("Delta", "TanhDelta") or "param" not in (*module.dist_keys, *module.in_keys):
        raise GradlabError(f"view: the {what} is of a {name} distribution, where one without chance is needed; {DOOR}")
    source = dict(zip(module.dist_keys, module.in_keys, strict=True))["param"]
    if name == "Delta":
        return Call(nn.Identity(), [source], [module.dist_sample_keys[0]])
    low, high = (torch.as_tensor(options.get(*default)) for default in (("low", -1.0), ("high", 1.0)))
    return Squash(source, module.dist_sample_keys[0], low, high, shift=(high + low) / 2)
