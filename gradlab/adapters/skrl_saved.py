"""skrl's checkpoints, ``agent_*.pt``: an Agent out of the state dicts in one, with neither the library nor its models.

What a model computes is a class of the user's own, which is not in the file. Read are plain networks: one
``nn.Sequential`` of linear layers with an activation between them, under any name, with log σ a parameter beside it
where the policy is a Gaussian; what follows the policy's last layer is asked for. The mixins are taken with their
defaults: actions are not clipped, log σ is, to [−20, 2]. Any other is viewed live: make the agent as in training, call
its ``load(path)``, and ``gradlab.view`` it.

Statistics of preprocessors are in the file, so that the Agent takes observations as the environment gives them, and V
is in units of return.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlab.adapters.facts import Facts
from gradlab.adapters.networks import DeterministicActor, QNetwork, ValueNetwork
from gradlab.adapters.rebuild import SavedNetworks
from gradlab.adapters.skrl import KINDS, LIBRARY
from gradlab.adapters.skrl_networks import GaussianActor, OfScaled, Standardised, Stretched, Unstandardised
from gradlab.agent import Agent
from gradlab.arguments import shown
from gradlab.errors import GradlabError
from gradlab.policies import Deterministic, Gaussian

__all__ = ["LIBRARY", "holds", "read"]

#: What tells the algorithms' files apart, in the order it is asked; PPO and A2C save the same.
_TELLTALE = {
    "TRPO": {"policy", "value", "value_optimizer"},
    "PPO": {"policy", "value", "optimizer"},
    "TD3": {"policy", "target_policy", "critic_1", "policy_optimizer"},
    "DDPG": {"policy", "target_policy", "critic", "policy_optimizer"},
    "SAC": {"policy", "critic_1", "policy_optimizer"},
}
_VIEW = "make the agent as in training, call its load(path), and pass it to gradlab.view"


def holds(content: Any) -> bool:
    """Whether what a PyTorch file holds is one of skrl's agents.

    Example:
        >>> holds({"policy": {}, "value": {}, "optimizer": {}}), holds({"actor": {}})
        (True, False)
    """
    return _algorithm(content) is not None


def read(content: Any, facts: Facts, where: str) -> tuple[Agent, int | None]:
    """The agent on the CPU, and None: the step is in the file's name only.

    Args:
        content: what the file holds.
        facts: what the caller says of it.
        where: the file, for messages.

    Raises:
        GradlabError: a network is no plain one, something does not fit, or ``facts`` lack what the file does not say.
    """
    algorithm = _algorithm(content)
    assert algorithm is not None
    facts.require(
        where,
        *("action_low", "action_high", "discount", "activation", "output"),
        *(("entropy",) if algorithm == "SAC" else ()),
    )
    return _Reader(content, facts, where, algorithm).agent(), None


def _algorithm(content: Any) -> str | None:
    if not isinstance(content, dict) or not all(isinstance(part, Mapping) for part in content.values()):
        return None
    return next((name for name, keys in _TELLTALE.items() if keys <= content.keys()), None)


class _Reader:
    def __init__(self, content: Mapping[str, Any], facts: Facts, where: str, algorithm: str) -> None:
        self._content, self._facts, self._where, self._algorithm = content, facts, where, algorithm
        self._low, self._high = (self._corner(corner) for corner in (facts.action_low, facts.action_high))

    def agent(self) -> Agent:
        kind, facts, p = KINDS[self._algorithm], self._facts, self._low.numel()
        log_std, size, net = self._policy(p, stochastic=kind.stochastic)
        scaler = self._scaler("observation_preprocessor", size)
        net = nn.Sequential(*([] if scaler is None else [scaler]), *net)
        critics, targets = (
            [
                self._critic(f"{prefix}{name}", size, p, scaler)
                for name in kind.critics
                if f"{prefix}{name}" in self._content
            ]
            for prefix in ("", "target_")
        )
        agent = Agent(
            DeterministicActor(net) if log_std is None else GaussianActor(net, log_std),
            critics,
            self._low,
            self._high,
            facts.discount or 0.0,
            policy=Gaussian() if kind.stochastic else Deterministic(),
            reduction=kind.reduction,
            target_critics=targets,
            value=None if kind.critics else self._value(size, scaler),
            entropy=facts.entropy or 0.0 if self._algorithm == "SAC" else 0.0,
            obs_size=size,
            algorithm="PPO or A2C" if self._algorithm == "PPO" else self._algorithm,
            library=LIBRARY,
        )
        for part in agent.parts:
            part.eval()
        return agent

    def _corner(self, given: Any) -> Tensor:
        try:
            return torch.from_numpy(np.atleast_1d(np.array(given, dtype=np.float32)))
        except (TypeError, ValueError):
            raise GradlabError(
                f"{self._where}: action box {shown(given)}; give one number per action coordinate"
            ) from None

    def _policy(self, p: int, *, stochastic: bool) -> tuple[nn.Parameter | None, int, nn.Sequential]:
        weights = self._weights("policy")
        free = [name for name in weights if not re.search(r"\.\d+\.(weight|bias)$", name)]
        if (len(free) == 1) != stochastic or len(free) > 1:
            wanted = "log σ as one parameter" if stochastic else "nothing"
            self._refuse(
                "policy", f"has {', '.join(free[:3]) or 'nothing'} beside its layers, where {wanted} is expected"
            )
        networks = self._networks("policy", {name: part for name, part in weights.items() if name not in free})
        prefix, size = self._prefix("policy", weights)
        net = networks.layers(prefix, size, last=None, out=p)
        self._all_read("policy", networks)
        output = self._facts.output
        if output not in ("Tanh", "Identity"):
            raise GradlabError(f"{self._where}: output {output!r}; it is 'Tanh' or 'Identity'")
        if output == "Tanh":
            net = nn.Sequential(*net, nn.Tanh(), Stretched(self._low, self._high))
        log_std = self._networks("policy", weights).parameter(free[0], p) if free else None
        return log_std, size, net

    def _critic(self, name: str, size: int, p: int, scaler: nn.Module | None) -> nn.Module:
        network = QNetwork(self._plain(name, size + p))
        return network if scaler is None else OfScaled(scaler, network)

    def _value(self, size: int, scaler: nn.Module | None) -> ValueNetwork:
        layers = [part for part in (scaler, self._plain("value", size), self._scaler("value_preprocessor", 1)) if part]
        return ValueNetwork(nn.Sequential(*layers))

    def _plain(self, name: str, size: int) -> nn.Sequential:
        weights = self._weights(name)
        networks = self._networks(name, weights)
        layers = networks.layers(self._prefix(name, weights)[0], size, out=1)
        self._all_read(name, networks)
        return layers

    def _weights(self, name: str) -> dict[str, Tensor]:
        weights = self._content[name]
        if not weights or not all(isinstance(part, Tensor) for part in weights.values()):
            self._refuse(name, "holds something else than named tensors")
        return {str(key): part.detach() for key, part in weights.items()}

    def _networks(self, name: str, weights: Mapping[str, Tensor]) -> SavedNetworks:
        return SavedNetworks(weights, self._facts.activation_class(self._where), f"{self._where}: {name}")

    def _prefix(self, name: str, weights: Mapping[str, Tensor]) -> tuple[str, int]:
        """What the names of the layers begin with, and the number of inputs."""
        found = {match[1] for key in weights if (match := re.match(r"(.+\.)\d+\.(weight|bias)$", key))}
        first = weights.get(f"{min(found, default='')}0.weight")
        if len(found) != 1 or first is None or first.ndim != 2:
            self._refuse(name, f"is no single nn.Sequential of linear layers ({', '.join(list(weights)[:3])}, …)")
        assert first is not None
        return next(iter(found)), int(first.shape[1])

    def _scaler(self, name: str, size: int) -> nn.Module | None:
        if name not in self._content:
            return None
        kept = self._content[name]
        mean, variance = (kept.get(key) for key in ("running_mean", "running_variance"))
        if not all(isinstance(part, Tensor) and part.numel() == size for part in (mean, variance)):
            self._refuse(name, f"has no running_mean and running_variance of {size} numbers")
        kind = Unstandardised if name == "value_preprocessor" else Standardised
        return kind(mean.flatten().float(), variance.flatten().float())

    def _all_read(self, name: str, networks: SavedNetworks) -> None:
        if unread := networks.unread():
            self._refuse(name, f"has weights of layers that are not supported: {', '.join(unread[:3])}")

    def _refuse(self, name: str, what: str) -> None:
        raise GradlabError(f"{self._where}: its {name} {what}; {_VIEW}")
