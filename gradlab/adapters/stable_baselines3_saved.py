"""The Agent that a Stable-Baselines3 zip's ``data`` and weights describe."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from gradlab.adapters import stable_baselines3_box, stable_baselines3_on_policy
from gradlab.adapters.networks import (
    DeterministicActor,
    OnPolicyActor,
    QNetwork,
    QuantileNetwork,
    SquashedGaussianActor,
    ValueNetwork,
)
from gradlab.adapters.rebuild import SavedNetworks
from gradlab.adapters.stable_baselines3 import LIBRARY, OFF_POLICY, SUPPORTED
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Deterministic, SquashedGaussian

#: An entry of ``data`` that only one algorithm has, most telling first (CrossQ has TD3's, SAC has CrossQ's).
_TELLTALE = {
    "top_quantiles_to_drop_per_net": "TQC",
    "target_noise_clip": "TD3",
    "policy_delay": "CrossQ",
    "target_entropy": "SAC",
    "clip_range": "PPO",
    "cg_max_steps": "TRPO",
    "exploration_fraction": "DQN",
    "gae_lambda": "A2C",
}
_ON_POLICY_MODULE = "stable_baselines3.common.policies"

#: Activations without parameters or arguments, by the name of their class in ``torch.nn``.
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (
        *(nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.Mish),
        *(nn.ReLU, nn.ReLU6, nn.SELU, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.Softsign, nn.Tanh, nn.Tanhshrink),
    )
}


@dataclass(frozen=True)
class _Saved:
    """What both families of algorithms are rebuilt from: ``box`` is the environment's, or that of one-hot vectors."""

    algorithm: str
    data: Mapping[str, Any]
    networks: SavedNetworks
    activation: type[nn.Module]
    obs_size: int
    box: tuple[NDArray[Any], NDArray[Any]]


class NeedsTrustError(GradlabError):
    """What is missing is only in the file's pickles, which run code when loaded."""


def algorithm_of(data: Mapping[str, Any]) -> str:
    """The algorithm's name.

    Raises:
        GradlabError: there is none, or it is not supported.

    Example:
        >>> algorithm_of({"target_entropy": -2.0})
        'SAC'
    """
    name = next((name for key, name in _TELLTALE.items() if key in data), None)
    if name is None:
        raise GradlabError(f"names no algorithm of {LIBRARY}; pass a zip written by model.save()")
    if name == "TD3" and data.get("policy_delay") == 1 and data.get("target_noise_clip") == 0.0:
        return "DDPG"
    if name not in SUPPORTED:
        raise GradlabError(f"{LIBRARY} {name} is not supported; supported are {', '.join(SUPPORTED)}")
    return name


def agent_of(
    data: Mapping[str, Any],
    algorithm: str,
    tensors: Callable[[str], Mapping[str, Tensor]],
    entropy: Callable[[], float],
) -> Agent:
    """The agent, its networks in evaluation mode.

    Args:
        data: the zip's ``data``.
        algorithm: see ``algorithm_of``.
        tensors: the tensors of a member.
        entropy: α, where the algorithm has one.

    Raises:
        GradlabError: something is missing, does not fit or is not supported; NeedsTrustError where only code can tell.
    """
    options = data.get("policy_kwargs")
    options = options if isinstance(options, dict) else {}
    _check_policy(data, options, algorithm)
    n = stable_baselines3_box.size(data.get("observation_space"), "observation_space")
    box = _box(data, algorithm)
    activation = _activation(options, nn.ReLU if algorithm in OFF_POLICY else nn.Tanh)
    networks = SavedNetworks(
        tensors("policy.pth"),
        activation,
        "policy.pth",
        renorm_eps=_option(options, "batch_norm_eps", 0.001),
        renorm_warmup=int(_option(options, "renorm_warmup_steps", 100_000)),
    )
    saved = _Saved(algorithm, data, networks, activation, n, box)
    agent = _off_policy(saved, entropy) if algorithm in OFF_POLICY else _on_policy(saved)
    # The target of the actor is in no gradient.
    if unread := [name for name in networks.unread() if not name.startswith("actor_target.")]:
        raise GradlabError(f"policy.pth has weights of layers that are not supported: {', '.join(unread[:3])}")
    for part in agent.parts:
        part.eval()
    return agent


def number(data: Mapping[str, Any], name: str) -> float:
    """A finite number of ``data``.

    Raises:
        GradlabError: there is none of that name.
    """
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise GradlabError(f"member 'data' has no number {name!r}; save the file again")
    return value


