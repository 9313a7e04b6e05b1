"""The critic taken at its word: the exact gradient an estimator aims at when only its own error is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.deterministic import Deterministic
from gradlab.estimators.heads import ROWS
from gradlab.estimators.reparameterized import Reparameterized
from gradlab.references.base import ReferenceCotangent
from gradlab.references.quadrature import gauss_hermite

#: A function of noise [D, B, p] that gives D cotangents a state, [D, B, m].
Integrand = Callable[[Tensor], Tensor]

#: Dimensions of noise up to which a product rule costs less than sampling.
_QUADRATURE_SIZE = 2


@dataclass(frozen=True)
class CriticReference:
    """∇_h F_s(h), F_s(h) = E_{a ~ π_h}[Q(s, a) − α log π_h(a)], with the agent's own critic as Q.

    A learned critic is not the truth; this reference isolates what an estimator adds to the critic's error. It is
    computed in float64 on a copy of the agent.

    * Deterministic policy: ∂f/∂h · ∇_a Q, exact.
    * Softmax: the sum over actions, exact.
    * Gaussian policies and smoothing: Gauss–Hermite quadrature of the reparameterised gradient up to two action
      coordinates. Its gate is a second, coarser rule: where the two differ by more than ``tolerance`` of the root mean
      square cotangent (kinks of a ReLU critic converge slowly), or with more coordinates, the mean over ``pairs``
      antithetic pairs of noise (ε, −ε) is used instead. The standard error is the difference of the two rules, or
      that of the mean of the independent pairs. ``diagnostics["method"]`` says which.

    Args:
        entropy: include −α log π when the agent's objective has it; without, it is the gradient of another objective.
        smoothing: for a deterministic policy, standard deviation σ, in the critic's action units, of the Gaussian
            its action is smoothed with: F_s(h) = E_u[Q(s, f(h) + σu)], for which Gaussian zeroth-order and
            score-function estimators of radius σ are unbiased. 0 is none.
        nodes: points of the finer rule in each coordinate; the coarser has three quarters as many.
        pairs: antithetic pairs when sampling.
        tolerance: largest relative difference of the two rules that is accepted.
        seed: seed of the sampled noise: the same noise at every call, so that references compare over training.

    Raises:
        GradlabError: an argument is out of range.

    Example:
        >>> class Critic(nn.Module):
        ...     def forward(self, obs, act):
        ...         return (act**3).sum(-1)
        >>> actor = nn.Linear(1, 1)
        >>> _ = nn.init.zeros_(actor.weight), nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [Critic()], action_low=-1, action_high=1)
        >>> CriticReference().cotangent(agent, torch.zeros(1, 1)).mean
        tensor([[0.]], dtype=torch.float64)
        >>> smoothed = CriticReference(smoothing=0.1).cotangent(agent, torch.zeros(1, 1))
        >>> smoothed.mean.round(decimals=6), smoothed.diagnostics["method"]
        (tensor([[0.0300]], dtype=torch.float64), 'quadrature')
    """

    entropy: bool = True
    smoothing: float = 0.0
    nodes: int = 16
    pairs: int = 256
    tolerance: float = 1e-3
    #: Far from the seeds people choose: a reference must not share its noise with the estimator it judges.
    seed: int = 7_405_883_161

    def __post_init__(self) -> None:
        if not (math.isfinite(self.smoothing) and self.smoothing >= 0):
            raise GradlabError(f"critic reference: smoothing is {self.smoothing}; it must be zero or a positive number")
        if self.nodes < 4 or self.pairs < 2:
            raise GradlabError(
                f"critic reference: nodes is {self.nodes} and pairs {self.pairs}; at least 4 and 2 are needed"
            )

    def cotangent(self, agent: Agent, obs: Any) -> ReferenceCotangent:
        """The reference at the states ``obs`` [B, n].

        Raises:
            GradlabError: the observations do not fit, the agent has no critic, or smoothing is asked of a policy that
                is stochastic already.
        """
        critics = (*agent.critics, *agent.target_critics)
        # A bare function may hold tensors of its own type; only modules can be brought to float64.
        agent = agent.snapshot(double=all(isinstance(critic, nn.Module) for critic in critics))
        at = agent.observations(obs)
        if self.smoothing and agent.policy.stochastic:
            raise GradlabError("critic reference: a stochastic policy smooths the critic already; leave smoothing at 0")
        if not agent.policy.continuous:
            mean = _softmax_gradient(agent, at, agent.entropy if self.entropy else 0.0)
            return self._result(agent, mean, torch.zeros_like(mean), "sum over actions")
        if not agent.policy.stochastic and not self.smoothing:
            mean = Deterministic().draw(agent, at)[0]
            return self._result(agent, mean, torch.zeros_like(mean), "exact")
        return self._expectation(agent, at)

    def _expectation(self, agent: Agent, obs: Tensor) -> ReferenceCotangent:
        def integrand(noise: Tensor) -> Tensor:
            if agent.policy.stochastic:
                return Reparameterized(entropy=self.entropy).at_noise(agent, obs, noise)
            return _smoothed_draws(agent, obs, self.smoothing * noise)

        if agent.action_size <= _QUADRATURE_SIZE:
            fine, coarse = (
                _quadrature(integrand, obs, agent.action_size, nodes) for nodes in (self.nodes, 3 * self.nodes // 4)
            )
            difference = (fine - coarse).abs()
            scale = fine.square().sum(-1).mean().sqrt()
            if bool(torch.linalg.vector_norm(difference, dim=-1).max() <= self.tolerance * scale):
                return self._result(agent, fine, difference, "quadrature")
        generator = torch.Generator(device=obs.device).manual_seed(self.seed)
        noise = torch.randn(
            (self.pairs, len(obs), agent.action_size), generator=generator, dtype=obs.dtype, device=obs.device
        )
        parts = noise.split(max(1, ROWS // len(obs)))
        draws = torch.cat([(integrand(part) + integrand(-part)) / 2 for part in parts]).double()
        return self._result(agent, draws.mean(0), draws.std(0) / math.sqrt(self.pairs), "sampling", self.pairs)

    def _result(self, agent: Agent, mean: Tensor, stderr: Tensor, method: str, samples: int = 0) -> ReferenceCotangent:
        objective = replace(
            agent.objective, entropy=agent.entropy if self.entropy else 0.0, smoothing=float(self.smoothing)
        )
        return ReferenceCotangent(
            mean.detach().double(),
            stderr.detach().double(),
            name="critic",
            objective=objective,
            samples=samples,
            diagnostics={"method": method},
        )


def _quadrature(integrand: Integrand, obs: Tensor, size: int, nodes: int) -> Tensor:
    points, weights = (part.to(obs) for part in gauss_hermite(size, nodes))
    total: Tensor | None = None
    step = max(1, ROWS // len(obs))
    for at, mass in zip(points.split(step), weights.split(step), strict=True):
        values = integrand(at.unsqueeze(1).expand(-1, len(obs), -1))
        part = torch.einsum("d,dbm->bm", mass, values)
        total = part if total is None else total + part
    assert total is not None
    return total


def _smoothed_draws(agent: Agent, obs: Tensor, offset: Tensor) -> Tensor:
    """∇_h Q(s, f(h) + offset) for offsets [D, B, p]."""
    with torch.enable_grad():
        head = agent.head(obs).detach()
        at = head.expand(*offset.shape[:-1], head.shape[-1]).clone().requires_grad_()
        (gradient,) = torch.autograd.grad(agent.q(obs, agent.policy.mode(at) + offset).sum(), at)
    return gradient


def _softmax_gradient(agent: Agent, obs: Tensor, alpha: float) -> Tensor:
    actions = torch.eye(agent.action_size, dtype=obs.dtype, device=obs.device)
    with torch.enable_grad():
        head = agent.head(obs).detach().requires_grad_()
        act = actions.unsqueeze(1).expand(-1, len(obs), -1)
        log_prob = agent.policy.log_prob(head, act)
        value = agent.q(obs, act).detach() - alpha * log_prob
        (gradient,) = torch.autograd.grad((log_prob.exp() * value).sum(), head)
    return gradient
