"""RLlib's ``module_state.pkl`` as an Agent, without the library.

A checkpoint of RLlib's is a folder; the networks are in ``learner_group/learner/rl_module/default_policy``. There,
``module_state.pkl`` holds arrays, and ``class_and_ctor_args.pkl`` beside it what the networks were made for: spaces and
the options of the model. Of the latter no class is looked up, and nothing of it runs. γ and α are in other files, whose
pickles only the library's code could read: they are asked for. ``normalize_actions`` is taken to be what it is by
default: on. Options that were left out are taken to be RLlib 2.60's (``DefaultModelConfig``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlab.adapters.facts import Facts
from gradlab.adapters.pickles import Pickled, StandIn
from gradlab.adapters.rebuild import SavedNetworks
from gradlab.adapters.rllib import LIBRARY
from gradlab.adapters.rllib_networks import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    MLP,
    Actor,
    Critic,
    FreeLogStd,
    StateActionEncoder,
    Value,
)
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian, Softmax, SquashedGaussian

__all__ = ["LIBRARY", "file_in", "holds", "read"]

_DEFAULTS = {"fcnet_activation": "tanh", "head_fcnet_activation": "relu", "fusionnet_activation": "tanh"}
_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "swish": nn.SiLU, "silu": nn.SiLU}
_VIEW = "restore the algorithm with from_checkpoint and pass it to gradlab.view"
_PLACES = ("learner_group/learner/rl_module", "learner/rl_module", "rl_module", ".")


def file_in(folder: Path) -> Path | None:
    """The file of a checkpoint's folder that holds the networks; None where the folder is of no such checkpoint."""
    for place in _PLACES:
        found = sorted(folder.glob(f"{place}/*/module_state.pkl"))
        if found:
            return found[0]
    found = sorted(folder.glob("module_state.pkl"))
    return found[0] if found else None


def holds(content: Any) -> bool:
    """Whether a file holds the networks of RLlib's SAC or PPO, or those of another of its modules.

    Example:
        >>> holds(Pickled({"pi.net.mlp.0.weight": np.zeros((2, 3))})), holds({})
        (True, False)
    """
    return (
        isinstance(content, Pickled)
        and isinstance(content.content, dict)
        and any(isinstance(key, str) and ".net.mlp." in key for key in content.content)
    )


def read(content: Any, facts: Facts, where: str) -> tuple[Agent, int | None]:
    """The agent on the CPU, its networks in evaluation mode, and None: neither the file nor its name says a step.

    Raises:
        GradlabError: the networks are not supported, something does not fit, the file beside it is not there, or
            ``facts`` lack γ, or α of SAC.
    """
    if content.beside is None:
        raise GradlabError(
            f"{where}: says neither spaces nor activations; keep RLlib's class_and_ctor_args.pkl in the same folder"
        )
    reader = _Reader(content, where)
    facts.require(where, "discount", *(["entropy"] if reader.algorithm == "SAC" else []))
    agent = reader.agent(facts)
    for part in agent.parts:
        part.eval()
    return agent, None


