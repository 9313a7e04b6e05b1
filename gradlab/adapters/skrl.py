"""skrl, live: an Agent out of one of its PyTorch agents.

Facts this relies on (read in 2.1.1, checked by the parity test against the library's own ``p.grad``): critics get
actions in the environment's own units; DDPG and TD3 follow the first critic, SAC the smaller of two; α is read before
it is updated; log π is that of a Gaussian at the action that its mixin has clipped, with no Jacobian of a tanh;
observations reach the networks by way of the agent's observation preprocessor, and memories keep them as they were
before.

The Agent takes observations as the networks get them: ``skrl_memory.observations`` makes them so. V is in units of
return, by way of the value preprocessor where there is one. PPO's ``entropy_loss_scale`` weighs a bonus of the
loss at the states visited, which is in no return, and is left out.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradlab.adapters.skrl_models import (
    DOOR,
    CategoricalHead,
    Critic,
    DeterministicHead,
    GaussianHead,
    Value,
    acts_by_mixin,
    require_mixins_act,
    require_plain_values,
    shared_layers,
)
from gradlab.agent import Agent, Head
from gradlab.critics import Reduction
from gradlab.errors import GradlabError
from gradlab.policies import ClampedGaussian, Deterministic, Gaussian, Policy, Softmax

LIBRARY = "skrl"


class Kind(NamedTuple):
    """What is particular to an algorithm: its critics' names, the value its actor follows, the kind of policy."""

    critics: tuple[str, ...]
    reduction: Reduction
    stochastic: bool


KINDS = {
    "DDPG": Kind(("critic",), "first", False),
    "TD3": Kind(("critic_1", "critic_2"), "first", False),
    "SAC": Kind(("critic_1", "critic_2"), "min", True),
    "PPO": Kind((), "first", True),
    "A2C": Kind((), "first", True),
    "TRPO": Kind((), "first", True),
}
SUPPORTED: tuple[str, ...] = tuple(KINDS)


def recognises(model: object) -> bool:
    """Whether the object is one of skrl's PyTorch agents; imports nothing."""
    base = getattr(sys.modules.get("skrl.agents.torch.base"), "Agent", None)
    return base is not None and isinstance(model, base)


def view(model: Any, *, policy: nn.Module | None = None, value_preprocessor: Any = None) -> Agent:
    """The live agent as an Agent that shares its layers: what the optimizer changes, the Agent sees.

    α of SAC is read now; call again after it has changed.

    Args:
        model: the agent.
        policy: another network in the place of its policy, of the same class.
        value_preprocessor: another in the place of its own, such as one with earlier statistics.

    Raises:
        GradlabError: the algorithm, a space, a model or a mixin's option is not supported.
    """
    algorithm = algorithm_of(model)
    kind = KINDS[algorithm]
    live = dict(model.models) | ({} if policy is None else {"policy": policy})
    _require(algorithm, live, ("policy", *kind.critics) if kind.critics else ("policy", "value"))
    actor = shared_layers(_unwrapped(live["policy"]))
    n = _observation_size(model, algorithm)
    head, meaning, box = _policy(algorithm, actor, stochastic=kind.stochastic)
    critics, targets = (
        [
            _critic(algorithm, f"{prefix}{name}", live)
            for name in kind.critics
            if live.get(f"{prefix}{name}") is not None
        ]
        for prefix in ("", "target_")
    )
    return Agent(
        actor,
        critics,
        *box,
        model.cfg.discount_factor,
        policy=meaning,
        head=head,
        reduction=kind.reduction,
        target_critics=targets,
        value=None
        if kind.critics
        else _value(algorithm, actor, live, value_preprocessor or own_value_preprocessor(model)),
        entropy=float(model._entropy_coefficient) if algorithm == "SAC" else 0.0,
        obs_size=n,
        algorithm=algorithm,
        library=LIBRARY,
    )


def own_value_preprocessor(model: Any) -> Any:
    """What the agent standardises returns with; None where it does not."""
    found = model._value_preprocessor
    return None if found == model._empty_preprocessor else found


def algorithm_of(model: Any) -> str:
    """The name of the library's algorithm that the agent is, or is a subclass of.

    Raises:
        GradlabError: it is not supported.
    """
    name = next(cls.__name__ for cls in type(model).__mro__ if cls.__module__.startswith("skrl.agents.torch."))
    if name not in SUPPORTED:
        raise GradlabError(f"view: {LIBRARY} {name} is not supported; supported are {', '.join(SUPPORTED)}; {DOOR}")
    return name


