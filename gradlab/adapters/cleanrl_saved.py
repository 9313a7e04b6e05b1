"""The ``.cleanrl_model`` files of CleanRL's scripts as an Agent: state dicts alone, from whose names the rest follows.

TD3 saves (actor, qf1, qf2), DDPG (actor, qf1), PPO one state dict. CleanRL's SAC saves nothing; a script may save
(actor, qf1, qf2), and {"log_alpha": …} after them. A file says the action box of DDPG, TD3 and SAC (``action_scale``
and ``action_bias``), but not γ, nor the activation, which is part of the script's code; of PPO not the action box
either, nor the statistics that its observations were normalised with, which live in the environment's wrappers.
Targets are not saved.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gradlab.adapters.cleanrl_networks import DeterministicActor, GaussianActor, QNetwork, SquashedGaussianActor
from gradlab.adapters.facts import Facts
from gradlab.adapters.networks import ValueNetwork
from gradlab.adapters.rebuild import SavedNetworks
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Deterministic, Gaussian, SquashedGaussian

LIBRARY = "CleanRL"

log = logging.getLogger("gradlab")

#: What SAC's script adds inside the logarithm of its tanh's Jacobian.
_EPSILON = 1e-6
_BOX = ("action_scale", "action_bias")


def holds(content: Any) -> bool:
    """Whether this is what one of CleanRL's scripts for continuous actions saves.

    Example:
        >>> holds({"actor_mean.0.weight": None, "actor_logstd": None}), holds(({"fc_mu.weight": None}, {})), holds({})
        (True, True, False)
    """
    if isinstance(content, Mapping):
        return "actor_logstd" in content and any(str(name).startswith("actor_mean.") for name in content)
    if not isinstance(content, tuple | list) or not all(isinstance(part, Mapping) for part in content):
        return False
    return bool(content) and bool({"fc_mu.weight", "fc_mean.weight"} & content[0].keys())


def read(content: Any, facts: Facts, where: str) -> tuple[Agent, int | None]:
    """The agent; the file never says the step.

    Raises:
        GradlabError: it is damaged or of other networks, or a fact that the file does not say is not given.
    """
    parts = [content] if isinstance(content, Mapping) else list(content)
    if not all(isinstance(tensor, Tensor) for part in parts for tensor in part.values()):
        raise GradlabError(f"{where}: holds something else than tensors in a state dict; save networks' state_dict()s")
    if isinstance(content, Mapping):
        return _on_policy(content, facts, where), None
    return _off_policy(parts, facts, where), None


def _off_policy(parts: list[Mapping[str, Tensor]], facts: Facts, where: str) -> Agent:
    squashed = "fc_mean.weight" in parts[0]
    saved_alpha = parts.pop()["log_alpha"] if squashed and "log_alpha" in parts[-1] else None
    critics = parts[1:]
    if not critics or len(critics) > 2 or (squashed and len(critics) != 2):
        raise GradlabError(
            f"{where}: state dicts of critics: {len(critics)}; CleanRL's scripts save one (DDPG) or two (TD3, SAC)"
        )
    algorithm = "SAC" if squashed else ("DDPG", "TD3")[len(critics) - 1]
    asked = ("discount", "activation", *(("entropy",) if squashed and saved_alpha is None else ()))
    facts.require(_hint(where, algorithm, "ReLU"), *asked)
    activation = facts.activation_class(where)

    actor_file = SavedNetworks(parts[0], activation, f"{where}: actor")
    names = _hidden(parts[0])
    hidden, size = _layers(actor_file, names, _inputs(parts[0], [*names, "fc_mean" if squashed else "fc_mu"], where))
    last = {
        name: actor_file.linear(f"{name}.", size) for name in (("fc_mean", "fc_logstd") if squashed else ("fc_mu",))
    }
    widths = {layer.out_features for layer in last.values()}
    scale, bias = (_box_part(parts[0], name, where) for name in _BOX)
    if widths != {scale.numel()} or scale.numel() != bias.numel():
        raise GradlabError(f"{where}: action_scale has {scale.numel()} numbers, the actor's last layer gives {widths}")
    _refuse_unread(actor_file, where, *_BOX)
    if squashed:
        actor: nn.Module = SquashedGaussianActor(hidden, last, activation())
    else:
        actor = DeterministicActor(hidden, last, activation(), scale, bias)

    obs_size = next(layer for layer in [*hidden.values(), *last.values()]).in_features
    low, high = bias.flatten() - scale.flatten(), bias.flatten() + scale.flatten()
    entropy = 0.0
    if squashed:
        entropy = float(facts.entropy or 0.0) if saved_alpha is None else _alpha(saved_alpha, where)
    assert facts.discount is not None
    return Agent(
        actor,
        [_critic(part, activation, obs_size + scale.numel(), where) for part in critics],
        action_low=low,
        action_high=high,
        discount=facts.discount,
        policy=SquashedGaussian(_EPSILON, low, high) if squashed else Deterministic(),
        reduction="min" if squashed else "first",
        entropy=entropy,
        obs_size=obs_size,
        algorithm=algorithm,
        library=LIBRARY,
    )


def _on_policy(weights: Mapping[str, Tensor], facts: Facts, where: str) -> Agent:
    facts.require(_hint(where, "PPO", "Tanh"), "action_low", "action_high", "discount", "activation")
    networks = SavedNetworks(weights, facts.activation_class(where), where)
    log_std = weights["actor_logstd"]
    obs_size = _inputs(weights, ["actor_mean.0"], where)
    mean = networks.layers("actor_mean.", obs_size, out=log_std.numel())
    value = ValueNetwork(networks.layers("critic.", obs_size, out=1))
    _refuse_unread(networks, where, "actor_logstd")
    if tuple(log_std.shape) not in ((1, log_std.numel()), (log_std.numel(),)) or not log_std.is_floating_point():
        raise GradlabError(f"{where}: actor_logstd has shape {tuple(log_std.shape)}; expected [1, p]")
    log.warning(
        "gradlab: %s: CleanRL's PPO normalises observations in the environment's wrappers, whose statistics are not "
        "in the file; give observations as the networks got them",
        where,
    )
    assert facts.discount is not None
    return Agent(
        GaussianActor(mean, nn.Parameter(log_std)),
        [],
        action_low=facts.action_low,
        action_high=facts.action_high,
        discount=facts.discount,
        policy=Gaussian(),
        value=value,
        obs_size=obs_size,
        algorithm="PPO",
        library=LIBRARY,
    )


def _hint(where: str, algorithm: str, activation: str) -> str:
    """The file's name with what CleanRL's own script has, which a script made from it may not."""
    return f"{where} (as CleanRL's {algorithm}, whose own script has activation={activation!r}, discount=0.99)"


def _hidden(weights: Mapping[str, Tensor]) -> list[str]:
    """The names of the numbered layers, in order."""
    found = {match[1] for match in (re.fullmatch(r"(fc\d{1,4})\.weight", name) for name in weights) if match}
    return sorted(found, key=lambda name: int(name[2:]))


def _inputs(weights: Mapping[str, Tensor], names: list[str], where: str) -> int:
    """Number of inputs of the first of some layers."""
    weight = weights.get(f"{names[0]}.weight")
    if weight is None or weight.ndim != 2:
        raise GradlabError(f"{where}: has no matrix {names[0]}.weight; is it of one of CleanRL's scripts?")
    return weight.shape[1]


def _layers(file: SavedNetworks, names: list[str], size: int) -> tuple[dict[str, nn.Linear], int]:
    """Linear layers one after the other, and the size of what the last one gives."""
    layers = {}
    for name in names:
        layers[name] = file.linear(f"{name}.", size)
        size = layers[name].out_features
    return layers, size


def _critic(weights: Mapping[str, Tensor], activation: type[nn.Module], size: int, where: str) -> QNetwork:
    file, names = SavedNetworks(weights, activation, f"{where}: critic"), _hidden(weights)
    if not names:
        raise GradlabError(f"{where}: a critic has no fc1.weight; is it of one of CleanRL's scripts?")
    hidden, width = _layers(file, names[:-1], size)
    last = {names[-1]: file.linear(f"{names[-1]}.", width, 1)}
    _refuse_unread(file, where)
    return QNetwork(hidden, last, activation())


def _box_part(weights: Mapping[str, Tensor], name: str, where: str) -> Tensor:
    """``action_scale`` or ``action_bias``, [p] or [1, p]."""
    found = weights.get(name)
    if found is None:
        raise GradlabError(f"{where}: the actor has no {name}, so the action box is unknown; describe it by hand")
    if found.shape not in ((found.numel(),), (1, found.numel())) or not found.is_floating_point():
        raise GradlabError(f"{where}: {name} has shape {tuple(found.shape)} of {found.dtype}; expected [p] of floats")
    return found


def _alpha(log_alpha: Tensor, where: str) -> float:
    if log_alpha.numel() != 1:
        raise GradlabError(f"{where}: log_alpha has shape {tuple(log_alpha.shape)}; expected one number")
    return float(log_alpha.double().exp())


def _refuse_unread(file: SavedNetworks, where: str, *known: str) -> None:
    """Refuse a network with parameters that nothing here uses, such as a normalisation's.

    Raises:
        GradlabError: there are some.
    """
    unread = [name for name in file.unread() if name not in known]
    if unread:
        raise GradlabError(
            f"{where}: has {', '.join(unread[:3])}, which CleanRL's own networks have not; load it yourself and "
            "describe it with gradlab.Agent(...)"
        )
