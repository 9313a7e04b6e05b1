"""Stable-Baselines3's on-policy algorithms, live: PPO, A2C and sb3-contrib's TRPO as Agents without a Q critic.

Facts this relies on (read in 2.9.2, checked by the parity test against the library's own ``p.grad``): the policy
is a Gaussian in the environment's own units with a log σ that does not depend on the state, clipped only for the
environment, or a softmax over discrete actions; the policy and V have layers of their own.

The objective is that of the returns. ``ent_coef`` weighs an entropy bonus of the loss at the states visited, which
is in no return, and is left out, as the loss of V is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from gradlab.adapters.networks import OnPolicyActor, ValueNetwork
from gradlab.adapters.stable_baselines3_checks import (
    DOOR,
    FLAT_FEATURES,
    flat_box,
    refuse_state_dependent_exploration,
    require_classes,
    require_networks,
    space_of,
    unwrap,
)
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian, Policy, Softmax

LIBRARIES = {"PPO": "stable-baselines3", "A2C": "stable-baselines3", "TRPO": "sb3-contrib"}


def view(model: Any, algorithm: str) -> Agent:
    """The live model as an Agent that shares its layers; ``agent.v`` is its value function.

    Raises:
        GradlabError: its action or observation space or its networks are not supported.
    """
    n = flat_box(model, algorithm, "observation_space").shape[0]
    box = _action_box(model, algorithm)
    policy = unwrap(getattr(model, "policy", None))
    require_networks(algorithm, policy)
    refuse_state_dependent_exploration(algorithm, policy)
    require_classes(
        algorithm,
        {
            "policy": (policy, "stable_baselines3.common.policies.ActorCriticPolicy"),
            "features extractor": (policy.pi_features_extractor, FLAT_FEATURES),
            "value features extractor": (policy.vf_features_extractor, FLAT_FEATURES),
            "mlp_extractor": (policy.mlp_extractor, "stable_baselines3.common.torch_layers.MlpExtractor"),
        },
    )
    layers = policy.mlp_extractor
    return agent(
        OnPolicyActor(layers.policy_net, policy.action_net, getattr(policy, "log_std", None)),
        ValueNetwork(nn.Sequential(layers.value_net, policy.value_net)),
        box,
        discount=model.gamma,
        obs_size=n,
        algorithm=algorithm,
    )


def agent(
    actor: OnPolicyActor, value: ValueNetwork, box: tuple[Any, Any], *, discount: float, obs_size: int, algorithm: str
) -> Agent:
    """The Agent of these networks; ``box`` is the environment's, or that of one-hot vectors."""
    policy: Policy = Softmax() if actor.log_std is None else Gaussian()
    return Agent(
        actor,
        [],
        *box,
        discount,
        policy=policy,
        value=value,
        obs_size=obs_size,
        algorithm=algorithm,
        library=LIBRARIES[algorithm],
    )


def _action_box(model: Any, algorithm: str) -> tuple[Any, Any]:
    space = space_of(model, algorithm, "action_space")
    if type(space).__name__ == "Discrete":
        return np.zeros(int(space.n)), np.ones(int(space.n))
    if type(space).__name__ != "Box" or len(space.shape) != 1:
        raise GradlabError(
            f"view: this {algorithm}'s action_space is {space}; only flat Box and Discrete spaces are supported; {DOOR}"
        )
    return space.low, space.high
