"""Stochastic value gradients: n steps through a model, then the critic."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import Estimator
from gradlab.estimators.heads import ROWS
from gradlab.estimators.model_based.model import Model
from gradlab.estimators.model_based.recorded import windows
from gradlab.estimators.model_based.unroll import Ending, Noises, draw_noises, total_derivatives, unroll
from gradlab.objective import Objective
from gradlab.trajectories import Trajectories


class ValueGradient(Estimator):
    """∂/∂h_0 of Σ_{t<n} γᵗ r(s_t, a_t) + γⁿ Q(s_n, a_n), a_t = f(h_θ(s_t), ε_t), s_{t+1} = model(s_t, a_t, ξ_t).

    The derivative is the total one, through every later action and state. n = 0 is SVG(0), or DPG for a deterministic
    policy: no model is used. With the true model and the policy's own Q the expectation is ∇_h F_s for every n;
    without the critic it is the gradient of n rewards, whose bias for a longer horizon shrinks as γⁿ where the
    closed loop is stable. An entropy coefficient α of the agent puts r − α log π and Q − α log π in their places.
    Sources: Heess et al. 2015, "Learning continuous control policies by stochastic value gradients", section 4;
    n-step with a critic: Clavera et al. 2020, "Model-augmented actor-critic".

    Args:
        model: the dynamics and reward, differentiable.
        steps: n.
        critic: whether γⁿQ stands for what follows; without, n rewards are all there is (backpropagation through
            the unrolled model).
        entropy: whether to include the agent's entropy bonus.

    Raises:
        GradlabError: n is negative, or zero without a critic; on drawing, when the actions are discrete.

    Example:
        >>> from gradlab.estimators.model_based import GaussianModel
        >>> model = GaussianModel(lambda s, a: s + a, lambda s, a: -s.square().sum(-1))
        >>> agent = Agent(torch.nn.Linear(1, 1, bias=False), [], [-1], [1], discount=0.5,
        ...               head=lambda actor, obs: 0 * actor(obs))
        >>> ValueGradient(model, steps=3, critic=False).draw(agent, torch.tensor([[2.0]]))
        tensor([[[-3.]]])
    """

    def __init__(self, model: Model, steps: int = 1, *, critic: bool = True, entropy: bool = True) -> None:
        if steps < 0 or (steps == 0 and not critic):
            raise GradlabError(f"value-gradient: {steps} steps; pass 0 or more, and at least 1 without a critic")
        self.model, self.steps, self.critic, self.entropy = model, int(steps), critic, entropy
        self.name = f"value-gradient-{steps}" + ("" if critic else "-without-critic")
        self.name += "" if entropy else "-without-entropy"

    def objective(self, agent: Agent) -> Objective:
        """The agent's, cut off after n rewards without a critic, and without entropy if so declared."""
        objective = agent.objective if self.critic else replace(agent.objective, horizon=self.steps)
        return objective if self.entropy and agent.policy.stochastic else replace(objective, entropy=0.0)

    def at_noise(self, agent: Agent, obs: Tensor, noises: Noises) -> Tensor:
        """The draws [D, B, m] for given noise: ε [n + 1, D, B, p] and ξ [n, D, B, k]."""
        draws, states = noises.act.shape[1:3]
        flat = Noises(noises.act.flatten(1, 2), noises.model.flatten(1, 2))
        length = torch.full((draws * states,), self.steps, device=obs.device)
        ending = Ending(length, torch.full_like(length, self.critic, dtype=torch.bool))
        gradient: Tensor = self._gradient(agent, obs.repeat(draws, 1), flat, ending)
        return gradient.reshape(draws, states, -1)

    def along(
        self,
        agent: Agent,
        trajectories: Trajectories,
        *,
        log_behaviour: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """One cotangent at every recorded state, along what was recorded, which another policy may have done.

        The noise is inferred: ε such that this policy acts as recorded, ξ such that the model moves as recorded, so
        that the unrolled path *is* the recorded one and only its derivatives are the model's. Windows end early where
        the episode does: with nothing after a terminated step, with the critic where it was cut off. Without weights,
        actions of another policy are not this policy's ε, and the gradient is that of the recorded actions; with
        ``log_behaviour`` it is weighted by π(a|s)/μ(a|s), over the window's recorded actions.
        Source: Heess et al. 2015, section 4.2 and algorithm 1.

        Args:
            agent: the agent; neither changed nor given gradients.
            trajectories: recorded transitions; single ones are episodes of one step.
            log_behaviour: log μ(a_t|s_t) of whoever acted, [N]; None for no weights.
            generator: source of the last action's noise where none was recorded.

        Returns:
            [N, m], one a step, without state weights.

        Raises:
            GradlabError: the noise cannot be inferred, or the policy has no density to weigh with.
        """
        if generator is None:
            generator = torch.Generator()
            generator.seed()
        window = windows(agent, self.model, trajectories, self.steps, generator)
        ending = Ending(window.length, window.open & self.critic)
        obs = agent.observations(trajectories.obs)
        parts = []
        for rows in torch.arange(len(obs), device=obs.device).split(max(1, ROWS // (self.steps + 1))):
            noises = Noises(window.noises.act[:, rows], window.noises.model[:, rows])
            parts.append(self._gradient(agent, obs[rows], noises, Ending(ending.length[rows], ending.open[rows])))
        gradient = torch.cat(parts)
        if log_behaviour is None:
            return gradient
        # The critic looks at the action after the window too.
        recorded = window.length + (window.there & self.critic).long()
        return gradient * self._weights(agent, trajectories, log_behaviour, recorded)[:, None]

    def _weights(self, agent: Agent, trajectories: Trajectories, log_behaviour: Tensor, recorded: Tensor) -> Tensor:
        """Π_j π(a_{t+j}|s_{t+j})/μ(a_{t+j}|s_{t+j}) over the recorded actions of a window, [N]."""
        if not agent.policy.stochastic:
            raise GradlabError(f"estimator {self.name}: a deterministic policy has no density to weigh actions with")
        obs, act = agent.observations(trajectories.obs), trajectories.act.to(agent.device, agent.dtype)
        with torch.no_grad():
            log_ratio = agent.policy.log_prob(agent.head(obs), act) - log_behaviour.to(act)
        # Sums over the window from running sums within the whole; recorded counts the actions in it.
        running = torch.cat([log_ratio.new_zeros(1), log_ratio.double().cumsum(0)])
        first = torch.arange(len(obs), device=obs.device)
        return (running[first + recorded] - running[first]).exp().to(act)

    def _draw(self, agent: Agent, obs: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        noises = draw_noises(agent, self.model, (draws, len(obs)), self.steps, obs, generator)
        size = max(1, ROWS // (len(obs) * (self.steps + 1)))
        parts = [
            self.at_noise(agent, obs, Noises(noises.act[:, d : d + size], noises.model[:, d : d + size]))
            for d in range(0, draws, size)
        ]
        return torch.cat(parts)

    @torch.enable_grad()
    def _gradient(self, agent: Agent, obs: Tensor, noises: Noises, ending: Ending) -> Tensor:
        with torch.no_grad():
            size = agent.head(obs[:1]).shape[1]
        offset = obs.new_zeros(len(obs), size).requires_grad_()
        alpha = agent.entropy if self.entropy else 0.0
        paths = unroll(agent, self.model, obs, noises, ending, [offset], alpha)
        return total_derivatives(paths.value, [offset])[0]
