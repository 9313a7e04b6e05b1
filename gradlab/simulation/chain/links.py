"""The policy's link in the chain: the action chosen on an observation, and its derivatives, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.simulation.lanes.base import Bools, Floats


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

    One rollout at a time, in as many equal rows as there are derivatives to take: one pass backward then has them all,
    and no result depends on which other rollouts there are (a row's last bits depend on its place among the others).

    Args:
        pilot: the agent as it acts, in float64.
    """

    def __init__(self, pilot: Agent) -> None:
        self._pilot = pilot

    def at_observation(self, obs: Tensor, noise: Tensor | None, wanted: Bools) -> Link:
        """By the observations [N, n], with noise [N, p]; zeros where not ``wanted`` [N]."""
        return self._links(obs, noise, wanted, through_actor=True)

    def at_head(self, head: Tensor, noise: Tensor | None) -> Link:
        """By the heads [N, m]."""
        return self._links(head, noise, np.ones(len(head), dtype=bool), through_actor=False)

    def head(self, obs: Tensor) -> Tensor:
        """The heads [N, m] at observations [N, n], each on its own."""
        pilot = self._pilot
        with torch.no_grad():
            return torch.cat([pilot.head(row[None].to(dtype=pilot.dtype, device=pilot.device)) for row in obs])

    def _links(self, inputs: Tensor, noise: Tensor | None, wanted: Bools, *, through_actor: bool) -> Link:
        count, size, many = len(inputs), self._pilot.action_size, inputs.shape[-1]
        act = torch.zeros(count, size, dtype=self._pilot.dtype, device=self._pilot.device)
        jacobian, log_prob, slope = np.zeros((count, size, many)), np.zeros(count), np.zeros((count, many))
        for i in np.flatnonzero(wanted).tolist():
            epsilon = None if noise is None else noise[i]
            act[i], jacobian[i], log_prob[i], slope[i] = self._link(inputs[i], epsilon, through_actor)
        return Link(act, jacobian, log_prob, slope)

    def _link(
        self, at: Tensor, noise: Tensor | None, through_actor: bool
    ) -> tuple[Tensor, Floats, float, Floats | float]:
        pilot, size = self._pilot, self._pilot.action_size
        rows = at.to(dtype=pilot.dtype, device=pilot.device).expand(size + (noise is not None), -1)
        with torch.enable_grad():
            rows = rows.clone().requires_grad_()
            head = pilot.head(rows) if through_actor else rows
            if noise is None:
                act, log_prob = pilot.policy.mode(head), None
                wanted = act.diagonal().sum()
            else:
                act, log_prob = pilot.policy.sample(head, noise.to(head).expand(size + 1, -1))
                # Row j for the j-th action, the last for the density.
                wanted = act.diagonal().sum() + log_prob[size]
            slopes = torch.zeros_like(rows)
            if wanted.requires_grad:
                (slopes,) = torch.autograd.grad(wanted, rows, materialize_grads=True)
        found = np.asarray(slopes.cpu().numpy(), dtype=np.float64)
        if log_prob is None:
            return act.detach()[0], found, 0.0, 0.0
        return act.detach()[0], found[:size], float(log_prob.detach()[0]), found[size]
