"""The policy's link in the chain: the action chosen on an observation, and its derivatives, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.policies import Deterministic
from gradlab.simulation.lanes import Floats


@dataclass(frozen=True)
class Link:
    """Actions and their derivatives by what they were chosen on: an observation, or a head.

    Attributes:
        act: [N, p], in the critic's coordinates.
        jacobian: [N, p, n], ∂a/∂observation, or [N, p, m], ∂a/∂head.
        log_prob: [N], log π(a); zero for a deterministic policy.
        log_prob_gradient: [N, n] or [N, m], its total derivative, with the noise held fixed.
    """

    act: Tensor
    jacobian: Floats
    log_prob: Floats
    log_prob_gradient: Floats


class PolicyLink:
    """An agent's reparameterised policy a = f(h_θ(o), ε), differentiated by automatic differentiation.

    Every evaluation is of ``rows`` rows, filled up with copies, so that none depends on how many others there are.

    Args:
        pilot: the agent as it acts, in float64.
        rows: how many rows its actor always sees.
    """

    def __init__(self, pilot: Agent, rows: int) -> None:
        self._pilot, self._rows = pilot, rows

    def at_observation(self, obs: Tensor, noise: Tensor | None) -> Link:
        """By the observations [N, n], with noise [N, p]; N ≤ rows."""
        return self._link(self._filled(obs), noise, self._pilot.head, len(obs))

    def at_head(self, obs: Tensor, noise: Tensor | None) -> Link:
        """By the heads that the observations [N, n] give."""
        with torch.no_grad():
            head = self._pilot.head(self._filled(obs))
            if isinstance(self._pilot.policy, Deterministic):
                # Rounding in the actor's own scaling may leave the action a last bit outside its box.
                head = torch.clamp(head, self._pilot.action_low, self._pilot.action_high)
        return self._link(head, noise, lambda at: at, len(obs))

    def _link(self, inputs: Tensor, noise: Tensor | None, to_head: Callable[[Tensor], Tensor], count: int) -> Link:
        policy = self._pilot.policy
        with torch.enable_grad():
            at = inputs.detach().clone().requires_grad_()
            head = to_head(at)
            if noise is None:
                act, log_prob = policy.mode(head), None
            else:
                act, log_prob = policy.sample(head, self._filled(noise))
            rows = [_gradient(act[:, j].sum(), at) for j in range(act.shape[-1])]
            slope = torch.zeros_like(at) if log_prob is None else _gradient(log_prob.sum(), at)
        density = act.new_zeros(len(act)) if log_prob is None else log_prob.detach()
        return Link(act.detach()[:count], *(_array(part[:count]) for part in (torch.stack(rows, 1), density, slope)))

    def _filled(self, rows: Tensor) -> Tensor:
        rows = rows.to(dtype=self._pilot.dtype, device=self._pilot.device)
        return torch.cat([rows, rows[-1:].expand(self._rows - len(rows), -1)])


def _gradient(of: Tensor, at: Tensor) -> Tensor:
    if not of.requires_grad:
        return torch.zeros_like(at)
    (found,) = torch.autograd.grad(of, at, retain_graph=True, materialize_grads=True)
    return found.detach()


def _array(values: Tensor) -> Floats:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