def _require(algorithm: str, models: dict[str, Any], names: tuple[str, ...]) -> None:
    missing = [name for name in names if models.get(name) is None]
    if missing:
        raise GradlabError(f"view: this {algorithm} has no {', '.join(missing)} among its models; give it all of them")


def _observation_size(model: Any, algorithm: str) -> int:
    if model.state_space is not None:
        raise GradlabError(
            f"view: this {algorithm} has a state_space, whose states only some networks get; only observations are "
            f"supported; {DOOR}"
        )
    space = model.observation_space
    if type(space).__name__ != "Box":
        raise GradlabError(
            f"view: this {algorithm}'s observation_space is {space}; only Box spaces are supported; {DOOR}"
        )
    return int(np.prod(space.shape))


def _policy(algorithm: str, actor: Any, *, stochastic: bool) -> tuple[Head, Policy, tuple[Any, Any]]:
    """How the head is got, what it means, and the action box."""
    prefix = next((prefix for prefix in ("_g", "_mg") if hasattr(actor, f"{prefix}_clip_log_std")), None)
    if not stochastic and hasattr(actor, "_d_clip_actions"):
        head: Head = DeterministicHead()
        require_mixins_act(algorithm, "policy", actor, lambda own, obs, _: {"action": head(own, obs)})
        return head, Deterministic(), _box(algorithm, actor)
    if stochastic and prefix is not None:
        return _gaussian(algorithm, actor, prefix)
    if stochastic and not KINDS[algorithm].critics and getattr(actor, "_c_unnormalized_log_prob", False):
        head = CategoricalHead()
        require_mixins_act(algorithm, "policy", actor, lambda own, obs, _: {"net_output": head(own, obs)})
        count = int(actor.action_space.n)
        return head, Softmax(), (np.zeros(count), np.ones(count))
    wanted = (
        "a GaussianMixin or, without critics, a CategoricalMixin of logits" if stochastic else "a DeterministicMixin"
    )
    raise GradlabError(
        f"view: this {algorithm}'s policy is {type(actor).__qualname__}; only {wanted} is supported; {DOOR}"
    )


def _gaussian(algorithm: str, actor: Any, prefix: str) -> tuple[Head, Policy, tuple[Any, Any]]:
    reduction = getattr(actor, f"{prefix}_reduction", torch.sum)
    if reduction is not torch.sum:
        raise GradlabError(
            f"view: this {algorithm}'s policy, {type(actor).__qualname__}, does not sum log π over coordinates; {DOOR}"
        )
    head, box = GaussianHead(prefix), _box(algorithm, actor)
    policy = ClampedGaussian(*box) if getattr(actor, f"{prefix}_clip_actions") else Gaussian()

    def expected(own: Any, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        made = head(own, obs)
        mean, log_std = made.chunk(2, dim=-1)
        log_prob = policy.log_prob(made, action).unsqueeze(-1)
        return {"mean_actions": mean, "log_std": log_std, "log_prob": log_prob}

    require_mixins_act(algorithm, "policy", actor, expected)
    return head, policy, box


def _box(algorithm: str, actor: Any) -> tuple[Any, Any]:
    space = actor.action_space
    if type(space).__name__ != "Box" or len(space.shape) != 1:
        raise GradlabError(
            f"view: this {algorithm}'s action_space is {space}; only flat Box spaces are supported; {DOOR}"
        )
    return space.low, space.high


def _critic(algorithm: str, role: str, models: dict[str, Any]) -> Critic:
    model = shared_layers(_unwrapped(models[role]))
    require_plain_values(algorithm, role, model)
    if not acts_by_mixin(model):
        raise GradlabError(
            f"view: this {algorithm}'s {role}, {type(model).__qualname__}, has an act() of its own; {DOOR}"
        )
    return Critic(model, role)


def _value(algorithm: str, actor: Any, models: dict[str, Any], preprocessor: Any) -> Value:
    is_policy = models["value"] is models["policy"]
    model = actor if is_policy else shared_layers(_unwrapped(models["value"]))
    require_plain_values(algorithm, "value", model)

    def expected(own: Any, obs: Tensor, _: Tensor) -> dict[str, Tensor]:
        return {"action": Value(own, is_policy=is_policy)(obs)}

    require_mixins_act(algorithm, "value", model, expected, policy_first=is_policy)
    return Value(model, is_policy=is_policy, preprocessor=preprocessor)


def _unwrapped(model: nn.Module) -> nn.Module:
    """The module under ``torch.compile``."""
    found: nn.Module = getattr(model, "_orig_mod", model)
    return found
