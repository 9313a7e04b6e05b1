"""TorchRL, live: an Agent out of a loss module, or of a Trainer that has one.

Facts this relies on (read in 0.14.1, checked by the parity test against the library's own ``p.grad``): critics take
actions in the environment's units; TD3 and DDPG follow the first critic, SAC the smallest; α is what ``log_alpha`` says
when the loss is taken; of PPO and A2C the objective of the returns is measured, without the entropy bonus at the states
visited. A loss with ``reduction="sum"`` or priority weights scales its states; gradlab measures their plain mean.

Nothing of the loss module is called: its ``value_estimator``, ``_alpha`` and ``target_…_params`` would make, clamp or
fill in what they are asked for.
"""

from __future__ import annotations

import copy
import sys
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradlab.adapters.torchrl_heads import ActorParts, deterministic_actor, stochastic_actor
from gradlab.adapters.torchrl_networks import Key, TensorDictCritic, TensorDictValue
from gradlab.adapters.torchrl_structure import DOOR, network_of, slice_of, tensors_of
from gradlab.agent import Agent
from gradlab.critics import Reduction
from gradlab.errors import GradlabError

__all__ = ["LIBRARY", "SUPPORTED", "loss_of", "observation_key", "recognises", "view"]

LIBRARY = "torchrl"


class Kind(NamedTuple):
    """What is particular to a loss module: its critics' name, whether they are stacked, the value its actor follows."""

    critic: str
    stacked: bool
    reduction: Reduction
    stochastic: bool


_OFF_POLICY = {
    "DDPGLoss": Kind("value_network", False, "first", False),
    "TD3Loss": Kind("qvalue_network", True, "first", False),
    "SACLoss": Kind("qvalue_network", True, "min", True),
}
_ON_POLICY = ("PPOLoss", "ClipPPOLoss", "KLPENPPOLoss", "A2CLoss")
SUPPORTED: tuple[str, ...] = (*_OFF_POLICY, *_ON_POLICY)


def recognises(model: object) -> bool:
    """Whether the object is one of TorchRL's loss modules or trainers; imports nothing."""
    return any(
        base is not None and isinstance(model, base)
        for base in (
            getattr(sys.modules.get("torchrl.objectives.common"), "LossModule", None),
            getattr(sys.modules.get("torchrl.trainers.trainers"), "Trainer", None),
        )
    )


def loss_of(model: Any) -> Any:
    """The loss module: of a trainer its own, else the object itself."""
    trainer = getattr(sys.modules.get("torchrl.trainers.trainers"), "Trainer", ())
    return model.loss_module if isinstance(model, trainer) else model


def observation_key(loss: Any) -> Key:
    """The key of what the actor reads.

    Raises:
        GradlabError: it reads more than one.
    """
    keys: list[Key] = list(loss.actor_network.in_keys)
    if len(keys) != 1:
        raise GradlabError(
            f"view: this {_name(loss)}'s actor reads {keys}; only one flat observation is supported; {DOOR}"
        )
    return keys[0]


def view(model: Any) -> Agent:
    """The live loss module (or trainer) as an Agent that shares its parameters: what the optimizer changes, it sees.

    α of SAC is read now; call again after it has changed.

    Raises:
        GradlabError: the loss, its networks or its distribution are not supported, or γ or the action box is unknown.
    """
    loss = loss_of(model)
    name = _name(loss)
    obs, act = observation_key(loss), _action_key(loss)
    tensors = tensors_of(_params(loss, "actor_network_params"), "actor")
    if name in _ON_POLICY or _OFF_POLICY[name].stochastic:
        parts = stochastic_actor(loss.actor_network, tensors, obs, name)
    else:
        parts = deterministic_actor(loss.actor_network, tensors, obs, act)
    shared: dict[str, Any] = {"algorithm": name.removesuffix("Loss"), "library": LIBRARY, "policy": parts.policy}
    critics: list[TensorDictCritic] = []
    if name in _OFF_POLICY:
        kind = _OFF_POLICY[name]
        critics, shared["target_critics"] = (
            _critics(loss, kind, obs, act, params)
            for params in (f"{kind.critic}_params", f"target_{kind.critic}_params")
        )
        shared["reduction"] = kind.reduction
        shared["entropy"] = _entropy(loss) if kind.stochastic else 0.0
    elif loss.critic_network is not None:
        _require_keys(loss, "critic", loss.critic_network, {obs})
        network = network_of(
            loss.critic_network, tensors_of(_params(loss, "critic_network_params"), "critic"), "critic"
        )
        shared["value"] = TensorDictValue(network, obs, loss.tensor_keys.value)
    low, high, discount = _facts(loss, parts)
    size, action_size = _sizes(parts)
    shared["obs_size"] = size
    low, high = (torch.atleast_1d(corner) for corner in (low, high))
    count = action_size or max(len(low), len(high))
    if {len(low), len(high)} - {1, count}:
        raise GradlabError(f"view: this {name}'s action box has {len(low)} coordinates, but its actor gives {count}")
    return Agent(parts.network, critics, low.expand(count), high.expand(count), discount, head=parts.head, **shared)


