"""Tianshou's ``torch.save(algorithm.state_dict(), path)`` as an Agent, without the library.

The file has weights, α where it is learned, and the optimizers' states. It says neither the action box, γ, the
activation of the preprocessing networks, c of an actor that ends in c·tanh, nor whether a Gaussian's mean does
(``output="Tanh"``) or is unbounded (``output="Identity"``): those are asked for. Whether actions are scaled follows
from c: a deterministic actor with c = 1 is one whose actions the policy scales to the environment's box, any other c
one that acts in the environment's units (the library warns of anything else); SAC acts in [−1, 1], and PPO and its kin
are taken to scale, as the library does by default. The layers behind the preprocessing network have the library's own
ReLU, which cannot be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from gradlab.adapters.facts import Facts
from gradlab.adapters.rebuild import SavedNetworks
from gradlab.adapters.tianshou import LIBRARY, OFF_POLICY, SAC_EPSILON
from gradlab.adapters.tianshou_networks import Critic, DeterministicActor, GaussianActor, Layers, Value
from gradlab.agent import Agent
from gradlab.arguments import real_number
from gradlab.errors import GradlabError
from gradlab.policies import Deterministic, Gaussian, SquashedGaussian

__all__ = ["LIBRARY", "holds", "read"]

_ACTOR, _LOG_ALPHA, _OPTIMIZERS = "policy.actor.", "alpha._log_alpha", "_optimizers"


def holds(content: Any) -> bool:
    """Whether this is the state dict of a Tianshou algorithm.

    Example:
        >>> holds({"policy.actor.last.model.0.bias": None, "_optimizers": []}), holds({"actor.0.bias": None})
        (True, False)
    """
    return (
        isinstance(content, Mapping)
        and isinstance(content.get(_OPTIMIZERS), list)
        and any(isinstance(key, str) and key.startswith(_ACTOR) for key in content)
    )


def read(content: Any, facts: Facts, where: str) -> tuple[Agent, int | None]:
    """The agent, its networks in evaluation mode; a state dict does not say its step.

    Raises:
        GradlabError: the algorithm is not supported, a tensor is missing or does not fit, or a fact is missing.
    """
    weights = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    algorithm = _algorithm(weights, content[_OPTIMIZERS], where)
    gaussian = algorithm not in ("DDPG", "TD3")
    needed = ["action_low", "action_high", "discount", "activation"]
    needed += ["output"] if gaussian else []
    needed += ["max_action"] if not gaussian or facts.output == "Tanh" else []
    needed += ["entropy"] if algorithm == "SAC" and _LOG_ALPHA not in weights else []
    facts.require(where, *needed)
    bound = _bound(facts, where, gaussian)
    saved = _Saved(weights, facts.activation_class(where), where)
    agent = (_off_policy if algorithm in OFF_POLICY else _on_policy)(saved, algorithm, facts, bound)
    # The target of the actor is in no gradient.
    if unread := [name for name in saved.unread() if not name.startswith("actor_old.") and name != _LOG_ALPHA]:
        raise GradlabError(f"{where}: has weights of layers that are not supported: {', '.join(unread[:3])}")
    for part in agent.parts:
        part.eval()
    return agent, None


def _bound(facts: Facts, where: str, gaussian: bool) -> float | None:
    """The c of c·tanh; None of a Gaussian's unbounded mean."""
    if gaussian and facts.output not in ("Tanh", "Identity"):
        raise GradlabError(f"{where}: output {facts.output!r}; it is 'Tanh' or 'Identity'")
    if gaussian and facts.output == "Identity":
        return None
    return real_number(f"{where}: max_action", facts.max_action, why="it is c of c·tanh", above=0.0)


def _algorithm(weights: Mapping[str, Tensor], optimizers: list[Any], where: str) -> str:
    """The algorithm that has such tensors; two at a time on policy, where only the optimizer's share tells more."""

    def has(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in weights)

    gaussian, targets, two = has(f"{_ACTOR}mu."), has("critic_old."), has("critic2_old.")
    if has("actor_old.") and targets and not gaussian:
        return "TD3" if two else "DDPG"
    if gaussian and two:
        return "SAC"
    if gaussian and has("critic.") and not targets:
        critics = sum(name.startswith("critic.") for name in weights)
        return "NPG or TRPO" if _parameters(optimizers) == critics else "PPO or A2C"
    discrete = not gaussian and not targets and has(f"{_ACTOR}last.")
    reason = (
        "has discrete actions, and does not say whether the actor ends in a softmax"
        if discrete
        else f"is of a Tianshou algorithm that is not supported; {', '.join(OFF_POLICY)}, PPO, A2C, NPG and TRPO are"
    )
    raise GradlabError(f"{where}: {reason}; load it into the algorithm and pass that to gradlab.view")


def _parameters(optimizers: list[Any]) -> int:
    """How many parameters the first optimizer has."""
    try:
        return sum(len(group["params"]) for group in optimizers[0]["param_groups"])
    except (KeyError, IndexError, TypeError):
        return 0


