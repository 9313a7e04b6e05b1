"""From TorchRL's distributions to heads and policies.

Facts this relies on (read in 0.14.1, checked numerically by the tests): ``TanhNormal`` has the exact Jacobian
2(log 2 − z − softplus(−2z)) and maps affinely to [low, high]. With ``tanh_loc`` the mean is upscale·tanh(loc/upscale),
to which TanhNormal adds the box's centre where the box is not [−1, 1]; ``IndependentNormal`` takes ``tanh_loc`` and
leaves the mean as it is until its parameters are updated, which only a cached distribution's are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.adapters.torchrl_networks import Chain, Key, Squash
from gradlab.adapters.torchrl_structure import DOOR, network_of
from gradlab.errors import GradlabError
from gradlab.policies import Deterministic, Gaussian, Policy, SquashedGaussian, TruncatedNormal

#: What a distribution may be given beside its parameters, and what that must be (None: anything).
_OPTIONS: dict[str, dict[str, tuple[Any, ...] | None]] = {
    "TanhNormal": {
        "low": None,
        "high": None,
        "upscale": None,
        "tanh_loc": None,
        "safe_tanh": None,
        "event_dims": (1, None),
    },
    "IndependentNormal": {"upscale": None, "tanh_loc": None, "event_dim": (1,)},
    "TruncatedNormal": {"low": None, "high": None, "upscale": None, "tanh_loc": None},
}


@dataclass(frozen=True)
class ActionHead:
    """h = a: the head of a policy without chance is the action.

    Attributes:
        obs: key of the observation.
        act: key of the action.
    """

    obs: Key
    act: Key

    def __call__(self, actor: nn.Module, obs: Tensor) -> Tensor:
        """The action [B, p]."""
        action: Tensor = actor({self.obs: obs})[self.act]
        return action


@dataclass(frozen=True)
class NormalHead:
    """h = (mean, log σ) of the normal distribution beneath: [B, n] → [B, 2p].

    Attributes:
        obs: key of the observation.
        loc: key of the mean.
        scale: key of σ.
        upscale: where to bound the mean by upscale·tanh(loc/upscale); None for not at all.
        shift: what is added to the bounded mean, [p] or a number.
    """

    obs: Key
    loc: Key
    scale: Key
    upscale: Tensor | None = None
    shift: Tensor | None = None

    def __call__(self, actor: nn.Module, obs: Tensor) -> Tensor:
        """The head [B, 2p]."""
        values = actor({self.obs: obs})
        mean, scale = values[self.loc], values[self.scale]
        if self.upscale is not None:
            upscale = self.upscale.to(mean)
            mean = upscale * (mean / upscale).tanh()
        if self.shift is not None:
            mean = mean + self.shift.to(mean)
        return torch.cat([mean, scale.log().expand_as(mean)], dim=-1)


@dataclass(frozen=True)
class ActorParts:
    """The actor of a loss module.

    Attributes:
        network: from the observation's key to what the head is made of.
        head: how to get the head from it.
        policy: what the head means.
        low: lower corner of the box it acts in; None where its layers and its distribution do not say.
        high: upper corner, likewise.
    """

    network: nn.Module
    head: ActionHead | NormalHead
    policy: Policy
    low: Tensor | None = None
    high: Tensor | None = None


def deterministic_actor(module: Any, tensors: Mapping[str, Tensor], obs: Key, act: Key) -> ActorParts:
    """The actor of DDPG and TD3.

    Raises:
        GradlabError: a part of it is of a kind whose computation is not known.
    """
    network = network_of(module, tensors, "actor")
    squashes = [part for part in network.modules() if isinstance(part, Squash) and part.target == act]
    box = (squashes[-1].low, squashes[-1].high) if squashes else (None, None)
    return ActorParts(network, ActionHead(obs, act), Deterministic(), *box)


def stochastic_actor(module: Any, tensors: Mapping[str, Tensor], obs: Key, algorithm: str) -> ActorParts:
    """The actor of SAC, PPO and A2C: layers, and a distribution at the end.

    Raises:
        GradlabError: it has no distribution at its end, or a part of it is not supported.
    """
    network, distribution = _split(module, tensors, "", algorithm)
    return ActorParts(network, *_distribution(distribution, obs, algorithm))


def _split(module: Any, tensors: Mapping[str, Tensor], prefix: str, algorithm: str) -> tuple[Chain, Any]:
    """The steps before the distribution, and the distribution's module; both may lie in sequences of sequences."""
    library = sys.modules["tensordict.nn"]
    steps = dict(module.module.named_children()) if isinstance(module, library.TensorDictSequential) else {}
    if not steps:
        raise GradlabError(f"view: this {algorithm}'s actor ends in no distribution; pass a ProbabilisticActor")
    *before, (name, last) = steps.items()
    found: dict[str, nn.Module] = {
        key: network_of(step, tensors, "actor", f"{prefix}module.{key}.") for key, step in before
    }
    if not isinstance(last, library.ProbabilisticTensorDictModule):
        found[name], last = _split(last, tensors, f"{prefix}module.{name}.", algorithm)
    return Chain(found), last


def _distribution(module: Any, obs: Key, algorithm: str) -> tuple[NormalHead, Policy, Tensor | None, Tensor | None]:
    """The head, the policy and its box from the last step of a stochastic actor.

    Raises:
        GradlabError: its distribution, or an option of it, is not supported.
    """
    name = module.distribution_class.__name__
    where = f"view: this {algorithm}'s actor has the distribution {name}"
    if name not in _OPTIONS or module.distribution_class.__module__.partition(".")[0] != "torchrl":
        raise GradlabError(f"{where}; supported are {', '.join(_OPTIONS)} of torchrl; {DOOR}")
    keys = dict(zip(module.dist_keys, module.in_keys, strict=True))
    options = dict(module.distribution_kwargs.items())
    for option, value in options.items():
        allowed = _OPTIONS[name].get(option, ())
        if allowed is not None and value not in allowed:
            raise GradlabError(f"{where} with {option}={value}, which is not supported; {DOOR}")
    if set(keys) != {"loc", "scale"}:
        raise GradlabError(f"{where} of {sorted(map(str, keys))}; only loc and scale are supported; {DOOR}")
    bounded = bool(options.get("tanh_loc", False))
    if name == "IndependentNormal" and bounded:
        if module.cache_dist:
            raise GradlabError(f"{where} with tanh_loc and cache_dist, which is not supported; {DOOR}")
        bounded = False
    low, high = (torch.as_tensor(options.get(*default)).detach() for default in (("low", -1.0), ("high", 1.0)))
    upscale = torch.as_tensor(options.get("upscale", 5.0)) if bounded else None
    centred = bool((high == 1).all() and (low == -1).all())
    shift = (high + low) / 2 if name == "TanhNormal" and upscale is not None and not centred else None
    head = NormalHead(obs, keys["loc"], keys["scale"], upscale, shift)
    if name == "IndependentNormal":
        return head, Gaussian(), None, None
    policy = SquashedGaussian(low=low, high=high) if name == "TanhNormal" else TruncatedNormal(low, high)
    return head, policy, low, high
