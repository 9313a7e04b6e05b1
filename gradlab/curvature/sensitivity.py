"""Mixed partials, action curvature and their ratio: what governs how fast a greedy action moves with the state."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor, shown, switch, whole
from gradlab.curvature.measured import Sensitivity, of_derivatives, of_spectra
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.hessians.at_actions import second_derivatives
from gradlab.hessians.exact import policy_jacobian
from gradlab.hessians.extremes import extreme_eigenvalues, spectral_norms
from gradlab.hessians.points import step_length
from gradlab.hessians.products import hessian_products
from gradlab.hessians.state_gradients import blocked_actor
from gradlab.landscape.optima import local_optima

#: Actions up to which the matrices of second derivatives are formed.
MATRICES = 64

#: Where curvature is measured: at the actor's action, or at the best local optimum of Q(s, ·).
At = Literal["actor", "optimum"]


def sensitivity(
    agent: Agent,
    obs: Any,
    scale: float | None = None,
    *,
    act: At | Tensor | None = None,
    critic: int | None = None,
    obs_scale: Tensor | None = None,
    matrices: bool | None = None,
) -> Sensitivity:
    """M, μ and M/μ of the critic at the actor's actions, next to the actor's own Jacobian.

    Where a*(s) is an interior maximum of Q(s, ·), the implicit function theorem gives
    ∂a*/∂s = −(∇²_aa Q)⁻¹ ∇²_as Q, hence ‖∂a*/∂s‖₂ ≤ M/μ (PAVE, arXiv 2601.22970). Observations are in whatever
    coordinates the agent takes (normalised ones, where the training run normalises), actions in the critic's own;
    ``Sensitivity.in_units`` has it in others.

    Args:
        agent: the agent; measured in evaluation mode. Exact derivatives are taken in its own dtype
            (``agent.snapshot(double=True)`` has more digits and takes twice as long), those at a scale in float64.
        obs: observations [B, n]; of images [B, channels, height, width] the action's part alone is given.
        scale: None for exact second derivatives; otherwise the step δ of central differences of ∇_a Q, in the critic's
            action units. A piecewise-linear critic has second derivatives at a scale only.
        act: where: at the actor's action (``"actor"``, None), at the best local optimum that ``local_optima`` finds
            (``"optimum"``), or at given actions [B, p], such as the replay buffer's.
        critic: index of one critic instead of the one the actor follows.
        obs_scale: step in each observation feature relative to ``scale``, [n]; by default the feature's standard
            deviation over ``obs``, but at least a tenth of the median of those; that median for a feature that does not
            vary, and 1 for a single state. It sets where Q is looked at, not the units of the result.
        matrices: whether ∇²_aa Q and ∇²_as Q are formed. By default they are, but for exact derivatives of more than
            64 actions: there M and the extreme eigenvalues are found by Lanczos from products with them, in float64,
            to 1e-8 of their size.

    Raises:
        GradlabError: exact derivatives of a piecewise-linear critic are asked for, states of a batch interact, actions
            are discrete, a shape does not fit, the scale is not positive, or the critic is not finite.

    Example:
        >>> class Quadratic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return -2 * act.square().sum(-1) + 3 * obs[:, 0] * act[:, 0]
        >>> agent = Agent(torch.nn.Linear(1, 1), [Quadratic()], [-1.0], [1.0])
        >>> found = sensitivity(agent, torch.zeros(1, 1))
        >>> found.mixed_partial.item(), found.curvature.item(), found.ratio.item()
        (3.0, 4.0, 0.75)
    """
    if not agent.policy.continuous:
        raise GradlabError("agent: its actions are discrete; there is no action curvature")
    if critic is not None and not (whole(critic, 0) and critic < len(agent.critics)):
        raise GradlabError(f"critic: {shown(critic)}, but this agent has critics 0 to {len(agent.critics) - 1}")
    scale, matrices = step_length(agent, scale), None if matrices is None else switch("matrices", matrices)
    agent, states = as_measured(agent, obs, scale)
    at, where = _actions(agent, states, act, critic)
    margin = 1e-3 * (agent.action_high - agent.action_low) if scale is None else scale
    room = torch.minimum(at - agent.action_low, agent.action_high - at)
    shape: dict[str, Any] = {
        "actions": at.double(),
        "interior": (room > margin).all(-1),
        "scale": scale,
        "at": where,
        "critic": "followed" if critic is None else f"critic {int(critic)}",
    }
    # Differences take as many gradients as there are coordinates, whatever is made of them.
    many = scale is None and agent.action_size > MATRICES and states.ndim == 2
    if matrices is False or (matrices is None and many):
        return _matrix_free(agent, states, scale, critic, obs_scale, shape)
    found = second_derivatives(agent, states, at, scale, critic=critic, obs_scale=obs_scale)
    jacobian = None if states.ndim > 2 or blocked_actor(agent, states) else policy_jacobian(agent, states)
    return of_derivatives(found, jacobian, **shape)


def _matrix_free(
    agent: Agent, obs: Tensor, scale: float | None, critic: int | None, obs_scale: Tensor | None, shape: dict[str, Any]
) -> Sensitivity:
    """M and the extreme eigenvalues from products, with Lanczos's own bound on their error taken for rounding."""
    products = hessian_products(agent, obs, shape["actions"], scale, critic=critic, obs_scale=obs_scale)
    generator = torch.Generator().manual_seed(0)
    ends = extreme_eigenvalues(products, generator=generator)
    mixed = torch.full_like(ends.highest, torch.nan)
    if not products.refused:
        mixed = spectral_norms(products, generator=generator).value
    size = torch.maximum(ends.lowest.abs(), ends.highest.abs()).clamp_min(torch.finfo(torch.float64).tiny)
    return of_spectra(
        torch.stack([ends.lowest, ends.highest], -1),
        mixed,
        ends.highest_error / size + 64 * torch.finfo(torch.float64).eps,
        None if blocked_actor(agent, obs) else policy_jacobian(agent, obs),
        mixed_frobenius=torch.full_like(mixed, torch.nan),
        action_hessian=None,
        mixed_hessian=None,
        refused=products.refused,
        **shape,
    )


