"""Gradients of whole episodes in parameter space, and inner products between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from gradlab.agent import Agent
from gradlab.errors import GradlabError
from gradlab.layers import refuse_modes
from gradlab.products import HeadModule, check_cotangents, head_with_graph
from gradlab.tangent import TangentKernel

#: Numbers that the gradients of one chunk of episodes may hold (128 MB in float64), with their activations.
NUMBERS = 2**24


class Episodes(Protocol):
    """Steps that belong to episodes: ``Trajectories``, or anything else whose gradient is a sum over its steps."""

    @property
    def obs(self) -> Tensor:
        """Observations [N, n]."""

    @property
    def trajectory(self) -> Tensor:
        """Which of the R episodes a step belongs to, [N] int64, not decreasing."""

    @property
    def count(self) -> int:
        """Number R of episodes."""


def trajectory_gradients(agent: Agent, trajectories: Episodes, v: Tensor) -> Tensor:
    """The gradient Σ_t J_tᵀ v_t of each episode, flat over ``agent.named_parameters()``.

    A vectorised reverse mode over episodes, a chunk of them at a time; one backward pass for each episode where
    ``torch.func.vmap`` cannot follow the head.

    Args:
        agent: the agent; neither changed nor given gradients.
        trajectories: R episodes of N steps together.
        v: cotangents [N, m], one a step.

    Returns:
        [R, P], in the parameters' dtype.

    Raises:
        GradlabError: shapes do not fit, a cotangent is NaN or infinite (counted and located), or the actor is random or
            mixes states (dropout or batch normalisation in training mode).

    Example:
        >>> from gradlab.trajectories import Trajectories
        >>> agent = Agent(torch.nn.Linear(1, 1), [], action_low=[-1], action_high=[1])
        >>> obs, no = torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(3, dtype=torch.bool)
        >>> runs = Trajectories(obs, obs, obs[:, 0], obs, no, torch.tensor([0, 0, 1]), discount=1.0)
        >>> trajectory_gradients(agent, runs, torch.tensor([[1.0], [2.0], [4.0]]))
        tensor([[ 5.,  3.],
                [12.,  4.]])
    """
    return torch.cat([part for _, part in gradient_chunks(agent, trajectories, v)])


def gradient_chunks(
    agent: Agent, trajectories: Episodes, v: Tensor, episodes: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The same, a chunk of episodes at a time: which episodes, and their gradients [r, P].

    Args:
        agent: the agent; neither changed nor given gradients.
        trajectories: R episodes of N steps together.
        v: cotangents [N, m], one a step.
        episodes: how many make a chunk; as many as ``episodes_at_a_time`` when None.

    Raises:
        GradlabError: shapes do not fit, or a cotangent is NaN or infinite.
    """
    # Random layers would draw from the global state, and batches of an episode's states are no training batches.
    refuse_modes(agent.actor)
    obs = agent.observations(trajectories.obs)
    check_steps(trajectories, v)
    lengths = torch.bincount(trajectories.trajectory, minlength=trajectories.count)
    ends = lengths.cumsum(0)
    v = v.detach().to(device=obs.device, dtype=agent.dtype)
    size = episodes or episodes_at_a_time(agent, int(lengths.max()))
    for first in range(0, trajectories.count, size):
        chosen = slice(first, min(first + size, trajectories.count))
        rows = slice(int(ends[first] - lengths[first]), int(ends[chosen.stop - 1]))
        yield chosen, _chunk(agent, obs[rows], v[rows], lengths[chosen])