def _name(loss: Any) -> str:
    """The name of the library's loss that this is, or is a subclass of.

    Raises:
        GradlabError: it is not supported.
    """
    names = [cls.__name__ for cls in type(loss).__mro__ if cls.__module__.partition(".")[0] == LIBRARY]
    if not names or names[0] not in SUPPORTED:
        shown = names[0] if names else type(loss).__name__
        raise GradlabError(f"view: {LIBRARY} {shown} is not supported; supported are {', '.join(SUPPORTED)}; {DOOR}")
    return names[0]


def _params(loss: Any, name: str) -> Any:
    """A ``…_params`` of the loss module, or None; its ``__getattr__`` would make up targets that there are none of."""
    return loss._modules.get(name)


def _action_key(loss: Any) -> Key:
    name = _name(loss)
    if name != "DDPGLoss":
        key = loss.tensor_keys.action
        if isinstance(key, list):
            raise GradlabError(f"view: this {name} has the actions {key}; only one flat action is supported; {DOOR}")
        found: Key = key
        return found
    keys: list[Key] = [key for key in loss.value_network.in_keys if key in loss.actor_network.out_keys]
    if len(keys) != 1:
        raise GradlabError(
            f"view: this {name}'s critic reads {keys} of what its actor writes; only one action is supported"
        )
    return keys[0]


def _require_keys(loss: Any, what: str, network: Any, keys: set[Key]) -> None:
    if set(network.in_keys) != keys:
        raise GradlabError(
            f"view: this {_name(loss)}'s {what} reads {list(network.in_keys)}; only {sorted(map(str, keys))} is "
            f"supported; {DOOR}"
        )


def _critics(loss: Any, kind: Kind, obs: Key, act: Key, name: str) -> list[TensorDictCritic]:
    """The critics whose parameters are in ``name``; none where there are no targets of their own."""
    structure = getattr(loss, kind.critic)
    _require_keys(loss, "critic", structure, {obs, act})
    tensors = tensors_of(_params(loss, name), "critic")
    if not tensors:
        return []
    count = loss.num_qvalue_nets if kind.stacked else 1
    return [
        TensorDictCritic(
            network_of(structure, slice_of(tensors, index) if kind.stacked else tensors, "critic"),
            obs,
            act,
            loss.tensor_keys.state_action_value,
        )
        for index in range(count)
    ]


def _entropy(loss: Any) -> float:
    alpha: Tensor = loss.log_alpha.detach()
    if loss.min_log_alpha is not None or loss.max_log_alpha is not None:
        alpha = alpha.clamp(loss.min_log_alpha, loss.max_log_alpha)
    return float(alpha.exp())


def _facts(loss: Any, actor: ActorParts) -> tuple[Tensor, Tensor, float]:
    """The action box and γ.

    Raises:
        GradlabError: one line that names all that is missing.
    """
    low, high = actor.low, actor.high
    if _name(loss) == "TD3Loss":
        low, high = loss.min_action, loss.max_action
    if low is None or high is None:
        space = _space(loss)
        low, high = getattr(space, "low", None), getattr(space, "high", None)
    gamma = getattr(loss._value_estimator, "gamma", None)
    missing = []
    if gamma is None:
        missing.append("its γ (call loss.make_value_estimator(gamma=...) first)")
    if low is None or high is None:
        missing.append("its action box (give the actor spec=..., its environment's action_spec)")
    if low is None or high is None or gamma is None:
        raise GradlabError(f"view: this {_name(loss)} does not say {' and '.join(missing)}")
    return torch.as_tensor(low), torch.as_tensor(high), float(gamma)


def _space(loss: Any) -> Any:
    """The box of the actor's action spec, or None."""
    try:
        return loss.actor_network.spec[_action_key(loss)].space
    except (AttributeError, KeyError, TypeError):
        return None


def _sizes(actor: ActorParts) -> tuple[int | None, int | None]:
    """Lengths of an observation and of an action, by running a copy at zeros; None where that cannot be."""
    first = next((part.in_features for part in actor.network.modules() if isinstance(part, nn.Linear)), None)
    if first is None:
        return None, None
    tried = copy.deepcopy(actor.network).eval()
    parameter = next(tried.parameters())
    try:
        with torch.no_grad():
            head = actor.head(tried, torch.zeros(1, first, dtype=parameter.dtype, device=parameter.device))
    except Exception:  # noqa: BLE001 - the layers are the user's, and where the first linear one is not the first of all
        return None, None
    return first, head.shape[-1] // actor.policy.head_size(1)
