"""What every view of a live Stable-Baselines3 model asks first: are its parts what they are taken for?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gradlab.adapters.batch_renorm import BatchRenorm
from gradlab.errors import GradlabError

DOOR = "describe it with gradlab.Agent(...) instead"
FLAT_FEATURES = "stable_baselines3.common.torch_layers.FlattenExtractor"

_RENORM = "sb3_contrib.common.torch_layers.BatchRenorm1d"


def flat_box(model: Any, algorithm: str, name: str) -> Any:
    """The model's ``observation_space`` or ``action_space``, a flat box.

    Raises:
        GradlabError: it is none.
    """
    space = space_of(model, algorithm, name)
    if type(space).__name__ != "Box" or len(space.shape) != 1:
        raise GradlabError(f"view: this {algorithm}'s {name} is {space}; only flat Box spaces are supported; {DOOR}")
    return space


def space_of(model: Any, algorithm: str, name: str) -> Any:
    """The model's ``observation_space`` or ``action_space``.

    Raises:
        GradlabError: it has none yet.
    """
    space = getattr(model, name, None)
    if space is None:
        raise GradlabError(f"view: this {algorithm} has no {name}; give it an environment with set_env(...)")
    return space


def require_networks(algorithm: str, *networks: object) -> None:
    """Refuse a model whose networks have not been made.

    Raises:
        GradlabError: one of them is None.
    """
    if any(network is None for network in networks):
        raise GradlabError(f"view: this {algorithm} has no networks yet; construct it without _init_setup_model=False")


def require_classes(algorithm: str, expected: Mapping[str, tuple[object, str]]) -> None:
    """Refuse parts of other classes, which would compute something else than the modules built from them.

    Args:
        algorithm: its name, for the message.
        expected: what a part is called → the part, and the full name of its class.

    Raises:
        GradlabError: one is of another class.

    Example:
        >>> require_classes("TD3", {"actor": (nn.ReLU(), "torch.nn.modules.activation.ReLU")})
    """
    for what, (part, name) in expected.items():
        found = class_name(part)
        if found != name:
            raise GradlabError(
                f"view: this {algorithm}'s {what} is {found}; only {name.rpartition('.')[2]} is supported; {DOOR}"
            )


def refuse_state_dependent_exploration(algorithm: str, policy: Any) -> None:
    """Refuse gSDE: its noise depends on the state through a matrix drawn anew now and then.

    Raises:
        GradlabError: the policy uses it.
    """
    if getattr(policy, "use_sde", False):
        raise GradlabError(f"view: this {algorithm} explores with gSDE (use_sde=True), which is not supported; {DOOR}")


def class_name(part: object) -> str:
    """The full name of an object's class.

    Example:
        >>> class_name(nn.ReLU())
        'torch.nn.modules.activation.ReLU'
    """
    return f"{type(part).__module__}.{type(part).__qualname__}"


def unwrap(module: nn.Module | None) -> Any:
    """The module under ``torch.compile``."""
    return getattr(module, "_orig_mod", module)


def measured(layers: Any) -> nn.Module:
    """The library's layers, shared; batch renormalisation as a module that never updates its running statistics."""
    if not any(class_name(layer) == _RENORM for layer in layers):
        found: nn.Module = layers
        return found
    return nn.Sequential(*(_renorm(layer) if class_name(layer) == _RENORM else layer for layer in layers))


def _renorm(layer: Any) -> BatchRenorm:
    own = BatchRenorm(
        layer.scale,
        layer.bias,
        layer.ra_mean,
        layer.ra_var,
        torch.as_tensor(layer.steps),
        eps=layer.eps,
        warmup_steps=layer.warmup_steps,
        rmax=layer.rmax,
        dmax=layer.dmax,
    )
    return own.train(layer.training)
