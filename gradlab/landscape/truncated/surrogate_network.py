"""A network that learns a successive surrogate by regression: small, seeded, and as flawed as learned ones are."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.agent import Agent
from gradlab.arguments import real_number, whole_number
from gradlab.errors import GradlabError
from gradlab.landscape.entrance import measured_agent, random_source
from gradlab.landscape.surface import check_critic
from gradlab.landscape.truncated.surrogate_agents import check_actions


class SurrogateNetwork(nn.Module):
    """Ψ̂(s, a, a_0 … a_{k−1}): two hidden layers over the state, the action and a summary of the previous actions.

    The summary is a mean over the previous actions of one layer's output (a deep set, as SAVO has it for continuous
    control), so their order and number are immaterial. Inputs and outputs are standardised by fixed numbers.

    Args:
        obs_size: length n of an observation.
        low: lower corner of the action box, [p].
        high: upper corner, [p].
        width: width of the layers.
        generator: source of the initial weights.

    Example:
        >>> box = torch.tensor([-1.0]), torch.tensor([1.0])
        >>> network = SurrogateNetwork(2, *box, width=8, generator=torch.Generator().manual_seed(0))
        >>> network(torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(3, 4, 1)).shape
        torch.Size([3])
    """

    low: Tensor
    width: Tensor
    obs_mean: Tensor
    obs_std: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, obs_size: int, low: Tensor, high: Tensor, width: int, generator: torch.Generator) -> None:
        super().__init__()
        size = len(low)
        self.summary = _linear(size, width, low.dtype, generator)
        sizes = [obs_size + size + width, width, width, 1]
        self.layers = nn.ModuleList(_linear(a, b, low.dtype, generator) for a, b in pairwise(sizes))
        zero, one = low.new_zeros(obs_size), low.new_ones(obs_size)
        for name, part in {
            "low": low.clone(), "width": high - low, "obs_mean": zero, "obs_std": one, "mean": zero.new_zeros(()),
            "std": one.new_ones(()),
        }.items():  # fmt: skip
            self.register_buffer(name, part)

    def forward(self, obs: Tensor, act: Tensor, previous: Tensor) -> Tensor:
        """Observations [B, n], actions [B, p] and previous actions [B, k, p] → [B], in units of Q."""
        before = self.summary(self._unit(previous)).relu().mean(1)
        x = torch.cat([(obs - self.obs_mean) / self.obs_std, self._unit(act), before], -1)
        for layer in self.layers[:-1]:
            x = torch.nn.functional.silu(layer(x))
        answer: Tensor = self.layers[-1](x).squeeze(-1)
        return self.mean + self.std * answer

    def _unit(self, act: Tensor) -> Tensor:
        return 2 * (act - self.low) / self.width - 1


def fit_surrogate(
    agent: Agent,
    obs: Any,
    previous: Tensor,
    *,
    critic: int | None = None,
    at_anchors: float = 0.5,
    width: int = 64,
    steps: int = 1000,
    batch: int = 256,
    learning_rate: float = 1e-2,
    generator: torch.Generator | None = None,
) -> SurrogateNetwork:
    """Fit a network to Ψ(s, a) = max(Q(s, a), τ(s)) by least squares, at uniform actions and at the previous ones.

    SAVO trains its surrogates at the actors' own actions only (arXiv 2410.11833, section 4.3); ``at_anchors=1`` does
    the same, with Gaussian noise of a tenth of the box's width, as exploration would add.

    Args:
        agent: the agent.
        obs: observations [S, n].
        previous: actions of the previous actors, [k, S, p], k ≥ 1, in the critic's action units.
        critic: index of the critic; the one the actor follows by default.
        at_anchors: share of the training actions that are previous actions with noise; the others are uniform.
        width: width of the network's layers.
        steps: steps of Adam; the learning rate falls to zero along a half cosine.
        batch: states a step, with one action each.
        learning_rate: at the beginning.
        generator: source of everything random; one with seed 0 when None.

    Returns:
        The network, in the agent's dtype, without gradients.

    Raises:
        GradlabError: there is no previous action, shapes do not fit, or a number is out of range.

    Example:
        >>> agent = Agent(nn.Identity(), [lambda obs, act: -act.square().sum(-1)], [-1.0], [1.0])
        >>> network = fit_surrogate(agent, torch.zeros(1, 1), torch.tensor([[[0.5]]]), steps=600)
        >>> at = torch.tensor([[0.0], [1.0]])
        >>> learned = network(torch.zeros(2, 1), at, torch.full((2, 1, 1), 0.5))
        >>> bool(((learned - torch.tensor([0.0, -0.25])).abs() < 0.05).all())
        True
    """
    agent = measured_agent(agent)
    check_critic(agent, critic)
    states = agent.observations(obs)
    anchors = check_actions("previous", agent, states, previous).clamp(agent.action_low, agent.action_high)
    if len(anchors) == 0:
        raise GradlabError("previous: no actions; the first surrogate is Q itself, and there is nothing to fit")
    steps, batch = whole_number("steps", steps, 1), whole_number("batch", batch, 1)
    rate = real_number("learning_rate", learning_rate, above=0.0)
    share = real_number("at_anchors", at_anchors, 0.0)
    random = random_source(generator)
    low, high = agent.action_low, agent.action_high
    network = SurrogateNetwork(states.shape[1], low, high, whole_number("width", width, 1), random).to(states.device)

    def draw(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = torch.randint(len(states), (count,), generator=random).to(states.device)
        act = low + torch.rand(count, len(low), generator=random, dtype=low.dtype).to(low) * (high - low)
        which = torch.randint(len(anchors), (count,), generator=random).to(states.device)
        noise = 0.1 * (high - low) * torch.randn(count, len(low), generator=random, dtype=low.dtype).to(low)
        near = torch.rand(count, 1, generator=random).to(states.device) < share
        act = torch.where(near, anchors[which, rows] + noise, act).clamp(low, high)
        before = anchors[:, rows]
        with torch.no_grad():
            cut = agent.q(states[rows], before, critic=critic).amax(0)
            target = torch.maximum(agent.q(states[rows], act, critic=critic), cut)
        return states[rows], act, before.transpose(0, 1), target

    target = draw(max(batch, 1024))[-1]
    network.mean.copy_(target.mean())
    network.std.copy_(target.std().clamp_min(torch.finfo(target.dtype).tiny))
    network.obs_mean.copy_(states.mean(0))
    spread = states.std(0) if len(states) > 1 else torch.ones_like(states[0])
    network.obs_std.copy_(torch.where(spread > 0, spread, 1.0))
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    with torch.enable_grad():
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            seen, act, before, target = draw(batch)
            loss = ((network(seen, act, before) - target) / network.std).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.requires_grad_(False)


def _linear(inputs: int, outputs: int, dtype: torch.dtype, generator: torch.Generator) -> nn.Linear:
    """PyTorch's own initial weights, U(−1/√inputs, 1/√inputs), without its global random state."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=dtype)
    bound = inputs**-0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer
