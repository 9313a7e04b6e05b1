"""Where second derivatives are taken: an agent ready to be measured, its states and actions, checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.arguments import real_number, real_tensor, shown
from gradlab.errors import GradlabError
from gradlab.evaluation_mode import in_evaluation
from gradlab.hessians.differences import relative_steps
from gradlab.hessians.piecewise import refuse_piecewise_linear
from gradlab.hessians.state_gradients import refuse_interaction

#: Numbers that a chunk of rows may hold in activations (128 MB in float64).
_NUMBERS = 2**24
#: Shortest step, as a share of the action box's width; float64 has 16 digits, and differences need some of them.
_SHORTEST = 1e-12
#: Copies of the activations that differentiating twice keeps.
_COPIES = 8


@dataclass(frozen=True)
class Points:
    """States and actions of an agent's critic, all float64.

    Attributes:
        agent: a float64 snapshot in evaluation mode; the live agent is not touched.
        obs: observations [B, n].
        act: actions [B, p], in the critic's own coordinates.
        critic: index of one critic, or None for the value that the actor follows.
        obs_scale: a step in each observation feature for a step of one in an action, [n].
    """

    agent: Agent
    obs: Tensor
    act: Tensor
    critic: int | None
    obs_scale: Tensor

    def at(self, states: slice) -> Points:
        """The same at some of the states."""
        return replace(self, obs=self.obs[states], act=self.act[states])

    @property
    def rows_at_a_time(self) -> int:
        """How many rows of (s, a) the critics take at a time, so that activations stay near 128 MB."""
        # Of every output size that a layer states; a critic of one's own making is taken to hold a thousand numbers.
        modules = {id(m): m for c in self.agent.critics if isinstance(c, nn.Module) for m in c.modules()}
        sizes = [m.out_features for m in modules.values() if isinstance(m, nn.Linear)]
        width = max(sum(sizes) // max(len(self.agent.critics), 1), 1_000) + self.obs.shape[1]
        return max(1, min(8_192, _NUMBERS // (_COPIES * width)))


def points(
    agent: Agent, obs: Any, act: Any = None, *, critic: int | None = None, obs_scale: Any = None, exact: bool = False
) -> Points:
    """States and actions for second derivatives, or one line on what is wrong with them.

    Args:
        agent: the agent; a float64 snapshot of it in evaluation mode is kept.
        obs: observations [B, n].
        act: actions [B, p]; the actor's own when None.
        critic: index of one critic instead of the value that the actor follows.
        obs_scale: [n] positive numbers; ``feature_scale(obs)`` when None.
        exact: whether derivatives will be exact, which piecewise-linear critics are refused.

    Raises:
        GradlabError: actions are discrete, a shape does not fit, the critic cannot be evaluated in float64 or is not
            finite, or it is piecewise linear and ``exact``.

    Example:
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return -act.square().sum(-1)
        >>> found = points(Agent(nn.Linear(3, 2), [Critic()], [-1.0] * 2, [1.0] * 2), torch.zeros(5, 3))
        >>> found.act.shape, found.act.dtype
        (torch.Size([5, 2]), torch.float64)
    """
    if not agent.policy.continuous:
        raise GradlabError("agent: its actions are discrete; there is no action curvature")
    states = agent.observations(obs).double()
    double = in_evaluation(agent).snapshot(double=True)
    with torch.no_grad():
        at = double.action(states) if act is None else real_tensor("act", act).detach().to(states)
    if at.shape != (len(states), agent.action_size):
        raise GradlabError(f"act: shape {tuple(at.shape)}; expected {(len(states), agent.action_size)}")
    if not bool(torch.isfinite(at).all()):
        raise GradlabError("act: NaN or infinite actions; has the actor diverged?")
    found = Points(double, states, at, critic, relative_steps(states, obs_scale))
    _refuse_diverged(found)
    refuse_interaction(double, states, at, critic)
    if exact:
        refuse_piecewise_linear(double, states, critic)
    return found


def own_generator(generator: torch.Generator | None) -> torch.Generator:
    """The generator given, or a freshly seeded one, so that the global random state is left alone.

    Raises:
        GradlabError: what was given is no generator.
    """
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    if not isinstance(generator, torch.Generator):
        raise GradlabError(f"generator: {shown(generator)}; give a torch.Generator, or None for one freshly seeded")
    return generator


def step_length(agent: Agent, scale: Any) -> float | None:
    """The length of differences in action units, or None for exact derivatives.

    Raises:
        GradlabError: it is no length, or one so short that rounding swallows it: differences would be zero.
    """
    if scale is None:
        return None
    length = real_number("scale", scale, above=0.0, why="a length in action units, or None for exact derivatives")
    width = float((agent.action_high - agent.action_low).max())
    if length < _SHORTEST * width:
        raise GradlabError(f"scale: {length:g}; rounding swallows so short a step, give one from {_SHORTEST * width:g}")
    return length


def _refuse_diverged(found: Points) -> None:
    try:
        with torch.no_grad():
            value = found.agent.q(found.obs, found.act, critic=found.critic)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise GradlabError(
            f"critic: cannot be evaluated in float64 ({reason}); make it a module, not a function around one"
        ) from error
    if not bool(torch.isfinite(value).all()):
        bad = (~torch.isfinite(value)).nonzero().flatten().tolist()
        raise GradlabError(f"critic: NaN or infinite values in state(s) {bad[:5]}; has it diverged?")
