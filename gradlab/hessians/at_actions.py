"""Second derivatives of Q at given states and actions, one way or the other, with all that can be wrong checked."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_tensor
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.hessians import differences, exact, state_gradients
from gradlab.hessians.differences import relative_steps
from gradlab.hessians.piecewise import refuse_piecewise_linear
from gradlab.hessians.points import step_length


class SecondDerivatives(NamedTuple):
    """Second derivatives at B states.

    Attributes:
        action: ∇²_aa Q [B, p, p], symmetric.
        mixed: ∇²_as Q [B, p, n]; None where it was refused.
        refused: why, in a line.
    """

    action: Tensor
    mixed: Tensor | None
    refused: str = ""

    def with_state(self) -> Tensor:
        """∇²_as Q, or one line on why there is none.

        Raises:
            GradlabError: it was refused.
        """
        if self.mixed is None:
            raise GradlabError(f"there is no ∂/∂s: {self.refused}")
        return self.mixed


def second_derivatives(
    agent: Agent,
    obs: Any,
    act: Any,
    scale: float | None = None,
    *,
    critic: int | None = None,
    obs_scale: Any = None,
) -> SecondDerivatives:
    """∇²_aa Q and ∇²_as Q, exact or at a stated scale, in the dtype of what is given.

    Args:
        agent: in float64 where a scale is given; measured in evaluation mode.
        obs: observations [B, n], or images [B, channels, height, width], whose mixed part is refused.
        act: actions [B, p].
        scale: None for exact derivatives, otherwise the step of central differences of ∇_a Q in action units.
        critic: index of one critic instead of the one the actor follows.
        obs_scale: step in each observation feature relative to ``scale``, [n]; ``feature_scale(obs)`` by default.

    Raises:
        GradlabError: exact derivatives of a piecewise-linear critic are asked for, states of a batch interact, the
            critic cannot be evaluated in this dtype or is not finite, or a scale is none.

    Example:
        >>> q = lambda obs, act: (obs * act).sum(-1) - act.square().sum(-1)
        >>> agent = Agent(torch.nn.Linear(1, 1), [q], [-1.0], [1.0])
        >>> found = second_derivatives(agent, torch.ones(1, 1), torch.zeros(1, 1))
        >>> found.action.item(), found.mixed.item()
        (-2.0, 1.0)
    """
    scale = step_length(agent, scale)
    agent = in_evaluation(agent)
    obs, act = _rows(agent, obs, act)
    try:
        state_gradients.refuse_interaction(agent, obs, act, critic)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise GradlabError(
            f"critic: cannot be evaluated in {obs.dtype} ({reason}); make it a module, not a function around one"
        ) from error
    refused = state_gradients.refusal(obs)
    mixed: Tensor | None = None
    if scale is None:
        refuse_piecewise_linear(agent, obs, critic)
        refused = refused or state_gradients.blocked(agent, obs, act, critic)
        hessian, *rest = exact.exact(agent, obs, act, critic, by_state=not refused)
        mixed = rest[0] if rest else None
    else:
        hessian = differences.by_action(agent, obs, act, critic, scale)
        if not refused:
            steps = scale * relative_steps(obs, obs_scale)
            mixed = differences.by_state(agent, obs, act, critic, steps)
    if not bool(torch.isfinite(hessian).all()) or (mixed is not None and not bool(torch.isfinite(mixed).all())):
        raise GradlabError("critic: NaN or infinite second derivatives; has it diverged?")
    return SecondDerivatives(hessian, mixed, refused)


def _rows(agent: Agent, obs: Any, act: Any) -> tuple[Tensor, Tensor]:
    """Observations [B, ...] and actions [B, p] as tensors; numbers that are none yet get the agent's dtype."""
    if not agent.policy.continuous:
        raise GradlabError("agent: its actions are discrete; there is no action curvature")
    given = {"obs": obs, "act": act}
    found = {
        name: (real_tensor(name, part) if isinstance(part, Tensor) else real_tensor(name, part).to(agent.action_low))
        for name, part in given.items()
    }
    states, at = found["obs"].detach(), found["act"].detach()
    if states.ndim < 2 or len(states) == 0 or at.shape != (len(states), agent.action_size):
        raise GradlabError(
            f"obs and act: shapes {tuple(states.shape)} and {tuple(at.shape)}; expected [B, n], not empty, and "
            f"[B, {agent.action_size}]"
        )
    for name, part in (("obs", states), ("act", at)):
        if not part.is_floating_point() or not bool(torch.isfinite(part).all()):
            raise GradlabError(f"{name}: {part.dtype}, NaN or infinite; give finite numbers of a floating type")
    return states, at