def _off_policy(saved: _Saved, entropy: Callable[[], float]) -> Agent:
    kind, networks, (low, high) = OFF_POLICY[saved.algorithm], saved.networks, saved.box
    n, p = saved.obs_size, len(low)
    shared: dict[str, Any] = {
        "action_low": -np.ones_like(low),
        "action_high": np.ones_like(high),
        "env_low": low,
        "env_high": high,
        "discount": number(saved.data, "gamma"),
        "reduction": kind.reduction,
        "obs_size": n,
        "algorithm": saved.algorithm,
        "library": kind.library,
    }
    network: type[QNetwork | QuantileNetwork] = QNetwork
    out = 1
    if saved.algorithm == "TQC":
        network, out = QuantileNetwork, networks.outputs("critic.qf0.")
        shared |= {"quantiles": out, "drop_quantiles": int(number(saved.data, "top_quantiles_to_drop_per_net"))}
    critics, shared["target_critics"] = (
        [network(networks.layers(f"{name}.qf{index}.", n + p, out=out)) for index in networks.indices(name)]
        for name in ("critic", "critic_target")
    )
    if not critics:
        raise GradlabError("policy.pth has no critic (critic.qf0.0.weight and so on)")
    if not kind.stochastic:
        actor = DeterministicActor(networks.layers("actor.mu.", n, last=nn.Tanh, out=p))
        return Agent(actor, critics, policy=Deterministic(), **shared)
    latent_pi = networks.layers("actor.latent_pi.", n, last=saved.activation, empty=True)
    mu, log_std = (networks.linear(f"actor.{name}.", _width(latent_pi, n), p) for name in ("mu", "log_std"))
    return Agent(
        SquashedGaussianActor(latent_pi, mu, log_std),
        critics,
        policy=SquashedGaussian(epsilon=1e-6),
        entropy=entropy(),
        **shared,
    )


def _on_policy(saved: _Saved) -> Agent:
    networks, n, p = saved.networks, saved.obs_size, len(saved.box[0])
    policy_net, value_net = (
        networks.layers(f"mlp_extractor.{name}.", n, last=saved.activation, empty=True)
        for name in ("policy_net", "value_net")
    )
    discrete = stable_baselines3_box.is_discrete(saved.data.get("action_space"))
    actor = OnPolicyActor(
        policy_net,
        networks.linear("action_net.", _width(policy_net, n), p),
        None if discrete else networks.parameter("log_std", p),
    )
    value = ValueNetwork(nn.Sequential(value_net, networks.linear("value_net.", _width(value_net, n), 1)))
    discount = number(saved.data, "gamma")
    return stable_baselines3_on_policy.agent(
        actor, value, saved.box, discount=discount, obs_size=n, algorithm=saved.algorithm
    )


def _width(layers: nn.Sequential, size: int) -> int:
    """Number of outputs of layers that take ``size`` numbers."""
    return next((layer.out_features for layer in reversed(layers) if isinstance(layer, nn.Linear)), size)


def _box(data: Mapping[str, Any], algorithm: str) -> tuple[NDArray[Any], NDArray[Any]]:
    space = data.get("action_space")
    if algorithm not in OFF_POLICY and stable_baselines3_box.is_discrete(space):
        count = stable_baselines3_box.actions(space)
        return np.zeros(count), np.ones(count)
    return stable_baselines3_box.corners(space, "action_space")


def _check_policy(data: Mapping[str, Any], options: Mapping[str, Any], algorithm: str) -> None:
    policy = data.get("policy_class")
    module = policy.get("__module__") if isinstance(policy, dict) else None
    wanted = OFF_POLICY[algorithm].actor.rpartition(".")[0] if algorithm in OFF_POLICY else _ON_POLICY_MODULE
    if module != wanted:
        raise NeedsTrustError(f"its policy_class is of {module}, not {LIBRARY}'s; only its code says what it computes")
    if data.get("use_sde") or options.get("use_sde"):
        raise GradlabError("explores with gSDE (use_sde=True), which is not supported")
    extractor = str(options.get("features_extractor_class", "FlattenExtractor'>"))
    if not extractor.endswith("FlattenExtractor'>"):
        raise GradlabError(f"its features_extractor_class is {extractor}; only flat observations are supported")


def _activation(options: Mapping[str, Any], default: type[nn.Module]) -> type[nn.Module]:
    if "activation_fn" not in options:
        return default
    text = str(options["activation_fn"])
    match = re.fullmatch(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", text)
    if match is None or match[1] not in _ACTIVATIONS:
        raise NeedsTrustError(f"its activation_fn is {text}, which cannot be rebuilt from its name")
    return _ACTIVATIONS[match[1]]


def _option(options: Mapping[str, Any], name: str, default: float) -> float:
    return number(options, name) if name in options else default
