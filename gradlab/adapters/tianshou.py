"""Tianshou 2, live: an Agent out of an algorithm.

Facts this relies on (read in 2.0.1, checked by the parity test against the library's own ``p.grad``): critics and
log π live in the coordinates of what the policy returns and the buffer stores, before ``map_action`` bounds and scales
it for the environment. TD3 and DDPG follow the first critic, SAC the smaller of two; α is read before it is updated,
and 2⁻²³ is added inside the logarithm of the tanh's Jacobian. Of PPO, A2C, NPG and TRPO, which have no critic of
(obs, act), ``agent.v`` is the value function.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from gradlab.adapters.stable_baselines3_checks import DOOR, class_name, require_classes
from gradlab.adapters.tianshou_networks import (
    Critic,
    DeterministicActor,
    DiscreteActor,
    GaussianActor,
    Value,
    shared_layers,
)
from gradlab.agent import Agent
from gradlab.critics import Reduction
from gradlab.errors import GradlabError
from gradlab.policies import Deterministic, Gaussian, Softmax, SquashedGaussian

LIBRARY = "tianshou"

_CONTINUOUS = "tianshou.utils.net.continuous"
_DISCRETE = "tianshou.utils.net.discrete"
_MODEL_FREE = "tianshou.algorithm.modelfree"

#: What the library adds inside the logarithm of the Jacobian of tanh (``correct_log_prob_gaussian_tanh``).
SAC_EPSILON = float(np.finfo(np.float32).eps)


class OffPolicy(NamedTuple):
    """What is particular to an off-policy algorithm: its policy, its actor, its critics, the value it follows."""

    policy: str
    actor: str
    critics: tuple[str, ...]
    reduction: Reduction


_DETERMINISTIC = f"{_MODEL_FREE}.ddpg.ContinuousDeterministicPolicy", f"{_CONTINUOUS}.ContinuousActorDeterministic"
_SQUASHED = f"{_MODEL_FREE}.sac.SACPolicy", f"{_CONTINUOUS}.ContinuousActorProbabilistic"

OFF_POLICY = {
    "DDPG": OffPolicy(*_DETERMINISTIC, ("critic",), "first"),
    "TD3": OffPolicy(*_DETERMINISTIC, ("critic", "critic2"), "first"),
    "SAC": OffPolicy(*_SQUASHED, ("critic", "critic2"), "min"),
}
ON_POLICY = ("PPO", "A2C", "NPG", "TRPO")
SUPPORTED: tuple[str, ...] = (*OFF_POLICY, *ON_POLICY)


def recognises(model: object) -> bool:
    """Whether the object is a Tianshou algorithm or policy; imports nothing."""
    base = sys.modules.get("tianshou.algorithm.algorithm_base")
    return base is not None and isinstance(model, (base.Algorithm, base.Policy))


def view(model: Any) -> Agent:
    """The live algorithm as an Agent that shares its layers: what the optimizer changes, the agent sees.

    α of SAC is read now; call again after it has changed.

    Raises:
        GradlabError: the algorithm, its action or observation space or its networks are not supported.
    """
    algorithm = _algorithm(model)
    policy = model.policy
    space = policy.observation_space
    if space is not None and (type(space).__name__ != "Box" or len(space.shape) != 1):
        raise GradlabError(
            f"view: this {algorithm}'s observation_space is {space}; only flat Box spaces are supported; {DOOR}"
        )
    shared = {"discount": model.gamma, "algorithm": algorithm, "library": LIBRARY}
    return (_off_policy if algorithm in OFF_POLICY else _on_policy)(model, policy, algorithm, shared)


def _algorithm(model: Any) -> str:
    """The name of the library's algorithm that the model is, or is a subclass of."""
    if not hasattr(model, "policy"):
        raise GradlabError(f"view: {class_name(model)} is a policy alone; pass the algorithm that trains it")
    name = next(cls.__name__ for cls in type(model).__mro__ if cls.__module__.partition(".")[0] == LIBRARY)
    if hasattr(model, "wrapped_algorithm"):
        raise GradlabError(f"view: {LIBRARY} {name} is not supported; pass its wrapped_algorithm")
    if name not in SUPPORTED:
        raise GradlabError(f"view: {LIBRARY} {name} is not supported; supported are {', '.join(SUPPORTED)}; {DOOR}")
    return name


