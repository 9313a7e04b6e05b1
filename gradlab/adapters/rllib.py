"""RLlib 2.60, live, new API stack: an Agent out of a learner, or of an algorithm whose learner is in its process.

Facts this relies on (read in 2.60.0, checked by the parity test against the library's own ``p.grad``): critics and
log π live in [−1, 1], which ``normalize_actions`` maps to the environment's box. SAC follows the smaller of two
critics, its log σ is clamped to [−5, 2], log π has the exact Jacobian of the tanh; all losses of an update are taken
before its first optimizer steps, so that the actor's gradient is of the critics and the α before them. PPO's Gaussian
is not squashed.

Observations are what the RLModule gets: those that connectors before it have made of the environment's.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

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
from gradlab.adapters.stable_baselines3_checks import DOOR, class_name, require_classes
from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.policies import Gaussian, Softmax, SquashedGaussian

LIBRARY = "rllib"

SUPPORTED: tuple[str, ...] = ("SAC", "PPO")

_MODULES = {
    "SAC": "ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module.DefaultSACTorchRLModule",
    "PPO": "ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module.DefaultPPOTorchRLModule",
}
_ENCODERS = "ray.rllib.core.models.torch.encoder"
_HEADS = "ray.rllib.core.models.torch.heads"


def recognises(model: object) -> bool:
    """Whether the object is one of RLlib's algorithms, learners or RLModules; imports nothing."""
    return any(
        (module := sys.modules.get(f"ray.rllib.{path}")) is not None and isinstance(model, getattr(module, name))
        for path, name in (
            ("core.learner.learner", "Learner"),
            ("algorithms.algorithm", "Algorithm"),
            ("core.rl_module.rl_module", "RLModule"),
        )
    )


def view(model: Any) -> Agent:
    """The live learner as an Agent that shares its layers: what the optimizer changes, the agent sees.

    α of SAC is read now; call again after it has changed.

    Raises:
        GradlabError: the algorithm, its spaces or its networks are not supported, or its learner is not to be had here.
    """
    learner = learner_of(model)
    algorithm = algorithm_of(learner)
    module_id = module_id_of(learner)
    module = learner.module[module_id].unwrapped()
    require_classes(algorithm, {"RLModule": (module, _MODULES[algorithm])})
    space = module.observation_space
    if type(space).__name__ != "Box" or len(space.shape) != 1:
        raise GradlabError(
            f"view: this {algorithm}'s observation_space is {space}; only flat Box spaces are supported; {DOOR}"
        )
    shared = {
        "discount": learner.config.get_config_for_module(module_id).gamma,
        "obs_size": int(space.shape[0]),
        "algorithm": algorithm,
        "library": LIBRARY,
    }
    if algorithm == "PPO":
        return _ppo(module, learner.config, shared)
    return _sac(module, learner.config, shared | {"entropy": float(learner.curr_log_alpha[module_id].detach().exp())})


def learner_of(model: Any) -> Any:
    """The learner of an algorithm, or the learner itself.

    Raises:
        GradlabError: it is in another process, of the old API stack, not built, or the model is an RLModule alone.
    """
    if hasattr(model, "learner_group") or hasattr(model, "env_runner_group"):
        group = getattr(model, "learner_group", None)
        if group is None:
            raise GradlabError("view: this algorithm has no learner_group; only RLlib's new API stack is supported")
        if not group.is_local:
            raise GradlabError(
                "view: this algorithm's learners are in other processes; configure it with learners(num_learners=0)"
            )
        return group._learner
    if not hasattr(model, "compute_losses"):
        raise GradlabError(
            f"view: {class_name(model)} is an RLModule alone, which knows neither γ nor α; pass the algorithm, or its "
            "learner: algorithm.learner_group._learner"
        )
    if getattr(model, "module", None) is None:
        raise GradlabError("view: this learner has no networks yet; call its build()")
    return model


def algorithm_of(learner: Any) -> str:
    """The algorithm whose learner this is, or is a subclass of.

    Raises:
        GradlabError: it is not supported.
    """
    names = (cls.__name__ for cls in type(learner).__mro__ if cls.__module__.startswith("ray.rllib."))
    name = next(names).removesuffix("Learner").removesuffix("Torch")
    if name not in SUPPORTED:
        raise GradlabError(f"view: {LIBRARY} {name} is not supported; supported are {', '.join(SUPPORTED)}; {DOOR}")
    return name


