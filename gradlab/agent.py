"""Agent: how gradlab sees any actor–critic."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.arguments import real_number, shown, whole, whole_number
from gradlab.critics import (
    Critic,
    Reduction,
    StateValue,
    check_reduction,
    evaluate,
    evaluate_state_value,
    reduce,
    refuse_wrong_length,
)
from gradlab.errors import GradlabError
from gradlab.modules import COARSE, copied, owner, refuse_unready, uncompiled
from gradlab.objective import Objective
from gradlab.policies import Deterministic, Policy

Head = Callable[[Any, Tensor], Tensor]

_OTHER = ("actor", "target critic or value")

#: Rows a network is evaluated on at a time: activations of a 256-wide layer then stay near 16 MB.
_ROWS = 16_384


def _default_head(actor: Any, obs: Tensor) -> Tensor:
    out = actor(obs)
    if not isinstance(out, Tensor):
        raise GradlabError(
            f"actor: returned {type(out).__name__}, not a tensor; pass head=lambda actor, obs: ... to gradlab.Agent"
        )
    return out


def _listed(name: str, critics: Any) -> tuple[Critic, ...]:
    # Once, so that a generator is not used up by looking at it.
    found = () if callable(critics) or not isinstance(critics, Iterable) else tuple(critics)
    if callable(critics) or not isinstance(critics, Iterable) or not all(callable(critic) for critic in found):
        raise GradlabError(f"{name}: expected a list of callables (obs, act) -> q; write {name}=[critic]")
    return found


def _alpha(entropy: Any) -> float:
    try:
        # Not refused where it is NaN: that of a run that has diverged is.
        return float(entropy.detach() if isinstance(entropy, Tensor) else entropy)
    except (TypeError, ValueError, RuntimeError):
        raise GradlabError(
            f"entropy: {shown(entropy)}; give the number that α is now, and attach() a function that makes the Agent "
            "where training changes it"
        ) from None


def _checked_discount(discount: Any) -> float:
    found = real_number("discount", discount, 0.0, "γ is a number from 0 to 1")
    if found > 1:
        raise GradlabError(f"discount: {found:g}; γ is a number from 0 to 1")
    return found


class Agent:
    """An actor, its critics and the few facts that decide what their gradient means.

    Actions are always in the critic's own coordinates (what the library feeds its critic); ``to_env`` and
    ``from_env`` map to environment units.

    Args:
        actor: module that owns the policy's parameters; ``head(actor, obs)`` gives the head [B, m]. By default
            the head is what the actor returns. Of a compiled one, and of compiled critics, the module is taken that
            was compiled.
        critics: callables ``(obs [B, n], act [B, p]) -> [B]`` or ``[B, 1]``; modules, so that they can be copied.
            Critics of quantiles give ``[B, quantiles]``, and only where ``quantiles`` says so.
        action_low: lower corner of the action box in the critic's coordinates, [p] or a number per coordinate.
        action_high: upper corner, likewise.
        discount: γ of the training objective.
        policy: what the head means; ``policies.Deterministic()`` (head = action) by default.
        head: how to get the head from the actor, a pure function without state.
        reduction: which critic the actor follows: the ``first`` (DDPG, TD3), the ``min`` (SAC), the ``mean`` (REDQ,
            TQC), or ``truncated``: the mean of all critics' quantiles without the highest (TQC's targets).
        target_critics: slow copies of the critics, where the algorithm has them.
        quantiles: number of quantiles of the return that a critic gives (TQC, QR-DQN); their mean is its value. None
            for critics of the value itself.
        drop_quantiles: how many of the highest quantiles per critic ``truncated`` leaves out.
        value: V(s), ``obs [B, n] -> [B]`` or ``[B, 1]``, where the algorithm learns one (PPO, A2C, TRPO); a module, so
            that it can be copied.
        entropy: coefficient α of the entropy bonus in the actor's objective, as it is now; of an α that training
            learns, ``probes.attach`` takes a function that gives the agent anew.
        env_low: lower corner of the environment's action box; the critic's by default.
        env_high: upper corner, likewise.
        obs_size: length n of an observation, for a clear message when one does not fit; None to not check.
        algorithm: name of the algorithm, for people.
        library: name of the library, for people.

    Raises:
        GradlabError: the box is empty, unbounded or of inconsistent shape, the critics are not a sequence, the value
            is not callable, the reduction does not fit the critics, the discount is no number from 0 to 1, or another
            argument is not of the kind that it must be.

    Example:
        >>> actor = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return -(act - obs[:, :2]).square().sum(-1)
        >>> agent = Agent(actor, [Critic()], action_low=[-1, -1], action_high=[1, 1])
        >>> obs = torch.zeros(5, 3)
        >>> agent.head(obs).shape, agent.q(obs, agent.action(obs)).shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(
        self,
        actor: nn.Module,
        critics: Sequence[Critic],
        action_low: Any,
        action_high: Any,
        discount: float = 0.99,
        *,
        policy: Policy | None = None,
        head: Head = _default_head,
        reduction: Reduction = "first",
        target_critics: Sequence[Critic] = (),
        quantiles: int | None = None,
        drop_quantiles: int = 0,
        value: StateValue | None = None,
        entropy: float | Tensor = 0.0,
        env_low: Any = None,
        env_high: Any = None,
        obs_size: int | None = None,
        algorithm: str = "",
        library: str = "",
    ) -> None:
        if not isinstance(actor, nn.Module):
            raise GradlabError(f"actor: {shown(actor)}; give the torch.nn.Module that owns the policy's parameters")
        critics, target_critics = _listed("critics", critics), _listed("target_critics", target_critics)
        if value is not None and not callable(value):
            raise GradlabError(f"value: {shown(value)}; expected a callable obs -> V(s), or None")
        check_reduction(reduction, quantiles, drop_quantiles)
        self.actor = uncompiled(actor)
        self.critics = tuple(uncompiled(critic) for critic in critics)
        self.target_critics = tuple(uncompiled(critic) for critic in target_critics)
        self.value = uncompiled(value)
        for number, part in enumerate(self.parts):
            refuse_unready(f"critic {number - 1}" if 0 < number <= len(self.critics) else _OTHER[number > 0], part)
        self.policy = Deterministic() if policy is None else policy
        if not isinstance(self.policy, Policy):
            raise GradlabError(f"policy: {shown(policy)}; give one of gradlab.policies, such as Gaussian()")
        if not callable(head):
            raise GradlabError(f"head: {shown(head)}; give a function (actor, obs) -> head [B, m]")
        self._head = head
        self.reduction: Reduction = reduction
        self.quantiles = quantiles
        self.drop_quantiles = drop_quantiles
        self.discount = _checked_discount(discount)
        self.entropy = _alpha(entropy)
        self.obs_size = None if obs_size is None else whole_number("obs_size", obs_size, 1)
        self.algorithm = algorithm
        self.library = library
        self.action_low, self.action_high = self._box(action_low, action_high, "action")
        self.env_low, self.env_high = self._box(
            self.action_low if env_low is None else env_low,
            self.action_high if env_high is None else env_high,
            "environment action",
        )

    def _box(self, low: Any, high: Any, name: str) -> tuple[Tensor, Tensor]:
        try:
            corners = [
                torch.atleast_1d(torch.as_tensor(c, dtype=self.dtype, device=self.device).detach().clone())
                for c in (low, high)
            ]
        except (TypeError, ValueError, RuntimeError):
            raise GradlabError(
                f"{name} box: low is {shown(low)}, high {shown(high)}; give one number per action coordinate"
            ) from None
        if corners[0].ndim != 1 or corners[0].shape != corners[1].shape:
            raise GradlabError(
                f"{name} box: low has shape {tuple(corners[0].shape)}, high {tuple(corners[1].shape)}; "
                "both must be one number per action coordinate"
            )
        if not bool(torch.isfinite(torch.stack(corners)).all()):
            raise GradlabError(f"{name} box: has infinite or NaN bounds; gradlab needs a bounded action box")
        if not bool((corners[0] < corners[1]).all()):
            raise GradlabError(f"{name} box: low must be below high in every coordinate")
        return corners[0], corners[1]

    # What it is made of ------------------------------------------------------------------------------------

    @property
    def action_size(self) -> int:
        """Number p of action coordinates."""
        return self.action_low.numel()

    @property
    def objective(self) -> Objective:
        """The objective the training run states: its discount and its entropy bonus."""
        return Objective(discount=self.discount, entropy=self.entropy)

    @property
    def dtype(self) -> torch.dtype:
        """The floating type of the actor's parameters."""
        parameter = next(iter(self.actor.parameters()), None)
        return torch.get_default_dtype() if parameter is None else parameter.dtype

    @property
    def device(self) -> torch.device:
        """The device of the actor's parameters."""
        parameter = next(iter(self.actor.parameters()), None)
        return torch.device("cpu") if parameter is None else parameter.device

    @property
    def parts(self) -> tuple[Any, ...]:
        """The actor, the critics, the target critics and the value function, where there is one."""
        value = () if self.value is None else (self.value,)
        return (self.actor, *self.critics, *self.target_critics, *value)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The actor's trainable parameters by name, as the library names them."""
        return {name: p for name, p in self.actor.named_parameters() if p.requires_grad}

    def snapshot(self, *, double: bool = False) -> Agent:
        """A deep copy that shares nothing with the live agent, in float64 when ``double``.

        Measuring a snapshot cannot change the training run: no parameter, buffer, mode, gradient or hook of
        the live modules is touched.
        """
        other = copy.copy(self)
        parts = (self.actor, self.critics, self.target_critics, self.value)
        other.actor, other.critics, other.target_critics, other.value = copied(parts)
        for module in other._modules():
            for parameter in module.parameters():
                parameter.grad = None
            if double:
                module.double()
        if double:
            other._box_in(torch.float64)
        return other

    @property
    def coarse(self) -> torch.dtype | None:
        """The half precision that networks of it are in, wholly or in part; None where none is."""
        found = (parameter.dtype for module in self._modules() for parameter in module.parameters())
        return next((dtype for dtype in found if dtype in COARSE), None)

    def single(self) -> Agent:
        """Itself, or where networks are in half precision a copy with those in float32.

        The weights are the same numbers; what goes is the rounding of what is computed with them.
        """
        if self.coarse is None:
            return self
        other = self.snapshot()
        for module in other._modules():
            if any(parameter.dtype in COARSE for parameter in module.parameters()):
                module.float()
        other._box_in(other.dtype)
        return other

    def _modules(self) -> list[nn.Module]:
        # A critic may be a method of a module.
        return [module for part in self.parts if (module := owner(part)) is not None]

    def _box_in(self, dtype: torch.dtype) -> None:
        for name in ("action_low", "action_high", "env_low", "env_high"):
            setattr(self, name, getattr(self, name).to(dtype))

    # What it computes --------------------------------------------------------------------------------------

    def observations(self, obs: Any, *, images: bool = False) -> Tensor:
        """``obs`` as a tensor [B, n] on the agent's device and in its dtype.

        Args:
            obs: the observations.
            images: whether observations of more than one dimension each are taken too, [B, ...].

        Raises:
            GradlabError: the shape is not [B, n], n is not the agent's, or a value is not finite.
        """
        try:
            tensor = torch.as_tensor(obs)
        except (TypeError, ValueError, RuntimeError):
            raise GradlabError(
                f"observations: {shown(obs)}; give numbers [states, {self.obs_size or 'n'}], such as a tensor"
            ) from None
        if tensor.is_complex():
            raise GradlabError("observations: the numbers are complex; give real ones")
        tensor = tensor.to(dtype=self.dtype, device=self.device)
        if images and tensor.ndim > 2 and len(tensor):
            return tensor
        if tensor.ndim != 2 or tensor.shape[0] == 0:
            raise GradlabError(
                f"observations: shape {tuple(tensor.shape)}; expected [states, {self.obs_size or 'n'}], not empty"
            )
        if self.obs_size is not None and tensor.shape[1] != self.obs_size:
            raise GradlabError(
                f"observations: {tensor.shape[1]} numbers each, but this agent takes {self.obs_size}; "
                "is this the environment it was trained on?"
            )
        if not bool(torch.isfinite(tensor).all()):
            bad = (~torch.isfinite(tensor)).any(-1).nonzero().flatten().tolist()
            raise GradlabError(f"observations: NaN or infinite values in state(s) {bad[:5]}; leave them out")
        return tensor

    def head(self, obs: Tensor) -> Tensor:
        """The head h_θ(s), [B, m], with its graph to the actor's parameters.

        Raises:
            GradlabError: the actor was made for observations of another length.
        """
        try:
            return self._head(self.actor, obs)
        except RuntimeError as error:
            refuse_wrong_length(error, "actor", self.actor, obs.shape[-1], (obs.shape[-1],))
            raise

    def action(self, obs: Tensor) -> Tensor:
        """The action without exploration, [B, p], in the critic's coordinates."""
        return self.policy.mode(self.head(obs))

    def v(self, obs: Tensor) -> Tensor:
        """The value function V(s) at observations [B, n], [B]: what PPO, A2C and TRPO learn beside the actor.

        Raises:
            GradlabError: the agent has no value function, or it returns something unexpected.
        """
        if self.value is None:
            raise GradlabError("agent: has no value function of obs; pass value=... to gradlab.Agent")
        return torch.cat([evaluate_state_value(self.value, rows) for rows in obs.split(_ROWS)])

    def q_all(self, obs: Tensor, act: Tensor, *, target: bool = False) -> Tensor:
        """Every critic's value: obs [B, n], act [..., B, p] → [critics, ..., B]."""
        values = self._values(obs, act, target=target)
        return values if self.quantiles is None else values.mean(-1)

    def q(
        self,
        obs: Tensor,
        act: Tensor,
        *,
        critic: int | None = None,
        reduction: Reduction | None = None,
        target: bool = False,
    ) -> Tensor:
        """The value the actor follows: obs [B, n], act [..., B, p] → [..., B].

        Args:
            obs: observations [B, n].
            act: actions, any number of leading dimensions over the same B states.
            critic: index of one critic instead of a reduction of all.
            reduction: another reduction than the agent's own.
            target: of the target critics instead of the critics.

        Raises:
            GradlabError: the agent has no such critic, or a critic returns something unexpected.
        """
        reduction = reduction or self.reduction
        check_reduction(reduction, self.quantiles, self.drop_quantiles)
        only = 0 if critic is None and reduction == "first" else critic
        values = self._values(obs, act, target=target, only=only)
        return reduce(values, "first" if only is not None else reduction, self.quantiles, self.drop_quantiles)

    def action_gradient(
        self,
        obs: Tensor,
        act: Tensor,
        *,
        critic: int | None = None,
        reduction: Reduction | None = None,
        target: bool = False,
    ) -> Tensor:
        """∇_a Q(s, a), detached: act [..., B, p] → [..., B, p]; arguments as for ``q``.

        Zero where Q does not depend on the action, NaN where Q is NaN or infinite.

        Raises:
            GradlabError: Q depends on the action, and autograd does not know how.
        """
        with torch.enable_grad():
            at = act.detach().requires_grad_()
            value = self.q(obs.detach(), at, critic=critic, reduction=reduction, target=target)
            found = torch.autograd.grad(value.sum(), at, allow_unused=True)[0] if value.requires_grad else None
        if found is None:
            elsewhere = torch.where(act.detach() == self.action_low, self.action_high, self.action_low)
            there = self.q(obs.detach(), elsewhere, critic=critic, reduction=reduction, target=target)
            if not torch.equal(value.detach().nan_to_num(), there.detach().nan_to_num()):
                raise GradlabError(
                    "critic: its value changes with the action, but has no graph to it; call the critic without "
                    "torch.no_grad(), .detach() and NumPy inside"
                )
        gradient = torch.zeros_like(act) if found is None else found
        return gradient.masked_fill(~torch.isfinite(value.detach()).unsqueeze(-1), torch.nan)

    def _values(self, obs: Tensor, act: Tensor, *, target: bool = False, only: int | None = None) -> Tensor:
        """The chosen critics' values [chosen, ..., B], or their quantiles [chosen, ..., B, quantiles]."""
        critics, kind = (self.target_critics, "target critic") if target else (self.critics, "critic")
        if not critics:
            raise GradlabError(f"agent: has no {kind} of (obs, act); this measurement needs one")
        if only is not None and not (whole(only, 0) and only < len(critics)):
            raise GradlabError(
                f"agent: has {len(critics)} {kind}s, numbered from 0, and no {shown(only)}; choose one of them"
            )
        chosen = range(len(critics)) if only is None else (int(only),)
        return torch.stack([self._evaluate(critics[i], f"{kind} {i}", obs, act) for i in chosen])

    def _evaluate(self, critic: Critic, name: str, obs: Tensor, act: Tensor) -> Tensor:
        if act.shape[-1] != self.action_size:
            # Noise of the box's size would broadcast over the coordinates of the action and be silently wrong.
            raise GradlabError(
                f"actions: {act.shape[-1]} coordinates, but the action box has {self.action_size}; "
                "give action_low and action_high one number per coordinate"
            )
        shape = act.shape[:-1]
        rows_obs = obs.expand(*shape, *obs.shape[1:]).reshape(-1, *obs.shape[1:])
        rows_act = act.reshape(-1, act.shape[-1])
        chunks = zip(rows_obs.split(_ROWS), rows_act.split(_ROWS), strict=True)
        values = torch.cat([evaluate(critic, name, o, a, self.quantiles) for o, a in chunks])
        return values.reshape(*shape, *values.shape[1:])

    # Coordinates -------------------------------------------------------------------------------------------

    def to_env(self, act: Tensor) -> Tensor:
        """From the critic's action coordinates to environment units, affinely."""
        low, high = self.action_low.to(act), self.action_high.to(act)
        env_low, env_high = self.env_low.to(act), self.env_high.to(act)
        return env_low + (act - low) * ((env_high - env_low) / (high - low))

    def from_env(self, act: Tensor) -> Tensor:
        """From environment units to the critic's action coordinates, affinely."""
        low, high = self.action_low.to(act), self.action_high.to(act)
        env_low, env_high = self.env_low.to(act), self.env_high.to(act)
        return low + (act - env_low) * ((high - low) / (env_high - env_low))

    def __repr__(self) -> str:
        name = " ".join(part for part in (self.library, self.algorithm) if part) or "agent"
        return (
            f"<Agent {name}: {type(self.policy).__name__} policy, {self.action_size} actions, "
            f"{len(self.critics)} critics ({self.reduction}), {self.objective}>"
        )
