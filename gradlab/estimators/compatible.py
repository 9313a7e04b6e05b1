"""Compatible function approximation: the critic's best fit by what the policy itself can express."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import Estimator
from gradlab.objective import Objective
from gradlab.products import check_draws
from gradlab.tangent import tangent_kernel


@dataclass(frozen=True)
class Regression:
    """Targets y_i, and features X_i J_i of the actor's parameters, in coordinates where their span is all there is.

    With K = LLᵀ the tangent kernel, X_i L_i has the inner products of X_i J_i, whatever the number of parameters: at
    most B·m columns.

    Attributes:
        at_head: X_i, from the head to the targets, [B, k, m].
        span: L_i, from these coordinates to the head, [B, m, r].
        target: y_i, [B, k].
        weight: what a state's sum over its k numbers is multiplied with.
    """

    at_head: Tensor
    span: Tensor
    target: Tensor
    weight: float

    @property
    def features(self) -> Tensor:
        """X_i L_i, [B, k, r]."""
        return self.at_head @ self.span

    def fit(self, states: Tensor | None = None, ridge: tuple[float, ...] = (0.0,)) -> Tensor:
        """Least-squares solutions over some of the states (mask [B]) or all, one for each ridge: [ridges, r].

        Without ridge the solution of smallest norm; with it the minimum of Σ(y − Xw)² + ridge·σ²‖w‖², σ the largest
        singular value of X.
        """
        features, target = self.features, self.target
        if states is not None:
            features, target = features[states], target[states]
        rows = features.flatten(0, 1)
        left, values, right = torch.linalg.svd(rows, full_matrices=False)
        largest = values.amax()
        kept = values > largest * max(rows.shape) * torch.finfo(rows.dtype).eps
        left, values, right = left[:, kept], values[kept], right[kept]
        penalty = values.new_tensor(ridge)[:, None] * largest**2
        solutions: Tensor = (left.T @ target.flatten() * values / (values.square() + penalty)) @ right
        return solutions

    def predict(self, w: Tensor) -> Tensor:
        """X_i L_i w for solutions w [..., r]: [..., B, k]."""
        return torch.einsum("bkr,...r->...bk", self.features, w)

    def cotangent(self, values: Tensor) -> Tensor:
        """X_iᵀ x_i · weight for values x [B, k]: what they say of ∇_h F_s, [B, m]."""
        return self.weight * torch.einsum("bkm,bk->bm", self.at_head, values)


class Compatible(Estimator):
    """The policy gradient by a compatible critic, fitted afresh in each draw.

    For a stochastic policy Q(s, a) ≈ w·∇_θ log π(a|s) + b(s), least squares over ``actions`` actions a state and with
    a free b(s) in each; then ∇J = E[∇_θ log π (w·∇_θ log π)] holds exactly, however bad the fit (Sutton et al. 2000,
    "Policy gradient methods for reinforcement learning with function approximation", theorem 2). It holds on a sample
    too: the parameter gradient is the score function's with the mean of a state's other actions as its baseline.
    For a deterministic one ∇_a Q(s, f(s)) ≈ J_s w, and ∇J = E[J_sᵀ J_s w] (Silver et al. 2014, theorem 3): all draws
    are equal, and their parameter gradient is that of ``Deterministic``.

    The fit is made in coordinates of the tangent kernel's range, never in the space of parameters; it costs
    O(B·actions·r²) for a range of dimension r ≤ B·m. One fit serves all states of a draw, so that the cotangents of a
    draw depend on each other over states: use ``gradient_error``, which takes the whole kernel, not
    ``gradient_variance``.

    Args:
        actions: actions per state and draw, two or more; unused for a deterministic policy.

    Raises:
        GradlabError: fewer than two actions; on drawing, when the kernel does not fit into memory or Q is not finite.

    Example:
        >>> class Critic(torch.nn.Module):
        ...     def forward(self, obs, act):
        ...         return 3.0 * act.sum(-1)
        >>> actor = torch.nn.Linear(1, 1)  # with a bias, constant ∇_a Q is compatible
        >>> agent = Agent(actor, [Critic()], action_low=-1, action_high=1)
        >>> Compatible().draw(agent, torch.tensor([[0.0], [1.0], [2.0]])).flatten().round(decimals=3)
        tensor([3., 3., 3.])
    """

    continuous_only = False

    def __init__(self, actions: int = 16) -> None:
        if actions < 2:
            raise GradlabError(f"compatible: actions is {actions}; two or more a state tell Q from its mean there")
        self.actions = actions
        self.name = "compatible"

    def objective(self, agent: Agent) -> Objective:
        """The agent's, without entropy around a deterministic policy."""
        return agent.objective if agent.policy.stochastic else replace(agent.objective, entropy=0.0)

    def regressions(self, agent: Agent, obs: Any, draws: int, generator: torch.Generator) -> tuple[Regression, ...]:
        """The least-squares problems of each draw, float64; a deterministic policy has one.

        Raises:
            GradlabError: as ``draw``.
        """
        self.check(agent, draws)
        obs = agent.observations(obs)
        span = _span(agent, obs)
        with torch.no_grad():
            head = agent.head(obs)
        if not agent.policy.stochastic:
            gradient = agent.action_gradient(obs, agent.policy.mode(head))
            check_draws(gradient[None], len(obs), agent.action_size)
            return (Regression(_mode_jacobian(agent, head).double(), span, gradient.double(), 1.0),)
        problems = []
        for _ in range(draws):
            noise = agent.policy.noise((self.actions, len(obs), agent.action_size), generator, obs)
            with torch.no_grad():
                act, log_prob = agent.policy.sample(head, noise)
                value = agent.q(obs, act)
                if agent.entropy:
                    value = value - agent.entropy * log_prob
            _check_values(value)
            score = agent.policy.score(head, noise)
            # A free intercept in each state: what is left of both sides less their means.
            x, y = (part.double().transpose(0, 1) for part in (score, value))
            x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
            problems.append(Regression(x, span, y, 1 / (self.actions - 1)))
        return tuple(problems)

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        fitted = [p.cotangent(p.predict(p.fit()[0])) for p in self.regressions(agent, obs, draws, generator)]
        cotangents = torch.stack(fitted).to(obs)
        return cotangents.expand(draws, *cotangents.shape[1:])