def module_id_of(learner: Any) -> str:
    """The identifier of the one module that is trained.

    Raises:
        GradlabError: there are several.
    """
    found = sorted(learner.module.keys())
    if len(found) != 1:
        raise GradlabError(f"view: this learner has the modules {', '.join(found)}; only one is supported; {DOOR}")
    return str(found[0])


def _sac(module: Any, config: Any, shared: dict[str, Any]) -> Agent:
    box = _box(module, config, "SAC", squashed=True)
    twins = ["qf", "qf_twin"] if module.twin_q else ["qf"]
    critics, targets = (
        [
            Critic(
                _state_action(getattr(module, f"{prefix}{name}_encoder")),
                _head(getattr(module, f"{prefix}{name}"), "SAC", name),
            )
            for name in twins
        ]
        for prefix in ("", "target_")
    )
    return Agent(
        Actor(
            _encoder(module.pi_encoder, "SAC", "pi_encoder"),
            _head(module.pi, "SAC", "pi"),
            "pi_encoder",
            (LOG_STD_MIN, LOG_STD_MAX),
        ),
        critics,
        policy=SquashedGaussian(),
        target_critics=targets,
        reduction="min",
        **box,
        **shared,
    )


def _ppo(module: Any, config: Any, shared: dict[str, Any]) -> Agent:
    require_classes("PPO", {"encoder": (module.encoder, f"{_ENCODERS}.TorchActorCriticEncoder")})
    together = module.encoder.config.shared
    name, behind = ("encoder", "encoder") if together else ("actor_encoder", "critic_encoder")
    first = _encoder(getattr(module.encoder, name), "PPO", f"encoder.{name}")
    value_encoder = first if together else _encoder(getattr(module.encoder, behind), "PPO", f"encoder.{behind}")
    discrete = type(module.action_space).__name__ == "Discrete"
    box: dict[str, Any]
    if discrete:
        count = int(module.action_space.n)
        box = {"action_low": np.zeros(count), "action_high": np.ones(count)}
    else:
        box = _box(module, config, "PPO")
    clipped = getattr(module.pi, "clip_log_std", False)
    bound = float(module.pi.log_std_clip_param_const) if clipped and not discrete else None
    return Agent(
        Actor(first, _head(module.pi, "PPO", "pi"), f"encoder.{name}", None if bound is None else (-bound, bound)),
        [],
        policy=Softmax() if discrete else Gaussian(),
        value=Value(value_encoder, _head(module.vf, "PPO", "vf")),
        **box,
        **shared,
    )


def _box(module: Any, config: Any, algorithm: str, *, squashed: bool = False) -> dict[str, Any]:
    """The corners of the action box, as ``Agent`` takes them."""
    space = module.action_space
    if type(space).__name__ != "Box" or len(space.shape) != 1:
        raise GradlabError(
            f"view: this {algorithm}'s action_space is {space}; only flat Box spaces are supported; {DOOR}"
        )
    unit = {"action_low": -np.ones_like(space.low), "action_high": np.ones_like(space.high)}
    if config.normalize_actions:
        return unit | {"env_low": space.low, "env_high": space.high}
    return unit if squashed else {"action_low": space.low, "action_high": space.high}


def _encoder(encoder: Any, algorithm: str, name: str) -> MLP:
    require_classes(algorithm, {name: (encoder, f"{_ENCODERS}.TorchMLPEncoder")})
    return MLP(encoder.net.mlp)


def _head(head: Any, algorithm: str, name: str) -> MLP:
    if class_name(head) == f"{_HEADS}.TorchFreeLogStdMLPHead":
        return FreeLogStd(head.net.mlp, head.log_std)
    require_classes(algorithm, {name: (head, f"{_HEADS}.TorchMLPHead")})
    return MLP(head.net.mlp)


def _state_action(encoder: Any) -> StateActionEncoder:
    require_classes("SAC", {"qf_encoder": (encoder, f"{_ENCODERS}.TorchMultiStreamEncoder")})
    streams = {name: _encoder(stream, "SAC", f"qf_encoder.{name}") for name, stream in encoder.base_encoders.items()}
    return StateActionEncoder(
        streams["actions"],
        streams["obs"],
        list(encoder.fusion_layers),
        encoder.output_layer,
        encoder.hidden_activation(),
        None if encoder.output_layer is None else encoder.output_activation(),
    )