def _off_policy(model: Any, policy: Any, algorithm: str, shared: dict[str, Any]) -> Agent:
    kind = OFF_POLICY[algorithm]
    require_classes(algorithm, {"policy": (policy, kind.policy), "actor": (policy.actor, kind.actor)})
    box = action_box(policy, algorithm, squashed=algorithm == "SAC")
    critics = [_critic(getattr(model, name), algorithm) for name in kind.critics]
    targets = [_critic(getattr(model, f"{name}_old").module, algorithm) for name in kind.critics]
    shared |= box | {"target_critics": targets, "reduction": kind.reduction, "obs_size": _inputs(policy.actor)}
    preprocess = shared_layers(policy.actor.preprocess, f"{algorithm}'s actor's preprocess_net")
    if algorithm != "SAC":
        last = shared_layers(policy.actor.last, f"{algorithm}'s actor's last")
        actor = DeterministicActor(preprocess, last, float(policy.actor.max_action))
        return Agent(actor, critics, policy=Deterministic(), **shared)
    return Agent(
        _gaussian(policy.actor, algorithm),
        critics,
        policy=SquashedGaussian(epsilon=SAC_EPSILON),
        entropy=model.alpha.value,
        **shared,
    )


def _on_policy(model: Any, policy: Any, algorithm: str, shared: dict[str, Any]) -> Agent:
    discrete = type(policy.action_space).__name__ == "Discrete"
    name = f"{_MODEL_FREE}.reinforce.{'DiscreteActorPolicy' if discrete else 'ProbabilisticActorPolicy'}"
    if class_name(policy) != name:
        # The continuous policy's class takes discrete actors, too.
        name = f"{_MODEL_FREE}.reinforce.ProbabilisticActorPolicy"
    actor = f"{_DISCRETE}.DiscreteActor" if discrete else f"{_CONTINUOUS}.ContinuousActorProbabilistic"
    require_classes(algorithm, {"policy": (policy, name), "actor": (policy.actor, actor)})
    shared |= {"value": _value(model.critic, algorithm), "obs_size": _inputs(policy.actor)}
    if discrete:
        count = int(policy.action_space.n)
        shared |= {"action_low": np.zeros(count), "action_high": np.ones(count)}
        return Agent(_discrete(policy, algorithm), [], policy=Softmax(), **shared)
    shared |= action_box(policy, algorithm)
    _require_normal(policy, algorithm, len(shared["action_low"]))
    return Agent(_gaussian(policy.actor, algorithm), [], policy=Gaussian(), **shared)


def action_box(policy: Any, algorithm: str, *, squashed: bool = False) -> dict[str, Any]:
    """The corners of the action box, as ``Agent`` takes them.

    The critic's coordinates are those of the policy's output. With ``action_scaling`` the environment's box is the
    image of [−1, 1]; without, the environment gets the output as it is, or clipped to [−1, 1].

    Raises:
        GradlabError: the space is not a flat box, or actions are bounded by a tanh outside the policy.
    """
    space = policy.action_space
    if type(space).__name__ != "Box" or len(space.shape) != 1:
        raise GradlabError(
            f"view: this {algorithm}'s action_space is {space}; only flat Box spaces are supported; {DOOR}"
        )
    if policy.action_bound_method == "tanh":
        raise GradlabError(
            f"view: this {algorithm} has action_bound_method='tanh', which bends the map from the critic's actions to "
            f"the environment's; only 'clip' and None are supported; {DOOR}"
        )
    unit = {"action_low": -np.ones_like(space.low), "action_high": np.ones_like(space.high)}
    if policy.action_scaling:
        return unit | {"env_low": space.low, "env_high": space.high}
    if squashed or policy.action_bound_method == "clip":
        return unit
    return {"action_low": space.low, "action_high": space.high}


