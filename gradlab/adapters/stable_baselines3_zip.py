"""Stable-Baselines3 checkpoints: an Agent out of a zip, with neither the library nor the environment.

A zip holds ``data``, which is JSON with a pickle beside the text of each object, and PyTorch files. The text is
used and the pickles are not loaded; PyTorch files load with ``weights_only=True``; networks are rebuilt from the
names and shapes of their weights (format: ``stable_baselines3/common/save_util.py``).
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlab.adapters import stable_baselines3_box, stable_baselines3_trusted
from gradlab.adapters.networks import DeterministicActor, QNetwork, SquashedGaussianActor
from gradlab.adapters.rebuild import SavedNetworks
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Deterministic, SquashedGaussian

LIBRARY = "stable-baselines3"

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
_POLICIES = {"TD3": "stable_baselines3.td3.policies", "SAC": "stable_baselines3.sac.policies"}

#: Activations without parameters or arguments, by the name of their class in ``torch.nn``.
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (
        *(nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.Mish),
        *(nn.ReLU, nn.ReLU6, nn.SELU, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.Softsign, nn.Tanh, nn.Tanhshrink),
    )
}

#: What torch's restricted unpickler raises on damaged bytes: its stack machine meets whatever they spell.
_DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NameError, OSError),
    *(pickle.UnpicklingError, RuntimeError, struct.error, TypeError, ValueError),
)


class NeedsTrustError(GradlabError):
    """What is missing is only in the file's pickles, which run code when loaded."""


def read(archive: zipfile.ZipFile, path: Path, *, trust: bool = False) -> tuple[Agent, int]:
    """The agent, on the CPU, and the number of environment steps it was trained for.

    Args:
        archive: the open zip.
        path: where it is, for messages.
        trust: whether the library may load the file, running code in it, where it cannot be read otherwise.

    Raises:
        GradlabError: it is no such checkpoint, broken, or of something not supported.
    """
    try:
        try:
            data = _data(archive)
            algorithm = _algorithm(data)
            return _agent(archive, data, algorithm), int(_number(data, "num_timesteps"))
        except NeedsTrustError as error:
            if not trust:
                raise GradlabError(f"{error}; pass trust=True to let {LIBRARY} load it, running code in it") from error
            return stable_baselines3_trusted.load(path, algorithm)
    except GradlabError as error:
        # Names out of a damaged file may hold anything; the message stays one line.
        raise GradlabError(f"checkpoint {path}: {' '.join(str(error).split())}") from error


