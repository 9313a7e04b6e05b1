"""Backpropagation through whole recorded episodes: SVG(∞)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.estimators.base import TrajectoryEstimator
from gradlab.estimators.model_based.model import Model
from gradlab.estimators.model_based.recorded import action_noise, model_noise
from gradlab.estimators.model_based.unroll import Ending, Noises, Value, total_derivatives, unroll
from gradlab.objective import Objective
from gradlab.trajectories import Trajectories


class PathwiseReturn(TrajectoryEstimator):
    """∂/∂h_t of an episode's return Σ_t γᵗ (r_t − α log π_t), for every step t: SVG(∞).

    The noise of actions and dynamics is inferred, so that the unrolled path is the recorded one; the derivatives are
    the model's, and total: a head moves its action, the states after it and the actions there. Rewards are the
    model's too. Deterministic policies have nothing to infer but what was added to their actions.
    Source: Heess et al. 2015, "Learning continuous control policies by stochastic value gradients", section 4.1.

    Args:
        model: the dynamics and reward, differentiable.
        value: V(s), differentiable, [N, n] → [N], for what follows an episode that was cut off; None leaves it away.
        entropy: whether to include the agent's entropy bonus.

    Raises:
        GradlabError: on use, when the actions are discrete, the discounts differ, or the noise cannot be inferred.

    Example:
        >>> from gradlab.estimators.model_based import GaussianModel
        >>> model = GaussianModel(lambda s, a: s + a, lambda s, a: -s.square().sum(-1))
        >>> agent = Agent(torch.nn.Linear(1, 1, bias=False), [], [-1], [1], discount=0.5,
        ...               head=lambda actor, obs: 0 * actor(obs))
        >>> two, zero = torch.full((2, 1), 2.0), torch.zeros(2, 1)
        >>> end, episode = torch.tensor([False, True]), torch.tensor([0, 0])
        >>> runs = Trajectories(two, zero, torch.full((2,), -4.0), two, end, episode, discount=0.5)
        >>> PathwiseReturn(model).cotangents(agent, runs)
        tensor([[-2.],
                [ 0.]])
    """

    def __init__(self, model: Model, value: Value | None = None, *, entropy: bool = True) -> None:
        self.model, self.value, self.entropy = model, value, entropy
        self.name = "pathwise-return" + ("-bootstrapped" if value else "") + ("" if entropy else "-without-entropy")

    def objective(self, agent: Agent) -> Objective:
        """The agent's, without entropy if so declared."""
        return agent.objective if self.entropy and agent.policy.stochastic else replace(agent.objective, entropy=0.0)

    @torch.enable_grad()
    def cotangents(self, agent: Agent, trajectories: Trajectories) -> Tensor:
        """Detached cotangents [N, m], one a step, in the agent's dtype."""
        if not agent.policy.continuous:
            raise GradlabError(
                f"estimator {self.name}: needs continuous actions, this agent's are discrete; "
                "use a score-function estimator"
            )
        if abs(agent.discount - trajectories.discount) > 1e-12:
            raise GradlabError(
                f"estimator {self.name}: the episodes are discounted with γ={trajectories.discount:g}, the agent's "
                f"objective with γ={agent.discount:g}; make them the same objective"
            )
        epsilon = trajectories.padded(action_noise(agent, trajectories)).transpose(0, 1)
        xi = trajectories.padded(model_noise(agent, self.model, trajectories)).transpose(0, 1)
        # Nothing is added to the action at the end, where only a value function looks.
        noises = Noises(torch.cat([epsilon, torch.zeros_like(epsilon[:1])]), xi)
        first = agent.observations(trajectories.obs)[trajectories.step == 0]
        is_open = trajectories.cut_off[trajectories.last] & (self.value is not None)
        with torch.no_grad():
            size = agent.head(first[:1]).shape[1]
        offsets = [first.new_zeros(len(first), size).requires_grad_() for _ in xi]
        alpha = agent.entropy if self.entropy else 0.0
        ending = Ending(trajectories.lengths, is_open, self.value)
        paths = unroll(agent, self.model, first, noises, ending, offsets, alpha)
        table = total_derivatives(paths.value, offsets)
        return trajectories.flattened(torch.stack(table, dim=1)).detach()
