"""skrl's models as pure functions: ``compute`` and what its mixins do around it, and never ``act``.

A model is a class of the user's own: ``compute(inputs, role)`` gives numbers, and a mixin's ``act`` clips them, makes a
distribution and keeps it. One that is policy and value at once usually keeps what its first layers gave for the policy
until the value asks for it. So ``compute`` is only ever called on a shallow copy, whose layers are the model's own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.errors import GradlabError

DOOR = "describe it with gradlab.Agent(...) instead"

#: From a model, observations [B, n] and the action it gave there: what its ``act`` must give, by name.
Expected = Callable[[Any, Tensor, Tensor], dict[str, Tensor]]

#: What PyTorch itself keeps in a module; the rest of its attributes are the library's or the user's.
_OWN = frozenset(vars(nn.Module()))


def shared_layers(model: nn.Module) -> Any:
    """A copy that shares parameters, buffers and layers, without what calls have left behind.

    Distributions and intermediate results are part of a graph of the training's, and cannot be copied with a snapshot.
    """
    other = copy.copy(model)
    for name, value in list(vars(other).items()):
        kept = isinstance(value, Tensor) and value.grad_fn is not None
        if name not in _OWN and (kept or isinstance(value, torch.distributions.Distribution)):
            setattr(other, name, None)
    return other


def computed(model: nn.Module, role: str, obs: Tensor, act: Tensor | None = None, *, policy_first: bool = False) -> Any:
    """What the model's ``compute`` gives in that role; nothing is left behind in the model.

    Args:
        model: the model, or a copy that shares its layers.
        role: what it is asked as: "policy", "critic_1", "value", and so on.
        obs: observations [B, n] as the networks get them.
        act: actions [B, p], for a critic.
        policy_first: whether it is asked as the policy before, from which it may keep something.
    """
    once: Any = copy.copy(model)
    if policy_first:
        once.compute({"observations": obs, "states": None}, "policy")
    inputs = {"observations": obs, "states": None} | ({} if act is None else {"taken_actions": act})
    return once.compute(inputs, role)


@dataclass(frozen=True)
class DeterministicHead:
    """h = the action of a ``DeterministicMixin``, clipped where it clips."""

    def __call__(self, actor: Any, obs: Tensor) -> Tensor:
        """The head [B, p]."""
        action: Tensor = computed(actor, "policy", obs)[0]
        return _clipped(action, actor, "_d") if actor._d_clip_actions else action


@dataclass(frozen=True)
class GaussianHead:
    """h = (mean, log σ) of a ``GaussianMixin`` or ``MultivariateGaussianMixin``, each clipped where it clips them.

    Attributes:
        prefix: how the mixin's attributes begin, ``_g`` or ``_mg``.
    """

    prefix: str

    def __call__(self, actor: Any, obs: Tensor) -> Tensor:
        """The head [B, 2p]."""
        mean, outputs = computed(actor, "policy", obs)
        log_std = outputs["log_std"]
        if getattr(actor, f"{self.prefix}_clip_mean_actions"):
            mean = _clipped(mean, actor, self.prefix)
        if getattr(actor, f"{self.prefix}_clip_log_std"):
            ends = (getattr(actor, f"{self.prefix}_{end}_log_std") for end in ("min", "max"))
            log_std = torch.clamp(log_std, *ends)
        return torch.cat([mean, log_std.expand_as(mean)], dim=-1)


@dataclass(frozen=True)
class CategoricalHead:
    """h = the logits of a ``CategoricalMixin``."""

    def __call__(self, actor: Any, obs: Tensor) -> Tensor:
        """The head [B, actions]."""
        logits: Tensor = computed(actor, "policy", obs)[0]
        return logits


class Critic(nn.Module):
    """Q(s, a) of a model in one role: [B, n], [B, p] → [B, 1].

    Args:
        model: a copy that shares its layers.
        role: the name it has among the agent's models.
    """

    def __init__(self, model: nn.Module, role: str) -> None:
        super().__init__()
        self.model = model
        self.role = role

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """The value [B, 1]."""
        value: Tensor = computed(self.model, self.role, obs, act)[0]
        return value


class Value(nn.Module):
    """V(s) of a model in the role "value", in units of return: [B, n] → [B, 1].

    Args:
        model: a copy that shares its layers.
        is_policy: whether the model is the policy as well.
        preprocessor: what returns are standardised with for the model, where they are.
    """

    def __init__(self, model: nn.Module, *, is_policy: bool, preprocessor: Any = None) -> None:
        super().__init__()
        self.model = model
        self.is_policy = is_policy
        self.preprocessor = preprocessor

    def forward(self, obs: Tensor) -> Tensor:
        """The value [B, 1]."""
        value: Tensor = computed(self.model, "value", obs, policy_first=self.is_policy)[0]
        if self.preprocessor is None:
            return value
        # The library's own scaler has its gradient switched off unless it is told otherwise.
        options = {"no_grad": False} if type(self.preprocessor).__name__ == "RunningStandardScaler" else {}
        scaled: Tensor = self.preprocessor(value, inverse=True, **options)
        return scaled


def require_plain_values(algorithm: str, role: str, model: Any) -> None:
    """Refuse a critic or value function that is no ``DeterministicMixin``, or clips values to the action box.

    Raises:
        GradlabError: it is such a one.
    """
    if getattr(model, "_d_clip_actions", None) is not False:
        raise GradlabError(
            f"view: this {algorithm}'s {role} is {type(model).__qualname__}; only a DeterministicMixin without "
            f"clip_actions is supported there; {DOOR}"
        )


def acts_by_mixin(model: Any) -> bool:
    """Whether ``act`` is a mixin's own."""
    module: str = type(model).act.__module__
    return module.startswith("skrl.models.torch.")


