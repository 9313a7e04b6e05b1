"""RLlib's networks as small modules that share its layers, under its parameter names.

The library's own take and give dictionaries; here they take and give tensors, and a copy of them needs no library.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: Where RLlib clamps log σ of its squashed Gaussian (``MIN_LOG_NN_OUTPUT``, ``MAX_LOG_NN_OUTPUT``).
LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


class MLP(nn.Module):
    """Layers that are called ``net.mlp``, as in the library's encoders and heads: [B, n] → [B, outputs].

    Args:
        layers: the layers.

    Example:
        >>> list(dict(MLP(nn.Sequential(nn.Linear(3, 2))).named_parameters()))
        ['net.mlp.0.weight', 'net.mlp.0.bias']
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.net = nn.ModuleDict({"mlp": layers})

    def forward(self, x: Tensor) -> Tensor:
        """What the layers give, [B, outputs]."""
        out: Tensor = self.net["mlp"](x)
        return out


class FreeLogStd(MLP):
    """A head of means beside which log σ is a parameter: [B, n] → [B, 2p].

    Args:
        layers: the layers, to the means.
        log_std: log σ, [p].

    Example:
        >>> FreeLogStd(nn.Linear(3, 2), nn.Parameter(torch.zeros(2)))(torch.zeros(4, 3)).shape
        torch.Size([4, 4])
    """

    def __init__(self, layers: nn.Module, log_std: nn.Parameter) -> None:
        super().__init__(layers)
        self.log_std = log_std

    def forward(self, x: Tensor) -> Tensor:
        """Means and log σ, [B, 2p]."""
        mean = super().forward(x)
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)


class Actor(nn.Module):
    """The head of an action distribution, pi(encoder(s)): [B, n] → [B, m].

    Args:
        encoder: first layers.
        pi: last layers.
        encoder_name: what the library calls the first, such as ``pi_encoder``.
        bound: (low, high) that log σ, the head's second half, is clamped to; None for none.

    Example:
        >>> Actor(nn.ReLU(), nn.Linear(3, 4), "pi_encoder", (-5.0, 2.0))(torch.zeros(4, 3)).shape
        torch.Size([4, 4])
    """

    def __init__(
        self, encoder: nn.Module, pi: nn.Module, encoder_name: str, bound: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        parts = encoder_name.split(".")
        for name in reversed(parts[1:]):
            encoder = nn.ModuleDict({name: encoder})
        self.add_module(parts[0], encoder)
        self.pi = pi
        self._path = encoder_name
        self.bound = bound

    def forward(self, obs: Tensor) -> Tensor:
        """The head [B, m]."""
        head: Tensor = self.pi(self.get_submodule(self._path)(obs))
        if self.bound is None:
            return head
        mean, log_std = head.chunk(2, dim=-1)
        return torch.cat([mean, log_std.clamp(*self.bound)], dim=-1)


class StateActionEncoder(nn.Module):
    """Observation and action, encoded apart and then together: [B, n], [B, p] → [B, outputs].

    Every layer after the first of ``fusion`` gets both codes again beside what the one before gave.

    Args:
        actions: layers of the action.
        obs: layers of the observation.
        fusion: layers of both codes; may be none.
        output: the last layer; None for none.
        activation: what follows each of ``fusion``.
        output_activation: what follows ``output``.

    Example:
        >>> encoder = StateActionEncoder(nn.Linear(2, 4), nn.Linear(3, 4), [nn.Linear(8, 6)], nn.Linear(14, 5))
        >>> encoder(torch.zeros(7, 3), torch.zeros(7, 2)).shape
        torch.Size([7, 5])
    """

    def __init__(
        self,
        actions: nn.Module,
        obs: nn.Module,
        fusion: Sequence[nn.Module] = (),
        output: nn.Module | None = None,
        activation: nn.Module | None = None,
        output_activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        # The library sorts them by name before it puts the codes side by side.
        self.base_encoders = nn.ModuleDict({"actions": actions, "obs": obs})
        self.fusion_layers = nn.ModuleList(fusion)
        self.output_layer = output
        self.hidden_activation = activation or nn.ReLU()
        self.output_activation = output_activation or nn.ReLU()

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The code [B, outputs]."""
        codes = torch.cat([self.base_encoders["actions"](act), self.base_encoders["obs"](obs)], dim=-1)
        out = codes
        for index, layer in enumerate(self.fusion_layers):
            out = self.hidden_activation(layer(torch.cat([out, codes], dim=-1) if index else codes))
        if self.output_layer is not None:
            fused = torch.cat([out, codes], dim=-1) if len(self.fusion_layers) else codes
            out = self.output_activation(self.output_layer(fused))
        return out


class Critic(nn.Module):
    """Q(s, a): [B, n], [B, p] → [B].

    Args:
        encoder: first layers.
        head: last layers, to one number.
    """

    def __init__(self, encoder: StateActionEncoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The value [B]."""
        value: Tensor = self.head(self.encoder(obs, act))
        return value.squeeze(-1)


class Value(nn.Module):
    """V(s): [B, n] → [B].

    Args:
        encoder: first layers.
        head: last layers, to one number.

    Example:
        >>> Value(nn.ReLU(), nn.Linear(3, 1))(torch.zeros(4, 3)).shape
        torch.Size([4])
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, obs: Tensor) -> Tensor:
        """The value [B]."""
        value: Tensor = self.head(self.encoder(obs))
        return value.squeeze(-1)
