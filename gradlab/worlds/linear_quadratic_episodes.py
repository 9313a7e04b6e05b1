"""Episodes of the linear-quadratic regulator: sampled, and the exact moments of their gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradlab.errors import GradlabError
from gradlab.trajectories import Trajectories
from gradlab.worlds.base import GradientMoments
from gradlab.worlds.gaussian_forms import Form, expectation, gradient_moments
from gradlab.worlds.linear_paths import LinearPath, root
from gradlab.worlds.modules import quadratic_form
from gradlab.worlds.rollout import Step, gather
from gradlab.worlds.score_moments import ScoreMoments

if TYPE_CHECKING:
    from gradlab.worlds.linear_quadratic import LinearQuadratic

#: What the steps that an infinite horizon is cut at may still weigh.
TAIL = 1e-12


def steps_until(gamma: float, tail: float = TAIL) -> int:
    """The least t ≥ 1 for which γᵗ ≤ tail.

    Example:
        >>> steps_until(0.1, 1e-3)
        3
    """
    return max(1, math.ceil(math.log(tail) / math.log(gamma) - 1e-9))


def sample_episodes(world: LinearQuadratic, count: int, generator: torch.Generator, steps: int | None) -> Trajectories:
    """Independent episodes; see ``LinearQuadratic.trajectories``.

    Raises:
        GradlabError: ``steps`` is given although the horizon is finite, or below 1.
    """
    if steps is not None and (steps < 1 or world.horizon is not None):
        raise GradlabError(f"linear-quadratic: steps is {steps}; it cuts infinite horizons only, after 1 step or more")
    n, p = world.B.shape
    A, B, Q, R, K = (part.detach() for part in (world.A, world.B, world.Q, world.R, world.K))
    std, to_noise = world.policy_std.detach(), root(world.noise)

    def normal(size: int) -> Tensor:
        return torch.randn(count, size, generator=generator, dtype=torch.float64)

    state, alive = normal(n) @ root(world.sigma0).T, torch.ones(count, dtype=torch.bool)
    total, out = world.horizon or steps or steps_until(world.gamma), []
    for t in range(total):
        eps = normal(p)
        act = std * eps - state @ K.T
        following = state @ A.T + act @ B.T + normal(n) @ to_noise.T
        reward = -(quadratic_form(state, Q) + quadratic_form(act, R))
        ends = alive & (t + 1 == world.horizon)
        out.append(Step(state, act, reward, following, ends, alive, eps if bool((std > 0).all()) else None))
        state = following
    return gather(out, world.gamma)


class EpisodeForms:
    """A whole episode of a finite horizon as forms of its noise ξ = (s_0, ε_0, w_0, ε_1, w_1, …), made standard normal.

    States and actions are linear in ξ, rewards and scores therefore quadratic forms, and an episode's gradient is a sum
    of products of two. Expectations of two and of four forms are its mean and variance.

    Args:
        world: with a finite horizon T and a Gaussian policy.

    Raises:
        GradlabError: the horizon is infinite or the policy is deterministic.
    """

    def __init__(self, world: LinearQuadratic) -> None:
        if world.horizon is None or not bool((world.policy_std > 0).all()):
            raise GradlabError(
                "linear-quadratic: the moments of episodes' gradients need a finite horizon and a Gaussian policy; "
                "give horizon and policy_std"
            )
        self.world = world
        self.states, self.actions, self.noise = LinearPath.of(world, root(world.sigma0), world.horizon)

    def reward(self, step: int) -> Form:
        """r_t = −sᵀQs − aᵀRa."""
        state = Form.square(self.states[step], self.world.Q.detach())
        return (state + Form.square(self.actions[step], self.world.R.detach())) * -1.0

    def rewards_to_go(self) -> list[Form]:
        """Σ_{k≥t} γ^{k−t} r_k for every step t."""
        out = [self.reward(len(self.states) - 1)]
        for t in range(len(self.states) - 2, -1, -1):
            out.append(self.reward(t) + out[-1] * self.world.gamma)
        return out[::-1]

    def value(self, step: int, at: int = 0) -> Form:
        """What ``LinearQuadratic.state_value(·, at)`` says of s_t."""
        constant = float(self.world._constant(at))
        return Form.square(self.states[step], -self.world.cost_to_go(at).detach()) - constant

    def score(self, step: int, row: int, column: int) -> Form:
        """∂ log π(a_t | s_t)/∂weight_ij = ε_i s_j/σ_i, the weight being −K."""
        std = float(self.world.policy_std[row])
        return Form.product(self.noise[step][row], self.states[step][column]) * (1 / std)

    def whole_score(self, row: int, column: int) -> Form:
        """Its sum over the steps."""
        forms = [self.score(t, row, column) for t in range(len(self.states))]
        return sum(forms[1:], start=forms[0])

    def coordinates(self) -> list[tuple[int, int]]:
        """Row and column of every entry of the weight."""
        p, n = self.world.K.shape
        return [(i, j) for i in range(p) for j in range(n)]


def best_constant(world: LinearQuadratic) -> float:
    """The constant of least variance for REINFORCE, E[G ‖Z‖²]/E‖Z‖², Z the score of the whole episode."""
    forms = EpisodeForms(world)
    scores = [forms.whole_score(i, j) for i, j in forms.coordinates()]
    weighted = sum(expectation([forms.rewards_to_go()[0], z, z]) for z in scores)
    return weighted / sum(expectation([z, z]) for z in scores)


def return_gradient(world: LinearQuadratic, baseline: float = 0.0) -> GradientMoments:
    """Moments of (G − b) Σ_t ∇log π(a_t | s_t) of one episode (REINFORCE), [p, n] for the weight −K."""
    forms = EpisodeForms(world)
    total = forms.rewards_to_go()[0] - baseline
    components = [[(total, forms.whole_score(i, j))] for i, j in forms.coordinates()]
    return gradient_moments(components, tuple(world.K.shape))


def leave_one_out_gradient(world: LinearQuadratic, episodes: int) -> GradientMoments:
    """Moments of the mean REINFORCE gradient of K = ``episodes``, each with the others' mean return as its baseline.

    (1/K) Σ_i Z_i (G_i − mean of the other G) is the sample covariance of G and Z; see ``ScoreMoments``.

    Raises:
        GradlabError: there is no other episode.
    """
    forms = EpisodeForms(world)
    total = forms.rewards_to_go()[0]
    value = expectation([total])
    centred, scores = total - value, [forms.whole_score(i, j) for i, j in forms.coordinates()]

    def each(*factors: Form, twice: bool = True) -> Tensor:
        products = [expectation([*factors, z, z] if twice else [*factors, z]) for z in scores]
        return torch.tensor(products, dtype=torch.float64)

    moments = ScoreMoments(
        value=value,
        spread=expectation([centred, centred]),
        gradient=each(centred, twice=False),
        score=each(),
        weighted=each(centred),
        weighted_square=each(centred, centred),
    )
    return GradientMoments(moments.gradient.reshape(world.K.shape), moments.leave_one_out(episodes))


def reward_to_go_gradient(
    world: LinearQuadratic, baseline: float = 0.0, *, value_at: int | None = None, weighted: bool = True
) -> GradientMoments:
    """Moments of Σ_t γᵗ (R_t − b_t) ∇log π(a_t | s_t) of one episode (G(PO)MDP), [p, n] for the weight −K.

    Args:
        world: the regulator.
        baseline: a constant b.
        value_at: the step whose value function is the baseline of every step, b_t = V(s_t); None for ``baseline``.
        weighted: whether the states have their weights γᵗ; without them the gradient is biased.
    """
    forms = EpisodeForms(world)
    to_go = forms.rewards_to_go()
    left = [form - (baseline if value_at is None else forms.value(t, value_at)) for t, form in enumerate(to_go)]
    weight = world.gamma if weighted else 1.0
    components = [
        [(form * weight**t, forms.score(t, i, j)) for t, form in enumerate(left)] for i, j in forms.coordinates()
    ]
    return gradient_moments(components, tuple(world.K.shape))
