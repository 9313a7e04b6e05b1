"""The networks of a plain actor–critic as small modules: no optimizer, no spaces, no library needed to copy them.

A live adapter wraps the library's own layers in them (shared, not copied), a checkpoint reader fills them with
saved weights; either way parameter names are the library's and a snapshot copies weights alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Where Stable-Baselines3 caps log σ of its squashed Gaussian actors (``sac/policies.py``).
LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0


class DeterministicActor(nn.Module):
    """h = μ(s): the head is the action, [B, n] → [B, p].

    Args:
        mu: layers from observation to action, its squashing included.

    Example:
        >>> DeterministicActor(nn.Sequential(nn.Linear(3, 2), nn.Tanh()))(torch.zeros(4, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(self, mu: nn.Module) -> None:
        super().__init__()
        self.mu = mu

    def forward(self, obs: Tensor) -> Tensor:
        """The action [B, p]."""
        action: Tensor = self.mu(obs)
        return action


class SquashedGaussianActor(nn.Module):
    """h = (mean, log σ) of a Gaussian before its tanh, log σ clamped to [−20, 2]: [B, n] → [B, 2p].

    Where the clamp is active, no gradient reaches the layers of log σ (as in Haarnoja et al. 2018's code).

    Args:
        latent_pi: layers shared by both.
        mu: last layer of the mean.
        log_std: last layer of log σ.

    Example:
        >>> actor = SquashedGaussianActor(nn.ReLU(), nn.Linear(3, 2), nn.Linear(3, 2))
        >>> actor(torch.zeros(4, 3)).shape
        torch.Size([4, 4])
    """

    def __init__(self, latent_pi: nn.Module, mu: nn.Module, log_std: nn.Module) -> None:
        super().__init__()
        self.latent_pi = latent_pi
        self.mu = mu
        self.log_std = log_std

    def forward(self, obs: Tensor) -> Tensor:
        """The head [B, 2p]."""
        latent = self.latent_pi(obs)
        return torch.cat([self.mu(latent), self.log_std(latent).clamp(LOG_STD_MIN, LOG_STD_MAX)], dim=-1)


class QNetwork(nn.Module):
    """Q(s, a) of the concatenated observation and action: [B, n], [B, p] → [B].

    Args:
        layers: from n + p numbers to one.

    Example:
        >>> QNetwork(nn.Linear(5, 1))(torch.zeros(4, 3), torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The value [B]."""
        value: Tensor = self.layers(torch.cat([obs, act], dim=-1))
        return value.squeeze(-1)


class QuantileNetwork(nn.Module):
    """Quantiles of the return of (s, a) (TQC): [B, n], [B, p] → [B, quantiles].

    Args:
        layers: from n + p numbers to the quantiles.

    Example:
        >>> QuantileNetwork(nn.Linear(5, 25))(torch.zeros(4, 3), torch.zeros(4, 2)).shape
        torch.Size([4, 25])
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The quantiles [B, quantiles]."""
        values: Tensor = self.layers(torch.cat([obs, act], dim=-1))
        return values


class OnPolicyActor(nn.Module):
    """The head of PPO, A2C and TRPO: [B, n] → [B, 2p], (mean, log σ), or [B, p], the logits of discrete actions.

    Parameters have the names that ``stable_baselines3.common.policies.ActorCriticPolicy`` gives them.

    Args:
        policy_net: layers of the policy.
        action_net: its last layer, to the means or the logits.
        log_std: log σ [p], the same at every state; None for discrete actions.

    Example:
        >>> actor = OnPolicyActor(nn.Tanh(), nn.Linear(3, 2), nn.Parameter(torch.zeros(2)))
        >>> actor(torch.zeros(4, 3)).shape
        torch.Size([4, 4])
    """

    def __init__(self, policy_net: nn.Module, action_net: nn.Module, log_std: nn.Parameter | None = None) -> None:
        super().__init__()
        self.log_std = log_std
        self.mlp_extractor = nn.ModuleDict({"policy_net": policy_net})
        self.action_net = action_net

    def forward(self, obs: Tensor) -> Tensor:
        """The head [B, 2p], or [B, p] for discrete actions."""
        out: Tensor = self.action_net(self.mlp_extractor["policy_net"](obs))
        return out if self.log_std is None else torch.cat([out, self.log_std.expand_as(out)], dim=-1)


class ValueNetwork(nn.Module):
    """V(s): [B, n] → [B].

    Args:
        layers: from an observation to one number.

    Example:
        >>> ValueNetwork(nn.Linear(3, 1))(torch.zeros(4, 3)).shape
        torch.Size([4])
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, obs: Tensor) -> Tensor:
        """The value [B]."""
        value: Tensor = self.layers(obs)
        return value.squeeze(-1)
