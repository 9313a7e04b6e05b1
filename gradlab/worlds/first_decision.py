"""The first decision of a linear-quadratic episode: its gradient's variance parts into states, actions and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.trajectory import GPOMDP, Reinforce
from gradlab.trajectories import Trajectories
from gradlab.worlds.base import Admitted, GradientMoments, Hessians, World
from gradlab.worlds.gaussian_forms import Form, expectation
from gradlab.worlds.linear_paths import root
from gradlab.worlds.linear_quadratic import LinearQuadratic
from gradlab.worlds.linear_quadratic_episodes import EpisodeForms
from gradlab.worlds.modules import quadratic_form
from gradlab.worlds.rollout import Step, gather

Baseline = Literal["none", "value"]


class VarianceParts(NamedTuple):
    """Parts of the variance (trace of the covariance) of one sample's gradient; they add up to the whole.

    Attributes:
        state: Var_s E[g | s], of which state it is.
        action: E_s Var_a E[g | s, a], of which action is tried there.
        trajectory: E_{s,a} Var[g | s, a], of what happens afterwards.
    """

    state: float
    action: float
    trajectory: float

    @property
    def total(self) -> float:
        """Var g."""
        return self.state + self.action + self.trajectory


class FirstDecision(World):
    """g = (G − b(s)) ∇log π(a | s) for the first step of an episode, the rest of which the policy plays unchanged.

    One sample is a state s ~ N(0, Σ₀), an action a = −Ks + σ∘ε and the return G of an episode that starts so. Of the
    weight of the first step alone J has the gradient 2 E₀ Σ₀, the first term of the regulator's. By the law of total
    variance, twice,

        Var g = Var_s E[g | s]  +  E_s Var_a E[g | s, a]  +  E_{s,a} Var[g | s, a]

    A baseline b(s) changes the second part alone, and no state–action baseline that is known to s and a changes the
    third. Source: Tucker et al. 2018, arXiv 1802.10031, section 3. Everything here is a quadratic form of Gaussian
    noise, so the parts are sums of expectations of two and of four forms.

    Args:
        world: a regulator with a finite horizon and a Gaussian policy.

    Raises:
        GradlabError: the horizon is infinite or the policy is deterministic.

    Example:
        >>> world = FirstDecision(LinearQuadratic(0.9, 0.5, 1.0, 0.1, 0.9, 0.4, policy_std=0.5, noise=0.1, horizon=2))
        >>> none, value = world.variance_parts("none"), world.variance_parts("value")
        >>> none.state == value.state, none.action > value.action
        (True, True)
    """

    name = "first-decision"

    def __init__(self, world: LinearQuadratic) -> None:
        self.world = world
        self._forms = EpisodeForms(world)

    # In closed form ------------------------------------------------------------------------------------------

    def value(self) -> float:
        """J, the expected return; minus the regulator's cost."""
        return -self.world.value()

    def true_gradient(self) -> Tensor:
        """∂J/∂weight of the first step, 2 E₀ Σ₀, [p, n]."""
        return self.world.gradient_at_observations().detach()

    def action_gradient(self, obs: Any, act: Any) -> Tensor:
        """∂Q/∂a of the first step."""
        return self.world.action_gradient(obs, act)

    def hessians(self, obs: Any, act: Any) -> Hessians:
        """H_aa and H_as of the first step."""
        return self.world.hessians(obs, act)

    def state_value(self, obs: Tensor) -> Tensor:
        """V(s) of the first step: obs [N, n] → [N]."""
        return self.world.state_value(obs)

    def variance_parts(self, baseline: Baseline = "none") -> VarianceParts:
        """The three parts for one sample.

        Args:
            baseline: "none", or "value": b(s) = V(s).
        """
        whole = self._weight(baseline)
        known = len(self._forms.states[0]) + len(self._forms.noise[0])
        given_action = _given_first(whole, known)
        root_state, slope = self._forms.states[0], self._slope()
        state = action = trajectory = 0.0
        for i, j in self._forms.coordinates():
            score = self._forms.score(0, i, j)
            # E[g_ij | s] = (∂Q/∂a at the mean action)_i s_j: a quadratic's mean slope is its slope at the mean.
            by_state = Form.product(slope[i] @ root_state, root_state[j])
            squares = [expectation([form, score, form, score]) for form in (whole, given_action)]
            mean_square = expectation([by_state, by_state])
            trajectory += squares[0] - squares[1]
            action += squares[1] - mean_square
            state += mean_square - expectation([by_state]) ** 2
        return VarianceParts(state, action, trajectory)

    def _weight(self, baseline: Baseline) -> Form:
        if baseline not in ("none", "value"):
            raise GradlabError(f"first-decision: baseline is {baseline!r}; choose 'none' or 'value'")
        total = self._forms.rewards_to_go()[0]
        return total - self._forms.value(0) if baseline == "value" else total

    def _slope(self) -> Tensor:
        """∂Q/∂a at the mean action as a matrix of the state, [p, n]."""
        n = len(self.world.A)
        eye = torch.eye(n, dtype=torch.float64)
        return self.world.action_gradient(eye, -eye @ self.world.K.T).T.detach()

    # By sampling ---------------------------------------------------------------------------------------------

    def agent(self) -> Agent:
        """The regulator's agent, with the first step's Q as its critic."""
        return self.world.agent(0)

    def observations(self) -> Tensor:
        """States whose mean square is exactly Σ₀."""
        return self.world.observations()

    def returns(self, obs: Tensor, act: Tensor, generator: torch.Generator) -> Tensor:
        """One return G of the episode from each state and first action: obs [N, n], act [N, p] → [N]."""
        world = self.world
        A, B, K = (part.detach() for part in (world.A, world.B, world.K))
        to_noise, std, total = root(world.noise), world.policy_std.detach(), torch.zeros(len(obs), dtype=torch.float64)

        def normal(size: int) -> Tensor:
            return torch.randn(len(obs), size, generator=generator, dtype=torch.float64)

        for t in range(len(self._forms.states)):
            act = act if t == 0 else std * normal(len(K)) - obs @ K.T
            total -= world.gamma**t * (quadratic_form(obs, world.Q.detach()) + quadratic_form(act, world.R.detach()))
            obs = obs @ A.T + act @ B.T + normal(len(A)) @ to_noise.T
        return total

    def _start(self, count: int, generator: torch.Generator) -> Tensor:
        normal = torch.randn(count, len(self.world.A), generator=generator, dtype=torch.float64)
        return normal @ root(self.world.sigma0).T

    def nested_draws(
        self,
        actions: int,
        trajectories: int,
        states: int,
        generator: torch.Generator,
        baseline: Baseline = "none",
    ) -> tuple[Tensor, Tensor]:
        """Independent states, actions tried at each, and episodes that follow each of these.

        Args:
            actions: independent actions at every state.
            trajectories: independent returns after every action.
            states: independent states.
            generator: source of the randomness.
            baseline: "none", or "value": b(s) = V(s).

        Returns:
            Observations [states, n], and cotangents [actions, trajectories, states, m] at the Gaussian's head (mean,
            log_std), which are g: (ε/σ, ε² − 1) (G − b). The log_std is fixed, so that its half has no parameter.
        """
        self._weight(baseline)
        std = self.world.policy_std.detach()
        obs = self._start(states, generator)
        eps = torch.randn(actions, 1, states, len(std), generator=generator, dtype=torch.float64)
        act = (std * eps - obs @ self.world.K.detach().T).expand(-1, trajectories, -1, -1)
        shape = act.shape[:-1]
        total = self.returns(obs.expand(*shape, -1).flatten(0, 2), act.flatten(0, 2), generator).reshape(shape)
        if baseline == "value":
            total = total - self.state_value(obs).detach()
        score = torch.cat([eps / std, eps.square() - 1], -1)
        return obs, score * total.unsqueeze(-1)

    def trajectories(self, count: int, generator: torch.Generator) -> Trajectories:
        """Independent samples as episodes of one step, whose reward is the whole return G."""
        obs, std = self._start(count, generator), self.world.policy_std.detach()
        eps = torch.randn(count, len(std), generator=generator, dtype=torch.float64)
        act = std * eps - obs @ self.world.K.detach().T
        over = torch.ones(count, dtype=torch.bool)
        only = Step(obs, act, self.returns(obs, act, generator), torch.zeros_like(obs), over, over, eps)
        return gather([only], self.world.gamma)

    def admitted(self) -> Sequence[Admitted]:
        """One sample's gradient, without and with the value function as its baseline."""
        truth = self.true_gradient().flatten()
        without, with_value = (
            GradientMoments(truth, self.variance_parts(baseline).total) for baseline in ("none", "value")
        )
        return [Admitted(Reinforce(), *without, truth), Admitted(GPOMDP(self.state_value), *with_value, truth)]


def _given_first(form: Form, known: int) -> Form:
    """E[form | the first ``known`` coordinates of the noise], as a form of all of them."""
    matrix = torch.zeros_like(form.matrix)
    matrix[:known, :known] = form.matrix[:known, :known]
    return Form(matrix, form.constant + float(form.matrix.diagonal()[known:].sum()))
