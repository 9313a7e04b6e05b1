"""Fingerprints of everything that a training run's future depends on."""

from __future__ import annotations

import hashlib
import random
import signal
import types
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Attributes that hold wall-clock time, or screens and logs, by name: they differ between any two runs.
CLOCKS = frozenset(
    {"_logger", "start_time", "t_start", "start_time_ns", "_last_log", "t", "episode_times"}
    | {"episode_start_time", "time_queue"}  # of gymnasium's RecordEpisodeStatistics
)

_PLAIN = (bool, int, float, str, bytes, complex, types.NoneType, np.generic)
_MUJOCO = ("time", "qpos", "qvel", "act", "ctrl", "qacc_warmstart", "qfrc_applied", "xfrc_applied")
_OPAQUE = (type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType)


def digest(**parts: Any) -> dict[str, str]:
    """Fingerprints of the parts, of the global random states and of the process's settings, by path.

    Walks objects to their tensors, arrays, numbers and random generators: weights, buffers, ``.grad``, modes
    and hook counts of modules, optimizer states, replay buffers, simulator states, counters.

    Args:
        **parts: what to walk, by name; for Stable-Baselines3 the model and its environment.

    Returns:
        Path → hash, to be compared with ``differences``.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> before = digest(model=layer)
        >>> _ = layer(torch.zeros(1, 2)).sum().backward()
        >>> differences(before, digest(model=layer))
        ['model.bias.grad', 'model.weight.grad']
    """
    found = {name: _hash(value) for name, value in _process().items()}
    seen: set[int] = set()
    keep: list[Any] = []
    for name, part in parts.items():
        for path, value in _walk(part, name, seen, keep):
            found[path] = _hash(value)
    return found


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The paths whose fingerprints differ, or that only one side has, in order.

    Example:
        >>> differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
        ['b', 'c']
    """
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _process() -> dict[str, Any]:
    """What a process has one of: random states, and settings that change what is computed or how it ends."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "random.python": repr(random.getstate()),
        "random.numpy": repr(np.random.get_state()),  # noqa: NPY002 - the global state is what is watched
        "random.torch": _bytes(torch.get_rng_state()),
        **{f"random.cuda{number}": _bytes(state) for number, state in enumerate(cuda)},
        "process.directory": str(Path.cwd()),
        "process.signals": str([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]),
        "process.errors of numpy": str(np.geterr()),
        "process.dtype": str(torch.get_default_dtype()),
        "process.threads": str(torch.get_num_threads()),
        "process.gradients": str(torch.is_grad_enabled()),
        "process.deterministic": str(torch.are_deterministic_algorithms_enabled()),
        "process.anomalies": str(torch.is_anomaly_enabled()),
    }


def _walk(value: Any, path: str, seen: set[int], keep: list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, _PLAIN):
        yield path, repr(value)
        return
    if id(value) in seen or isinstance(value, _OPAQUE):
        return
    seen.add(id(value))
    # Temporary objects are held, so that an id is not used twice.
    keep.append(value)
    leaf = _leaf(value)
    if leaf is not None:
        yield path, leaf
    for suffix, item in _children(value):
        yield from _walk(item, path + suffix, seen, keep)


def _leaf(value: Any) -> bytes | str | None:
    """What an object with a content of its own holds; None when it is only made of others."""
    if isinstance(value, Tensor):
        return _bytes(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    if isinstance(value, torch.Generator):
        return _bytes(value.get_state())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    return None


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object is made of, with the path to each."""
    if isinstance(value, Tensor):
        if value.is_leaf and value.grad is not None:
            yield ".grad", value.grad
    elif isinstance(value, np.ndarray | torch.Generator | np.random.Generator):
        return
    elif hasattr(value, "qacc_warmstart"):
        # MuJoCo's data: the parts of its state that the next step depends on.
        yield from ((f".{name}", np.array(getattr(value, name))) for name in _MUJOCO)
    elif isinstance(value, Mapping):
        yield from ((f"[{key!r}]", item) for key, item in value.items() if key not in CLOCKS)
    elif isinstance(value, list | tuple | deque | set | frozenset):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, nn.Module):
        yield from _module(value)
    elif isinstance(value, torch.optim.Optimizer):
        yield ".state", value.state_dict()
        yield ".hooks", len(value._optimizer_step_pre_hooks) + len(value._optimizer_step_post_hooks)
    elif hasattr(value, "__dict__"):
        yield from ((f".{name}", item) for name, item in vars(value).items() if name not in CLOCKS)


def _module(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        yield f".{name}", tensor
        yield f".{name}.requires_grad", tensor.requires_grad
    for name, child in module.named_modules():
        hooks = len(child._forward_hooks) + len(child._forward_pre_hooks) + len(child._backward_hooks)
        yield f".{name}.training", child.training
        yield f".{name}.hooks", hooks
    yield from ((f".{n}", item) for n, item in vars(module).items() if isinstance(item, torch.optim.Optimizer))


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    return f"{plain.dtype}{tuple(plain.shape)}".encode() + plain.reshape(-1).view(torch.uint8).numpy().tobytes()


def _hash(value: Any) -> str:
    data = value if isinstance(value, bytes) else str(value).encode()
    return hashlib.sha256(data).hexdigest()
