"""Stable-Baselines3 and sb3-contrib, live: an Agent out of a model.

Facts this relies on (read in 2.9.2, checked by the parity test against the library's own ``p.grad``): critics and
log π live in unit coordinates, actions scaled to [−1, 1]; TD3 and DDPG follow the first critic, SAC and CrossQ the
smallest, TQC the mean over critics and quantiles; α is read before it is updated.

CrossQ normalises by batches. Its actor's loss has the actor in training mode, normalised by the minibatch, and the
critics in evaluation mode; gradlab measures both in evaluation mode, as the policy acts. It has no target critics.

The library's own preprocessing casts to float32, and it builds critic features without gradients; both are left
out here, which for flat observations changes no value and lets float64 and ∂Q/∂s through.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from gradlab.adapters import stable_baselines3_on_policy
from gradlab.adapters.networks import DeterministicActor, QNetwork, QuantileNetwork, SquashedGaussianActor
from gradlab.adapters.stable_baselines3_checks import (
    DOOR,
    FLAT_FEATURES,
    flat_box,
    measured,
    refuse_state_dependent_exploration,
    require_classes,
    require_networks,
    unwrap,
)
from gradlab.adapters.stable_baselines3_observations import (
    observations,
    replay_observations,
    rollout_observations,
    stored_observations,
)
from gradlab.agent import Agent
from gradlab.critics import Reduction
from gradlab.errors import GradlabError
from gradlab.policies import Deterministic, SquashedGaussian

__all__ = [
    "LIBRARY",
    "OFF_POLICY",
    "SUPPORTED",
    "observations",
    "recognises",
    "replay_observations",
    "rollout_observations",
    "stored_observations",
    "view",
]

LIBRARY = "stable-baselines3"
CONTRIB = "sb3-contrib"

_ROOTS = ("stable_baselines3", "sb3_contrib")
_CONTINUOUS_CRITIC = "stable_baselines3.common.policies.ContinuousCritic"


class OffPolicy(NamedTuple):
    """What is particular to an off-policy algorithm: its library, its networks, the value its actor follows."""

    library: str
    actor: str
    critic: str
    reduction: Reduction
    stochastic: bool


OFF_POLICY = {
    "TD3": OffPolicy(LIBRARY, "stable_baselines3.td3.policies.Actor", _CONTINUOUS_CRITIC, "first", False),
    "DDPG": OffPolicy(LIBRARY, "stable_baselines3.td3.policies.Actor", _CONTINUOUS_CRITIC, "first", False),
    "SAC": OffPolicy(LIBRARY, "stable_baselines3.sac.policies.Actor", _CONTINUOUS_CRITIC, "min", True),
    "TQC": OffPolicy(CONTRIB, "sb3_contrib.tqc.policies.Actor", "sb3_contrib.tqc.policies.Critic", "mean", True),
    "CrossQ": OffPolicy(
        CONTRIB, "sb3_contrib.crossq.policies.Actor", "sb3_contrib.crossq.policies.CrossQCritic", "min", True
    ),
}
SUPPORTED: tuple[str, ...] = (*OFF_POLICY, *stable_baselines3_on_policy.LIBRARIES)


def recognises(model: object) -> bool:
    """Whether the object is a Stable-Baselines3 or sb3-contrib algorithm; imports nothing."""
    base = getattr(sys.modules.get("stable_baselines3.common.base_class"), "BaseAlgorithm", None)
    return base is not None and isinstance(model, base)


def view(model: Any) -> Agent:
    """The live model as an Agent that shares its layers: what the optimizer changes, the agent sees.

    α of SAC, TQC and CrossQ is read now; call again after it has changed.

    Raises:
        GradlabError: the algorithm, its action or observation space or its networks are not supported yet.
    """
    algorithm = _algorithm(model)
    if algorithm not in OFF_POLICY:
        return stable_baselines3_on_policy.view(model, algorithm)
    kind = OFF_POLICY[algorithm]
    n = flat_box(model, algorithm, "observation_space").shape[0]
    space = flat_box(model, algorithm, "action_space")
    actor, critic, target = (unwrap(getattr(model, name, None)) for name in ("actor", "critic", "critic_target"))
    require_networks(algorithm, actor, critic)
    require_classes(
        algorithm,
        {
            "actor": (actor, kind.actor),
            "critic": (critic, kind.critic),
            "features extractor": (actor.features_extractor, FLAT_FEATURES),
        },
    )
    refuse_state_dependent_exploration(algorithm, actor)
    shared: dict[str, Any] = {
        "action_low": -np.ones_like(space.low),
        "action_high": np.ones_like(space.high),
        "env_low": space.low,
        "env_high": space.high,
        "discount": model.gamma,
        "reduction": kind.reduction,
        "obs_size": n,
        "algorithm": algorithm,
        "library": kind.library,
    }
    network: type[QNetwork | QuantileNetwork] = QNetwork
    if algorithm == "TQC":
        network = QuantileNetwork
        shared |= {"quantiles": critic.n_quantiles, "drop_quantiles": model.top_quantiles_to_drop_per_net}
    critics, shared["target_critics"] = (
        [] if of is None else [network(measured(layers)) for layers in of.q_networks] for of in (critic, target)
    )
    if not kind.stochastic:
        return Agent(DeterministicActor(actor.mu), critics, policy=Deterministic(), **shared)
    return Agent(
        SquashedGaussianActor(measured(actor.latent_pi), actor.mu, actor.log_std),
        critics,
        policy=SquashedGaussian(epsilon=1e-6),
        entropy=_entropy(model),
        **shared,
    )


def _algorithm(model: Any) -> str:
    """The name of the library's algorithm that the model is, or is a subclass of."""
    names = [cls.__name__ for cls in type(model).__mro__ if cls.__module__.partition(".")[0] in _ROOTS]
    name = names[0]
    if name in SUPPORTED:
        return name
    space = getattr(model, "action_space", None)
    discrete = f" (discrete actions, {space})" if type(space).__name__ in ("Discrete", "MultiDiscrete") else ""
    raise GradlabError(
        f"view: {LIBRARY} {name}{discrete} is not supported; supported are {', '.join(SUPPORTED)}; {DOOR}"
    )


def _entropy(model: Any) -> float:
    if model.log_ent_coef is not None:
        return float(model.log_ent_coef.detach().exp())
    return float(model.ent_coef_tensor)
