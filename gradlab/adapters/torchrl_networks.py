"""TorchRL's networks as plain modules: what a ``TensorDictModule`` computes, without a TensorDict.

Plain modules are copied, differentiated twice and sent to another process with nothing but the user's own layers in
them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: A TensorDict's key: a name, or a tuple of nested names.
Key = str | tuple[str, ...]
Values = dict[Key, Tensor]


class Call(nn.Module):
    """One ``TensorDictModule``: reads its inputs by key, calls its module, writes what that returns by key.

    Args:
        module: the layers.
        in_keys: what they are given, in order.
        out_keys: what their outputs are called; "_" for one that is dropped.

    Example:
        >>> out = Call(nn.Linear(3, 2), ["observation"], ["action"])({"observation": torch.zeros(4, 3)})
        >>> sorted(out), out["action"].shape
        (['action', 'observation'], torch.Size([4, 2]))
    """

    def __init__(self, module: nn.Module, in_keys: list[Key], out_keys: list[Key]) -> None:
        super().__init__()
        self.module = module
        self.in_keys = in_keys
        self.out_keys = out_keys

    def forward(self, values: Values) -> Values:
        """The values and the outputs."""
        out = self.module(*(values[key] for key in self.in_keys))
        outputs = out if isinstance(out, tuple) else (out,)
        return values | {key: output for key, output in zip(self.out_keys, outputs, strict=True) if key != "_"}


class Squash(nn.Module):
    """A = low + (high − low)·(tanh(z + shift) + 1)/2 of one key, as ``TanhModule`` and ``TanhDelta`` have it.

    Args:
        source: key of z.
        target: key of a.
        low: lower corner of the box, [p] or a number.
        high: upper corner, likewise.
        shift: what is added first.
        clamp: how far from ±1 the tanh is kept, 0 for not.

    Example:
        >>> Squash("z", "a", torch.tensor(0.0), torch.tensor(4.0))({"z": torch.zeros(1, 1)})["a"]
        tensor([[2.]])
    """

    def __init__(
        self,
        source: Key,
        target: Key,
        low: Tensor,
        high: Tensor,
        *,
        shift: Tensor | None = None,
        clamp: float = 0.0,
    ) -> None:
        super().__init__()
        self.source, self.target, self.clamp = source, target, clamp
        self.low: Tensor
        self.high: Tensor
        self.shift: Tensor
        for name, corner in (("low", low), ("high", high), ("shift", torch.zeros(()) if shift is None else shift)):
            self.register_buffer(name, corner)

    def forward(self, values: Values) -> Values:
        """The values and a."""
        unit = (values[self.source] + self.shift).tanh()
        if self.clamp:
            unit = unit.clamp(self.clamp - 1, 1 - self.clamp)
        return values | {self.target: self.low + (self.high - self.low) * (unit + 1) / 2}


class Chain(nn.Module):
    """One step after the other, a ``TensorDictSequential``.

    Args:
        steps: the steps; named as the library names its modules.

    Example:
        >>> steps = [Call(nn.Linear(3, 2), ["s"], ["z"]), Call(nn.Tanh(), ["z"], ["a"])]
        >>> Chain(steps)({"s": torch.zeros(4, 3)})["a"].shape
        torch.Size([4, 2])
    """

    def __init__(self, steps: list[nn.Module] | dict[str, nn.Module]) -> None:
        super().__init__()
        self.module = nn.ModuleDict(steps) if isinstance(steps, dict) else nn.ModuleList(steps)

    @property
    def steps(self) -> list[nn.Module]:
        """The steps in order."""
        return list(self.module.values() if isinstance(self.module, nn.ModuleDict) else self.module)

    def forward(self, values: Values) -> Values:
        """The values and what every step adds."""
        for step in self.steps:
            values = step(values)
        return values


class TensorDictCritic(nn.Module):
    """Q(s, a): [B, n], [B, p] → [B].

    Args:
        network: from the observation's and the action's key to the value's.
        obs: key of the observation.
        act: key of the action.
        value: key of the value.

    Example:
        >>> network = Call(nn.Bilinear(3, 2, 1), ["s", "a"], ["q"])
        >>> TensorDictCritic(network, "s", "a", "q")(torch.zeros(4, 3), torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    def __init__(self, network: nn.Module, obs: Key, act: Key, value: Key) -> None:
        super().__init__()
        self.network = network
        self.obs, self.act, self.value = obs, act, value

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The value [B]."""
        value: Tensor = self.network({self.obs: obs, self.act: act})[self.value]
        return value.squeeze(-1)


class TensorDictValue(nn.Module):
    """V(s): [B, n] → [B].

    Args:
        network: from the observation's key to the value's.
        obs: key of the observation.
        value: key of the value.

    Example:
        >>> TensorDictValue(Call(nn.Linear(3, 1), ["s"], ["v"]), "s", "v")(torch.zeros(4, 3)).shape
        torch.Size([4])
    """

    def __init__(self, network: nn.Module, obs: Key, value: Key) -> None:
        super().__init__()
        self.network = network
        self.obs, self.value = obs, value

    def forward(self, obs: Tensor) -> Tensor:
        """The value [B]."""
        value: Tensor = self.network({self.obs: obs})[self.value]
        return value.squeeze(-1)
