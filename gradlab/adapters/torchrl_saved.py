"""TorchRL's checkpoints: an Agent out of ``torch.save(loss.state_dict(), path)``, without the library.

Of DDPG and TD3 with plain networks (linear layers and one activation between them) and a ``TanhModule`` at the actor's
end, which keeps its box among the weights. A file does not say the activation, nor in which order the critic takes
observation and action; γ is in it once the loss's value estimator has been made. How a stochastic policy makes σ is in
no file, so that SAC, PPO and A2C are viewed from a loss that has loaded it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gradlab.adapters.facts import Facts
from gradlab.adapters.networks import QNetwork
from gradlab.adapters.rebuild import SavedNetworks
from gradlab.adapters.torchrl import LIBRARY
from gradlab.adapters.torchrl_heads import ActionHead
from gradlab.adapters.torchrl_networks import Call, Chain, Squash
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Deterministic

__all__ = ["LIBRARY", "holds", "read"]

_ACTOR = "actor_network_params."
_VIEW = "build the loss, give it the file with load_state_dict and use gradlab.view(loss)"


class ActionFirst(QNetwork):
    """Q(s, a) of the concatenated action and observation: [B, n], [B, p] → [B].

    Example:
        >>> import torch
        >>> ActionFirst(nn.Linear(5, 1))(torch.zeros(4, 3), torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The value [B]."""
        return super().forward(act, obs)


def holds(content: Any) -> bool:
    """Whether it is the state of a loss module, or of a trainer.

    Example:
        >>> holds({"actor_network_params.module.0.weight": None}), holds({"weight": None})
        (True, False)
    """
    return any(isinstance(key, str) and key.startswith(_ACTOR) for key in _state(content))


def read(content: Any, facts: Facts, where: str) -> tuple[Agent, int | None]:
    """The agent, in evaluation mode, and the number of frames where a trainer wrote the file.

    Raises:
        GradlabError: it is of another loss or of other networks, or ``facts`` do not say what the file leaves unsaid.
    """
    state = {key: tensor for key, tensor in _state(content).items() if isinstance(tensor, Tensor)}
    name = _critic_name(state, where)
    squash = _squash(state, where)
    low, high = state.get("min_action", squash.low), state.get("max_action", squash.high)
    gamma = state.get("_value_estimator.gamma")
    facts.require(where, *(["discount"] if gamma is None else []), "activation", "action_first")
    activation = facts.activation_class(where)
    discount: Any = facts.discount if gamma is None else float(gamma)
    try:
        actor, n = _layers(_below(state, _ACTOR), activation)
        p = len(list(actor.parameters())[-1])
        network = ActionFirst if facts.action_first else QNetwork
        stacked = name.startswith("qvalue")
        critics, targets = (
            [network(_layers(part, activation, n + p)[0]) for part in _parts(_below(state, prefix), stacked)]
            for prefix in (name, f"target_{name}")
        )
        agent = Agent(
            Chain([Call(actor, ["observation"], ["param"]), squash]),
            critics,
            low.expand(p),
            high.expand(p),
            discount=discount,
            policy=Deterministic(),
            head=ActionHead("observation", "action"),
            target_critics=targets,
            obs_size=n,
            algorithm="TD3" if stacked else "DDPG",
            library=LIBRARY,
        )
    except (GradlabError, RuntimeError) as error:
        raise GradlabError(f"{where}: {' '.join(str(error).split())}; or {_VIEW}") from error
    for part in agent.parts:
        part.eval()
    return agent, _frames(content)


def _state(content: Any) -> Mapping[Any, Any]:
    """The loss module's state, a trainer's own under ``loss_module``."""
    content = content.get("loss_module", content) if isinstance(content, Mapping) else {}
    return content if isinstance(content, Mapping) else {}


def _frames(content: Mapping[Any, Any]) -> int | None:
    state = content.get("state")
    frames = state.get("collected_frames") if isinstance(state, Mapping) else None
    return frames if isinstance(frames, int) else None


def _critic_name(state: Mapping[str, Tensor], where: str) -> str:
    """How the names of the critics' tensors begin."""
    if "log_alpha" in state or _below(state, "critic_network_params."):
        kind = "SAC" if "log_alpha" in state else "PPO or A2C"
        raise GradlabError(
            f"{where}: of a {LIBRARY} loss of {kind}, whose file says neither the policy's distribution nor how σ is "
            f"made; {_VIEW}"
        )
    if "min_action" in state and _below(state, "qvalue_network_params."):
        return "qvalue_network_params."
    if _below(state, "value_network_params."):
        return "value_network_params."
    raise GradlabError(f"{where}: of a {LIBRARY} loss that is neither DDPG's nor TD3's; {_VIEW}")


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def _parts(tensors: dict[str, Tensor], stacked: bool) -> list[dict[str, Tensor]]:
    """The tensors of every critic."""
    if not stacked:
        return [tensors] if tensors else []
    count = min((tensor.shape[0] if tensor.ndim else 0 for tensor in tensors.values()), default=0)
    if tensors and not count:
        raise GradlabError("its critics are not stacked")
    return [{key: tensor[index] for key, tensor in tensors.items()} for index in range(count)]


def _squash(state: Mapping[str, Tensor], where: str) -> Squash:
    corners = [re.fullmatch(rf"{_ACTOR}(module\.\w+\.\w+)_low", key) for key in state]
    names = [match[1] for match in corners if match and f"{_ACTOR}{match[1]}_high" in state]
    if len(names) != 1:
        raise GradlabError(
            f"{where}: its actor has no TanhModule among its modules, and the file does not say how its outputs become "
            f"actions; {_VIEW}"
        )
    low, high = (state[f"{_ACTOR}{names[0]}_{end}"] for end in ("low", "high"))
    return Squash("param", "action", low, high)


def _layers(
    tensors: dict[str, Tensor], activation: type[nn.Module], size: int | None = None
) -> tuple[nn.Sequential, int]:
    """The layers of one network, and the number of their inputs; of a critic, to one value.

    Raises:
        GradlabError: there are other layers than linear ones.
    """
    of_box = re.compile(r"module\.\w+\.\w+_(low|high)")
    weights = {key: tensor for key, tensor in tensors.items() if not of_box.fullmatch(key)}
    prefixes = {re.sub(r"\d+\.(weight|bias)$", "", key) for key in weights}
    first = weights.get(f"{min(prefixes, default='')}0.weight")
    if len(prefixes) != 1 or first is None or first.ndim != 2:
        raise GradlabError("its networks are not of linear layers and activations alone")
    networks = SavedNetworks(weights, activation, "it")
    layers = networks.layers(min(prefixes), first.shape[1] if size is None else size, out=None if size is None else 1)
    if unread := networks.unread():
        raise GradlabError(f"its networks have other layers than linear ones ({unread[0]})")
    return layers, first.shape[1]
