"""PAVE's regularisers of the critic's action gradient, as losses to add to the critic's own in training.

Source: *Stabilizing the Q-Gradient Field for Policy Smoothness in Actor-Critic* (PAVE, arXiv 2601.22970), which adds
λ₁·``mixed_partial_loss`` + λ₂·``field_consistency_loss`` + λ₃·``curvature_hinge_loss`` to the temporal-difference loss
of critics with SiLU units; (λ₁, λ₂, λ₃) = (2, .005, 2) on Pendulum, (.1, .005, .5) on Ant, Hopper and Humanoid and
(.1, .1, .01) on LunarLander, Reacher and Walker. Each is for one critic; of several, add theirs up.

They are differentiable in whatever the critic is made of, not in the observations and actions they are given, and leave
every ``.grad`` alone. Of a critic made by ``torch.compile`` the module is taken that was compiled, since torch cannot
differentiate compiled code twice; leave the call of a loss out of compiled functions, too. In evaluation
``gradlab.curvature.field_regularity`` measures the same numbers with intervals.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradlab.arguments import real_number, shown, switch, whole_number
from gradlab.critics import Critic, evaluate
from gradlab.errors import GradlabError


def mixed_partial_loss(
    critic: Critic, obs: Tensor, act: Tensor, sigma: float = 0.01, generator: torch.Generator | None = None
) -> Tensor:
    """How much the action gradient changes when the observation is disturbed.

    E‖∇_a Q(s + ε, a) − ∇_a Q(s, a)‖², ε ~ N(0, σ²I), one ε a row; σ²‖∇²_as Q‖_F² + O(σ⁴) where Q is smooth.

    Args:
        critic: (obs [B, n], act [B, p]) → [B] or [B, 1].
        obs: observations [B, n].
        act: actions [B, p], in the critic's coordinates.
        sigma: σ, in observation units.
        generator: source of ε; torch's global random state when None.

    Returns:
        The mean over rows, a scalar with its graph to the critic's parameters.

    Raises:
        GradlabError: shapes do not fit, σ is not positive, or the critic's value has no graph.

    Example:
        >>> bilinear = torch.nn.Bilinear(1, 1, 1, bias=False)
        >>> obs, act = torch.zeros(4, 1), torch.zeros(4, 1)
        >>> loss = mixed_partial_loss(bilinear, obs, act, generator=torch.Generator().manual_seed(0))
        >>> loss.shape, loss.requires_grad, bilinear.weight.grad
        (torch.Size([]), True, None)
    """
    _check_rows(obs, act)
    _check_generator(generator)
    sigma = real_number("sigma", sigma, above=0.0)
    gradient, _ = _action_gradient(critic, obs, act)
    disturbed, _ = _action_gradient(critic, obs + sigma * _normal(obs, generator), act)
    return (disturbed - gradient).square().sum(-1).mean()


def field_consistency_loss(
    critic: Critic, obs: Tensor, act: Tensor, next_obs: Tensor, next_act: Tensor | None = None
) -> Tensor:
    """How much the action gradient changes from one state to the one that follows.

    E‖∇_a Q(s_t, a_t) − ∇_a Q(s_{t+1}, a)‖². With a = a_t, as PAVE has it, the change is the state's alone; with
    a = a_{t+1} it is that of the field along the trajectory. Transitions across the end of an episode must be left
    out.

    Args:
        critic: as in ``mixed_partial_loss``.
        obs: observations s_t, [B, n].
        act: actions a_t, [B, p].
        next_obs: observations s_{t+1}, [B, n].
        next_act: actions a_{t+1}, [B, p]; a_t when None.

    Raises:
        GradlabError: shapes do not fit, or the critic's value has no graph.

    Example:
        >>> bilinear = torch.nn.Bilinear(1, 1, 1, bias=False)
        >>> one = torch.ones(4, 1)
        >>> loss = field_consistency_loss(bilinear, one, one, 3 * one)
        >>> bool(torch.isclose(loss, 4 * bilinear.weight.square().sum()))
        True
    """
    _check_rows(obs, act)
    following = act if next_act is None else next_act
    _check_tensor("next_obs", next_obs)
    _check_tensor("next_act", following)
    if next_obs.shape != obs.shape or following.shape != act.shape:
        raise GradlabError(
            f"next_obs and next_act: shapes {tuple(next_obs.shape)} and {tuple(following.shape)}; expected those of "
            f"obs and act, {tuple(obs.shape)} and {tuple(act.shape)}"
        )
    gradient, _ = _action_gradient(critic, obs, act)
    after, _ = _action_gradient(critic, next_obs, following)
    return (after - gradient).square().sum(-1).mean()


def curvature_hinge_loss(
    critic: Critic,
    obs: Tensor,
    act: Tensor,
    delta: float = 1.0,
    probes: int = 1,
    generator: torch.Generator | None = None,
    *,
    check: bool = True,
) -> Tensor:
    """How far Q is from being curved downwards in the action by a margin.

    E max(0, vᵀ∇²_aa Q v + δ), v of random signs. The mean of vᵀHv is the trace, so that the loss asks for tr H ≤ −δ
    rather than for a strict maximum: diag(1, −5) has loss 0 at δ ≤ 4, though Q rises in one direction.

    A piecewise-linear critic (ReLU) has no curvature: the loss would be the constant δ, with no gradient. This is
    refused where it is seen: every vᵀHv is exactly zero though ∇_a Q is not. A smooth critic never shows that, so that
    it is the first step of a run that fails, and none in its middle.

    Args:
        critic: as in ``mixed_partial_loss``.
        obs: observations [B, n].
        act: actions [B, p].
        delta: the margin δ, in units of Q over action units squared.
        probes: vectors v a row, each a Hessian–vector product.
        generator: source of the signs; torch's global random state when None.
        check: whether to refuse a critic without curvature; it makes a GPU wait for the numbers.

    Raises:
        GradlabError: shapes do not fit, ``probes`` is below 1, the critic's value has no graph, or Q has no curvature.

    Example:
        >>> weight = torch.tensor(-0.2, requires_grad=True)
        >>> obs, act = torch.zeros(3, 1), torch.ones(3, 2)
        >>> loss = curvature_hinge_loss(lambda obs, act: weight * act.square().sum(-1), obs, act)
        >>> loss.backward()
        >>> round(loss.item(), 6), weight.grad.item()
        (0.2, 4.0)
    """
    _check_rows(obs, act)
    delta, probes = real_number("delta", delta), whole_number("probes", probes, 1)
    check = switch("check", check)
    _check_generator(generator)
    gradient, at = _action_gradient(critic, obs, act)
    along = []
    for _ in range(probes):
        signs = _signs(act, generator)
        with torch.enable_grad():
            (product,) = torch.autograd.grad((gradient * signs).sum(), at, create_graph=True, materialize_grads=True)
            along.append((product * signs).sum(-1))
    curvature = torch.stack(along)
    if check and not bool((curvature != 0).any()) and bool((gradient != 0).any()):
        raise GradlabError(
            f"critic: its curvature in the action is exactly zero in all {len(act)} rows, as that of a ReLU network "
            "is, so this loss is constant and teaches nothing; use SiLU units or others that are smooth"
        )
    return (curvature + delta).clamp_min(0).mean()


def _check_rows(obs: Tensor, act: Tensor) -> None:
    _check_tensor("obs", obs)
    _check_tensor("act", act)
    if obs.ndim != 2 or act.ndim != 2 or len(obs) != len(act) or 0 in (*obs.shape, *act.shape):
        raise GradlabError(
            f"obs and act: shapes {tuple(obs.shape)} and {tuple(act.shape)}; expected [B, n] and [B, p], not empty"
        )


def _check_tensor(name: str, value: Any) -> None:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise GradlabError(f"{name}: {kind}; give a tensor of a floating type, the critic's own")


def _check_generator(generator: Any) -> None:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise GradlabError(f"generator: {shown(generator)}; give a torch.Generator, or None for the global state")


def _action_gradient(critic: Critic, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
    """∇_a Q [B, p] with its graph, and the actions it was taken at; rows must not depend on each other."""
    if not callable(critic):
        raise GradlabError(f"critic: {shown(critic)}; give a module or a function (obs, act) -> q")
    with torch.enable_grad():
        at = act.detach().requires_grad_()
        value = evaluate(critic, "critic", obs.detach(), at, None)
        if not value.requires_grad:
            raise GradlabError("critic: its value has no graph, as under no_grad or detached; nothing can be learnt")
        (gradient,) = torch.autograd.grad(value.sum(), at, create_graph=True, materialize_grads=True)
    # Differentiated once more it would silently be zero.
    if "CompiledFunction" in type(gradient.grad_fn).__name__:
        raise GradlabError("critic: compiled, which torch cannot differentiate twice; give the critic as it was before")
    return gradient, at


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Normal numbers of the shape, drawn on the generator's own device."""
    device = like.device if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)


def _signs(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Random signs of the shape, drawn likewise."""
    device = like.device if generator is None else generator.device
    return torch.randint(0, 2, like.shape, generator=generator, device=device).to(like) * 2 - 1
