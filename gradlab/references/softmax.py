"""The gradient of a return with respect to the logits of a softmax policy: a sum over actions, not a difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.agent import Agent
from gradlab.arguments import real_number, real_tensor, whole_number
from gradlab.errors import GradlabError
from gradlab.policies import Softmax
from gradlab.simulation.gate import NOT_FINITE
from gradlab.simulation.given import check_agent, check_states
from gradlab.simulation.simulator import Simulator
from gradlab.simulation.states import States


@dataclass(frozen=True)
class SoftmaxCotangent:
    """∇_h F_s at the logits of B states, from the simulated value of every action.

    Attributes:
        draws: [seeds, B, p], one unbiased gradient for each noise seed; the seeds are independent, the actions and
            the logits within one are not.
        values: [seeds, B], F_s for each noise seed.
        action_values: [seeds, B, p], Q^π(s, a) for each noise seed, of every action.
        reasons: for each state whose simulation was not finite a sentence, else an empty string; its entries in the
            tensors are NaN.

    All tensors are float64 on the CPU.
    """

    draws: Tensor
    values: Tensor
    action_values: Tensor
    reasons: list[str]

    @property
    def mean(self) -> Tensor:
        """∇_h F_s, [B, p]."""
        return self.draws.mean(0)

    @property
    def stderr(self) -> Tensor:
        """Standard error of ``mean`` over the noise seeds, [B, p]."""
        spread: Tensor = self.draws.std(0)
        return spread / math.sqrt(len(self.draws))

    @property
    def valid(self) -> Tensor:
        """States whose simulation was finite, [B] bool."""
        return torch.tensor([not reason for reason in self.reasons], dtype=torch.bool)


def softmax_cotangent(
    simulator: Simulator,
    agent: Agent,
    states: States,
    *,
    horizon: int,
    noise: Tensor,
    entropy: float = 0.0,
    respect_time_limit: bool = False,
) -> SoftmaxCotangent:
    """∇_h F_s(h) for discrete actions, F_s(h) = Σ_a π_h(a) [Q^π(s, a) − α log π_h(a)], π_h = softmax(h).

    Every action is taken once from every state for every noise seed, and the policy followed afterwards; with q_a the
    return found, discounted and with the later steps' entropy bonus::

        ∂F_s/∂h_a = π_a (q_a − α log π_a − F_s)

    which is linear in q and therefore unbiased for each seed: nothing is differenced, so there is no step size, and
    returns that jump (an episode that ends) are as good as smooth ones. The actions of one state share the policy's
    later noise (common random numbers), so that what is common to their returns cancels. The standard error is that
    of the seeds' mean; it is zero where no later step was random, such as at a horizon of one.
    Source: Sutton et al. 2000, theorem 1, with the sum over actions done exactly ("all actions", "expected").

    Args:
        simulator: of an environment with discrete actions.
        agent: the agent, whose policy is a softmax; a float64 copy in evaluation mode acts.
        states: B states to begin from.
        horizon: number H of rewards in a return.
        noise: the policy's Gumbel noise [seeds, H, B, p], as ``agent.policy.noise`` gives it; entry 0 of the second
            dimension is not used, the first action being summed over. At least two seeds.
        entropy: coefficient α.
        respect_time_limit: whether rewards after the environment's time limit are lost.

    Raises:
        GradlabError: the policy is not a softmax, the noise has another shape, or the agent or the states do not fit.

    Example:
        >>> from torch import nn
        >>> actor = nn.Linear(4, 2)
        >>> _ = nn.init.constant_(actor.weight, 0.1), nn.init.zeros_(actor.bias)
        >>> agent = Agent(actor, [], action_low=[0, 0], action_high=[1, 1], policy=Softmax())
        >>> simulator = Simulator("CartPole-v1")
        >>> states = simulator.visit(agent, 3, seed=0, episodes=1)
        >>> noise = agent.policy.noise((8, 20, 3, 2), torch.Generator().manual_seed(0), torch.zeros(1).double())
        >>> found = softmax_cotangent(simulator, agent, states, horizon=20, noise=noise)
        >>> found.mean.shape, bool(found.mean.sum(-1).abs().max() < 1e-12)
        (torch.Size([3, 2]), True)
    """
    check_agent(agent)
    if not isinstance(agent.policy, Softmax):
        raise GradlabError(
            f"softmax reference: the policy is {type(agent.policy).__name__}; it sums over discrete actions, "
            "take SimulatorReference for continuous ones"
        )
    pilot = simulator.pilot(agent)
    check_states(states, simulator)
    horizon = whole_number("horizon", horizon, 1, "a return has at least one reward")
    noise, entropy = real_tensor("noise", noise), real_number("entropy", entropy)
    count, size = len(states), pilot.action_size
    if noise.ndim != 4 or len(noise) < 2 or noise.shape[1:] != (horizon, count, size):
        raise GradlabError(
            f"noise: shape {tuple(noise.shape)}; expected [seeds, {horizon}, {count}, {size}] with at least two seeds"
        )
    with torch.no_grad():
        logits = pilot.head(states.obs.to(dtype=pilot.dtype, device=pilot.device)).cpu().double()
    every = torch.eye(size, dtype=torch.float64)[:, None].expand(size, count, size)
    action_values = simulator.returns(
        pilot,
        states,
        every.expand(len(noise), size, count, size),
        horizon=horizon,
        noise=noise[:, None],
        entropy=entropy,
        respect_time_limit=respect_time_limit,
    ).transpose(-1, -2)
    finite = torch.isfinite(action_values).all(-1).all(0) & torch.isfinite(logits.logsumexp(-1))
    action_values = torch.where(finite[:, None], action_values, torch.nan)
    values, draws = expected_value(logits, action_values, entropy)
    return SoftmaxCotangent(draws, values, action_values, ["" if ok else NOT_FINITE for ok in finite.tolist()])


def expected_value(logits: Tensor, action_values: Tensor, entropy: float = 0.0) -> tuple[Tensor, Tensor]:
    """F = Σ_a π_a (q_a − α log π_a) and its gradient π_a (q_a − α log π_a − F) with respect to the logits.

    Args:
        logits: [B, p]; −∞ is an action that is never taken.
        action_values: q, [..., B, p].
        entropy: coefficient α.

    Returns:
        F [..., B] and ∂F/∂h [..., B, p].

    Example:
        >>> value, gradient = expected_value(torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]))
        >>> value, gradient
        (tensor([2.]), tensor([[-0.5000,  0.5000]]))
    """
    log_prob = logits.log_softmax(-1)
    prob = log_prob.exp()
    # An action of no probability adds nothing: 0 · (−∞) would be NaN.
    soft = action_values - entropy * torch.where(prob > 0, log_prob, 0.0)
    value = (prob * soft).sum(-1)
    return value, prob * (soft - value[..., None])
