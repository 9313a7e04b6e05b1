"""Baselines b(s, a) that depend on the action, with the correction that keeps the estimator unbiased."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.baselines import Baseline, Weighting
from gradlab.estimators.decisions import DecisionProblem, Decisions
from gradlab.estimators.heads import in_chunks, to_head
from gradlab.estimators.reparameterized import pathwise
from gradlab.policies import Around, Gaussian
from gradlab.quadrature import gauss_hermite

#: b(s, a): (agent, obs [B, n], act [..., B, p]) → [..., B].
OfAction = Callable[[Agent, Tensor, Tensor], Tensor]
#: Its correction in closed form: (agent, obs [B, n], head [B, m]) → ∇_h E_a[b(s, a)], [B, m].
ClosedForm = Callable[[Agent, Tensor, Tensor], Tensor]
Correction = Literal["reparameterized", "quadrature", "sum", False] | ClosedForm

#: Points of a product rule that is still cheaper than sampling as many actions.
_MOST_POINTS = 4096


class StateAction(Baseline):
    """(R − b(s, a)) ∇_h log π_h(a) + ∇_h E_{a~π_h}[b(s, a)]: unbiased for every b, by its second term.

    Without that term (``correction=False``) the gradient of E[b] is missing from the mean: the bias that Tucker et
    al. found behind published gains. It is worked out as

    * ``"reparameterized"``: ∇_h b(s, f(h, ε)) with the noise of the same draw (continuous actions; b differentiable
      in a); with b = Q the whole estimator is ``Reparameterized``;
    * ``"quadrature"``: Gauss–Hermite over the noise, ``nodes`` to a coordinate (continuous actions, few coordinates);
    * ``"sum"``: over all actions (discrete actions);
    * a function (agent, obs, head) → [B, m]: in closed form.

    Sources: Gu et al. 2017, "Q-Prop", arXiv 1611.02247; Tucker et al. 2018, "The mirage of
    action-dependent baselines", arXiv 1802.10031.

    Args:
        function: b(s, a), (agent, obs [B, n], act [..., B, p]) → [..., B].
        correction: one of the above; None is ``"reparameterized"``, or ``"sum"`` for discrete actions.
        nodes: points of the quadrature in each coordinate.

    Raises:
        GradlabError: the correction is none of these; on drawing, it does not fit the policy.

    Example:
        >>> StateAction(lambda agent, obs, act: act.sum(-1), correction=False).suffix
        '-state-action-without-correction'
    """

    def __init__(self, function: OfAction, correction: Correction | None = None, *, nodes: int = 32) -> None:
        named = ("reparameterized", "quadrature", "sum", False, None)
        if not callable(correction) and correction not in named:
            raise GradlabError(
                f"state-action baseline: correction is {correction!r}; choose 'reparameterized', 'quadrature', 'sum', "
                "False or a function"
            )
        self.function, self.correction, self.nodes = function, correction, nodes
        self.suffix = "-state-action" + ("-without-correction" if correction is False else "")

    def weighting(self, problem: DecisionProblem) -> Weighting:
        """The corrected cotangents.

        Raises:
            GradlabError: the correction does not fit the policy, or b(s, a) is not [..., states].
        """
        way = self._way(problem)
        # Worked out once, except along the draw's own noise.
        fixed = None if way == "reparameterized" else self._fixed(problem, way)

        def cotangents(decisions: Decisions) -> Tensor:
            with torch.no_grad():
                baseline = self._value(problem, decisions.act)
            correction = self._pathwise(problem, decisions.noise) if fixed is None else fixed
            return (decisions.weight - baseline).unsqueeze(-1) * decisions.score + correction

        return cotangents

    def _value(self, problem: DecisionProblem, act: Tensor) -> Tensor:
        value = self.function(problem.agent, problem.obs, act)
        if value.shape != act.shape[:-1]:
            raise GradlabError(
                f"state-action baseline: gave shape {tuple(value.shape)} for actions {tuple(act.shape)}; it must give "
                "one number for each action"
            )
        return value

    def _way(self, problem: DecisionProblem) -> Correction:
        """How it is corrected at these states."""
        way, continuous = self.correction, problem.policy.continuous
        if way is None:
            return "reparameterized" if continuous else "sum"
        if way is not False and not callable(way) and continuous == (way == "sum"):
            kind = "continuous" if continuous else "discrete"
            raise GradlabError(
                f"state-action baseline: correction {way!r} does not fit {kind} actions; choose 'sum' for discrete "
                "ones, 'reparameterized' or 'quadrature' for continuous ones"
            )
        return way

    def _fixed(self, problem: DecisionProblem, way: Correction) -> Tensor:
        """The correction ∇_h E_a[b(s, a)] where it does not depend on the draw, [B, m]."""
        if way is False:
            return torch.zeros_like(problem.head)
        if way == "sum":
            return self._sum(problem)
        if not callable(way):
            return self._quadrature(problem)
        given = way(problem.agent, problem.obs, problem.head).detach().to(problem.head)
        if given.shape != problem.head.shape:
            raise GradlabError(
                f"state-action baseline: correction has shape {tuple(given.shape)}; it must be the head's, "
                f"{tuple(problem.head.shape)}"
            )
        return given

    def _pathwise(self, problem: DecisionProblem, noise: Tensor) -> Tensor:
        with torch.enable_grad():
            shape = (*noise.shape[:-1], problem.head.shape[-1])
            at = problem.head.expand(shape).clone().requires_grad_()
            value = self._value(problem, problem.policy.sample(at, noise)[0])
            return pathwise(value, at)

    def _quadrature(self, problem: DecisionProblem) -> Tensor:
        size = problem.agent.action_size
        if self.nodes**size > _MOST_POINTS:
            raise GradlabError(
                f"state-action baseline: quadrature takes {self.nodes}^{size} points at every state; "
                "use correction='reparameterized'"
            )
        points, weights = (part.to(problem.obs) for part in gauss_hermite(size, self.nodes))
        noise = points.unsqueeze(1).expand(-1, len(problem.obs), -1)
        return torch.einsum("d,dbm->bm", weights, in_chunks(lambda part: self._pathwise(problem, part), noise))

    def _sum(self, problem: DecisionProblem) -> Tensor:
        actions = torch.eye(problem.agent.action_size, dtype=problem.obs.dtype, device=problem.obs.device)
        act = actions.unsqueeze(1).expand(-1, len(problem.obs), -1)
        with torch.enable_grad():
            at = problem.head.clone().requires_grad_()
            value = self._value(problem, act).detach()
            (gradient,) = torch.autograd.grad((problem.policy.log_prob(at, act).exp() * value).sum(), at)
        return gradient


class Taylor(Baseline):
    """Q-Prop's baseline, the critic's tangent at the mode: b(s, a) = Q(s, m) + ∇_a Q(s, m)·(a − m), m the mode.

    Its correction is (∂E[a]/∂h)ᵀ ∇_a Q(s, m): for Gaussian policies, where E[a] = m, in closed form, which is the
    deterministic policy gradient; for others by reparameterisation. A critic that is linear in the action leaves no
    variance at all with the former.
    Source: Gu et al. 2017, "Q-Prop", arXiv 1611.02247, section 3.1 (with η = 1).

    Args:
        correction: whether the estimator is corrected; without, it is biased.

    Example:
        >>> Taylor().suffix, Taylor(correction=False).suffix
        ('-taylor', '-taylor-without-correction')
    """

    def __init__(self, *, correction: bool = True) -> None:
        self.correction = correction
        self.suffix = "-taylor" + ("" if correction else "-without-correction")

    def weighting(self, problem: DecisionProblem) -> Weighting:
        """The corrected cotangents, with the tangent worked out once.

        Raises:
            GradlabError: the actions are discrete.
        """
        policy = problem.policy
        if not policy.continuous:
            raise GradlabError("taylor baseline: needs continuous actions; use StateAction with correction='sum'")
        with torch.no_grad():
            mode = policy.mode(problem.head)
            value = problem.agent.q(problem.obs, mode)
        slope = problem.agent.action_gradient(problem.obs, mode)
        way: Correction = False
        if self.correction and isinstance(policy, Gaussian | Around):
            way = _constant(to_head(policy, problem.head, slope))
        elif self.correction:
            way = "reparameterized"
        tangent = StateAction(lambda _agent, _obs, act: value + ((act - mode) * slope).sum(-1), way)
        return tangent.weighting(problem)


def _constant(cotangent: Tensor) -> ClosedForm:
    return lambda _agent, _obs, _head: cotangent
