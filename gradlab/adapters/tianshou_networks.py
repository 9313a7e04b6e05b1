"""Tianshou's networks as small modules that share its layers, under its parameter names.

The library's own forward methods cast to float32, which float64 would not get through, and return what a gradient
has no use for (a hidden state that is handed on as it is); both are left out here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradlab.adapters.stable_baselines3_checks import DOOR, class_name
from gradlab.errors import GradlabError

#: Where the library caps log σ that depends on the state (``utils/net/continuous.py``).
SIGMA_MIN, SIGMA_MAX = -20.0, 2.0

_MLP = "tianshou.utils.net.common.MLP"
_NET = "tianshou.utils.net.common.Net"


class Layers(nn.Module):
    """Layers that are called ``model``, as in the library's MLP and Net: [B, n] → [B, outputs].

    Args:
        model: the layers.

    Example:
        >>> list(dict(Layers(nn.Linear(3, 2)).named_parameters()))
        ['model.weight', 'model.bias']
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """What the layers give, [B, outputs]."""
        out: Tensor = self.model(x)
        return out


class DeterministicActor(nn.Module):
    """h = c·tanh(last(preprocess(s))): the head is the action, [B, n] → [B, p].

    Args:
        preprocess: first layers.
        last: last layers.
        max_action: c.

    Example:
        >>> DeterministicActor(nn.ReLU(), nn.Linear(3, 2), 2.0)(torch.zeros(4, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(self, preprocess: nn.Module, last: nn.Module, max_action: float) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.last = last
        self.max_action = max_action

    def forward(self, obs: Tensor) -> Tensor:
        """The action [B, p]."""
        return self.max_action * torch.tanh(self.last(self.preprocess(obs)))


class GaussianActor(nn.Module):
    """h = (mean, log σ), before any tanh of the policy: [B, n] → [B, 2p].

    Args:
        preprocess: first layers.
        mu: last layers of the mean.
        sigma: last layers of log σ, clamped to [−20, 2]; None where log σ is the same at every state.
        sigma_param: log σ [p, 1] in that case, which is not clamped.
        max_action: c of a mean c·tanh(mu(…)); None for an unbounded mean.

    Example:
        >>> GaussianActor(nn.ReLU(), nn.Linear(3, 2), nn.Linear(3, 2))(torch.zeros(4, 3)).shape
        torch.Size([4, 4])
    """

    def __init__(
        self,
        preprocess: nn.Module,
        mu: nn.Module,
        sigma: nn.Module | None = None,
        *,
        sigma_param: nn.Parameter | None = None,
        max_action: float | None = None,
    ) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.mu = mu
        self.sigma = sigma
        self.sigma_param = sigma_param
        self.max_action = max_action

    def forward(self, obs: Tensor) -> Tensor:
        """The head [B, 2p]."""
        features = self.preprocess(obs)
        mean = self.mu(features)
        if self.max_action is not None:
            mean = self.max_action * torch.tanh(mean)
        if self.sigma is not None:
            return torch.cat([mean, self.sigma(features).clamp(SIGMA_MIN, SIGMA_MAX)], dim=-1)
        assert self.sigma_param is not None
        return torch.cat([mean, self.sigma_param.reshape(1, -1).expand_as(mean)], dim=-1)


class DiscreteActor(nn.Module):
    """The logits of discrete actions: [B, n] → [B, p].

    Args:
        preprocess: first layers.
        last: last layers.
        softmax: whether the logits are the softmax of what the layers give, which is what the library's defaults of
            actor and policy come to together.

    Example:
        >>> DiscreteActor(nn.ReLU(), nn.Linear(3, 2), softmax=True)(torch.zeros(4, 3)).sum(-1).detach()
        tensor([1., 1., 1., 1.])
    """

    def __init__(self, preprocess: nn.Module, last: nn.Module, *, softmax: bool = False) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.last = last
        self.softmax = softmax

    def forward(self, obs: Tensor) -> Tensor:
        """The head [B, p]."""
        out: Tensor = self.last(self.preprocess(obs))
        return out.softmax(-1) if self.softmax else out


class Critic(nn.Module):
    """Q(s, a): [B, n], [B, p] → [B].

    Args:
        preprocess: first layers, of the observation and the action.
        last: last layers, to one number.
        obs_only: whether the first layers get the observation alone, and the last ones the action too.

    Example:
        >>> Critic(nn.ReLU(), nn.Linear(5, 1))(torch.zeros(4, 3), torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    def __init__(self, preprocess: nn.Module, last: nn.Module, *, obs_only: bool = False) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.last = last
        self.obs_only = obs_only

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The value [B]."""
        if self.obs_only:
            value: Tensor = self.last(torch.cat([self.preprocess(obs), act], dim=-1))
        else:
            value = self.last(self.preprocess(torch.cat([obs, act], dim=-1)))
        return value.squeeze(-1)


class Value(nn.Module):
    """V(s): [B, n] → [B].

    Args:
        preprocess: first layers.
        last: last layers, to one number.

    Example:
        >>> Value(nn.ReLU(), nn.Linear(3, 1))(torch.zeros(4, 3)).shape
        torch.Size([4])
    """

    def __init__(self, preprocess: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.last = last

    def forward(self, obs: Tensor) -> Tensor:
        """The value [B]."""
        value: Tensor = self.last(self.preprocess(obs))
        return value.squeeze(-1)


def shared_layers(network: Any, what: str) -> Layers:
    """The layers of one of the library's MLP or Net, under the same names.

    Args:
        network: the MLP or Net.
        what: what it is called in the message.

    Raises:
        GradlabError: it is of another class, or a Net that computes something else than its layers one by one.
    """
    name = class_name(network)
    if name == _MLP:
        return Layers(network.model)
    if name != _NET:
        raise GradlabError(f"view: this {what} is {name}; only Tianshou's Net and MLP are supported; {DOOR}")
    if network.use_dueling or network.softmax or network.num_atoms > 1:
        raise GradlabError(f"view: this {what} is a Net with dueling_param, softmax or num_atoms; {DOOR}")
    return Layers(shared_layers(network.model, what))
