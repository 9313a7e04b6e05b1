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
from gradlab.estimators.heads import in_chunks, to_head
from gradlab.estimators.reparameterized import Reparameterized
from gradlab.quadrature import gauss_hermite, gauss_legendre
from gradlab.references.base import ReferenceCotangent

#: A function of states [B, n] and noise [D, B, p] that gives D cotangents a state, [D, B, m].
Integrand = Callable[[Tensor, Tensor], Tensor]

#: Nodes [nodes**size, size] and weights for E[f(ε)], ε standard normal: (size, nodes) → both.
Rule = Callable[[int, int], tuple[Tensor, Tensor]]
#: The first that passes its gate is taken: the second suits policies that map ε to a box through its distribution.
_RULES: tuple[Rule, ...] = (gauss_hermite, gauss_legendre)

#: Dimensions of noise up to which a product rule costs no more than sampling.
_QUADRATURE_SIZE = 2
#: States on which the rules must agree before they are worked out on all.
_TRIAL_STATES = 8


@dataclass(frozen=True)
class CriticReference:
    """∇_h F_s(h), F_s(h) = E_{a ~ π_h}[Q(s, a) − α log π_h(a)], with the agent's own critic as Q.

    A learned critic is not the truth; this reference isolates what an estimator adds to the critic's error. It is
    computed in float64 on a copy of the agent.

    * Deterministic policy: ∂f/∂h · ∇_a Q, exact.
    * Softmax: the sum over actions, exact.
    * Every other policy, and smoothing: quadrature of the reparameterised gradient over the standard normal noise that
      the policy maps, up to two action coordinates: Gauss–Hermite, or Gauss–Legendre over the noise's distribution
      function, which suits policies on a box. Its gate is a second, coarser rule: where the two differ by more than
      ``tolerance`` of the root mean square cotangent (kinks of a ReLU critic converge slowly), or with more
      coordinates, noise is sampled instead: ``replicates`` independently shifted Sobol sequences of ``points`` draws
      each (Cranley & Patterson 1976), which on 256-wide ReLU critics had a tenth of the variance of as many independent
      draws or antithetic pairs. The standard error is the difference of the two rules, or that of the mean of the
      replicates; ``diagnostics["method"]`` says which. Sampling evaluates the critic in its own dtype. Derivatives of Q
      miss its jumps: a critic that is discontinuous in the action has no reference here.

    States where the critic is not finite come back as NaN and not valid.

    Args:
        entropy: include −α log π when the agent's objective has it; without, it is the gradient of another objective.
        smoothing: for a deterministic policy, standard deviation σ, in the critic's action units, of the Gaussian
            its action is smoothed with: F_s(h) = E_u[Q(s, f(h) + σu)], for which Gaussian zeroth-order and
            score-function estimators of radius σ are unbiased. 0 is none.
        nodes: points of the finer rule in each coordinate; the coarser has three quarters as many.
        replicates: independent replicates when sampling; the standard error has one degree of freedom less.
        points: draws in each replicate, a power of two.
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
    replicates: int = 16
    points: int = 16
    tolerance: float = 1e-3
    #: Far from the seeds people choose: a reference must not share its noise with the estimator it judges.
    seed: int = 7_405_883_161

    def __post_init__(self) -> None:
        if not (math.isfinite(self.smoothing) and self.smoothing >= 0):
            raise GradlabError(f"critic reference: smoothing is {self.smoothing}; it must be zero or a positive number")
        if self.nodes < 4 or self.replicates < 2 or self.points < 1 or self.points & (self.points - 1):
            raise GradlabError(
                f"critic reference: nodes {self.nodes}, replicates {self.replicates}, points {self.points}; "
                "at least 4, at least 2, and a power of two are needed"
            )

    def cotangent(self, agent: Agent, obs: Any) -> ReferenceCotangent:
        """The reference at the states ``obs`` [B, n].

        Raises:
            GradlabError: the observations do not fit, the agent has no critic, or smoothing is asked of a policy that
                is stochastic already.
        """
        if self.smoothing and agent.policy.stochastic:
            raise GradlabError("critic reference: a stochastic policy smooths the critic already; leave smoothing at 0")
        critics = (*agent.critics, *agent.target_critics)
        # A bare function may hold tensors of its own type; only modules can be brought to float64.
        double = agent.snapshot(double=all(isinstance(critic, nn.Module) for critic in critics))
        at = double.observations(obs)
        with torch.no_grad():
            finite = torch.isfinite(double.q(at, double.policy.mode(double.head(at))))
        if not agent.policy.continuous:
            mean = _softmax_gradient(double, at, agent.entropy if self.entropy else 0.0)
            return self._result(agent, finite, mean, torch.zeros_like(mean), "sum over actions")
        if not agent.policy.stochastic and not self.smoothing:
            mean = Deterministic().draw(double, at)[0]
            return self._result(agent, finite, mean, torch.zeros_like(mean), "exact")
        for rule in _RULES if agent.action_size <= _QUADRATURE_SIZE else ():
            if self._quadrature(rule, double, at[:_TRIAL_STATES])[2]:
                mean, difference, agreed = self._quadrature(rule, double, at)
                if agreed:
                    return self._result(agent, finite, mean, difference, "quadrature")
        draws = self._replicates(agent.snapshot(), agent.observations(obs))
        stderr = draws.std(0) / math.sqrt(self.replicates)
        return self._result(agent, finite, draws.mean(0), stderr, "sampling", self.replicates)

    def _integrand(self, agent: Agent) -> Integrand:
        if agent.policy.stochastic:
            estimator = Reparameterized(entropy=self.entropy)
            return lambda obs, noise: estimator.at_noise(agent, obs, noise)
        return lambda obs, noise: _smoothed_draws(agent, obs, self.smoothing * noise)

    def _quadrature(self, rule: Rule, agent: Agent, obs: Tensor) -> tuple[Tensor, Tensor, bool]:
        """The finer rule [B, m], its distance from the coarser [B, m], and whether that is small."""
        fine, coarse = (
            _product_rule(self._integrand(agent), obs, *rule(agent.action_size, nodes))
            for nodes in (self.nodes, 3 * self.nodes // 4)
        )
        difference = (fine - coarse).abs()
        # Where the critic is not finite no rule helps; those states are left out of the gate and come back as NaN.
        finite = torch.isfinite(fine).all(-1) & torch.isfinite(difference).all(-1)
        size, apart = (torch.linalg.vector_norm(part[finite], dim=-1) for part in (fine, difference))
        return fine, difference, bool((apart <= self.tolerance * size.square().mean().sqrt()).all())

    def _replicates(self, agent: Agent, obs: Tensor) -> Tensor:
        """Independent unbiased cotangents [replicates, B, m], float64, each the mean over one shifted sequence."""
        generator = torch.Generator().manual_seed(self.seed)
        sequence = torch.quasirandom.SobolEngine(agent.action_size, scramble=True, seed=self.seed)
        lattice = sequence.draw(self.points, dtype=torch.float64)[:, None, None]
        # A shift of its own for every state, so that errors are independent over states.
        shift = torch.rand(self.replicates, len(obs), agent.action_size, generator=generator, dtype=torch.float64)
        uniform = ((lattice + shift) % 1.0).clamp(1e-15, 1 - 1e-15)
        noise: Tensor = torch.special.ndtri(uniform).flatten(0, 1).to(obs)
        integrand = self._integrand(agent)
        draws = in_chunks(lambda part: integrand(obs, part).double(), noise)
        return draws.reshape(self.points, self.replicates, *draws.shape[1:]).mean(0)

    def _result(
        self, agent: Agent, finite: Tensor, mean: Tensor, stderr: Tensor, method: str, samples: int = 0
    ) -> ReferenceCotangent:
        # A value that is not finite may have a derivative that is: the critic has no gradient to refer to there.
        mean, stderr = (torch.where(finite[:, None].to(part.device), part, torch.nan) for part in (mean, stderr))
        # The entropy of a deterministic policy, or of a Gaussian of fixed width, has no gradient.
        alpha = agent.entropy if self.entropy and agent.policy.stochastic else 0.0
        objective = replace(agent.objective, entropy=alpha, smoothing=float(self.smoothing))
        return ReferenceCotangent(
            mean.detach().double(),
            stderr.detach().double(),
            name="critic",
            objective=objective,
            samples=samples,
            diagnostics={"method": method},
        )


def _product_rule(integrand: Integrand, obs: Tensor, points: Tensor, weights: Tensor) -> Tensor:
    """Σ weight · integrand over the nodes of a tensor-product rule, [B, m]."""
    points, weights = points.to(obs), weights.to(obs)
    noise = points.unsqueeze(1).expand(-1, len(obs), -1)
    return torch.einsum("d,dbm->bm", weights, in_chunks(lambda part: integrand(obs, part), noise))


def _smoothed_draws(agent: Agent, obs: Tensor, offset: Tensor) -> Tensor:
    """∇_h Q(s, f(h) + offset) for offsets [D, B, p]."""
    with torch.no_grad():
        head = agent.head(obs)
    return to_head(agent.policy, head, agent.action_gradient(obs, agent.policy.mode(head) + offset))


def _softmax_gradient(agent: Agent, obs: Tensor, alpha: float) -> Tensor:
    actions = torch.eye(agent.action_size, dtype=obs.dtype, device=obs.device)
    with torch.enable_grad():
        head = agent.head(obs).detach().requires_grad_()
        act = actions.unsqueeze(1).expand(-1, len(obs), -1)
        log_prob = agent.policy.log_prob(head, act)
        value = agent.q(obs, act).detach() - alpha * log_prob
        (gradient,) = torch.autograd.grad((log_prob.exp() * value).sum(), head)
    return gradient
