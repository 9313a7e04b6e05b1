"""Stable-Baselines3, live: an Agent out of a TD3, DDPG or SAC model, and observations out of its replay buffer.

Facts this relies on (read in 2.9.2, checked by the parity test against the library's own ``p.grad``): critics and
log π live in unit coordinates, actions scaled to [−1, 1]; TD3 and DDPG follow the first critic, SAC the smallest;
the replay buffer keeps raw observations, normalised by ``VecNormalize`` as they are sampled.

The library's own preprocessing casts to float32, and it builds critic features without gradients; both are left
out here, which for flat observations changes no value and lets float64 and ∂Q/∂s through.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gradlab.adapters.networks import DeterministicActor, QNetwork, SquashedGaussianActor
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Deterministic, SquashedGaussian

LIBRARY = "stable-baselines3"
SUPPORTED: tuple[str, ...] = ("TD3", "DDPG", "SAC")

_ROOTS = ("stable_baselines3", "sb3_contrib")
_ACTORS = {
    "TD3": "stable_baselines3.td3.policies",
    "DDPG": "stable_baselines3.td3.policies",
    "SAC": "stable_baselines3.sac.policies",
}
_DOOR = "describe it with gradlab.Agent(...) instead"


def recognises(model: object) -> bool:
    """Whether the object is a Stable-Baselines3 or sb3-contrib algorithm; imports nothing."""
    base = getattr(sys.modules.get("stable_baselines3.common.base_class"), "BaseAlgorithm", None)
    return base is not None and isinstance(model, base)


def view(model: Any) -> Agent:
    """The live model as an Agent that shares its layers: what the optimizer changes, the agent sees.

    α of SAC is read now; call again after it has changed.

    Raises:
        GradlabError: the algorithm, its action or observation space or its networks are not supported yet.
    """
    algorithm = _algorithm(model)
    n, low, high = _spaces(model, algorithm)
    actor, critic, target = (_unwrap(getattr(model, name, None)) for name in ("actor", "critic", "critic_target"))
    _check_networks(algorithm, actor, critic)
    shared = {
        "action_low": -np.ones_like(low),
        "action_high": np.ones_like(high),
        "env_low": low,
        "env_high": high,
        "discount": model.gamma,
        "target_critics": [QNetwork(network) for network in target.q_networks],
        "obs_size": n,
        "algorithm": algorithm,
        "library": LIBRARY,
    }
    critics = [QNetwork(network) for network in critic.q_networks]
    if algorithm != "SAC":
        return Agent(DeterministicActor(actor.mu), critics, policy=Deterministic(), reduction="first", **shared)
    return Agent(
        SquashedGaussianActor(actor.latent_pi, actor.mu, actor.log_std),
        critics,
        policy=SquashedGaussian(epsilon=1e-6),
        reduction="min",
        entropy=_entropy(model),
        **shared,
    )


def observations(model: Any, raw: Any) -> NDArray[Any]:
    """Raw observations as the networks get them: normalised where the model has a ``VecNormalize``.

    The running statistics are read, not updated.
    """
    array: NDArray[Any] = np.asarray(raw)
    statistics = model.get_vec_normalize_env()
    return array if statistics is None else statistics.normalize_obs(array)


def replay_observations(model: Any, count: int, generator: np.random.Generator) -> NDArray[Any] | None:
    """Distinct stored steps' observations, as the networks get them.

    The buffer's arrays are read directly: its own ``sample`` draws from numpy's global state.

    Args:
        model: the algorithm.
        count: how many.
        generator: where the choice comes from.

    Returns:
        [count, n], or None while the buffer holds fewer or is not one of flat observations.
    """
    buffer = getattr(model, "replay_buffer", None)
    stored = getattr(buffer, "observations", None)
    if buffer is None or not isinstance(stored, np.ndarray) or stored.ndim != 3:
        return None
    steps, envs = buffer.buffer_size if buffer.full else buffer.pos, stored.shape[1]
    first = 0
    if buffer.full and getattr(buffer, "optimize_memory_usage", False):
        # One array holds observations and their successors; the row being written belongs to no transition.
        first, steps = buffer.pos + 1, steps - 1
    if steps * envs < count:
        return None
    step, env = np.divmod(generator.choice(steps * envs, size=count, replace=False), envs)
    return observations(model, stored[(first + step) % len(stored), env])


def _algorithm(model: Any) -> str:
    """The name of the library's algorithm that the model is, or is a subclass of."""
    names = [cls.__name__ for cls in type(model).__mro__ if cls.__module__.partition(".")[0] in _ROOTS]
    name = names[0]
    if name in SUPPORTED:
        return name
    space = getattr(model, "action_space", None)
    discrete = f" (discrete actions, {space})" if type(space).__name__ in ("Discrete", "MultiDiscrete") else ""
    raise GradlabError(
        f"view: {LIBRARY} {name}{discrete} is not supported; supported are {', '.join(SUPPORTED)}; {_DOOR}"
    )


def _spaces(model: Any, algorithm: str) -> tuple[int, NDArray[Any], NDArray[Any]]:
    """Length of an observation, and the corners of the environment's action box."""
    for name in ("observation_space", "action_space"):
        space = getattr(model, name, None)
        if space is None:
            raise GradlabError(f"view: this {algorithm} has no {name}; give it an environment with set_env(...)")
        if type(space).__name__ != "Box" or len(space.shape) != 1:
            raise GradlabError(
                f"view: this {algorithm}'s {name} is {space}; only flat Box spaces are supported; {_DOOR}"
            )
    return model.observation_space.shape[0], model.action_space.low, model.action_space.high


def _check_networks(algorithm: str, actor: Any, critic: Any) -> None:
    """Refuse networks that would compute something else than the modules built here."""
    if actor is None or critic is None:
        raise GradlabError(f"view: this {algorithm} has no networks yet; construct it without _init_setup_model=False")
    expected = {
        "actor": (actor, f"{_ACTORS[algorithm]}.Actor"),
        "critic": (critic, "stable_baselines3.common.policies.ContinuousCritic"),
        "features extractor": (
            actor.features_extractor,
            "stable_baselines3.common.torch_layers.FlattenExtractor",
        ),
    }
    for what, (module, name) in expected.items():
        found = f"{type(module).__module__}.{type(module).__qualname__}"
        if found != name:
            raise GradlabError(
                f"view: this {algorithm}'s {what} is {found}; only {name.rpartition('.')[2]} is supported; {_DOOR}"
            )
    if getattr(actor, "use_sde", False):
        raise GradlabError(f"view: this {algorithm} explores with gSDE (use_sde=True), which is not supported; {_DOOR}")


def _entropy(model: Any) -> float:
    if model.log_ent_coef is not None:
        return float(model.log_ent_coef.detach().exp())
    return float(model.ent_coef_tensor)


def _unwrap(module: nn.Module | None) -> Any:
    """The module under ``torch.compile``."""
    return getattr(module, "_orig_mod", module)