def sensitivity_by_critic(agent: Agent, obs: Any, scale: float | None = None, **options: Any) -> dict[str, Sensitivity]:
    """``sensitivity`` of the value that the actor follows, ``followed``, and of each critic by itself, ``critic 0`` on.

    Args:
        agent: the agent.
        obs: observations [B, n].
        scale: as in ``sensitivity``.
        options: of ``sensitivity``: ``act``, ``obs_scale``. An optimum is each critic's own.

    Raises:
        GradlabError: as ``sensitivity`` does.

    Example:
        >>> bowls = [lambda obs, act, k=k: -k * act.square().sum(-1) + (obs * act).sum(-1) for k in (1, 2)]
        >>> agent = Agent(torch.nn.Linear(1, 1), bowls, [-9.0], [9.0])
        >>> {name: one.ratio.item() for name, one in sensitivity_by_critic(agent, torch.zeros(1, 1)).items()}
        {'followed': 0.5, 'critic 0': 0.5, 'critic 1': 0.25}
    """
    followed = sensitivity(agent, obs, scale, **options)
    # Where it is the first critic that is followed, it is not measured twice.
    first = agent.reduction == "first"
    alone = {
        f"critic {i}": followed if first and i == 0 else sensitivity(agent, obs, scale, critic=i, **options)
        for i in range(len(agent.critics))
    }
    return {"followed": followed, **alone}


def as_measured(agent: Agent, obs: Any, scale: float | None) -> tuple[Agent, Tensor]:
    """The agent and its observations as second derivatives are taken: in evaluation mode, in one dtype.

    Its own for exact ones, where actor and critics share it; float64 for differences.
    """
    agent = in_evaluation(agent)
    states = agent.observations(obs, images=True)
    modules = [getattr(critic, "__self__", critic) for critic in agent.critics]
    critics = [module for module in modules if isinstance(module, torch.nn.Module)]
    of_one_dtype = all(parameter.dtype == agent.dtype for module in critics for parameter in module.parameters())
    if scale is None and of_one_dtype:
        return agent, states
    return agent.snapshot(double=True), states.double()


def _actions(agent: Agent, obs: Tensor, act: At | Tensor | None, critic: int | None) -> tuple[Tensor, str]:
    """Where to measure [B, p], and what that is called."""
    if act is None or (isinstance(act, str) and act == "actor"):
        with torch.no_grad():
            own = agent.action(obs).detach()
        if not bool(torch.isfinite(own).all()):
            raise GradlabError("act: NaN or infinite actions; has the actor diverged?")
        return own, "actor"
    if isinstance(act, str) and act == "optimum":
        return local_optima(agent, obs, critic=critic).best_action.to(obs), "optimum"
    if isinstance(act, str):
        raise GradlabError(f"act: {shown(act)}; choose 'actor' or 'optimum', or give actions [B, p]")
    at = real_tensor("act", act).detach().to(obs)
    if at.shape != (len(obs), agent.action_size) or not bool(torch.isfinite(at).all()):
        raise GradlabError(
            f"act: shape {tuple(at.shape)} or a NaN; give one finite action a state, {(len(obs), agent.action_size)}"
        )
    return at, "given actions"