def require_mixins_act(
    algorithm: str, role: str, model: Any, expected: Expected, *, policy_first: bool = False
) -> None:
    """Refuse a model whose own ``act`` gives something else than ``compute`` and the mixin say.

    A model that is policy and value at once must have an ``act`` of its own, to choose between two mixins; another use
    of it, such as a tanh around the action, would make every gradient wrong without a word. A copy is asked, with the
    global random states put back.

    Args:
        algorithm: its name, for the message.
        role: the role it is asked in.
        model: a copy that shares its layers.
        expected: what ``act`` must give, by name, from a model, observations and its action.
        policy_first: whether it is asked as the policy before, from which it may keep something.

    Raises:
        GradlabError: it gives something else.
    """
    if acts_by_mixin(model):
        return
    own: Any = copy.deepcopy(model).eval()
    parameter = next(iter(own.parameters()), torch.zeros(()))
    obs = torch.randn(8, own.num_observations, generator=torch.Generator().manual_seed(0)).to(parameter)
    with torch.no_grad(), torch.random.fork_rng([parameter.device] if parameter.is_cuda else []):
        once = copy.copy(own)
        for asked in ("policy", role) if policy_first else (role,):
            action, outputs = once.act({"observations": obs, "states": None}, role=asked)
        wanted = expected(own, obs, action)
    found = {"action": action, **outputs}
    if not all(name in found and _same(found[name], value) for name, value in wanted.items()):
        raise GradlabError(
            f"view: this {algorithm}'s {role}, {type(model).__qualname__}, has an act() of its own that gives "
            f"something else than its mixin's; {DOOR}"
        )


def _same(found: Tensor, wanted: Tensor) -> bool:
    try:
        found, wanted = torch.broadcast_tensors(found, wanted)
    except RuntimeError:
        return False
    return torch.allclose(found, wanted, atol=1e-5)


def _clipped(action: Tensor, actor: Any, prefix: str) -> Tensor:
    low, high = (getattr(actor, f"{prefix}_{end}_actions") for end in ("min", "max"))
    return torch.clamp(action, low.to(action.device), high.to(action.device))
