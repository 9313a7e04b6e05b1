"""The networks of CleanRL's scripts, with the names that the scripts give their layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

#: Between which a tanh keeps log σ of SAC's actor (``sac_continuous_action.py``).
LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


class Layers(nn.Module):
    """Hidden layers fc1, fc2, …, an activation after each, and one layer or more that end it, without one.

    Args:
        hidden: the hidden layers by name.
        last: those at the end, by name.
        activation: what follows each hidden layer.

    Example:
        >>> layers = Layers({"fc1": nn.Linear(3, 4)}, {"fc2": nn.Linear(4, 1)}, nn.ReLU())
        >>> [name for name, _ in layers.named_parameters()]
        ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias']
        >>> [out.shape for out in layers.outputs(torch.zeros(5, 3))]
        [torch.Size([5, 1])]
    """

    def __init__(self, hidden: Mapping[str, nn.Module], last: Mapping[str, nn.Module], activation: nn.Module) -> None:
        super().__init__()
        for name, layer in {**hidden, **last}.items():
            self.add_module(name, layer)
        self.activation = activation
        self._hidden, self._last = tuple(hidden), tuple(last)

    def outputs(self, x: Tensor) -> list[Tensor]:
        """What each of the last layers gives, [B, …]."""
        for name in self._hidden:
            x = self.activation(self.get_submodule(name)(x))
        return [self.get_submodule(name)(x) for name in self._last]


class DeterministicActor(Layers):
    """The action in the environment's units, tanh(fc_mu)·scale + bias (DDPG, TD3): [B, n] → [B, p].

    Args:
        hidden: the hidden layers by name.
        last: ``fc_mu``.
        activation: what follows each hidden layer.
        scale: half the width of the action box, [p] or [1, p].
        bias: its centre, likewise.

    Example:
        >>> one = torch.ones(2)
        >>> actor = DeterministicActor({}, {"fc_mu": nn.Linear(3, 2)}, nn.ReLU(), 2 * one, one)
        >>> actor(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        hidden: Mapping[str, nn.Module],
        last: Mapping[str, nn.Module],
        activation: nn.Module,
        scale: Tensor,
        bias: Tensor,
    ) -> None:
        super().__init__(hidden, last, activation)
        self.action_scale: Tensor
        self.action_bias: Tensor
        self.register_buffer("action_scale", scale)
        self.register_buffer("action_bias", bias)

    def forward(self, obs: Tensor) -> Tensor:
        """The action [B, p]."""
        (out,) = self.outputs(obs)
        return out.tanh() * self.action_scale + self.action_bias


class SquashedGaussianActor(Layers):
    """The head (mean, log σ) of SAC's actor, before its tanh: [B, n] → [B, 2p]; ends in ``fc_mean`` and ``fc_logstd``.

    Example:
        >>> last = {"fc_mean": nn.Linear(3, 2), "fc_logstd": nn.Linear(3, 2)}
        >>> head = SquashedGaussianActor({}, last, nn.ReLU())(torch.zeros(5, 3))
        >>> head.shape, bool((head[:, 2:] > -5).all())
        (torch.Size([5, 4]), True)
    """

    def forward(self, obs: Tensor) -> Tensor:
        """The head [B, 2p]."""
        mean, log_std = self.outputs(obs)
        half = 0.5 * (LOG_STD_MAX - LOG_STD_MIN)
        return torch.cat([mean, LOG_STD_MIN + half * (log_std.tanh() + 1)], dim=-1)


class QNetwork(Layers):
    """Q(s, a), the action in the environment's units: [B, n], [B, p] → [B].

    Example:
        >>> critic = QNetwork({"fc1": nn.Linear(5, 4)}, {"fc2": nn.Linear(4, 1)}, nn.ReLU())
        >>> critic(torch.zeros(6, 3), torch.zeros(6, 2)).shape
        torch.Size([6])
    """

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The value [B]."""
        (out,) = self.outputs(torch.cat([obs, act], dim=-1))
        return out.squeeze(-1)


class GaussianActor(nn.Module):
    """The head (mean, log σ) of PPO's actor, log σ the same at every state: [B, n] → [B, 2p].

    Args:
        actor_mean: layers from observation to mean.
        actor_logstd: log σ, [1, p] or [p].

    Example:
        >>> GaussianActor(nn.Linear(3, 2), nn.Parameter(torch.zeros(1, 2)))(torch.zeros(5, 3)).shape
        torch.Size([5, 4])
    """

    def __init__(self, actor_mean: nn.Module, actor_logstd: nn.Parameter) -> None:
        super().__init__()
        self.actor_mean = actor_mean
        self.actor_logstd = actor_logstd

    def forward(self, obs: Tensor) -> Tensor:
        """The head [B, 2p]."""
        mean: Tensor = self.actor_mean(obs)
        return torch.cat([mean, self.actor_logstd.expand_as(mean)], dim=-1)