class _Reader:
    """Networks out of the arrays, and what they were made for."""

    def __init__(self, content: Pickled, where: str) -> None:
        self._where = where
        self._weights = self._tensors(content.content)
        self._options, self._obs, self._act = self._made_for(content.beside)
        names = {key.partition(".")[0] for key in self._weights}
        if not ({"pi_encoder", "pi", "qf_encoder", "qf"} <= names or {"encoder", "pi", "vf"} <= names):
            raise GradlabError(
                f"{where}: of an RLModule of RLlib's that is not supported, or without its critic; those of SAC and "
                f"PPO are; {_VIEW}"
            )
        self.algorithm = "SAC" if "qf" in names else "PPO"
        self._fc, self._head_activation, self._fusion = (self._activation(name) for name in _DEFAULTS)
        self._plain, self._heads = (
            SavedNetworks(self._weights, kind, where) for kind in (self._fc, self._head_activation)
        )

    def agent(self, facts: Facts) -> Agent:
        """The networks as an Agent."""
        shared: dict[str, Any] = {
            "discount": facts.discount,
            "obs_size": self._obs,
            "algorithm": self.algorithm,
            "library": LIBRARY,
        }
        discrete = isinstance(self._act, int)
        if discrete and self.algorithm == "SAC":
            raise GradlabError(f"{self._where}: has discrete actions, which are not supported of SAC; {_VIEW}")
        if isinstance(self._act, int):
            count = self._act
            shared |= {"action_low": np.zeros(count), "action_high": np.ones(count)}
        else:
            low, high = self._act
            shared |= {"action_low": -np.ones_like(low), "action_high": np.ones_like(high)}
            shared |= {"env_low": low, "env_high": high}
        agent = self._sac(facts, shared) if self.algorithm == "SAC" else self._ppo(shared, discrete=discrete)
        known = ("log_std_clip_param_const", "pi.log_std")
        unread = {*self._plain.unread()} & {*self._heads.unread()}
        if left := sorted(name for name in unread if not name.endswith(known)):
            raise GradlabError(f"{self._where}: has weights of layers that are not supported: {', '.join(left[:3])}")
        return agent

    def _sac(self, facts: Facts, shared: dict[str, Any]) -> Agent:
        p = len(shared["action_low"])
        first, width = self._encoder("pi_encoder", self._obs)
        twins = [name for name in ("qf", "qf_twin") if any(key.startswith(f"{name}.") for key in self._weights)]
        critics, targets = ([self._critic(f"{prefix}{name}", p) for name in twins] for prefix in ("", "target_"))
        return Agent(
            Actor(first, self._head("pi", width, 2 * p), "pi_encoder", (LOG_STD_MIN, LOG_STD_MAX)),
            critics,
            policy=SquashedGaussian(),
            target_critics=targets,
            reduction="min",
            entropy=facts.entropy or 0.0,
            **shared,
        )

    def _ppo(self, shared: dict[str, Any], *, discrete: bool) -> Agent:
        size = len(shared["action_low"])
        together = any(key.startswith("encoder.encoder.") for key in self._weights)
        name, behind = ("encoder", "encoder") if together else ("actor_encoder", "critic_encoder")
        first, width = self._encoder(f"encoder.{name}", self._obs)
        second, behind_width = (first, width) if together else self._encoder(f"encoder.{behind}", self._obs)
        free = self._weights.get("pi.log_std")
        if free is not None:
            pi: MLP = FreeLogStd(self._head("pi", width, size).net["mlp"], self._heads.parameter("pi.log_std", size))
        else:
            pi = self._head("pi", width, size if discrete else 2 * size)
        clip = self._weights.get("pi.log_std_clip_param_const")
        bound = None if discrete or clip is None or clip.numel() != 1 else float(clip)
        return Agent(
            Actor(first, pi, f"encoder.{name}", None if bound is None else (-bound, bound)),
            [],
            policy=Softmax() if discrete else Gaussian(),
            value=Value(second, self._head("vf", behind_width, 1)),
            **shared,
        )

    def _critic(self, name: str, p: int) -> Critic:
        streams = f"{name}_encoder.base_encoders"
        actions, act_width = self._encoder(f"{streams}.actions", p)
        obs, obs_width = self._encoder(f"{streams}.obs", self._obs)
        codes = act_width + obs_width
        fusion: list[nn.Module] = []
        size = codes
        while f"{name}_encoder.fusion_layers.{len(fusion)}.weight" in self._weights:
            layer = self._plain.linear(f"{name}_encoder.fusion_layers.{len(fusion)}.", size)
            fusion.append(layer)
            size = layer.out_features + codes
        output = self._plain.linear(f"{name}_encoder.output_layer.", size)
        encoder = StateActionEncoder(actions, obs, fusion, output, self._fusion(), self._fusion())
        return Critic(encoder, self._head(name, output.out_features, 1))

    def _encoder(self, name: str, size: int) -> tuple[MLP, int]:
        """An encoder, whose last layer has its activation, too, and how many numbers it gives."""
        layers = self._plain.layers(f"{name}.net.mlp.", size, last=self._fc)
        return MLP(layers), next(layer.out_features for layer in reversed(layers) if isinstance(layer, nn.Linear))

    def _head(self, name: str, size: int, out: int) -> MLP:
        return MLP(self._heads.layers(f"{name}.net.mlp.", size, out=out))

    def _tensors(self, content: Mapping[str, Any]) -> dict[str, Tensor]:
        if not all(isinstance(part, np.ndarray) for part in content.values()):
            raise GradlabError(f"{self._where}: holds something else than named arrays; was it saved by RLlib?")
        return {str(name): torch.from_numpy(part.copy()) for name, part in content.items()}

    def _made_for(self, beside: Any) -> tuple[Mapping[str, Any], int, Any]:
        """The model's options, the length of an observation, and the box of actions or how many there are."""
        try:
            given = beside["ctor_args_and_kwargs"][1]
            options = given["model_config"]
            options = options.state if isinstance(options, StandIn) else options
            (size,) = given["observation_space"].state["_shape"]
            space = given["action_space"]
            if space.name.endswith(".Discrete"):
                return options or {}, int(size), int(space.state["n"])
            low, high = (np.asarray(space.state[corner], dtype=np.float32) for corner in ("low", "high"))
            if not space.name.endswith(".Box") or low.ndim != 1 or low.shape != high.shape:
                raise ValueError(space.name)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise GradlabError(
                f"{self._where}: class_and_ctor_args.pkl beside it has no flat Box of observations and actions; {_VIEW}"
            ) from None
        return options or {}, int(size), (low, high)

    def _activation(self, name: str) -> type[nn.Module]:
        said = self._options.get(name, _DEFAULTS[name])
        found = _ACTIVATIONS.get(str(said).lower())
        if found is None:
            raise GradlabError(f"{self._where}: {name} is {said!r}, which is not supported; {_VIEW}")
        return found
