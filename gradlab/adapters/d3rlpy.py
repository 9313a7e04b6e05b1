"""d3rlpy 2, live: an Agent out of an algorithm.

Facts this relies on (read in 2.8.1, checked by the parity test against the library's own ``p.grad``): critics and
log π live in [−1, 1], which ``action_scaler`` maps to the environment's box, and which is the environment's without
one. DDPG, TD3 and TD3+BC follow the first critic, SAC and CQL the smallest; α is the one after its own update, which
comes first; log π has the exact Jacobian of the tanh. Q is of the rewards that ``reward_scaler`` gives, where there is
one.

What an offline algorithm adds to the gradient of Q is not of the critic and not in the Agent: TD3+BC's weight
α/mean|Q| and its pull towards the dataset's actions, nor IQL's regression on those actions, which uses no ∇_a Q at all.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gradlab.adapters.d3rlpy_networks import Affine, Critic, DeterministicActor, GaussianActor, Layers, Value
from gradlab.adapters.stable_baselines3_checks import DOOR, class_name, require_classes
from gradlab.agent import Agent
from gradlab.critics import Reduction
from gradlab.errors import GradlabError
from gradlab.policies import ClampedGaussian, Deterministic, SquashedGaussian

LIBRARY = "d3rlpy"

_MODELS = "d3rlpy.models.torch"
_POLICIES = f"{_MODELS}.policies"
_SCALERS = "d3rlpy.preprocessing.observation_scalers"
_ENCODER, _WITH_ACTION = f"{_MODELS}.encoders.VectorEncoder", f"{_MODELS}.encoders.VectorEncoderWithAction"


class Kind(NamedTuple):
    """What is particular to an algorithm: the class of its policy, and the value it follows."""

    policy: str
    reduction: Reduction


_DETERMINISTIC, _NORMAL = "DeterministicPolicy", "NormalPolicy"
KINDS = {
    "DDPG": Kind(_DETERMINISTIC, "first"),
    "TD3": Kind(_DETERMINISTIC, "first"),
    "TD3PlusBC": Kind(_DETERMINISTIC, "first"),
    "SAC": Kind(_NORMAL, "min"),
    "CQL": Kind(_NORMAL, "min"),
    "IQL": Kind(_NORMAL, "min"),
}
SUPPORTED: tuple[str, ...] = tuple(KINDS)


def recognises(model: object) -> bool:
    """Whether the object is a d3rlpy algorithm or its ``impl``; imports nothing."""
    base = sys.modules.get("d3rlpy.base")
    return base is not None and isinstance(model, (base.LearnableBase, base.ImplBase))


def view(model: Any) -> Agent:
    """The live algorithm as an Agent that shares its layers: what the optimizer changes, the agent sees.

    The Agent takes observations as the environment gives them. α of SAC is read now; call again after it has changed.

    Raises:
        GradlabError: the algorithm or its networks are not supported, or not built yet.
    """
    algorithm = _algorithm(model)
    kind, modules = KINDS[algorithm], model.impl.modules
    shape = tuple(np.ravel(model.impl.observation_shape).tolist())
    if len(shape) != 1:
        raise GradlabError(
            f"view: this {algorithm} takes observations of shape {shape}; only flat ones are supported; {DOOR}"
        )
    scaler = observation_scaler(model.observation_scaler, algorithm, model.impl.device)
    policy = _unwrapped(modules.policy)
    require_classes(algorithm, {"policy": (policy, f"{_POLICIES}.{kind.policy}")})
    shared: dict[str, Any] = action_box(model.action_scaler, algorithm, model.impl.action_size) | {
        "target_critics": [_critic(critic, algorithm, scaler) for critic in modules.targ_q_funcs],
        "reduction": kind.reduction,
        "discount": model.gamma,
        "obs_size": shape[0],
        "algorithm": algorithm,
        "library": LIBRARY,
    }
    critics = [_critic(critic, algorithm, scaler) for critic in modules.q_funcs]
    encoder = _encoder(policy, _ENCODER, algorithm)
    if kind.policy == _DETERMINISTIC:
        return Agent(DeterministicActor(encoder, policy._fc, scaler), critics, policy=Deterministic(), **shared)
    regression = algorithm == "IQL"
    actor = GaussianActor(
        encoder,
        policy._mu,
        policy._logstd,
        (policy._min_logstd, policy._max_logstd),
        squashed_mean=regression,
        scaler=scaler,
    )
    if regression:
        value = _unwrapped(modules.value_func)
        shared["value"] = Value(_encoder(value, _ENCODER, algorithm), value._fc, scaler)
        return Agent(actor, critics, policy=ClampedGaussian(-1.0, 1.0), **shared)
    log_temperature = next(modules.log_temp.parameters())
    entropy = float(log_temperature.detach().exp())
    return Agent(actor, critics, policy=SquashedGaussian(), entropy=entropy, **shared)


def _algorithm(model: Any) -> str:
    """The name of the library's algorithm that the model is, or is a subclass of."""
    if not hasattr(model, "impl"):
        raise GradlabError(f"view: {class_name(model)} is an impl alone; pass the algorithm that it is of")
    name = next(cls.__name__ for cls in type(model).__mro__ if cls.__module__.partition(".")[0] == LIBRARY)
    if name not in SUPPORTED:
        raise GradlabError(f"view: {LIBRARY} {name} is not supported; supported are {', '.join(SUPPORTED)}; {DOOR}")
    if model.impl is None:
        raise GradlabError(
            f"view: this {name} has no networks yet; call its build_with_dataset(dataset) or build_with_env(env)"
        )
    return name