class _Saved:
    """Networks out of a state dict, with two activations: the preprocessing network's own and the library's ReLU."""

    def __init__(self, weights: Mapping[str, Tensor], activation: type[nn.Module], where: str) -> None:
        self.where = where
        self.weights = weights
        self._activation = activation
        self._first, self._last = (SavedNetworks(weights, kind, where) for kind in (activation, nn.ReLU))

    def inputs(self, prefix: str) -> int:
        """Number of inputs of the preprocessing network of the part ``prefix``."""
        weight = self.weights.get(f"{prefix}preprocess.model.model.0.weight")
        if weight is None or weight.ndim != 2:
            raise GradlabError(f"{self.where}: {prefix}preprocess is no Net of linear layers, which alone is supported")
        return weight.shape[1]

    def preprocess(self, prefix: str, size: int) -> tuple[Layers, int]:
        """The preprocessing network of the part ``prefix`` and its number of outputs."""
        found = self._first.layers(f"{prefix}preprocess.model.model.", size, last=self._activation)
        width = next(layer.out_features for layer in reversed(found) if isinstance(layer, nn.Linear))
        return Layers(Layers(found)), width

    def last(self, name: str, size: int, out: int | None = None) -> Layers:
        """The MLP ``name``."""
        return Layers(self._last.layers(f"{name}.model.", size, out=out))

    def outputs(self, name: str) -> int:
        """Number of outputs of the MLP ``name``."""
        return self._last.outputs(f"{name}.model.")

    def log_std(self, size: int) -> nn.Parameter:
        """Log σ that is the same at every state."""
        name = f"{_ACTOR}sigma_param"
        found = self.weights.get(name)
        if found is None or tuple(found.shape) != (size, 1) or not found.is_floating_point():
            raise GradlabError(f"{self.where}: has neither {_ACTOR}sigma nor a {name} of shape ({size}, 1)")
        return nn.Parameter(found)

    def unread(self) -> list[str]:
        """Names of the tensors that no network has used."""
        return sorted({*self._first.unread()} & {*self._last.unread()} - {f"{_ACTOR}sigma_param"})


def _off_policy(saved: _Saved, algorithm: str, facts: Facts, bound: float | None) -> Agent:
    kind = OFF_POLICY[algorithm]
    n = saved.inputs(_ACTOR)
    squashed = algorithm == "SAC"
    p = saved.outputs(f"{_ACTOR}{'mu' if squashed else 'last'}")
    shared = _shared(saved, algorithm, facts, p, n) | {"reduction": kind.reduction}
    if not squashed and bound != 1:
        shared |= {"action_low": shared["env_low"], "action_high": shared["env_high"]}
    critics = [_critic(saved, f"{name}.", n, p) for name in kind.critics]
    shared["target_critics"] = [_critic(saved, f"{name}_old.module.", n, p) for name in kind.critics]
    if squashed:
        learned = saved.weights.get(_LOG_ALPHA)
        entropy = facts.entropy if learned is None else float(learned.exp())
        assert entropy is not None
        policy = SquashedGaussian(epsilon=SAC_EPSILON)
        return Agent(_gaussian(saved, n, p, bound), critics, policy=policy, entropy=entropy, **shared)
    preprocess, width = saved.preprocess(_ACTOR, n)
    assert bound is not None
    actor = DeterministicActor(preprocess, saved.last(f"{_ACTOR}last", width, p), bound)
    return Agent(actor, critics, policy=Deterministic(), **shared)


def _on_policy(saved: _Saved, algorithm: str, facts: Facts, bound: float | None) -> Agent:
    n, p = saved.inputs(_ACTOR), saved.outputs(f"{_ACTOR}mu")
    preprocess, width = saved.preprocess("critic.", n)
    value = Value(preprocess, saved.last("critic.last", width, 1))
    shared = _shared(saved, algorithm, facts, p, n)
    return Agent(_gaussian(saved, n, p, bound), [], policy=Gaussian(), value=value, **shared)


def _gaussian(saved: _Saved, n: int, p: int, bound: float | None) -> GaussianActor:
    preprocess, width = saved.preprocess(_ACTOR, n)
    of_the_state = bool(saved.outputs(f"{_ACTOR}sigma"))
    return GaussianActor(
        preprocess,
        saved.last(f"{_ACTOR}mu", width, p),
        saved.last(f"{_ACTOR}sigma", width, p) if of_the_state else None,
        sigma_param=None if of_the_state else saved.log_std(p),
        max_action=bound,
    )


def _critic(saved: _Saved, prefix: str, n: int, p: int) -> Critic:
    # The first layers get the observation alone, or the action with it.
    obs_only = saved.inputs(prefix) == n
    preprocess, width = saved.preprocess(prefix, n if obs_only else n + p)
    return Critic(preprocess, saved.last(f"{prefix}last", width + p if obs_only else width, 1), obs_only=obs_only)


def _shared(saved: _Saved, algorithm: str, facts: Facts, p: int, n: int) -> dict[str, Any]:
    return {
        "action_low": -np.ones(p),
        "action_high": np.ones(p),
        "env_low": _corner(saved.where, "action_low", facts.action_low, p),
        "env_high": _corner(saved.where, "action_high", facts.action_high, p),
        "discount": facts.discount,
        "obs_size": n,
        "algorithm": algorithm,
        "library": LIBRARY,
    }


def _corner(where: str, name: str, given: Any, p: int) -> NDArray[Any]:
    """A corner of the action box, [p]."""
    try:
        found: NDArray[Any] = np.asarray(given, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise GradlabError(f"{where}: {name} is {given!r}; give a number or {p} of them") from None
    if found.size not in (1, p):
        raise GradlabError(f"{where}: {name} has {found.size} numbers, but actions have {p}")
    return np.broadcast_to(found, (p,)).copy()