def _span(agent: Agent, obs: Tensor) -> Tensor:
    """L_i [B, m, r] with L_i L_jᵀ = K_ij, float64; r is K's numerical rank in the model's dtype."""
    kernel = tangent_kernel(agent, obs)
    if kernel.matrix is None:
        raise GradlabError(f"compatible: the tangent kernel of {len(obs)} states does not fit into memory; give fewer")
    values, vectors = torch.linalg.eigh(kernel.matrix)
    kept = values > values[-1] * len(values) * torch.finfo(agent.dtype).eps
    span: Tensor = (vectors[:, kept] * values[kept].sqrt()).reshape(kernel.states, kernel.head_size, -1)
    return span


def _mode_jacobian(agent: Agent, head: Tensor) -> Tensor:
    """∂f/∂h of the policy's mode, [B, p, m]."""
    with torch.enable_grad():
        at = head.detach().clone().requires_grad_()
        mode = agent.policy.mode(at)
        rows = [torch.autograd.grad(each.sum(), at, retain_graph=True)[0] for each in mode.unbind(-1)]
    return torch.stack(rows, dim=1)


def _check_values(value: Tensor) -> None:
    bad = ~torch.isfinite(value)
    if bool(bad.any()):
        states = bad.any(0).nonzero().flatten().tolist()
        raise GradlabError(
            f"compatible: Q is NaN or infinite at {int(bad.sum())} of {bad.numel()} actions, in state(s) {states[:5]}; "
            "mend the critic or leave those states out"
        )