def observation_scaler(scaler: Any, algorithm: str, device: str = "cpu") -> Affine | None:
    """What the library does to observations before its networks get them; None where it does nothing.

    Raises:
        GradlabError: the scaler is of another kind than those to mean 0 and to [−1, 1], or has not been fitted.
    """
    if scaler is None:
        return None
    name = class_name(scaler)
    if name not in (f"{_SCALERS}.StandardObservationScaler", f"{_SCALERS}.MinMaxObservationScaler"):
        raise GradlabError(
            f"view: this {algorithm}'s observation_scaler is {name}; only StandardObservationScaler and "
            f"MinMaxObservationScaler are supported; {DOOR}"
        )
    _require_built(scaler, algorithm, "observation_scaler")
    if name.endswith("StandardObservationScaler"):
        return standard(scaler.mean, scaler.std, scaler.eps).to(device)
    return to_unit(scaler.minimum, scaler.maximum).to(device)


def standard(mean: Any, std: Any, eps: float) -> Affine:
    """A StandardObservationScaler's (x − mean)/(σ + ε)."""
    shift, width = (torch.tensor(np.asarray(part), dtype=torch.float32) for part in (mean, std))
    return Affine(shift, width + eps)


def to_unit(minimum: Any, maximum: Any) -> Affine:
    """A MinMaxObservationScaler's map to [−1, 1]."""
    low, high = (torch.tensor(np.asarray(part), dtype=torch.float32) for part in (minimum, maximum))
    return Affine(low, high - low, 2.0, -1.0)


def action_box(scaler: Any, algorithm: str, size: int) -> dict[str, NDArray[Any]]:
    """The corners of the action box, as ``Agent`` takes them: [−1, 1] for the critic.

    Raises:
        GradlabError: the scaler is of another kind than MinMaxActionScaler, or has not been fitted.
    """
    unit = {"action_low": -np.ones(size, np.float32), "action_high": np.ones(size, np.float32)}
    if scaler is None:
        return unit
    require_classes(algorithm, {"action_scaler": (scaler, "d3rlpy.preprocessing.action_scalers.MinMaxActionScaler")})
    _require_built(scaler, algorithm, "action_scaler")
    return unit | {"env_low": scaler.minimum, "env_high": scaler.maximum}


def _require_built(scaler: Any, algorithm: str, name: str) -> None:
    if not scaler.built:
        raise GradlabError(
            f"view: this {algorithm}'s {name} has not been fitted yet, which fit does first; call "
            "probes.callbacks.d3rlpy.prepare(algorithm, dataset), or give it its numbers"
        )


def _critic(critic: nn.Module, algorithm: str, scaler: nn.Module | None) -> Critic:
    network: Any = _unwrapped(critic)
    require_classes(algorithm, {"critic": (network, f"{_MODELS}.q_functions.mean_q_function.ContinuousMeanQFunction")})
    return Critic(_encoder(network, _WITH_ACTION, algorithm), network._fc, scaler)


def _encoder(network: Any, name: str, algorithm: str) -> Layers:
    require_classes(algorithm, {f"{type(network).__name__}'s encoder": (network._encoder, name)})
    return Layers(network._encoder._layers)


def _unwrapped(module: nn.Module) -> Any:
    """The module under distributed training's wrapper."""
    return module.module if isinstance(module, nn.parallel.DistributedDataParallel) else module
