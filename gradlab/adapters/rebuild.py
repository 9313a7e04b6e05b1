"""Plain networks rebuilt from saved weights alone."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gradlab.adapters.batch_renorm import BatchRenorm
from gradlab.errors import GradlabError


class SavedNetworks:
    """Plain networks out of a state dict, by the names and shapes of its tensors.

    Args:
        weights: the state dict.
        activation: what follows every linear layer but the last.
        name: what the state dict is called in messages.
        renorm_eps: ε of batch renormalisation, where there is some.
        renorm_warmup: its warm-up steps.

    Example:
        >>> weights = {"q.0.weight": torch.ones(4, 3), "q.0.bias": torch.ones(4), "q.2.weight": torch.ones(1, 4)}
        >>> networks = SavedNetworks(weights, nn.ReLU, "policy.pth")
        >>> networks.layers("q.", 3, out=1)
        Sequential(
          (0): Linear(in_features=3, out_features=4, bias=True)
          (1): ReLU()
          (2): Linear(in_features=4, out_features=1, bias=False)
        )
        >>> networks.unread()
        []
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        activation: type[nn.Module],
        name: str,
        *,
        renorm_eps: float = 0.001,
        renorm_warmup: int = 100_000,
    ) -> None:
        self._name = name
        self._weights = weights
        self._activation = activation
        self._renorm_eps, self._renorm_warmup = renorm_eps, renorm_warmup
        self._read: set[str] = set()

    def indices(self, name: str) -> list[int]:
        """Which critics there are: i of every ``name.qf{i}``."""
        found = {re.match(rf"{name}\.qf(\d{{1,4}})\.", key) for key in self._weights}
        return sorted({int(match[1]) for match in found if match})

    def outputs(self, prefix: str) -> int:
        """Number of outputs of the last linear layer ``prefix{i}``, 0 where there is none."""
        pattern = re.compile(rf"{re.escape(prefix)}(\d{{1,4}})\.weight")
        found = [(int(match[1]), key) for key in self._weights if (match := pattern.fullmatch(key))]
        weight = self._weights[max(found)[1]] if found else torch.zeros(0)
        return weight.shape[0] if weight.ndim else 0

    def unread(self) -> list[str]:
        """Names of the tensors that no network has used so far."""
        return sorted(set(self._weights) - self._read)

    def layers(
        self,
        prefix: str,
        size: int,
        *,
        last: type[nn.Module] | None = None,
        out: int | None = None,
        empty: bool = False,
    ) -> nn.Sequential:
        """Linear layers ``prefix{0, 2, 4, …}`` with the activation between them.

        Where ``prefix0`` is a batch renormalisation (CrossQ), one comes before every linear layer, ``prefix{1, 4, 7,
        …}``, and after the last activation where there is one.

        Args:
            prefix: beginning of their tensors' names.
            size: number of inputs.
            last: what follows the last of them.
            out: number of outputs, where it is known.
            empty: whether there may be none.

        Raises:
            GradlabError: there are none, other layers lie between, or shapes do not fit.
        """
        pattern = re.compile(rf"{re.escape(prefix)}(\d{{1,4}})\.weight")
        found = sorted(int(match[1]) for match in map(pattern.fullmatch, self._weights) if match)
        if not found and not empty:
            raise GradlabError(f"{self._name} has no {prefix}0.weight; was it saved by model.save()?")
        renormalised = f"{prefix}0.ra_mean" in self._weights
        if found != [3 * i + 1 if renormalised else 2 * i for i in range(len(found))]:
            raise GradlabError(f"{self._name} has other layers than linear ones and activations in {prefix[:-1]}")
        modules: list[nn.Module] = []
        for index in found:
            is_last = index == found[-1]
            if renormalised:
                modules.append(self.renorm(f"{prefix}{index - 1}.", size))
            modules.append(self.linear(f"{prefix}{index}.", size, out if is_last else None))
            size = self._weights[f"{prefix}{index}.weight"].shape[0]
            after = last if is_last else self._activation
            modules += [] if after is None else [after()]
        if renormalised and last is not None:
            modules.append(self.renorm(f"{prefix}{3 * len(found)}.", size))
        return nn.Sequential(*modules)

    def parameter(self, name: str, size: int) -> nn.Parameter:
        """A free parameter of ``size`` numbers.

        Raises:
            GradlabError: it is not there, or its shape does not fit.
        """
        return nn.Parameter(self._vector(name, (size,)))

    def renorm(self, prefix: str, size: int) -> BatchRenorm:
        """One batch renormalisation of ``size`` numbers.

        Raises:
            GradlabError: a part of it is not there, or its shape does not fit.
        """
        scale, bias, mean, variance = (
            self._vector(f"{prefix}{name}", (size,)) for name in ("scale", "bias", "ra_mean", "ra_var")
        )
        steps = self._vector(f"{prefix}steps", (), torch.int64)
        return BatchRenorm(
            nn.Parameter(scale),
            nn.Parameter(bias),
            mean,
            variance,
            steps,
            eps=self._renorm_eps,
            warmup_steps=self._renorm_warmup,
        )

    def _vector(self, name: str, shape: tuple[int, ...], *dtypes: torch.dtype) -> Tensor:
        tensor = self._weights.get(name)
        dtypes = dtypes or (torch.float32, torch.float64)
        if tensor is None:
            raise GradlabError(f"{self._name} has no {name}; was it saved by model.save()?")
        if tuple(tensor.shape) != shape or tensor.dtype not in dtypes:
            raise GradlabError(
                f"{self._name}: {name} has shape {tuple(tensor.shape)} of {tensor.dtype}; its neighbours and spaces "
                f"need {shape} of {dtypes[0]}"
            )
        self._read.add(name)
        return tensor

    def linear(self, prefix: str, size: int, out: int | None = None) -> nn.Linear:
        """One linear layer from ``size`` inputs, to ``out`` outputs where that is known.

        Raises:
            GradlabError: it is not there, or its shape does not fit.
        """
        weight, bias = (self._weights.get(f"{prefix}{name}") for name in ("weight", "bias"))
        if weight is None:
            raise GradlabError(f"{self._name} has no {prefix}weight; was it saved by model.save()?")
        wanted = (out if out is not None or weight.ndim == 0 else weight.shape[0], size)
        if weight.ndim != 2 or tuple(weight.shape) != wanted or (bias is not None and bias.shape != wanted[:1]):
            raise GradlabError(
                f"{self._name}: {prefix}weight has shape {tuple(weight.shape)}; its neighbours and spaces need {wanted}"
            )
        tensors = [tensor for tensor in (weight, bias) if tensor is not None]
        if not all(tensor.dtype in (torch.float32, torch.float64) for tensor in tensors):
            raise GradlabError(f"{self._name}: {prefix}weight is of {weight.dtype}; expected float32 or float64")
        # On "meta" no weights are drawn, so the global random state is left alone.
        layer = nn.Linear(size, weight.shape[0], bias=bias is not None, device="meta")
        layer.weight = nn.Parameter(weight)
        if bias is not None:
            layer.bias = nn.Parameter(bias)
        self._read |= {f"{prefix}weight", f"{prefix}bias"}
        return layer