def episodes_at_a_time(agent: Agent, steps: int, numbers: int = NUMBERS) -> int:
    """How many episodes of so many steps make a chunk: their gradients and activations of a few hundred a step."""
    return max(1, numbers // (parameter_count(agent) + 512 * steps))


def parameter_count(agent: Agent) -> int:
    """Number P of the actor's trainable parameters."""
    return sum(p.numel() for p in agent.named_parameters().values())


def check_steps(trajectories: Episodes, v: Tensor) -> None:
    """Refuse cotangents that are not one finite vector a step.

    Raises:
        GradlabError: they are not; non-finite ones are counted and located.
    """
    if v.ndim != 2 or len(v) != len(trajectories.obs):
        raise GradlabError(f"cotangents: shape {tuple(v.shape)}; expected one a step, [{len(trajectories.obs)}, m]")
    bad = ~torch.isfinite(v).all(-1)
    if bool(bad.any()):
        episodes = trajectories.trajectory.to(bad.device)[bad]
        raise GradlabError(
            f"cotangents: NaN or infinite at {int(bad.sum())} of {len(bad)} steps in {len(episodes.unique())} of "
            f"{trajectories.count} episodes, first in episode {int(episodes[0])}, row {int(bad.nonzero()[0])}; "
            "mend the estimator or leave those episodes out"
        )


def _chunk(agent: Agent, obs: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    """Gradients [r, P] of r episodes of these lengths, whose steps are the rows of obs and v."""
    size = torch.Size((len(lengths), int(lengths.max())))
    step = torch.arange(size[1], device=lengths.device)
    inside = step < lengths[:, None]
    # Steps after the end repeat the last one with no cotangent: zeros might lie outside what the actor can take.
    rows = (lengths.cumsum(0) - lengths)[:, None] + torch.minimum(step, lengths[:, None] - 1)
    rows, inside = rows.to(obs.device), inside.to(obs.device)
    try:
        return _vectorised(agent, obs[rows], v[rows] * inside[..., None])
    except RuntimeError:
        return _by_loop(agent, obs.split(lengths.tolist()), v.split(lengths.tolist()))


def _vectorised(agent: Agent, obs: Tensor, v: Tensor) -> Tensor:
    head = HeadModule(agent)
    named = {f"actor.{name}": p.detach() for name, p in agent.named_parameters().items()}

    def product(parameters: dict[str, Tensor], one: Tensor, cotangents: Tensor) -> Tensor:
        out: Tensor = functional_call(head, parameters, (one,))
        check_cotangents(cotangents, *out.shape)
        return (out * cotangents).sum()

    with torch.enable_grad():
        parts = vmap(grad(product), in_dims=(None, 0, 0))(named, obs, v)
    return torch.cat([parts[name].detach().flatten(1) for name in named], dim=1)


@torch.enable_grad()
def _by_loop(agent: Agent, obs: tuple[Tensor, ...], v: tuple[Tensor, ...]) -> Tensor:
    parameters = list(agent.named_parameters().values())
    out = []
    for one, cotangents in zip(obs, v, strict=True):
        head = head_with_graph(agent, one)
        check_cotangents(cotangents, *head.shape)
        grads = torch.autograd.grad(head, parameters, cotangents, materialize_grads=True)
        out.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(out)


@torch.enable_grad()
def directional_derivative(agent: Agent, obs: Tensor, direction: Tensor) -> Tensor:
    """J_t r: the derivative of each head along a direction in parameter space, [N, n] and [P] → [N, m], float64.

    The derivative of the backward product, which is linear in its cotangent (J. Townsend 2017).

    Raises:
        GradlabError: the head depends on no trainable parameter.

    Example:
        >>> agent = Agent(torch.nn.Linear(1, 1), [], action_low=[-1], action_high=[1])
        >>> directional_derivative(agent, torch.tensor([[1.0], [2.0]]), torch.tensor([10.0, 1.0]))
        tensor([[11.],
                [21.]], dtype=torch.float64)
    """
    named = list(agent.named_parameters().values())
    head = head_with_graph(agent, agent.observations(obs))
    zeros = torch.zeros_like(head, requires_grad=True)
    backward = torch.autograd.grad(head, named, zeros, create_graph=True, allow_unused=True)
    parts = direction.to(head).split([p.numel() for p in named])
    used = [(g, part.view_as(p)) for g, part, p in zip(backward, parts, named, strict=True) if g is not None]
    (out,) = torch.autograd.grad([g for g, _ in used], zeros, [part for _, part in used])
    return out.double()


def gram_by_kernel(kernel: TangentKernel, trajectories: Episodes, v: Tensor) -> Tensor:
    """Inner products g_i·g_j = Σ_{t∈i, u∈j} v_tᵀ K_tu v_u of the episodes' gradients, [R, R], float64.

    Raises:
        GradlabError: the kernel has no matrix, or shapes do not fit.
    """
    check_steps(trajectories, v)
    check_cotangents(v, kernel.states, kernel.head_size)
    if kernel.matrix is None:
        raise GradlabError("tangent kernel: only its blocks are there; let the gradients be formed instead")
    flat = v.detach().to(kernel.matrix).flatten()
    episode = trajectories.trajectory.to(flat.device).repeat_interleave(kernel.head_size)
    half = flat.new_zeros(trajectories.count, len(flat)).index_add_(0, episode, flat[:, None] * kernel.matrix)
    gram = flat.new_zeros(trajectories.count, trajectories.count)
    return gram.index_add_(1, episode, half * flat)


def gram_by_gradients(agent: Agent, trajectories: Episodes, v: Tensor, held: int | None = None) -> Tensor:
    """The same from gradients, of which only some are held at a time; [R, R], float64.

    Those held meet all later ones, which are formed a chunk at a time. With R/held = c rounded up, a gradient is formed
    (c + 1)/2 times on average.

    Args:
        agent: the agent; neither changed nor given gradients.
        trajectories: R episodes of N steps together.
        v: cotangents [N, m], one a step.
        held: gradients that are held, 8 bytes for each of the P parameters; all of them when None.

    Raises:
        GradlabError: shapes do not fit, or a cotangent is NaN or infinite.
    """
    check_steps(trajectories, v)
    count, size = trajectories.count, parameter_count(agent)
    gram = torch.zeros(count, count, dtype=torch.float64, device=agent.device)
    held = max(1, held or count)
    for first in range(0, count, held):
        rows = slice(first, min(first + held, count))
        here = torch.empty(rows.stop - first, size, dtype=torch.float64, device=agent.device)
        for where, part in gradient_chunks(agent, *_part(trajectories, v, first, rows.stop)):
            here[where] = part.double()
        gram[rows, rows] = here @ here.T
        if rows.stop == count:
            break
        # What lies before has met these already.
        for where, part in gradient_chunks(agent, *_part(trajectories, v, rows.stop, count)):
            columns = slice(rows.stop + where.start, rows.stop + where.stop)
            block = here @ part.double().T
            gram[rows, columns], gram[columns, rows] = block, block.T
    return gram


def _part(trajectories: Episodes, v: Tensor, first: int, stop: int) -> tuple[EpisodePart, Tensor]:
    keep = (trajectories.trajectory >= first) & (trajectories.trajectory < stop)
    return EpisodePart(trajectories.obs[keep], trajectories.trajectory[keep] - first), v[keep]


@dataclass(frozen=True)
class EpisodePart:
    """Some of the episodes, numbered anew, as far as gradients need them.

    Attributes:
        obs: s_t, [N, n].
        trajectory: which episode a step belongs to, [N]: 0 … count − 1.
    """

    obs: Tensor
    trajectory: Tensor

    @property
    def count(self) -> int:
        """Number of episodes."""
        return int(self.trajectory[-1]) + 1
