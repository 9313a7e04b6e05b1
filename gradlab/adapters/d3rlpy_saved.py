"""d3rlpy's files as an Agent, without the library.

``algorithm.save("model.d3")`` writes a pickle of weights and of the algorithm's settings, which is all that is needed;
it names no class, so that reading it runs nothing. ``algorithm.save_model("model.pt")`` writes the weights alone: the
action box, γ and the activation are asked for, and observations are taken as the networks got them, after a scaler.
They do not tell DDPG, TD3 and TD3+BC, which follow the first critic, from ReBRAC, which follows the smallest and is not
supported.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlab.adapters.d3rlpy import KINDS, LIBRARY, standard, to_unit
from gradlab.adapters.d3rlpy_networks import Critic, DeterministicActor, GaussianActor, Layers, Value
from gradlab.adapters.damage import DAMAGE
from gradlab.adapters.facts import Facts
from gradlab.adapters.pickles import Pickled
from gradlab.adapters.rebuild import SavedNetworks
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import ClampedGaussian, Deterministic, SquashedGaussian

__all__ = ["LIBRARY", "holds", "read"]

_TYPES = {"ddpg": "DDPG", "td3": "TD3", "td3_plus_bc": "TD3PlusBC", "sac": "SAC", "cql": "CQL", "iql": "IQL"}
_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "swish": nn.SiLU, "none": nn.Identity}
_WEIGHTS = {"policy", "q_funcs", "targ_q_funcs", "actor_optim", "critic_optim"}
#: What ``save_model`` writes beside ``_WEIGHTS``, and what tells the policy; SAC's α may have no optimizer.
_PARTS = {
    "TD3": ({"targ_policy"}, "_fc.weight"),
    "SAC": ({"log_temp", "temp_optim"}, "_logstd.weight"),
    "SAC with a fixed α": ({"log_temp"}, "_logstd.weight"),
    "CQL": ({"log_temp", "temp_optim", "log_alpha", "alpha_optim"}, "_logstd.weight"),
    "IQL": ({"value_func"}, "_logstd"),
}
#: What the library clamps log σ to (``sac.py``, ``cql.py`` and ``iql.py``).
_BOUNDS = {"SAC": (-20.0, 2.0), "CQL": (-20.0, 2.0), "IQL": (-5.0, 2.0)}
_VIEW = "load it with d3rlpy.load_learnable and pass that to gradlab.view"


def holds(content: Any) -> bool:
    """Whether a file holds one of d3rlpy's algorithms, with its settings or without.

    Example:
        >>> holds(dict.fromkeys(_WEIGHTS)), holds({"policy": {}})
        (True, False)
    """
    if isinstance(content, Pickled):
        return isinstance(content.content, dict) and {"torch", "config", "version"} <= content.content.keys()
    return isinstance(content, dict) and content.keys() >= _WEIGHTS


def read(content: Any, facts: Facts, where: str) -> tuple[Agent, int | None]:
    """The agent on the CPU, its networks in evaluation mode, and None: the step is in the file's name only.

    Raises:
        GradlabError: the algorithm or a network is not supported, something does not fit, or ``facts`` lack what the
            file does not say.
    """
    if isinstance(content, Pickled):
        agent = _with_settings(content.content, where)
    else:
        facts.require(where, "action_low", "action_high", "discount", "activation")
        agent = _Reader(content, _named(content, where), where).agent(_Asked(facts, where))
    for part in agent.parts:
        part.eval()
    return agent, None


def _with_settings(saved: Mapping[str, Any], where: str) -> Agent:
    try:
        config = json.loads(saved["config"])
        kind = config["config"]["type"]
        if kind not in _TYPES:
            raise GradlabError(
                f"{where}: of d3rlpy's {kind!r}, which is not supported; supported are {', '.join(KINDS)}"
            )
        settings = _Settings(config, where)
        weights = torch.load(io.BytesIO(saved["torch"]), map_location="cpu", weights_only=True)
        if not holds(weights):
            raise GradlabError(f"{where}: its weights lack one of {', '.join(sorted(_WEIGHTS))}; {_VIEW}")
        return _Reader(weights, _TYPES[kind], where).agent(settings)
    except GradlabError:
        raise
    except DAMAGE as error:
        raise GradlabError(f"{where}: damaged, or not written by d3rlpy's save(); copy the file again") from error


def _named(content: Mapping[str, Any], where: str) -> str:
    """The algorithm that has such parts."""
    policy = content["policy"] if isinstance(content["policy"], Mapping) else {}
    # AWAC has the parts of SAC, but for a log σ that does not depend on the state; so has IQL's policy.
    kinds = {"_fc.weight"} if "_mu.weight" not in policy else {"_logstd", "_logstd.weight"}
    for name, (parts, wanted) in _PARTS.items():
        if content.keys() == _WEIGHTS | parts and wanted in kinds & policy.keys():
            return name.partition(" ")[0]
    raise GradlabError(
        f"{where}: of a d3rlpy algorithm that is not supported; supported are {', '.join(KINDS)}; make the algorithm, "
        "call its load_model(path), and pass it to gradlab.view"
    )


class _Asked:
    """What the weights alone do not say, as the caller says it."""

    name = "DDPG, TD3 or TD3PlusBC"
    scaler = None

    def __init__(self, facts: Facts, where: str) -> None:
        self._activation = facts.activation_class(where)
        self.discount = float(facts.discount or 0.0)
        self._facts, self._where = facts, where

    def activations(self, _: str) -> tuple[type[nn.Module], type[nn.Module] | None]:
        return self._activation, self._activation

    def box(self, size: int) -> dict[str, Any]:
        corners = {}
        for name, given in (("env_low", self._facts.action_low), ("env_high", self._facts.action_high)):
            try:
                corners[name] = np.broadcast_to(np.asarray(given, dtype=np.float64), (size,)).copy()
            except (TypeError, ValueError):
                what = name.replace("env", "action")
                raise GradlabError(f"{self._where}: {what} is {given!r}; give a number or {size} of them") from None
        return corners


class _Settings:
    """What ``save`` writes beside the weights."""

    name = ""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self._params = config["config"]["params"]
        self._where = where
        self.discount = float(self._params["gamma"])
        # IQL's has none.
        kind = self._params.get("q_func_factory", {"type": "mean"})["type"]
        if kind != "mean":
            self._refuse("q_func_factory", kind)
        self.scaler = self._observation_scaler()

    def activations(self, network: str) -> tuple[type[nn.Module], type[nn.Module] | None]:
        """What follows each layer of an encoder, and what its last."""
        factory = self._params[f"{network}_encoder_factory"]
        params = factory["params"]
        last = params.get("last_activation") or params.get("activation")
        if factory["type"] not in ("default", "vector") or not {params["activation"], last} <= _ACTIVATIONS.keys():
            self._refuse(f"{network}_encoder_factory", f"{factory['type']} with {params.get('activation')}")
        return _ACTIVATIONS[params["activation"]], (
            None if params.get("exclude_last_activation") else _ACTIVATIONS[last]
        )

    def box(self, _: int) -> dict[str, Any]:
        scaler = self._params["action_scaler"]
        if scaler["type"] not in ("none", "min_max"):
            self._refuse("action_scaler", scaler["type"])
        params = scaler["params"]
        return {} if scaler["type"] == "none" else {"env_low": params["minimum"], "env_high": params["maximum"]}

    def _observation_scaler(self) -> nn.Module | None:
        scaler = self._params["observation_scaler"]
        params = scaler["params"]
        if scaler["type"] == "standard":
            return standard(params["mean"], params["std"], params["eps"])
        if scaler["type"] == "min_max":
            return to_unit(params["minimum"], params["maximum"])
        if scaler["type"] != "none":
            self._refuse("observation_scaler", scaler["type"])
        return None

    def _refuse(self, what: str, found: str) -> None:
        raise GradlabError(f"{self._where}: its {what} is {found}, which is not supported; {_VIEW}")


class _Reader:
    """Networks out of the weights."""

    def __init__(self, content: Mapping[str, Any], algorithm: str, where: str) -> None:
        self._content, self._algorithm, self._where = content, algorithm, where

    def agent(self, said: _Asked | _Settings) -> Agent:
        kind = KINDS[self._algorithm]
        weights = self._weights("policy")
        first = weights.get("_encoder._layers.0.weight")
        if first is None or first.ndim != 2:
            raise GradlabError(f"{self._where}: its policy has no encoder of linear layers, which alone is supported")
        size = int(first.shape[1])
        name, stochastic = self._algorithm, self._algorithm in _BOUNDS
        p = weights[f"{'_mu' if stochastic else '_fc'}.bias"].numel() if stochastic or "_fc.bias" in weights else 0
        unit = {"action_low": -np.ones(p, np.float32), "action_high": np.ones(p, np.float32)}
        scaler = said.scaler
        shared: dict[str, Any] = (
            unit
            | said.box(p)
            | {
                "target_critics": self._critics("targ_q_funcs", size, p, said),
                "reduction": kind.reduction,
                "discount": said.discount,
                "obs_size": size,
                "algorithm": name if stochastic else said.name or name,
                "library": LIBRARY,
            }
        )
        critics = self._critics("q_funcs", size, p, said)
        networks, encoder, width = self._encoder("policy", "", size, "actor", said)
        if not stochastic:
            actor: nn.Module = DeterministicActor(encoder, networks.linear("_fc.", width, p), scaler)
            self._all_read("policy", networks)
            return Agent(actor, critics, policy=Deterministic(), **shared)
        free = "_logstd" in weights
        actor = GaussianActor(
            encoder,
            networks.linear("_mu.", width, p),
            self._free_logstd(weights["_logstd"], p) if free else networks.linear("_logstd.", width, p),
            _BOUNDS[self._algorithm],
            squashed_mean=self._algorithm == "IQL",
            scaler=scaler,
        )
        self._all_read("policy", networks, "_logstd")
        if self._algorithm == "IQL":
            networks, encoder, width = self._encoder("value_func", "", size, "value", said)
            shared["value"] = Value(encoder, networks.linear("_fc.", width, 1), scaler)
            self._all_read("value_func", networks)
            return Agent(actor, critics, policy=ClampedGaussian(-1.0, 1.0), **shared)
        temperature = self._weights("log_temp").get("_parameter", torch.zeros(0))
        if temperature.numel() != 1:
            raise GradlabError(f"{self._where}: its log_temp holds {temperature.numel()} numbers instead of one")
        return Agent(actor, critics, policy=SquashedGaussian(), entropy=float(temperature.exp()), **shared)

    def _free_logstd(self, found: Tensor, p: int) -> nn.Parameter:
        if tuple(found.shape) != (1, p):
            raise GradlabError(f"{self._where}: policy's _logstd has shape {tuple(found.shape)} instead of (1, {p})")
        return nn.Parameter(found)

    def _critics(self, name: str, size: int, p: int, said: _Asked | _Settings) -> list[nn.Module]:
        count = len({key.partition(".")[0] for key in self._weights(name)})
        found: list[nn.Module] = []
        unread: set[str] | None = None
        for index in range(count):
            networks, encoder, width = self._encoder(name, f"{index}.", size + p, "critic", said)
            found.append(Critic(encoder, networks.linear(f"{index}._fc.", width, 1), said.scaler))
            unread = {*networks.unread()} if unread is None else unread & {*networks.unread()}
        if unread:
            self._refuse_unread(name, sorted(unread))
        return found

    def _encoder(
        self, name: str, prefix: str, size: int, network: str, said: _Asked | _Settings
    ) -> tuple[SavedNetworks, Layers, int]:
        """The weights of a network, its encoder, and how many numbers that gives."""
        activation, last = said.activations(network)
        networks = SavedNetworks(self._weights(name), activation, f"{self._where}: {name}")
        layers = networks.layers(f"{prefix}_encoder._layers.", size, last=last)
        width = next(layer.out_features for layer in reversed(layers) if isinstance(layer, nn.Linear))
        return networks, Layers(layers), width

    def _weights(self, name: str) -> dict[str, Tensor]:
        found = self._content.get(name)
        if not isinstance(found, Mapping) or not all(isinstance(part, Tensor) for part in found.values()):
            raise GradlabError(f"{self._where}: has no weights of {name}; was it saved by d3rlpy?")
        return {str(key): part.detach() for key, part in found.items()}

    def _all_read(self, name: str, networks: SavedNetworks, *known: str) -> None:
        if unread := [key for key in networks.unread() if key not in known]:
            self._refuse_unread(name, unread)

    def _refuse_unread(self, name: str, unread: list[str]) -> None:
        raise GradlabError(
            f"{self._where}: its {name} has weights of layers that are not supported: {', '.join(unread[:3])}; {_VIEW}"
        )
