"""Draws and reference at the states they have in common, checked once for every statistic that compares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.inference.inner_products import Label
from gradlab.objective import Objective, compare_objectives
from gradlab.products import check_cotangents, check_draws, kernel_product
from gradlab.references.base import ReferenceCotangent
from gradlab.tangent import TangentKernel, tangent_kernel


@dataclass(frozen=True)
class Checked:
    """Draws against a reference at the states where its gate is open.

    Attributes:
        agent: the agent.
        obs: observations [B, n].
        draws: cotangents [D, B, m].
        mean: the reference, [B, m], float64.
        stderr: its standard error, likewise.
        kernel: the tangent kernel at these states.
        label: what goes with every number.
    """

    agent: Agent
    obs: Tensor
    draws: Tensor
    mean: Tensor
    stderr: Tensor
    kernel: TangentKernel
    label: Label

    def product(self, vectors: Tensor) -> Tensor:
        """K v/B² of cotangents [..., B, m], flattened to [..., B·m], float64."""
        exact = self.kernel.matrix is not None
        product = self.kernel.product(vectors) if exact else kernel_product(self.agent, self.obs, vectors)
        return product.flatten(-2) / len(self.obs) ** 2


def check(
    agent: Agent,
    obs: Any,
    v: Tensor,
    ref: ReferenceCotangent,
    *,
    kernel: TangentKernel | None = None,
    objective: Objective | None = None,
    allow_mismatch: bool = False,
) -> Checked:
    """Check that draws, reference and kernel belong together, and leave out states where the gate is closed.

    Args:
        agent: the agent.
        obs: observations [B, n].
        v: cotangents [D, B, m].
        ref: the reference.
        kernel: ``tangent_kernel(agent, obs)`` at all B states, where it is there already.
        objective: what v estimates; what it carries or else the agent's when None.
        allow_mismatch: whether the reference may be for another objective.

    Raises:
        GradlabError: shapes do not fit, no state is valid, a number is not finite (counted and located), or the
            reference is for another objective.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 1), [], action_low=[-1], action_high=[1])
        >>> truth = torch.tensor([[1.0], [float("nan")]]).double()
        >>> ref = ReferenceCotangent(truth, torch.zeros_like(truth), "truth", Objective())
        >>> check(agent, torch.ones(2, 1), torch.ones(3, 2, 1), ref).draws.shape
        torch.Size([3, 1, 1])
    """
    obs = agent.observations(obs)
    estimated = objective or getattr(v, "objective", None) or agent.objective
    caveat, notes = compare_objectives(estimated, ref.objective, ref.name, allow_mismatch=allow_mismatch)
    if len(ref.mean) != len(obs):
        raise GradlabError(f"reference {ref.name}: has {len(ref.mean)} states, the batch has {len(obs)}")
    valid = ref.valid.to(obs.device)
    if not bool(valid.any()):
        raise GradlabError(
            f"reference {ref.name}: its gate is closed at all {len(obs)} states; nothing to compare with"
        )
    check_draws(v, len(obs), ref.mean.shape[1], valid)
    mean, stderr = (x.to(obs.device, torch.float64)[valid] for x in (ref.mean, ref.stderr))
    bad = ~torch.isfinite(torch.stack([mean, stderr])).all(-1).all(0)
    if bool(bad.any()):
        states = valid.nonzero().flatten()[bad].tolist()
        raise GradlabError(
            f"reference {ref.name}: NaN or infinite at {len(states)} states it calls valid, first state {states[0]}; "
            "close its gate there"
        )
    if kernel is not None:
        check_cotangents(v, kernel.states, kernel.head_size)
        kernel = kernel if bool(valid.all()) else kernel.select(valid)
    obs, draws = obs[valid], v.detach().to(obs.device)[:, valid]
    words = str(ref.objective) + (f" ({caveat})" if caveat else "")
    label = Label(ref.name, words, ref.samples, int(valid.sum()), (*notes, *_left_out(ref, valid)), caveat)
    return Checked(agent, obs, draws, mean, stderr, kernel or tangent_kernel(agent, obs), label)


def _left_out(ref: ReferenceCotangent, valid: Tensor) -> tuple[str, ...]:
    """Which states the reference has no word on, and how many of them because it is not a number."""
    closed = (~valid).nonzero().flatten().tolist()
    if not closed:
        return ()
    bad = int((~torch.isfinite(ref.mean).all(-1)).sum())
    which = ", ".join(map(str, closed[:5])) + ("…" if len(closed) > 5 else "")
    note = f"{len(closed)} of {len(valid)} states left out: {ref.name}'s gate is closed there (state {which})"
    return (note + (f"; its value is NaN or infinite at {bad} of them" if bad else ""),)