def _critic(critic: Any, algorithm: str) -> Critic:
    require_classes(algorithm, {"critic": (critic, f"{_CONTINUOUS}.ContinuousCritic")})
    return Critic(
        shared_layers(critic.preprocess, f"{algorithm}'s critic's preprocess_net"),
        shared_layers(critic.last, f"{algorithm}'s critic's last"),
        obs_only=critic.apply_preprocess_net_to_obs_only,
    )


def _value(critic: Any, algorithm: str) -> Value:
    allowed = f"{_DISCRETE}.DiscreteCritic"
    if class_name(critic) != allowed:
        require_classes(algorithm, {"critic": (critic, f"{_CONTINUOUS}.ContinuousCritic")})
    return Value(
        shared_layers(critic.preprocess, f"{algorithm}'s critic's preprocess_net"),
        shared_layers(critic.last, f"{algorithm}'s critic's last"),
    )


def _gaussian(actor: Any, algorithm: str) -> GaussianActor:
    conditioned = hasattr(actor, "sigma")
    return GaussianActor(
        shared_layers(actor.preprocess, f"{algorithm}'s actor's preprocess_net"),
        shared_layers(actor.mu, f"{algorithm}'s actor's mu"),
        shared_layers(actor.sigma, f"{algorithm}'s actor's sigma") if conditioned else None,
        sigma_param=None if conditioned else actor.sigma_param,
        max_action=None if actor._unbounded else float(actor.max_action),
    )


def _discrete(policy: Any, algorithm: str) -> DiscreteActor:
    actor = policy.actor
    given = torch.tensor([[0.25, 0.75]])
    found = policy.dist_fn(given)
    logits = getattr(found, "logits", None)
    takes = None
    if isinstance(found, torch.distributions.Categorical) and logits is not None:
        takes = next(
            (kind for kind, want in (("logits", given.log_softmax(-1)), ("probs", given.log())) if _same(logits, want)),
            None,
        )
    if takes is None or (takes == "probs" and not actor.softmax_output):
        raise GradlabError(
            f"view: this {algorithm}'s dist_fn gives {type(found).__name__}, not a Categorical of the actor's "
            f"probabilities or logits; {DOOR}"
        )
    return DiscreteActor(
        shared_layers(actor.preprocess, f"{algorithm}'s actor's preprocess_net"),
        shared_layers(actor.last, f"{algorithm}'s actor's last"),
        softmax=actor.softmax_output and takes == "logits",
    )


def _require_normal(policy: Any, algorithm: str, size: int) -> None:
    """Refuse another distribution than independent normals with the actor's mean and σ."""
    loc, scale = torch.linspace(0, 1, size).reshape(1, -1), torch.linspace(1, 2, size).reshape(1, -1)
    found = policy.dist_fn((loc, scale))
    base = found
    if isinstance(found, torch.distributions.Independent) and found.reinterpreted_batch_ndims == 1:
        base = found.base_dist
    elif size > 1:
        # Without Independent, log π is one number a coordinate, and the loss takes their mean.
        base = None
    normal = isinstance(base, torch.distributions.Normal) and _same(base.loc, loc) and _same(base.scale, scale)
    if not normal:
        raise GradlabError(
            f"view: this {algorithm}'s dist_fn gives {type(found).__name__}, not Independent(Normal(loc, scale), 1) of "
            f"what the actor gives; {DOOR}"
        )


def _same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return found.shape == wanted.shape and torch.allclose(found, wanted, atol=1e-6)


def _inputs(actor: nn.Module) -> int | None:
    """Length of an observation, which a policy without ``observation_space`` does not say."""
    return next((layer.in_features for layer in actor.modules() if isinstance(layer, nn.Linear)), None)