def _agent(archive: zipfile.ZipFile, data: Mapping[str, Any], algorithm: str) -> Agent:
    options = data.get("policy_kwargs")
    options = options if isinstance(options, dict) else {}
    _check_policy(data, options, algorithm)
    n = stable_baselines3_box.size(data.get("observation_space"), "observation_space")
    low, high = stable_baselines3_box.corners(data.get("action_space"), "action_space")
    activation = _activation(options)
    weights = _tensors(archive, "policy.pth")
    networks = SavedNetworks(weights, activation, "policy.pth")
    critics, targets = (
        [QNetwork(networks.layers(f"{name}.qf{index}.", n + len(low), out=1)) for index in networks.indices(name)]
        for name in ("critic", "critic_target")
    )
    if not critics:
        raise GradlabError("policy.pth has no critic (critic.qf0.0.weight and so on)")
    shared: dict[str, Any] = {
        "action_low": -np.ones_like(low),
        "action_high": np.ones_like(high),
        "env_low": low,
        "env_high": high,
        "discount": _number(data, "gamma"),
        "target_critics": targets,
        "obs_size": n,
        "algorithm": algorithm,
        "library": LIBRARY,
    }
    if algorithm == "SAC":
        latent_pi = networks.layers("actor.latent_pi.", n, last=activation, empty=True)
        width = next((layer.out_features for layer in reversed(latent_pi) if isinstance(layer, nn.Linear)), n)
        mu, log_std = (networks.linear(f"actor.{name}.", width, len(low)) for name in ("mu", "log_std"))
        actor: nn.Module = SquashedGaussianActor(latent_pi, mu, log_std)
        shared |= {"policy": SquashedGaussian(epsilon=1e-6), "reduction": "min", "entropy": _entropy(archive)}
    else:
        actor = DeterministicActor(networks.layers("actor.mu.", n, last=nn.Tanh, out=len(low)))
        shared |= {"policy": Deterministic(), "reduction": "first"}
    # The target of the actor is in no gradient.
    if unread := [name for name in networks.unread() if not name.startswith("actor_target.")]:
        raise GradlabError(f"policy.pth has weights of layers that are not supported: {', '.join(unread[:3])}")
    return Agent(actor, critics, **shared)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except KeyError as error:
        raise GradlabError(
            f"has no member {name!r}, so it is no {LIBRARY} checkpoint; pass a zip written by model.save()"
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise GradlabError(f"member {name!r} is damaged or unreadable; save or copy the file again") from error


def _data(archive: zipfile.ZipFile) -> dict[str, Any]:
    if any(name.endswith("/data.pkl") for name in archive.namelist()):
        raise GradlabError(
            "a PyTorch file (torch.save), of another library; load it yourself and describe it with gradlab.Agent(...)"
        )
    try:
        data = json.loads(_member(archive, "data"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise GradlabError("member 'data' is not JSON; save the file again") from error
    if not isinstance(data, dict):
        raise GradlabError("member 'data' is not a JSON object; save the file again")
    return data


def _tensors(archive: zipfile.ZipFile, name: str) -> dict[str, Tensor]:
    file = io.BytesIO(_member(archive, name))
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise GradlabError(f"member {name!r} is damaged, or holds more than tensors; save the file again") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise GradlabError(f"member {name!r} holds something else than named tensors; save the file again")
    return {str(key): value.detach() for key, value in tensors.items()}


def _number(data: Mapping[str, Any], name: str) -> float:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise GradlabError(f"member 'data' has no number {name!r}; save the file again")
    return value


def _algorithm(data: Mapping[str, Any]) -> str:
    name = next((name for key, name in _TELLTALE.items() if key in data), None)
    if name is None:
        raise GradlabError(f"names no algorithm of {LIBRARY}; pass a zip written by model.save()")
    if name == "TD3" and data.get("policy_delay") == 1 and data.get("target_noise_clip") == 0.0:
        return "DDPG"
    if name not in ("TD3", "SAC"):
        raise GradlabError(f"{LIBRARY} {name} is not supported; supported are TD3, DDPG, SAC")
    return name


def _check_policy(data: Mapping[str, Any], options: Mapping[str, Any], algorithm: str) -> None:
    policy = data.get("policy_class")
    module = policy.get("__module__") if isinstance(policy, dict) else None
    if module != _POLICIES["SAC" if algorithm == "SAC" else "TD3"]:
        raise NeedsTrustError(f"its policy_class is of {module}, not {LIBRARY}'s; only its code says what it computes")
    if data.get("use_sde") or options.get("use_sde"):
        raise GradlabError("explores with gSDE (use_sde=True), which is not supported")
    extractor = str(options.get("features_extractor_class", "FlattenExtractor'>"))
    if not extractor.endswith("FlattenExtractor'>"):
        raise GradlabError(f"its features_extractor_class is {extractor}; only flat observations are supported")


def _activation(options: Mapping[str, Any]) -> type[nn.Module]:
    if "activation_fn" not in options:
        return nn.ReLU
    text = str(options["activation_fn"])
    match = re.fullmatch(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", text)
    if match is None or match[1] not in _ACTIVATIONS:
        raise NeedsTrustError(f"its activation_fn is {text}, which cannot be rebuilt from its name")
    return _ACTIVATIONS[match[1]]


def _entropy(archive: zipfile.ZipFile) -> float:
    if "pytorch_variables.pth" in archive.namelist():
        variables = _tensors(archive, "pytorch_variables.pth")
        if "log_ent_coef" in variables:
            return float(variables["log_ent_coef"].exp())
        if "ent_coef_tensor" in variables:
            return float(variables["ent_coef_tensor"])
    raise GradlabError("has no entropy coefficient (log_ent_coef in pytorch_variables.pth); save the file again")
